//! Certificates that are made are those that can be read.

use super::*;
use crate::domain::authority::Terms;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn signer() -> Signer {
    Signer::generate(Life::new(now(), Terms::default().authority, Terms::default().backdate)).unwrap()
}

#[test]
fn a_new_authority_is_good_from_five_minutes_ago_for_a_year() {
    let life = signer().facts.life;
    assert_eq!(life.from, Timestamp::from_second(1_800_000_000 - 300).unwrap());
    assert_eq!(
        life.until,
        Timestamp::from_second(1_800_000_000 + 365 * 86_400).unwrap()
    );
}

#[test]
fn an_authority_is_read_back_and_garbage_or_anothers_key_is_not() {
    let (one, other) = (signer(), signer());
    let again = Signer::read(&one.certificate, one.key.clone()).unwrap();
    assert_eq!(again.facts, one.facts);
    assert_ne!(one.facts.id, other.facts.id);
    assert!(Signer::read(&one.certificate, other.key.clone()).is_err());
    assert!(Signer::read(&one.certificate[..200], one.key.clone()).is_err());
    assert!(Signer::read(&one.certificate, SecretString::from("garbage")).is_err());
    assert!(Signer::read("", one.key).is_err());
}

#[test]
fn a_bundle_keeps_its_authorities_and_leaves_garbage_out() {
    let (one, other) = (signer(), signer());
    let text = format!(
        "junk\n{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{}",
        one.certificate, other.certificate
    );
    let found = bundle(text.as_bytes());
    assert_eq!(
        found.iter().map(|(facts, _)| facts.clone()).collect::<Vec<_>>(),
        [one.facts, other.facts]
    );
    assert_eq!(found[0].1.trim(), one.certificate.replace("\r\n", "\n").trim());
}

#[test]
fn a_leaf_is_taken_by_who_trusts_its_authority_for_its_names_alone() {
    let signer = signer();
    let life = Life::new(now(), Terms::default().leaf, Terms::default().backdate);
    let leaf = signer
        .leaf(life, &["a.b.svc".to_owned(), "127.0.0.1".to_owned()])
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(signer.certificate.as_bytes()).unwrap())
        .unwrap();
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()))
            .build()
            .unwrap();
    let verify = |name: &str, at: u64| {
        let name = name.to_owned().try_into().unwrap();
        let time = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
        rustls::client::danger::ServerCertVerifier::verify_server_cert(&*verifier, &leaf.cert[0], &[], &name, &[], time)
    };
    verify("a.b.svc", 1_800_000_000).unwrap();
    verify("127.0.0.1", 1_800_000_000 + 6 * 86_400).unwrap();
    verify("other.svc", 1_800_000_000).unwrap_err();
    verify("a.b.svc", 1_800_000_000 + 8 * 86_400).unwrap_err();
    verify("a.b.svc", 1_800_000_000 - 400).unwrap_err();
}

#[test]
fn a_mounted_chain_is_read_with_any_form_of_key() {
    let signer = signer();
    let pkcs8 = KeyPair::generate().unwrap();
    let mut params = params(Life::new(now(), Terms::default().leaf, Terms::default().backdate), "x").unwrap();
    params.subject_alt_names = CertificateParams::new(["x".to_owned()]).unwrap().subject_alt_names;
    let certificate = params.self_signed(&pkcs8).unwrap().pem();
    let (_, life) = chain(certificate.as_bytes(), pkcs8.serialize_pem().as_bytes()).unwrap();
    assert_eq!(life.until, Timestamp::from_second(1_800_000_000 + 7 * 86_400).unwrap());
    let error = chain(certificate.as_bytes(), signer.key.expose_secret().as_bytes()).unwrap_err();
    assert!(error.to_string().contains("cannot be used"), "{error}");
    assert!(chain(b"", pkcs8.serialize_pem().as_bytes()).is_err());
    assert!(chain(certificate.as_bytes(), b"").is_err());
}

#[test]
fn pkcs1_pkcs8_and_sec1_keys_are_read_and_a_chain_is_served_whole() {
    let (ec, rsa) = (include_str!("testdata/ec.crt"), include_str!("testdata/rsa.crt"));
    for (certificate, key) in [
        (ec, include_str!("testdata/sec1.key")),
        (ec, include_str!("testdata/ec-pkcs8.key")),
        (rsa, include_str!("testdata/pkcs1.key")),
        (rsa, include_str!("testdata/rsa-pkcs8.key")),
    ] {
        let whole = format!("{certificate}{}", signer().certificate);
        let (served, _) = chain(whole.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(served.cert.len(), 2);
    }
    assert!(chain(ec.as_bytes(), include_bytes!("testdata/pkcs1.key")).is_err());
}
