//! The operator as a process: `gtm manager` with its flags, its log, its metrics.

mod metrics;
mod webhook;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

pub use metrics::Metrics;
pub use webhook::configurations;

use crate::{
    error::Error,
    process::{Folder, Port, Process, Usage},
    wait::wait_for,
};

/// Time for the operator to become ready, and for one answer of its HTTP servers.
const READY: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(5);

/// How an operator is started.
#[derive(Debug, Clone)]
pub struct Builder {
    program: PathBuf,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
}

impl Builder {
    /// A flag or an argument after `gtm manager`.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.args.push(argument.into());
        self
    }

    /// A variable of its environment, which is otherwise empty: nothing of the caller's leaks in.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// The startup file (`--config`).
    #[must_use]
    pub fn config(self, file: &Path) -> Self {
        self.arg("--config").arg(file)
    }

    /// The operator's own namespace (`--namespace`).
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        self.arg("--namespace").arg(namespace)
    }

    /// Whether replicas elect a leader (`--leader-elect`); the last word counts.
    #[must_use]
    pub fn leader_elect(mut self, elect: bool) -> Self {
        const FLAG: &str = "--leader-elect=";
        self.args.retain(|arg| !arg.to_string_lossy().starts_with(FLAG));
        self.arg(format!("{FLAG}{elect}"))
    }

    /// What it logs (`--log-level`), such as `trace`.
    #[must_use]
    pub fn log_level(self, level: &str) -> Self {
        self.arg("--log-level").arg(level)
    }

    /// `text` or `json` (`--log-format`).
    #[must_use]
    pub fn log_format(self, format: &str) -> Self {
        self.arg("--log-format").arg(format)
    }

    /// Starts it and waits until its `/readyz` says that it is ready.
    ///
    /// # Errors
    /// When it cannot be started, ends, or is not ready within 30 s.
    pub async fn start(self) -> Result<Operator, Error> {
        let operator = self.spawn()?;
        operator.ready().await?;
        Ok(operator)
    }

    /// Starts it and waits for nothing: for a start that should fail.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(self) -> Result<Operator, Error> {
        let folder = Folder::new()?;
        let (metrics, health) = (Port::take()?, Port::take()?);
        let process = self.process(&folder, &metrics, &health)?;
        Ok(Operator {
            process,
            builder: self,
            metrics,
            health,
            folder,
        })
    }

    fn process(&self, folder: &Folder, metrics: &Port, health: &Port) -> Result<Process, Error> {
        let mut command = Command::new(&self.program);
        command
            .arg("manager")
            .arg(format!("--metrics-bind-address={}", metrics.address()))
            .arg(format!("--health-probe-bind-address={}", health.address()))
            .args(&self.args)
            .env_clear()
            .envs(&self.env);
        Process::start("gtm", command, &folder.path().join("gtm.log"))
    }
}

/// A running operator; dropping it kills it.
#[derive(Debug)]
pub struct Operator {
    process: Process,
    builder: Builder,
    metrics: Port,
    health: Port,
    folder: Folder,
}

impl Operator {
    /// An operator of the program `gtm` for the cluster of `kubeconfig`.
    pub fn builder(gtm: impl Into<PathBuf>, kubeconfig: &Path) -> Builder {
        let builder = Builder {
            program: gtm.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
        };
        // A test that wants the webhook says where: the flag wins over the variable.
        builder
            .env("KUBECONFIG", kubeconfig)
            .env("GTM_WEBHOOK_BIND_ADDRESS", "0")
    }

    /// Its process: signals, exit status, process id.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Everything that it has logged so far, also before a restart.
    pub fn logs(&self) -> String {
        self.process.log()
    }

