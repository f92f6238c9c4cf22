//! 16-bit L2TP ids: index 10 bits, shard 6 bits, drawn at random from the free ones.
//!
//! They carry no generation, so an id rests for [`REST`] after use: what was under way for its last
//! holder has arrived or is lost by then. Who holds which is known where they are held.

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
    /// Apart, since nothing rests in most of very many spaces.
    resting: Option<Box<Resting>>,
}

#[derive(Debug, Default)]
struct Resting {
    ids: BTreeSet<u16>,
    /// Until when, in order.
    until: VecDeque<(Instant, u16)>,
}

impl Ids {
    /// An id whose low six bits are the shard; never 0 or [`NOBODY`]. `None` if all are held or rest.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        shard: ShardId,
        random: &mut Random,
        is_held: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        self.wake(now);
        let start = random.below(INDICES);
        (0..INDICES)
            .map(|step| ((start + step) % INDICES) << 6 | shard.index() as u32)
            .map(|id| id as u16)
            .find(|id| ![0, NOBODY].contains(id) && !self.rests(*id) && !is_held(*id))
    }

    /// The id is held no more, and rests. One that nobody will speak of any more need not.
    pub(crate) fn give_back(&mut self, now: Instant, id: u16) {
        let resting = self.resting.get_or_insert_default();
        let is_new = resting.ids.insert(id);
        debug_assert!(is_new);
        resting.until.push_back((now + REST, id));
    }

    fn rests(&self, id: u16) -> bool {
        let resting = self.resting.as_deref();
        resting.is_some_and(|resting| resting.ids.contains(&id))
    }

    fn wake(&mut self, now: Instant) {
        let Some(resting) = &mut self.resting else {
            return;
        };
        while let Some(&(until, id)) = resting.until.front()
            && until <= now
        {
            resting.until.pop_front();
            resting.ids.remove(&id);
        }
        if resting.ids.is_empty() {
            self.resting = None;
        }
    }

    /// Ids at rest.
    #[cfg(test)]
    pub(crate) fn at_rest(&self) -> usize {
        self.resting.as_ref().map_or(0, |resting| resting.ids.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::start;

    // conformance: 2661-100
    #[test]
    fn ids_carry_their_shard_differ_and_rest_after_use() {
        let (now, mut random) = (start(), Random::from_seed([7; 32]));
        let shard = ShardId::new(0);
        let (mut ids, mut held) = (Ids::default(), BTreeSet::new());
        let mut take = |ids: &mut Ids, held: &BTreeSet<u16>, now, shard| {
            ids.take(now, shard, &mut random, |id| held.contains(&id))
        };
        while let Some(id) = take(&mut ids, &held, now, shard) {
            assert!(held.insert(id));
        }
        assert_eq!(held.len(), 1023);
        assert!(!held.contains(&0));
        assert!(held.iter().all(|&id| ShardId::of(id.into()) == shard));

        held.remove(&64);
        ids.give_back(now, 64);
        assert_eq!(ids.at_rest(), 1);
        let rested = now + REST;
        let early = rested - Duration::from_millis(1);
        assert_eq!(take(&mut ids, &held, early, shard), None);
        assert_eq!(take(&mut ids, &held, rested, shard), Some(64));
        held.insert(64);
        assert!(take(&mut ids, &held, rested, ShardId::new(1)).is_some());
        assert_eq!(ids.at_rest(), 0);

        let last = ShardId::of(NOBODY.into());
        while let Some(id) = take(&mut ids, &held, now, last) {
            assert!(held.insert(id));
        }
        assert_eq!(held.len(), 2 * 1023);
        assert!(!held.contains(&NOBODY));
    }
}
