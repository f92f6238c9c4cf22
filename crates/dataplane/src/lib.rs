//! The fast path.

mod batch;
pub mod change;
pub mod cookie;
pub mod counters;
mod depot;
pub mod discard;
pub mod id;
pub mod memory;
pub mod mesh;
pub mod port;
pub mod ring;
mod shard;
mod shared;
pub mod wire;
mod worker;

pub use counters::WorkerCounters;
pub use discard::Discard;
pub use shared::{Limits, PathView, SaView, SessionView, Shared, Snapshot, Target};
pub use worker::{Settings, Turn, Worker};
