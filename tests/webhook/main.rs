//! The webhook as clusters use it: the real program, the real configurations, a real API server.

mod absent;
mod certificates;
mod check;
mod clock;
mod collector;
mod drain;
mod git;
mod golden;
mod grace;
mod heavy;
mod hostile;
mod inject;
mod manifests;
mod mounted;
mod outage;
mod policy;
mod reinvoked;
mod rotation;
mod schema;
mod server;
mod validate;
mod world;
