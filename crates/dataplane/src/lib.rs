//! The fast path.

pub mod change;
pub mod id;
pub mod port;
