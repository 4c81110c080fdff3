//! The programs of a control plane: taken from `KUBEBUILDER_ASSETS`, or built once from their Go modules and cached.
//!
//! The modules in `tests/lab/tools` pin the sources; their `go.mod` is the one place that states a version.

mod source;

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, id},
    time::Instant,
};

use crate::error::{During, Error};
use source::Source;

/// A folder with ready-made etcd, kube-apiserver and kubectl: the variable of Kubebuilder's envtest.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// Where the modules are; each has a folder of its own.
const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools");

/// A program that the lab runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// The store of the API server.
    Etcd,
    /// The API server.
    KubeApiServer,
    /// The command line client.
    Kubectl,
    /// The controllers.
    KubeControllerManager,
    /// Finds a node for each pod.
    KubeScheduler,
    /// Runs a node's pods.
    Kubelet,
    /// Leads to the pods of a Service.
    KubeProxy,
    /// HashiCorp's key service: its core, with what the tests use.
    Vault,
    /// Flux's source-controller itself.
    SourceController,
    /// Flux's newest git library: `flux-reader URL BRANCH FOLDER`, with a Secret (JSON) on standard input, prints the commit.
    FluxReader,
    /// Argo CD's own reading of its settings: `argo-reader URL BRANCH PROJECT`, with a list of Secrets (JSON) on standard input, prints
    /// the commit.
    ArgoReader,
    /// GitHub's command line client.
    Gh,
    /// Prometheus' tests of rules and parser of queries.
    Promtool,
    /// The installer of charts.
    Helm,
    /// HashiCorp's injector of secrets into pods: what the webhook is measured against.
    VaultK8s,
    /// cert-manager's own controllers and CA injector: `cert-manager -kubeconfig FILE -feature-gates NAME=false`.
    CertManager,
}

impl Tool {
    /// The control plane's, the quickest to build first.
    pub const CLUSTER: [Self; 4] = [
        Self::Etcd,
        Self::Kubectl,
        Self::KubeControllerManager,
        Self::KubeApiServer,
    ];

    /// Who reads tokens, and who reads metrics: for the tests of the guides, the quickest to build first.
    pub const GUIDES: [Self; 6] = [
        Self::FluxReader,
        Self::Gh,
        Self::Helm,
        Self::Promtool,
        Self::ArgoReader,
        Self::SourceController,
    ];

    /// Who keeps the webhook's certificate, and what installs the chart's part of it: for `make cert-manager`.
    pub const CERT_MANAGER: [Self; 2] = [Self::Helm, Self::CertManager];

    /// What a node runs besides, and what installs the operator there.
    pub const NODE: [Self; 4] = [Self::KubeScheduler, Self::Kubelet, Self::KubeProxy, Self::Helm];

    /// The program's file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiServer => "kube-apiserver",
            Self::Kubectl => "kubectl",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Vault => "vault",
            Self::SourceController => "source-controller",
            Self::FluxReader => "flux-reader",
            Self::ArgoReader => "argo-reader",
            Self::Gh => "gh",
            Self::Promtool => "promtool",
            Self::Helm => "helm",
            Self::VaultK8s => "vault-k8s",
            Self::CertManager => "cert-manager",
        }
    }

    /// Finds the program: in `KUBEBUILDER_ASSETS` when that is set, else in the cache, where it is built when missing
    /// (which takes minutes, and is told on standard error). Blocks.
    ///
    /// # Errors
    /// [`Error::Tool`] when `KUBEBUILDER_ASSETS` lacks it, when Go is missing, or when the build fails.
    pub fn find(self) -> Result<PathBuf, Error> {
        match env::var_os(ASSETS) {
            Some(assets) => self.find_in_assets(Path::new(&assets)),
            None => self.find_in_cache(),
        }
    }

    fn find_in_assets(self, assets: &Path) -> Result<PathBuf, Error> {
        let path = assets.join(self.name());
        match (path.is_file(), self) {
            (true, _) => Ok(path),
            (false, Self::Etcd | Self::KubeApiServer | Self::Kubectl) => Err(Error::Tool(format!(
                "{ASSETS} is {}, which holds no {}: name a folder that does, or unset it to build from source",
                assets.display(),
                self.name()
            ))),
            // envtest's archives do not hold these.
            (false, _) => self.find_in_cache(),
        }
    }

    fn find_in_cache(self) -> Result<PathBuf, Error> {
        let source = self.source();
        let folder = cache()?.join(format!("bin/{}", source.place()?));
        let path = folder.join(self.name());
        if path.is_file() {
            return Ok(path);
        }
        let _lock = locked(&folder, self.name())?;
        if !path.is_file() {
            self.build(&source, &path)?;
        }
        Ok(path)
    }

    /// The sources that it is built from: manifests are beside the code. Blocks; fetches them when Go's cache lacks them.
    ///
    /// # Errors
    /// [`Error::Tool`] when Go is missing or cannot fetch them.
    pub fn source_folder(self) -> Result<PathBuf, Error> {
        let source = self.source();
        module(source.folder, source.module)
    }

    /// Builds to a name of its own first, so that `path` is never half a program.
    fn build(self, source: &Source, path: &Path) -> Result<(), Error> {
        let version = source.version()?;
        eprintln!("lab: building {} {version}, once", self.name());
        let start = Instant::now();
        let partial = path.with_extension(format!("{}.partial", id()));
        let status = Command::new("go")
            .args(["build", "-trimpath", "-ldflags", &source.linker_flags(version), "-o"])
            .arg(&partial)
            .arg(source.package)
            .current_dir(Path::new(MODULES).join(source.folder))
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .env("GOFLAGS", "-mod=readonly")
            .status()
            .map_err(|error| {
                let (name, needed) = (self.name(), source.required("go").unwrap_or_default());
                Error::Tool(format!(
                    "{name} is missing and cannot be built: go: {error}. Install Go {needed} or newer from \
                     https://go.dev/dl/, or set {ASSETS} to a folder with etcd, kube-apiserver and kubectl"
                ))
            })?;
        if !status.success() {
            // It may not be there, and the build's own error is the one that matters.
            let _ = fs::remove_file(&partial);
            let reason = format!("go build {} failed ({status}); its output is above", source.package);
            return Err(Error::Tool(reason));
        }
        fs::rename(&partial, path).during(|| format!("rename {}", partial.display()))?;
        eprintln!("lab: built {} in {:.0?}", path.display(), start.elapsed());
        Ok(())
    }
}

