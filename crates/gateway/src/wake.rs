//! Waiting for a descriptor, and being woken by another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataplane::ring::Wake;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{read, write};

/// An eventfd that wakes whoever waits on it.
pub(crate) struct Alarm {
    fd: OwnedFd,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Arc::new(Self { fd }))
    }

    /// A function that wakes.
    pub(crate) fn waker(self: &Arc<Self>) -> Arc<dyn Fn() + Send + Sync> {
        let alarm = Arc::clone(self);
        Arc::new(move || alarm.wake())
    }

    /// Waits until it is woken, one of `others` is readable or `until` has come.
    pub(crate) fn wait(&self, others: &[BorrowedFd<'_>], until: Option<Duration>) {
        let readable = [self.fd.as_fd()].into_iter().chain(others.iter().copied());
        let mut descriptors: Vec<PollFd<'_>> = readable
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let until = until.and_then(|until| Timespec::try_from(until).ok());
        // An interrupted wait is a short one: the caller looks again.
        let _ = poll(&mut descriptors, until.as_ref());
        let _ = read(&self.fd, &mut [0; 8]);
    }
}

impl Wake for Alarm {
    fn wake(&self) {
        // Only a counter at its maximum refuses, and then the sleeper is awake anyway.
        let _ = write(&self.fd, &1u64.to_ne_bytes());
    }
}

/// How long from `now` to `at`.
pub(crate) fn until(now: Instant, at: Option<Instant>) -> Option<Duration> {
    at.map(|at| at.saturating_duration_since(now))
}
