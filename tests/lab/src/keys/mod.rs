//! Key services: the real Vault, an emulator of AWS KMS, and stand-ins of ours for Google Cloud KMS and Azure Key Vault, for
//! which no server can be had. Each is reached through a [`Front`], which can be told to fail.

mod aws_identity;
mod azure;
mod front;
mod gcp;
mod ministack;
mod vault;
mod wrap;

pub use aws_identity::AwsIdentity;
pub use azure::Azure;
pub use front::{Fault, Front};
pub use gcp::Gcp;
pub use ministack::{KeyShape, Ministack};
pub use vault::Vault;

/// Variables for a program that uses a key service.
pub type Env = Vec<(String, String)>;

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
}
