//! Control as its owner drives it.

use std::time::Instant;

/// Some moment: machines take time as an argument, but the first one has to come from somewhere.
#[allow(clippy::disallowed_methods)]
pub(crate) fn start() -> Instant {
    Instant::now()
}
