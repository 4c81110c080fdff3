//! The GitHub stand-in behaves as GitHub does.

mod client;
mod faults;
mod git;
mod jwt;
mod limits;
mod openapi;
mod process;
mod registration;
mod tokens;
