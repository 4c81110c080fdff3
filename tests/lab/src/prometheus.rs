//! The kinds of the Prometheus operator, without the operator.

use crate::cluster::Cluster;
use crate::error::Error;
use crate::tools::module;

/// Installs the kinds that say what is scraped, and when an alert fires.
///
/// # Errors
/// When they cannot be had, or the API server refuses one.
pub async fn install_kinds(cluster: &Cluster) -> Result<(), Error> {
    let source = module(
        "prometheus-operator",
        "github.com/prometheus-operator/prometheus-operator",
    )?;
    for kind in ["podmonitors", "prometheusrules", "servicemonitors"] {
        let file = format!("example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml");
        cluster.install_crds_of(&source.join(file)).await?;
    }
    Ok(())
}
