//! How busy our threads were while something lasted.

use std::time::{Duration, Instant};

use crate::clock;

/// Where the clocks stood when it began.
pub(super) struct Phase {
    begin: Instant,
    thread: Duration,
    process: Duration,
}

/// Parts of a thread's time.
#[derive(Clone, Copy, Default)]
pub(super) struct Busy {
    /// The thread that measures.
    pub(super) clients: f64,
    /// All the others but the far end.
    pub(super) compute: f64,
}

impl Phase {
    pub(super) fn begin() -> Self {
        Self {
            begin: clock::now(),
            thread: clock::thread_time(),
            process: clock::process_time(),
        }
    }

    /// It is over; the far end has worked so long in it.
    pub(super) fn end(&self, far_end: Duration) -> Busy {
        let lasted = (clock::now() - self.begin).as_secs_f64().max(f64::EPSILON);
        let thread = clock::thread_time() - self.thread;
        let others = (clock::process_time() - self.process).saturating_sub(thread + far_end);
        Busy {
            clients: thread.as_secs_f64() / lasted,
            compute: others.as_secs_f64() / lasted,
        }
    }
}

impl Busy {
    /// The busier of two phases.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            clients: self.clients.max(other.clients),
            compute: self.compute.max(other.compute),
        }
    }
}
