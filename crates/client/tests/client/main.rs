//! What the transport and the writer promise, against a scripted server (virtual time) and against sockets on the loopback.

mod connecting;
mod events;
mod fence;
mod freshness;
mod loopback;
mod once;
mod outcomes;
mod owner;
mod pace;
mod reads;
mod requests;
mod server;
mod steps;
mod world;
