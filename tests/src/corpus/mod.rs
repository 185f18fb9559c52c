//! Recorded conversations with a kube-apiserver 1.36.2, and a player that holds an API server against them.
//!
//! A conversation runs in a namespace of its own. Its requests are sent one after the other; what chance decides in the answers is
//! replaced by symbols, and the first answer that is not as recorded ends it. The format stands in `tests/data/README.md`; what counts as
//! the same is defined by the recorder, `replay.py`, and must be the same here: the two judge every conversation alike.
//!
//! Start reading at [`run::run`], then [`player::Player`]; [`normal`] says what chance decides, [`parts`] what is not compared.

pub mod alike;
pub mod conversation;
pub mod in_process;
pub mod normal;
pub mod parts;
pub mod player;
pub mod run;
pub mod symbols;
pub mod watching;
