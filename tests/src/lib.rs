//! Black-box stories and recorded truth, played against the local and a real API server.
