//! One deadline queue for all machines. Each has one deadline in it, re-read after every touch, so
//! that a hundred thousand idle subscribers cost nothing.
//!
//! A machine that every subscriber has (ISAKMP SA, tunnel, link) knows itself what it waits for, and
//! its [`Place`] in the queue lies beside it. For what waits only now and then both are kept here.

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

/// When a machine is queued; it may have been its turn since.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place(Option<Instant>);

/// All deadlines.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
    /// Of those that have no place of their own, and what for.
    deadlines: BTreeMap<Timer, (Instant, &'static str)>,
}

impl Timers {
    /// Replaces a deadline that is kept here; `None` takes it off.
    pub(crate) fn set(&mut self, timer: Timer, deadline: Option<(Instant, &'static str)>) {
        let old = match deadline {
            Some(deadline) => self.deadlines.insert(timer, deadline),
            None => self.deadlines.remove(&timer),
        };
        let mut place = Place(old.map(|(at, _)| at));
        self.put(timer, &mut place, deadline.map(|(at, _)| at));
    }

    /// Replaces the deadline of a machine that has a place; `None` takes it off.
    pub(crate) fn put(&mut self, timer: Timer, place: &mut Place, deadline: Option<Instant>) {
        if let Some(at) = place.0 {
            self.queue.remove(&(at, timer));
        }
        if let Some(at) = deadline {
            self.queue.insert((at, timer));
        }
        place.0 = deadline;
    }

    /// Takes off the next machine whose time has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (_, timer) = self.next().filter(|(at, _)| *at <= now)?;
        self.queue.pop_first();
        self.deadlines.remove(&timer);
        Some(timer)
    }

    /// The next deadline, and whose it is.
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        self.queue.first().copied()
    }

    /// A deadline that is kept here.
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

    use dataplane::id::Slot;

    use super::*;
    use crate::tests::start;

    #[test]
    fn a_machine_has_one_deadline_and_it_comes_when_due() {
        let (now, mut timers) = (start(), Timers::default());
        let later = |seconds| now + Duration::from_secs(seconds);
        timers.set(Timer::Shutdown, Some((later(9), "old")));
        timers.set(Timer::Shutdown, Some((later(5), "new")));
        assert_eq!(timers.of(Timer::Shutdown), Some((later(5), "new")));
        assert_eq!(timers.next(), Some((later(5), Timer::Shutdown)));
        assert_eq!(timers.pop_due(later(5) - Duration::from_nanos(1)), None);
        assert_eq!(timers.pop_due(later(5)), Some(Timer::Shutdown));
        assert_eq!(timers.pop_due(later(99)), None);
        timers.set(Timer::Shutdown, Some((later(5), "new")));
        timers.set(Timer::Shutdown, None);
        assert_eq!((timers.next(), timers.len()), (None, 0));
    }

    #[test]
    fn so_has_one_that_keeps_its_own_place() {
        let (now, mut timers) = (start(), Timers::default());
        let later = |seconds| now + Duration::from_secs(seconds);
        let (link, mut place) = (
            Timer::Link(SessionSlot(Slot::from_word(7))),
            Place::default(),
        );
        for seconds in [9, 5] {
            timers.put(link, &mut place, Some(later(seconds)));
        }
        assert_eq!((timers.next(), timers.len()), (Some((later(5), link)), 1));
        assert_eq!(timers.pop_due(later(5)), Some(link));
        // It has not been put anywhere since.
        timers.put(link, &mut place, Some(later(7)));
        assert_eq!((timers.next(), timers.len()), (Some((later(7), link)), 1));
        timers.put(link, &mut place, None);
        assert_eq!(timers.len(), 0);
    }
}
