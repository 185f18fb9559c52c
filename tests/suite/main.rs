//! Stories and recorded behaviours, as tests.
