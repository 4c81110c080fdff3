//! GitHub holds the App, the API server takes no Secrets, and tokens are not revoked in time.

use lab::github::{Fault, Route};

use super::series::{END, input_series};
use super::{World, failures, firing, promtool, scrape, start, test_of, token};

/// Lets nobody write Secrets in `full`.
const REFUSED: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-secrets}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [secrets]}]
  validations: [{expression: 'false', message: full}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-secrets}
spec:
  policyName: no-secrets
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: full}}}
";

fn held(seconds: u64) -> Fault {
    Fault::SecondaryLimit {
        status: 403,
        retry_after: Some(seconds),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_when_an_app_is_held_secrets_are_refused_and_tokens_are_not_revoked() {
    let world = World::new().await;
    let (operator, _port) = start(&world).await;
    world.sh("kubectl create namespace full");
    world.file("refused.yaml", REFUSED);
    world.sh("kubectl apply -f refused.yaml");
    let probe = "kubectl -n full create secret generic probe --dry-run=server";
    world.sh(&format!(
        "for i in {{1..50}}; do {probe} || exit 0; sleep 0.2; done; exit 1"
    ));
    token(&world, "gone", "{}");
    world.ready("-n team token gone");
    let well = scrape(&operator, "an operator that is well", |metrics| {
        metrics.value("tokens_active", &[("controller", "github-token")]) == Some(1.0)
    })
    .await;

    world.github.fail_while(Some(Route::Revoke), Fault::Unavailable(503));
    world.sh("kubectl -n team delete token gone --wait=false");
    let refused = |name: &str| {
        world.file(
            "refused.yaml",
            &format!(
                "apiVersion: github.as-code.io/v1\nkind: Token\nmetadata: {{name: {name}, namespace: full}}\nspec: {{retryInterval: 1s}}\n"
            ),
        );
        world.sh("kubectl apply -f refused.yaml");
    };
    refused("one");
    let first = scrape(
        &operator,
        "a Secret that is refused",
        failures("SecretWriteFailed", 1.0),
    )
    .await;
    for name in ["two", "three", "four"] {
        refused(name);
    }
    scrape(
        &operator,
        "Secrets that are refused",
        failures("SecretWriteFailed", 4.0),
    )
    .await;
    scrape(&operator, "a revocation that is given up", |metrics| {
        metrics.value("token_revocations_total", &[("result", "abandoned")]) >= Some(1.0)
    })
    .await;
    world.github.fail_next(1, Some(Route::Mint), held(1));
    token(&world, "held", "{retryInterval: 1s}");
    world.ready("-n team token held");
    world.github.fail_while(Some(Route::Mint), held(600));
    token(&world, "waits", "{}");
    let app = [("app", "operator")];
    let more = scrape(&operator, "an App that is held again", |metrics| {
        let value = |name| metrics.value(name, &app);
        value("github_gate_holds_total") >= Some(2.0) && value("github_gate_waiting") >= Some(1.0)
    })
    .await;

    let series = input_series(&[&well, &first, &more]);
    let alert = |name: &str| format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}}");
    let named = |name: &str, severity: &str, rest: &str| {
        firing(&format!("alertname=\"{name}\", severity=\"{severity}\"{rest}"))
    };
    let expected = [
        ("GitHubAppHeld", "warning", ""),
        ("GitHubTokensWait", "warning", ""),
        ("GitHubSecretWriteFails", "warning", ", operation=\"create\""),
        ("GitHubTokenNotRevoked", "info", ""),
    ];
    let queries: Vec<_> = expected.iter().map(|(name, ..)| alert(name)).collect();
    let expectations: Vec<_> = queries
        .iter()
        .zip(&expected)
        .map(|(query, (name, severity, rest))| (query.as_str(), END, named(name, severity, rest)))
        .collect();
    promtool(&test_of(&series, &expectations));
}
