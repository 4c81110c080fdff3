//! The webhook with a certificate that the real cert-manager keeps: `make cert-manager` builds that, and runs these.

mod chain;
mod renewal;
mod world;
