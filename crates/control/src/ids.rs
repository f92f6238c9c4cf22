//! 16-bit L2TP ids: index 10 bits, shard 6 bits, drawn at random from the free ones.
//!
//! They carry no generation, so an id rests for [`REST`] after use: what was under way for its last
//! holder has arrived or is lost by then.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crypto::Random;
use dataplane::id::ShardId;

/// How long an id is not given out again.
pub(crate) const REST: Duration = Duration::from_secs(60);

/// Never given out: a tunnel that is refused without a trace is called so, and the peer's acknowledgement of the
/// refusal is for no tunnel of anybody's.
pub(crate) const NOBODY: u16 = u16::MAX;

/// Indices that a shard has: the upper ten bits of an id.
const INDICES: u32 = 1 << 10;

/// The ids of one space: the tunnels of a listener or of a peer, the sessions of a tunnel.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    used: BTreeSet<u16>,
    resting: VecDeque<(Instant, u16)>,
}

impl Ids {
    /// An id whose low six bits are the shard; never 0 or [`NOBODY`]. `None` if all are used or rest.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        shard: ShardId,
        random: &mut Random,
    ) -> Option<u16> {
        self.wake(now);
        let start = random.below(INDICES);
        let id = (0..INDICES)
            .map(|step| ((start + step) % INDICES) << 6 | shard.index() as u32)
            .map(|id| id as u16)
            .find(|id| ![0, NOBODY].contains(id) && !self.used.contains(id))?;
        self.used.insert(id);
        Some(id)
    }

    /// The id is out of use and rests.
    pub(crate) fn give_back(&mut self, now: Instant, id: u16) {
        debug_assert!(self.used.contains(&id));
        self.resting.push_back((now + REST, id));
    }

    /// The id is out of use and nobody will speak of it any more.
    pub(crate) fn free(&mut self, id: u16) {
        let was_used = self.used.remove(&id);
        debug_assert!(was_used);
    }

    fn wake(&mut self, now: Instant) {
        while let Some(&(until, id)) = self.resting.front()
            && until <= now
        {
            self.resting.pop_front();
            self.used.remove(&id);
        }
    }

    /// Ids at rest.
    #[cfg(test)]
    pub(crate) fn at_rest(&self) -> usize {
        self.resting.len()
    }

    /// Ids in use.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        self.used.len() - self.resting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::tests::start;

    // conformance: 2661-100
    #[test]
    fn ids_carry_their_shard_differ_and_rest_after_use() {
        let (now, mut random) = (start(), Random::from_seed([7; 32]));
        let shard = ShardId::new(0);
        let mut ids = Ids::default();
        let taken: BTreeSet<u16> = (0..1023)
            .map(|_| ids.take(now, shard, &mut random).unwrap())
            .collect();
        assert_eq!(taken.len(), 1023);
        assert!(!taken.contains(&0));
        assert!(taken.iter().all(|&id| ShardId::of(id.into()) == shard));
        assert_eq!(ids.take(now, shard, &mut random), None);

        ids.give_back(now, 64);
        let rested = now + REST;
        assert_eq!(
            ids.take(rested - Duration::from_millis(1), shard, &mut random),
            None
        );
        assert_eq!(ids.take(rested, shard, &mut random), Some(64));
        assert!(ids.take(rested, ShardId::new(1), &mut random).is_some());
        assert_eq!(ids.in_use(), 1024);

        let last = ShardId::of(NOBODY.into());
        let taken: BTreeSet<u16> = iter::from_fn(|| ids.take(now, last, &mut random)).collect();
        assert_eq!(taken.len(), 1023);
        assert!(!taken.contains(&NOBODY));
    }
}
