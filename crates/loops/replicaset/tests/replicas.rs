//! What the loops decide, shown on a small world: a server that keeps the rules which the loops rely on (workloads 1.4), a watch that is as
//! late as a test wants it, and the real cache between them.

mod world;

mod claims;
mod controller;
mod explaining;
mod failures;
mod freshness;
mod names;
mod properties;
mod ranking;
mod scaling;
mod status;
mod triggers;
