//! Control as its owner drives it: stories of subscribers who dial in, stay, and leave.

mod client;
mod fast_path;
mod hostile;
mod limits;
mod lines;
mod lossy;
mod nat;
mod path_mtu;
mod plain;
mod secured;
mod service;
mod world;

use std::time::Instant;

/// Some moment: machines take time as an argument, but the first one has to come from somewhere.
#[allow(clippy::disallowed_methods)]
pub(crate) fn start() -> Instant {
    Instant::now()
}
