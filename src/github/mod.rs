//! The GitHub client of one App: mint, revoke, look at itself; every answer becomes a value or one typed [`Error`].

mod answer;
mod app;
mod budget;
mod client;
mod error;
mod gate;
mod hold;
mod http;
mod jwt_cache;
mod mint;
mod observe;
mod proxy;
mod registration;
mod skew;
mod slots;
mod traffic;
mod window;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Asked, Call, classify};
pub use app::{Account, App, Installation, parse_app, parse_installations};
pub use budget::Budget;
pub use client::{ACTIVATION, AppSettings, Client, Clock, Limits, Revoked};
pub use error::Error;
pub use gate::Permit;
pub use http::{HttpClients, HttpError, HttpOptions, http_client};
pub use mint::{MintScope, Minted, RepositorySelection, parse_mint_answer};
pub use observe::{Observation, Observe, Route};
pub use registration::{ConversionError, Registered, convert};
