//! The webhook's configurations, of which only `caBundle` is ours, and the Secret of its certificate authority.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};

use crate::api::names::webhook::{AUTHORITY, FIELD_MANAGER, INJECTED, LABEL, OURS};

use super::ClusterError;
use super::watch::heard;

/// A MutatingWebhookConfiguration or ValidatingWebhookConfiguration of ours, as it was read.
#[derive(Clone, Debug)]
pub struct Configuration {
    resource: ApiResource,
    /// Its name.
    pub name: String,
    resource_version: Option<String>,
    /// Whether cert-manager writes `caBundle` as well.
    pub injected: bool,
    /// Its webhooks that call this operator.
    pub hooks: Vec<Hook>,
}

impl Configuration {
    /// Whether it is about pods, and not about our own kinds.
    #[must_use]
    pub fn is_mutating(&self) -> bool {
        self.resource.kind == MutatingWebhookConfiguration::kind(&())
    }
}

/// One webhook of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// Whom it trusts: PEM.
    pub ca_bundle: Vec<u8>,
    /// The host by which it calls: of its URL, or `SERVICE.NAMESPACE.svc`.
    pub host: String,
}

/// The webhook configurations that are ours: with our label, and calling our namespace or a URL.
#[derive(Clone)]
pub struct Configurations {
    client: Client,
    namespace: String,
}

impl Configurations {
    /// Over this client; `namespace` is the operator's own.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        Configurations { client, namespace }
    }

    fn resources() -> [ApiResource; 2] {
        [
            ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        ]
    }

    /// All of them, as they are now.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub async fn list(&self) -> Result<Vec<Configuration>, ClusterError> {
        let mut found = Vec::new();
        for resource in Self::resources() {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let all = api
                .list(&ListParams::default().labels(&format!("{LABEL}={OURS}")))
                .await?;
            found.extend(all.into_iter().map(|object| self.read(resource.clone(), &object)));
        }
        Ok(found)
    }

    fn read(&self, resource: ApiResource, object: &DynamicObject) -> Configuration {
        let hooks = object.data.get("webhooks").and_then(Value::as_array);
        Configuration {
            resource,
            name: object.name_any(),
            resource_version: object.resource_version(),
            injected: object.annotations().keys().any(|name| name.starts_with(INJECTED)),
            hooks: hooks.into_iter().flatten().filter_map(|hook| self.hook(hook)).collect(),
        }
    }

    fn hook(&self, hook: &Value) -> Option<Hook> {
        let client = hook.get("clientConfig")?;
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let host = match client.get("service") {
            Some(service) => {
                let namespace = text(service, "namespace").filter(|namespace| *namespace == self.namespace)?;
                format!("{}.{namespace}.svc", text(service, "name")?)
            }
            None => {
                let url = url::Url::parse(&text(client, "url")?).ok()?;
                url.host_str()?.trim_matches(['[', ']']).to_owned()
            }
        };
        Some(Hook {
            name: text(hook, "name")?,
            ca_bundle: STANDARD
                .decode(text(client, "caBundle").unwrap_or_default())
                .unwrap_or_default(),
            host,
        })
    }

    /// Makes every webhook of a configuration trust what `pem` says for it. Server-side apply under a field manager of its own owns
    /// `caBundle` and nothing else; the resource version keeps a webhook that was taken away meanwhile from coming back.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::Conflict`]: read again.
    pub async fn trust(
        &self,
        configuration: &Configuration,
        pem: impl Fn(&Hook) -> String,
    ) -> Result<(), ClusterError> {
        let hooks = configuration.hooks.iter();
        let hooks: Vec<Value> = hooks
            .map(|hook| json!({"name": hook.name, "clientConfig": {"caBundle": STANDARD.encode(pem(hook))}}))
            .collect();
        let resource = &configuration.resource;
        let patch = json!({"apiVersion": resource.api_version, "kind": resource.kind, "webhooks": hooks,
            "metadata": {"name": configuration.name, "resourceVersion": configuration.resource_version}});
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(&configuration.name, &params, &Patch::Apply(&patch)).await?;
        Ok(())
    }

    /// Something is said whenever a configuration of ours, or the authority's Secret, changes.
    pub fn changes(&self) -> BoxStream<'static, ()> {
        let ours = || watcher::Config::default().labels(&format!("{LABEL}={OURS}"));
        let secret = watcher::Config::default().fields(&format!("metadata.name={AUTHORITY}"));
        let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = [
            heard(self.metadata::<MutatingWebhookConfiguration>(), ours()),
            heard(self.metadata::<ValidatingWebhookConfiguration>(), ours()),
            heard(secrets, secret),
        ];
        stream::select_all(all).boxed()
    }

    fn metadata<K: Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>>(
        &self,
    ) -> Api<PartialObjectMeta<K>> {
        Api::all(self.client.clone())
    }
}

/// The Secret of the webhook's own certificate authority.
#[derive(Clone)]
pub struct Authorities(Api<Secret>);

impl Authorities {
    /// Over this client; `namespace` is the operator's own.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Authorities(Api::namespaced(client, namespace))
    }

    /// The Secret, if it exists.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub async fn get(&self) -> Result<Option<Secret>, ClusterError> {
        Ok(self.0.get_opt(AUTHORITY).await?)
    }

    /// Writes the Secret: replaces the one of its resource version, or creates it where it has none.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::Conflict`] and [`ClusterError::Exists`]: another replica was faster.
    pub async fn put(&self, secret: &Secret) -> Result<(), ClusterError> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        if secret.metadata.resource_version.is_some() {
            self.0.replace(AUTHORITY, &params, secret).await?;
        } else {
            self.0.create(&params, secret).await?;
        }
        Ok(())
    }
}
