//! Both drivers and the audit against a scripted server, in virtual time.

mod audit;
mod backwards;
mod both_drivers;
mod cycle;
mod fake_server;
mod hostile;
mod local_server;
mod rig;
