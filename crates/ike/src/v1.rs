//! IKEv1 (RFC 2409): one ISAKMP SA as a machine.

mod sa;

pub use sa::{LiveChildren, Sa};
