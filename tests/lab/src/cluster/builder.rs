//! What a cluster is started with.

use std::{net::SocketAddr, path::Path, process::Command, sync::Mutex, time::Duration};

use k8s_openapi::{
    api::core::v1::ConfigMap,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Api, api::PostParams};

use super::{AUDIT_LOG, Cluster, Credentials};
use crate::{
    error::Error,
    process::{Folder, Port, Process},
    tools::Tool,
    wait::wait_for,
};

/// Every request by anyone but the API server itself, without bodies.
const AUDIT_POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: ["system:apiserver"]}
- {level: Metadata}
"#;

/// The controllers that the operator relies on: owner references, namespaces that are deleted, and the roles `admin`,
/// `edit` and `view`, which are empty until their parts are put together.
const CONTROLLERS: &str = "garbage-collector-controller,namespace-controller,clusterrole-aggregation-controller";

/// The controllers that make pods.
const WORKLOADS: &str = ",deployment-controller,replicaset-controller,job-controller";

/// Time for the controller-manager to work; it takes 2 s on an idle machine.
const CONTROLLERS_START: Duration = Duration::from_secs(60);

/// Settings of a [`Cluster`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Builder {
    pub(super) controller_manager: bool,
    workloads: bool,
    audit_log: bool,
    crds: Vec<String>,
    api_server_args: Vec<String>,
}

impl Builder {
    /// Runs kube-controller-manager with its garbage collector, namespace and role aggregation controllers.
    #[must_use]
    pub fn with_controller_manager(mut self) -> Self {
        self.controller_manager = true;
        self
    }

    /// Runs kube-controller-manager with the controllers of Deployments, ReplicaSets and Jobs as well.
    #[must_use]
    pub fn with_workloads(mut self) -> Self {
        self.workloads = true;
        self.with_controller_manager()
    }

    /// Keeps an audit log, for [`Cluster::audit_log`].
    #[must_use]
    pub fn with_audit_log(mut self) -> Self {
        self.audit_log = true;
        self
    }

    /// Applies custom resource definitions (YAML) before the controller-manager starts: its garbage collector looks
    /// for new kinds only every 30 s, and until then an owner of such a kind can be deleted without a consequence.
    #[must_use]
    pub fn with_crds(mut self, yaml: impl Into<String>) -> Self {
        self.crds.push(yaml.into());
        self
    }

    /// A further argument of kube-apiserver, such as `--v=4`.
    #[must_use]
    pub fn with_api_server_arg(mut self, argument: impl Into<String>) -> Self {
        self.api_server_args.push(argument.into());
        self
    }

    /// Starts the cluster and waits until all of it works.
    ///
    /// # Errors
    /// When a program is missing, cannot be built, or does not become ready.
    pub async fn start(self) -> Result<Cluster, Error> {
        let build = async |tool: Tool| {
            tokio::task::spawn_blocking(move || tool.find())
                .await
                .map_err(|error| Error::Tool(format!("{}: {error}", tool.name())))?
        };
        let etcd = build(Tool::Etcd).await?;
        let api_server_program = build(Tool::KubeApiServer).await?;
        let kubectl_program = build(Tool::Kubectl).await?;

        let folder = Folder::new()?;
        let ports = [Port::take()?, Port::take()?, Port::take()?];
        let [own, clients, peers] = ports.each_ref().map(Port::address);
        let credentials = Credentials::write(&folder, own)?;
        let mut command = Command::new(etcd);
        command.args(etcd_args(&folder.path().join("etcd"), clients, peers));
        let etcd = Process::start("etcd", command, &folder.path().join("etcd.log"))?;
        let api_server_args = self.api_server_args(&folder, own, clients)?;
        let mut cluster = Cluster {
            controller_manager: None,
            api_server: Mutex::new(None),
            etcd,
            api_server_program,
            api_server_args,
            kubectl_program,
            credentials,
            etcd_url: format!("http://{clients}"),
            audited: self.audit_log,
            _ports: ports,
            folder,
        };
        cluster.start_api_server().await?;
        for yaml in &self.crds {
            cluster.install_crds(yaml).await?;
        }
        if self.controller_manager {
            let mut command = Command::new(build(Tool::KubeControllerManager).await?);
            command.args(controller_manager_args(&cluster.credentials, self.workloads));
            let name = Tool::KubeControllerManager.name();
            let process = Process::start(name, command, &cluster.log_path(name))?;
            controllers_work(&cluster, &process).await?;
            cluster.controller_manager = Some(process);
        }
        Ok(cluster)
    }

