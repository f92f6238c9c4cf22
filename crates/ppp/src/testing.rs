//! What tests share.

use std::sync::OnceLock;
use std::time::Instant;

/// The instant at which every test begins.
pub(crate) fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    #[allow(clippy::disallowed_methods)] // An Instant cannot be had in any other way.
    *EPOCH.get_or_init(Instant::now)
}
