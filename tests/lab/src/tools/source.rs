//! Where each program is built from: the modules in `tests/lab/tools`, whose `go.mod` is the one place that states a version.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{MODULES, Tool};
use crate::error::Error;

impl Tool {
    pub(super) fn source(self) -> Source {
        match self {
            Self::Etcd => Source::of(
                "etcd",
                "go.etcd.io/etcd/server/v3",
                "go.etcd.io/etcd/server/v3",
                include_str!("../../tools/etcd/go.mod"),
            ),
            Self::KubeApiServer => Source::kubernetes("k8s.io/kubernetes/cmd/kube-apiserver"),
            Self::Kubectl => Source::kubernetes("k8s.io/kubernetes/cmd/kubectl"),
            Self::KubeControllerManager => Source::kubernetes("k8s.io/kubernetes/cmd/kube-controller-manager"),
            Self::KubeScheduler => Source::kubernetes("k8s.io/kubernetes/cmd/kube-scheduler"),
            Self::Kubelet => Source::kubernetes("k8s.io/kubernetes/cmd/kubelet"),
            Self::KubeProxy => Source::kubernetes("k8s.io/kubernetes/cmd/kube-proxy"),
            Self::Vault => Source::around(
                "vault",
                "github.com/hashicorp/vault",
                include_str!("../../tools/vault/go.mod"),
                include_str!("../../tools/vault/main.go"),
            ),
            Self::SourceController => Source::of(
                "source-controller",
                "github.com/fluxcd/source-controller",
                "github.com/fluxcd/source-controller",
                include_str!("../../tools/source-controller/go.mod"),
            ),
            Self::FluxReader => Source::around(
                "flux",
                "github.com/fluxcd/pkg/git",
                include_str!("../../tools/flux/go.mod"),
                include_str!("../../tools/flux/main.go"),
            ),
            Self::ArgoReader => Source::around(
                "argo",
                "github.com/argoproj/argo-cd/v3",
                include_str!("../../tools/argo/go.mod"),
                include_str!("../../tools/argo/main.go"),
            ),
            Self::Gh => Source::of(
                "gh",
                "github.com/cli/cli/v2/cmd/gh",
                "github.com/cli/cli/v2",
                include_str!("../../tools/gh/go.mod"),
            ),
            Self::Promtool => Source::of(
                "promtool",
                "github.com/prometheus/prometheus/cmd/promtool",
                "github.com/prometheus/prometheus",
                include_str!("../../tools/promtool/go.mod"),
            ),
            Self::Helm => Source::of(
                "helm",
                "helm.sh/helm/v3/cmd/helm",
                "helm.sh/helm/v3",
                include_str!("../../tools/helm/go.mod"),
            ),
            Self::VaultK8s => Source::of(
                "vault-k8s",
                "github.com/hashicorp/vault-k8s",
                "github.com/hashicorp/vault-k8s",
                include_str!("../../tools/vault-k8s/go.mod"),
            ),
            Self::CertManager => Source::around(
                "cert-manager",
                "github.com/cert-manager/cert-manager",
                include_str!("../../tools/cert-manager/go.mod"),
                include_str!("../../tools/cert-manager/main.go"),
            ),
        }
    }
}

/// Where a program is built from.
pub(super) struct Source {
    pub(super) folder: &'static str,
    pub(super) package: &'static str,
    pub(super) module: &'static str,
    pub(super) go_mod: &'static str,
    /// A program of the lab's own around the module.
    program: Option<&'static str>,
}

impl Source {
    /// A program of a module, as it is.
    const fn of(folder: &'static str, package: &'static str, module: &'static str, go_mod: &'static str) -> Self {
        Self {
            folder,
            package,
            module,
            go_mod,
            program: None,
        }
    }

    /// A program of the lab's own around a module.
    const fn around(folder: &'static str, module: &'static str, go_mod: &'static str, program: &'static str) -> Self {
        Self {
            program: Some(program),
            ..Self::of(folder, ".", module, go_mod)
        }
    }

    const fn kubernetes(package: &'static str) -> Self {
        let go_mod = include_str!("../../tools/kubernetes/go.mod");
        Self::of("kubernetes", package, "k8s.io/kubernetes", go_mod)
    }

    /// The version that `go.mod` requires, such as `v1.34.4`.
    pub(super) fn version(&self) -> Result<&'static str, Error> {
        self.required(self.module)
    }

    /// A folder's name that changes with the sources: the version, and a hash of a program of our own.
    pub(super) fn place(&self) -> Result<String, Error> {
        let (folder, version) = (self.folder, self.version()?);
        Ok(match self.program {
            None => format!("{folder}-{version}"),
            Some(program) => {
                let mut hasher = DefaultHasher::new();
                program.hash(&mut hasher);
                format!("{folder}-{version}-{:016x}", hasher.finish())
            }
        })
    }

    /// What `go.mod` states for a module, or for `go` itself.
    pub(super) fn required(&self, wanted: &str) -> Result<&'static str, Error> {
        let required = |line: &'static str| match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["require", module, version, ..] | [module, version, ..] if module == wanted => Some(version),
            _ => None,
        };
        self.go_mod.lines().find_map(required).ok_or_else(|| {
            let folder = self.folder;
            Error::Tool(format!("{MODULES}/{folder}/go.mod does not require {wanted}"))
        })
    }

    /// Kubernetes reports the version that its linker was told; without it `kubectl version` and feature checks of
    /// clients see v0.0.0. Helm renders for the Kubernetes that it was told, else for v1.20.
    pub(super) fn linker_flags(&self, version: &str) -> String {
        let strip = "-s -w";
        match version.trim_start_matches('v').split('.').collect::<Vec<_>>()[..] {
            [major, minor, ..] if self.folder == "kubernetes" => {
                let set = "-X k8s.io/component-base/version.git";
                format!("{strip} {set}Version={version} {set}Major={major} {set}Minor={minor}")
            }
            _ if self.folder == "helm" => {
                let set = "-X helm.sh/helm/v3/pkg/chartutil.k8sVersion";
                let own = "-X helm.sh/helm/v3/internal/version.version";
                format!("{strip} {own}={version} {set}Major=1 {set}Minor=34")
            }
            _ => strip.into(),
        }
    }
}
