//! What the players of recorded files have in common: [`crate::behaviours`] holds a manager against its file, [`crate::corpus`] an API
//! server against its own.
//!
//! Start reading at [`report`], what comes out of a run; [`difference`] says where two values differ, [`placeholders`] how a request
//! speaks of earlier answers.

pub mod alter;
pub mod canonical;
pub mod chance;
pub mod difference;
pub mod place;
pub mod placeholders;
pub mod report;
pub mod virtual_time;

/// A step that could not be carried out, or a file that is not what it should be; the text is for the reader.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// Whether `id` is one of those asked for; `*` at the end of one matches any rest. No wishes: all are.
pub fn is_asked_for(id: &str, only: &[String]) -> bool {
    let named = |only: &String| only.strip_suffix('*').map_or(*only == id, |start| id.starts_with(start));
    only.is_empty() || only.iter().any(named)
}
