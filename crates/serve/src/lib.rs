//! Health, metrics and debug pages over TLS.
