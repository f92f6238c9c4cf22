//! The only place that reads the clock.

use std::time::Instant;

/// The time.
pub(crate) fn now() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "everything else gets the time from here"
    )]
    Instant::now()
}
