//! The vocabulary of decisions: what a loop may ask for ([`Write`], [`Plan`]), what it learns back ([`Outcome`]), what it says in the end
//! ([`Report`]), and the shape that every loop has ([`ControlLoop`]).
//!
//! Also here because several loops decide it alike: which objects belong to an owner ([`claim`]) and how pods are named ([`names`]).
//! What never lives here: IO, tokio, clocks. Start reading at [`ControlLoop`].

mod about;
pub mod claim;
mod control_loop;
mod found;
pub mod names;
mod outcome;
pub mod phrase;
mod report;
mod write;

pub use about::{About, LONGEST_RETRY};
pub use control_loop::{ControlLoop, Trigger};
pub use found::{Discovered, Left, Served, Verbs};
pub use outcome::{Answer, Done, Failure, FailureKind, Outcome};
pub use report::{Event, EventType, Next, ObjectReference, Report};
pub use write::{PatchForm, Plan, Propagation, Target, Write};
