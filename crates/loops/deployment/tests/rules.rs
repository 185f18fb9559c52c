//! The rules of workloads 2, one file per section, in a world of [`world::Cluster`]s.

mod claiming;
mod creating;
mod explaining;
mod history;
mod pausing;
mod progress;
mod properties;
mod recreate;
mod rolling;
mod scaling;
mod status;
mod triggers;
mod world;
