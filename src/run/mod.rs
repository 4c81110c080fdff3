//! The composition root: the only place that builds clients, spawns tasks and drains them.

mod apps;
mod check;
mod clock;
mod connection;
mod discovery;
mod end;
mod keeper;
mod leader;
mod manager;
mod mint;
mod object;
mod object_spec;
mod objects;
mod pool;
mod recorder;
mod register;
mod release;
mod settings;
mod status;
mod used;
mod webhook;

pub use check::{CheckOptions, Link, Section, Subject, Verdict, check};
pub use clock::now;
pub use manager::{ManagerError, ManagerOptions, manager};
pub use mint::{MintAnswer, MintError, mint};
pub use register::{NewApp, Places, RegisterOptions, Request as RegisterRequest, register, registration_form, salt};
pub use release::{Released, release};
pub use status::{Overview, status};
