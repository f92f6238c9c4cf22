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

    /// It is over.
    pub(super) fn end(&self) -> Worked {
        let thread = clock::thread_time() - self.thread;
        Worked {
            lasted: clock::now() - self.begin,
            thread,
            others: (clock::process_time() - self.process).saturating_sub(thread),
        }
    }
}

/// What was worked while something lasted.
pub(super) struct Worked {
    lasted: Duration,
    thread: Duration,
    others: Duration,
}

impl Worked {
    /// As parts of the time; the far end's thread has worked so long.
    pub(super) fn busy(&self, far_end: Duration) -> Busy {
        let lasted = self.lasted.as_secs_f64().max(f64::EPSILON);
        Busy {
            clients: self.thread.as_secs_f64() / lasted,
            compute: self.others.saturating_sub(far_end).as_secs_f64() / lasted,
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
