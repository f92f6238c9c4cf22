//! The one place that reads the clock.

use std::time::Instant;

/// The time of the monotonic clock, the same for every thread and every network namespace.
#[expect(
    clippy::disallowed_methods,
    reason = "everything else is given the time"
)]
pub fn now() -> Instant {
    Instant::now()
}
