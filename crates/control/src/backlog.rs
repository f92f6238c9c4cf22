//! Control frames waiting for their turn, by how well we know the sender.
//!
//! In a reconnect storm what is in progress is finished before anything new is begun, and a
//! stranger's message that has waited for long is dropped unread: its sender has repeated it, or
//! given up. So the storm converges.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dataplane::change::{Class, Punt};

use crate::counters::Counter;

/// Frames taken in one turn, of each class.
const ESTABLISHED_PER_TURN: usize = 1024;
const IN_PROGRESS_PER_TURN: usize = 512;
const STRANGERS_PER_TURN: usize = 64;

/// Three queues.
#[derive(Debug)]
pub(crate) struct Backlog {
    queues: [VecDeque<(Instant, Punt)>; 3],
    limit: usize,
    age: Duration,
}

impl Backlog {
    pub(crate) fn new(limit: usize, age: Duration) -> Self {
        Self {
            queues: [const { VecDeque::new() }; 3],
            limit,
            age,
        }
    }

    /// Queues a frame; a full queue drops it, and says under which name.
    pub(crate) fn push(&mut self, now: Instant, punt: Punt) -> Result<(), Counter> {
        let queue = &mut self.queues[rank(punt.class)];
        if queue.len() >= self.limit {
            return Err(match punt.class {
                Class::Established => Counter::BacklogEstablished,
                Class::InProgress => Counter::BacklogInProgress,
                Class::Stranger => Counter::BacklogStranger,
            });
        }
        queue.push_back((now, punt));
        Ok(())
    }

    /// What one turn works on, in order, and how many frames were too old for it.
    pub(crate) fn take(&mut self, now: Instant) -> (Vec<Punt>, usize) {
        let [established, in_progress, strangers] = &mut self.queues;
        let mut turn: Vec<Punt> = Vec::new();
        for (queue, most) in [
            (established, ESTABLISHED_PER_TURN),
            (in_progress, IN_PROGRESS_PER_TURN),
        ] {
            let most = most.min(queue.len());
            turn.extend(queue.drain(..most).map(|(_, punt)| punt));
        }
        let fresh = strangers
            .iter()
            .position(|(since, _)| *since + self.age > now);
        let stale = fresh.unwrap_or(strangers.len());
        strangers.drain(..stale);
        let most = STRANGERS_PER_TURN.min(strangers.len());
        turn.extend(strangers.drain(..most).map(|(_, punt)| punt));
        (turn, stale)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }
}

fn rank(class: Class) -> usize {
    match class {
        Class::Established => 0,
        Class::InProgress => 1,
        Class::Stranger => 2,
    }
}

#[cfg(test)]
mod tests {
    use dataplane::change::Origin;
    use dataplane::id::{SessionSlot, Slot};

    use super::*;
    use crate::tests::start;

    const AGE: Duration = Duration::from_secs(4);

    fn punt(class: Class, mark: u8) -> Punt {
        let origin = Origin::Ppp(SessionSlot(Slot::from_word(0)));
        let bytes = vec![mark];
        Punt {
            class,
            origin,
            bytes,
        }
    }

    fn marks(backlog: &mut Backlog, now: Instant) -> (Vec<u8>, usize) {
        let (turn, stale) = backlog.take(now);
        (turn.iter().map(|punt| punt.bytes[0]).collect(), stale)
    }

    #[test]
    fn work_in_progress_goes_before_new_work() {
        let (now, mut backlog) = (start(), Backlog::new(9, AGE));
        for (class, mark) in [
            (Class::Stranger, 3),
            (Class::InProgress, 2),
            (Class::Established, 1),
            (Class::Stranger, 4),
        ] {
            assert_eq!(backlog.push(now, punt(class, mark)), Ok(()));
        }
        assert_eq!(marks(&mut backlog, now), (vec![1, 2, 3, 4], 0));
        assert!(backlog.is_empty());
    }

    #[test]
    fn what_strangers_sent_long_ago_is_dropped_unread() {
        let (now, mut backlog) = (start(), Backlog::new(9, AGE));
        backlog.push(now, punt(Class::Stranger, 1)).unwrap();
        backlog.push(now, punt(Class::Established, 2)).unwrap();
        let later = now + Duration::from_millis(1);
        backlog.push(later, punt(Class::Stranger, 3)).unwrap();
        assert_eq!(marks(&mut backlog, now + AGE), (vec![2, 3], 1));
    }

    #[test]
    fn a_full_class_drops_and_leaves_the_others_room() {
        let (now, mut backlog) = (start(), Backlog::new(2, AGE));
        backlog.push(now, punt(Class::Stranger, 1)).unwrap();
        backlog.push(now, punt(Class::Stranger, 2)).unwrap();
        let refused = backlog.push(now, punt(Class::Stranger, 3));
        assert_eq!(refused, Err(Counter::BacklogStranger));
        assert_eq!(backlog.push(now, punt(Class::Established, 4)), Ok(()));
    }
}
