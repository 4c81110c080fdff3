//! A certificate of a stand-in's own CA.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::StartError;

/// Makes a CA and a certificate for loopback and these hosts; the acceptor, and the CA's certificate as PEM.
pub(crate) fn acceptor(hosts: &[&str]) -> Result<(TlsAcceptor, String), StartError> {
    let failed = |error: rcgen::Error| StartError::Certificate(error.to_string());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "stand-in CA");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(failed)?).map_err(failed)?;
    let key = KeyPair::generate().map_err(failed)?;
    let names: Vec<String> = ["localhost", "127.0.0.1"]
        .iter()
        .chain(hosts)
        .map(|&name| name.to_owned())
        .collect();
    let certificate = CertificateParams::new(names)
        .and_then(|params| params.signed_by(&key, &ca))
        .map_err(failed)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| {
            let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
            builder.with_single_cert(vec![certificate.der().clone()], key)
        })
        .map_err(|error| StartError::Certificate(error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), ca.pem()))
}
