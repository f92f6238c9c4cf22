//! Two of our own machines against each other, on a wire that loses, copies and reorders.

mod corrupt;
mod exchange;
mod nat;
mod timing;
mod world;
