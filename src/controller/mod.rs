//! The reconcilers: gather, plan, act, settle.

mod act;
mod app;
mod chores;
mod clients;
mod decide;
mod desk;
mod discard;
mod engine;
mod finish;
mod former;
mod hold;
mod index;
mod issue;
mod job;
mod lane;
mod law;
mod observer;
mod outage;
mod parting;
mod pool;
mod publish;
mod record;
mod retire;
mod retiring;
mod revoke;
mod settle;
mod state;
mod timers;
mod turn;

pub use app::{App, AppName, Apps, AppsNow, Rediscover, StartupApp, no_startup_app};
pub use engine::{DRAIN, Engine};
pub use job::Context;
pub use observer::{Observer, Revocation};
