//! A real Kubernetes API server with its etcd on loopback, and a controller-manager where one is needed.

mod audit;
mod builder;
mod credentials;
mod kubectl;
mod pool;
mod store;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{Request, params::GetParams},
};
use tokio::sync::OnceCell;

pub use audit::{AuditEvent, AuditLog, Write};
pub use builder::Builder;
pub(crate) use builder::etcd_args;
pub(crate) use credentials::service_account_keys;
pub use kubectl::Kubectl;
pub use pool::Leased;

use crate::{
    error::{During, Error},
    process::{Folder, Port, Process},
    wait::wait_for,
};
use credentials::Credentials;

/// Time for an API server to start; alone on a machine it takes 3 s.
const START: Duration = Duration::from_secs(120);

/// The name of the API server's audit log in the cluster's folder.
const AUDIT_LOG: &str = "audit.log";

/// A running control plane. Dropping it kills its processes and removes its files, and so does the end of the program.
#[derive(Debug)]
pub struct Cluster {
    // The processes first: they are dropped in this order, and the folder goes when nobody writes into it any more.
    controller_manager: Option<Process>,
    api_server: Mutex<Option<Process>>,
    etcd: Process,
    api_server_program: PathBuf,
    api_server_args: Vec<String>,
    kubectl_program: PathBuf,
    credentials: Credentials,
    etcd_url: String,
    audited: bool,
    // Kept while the API server is down, so that nobody else gets them.
    _ports: [Port; 3],
    folder: Folder,
}

