//! The deterministic simulation of the whole control plane.

mod seeds;
mod stories;
