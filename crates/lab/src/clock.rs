//! The one place that reads the clock.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The time of the monotonic clock, the same for every thread and every network namespace.
#[expect(
    clippy::disallowed_methods,
    reason = "everything else is given the time"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Processor time of this thread so far.
#[must_use]
pub fn thread_time() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// Processor time of all threads of this process so far.
#[must_use]
pub fn process_time() -> Duration {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
