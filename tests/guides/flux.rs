//! `docs/guides/flux.md`, with Flux's own source-controller and its newest git library.

use lab::browser::{Browser, Form};
use lab::cluster::Cluster;
use lab::flux::SourceController;
use lab::github::{GitHub, Installation, Level, Permissions, Registration, Settings, TokenState, hashed};
use lab::tools::Tool;
use lab::wait::eventually;
use serde_json::Value;

use crate::guide::Guide;
use crate::world::{INSTALLATION, SOON, World, crds};

/// A GitRepository's status.
fn source(world: &World) -> Value {
    let text = world.sh("kubectl -n flux-system get gitrepository fleet -o json");
    serde_json::from_str(&text).expect("JSON")
}

/// Waits until source-controller has reconciled the object as it was last changed, and what it says then.
async fn fetched(world: &World, status: &str) -> String {
    eventually(SOON, &format!("source-controller says Ready={status}"), async || {
        let now = source(world);
        let conditions = now["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        match ready {
            Some(ready) if ready["status"] == status => Ok(ready["message"].to_string()),
            _ => Err(now["status"].to_string()),
        }
    })
    .await
}

/// Asks source-controller to fetch now, and waits until it has.
async fn fetch_again(world: &World, request: &str) {
    world.sh(&format!(
        "kubectl -n flux-system annotate --overwrite gitrepository fleet reconcile.fluxcd.io/requestedAt={request}"
    ));
    eventually(SOON, "source-controller fetches again", async || {
        let now = source(world);
        (now["status"]["lastHandledReconcileAt"] == request)
            .then_some(())
            .ok_or_else(|| now["status"].to_string())
    })
    .await;
    fetched(world, "True").await;
}

/// What Flux's newest git library says of the Secret: the commit that it cloned.
fn clone_with_library(world: &World, branch: &str, folder: &str) -> String {
    let url = world.here("https://github.com/acme/fleet");
    world.sh(&format!(
        "kubectl -n flux-system get secret github-token -o json | flux-reader {url} {branch} {folder}"
    ))
}