    /// Waits until its `/readyz` answers 200.
    ///
    /// # Errors
    /// [`Error::Exited`] when it ends, [`Error::Timeout`] after 30 s; both with the end of its log.
    pub async fn ready(&self) -> Result<(), Error> {
        wait_for(READY, "the operator's /readyz", async || {
            match self.process.check_running() {
                Err(ended) => Ok(Err(ended)),
                Ok(()) => match self.probe("readyz").await {
                    Ok(_) => Ok(Ok(())),
                    Err(error) => Err(format!("{error}; its log ends with:\n{}", self.process.log_tail())),
                },
            }
        })
        .await?
    }

    /// Asks its health server for `/PATH` (`healthz`, `readyz`) and returns the body.
    ///
    /// # Errors
    /// When it does not answer 200 within 5 s.
    pub async fn probe(&self, path: &str) -> Result<String, Error> {
        get(&self.health, path).await
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// When it does not answer 200 within 5 s.
    pub async fn metrics(&self) -> Result<Metrics, Error> {
        Ok(Metrics::new(get(&self.metrics, "metrics").await?))
    }

    /// Stops it where it is (SIGSTOP).
    ///
    /// # Errors
    /// When it is no longer running.
    pub fn pause(&self) -> Result<(), Error> {
        self.process.pause()
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it is no longer running.
    pub fn resume(&self) -> Result<(), Error> {
        self.process.resume()
    }

    /// Kills it (SIGKILL).
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// When it was no longer running, or still runs after `within`.
    pub async fn terminate(&self, within: Duration) -> Result<ExitStatus, Error> {
        self.process.terminate(within).await
    }

    /// Kills it if it still runs, and starts it again with the same settings and addresses; waits until it is ready.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.process.kill();
        self.process = self.builder.process(&self.folder, &self.metrics, &self.health)?;
        self.ready().await
    }

    /// The memory and processor time that it uses.
    ///
    /// # Errors
    /// When it is no longer running.
    pub fn usage(&self) -> Result<Usage, Error> {
        self.process.usage()
    }
}

async fn get(port: &Port, path: &str) -> Result<String, Error> {
    // A client for each call: a kept connection would belong to one test's runtime, and to one life of the operator.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(ANSWER)
        .build()?;
    let url = format!("http://{}/{path}", port.address());
    let answer = client.get(url).send().await?.error_for_status()?;
    Ok(answer.text().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prints what it was given and ends, to check the wrapper where no operator is built. A file of the sources: one
    /// written by a test can be "busy" when another test forks meanwhile.
    const ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/gtm/echo.sh");

    #[tokio::test]
    async fn flags_and_environment_reach_the_operator_and_nothing_else_does() {
        let operator = Operator::builder(ECHO, Path::new("/admin.kubeconfig"))
            .config(Path::new("/gtm.yaml"))
            .namespace("own")
            .leader_elect(false)
            .env("GTM_KEY", "value")
            .spawn()
            .unwrap();
        let status = operator.process().wait(READY).await.unwrap();
        assert_eq!(status.code(), Some(2));
        let log = operator.logs();
        let (args, env) = log.split_once('\n').unwrap();
        assert!(
            args.starts_with("args: manager --metrics-bind-address=127.0.0.1:"),
            "{args}"
        );
        assert!(args.contains(" --health-probe-bind-address=127.0.0.1:"), "{args}");
        let given = " --config /gtm.yaml --namespace own --leader-elect=false";
        assert!(args.ends_with(given), "{args}");
        assert!(
            env.contains("KUBECONFIG=/admin.kubeconfig") && env.contains("GTM_KEY=value"),
            "{env}"
        );
        assert!(std::env::var_os("HOME").is_some() && !env.contains("HOME="), "{env}");
    }

    #[tokio::test]
    async fn an_operator_that_ends_is_not_waited_for_and_its_log_is_quoted() {
        let mut operator = Operator::builder(ECHO, Path::new("/admin.kubeconfig")).spawn().unwrap();
        let error = operator.ready().await.unwrap_err();
        assert!(matches!(error, Error::Exited { .. }), "{error}");
        assert!(error.to_string().contains("args: manager"), "{error}");
        operator.restart().await.unwrap_err();
        assert_eq!(operator.logs().matches("args: manager").count(), 2);
    }
}
