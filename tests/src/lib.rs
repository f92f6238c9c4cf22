//! Stories that need more than one crate.
//!
//! Above all the simulation: a whole gateway (slow path, workers, rings, ports in memory), its
//! subscribers, the network between them and a clock that jumps, all in one thread and all decided
//! by one seed. The same seed is the same run, so whatever goes wrong can be looked at again.
//!
//! ```text
//!             ┌───────────────────── World ── plan: what happens in this hour ──────────┐
//!   model ◄───┤  clients ── NAT ── wire, faults ── gateway ── network ── server         │
//!   letters ◄─┤                                       │                                 │
//!             └─────────────────────────────────── ledger ◄── changes, events, frames ──┘
//! ```
//!
//! - [`plan`]: what happens; [`tuning`]: what kind of gateway; [`dice`]: chance, from the seed
//! - [`world`]: the clock, and everything in its place; [`wire`], [`nat`], [`subscriber`]
//! - [`gateway`]: slow path and workers, stepped by hand
//! - [`model`]: who should be connected; [`letters`]: which data has arrived; [`ledger`]: what the
//!   slow path told the workers; [`lines`]: what was logged; these fail a run
//! - [`trace`]: what happened; [`run`]: seeds by the hundred

pub mod dice;
pub mod gateway;
pub mod ledger;
pub mod letters;
pub mod lines;
pub mod model;
pub mod nat;
pub mod plan;
pub mod run;
pub mod subscriber;
pub mod trace;
pub mod tuning;
pub mod wire;
pub mod world;
