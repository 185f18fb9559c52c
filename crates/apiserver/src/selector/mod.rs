//! Selectors of lists and watches.

pub mod fields;
pub mod labels;