impl Cluster {
    /// Starts etcd and an API server with RBAC, nothing else.
    ///
    /// # Errors
    /// When a program is missing or does not become ready.
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// For a cluster with more.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The one cluster of this program, with a controller-manager and an audit log. See [`Shared`] for other settings.
    ///
    /// # Errors
    /// When a program is missing or does not become ready.
    pub async fn shared() -> Result<&'static Self, Error> {
        static SHARED: Shared = Shared::new(|| Cluster::builder().with_controller_manager().with_audit_log());
        SHARED.get().await
    }

    /// A kubeconfig of an administrator.
    pub fn kubeconfig_path(&self) -> &Path {
        self.credentials.admin_kubeconfig()
    }

    /// An administrator's client. It belongs to the runtime that asks: a test must not use another test's.
    ///
    /// # Errors
    /// When the API server has not been ready yet.
    pub async fn client(&self) -> Result<Client, Error> {
        client(self.kubeconfig_path()).await
    }

    /// A kubeconfig that acts as `user` in `groups` by impersonation; `system:authenticated` is added by the server.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf, Error> {
        self.credentials.impersonating(&self.folder, user, groups)
    }

    /// A kubeconfig of the service account `name`, which is created when it is missing; its token is good for a day.
    /// In the audit log its user is `system:serviceaccount:NAMESPACE:NAME`.
    ///
    /// # Errors
    /// When the namespace is missing or the file cannot be written.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<PathBuf, Error> {
        let token = self.service_account_token(namespace, name).await?;
        self.credentials.with_token(&self.folder, &token)
    }

    /// A token of the service account `name`, which is created when it is missing, as a pod has one mounted; it is good for a day.
    ///
    /// # Errors
    /// When the namespace is missing.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> Result<String, Error> {
        credentials::service_account_token(self.client().await?, namespace, name).await
    }

    /// The API server's address, for a server that is to ask it.
    pub fn url(&self) -> String {
        self.credentials.url()
    }

    /// Where etcd listens for clients.
    pub(crate) fn etcd_url(&self) -> &str {
        &self.etcd_url
    }

    /// The certificate authority of the API server, in PEM.
    ///
    /// # Errors
    /// When the API server has not been ready yet.
    pub fn ca_pem(&self) -> Result<String, Error> {
        self.credentials.ca_pem()
    }

    /// Creates a namespace whose name starts with `prefix` and is used by nobody else; returns the name.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn namespace(&self, prefix: &str) -> Result<String, Error> {
        let metadata = ObjectMeta {
            generate_name: Some(format!("{prefix}-")),
            ..ObjectMeta::default()
        };
        let wanted = Namespace {
            metadata,
            ..Namespace::default()
        };
        let namespaces = Api::<Namespace>::all(self.client().await?);
        let made = namespaces.create(&PostParams::default(), &wanted).await?;
        made.metadata
            .name
            .ok_or_else(|| Error::Usage("the API server made a namespace without a name".into()))
    }

    /// Kills the API server (SIGKILL); etcd and the port stay. One that is not running is fine.
    pub fn stop_api_server(&self) {
        drop(self.running_api_server().take());
    }

    /// Starts the API server again, on the same port with the same data, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_api_server(&self) -> Result<(), Error> {
        {
            let mut running = self.running_api_server();
            if running.is_none() {
                let mut command = Command::new(&self.api_server_program);
                command.args(&self.api_server_args);
                let log = self.log_path("kube-apiserver");
                *running = Some(Process::start("kube-apiserver", command, &log)?);
            }
        }
        wait_for(START, "the API server's /readyz", async || self.ready().await).await?
    }

    /// [`Cluster::stop_api_server`], then [`Cluster::start_api_server`].
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart_api_server(&self) -> Result<(), Error> {
        self.stop_api_server();
        self.start_api_server().await
    }

    /// The API server's process id, while it runs.
    pub fn apiserver_pid(&self) -> Option<u32> {
        self.running_api_server().as_ref().map(Process::pid)
    }

    /// The process ids of everything that runs: etcd, the API server, the controller-manager.
    pub fn pids(&self) -> Vec<u32> {
        let manager = self.controller_manager.as_ref().map(Process::pid);
        let ids = [Some(self.etcd.pid()), self.apiserver_pid(), manager];
        ids.into_iter().flatten().collect()
    }

    /// The folder with the cluster's logs and kubeconfigs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a part (`etcd`, `kube-apiserver`, `kube-controller-manager`) has logged so far.
    ///
    /// # Errors
    /// When there is no such log.
    pub fn log(&self, part: &str) -> Result<String, Error> {
        let path = self.log_path(part);
        fs::read_to_string(&path).during(|| format!("read {}", path.display()))
    }

    /// The requests that the API server answers from now on.
    ///
    /// # Errors
    /// [`Error::Usage`] when the cluster was built without [`Builder::with_audit_log`].
    pub fn audit_log(&self) -> Result<AuditLog, Error> {
        if !self.audited {
            let cure = "this cluster keeps no audit log: build it with `with_audit_log()`";
            return Err(Error::Usage(cure.into()));
        }
        AuditLog::from_now(self.folder.path().join(AUDIT_LOG))
    }

    /// One try: `Err` when it is not ready yet, `Ok(Err)` when waiting is in vain.
    async fn ready(&self) -> Result<Result<(), Error>, Error> {
        if let Err(ended) = self.etcd.check_running() {
            return Ok(Err(ended));
        }
        match self.running_api_server().as_ref().map(Process::check_running) {
            Some(Ok(())) => {}
            Some(Err(ended)) => return Ok(Err(ended)),
            None => return Ok(Err(Error::Usage("the API server was stopped".into()))),
        }
        get_text(&self.client().await?, "readyz").await?;
        Ok(Ok(()))
    }

    fn log_path(&self, part: &str) -> PathBuf {
        self.folder.path().join(format!("{part}.log"))
    }

    fn running_api_server(&self) -> MutexGuard<'_, Option<Process>> {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cluster that all tests of a program share, started by the first that asks. Keep it in a `static`.
///
/// A test that stops the API server, or counts what the whole cluster does, wants a cluster of its own.
#[derive(Debug)]
pub struct Shared {
    settings: fn() -> Builder,
    cluster: OnceCell<Cluster>,
}

impl Shared {
    /// A cluster with these settings, not started yet.
    pub const fn new(settings: fn() -> Builder) -> Self {
        Self {
            settings,
            cluster: OnceCell::const_new(),
        }
    }

    /// The cluster; it holds nothing that belongs to a runtime.
    ///
    /// # Errors
    /// When a program is missing or does not become ready; the next caller tries again.
    pub async fn get(&self) -> Result<&Cluster, Error> {
        let start = || (self.settings)().start();
        self.cluster.get_or_try_init(start).await
    }
}

/// A client for a kubeconfig's file; it belongs to the runtime that asks.
///
/// # Errors
/// When the file, or the certificate that it names, cannot be read.
pub async fn client(kubeconfig: &Path) -> Result<Client, Error> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Ok(Client::try_from(config)?)
}

/// Gets `/path` as text.
pub(crate) async fn get_text(client: &Client, path: &str) -> Result<String, Error> {
    let request = Request::new("")
        .get(path, &GetParams::default())
        .map_err(|error| Error::Usage(format!("the path {path}: {error}")))?;
    Ok(client.request_text(request).await?)
}
