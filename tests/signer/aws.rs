//! AWS KMS, against MiniStack, an emulator that signs for real.

use std::time::Duration;

use lab::keys::{AwsIdentity, Env, Fault, KeyShape, Ministack};
use serde_json::json;

use crate::bench::Bench;
use crate::session::Session;

async fn start() -> Ministack {
    Ministack::start().await.expect("MiniStack starts")
}

fn without(env: Env, gone: &str) -> Env {
    env.into_iter().filter(|(name, _)| name != gone).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_key_mints_by_its_id_its_arn_and_an_alias() {
    let (bench, aws) = (Bench::new().await, start().await);
    let arn = aws.import(&bench.key).await.expect("imported");
    let alias = json!({"AliasName": "alias/team/github", "TargetKeyId": arn});
    aws.call("CreateAlias", &alias).await.expect("made");
    let id = arn.rsplit('/').next().expect("an ID");
    for key in [id, &arn, "alias/team/github"] {
        bench.mints("aws", key, &aws.env()).await;
    }
    // An ARN names its region by itself.
    bench.mints("aws", &arn, &without(aws.env(), "AWS_REGION")).await;
    assert_eq!(bench.github.mint_count(), 4);
    assert_eq!(aws.front.count("TrentService.Sign"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_signatures_verify_outside_of_it_and_the_fingerprint_is_githubs() {
    let (bench, aws) = (Bench::new().await, start().await);
    let arn = aws.import(&bench.key).await.expect("imported");
    let mut session = Session::start("aws", &arn, &aws.env());
    for message in ["header.payload", "another.one"] {
        assert_eq!(session.sign(message).await.is_by(&bench.key, message), arn);
    }
    assert_eq!(aws.front.count("GetPublicKey"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_and_kind_of_key_that_cannot_sign_has_its_own_reason() {
    let aws = start().await;
    let create = async |shape| aws.create_key(shape).await.expect("made");
    let disabled = create(KeyShape::Rsa).await;
    aws.call("DisableKey", &json!({"KeyId": disabled}))
        .await
        .expect("disabled");
    let deleted = create(KeyShape::Rsa).await;
    let asked = json!({"KeyId": deleted, "PendingWindowInDays": 7});
    aws.call("ScheduleKeyDeletion", &asked).await.expect("scheduled");
    let cases = [
        (disabled, "KeyDisabled", "aws kms enable-key"),
        (deleted, "KeyDeleted", "aws kms cancel-key-deletion"),
        (
            create(KeyShape::External).await,
            "KeyPendingImport",
            "aws kms import-key-material",
        ),
        (create(KeyShape::Encrypts).await, "KeyWrongUsage", "SIGN_VERIFY"),
        (create(KeyShape::Elliptic).await, "InvalidKey", "ECC_NIST_P256"),
        ("alias/nobody".to_owned(), "KeyNotFound", "us-east-1"),
    ];
    for (key, reason, cure) in cases {
        let mut session = Session::start("aws", &key, &aws.env());
        session.sign("m").await.fails(reason, &[&key, cure]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_region_or_of_none_says_so() {
    let (bench, aws) = (Bench::new().await, start().await);
    let arn = aws.import(&bench.key).await.expect("imported");
    let id = arn.rsplit('/').next().expect("an ID");
    let mut elsewhere = without(aws.env(), "AWS_REGION");
    let mut session = Session::start("aws", id, &elsewhere);
    session
        .sign("m")
        .await
        .fails("KeyWrongRegion", &["AWS_REGION", "whole ARN"]);
    elsewhere.push(("AWS_REGION".into(), "eu-west-1".into()));
    let mut session = Session::start("aws", id, &elsewhere);
    session
        .sign("m")
        .await
        .fails("KeyNotFound", &["eu-west-1", "AWS_REGION"]);
    // The text is AWS's own for an ARN that is not of the endpoint's region.
    let answer = json!({"__type": "NotFoundException", "message": "Invalid arn eu-west-1"});
    aws.front.fail("", Fault::Status(400, answer, None));
    let mut session = Session::start("aws", &arn, &aws.env());
    session
        .sign("m")
        .await
        .fails("KeyWrongRegion", &["AWS_ENDPOINT_URL_KMS"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_refuses_has_its_own_reason_and_ends_when_it_does() {
    let (bench, aws) = (Bench::new().await, start().await);
    let arn = aws.import(&bench.key).await.expect("imported");
    let answer = |kind: &str| Fault::Status(400, json!({"__type": kind, "message": "lab"}), None);
    let cases = [
        (answer("AccessDeniedException"), "KeyAccessDenied", "kms:Sign"),
        (
            answer("ExpiredTokenException"),
            "KeyCredentialsMissing",
            "ExpiredTokenException",
        ),
        (
            answer("UnrecognizedClientException"),
            "KeyCredentialsMissing",
            "renew them",
        ),
        (answer("ThrottlingException"), "KeyServiceThrottled", "fewer requests"),
        (
            Fault::Status(500, json!({"__type": "KMSInternalException"}), None),
            "KeyUnavailable",
            "again",
        ),
        (Fault::BadSignature, "BadSignature", "proxy"),
        (Fault::Garbage, "KeyUnavailable", "us-east-1"),
        (Fault::Hang, "KeyServiceSlow", "in time"),
    ];
    for (fault, reason, cure) in cases {
        let mut session = Session::start("aws", &arn, &aws.env());
        session.sign("m").await.is_by(&bench.key, "m");
        aws.front.fail("TrentService.Sign", fault);
        let before = aws.front.count("TrentService.Sign");
        session.sign("m").await.fails(reason, &[&arn, cure]);
        // Whoever else waits for a signature does not ask again at once.
        for _ in 0..20 {
            session.sign("m").await.fails(reason, &[]);
        }
        assert!(aws.front.count("TrentService.Sign") - before <= 3, "{reason}");
        aws.front.heal();
        session.forget();
        session.sign("m").await.is_by(&bench.key, "m");
    }
}

/// The variables for this emulator, without credentials.
fn bare(aws: &Ministack, identity: Env) -> Env {
    let bare = without(without(aws.env(), "AWS_ACCESS_KEY_ID"), "AWS_SECRET_ACCESS_KEY");
    [without(bare, "AWS_EC2_METADATA_DISABLED"), identity].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_identity_that_a_pod_can_have_mints() {
    let (bench, aws) = (Bench::new().await, start().await);
    let arn = aws.import(&bench.key).await.expect("imported");
    let hour = jiff::SignedDuration::from_hours(1);
    let identity = AwsIdentity::start(hour).await.expect("it starts");
    let identities = [
        identity.pod_identity(),
        identity.instance_profile(),
        identity.irsa(&aws.front.url()),
        identity.profile().expect("written"),
    ];
    for variables in identities {
        bench.mints("aws", &arn, &bare(&aws, variables)).await;
    }
    assert_eq!(identity.given(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_end_in_the_middle_are_replaced() {
    let (bench, aws) = (Bench::new().await, start().await);
    let arn = aws.import(&bench.key).await.expect("imported");
    // The SDK has new ones ten seconds before the end.
    let identity = AwsIdentity::start(jiff::SignedDuration::from_secs(12))
        .await
        .expect("it starts");
    let mut session = Session::start("aws", &arn, &bare(&aws, identity.pod_identity()));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while identity.given() < 3 {
        session.sign("m").await.is_by(&bench.key, "m");
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(
            tokio::time::Instant::now() < deadline,
            "{} credentials",
            identity.given()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_it_says_where_they_come_from() {
    let aws = start().await;
    let arn = aws.create_key(KeyShape::Rsa).await.expect("made");
    let mut session = Session::start("aws", &arn, &without(aws.env(), "AWS_ACCESS_KEY_ID"));
    session
        .sign("m")
        .await
        .fails("KeyCredentialsMissing", &["IRSA", "AWS_ACCESS_KEY_ID"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_gone_is_told_and_found_again() {
    let (bench, mut aws) = (Bench::new().await, start().await);
    let arn = aws.import(&bench.key).await.expect("imported");
    let env = aws.env();
    let mut session = Session::start("aws", &arn, &env);
    session.sign("m").await.is_by(&bench.key, "m");
    aws.stop();
    session.sign("m").await.fails("KeyUnavailable", &["us-east-1"]);
    aws.restart().await.expect("it starts again");
    let again = aws.import(&bench.key).await.expect("imported");
    Session::start("aws", &again, &env)
        .sign("m")
        .await
        .is_by(&bench.key, "m");
    bench.refuses("aws", &arn, &env, &["knows no key"]).await;
}
