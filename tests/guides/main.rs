//! Every guide is run: its manifests are applied and its commands executed as they stand there, and the programs that it is about
//! read the Secrets.

mod guide;
mod world;

mod argo_cd;
mod dropin;
mod flux;
mod install;
mod jobs;
mod monitoring;
mod operations;
mod providers;
