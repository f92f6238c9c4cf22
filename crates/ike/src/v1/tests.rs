//! Two of our own machines against each other, on a wire that loses, copies and reorders.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for the output it means"
)]

mod corrupt;
mod exchange;
mod nat;
mod timing;
mod world;
