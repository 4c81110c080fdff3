//! The node's certificate authority, and a certificate for each part.
//! Who must be named how: <https://kubernetes.io/docs/setup/best-practices/certificates/>.

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::{ADDRESS, API_SERVICE, NODE};
use crate::{
    cluster::service_account_keys,
    error::{During, Error},
};

/// A part: the name of its files, its user, its group ("" for none), the names and addresses that it serves.
type Part = (&'static str, &'static str, &'static str, &'static [&'static str]);

const PARTS: [Part; 7] = [
    (
        "apiserver",
        "kube-apiserver",
        "",
        &[
            ADDRESS,
            API_SERVICE,
            "127.0.0.1",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ],
    ),
    ("apiserver-kubelet", "kube-apiserver-kubelet", "system:masters", &[]),
    ("admin", "admin", "system:masters", &[]),
    ("controllers", "system:kube-controller-manager", "", &[]),
    ("scheduler", "system:kube-scheduler", "", &[]),
    ("proxy", "system:kube-proxy", "", &[]),
    ("kubelet", "system:node:node", "system:nodes", &[ADDRESS, NODE]),
];

/// Writes `ca.crt`, `NAME.crt` and `NAME.key` of each part, and the keys of service accounts.
pub(super) fn write(folder: &Path) -> Result<(), Error> {
    let failed = |error: rcgen::Error| Error::Usage(format!("the node's certificates: {error}"));
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "node CA");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(failed)?).map_err(failed)?;
    save(folder, "ca.crt", &ca.pem())?;
    save(folder, "ca.key", &ca.key().serialize_pem())?;
    for (name, user, group, hosts) in PARTS {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).map_err(failed)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(DnType::CommonName, user);
        if !group.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &ca).map_err(failed)?;
        save(folder, &format!("{name}.crt"), &certificate.pem())?;
        save(folder, &format!("{name}.key"), &key.serialize_pem())?;
    }
    let (private, public) = service_account_keys()?;
    save(folder, "accounts.key", &private)?;
    save(folder, "accounts.pub", &public)
}

fn save(folder: &Path, name: &str, text: &str) -> Result<(), Error> {
    let path = folder.join(name);
    fs::write(&path, text).during(|| format!("write {}", path.display()))
}
