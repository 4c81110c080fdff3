//! Key services: the real Vault, an emulator of AWS KMS, and stand-ins of ours for Google Cloud KMS and Azure Key Vault, for
//! which no server can be had. Each is reached through a [`Front`], which can be told to fail.

mod front;
mod ministack;
mod proxy;
mod wrap;

pub use front::{Fault, Front};
pub use ministack::{KeyShape, Ministack};
pub use proxy::Proxy;

/// Variables for a program that uses a key service.
pub type Env = Vec<(String, String)>;

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
}
