//! Admission: TLS serving, envelope, routes. What is decided is decided in `domain`.

pub mod authority;
pub mod certificate;
mod guard;
mod inquiry;
mod known;
pub mod mounted;
mod observer;
mod owner;
mod room;
mod routes;
pub mod server;
mod validate;
mod vault;

pub use known::Known;
pub use observer::{Observer, Operation, Outcome};
pub use owner::Owners;
pub use room::{BODY_LIMIT, BODY_TIMEOUT};
pub use routes::{Desk, guarded, routes};
