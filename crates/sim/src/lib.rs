//! Seeded worlds with faults that drive the real loops in virtual time.
