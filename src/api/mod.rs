//! The custom resources, and the names of everything that others may rely on.

mod reason;

pub use reason::Reason;
