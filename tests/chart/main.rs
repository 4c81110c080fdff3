//! The chart, rendered by the real Helm and taken by a real API server; what is rendered from it; and the operator with no more
//! rights than it gives.

mod accepted;
mod cert_manager;
mod documented;
mod helm;
mod installed;
mod monitors;
mod placed;
mod readme;
mod refused;
mod rendered;
mod rights;
mod surroundings;
