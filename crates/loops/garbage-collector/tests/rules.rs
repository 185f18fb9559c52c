//! The rules of garbage-collection A, one file per heading of its scenarios (A16), in a [`world::World`].

mod answers;
mod background;
mod bad_input;
mod foreground;
mod graph;
mod guards;
mod identity;
mod interlock;
mod looking;
mod orphan;
mod telling;
mod what_if;
mod world;
