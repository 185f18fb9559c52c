//! The binary evenkeel: flags, wiring, shutdown.
