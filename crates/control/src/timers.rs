//! One deadline queue for all machines. Each has one deadline in it, re-read after every touch, so
//! that a hundred thousand idle subscribers cost nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use dataplane::id::{PathId, SessionSlot};

use crate::exchange::IkeId;
use crate::tunnel::TunnelKey;

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// An ISAKMP SA.
    Ike(IkeId),
    /// A peer without SAs, or without tunnels.
    Peer(PathId),
    /// What a peer's path is known to carry grows old.
    PathMtu(PathId),
    /// A control connection.
    Tunnel(TunnelKey),
    /// A PPP link.
    Link(SessionSlot),
    /// Session and idle time-out of a subscriber.
    Session(SessionSlot),
    /// The next step of the shutdown.
    Shutdown,
}

/// All deadlines.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
    deadlines: BTreeMap<Timer, (Instant, &'static str)>,
}

impl Timers {
    /// Replaces the deadline of one machine; `None` takes it off.
    pub(crate) fn set(&mut self, timer: Timer, deadline: Option<(Instant, &'static str)>) {
        let old = match deadline {
            Some(deadline) => self.deadlines.insert(timer, deadline),
            None => self.deadlines.remove(&timer),
        };
        if let Some((at, _)) = old {
            self.queue.remove(&(at, timer));
        }
        if let Some((at, _)) = deadline {
            self.queue.insert((at, timer));
        }
    }

    /// Takes off the next machine whose time has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let &(at, timer) = self.queue.first()?;
        if at > now {
            return None;
        }
        self.set(timer, None);
        Some(timer)
    }

    /// The next deadline, and what it is for.
    pub(crate) fn next(&self) -> Option<(Instant, &'static str)> {
        let (_, timer) = self.queue.first()?;
        self.deadlines.get(timer).copied()
    }

    /// The deadline of one machine.
    pub(crate) fn of(&self, timer: Timer) -> Option<(Instant, &'static str)> {
        self.deadlines.get(&timer).copied()
    }

    /// How many deadlines there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tests::start;

    #[test]
    fn a_machine_has_one_deadline_and_it_comes_when_due() {
        let (now, mut timers) = (start(), Timers::default());
        let later = |seconds| now + Duration::from_secs(seconds);
        timers.set(Timer::Shutdown, Some((later(9), "old")));
        timers.set(Timer::Shutdown, Some((later(5), "new")));
        assert_eq!(timers.next(), Some((later(5), "new")));
        assert_eq!(timers.pop_due(later(5) - Duration::from_nanos(1)), None);
        assert_eq!(timers.pop_due(later(5)), Some(Timer::Shutdown));
        assert_eq!(timers.pop_due(later(99)), None);
        timers.set(Timer::Shutdown, Some((later(5), "new")));
        timers.set(Timer::Shutdown, None);
        assert_eq!((timers.next(), timers.len()), (None, 0));
    }
}
