//! A serving certificate from a mounted folder, as cert-manager or the cluster's admin keeps it: read again by content, since the
//! kubelet's swap of a mounted Secret raises no useful file event.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::domain::authority::Life;

use super::certificate::{CertificateError, chain};

/// How often the folder is read.
const POLL: Duration = Duration::from_secs(10);

/// Serves `tls.crt` and `tls.key` of a folder.
pub struct Mounted {
    /// The folder (`--webhook-cert-path`).
    pub folder: PathBuf,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
    /// Where the certificate is served from; nothing once it is over.
    pub serve: watch::Sender<Option<Arc<CertifiedKey>>>,
}

/// What was read last.
#[derive(PartialEq, Eq)]
struct Files([Vec<u8>; 2]);

impl Mounted {
    /// Works for as long as it is polled.
    pub async fn keep(self) {
        let mut last: Option<Result<Files, String>> = None;
        let mut good: Option<(Arc<CertifiedKey>, Life)> = None;
        loop {
            let read = self.read().await;
            if last.as_ref() != Some(&read) {
                match read
                    .as_ref()
                    .map_err(Clone::clone)
                    .and_then(|files| usable(files).map_err(|error| error.0))
                {
                    Ok(new) => {
                        tracing::info!(until = %new.1.until, "a new certificate is served");
                        good = Some(new);
                    }
                    Err(why) => tracing::error!(
                        "--webhook-cert-path {}: {why}; {}",
                        self.folder.display(),
                        if good.is_some() {
                            "the former certificate stays in use"
                        } else {
                            "put tls.crt and tls.key there"
                        }
                    ),
                }
                last = Some(read);
            }
            self.show(good.as_ref());
            sleep(POLL).await;
        }
    }

    async fn read(&self) -> Result<Files, String> {
        let mut found = [Vec::new(), Vec::new()];
        for (name, content) in ["tls.crt", "tls.key"].into_iter().zip(&mut found) {
            let read = tokio::fs::read(self.folder.join(name)).await;
            *content = read.map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(Files(found))
    }

    /// A certificate that is over is not served: the API server would refuse it, and readiness says so.
    fn show(&self, good: Option<&(Arc<CertifiedKey>, Life)>) {
        let now = (self.clock)();
        let valid = good
            .filter(|(_, life)| life.holds(now))
            .map(|(certificate, _)| certificate);
        self.serve.send_if_modified(|served| {
            let same = match (served.as_ref(), valid) {
                (Some(served), Some(valid)) => Arc::ptr_eq(served, valid),
                (None, None) => true,
                _ => false,
            };
            if !same {
                if let (Some((_, life)), None) = (good, valid) {
                    tracing::error!(from = %life.from, until = %life.until, "the mounted certificate is not valid now: renew it");
                }
                *served = valid.cloned();
            }
            !same
        });
    }
}

fn usable(files: &Files) -> Result<(Arc<CertifiedKey>, Life), CertificateError> {
    let Files([certificates, key]) = files;
    chain(certificates, key)
}
