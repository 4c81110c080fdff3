//! `gtm app create` as a person runs it: the real program, a browser that does what a person would, a stand-in for GitHub, and a
//! real API server.

mod bench;
mod hostile;
mod key_file;
mod secret;
