//! Makes what is shipped. Each part is a function of its inputs alone: the same commit gives the same bytes.

pub mod archive;
pub mod authorities;
pub mod binary;
pub mod compile;
pub mod error;
pub mod licences;
pub mod oci;
pub mod parts;
pub mod source;

pub use error::Error;