/// The source of Kubernetes, of the version that is built. Blocks.
///
/// # Errors
/// As [`module`].
pub(crate) fn kubernetes_source() -> Result<PathBuf, Error> {
    module("kubernetes", "k8s.io/kubernetes")
}

/// A module in Go's cache, of the version that this folder of `tests/lab/tools` requires. Blocks; fetches it when it is not there.
///
/// # Errors
/// [`Error::Tool`] when Go is missing or cannot fetch it.
pub(crate) fn module(folder: &str, module: &str) -> Result<PathBuf, Error> {
    let failed = |reason: String| Error::Tool(format!("go mod download {module}: {reason}"));
    let output = Command::new("go")
        .args(["mod", "download", "-json", module])
        .current_dir(Path::new(MODULES).join(folder))
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly")
        .output()
        .map_err(|error| failed(error.to_string()))?;
    let found: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| failed(format!("{error}: {}", String::from_utf8_lossy(&output.stderr))))?;
    let folder = found["Dir"].as_str().ok_or_else(|| failed(found.to_string()))?;
    Ok(folder.into())
}

/// Makes the folder, and holds its lock for `name`: tests run in several processes, of which one builds and the others wait. The
/// lock goes with the file.
fn locked(folder: &Path, name: &str) -> Result<File, Error> {
    fs::create_dir_all(folder).during(|| format!("make the folder {}", folder.display()))?;
    let lock = folder.join(format!(".{name}.lock"));
    let lock = File::create(&lock).during(|| format!("open {}", lock.display()))?;
    lock.lock().during(|| format!("wait for another build of {name}"))?;
    Ok(lock)
}

/// A folder of the cache that `build` fills, once. Blocks.
///
/// # Errors
/// What `build` fails with; the next caller tries again.
pub(crate) fn once(name: &str, build: impl FnOnce(&Path) -> Result<(), Error>) -> Result<PathBuf, Error> {
    let folder = cache()?.join(format!("bin/{name}"));
    let built = folder.join(".built");
    if !built.is_file() {
        let _lock = locked(&folder, name)?;
        if !built.is_file() {
            eprintln!("lab: building {name}, once");
            build(&folder)?;
            fs::write(&built, "").during(|| format!("write {}", built.display()))?;
        }
    }
    Ok(folder)
}

/// `GTM_CACHE`, else `github-token-manager` in the user's cache folder.
fn cache() -> Result<PathBuf, Error> {
    let folder = |variable| env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
    let user = || folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    folder("GTM_CACHE")
        .or_else(|| user().map(|cache| cache.join("github-token-manager")))
        .ok_or_else(|| Error::Tool("no place for built programs: set HOME, XDG_CACHE_HOME or GTM_CACHE".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Folder;

    #[test]
    fn versions_and_linker_flags_come_from_go_mod() {
        let source = Tool::Kubectl.source();
        let version = source.version().unwrap();
        assert!(Tool::Etcd.source().version().unwrap().starts_with("v3."));
        assert!(source.go_mod.contains(&format!("k8s.io/kubernetes {version}")));
        let flags = source.linker_flags("v1.34.4");
        assert!(
            flags.ends_with(
                "version.gitVersion=v1.34.4 -X k8s.io/component-base/version.gitMajor=1 \
                 -X k8s.io/component-base/version.gitMinor=34"
            ),
            "{flags}"
        );
        assert_eq!(Tool::Etcd.source().linker_flags("v3.6.16"), "-s -w");
    }

    #[test]
    fn assets_without_the_program_are_named_with_the_cure() {
        let folder = Folder::new().unwrap();
        let error = Tool::Etcd.find_in_assets(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("KUBEBUILDER_ASSETS") && error.contains("holds no etcd"),
            "{error}"
        );
        let etcd = folder.write("etcd", "").unwrap();
        assert_eq!(Tool::Etcd.find_in_assets(folder.path()).unwrap(), etcd);
    }
}
