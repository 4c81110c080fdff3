//! Names that others rely on: the API group, Secret types, labels, annotations, finalizer.

/// The API group of every kind.
pub const GROUP: &str = "github.as-code.io";
/// The API version of every kind.
pub const VERSION: &str = "v1";
/// `app.kubernetes.io/part-of` and `created-by` of a managed Secret, our field manager, and the
/// reporting controller of Events.
pub const MANAGER: &str = "github-token-manager";
/// The Lease of the leader: the one that isometry/github-token-manager takes, so that during an
/// upgrade only one of the two works.
pub const LEASE: &str = "github.as-code.io";
/// The username GitHub takes with an installation token over HTTPS
/// (<https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation>).
pub const USERNAME: &str = "x-access-token";
/// Holds a managed Secret until its token is revoked, or the deadline for that is over.
pub const FINALIZER: &str = "github.as-code.io/revoke-token";

/// Secret types.
pub mod secret_type {
    /// Key `token`.
    pub const TOKEN: &str = "github.as-code.io/token";
    /// Keys `username` and `password`.
    pub const BASIC_AUTH: &str = "github.as-code.io/basic-auth";
    /// Kubernetes' own type for registry credentials.
    pub const DOCKER_CONFIG_JSON: &str = "kubernetes.io/dockerconfigjson";
    /// Everything else.
    pub const OPAQUE: &str = "Opaque";
}

/// Labels of a managed Secret.
pub mod label {
    /// The owner's kind: `Token` or `ClusterToken`.
    pub const NAME: &str = "app.kubernetes.io/name";
    /// The owner's name.
    pub const INSTANCE: &str = "app.kubernetes.io/instance";
    /// [`super::MANAGER`].
    pub const PART_OF: &str = "app.kubernetes.io/part-of";
    /// [`super::MANAGER`]: what managed Secrets are watched by.
    pub const CREATED_BY: &str = "app.kubernetes.io/created-by";
}

/// Annotations.
pub mod annotation {
    /// What every annotation of ours starts with.
    pub const PREFIX: &str = "github.as-code.io/";
    /// On a Token: a new value asks for a new token now. On a Secret: the last value that was served.
    pub const REFRESH_REQUESTED: &str = "github.as-code.io/refresh-requested-at";
    /// On a Secret: hash of App, installation, permissions and repositories that the token was issued for.
    pub const SCOPE_HASH: &str = "github.as-code.io/scope-hash";
    /// On a Secret: the App object that issued the token, as NAMESPACE/NAME; none stands for the operator's own App.
    pub const APP: &str = "github.as-code.io/app";
    /// On a Secret: base URL of the GitHub that issued the token, and to which alone it is sent to be revoked; none, as on Secrets of before
    /// this was noted, stands for the GitHub of that App.
    pub const BASE_URL: &str = "github.as-code.io/base-url";
    /// On a Secret: RFC 3339, from GitHub's answer.
    pub const EXPIRES_AT: &str = "github.as-code.io/expires-at";
    /// On a Secret: RFC 3339, by GitHub's clock.
    pub const ISSUED_AT: &str = "github.as-code.io/issued-at";
    /// On a Secret: base64 of SHA-256 of the token: `hashed_token` in GitHub's audit log
    /// (<https://docs.github.com/en/organizations/keeping-your-organization-secure/managing-security-settings-for-your-organization/identifying-audit-log-events-performed-by-an-access-token>).
    pub const HASHED_TOKEN: &str = "github.as-code.io/hashed-token";
    /// On a Secret: RFC 3339, when `gtm release` let go of it; it is not held again before it is written to again.
    pub const RELEASED: &str = "github.as-code.io/released-at";
    /// On a Secret: hash of the keys and values that we wrote, and of what the annotations above say of them.
    pub const CONTENT_HASH: &str = "github.as-code.io/content-hash";
    /// On a Secret: hash of the labels and annotations that the spec asks for.
    pub const METADATA_HASH: &str = "github.as-code.io/metadata-hash";
    /// On a Secret: the format, and for templates a hash of the text.
    pub const FORMAT: &str = "github.as-code.io/format";
}

/// Names of the webhook.
pub mod webhook {
    /// The Secret of the operator's namespace that holds the webhook's own certificate authority.
    pub const AUTHORITY: &str = "github-token-manager-webhook-ca";
    /// The Service by which the API server reaches the webhook, where no configuration names another.
    pub const SERVICE: &str = "github-token-manager-webhook";
    /// The label of webhook configurations that are ours.
    pub const LABEL: &str = "github.as-code.io/webhook-configuration";
    /// The value of [`LABEL`].
    pub const OURS: &str = "true";
    /// What the annotations begin with by which cert-manager's CA injector is asked to write `caBundle`
    /// (<https://cert-manager.io/docs/concepts/ca-injector/>).
    pub const INJECTED: &str = "cert-manager.io/inject-";
    /// Our field manager for `caBundle`, and for nothing else.
    pub const FIELD_MANAGER: &str = "github-token-manager-webhook";
    /// On the authority's Secret: when the newest authority was read back from every configuration, RFC 3339.
    pub const PUBLISHED_AT: &str = "github.as-code.io/authority-published-at";
    /// On the authority's Secret: when the present signer became it, RFC 3339.
    pub const SWITCHED_AT: &str = "github.as-code.io/authority-switched-at";
}

/// What may follow [`annotation::PREFIX`] on a pod. Behind each, `.ID` may stand, for several tokens in one pod.
pub mod pod {
    /// A Token of the pod's namespace.
    pub const TOKEN: &str = "token";
    /// A ClusterToken that keeps its Secret in the pod's namespace.
    pub const CLUSTER_TOKEN: &str = "cluster-token";
    /// How the token is given: any of `file`, `git`, `env`.
    pub const INJECT: &str = "inject";
    /// Names of containers, or `*`.
    pub const CONTAINERS: &str = "containers";
    /// Where the file with the token is: a folder.
    pub const MOUNT_PATH: &str = "mount-path";
    /// The file's mode, octal.
    pub const FILE_MODE: &str = "file-mode";
    /// Names of the variables that hold the token.
    pub const ENV: &str = "env";
    /// What happens where a variable is there already: `keep`, `override`, `deny`.
    pub const ENV_CONFLICT: &str = "env-conflict";
    /// The hosts that git sends the token to.
    pub const GIT_HOSTS: &str = "git-hosts";
    /// Whether git goes over HTTPS where a remote says SSH.
    pub const GIT_SSH_REWRITE: &str = "git-ssh-rewrite";
    /// What happens while there is no such Token: `deny`, `wait`, `ignore`.
    pub const ON_MISSING: &str = "on-missing";
    /// Written by the webhook, never read.
    pub const STATUS: &str = "status";
    /// Every key that is read.
    pub const ALL: [&str; 11] = [
        TOKEN,
        CLUSTER_TOKEN,
        INJECT,
        CONTAINERS,
        MOUNT_PATH,
        FILE_MODE,
        ENV,
        ENV_CONFLICT,
        GIT_HOSTS,
        GIT_SSH_REWRITE,
        ON_MISSING,
    ];
}
