//! The startup configuration and the process, as whoever runs the operator sees them.

mod keys;
mod limits;
mod network;
mod process;
mod refused;
mod services;
mod wrong;
