//! The local control plane behind one command, `cargo dev`: an API server on a socket, simulated nodes, and the manager.
//!
//! Lives here: flags, the kubeconfig, the simulated scheduler and kubelets ([`nodes`]) and the demos ([`demo`]). What never does: answers
//! of the API server (`evenkeel-apiserver`) and decisions of control loops. The simulated nodes and the demos are ordinary
//! clients ([`api`]); they never reach into the server's store.
//!
//! Start reading at [`cluster::Cluster::start`], then `nodes/`.

pub mod api;
pub mod cluster;
pub mod command;
pub mod demo;
pub mod flags;
mod kept;
pub mod kubeconfig;
pub mod manager;
pub mod nodes;
