//! The reconcilers: gather, plan, act, settle.

mod app;
mod engine;
mod index;
mod job;
mod lane;
mod observer;
mod retire;
mod state;
mod timers;

pub use app::{App, Startup, StartupApp};
pub use engine::Engine;
pub use job::{Context, no_installation};
pub use observer::{Observer, Revocation};
