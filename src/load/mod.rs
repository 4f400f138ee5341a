//! The load generator and the oracle.