    fn api_server_args(&self, folder: &Folder, own: SocketAddr, etcd: SocketAddr) -> Result<Vec<String>, Error> {
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut args = vec![
            format!("--etcd-servers=http://{etcd}"),
            format!("--bind-address={}", own.ip()),
            format!("--advertise-address={}", own.ip()),
            format!("--secure-port={}", own.port()),
            // It signs its own serving certificate, once: a restart finds it here.
            format!("--cert-dir={}", path(Credentials::CERTIFICATES)),
            format!("--token-auth-file={}", path(Credentials::TOKENS)),
            "--authorization-mode=RBAC".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", path(Credentials::PUBLIC_KEY)),
            format!("--service-account-signing-key-file={}", path(Credentials::PRIVATE_KEY)),
            "--service-cluster-ip-range=198.18.128.0/24".into(),
            "--endpoint-reconciler-type=none".into(),
            // It refuses pods until a controller has made their service account; no controller here does.
            "--disable-admission-plugins=ServiceAccount".into(),
            "--profiling=false".into(),
        ];
        if self.audit_log {
            let policy = folder.write("audit-policy.yaml", AUDIT_POLICY)?;
            args.push(format!("--audit-policy-file={}", policy.display()));
            args.push(format!("--audit-log-path={}", path(AUDIT_LOG)));
        }
        args.extend(self.api_server_args.iter().cloned());
        Ok(args)
    }
}

/// The arguments of an etcd whose data is in this folder.
pub(crate) fn etcd_args(data: &Path, clients: SocketAddr, peers: SocketAddr) -> Vec<String> {
    let (clients, peers) = (format!("http://{clients}"), format!("http://{peers}"));
    vec![
        format!("--data-dir={}", data.display()),
        // The data ends with the processes, so nothing is lost that a disk would have kept.
        "--unsafe-no-fsync".into(),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        "--log-level=warn".into(),
    ]
}

fn controller_manager_args(credentials: &Credentials, workloads: bool) -> Vec<String> {
    let more = if workloads { WORKLOADS } else { "" };
    vec![
        format!("--kubeconfig={}", credentials.controllers_kubeconfig().display()),
        format!("--controllers={CONTROLLERS}{more}"),
        "--leader-elect=false".into(),
        "--secure-port=0".into(),
        // The default (20 a second) makes the deletion of a namespace take many seconds.
        "--kube-api-qps=300".into(),
        "--kube-api-burst=600".into(),
    ]
}

/// Waits until an object whose owner does not exist is collected: what all tests of owner references rely on.
async fn controllers_work(cluster: &Cluster, process: &Process) -> Result<(), Error> {
    let name = "lab-orphan";
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: "lab-owner".into(),
        uid: "00000000-0000-4000-8000-000000000000".into(),
        ..OwnerReference::default()
    };
    let orphan = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.into()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    // The API server itself makes the namespace `default`, possibly after it says that it is ready.
    let objects = Api::<ConfigMap>::namespaced(cluster.client().await?, "default");
    wait_for(CONTROLLERS_START, "the namespace default", async || {
        objects.create(&PostParams::default(), &orphan).await
    })
    .await?;
    wait_for(CONTROLLERS_START, "the garbage collector's first catch", async || {
        if let Err(ended) = process.check_running() {
            return Ok(Err(ended));
        }
        match objects.get_opt(name).await {
            Ok(None) => Ok(Ok(())),
            Ok(Some(_)) => Err("an object without its owner is still there".into()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await?
}
