//! Lease-based leader election: one small state machine and its shell.
