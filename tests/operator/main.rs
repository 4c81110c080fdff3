//! The operator as its users run it: the real binary against a real API server and the GitHub stand-in.

mod apps;
mod bad_input;
mod check;
mod config;
mod events_metrics;
mod examples;
mod failover;
mod faults;
mod formats;
mod held;
mod issue;
mod lost_answers;
mod moved;
mod peer;
mod policies;
mod release;
mod renamed;
mod revocation;
mod road;
mod rotation;
mod secrecy;
mod status;
mod stripped;
mod world;
mod writes;
