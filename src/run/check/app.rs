//! The App that a Token names: one of the same manifests, else the cluster's.

use kube::Client;

use super::super::object_spec::key_secret;
use super::{Broken, Chain, CheckOptions, cluster, manifest};
use crate::cluster::AppObject;
use crate::domain::intent::AppKey;

/// The App object; `None` for the operator's own App. A cluster that it takes and that is not known yet is looked for.
pub(super) async fn of(
    chain: &mut Chain,
    cluster: &mut Option<Client>,
    options: &CheckOptions,
    key: &AppKey,
) -> Result<Option<AppObject>, Broken> {
    let AppKey::Object { namespace, name } = key else {
        return Ok(None);
    };
    let place = namespace.as_deref().unwrap_or(&options.namespace);
    let given = options.apps.iter().find(|app| manifest::is_of(app, place, name));
    let given = given.map(|app| chain.need("app", manifest::app(app.clone())));
    let given = given.transpose()?;
    let instead = match given.as_ref().map(key_secret) {
        None => Some(format!(
            "leave spec.appRef out, or give the App by -f as well: to check the App {name}, it has to be read"
        )),
        Some(Some(secret)) => Some(format!(
            "leave spec.appRef out: the key of the App {name} is in the Secret {place}/{secret}, which has to be read"
        )),
        Some(None) => None,
    };
    if let (None, Some(instead)) = (&cluster, instead) {
        *cluster = Some(cluster::connected(chain, options, &instead).await?);
    }
    match (given, &cluster) {
        (Some(given), _) => {
            chain.good("app", format!("{place}/{name} as the manifest has it"));
            Ok(Some(given))
        }
        (None, Some(cluster)) => cluster::app(chain, cluster, place, name).await.map(Some),
        (None, None) => Err(Broken),
    }
}
