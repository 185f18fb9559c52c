//! The command line: one table of flags, one parser, one list of complaints.

mod parse;
pub mod table;

pub use parse::{FlagError, Options, Parsed, parse};