fn good(github: &GitHub, token: &str) -> bool {
    matches!(github.token_state(token), TokenState::Valid { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_flux_gets_from_a_hand_made_token_to_the_app_and_back_to_work() {
    let guide = Guide::read("flux.md");
    let mut world = World::with(Cluster::builder().with_crds(crds()), |settings| Settings {
        app_id: 1000,
        app_slug: "by-hand".to_owned(),
        ..settings
    })
    .await;
    world.program("flux-reader", &Tool::FluxReader.find().expect("Flux's git library"));
    world.sh("kubectl create namespace flux-system");
    let flux = SourceController::start(&world.cluster)
        .await
        .expect("source-controller");

    // What the person has: a token made by hand (here: of another App), in a Secret that nobody manages.
    let by_hand = world.sh(&format!(
        "gtm mint --app-id 1000 --installation-id {INSTALLATION} --key private-key.pem; rm private-key.pem"
    ));
    let by_hand = by_hand.trim();
    world.sh(&format!(
        "kubectl -n flux-system create secret generic github-token \
         --from-literal=username=git --from-literal=password={by_hand}"
    ));
    world.follow(guide.block("kind: GitRepository"));
    fetched(&world, "True").await;

    // The App and the operator.
    let hand_made = world.github.clone();
    world.github = register(&world, &guide).await;
    world.follow(guide.block("owner: acme"));
    world.follow(guide.block("GTM_KEY=private-key.pem gtm check --config gtm.yaml\n"));
    world.follow(guide.block("create secret generic gtm-config"));
    let _operator = world.operator().await;

    // The Token: tried before it is applied, then it waits for the Secret of old, which stays as it is.
    world.follow(guide.block("workflows: write"));
    let before = world.github.mint_count();
    world.follow(guide.block("gtm.yaml -f token.yaml"));
    assert_eq!(world.github.mint_count(), before + 1);
    world.follow(guide.block("kubectl apply -f token.yaml"));
    world.follow(guide.block("SecretConflict"));
    assert_eq!(world.secret("flux-system", "github-token", "password"), by_hand);

    // Handed over: Flux goes on with the same Secret.
    let start = tokio::time::Instant::now();
    world.follow(guide.block("delete secret github-token"));
    // A taken name is looked at again every minute; nobody waits for that here.
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let token = world.secret("flux-system", "github-token", "password");
    assert!(token != by_hand && good(&world.github, &token));
    assert_eq!(
        world.secret("flux-system", "github-token", "username"),
        "x-access-token"
    );
    assert!(good(&hand_made, by_hand), "the old token still works");
    fetch_again(&world, "1").await;

    // What image automation does, with git and GitHub's API; and Flux reads what was pushed.
    let opened = world.follow(guide.block("git switch"));
    let opened: Value = serde_json::from_str(&opened).expect("JSON");
    assert_eq!(opened["head"]["ref"], "image-updates", "{opened}");
    let commit = clone_with_library(&world, "image-updates", "clone-1");
    assert_eq!(opened["head"]["sha"], commit.trim());

    the_audit_trail_leads_to_the_token(&world, &guide, &token);
    a_rotation_goes_unnoticed(&world, &token).await;
    world.follow(guide.block("token flux-system/github-token"));
    assert!(!flux.logs().contains(&*token), "not even Flux logs it");
}

/// Follows the guide's first command, and does in the browser what the person does: the App that comes of it, installed.
async fn register(world: &World, guide: &Guide) -> GitHub {
    world.github.number_next_app(1234);
    world.script("xdg-open", "echo \"$1\" > opened\n");
    let opened = world.folder.path().join("opened");
    let person = async {
        let browser = Browser::new().expect("a browser");
        let page = eventually(SOON, "a browser is opened", async || {
            let url = std::fs::read_to_string(&opened).map_err(|error| error.to_string())?;
            let url = url.strip_suffix('\n').ok_or("it is being written")?;
            browser.open(url).await.map_err(|error| error.to_string())
        })
        .await;
        let form = Form::of(&page.text).expect("a form");
        let back = browser
            .post(&form)
            .await
            .expect("GitHub answers")
            .location
            .expect("a way back");
        browser.open(&back).await.expect("the way back");
    };
    let said = std::thread::scope(|scope| {
        let running = scope.spawn(|| world.follow(guide.block("gtm app create")));
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(person));
        running.join().expect("the command is followed")
    });
    for line in ["app_id: 1234", "owner: acme", "/apps/acme-flux/installations/new"] {
        assert!(said.contains(line), "no {line} in {said}");
    }
    let registration = world.github.registrations().pop().expect("an App");
    let installation = world
        .github
        .installation(INSTALLATION)
        .expect("the account's repositories");
    registration.app.install(Installation {
        permissions: asked_for(&registration),
        ..installation
    });
    registration.app
}

/// What the manifest asks for is what the owner grants.
fn asked_for(registration: &Registration) -> Permissions {
    let asked = registration.manifest["default_permissions"].clone();
    serde_json::from_value(asked).expect("permissions")
}

fn the_audit_trail_leads_to_the_token(world: &World, guide: &Guide, token: &str) {
    assert_eq!(world.follow(guide.block("hashedToken}'\n")), hashed(token));
    assert_eq!(
        world.follow(guide.block("grep -F")).trim(),
        format!("{} flux-system/github-token", hashed(token))
    );
}

async fn a_rotation_goes_unnoticed(world: &World, token: &str) {
    world.sh(
        "kubectl -n flux-system annotate --overwrite token github-token github.as-code.io/refresh-requested-at=again",
    );
    let new = eventually(SOON, "a new token", async || {
        let now = world.secret("flux-system", "github-token", "password");
        (now != token && good(&world.github, &now))
            .then_some(now)
            .ok_or("the same")
    })
    .await;
    assert!(
        good(&world.github, token),
        "whoever is in the middle of a clone is not cut off"
    );
    fetch_again(world, "2").await;
    // The old one is over: what Flux does next, it does with the new one.
    let revoke = format!(
        "curl -sS -X DELETE -H 'Authorization: Bearer {token}' -H 'User-Agent: test' {}/installation/token",
        world.github.url()
    );
    world.sh(&revoke);
    fetch_again(world, "3").await;
    clone_with_library(world, "main", "clone-2");
    assert!(good(&world.github, &new));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_complaint_has_its_line() {
    let guide = Guide::read("flux.md");
    let world = World::new().await;
    world.follow(guide.block("owner: acme"));
    let check = |permissions: &str, repository: &str| {
        let manifest = guide
            .block("workflows: write")
            .text
            .replace("- fleet", &format!("- {repository}"));
        let (head, tail) = manifest.split_once("  permissions:\n").expect("permissions");
        let (_, tail) = tail.split_once("  repositories:").expect("repositories");
        world.file(
            "token.yaml",
            &format!("{head}  permissions: {permissions}\n  repositories:{tail}"),
        );
        let output = world.try_sh("GTM_KEY=private-key.pem gtm check --config gtm.yaml -f token.yaml -o json");
        let links: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        move |name: &str| {
            let link = links
                .as_array()
                .expect("links")
                .iter()
                .find(|link| link["check"] == name);
            link.map(|link| {
                (
                    link["verdict"].as_str().unwrap_or_default().to_owned(),
                    link["message"].to_string(),
                )
            })
        }
    };
    let lines: Vec<&str> = ["authentication", "repositories", "can push", "can open a pull request"].into();
    for line in &lines {
        assert!(guide.text.contains(&format!("| `{line}` |")), "the guide lacks {line}");
    }
    let all = check("{contents: write, pull_requests: write, workflows: write}", "fleet");
    for line in &lines {
        let (verdict, message) = all(line).unwrap_or_else(|| panic!("no {line}"));
        assert_eq!(verdict, "good", "{line}: {message}");
    }
    let reader = check("{contents: read}", "fleet");
    for (line, complaint) in [
        ("can push", "Cannot push to branch"),
        ("can open a pull request", "Cannot create PR"),
    ] {
        let (verdict, message) = reader(line).expect(line);
        assert!(
            verdict == "doubtful" && message.contains(complaint),
            "{line}: {verdict} {message}"
        );
        assert!(
            guide.text.contains(&format!("\"{complaint}\"")),
            "the guide lacks {complaint}"
        );
    }
    // GitHub really refuses what the check doubts.
    world.github.grant(
        INSTALLATION,
        lab::github::permissions([("contents", Level::Read), ("metadata", Level::Read)]),
    );
    let refused = check("{contents: write}", "fleet");
    let (verdict, message) = refused("permissions").expect("permissions");
    assert!(
        verdict == "bad" && message.contains("PermissionsNotGranted"),
        "{message}"
    );
    let absent = check("{contents: read}", "nowhere");
    let (verdict, message) = absent("permissions").expect("permissions");
    assert!(
        verdict == "bad" && message.contains("RepositoryNotAccessible"),
        "{message}"
    );
}
