//! Key pairs that were made while nobody waited for one.
//!
//! Making its own key pair is half of a responder's public-key work, and needs nothing of the peer:
//! it can be done before anybody calls. A pair is given away once. Those that are left are zeroised
//! when the gateway ends, as every private value is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crypto::Random;
use crypto::dh::{Group, KeyPair};

/// Pairs of a group that are kept: half a second of work for group 14, half a megabyte.
const PAIRS_MAX: usize = 1024;

/// Pairs of every group that anybody has asked for, of which there are at most as many as groups.
pub(super) struct Pairs {
    shelf: Mutex<Shelf>,
    /// Of each group.
    most: usize,
}

struct Shelf {
    pairs: BTreeMap<Group, Vec<KeyPair>>,
    random: Random,
}

impl Pairs {
    /// None yet: which groups are wanted is not known before somebody asks.
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self::with_room(seed, PAIRS_MAX)
    }

    fn with_room(seed: [u8; 32], most: usize) -> Self {
        let shelf = Mutex::new(Shelf {
            pairs: BTreeMap::new(),
            random: Random::from_seed(seed),
        });
        Self { shelf, most }
    }

    /// One pair of the group, if there is one; nobody gets it again.
    pub(super) fn take(&self, group: Group) -> Option<KeyPair> {
        self.shelf().pairs.entry(group).or_default().pop()
    }

    /// Makes one pair of the group that is shortest of them; `false` if all have enough.
    pub(super) fn make_one(&self) -> bool {
        let Some((group, mut random)) = self.shortest() else {
            return false;
        };
        let pair = KeyPair::draw(group, &mut random);
        let mut shelf = self.shelf();
        let pairs = shelf.pairs.entry(group).or_default();
        // Another thread may have made the last one meanwhile.
        if pairs.len() < self.most {
            pairs.push(pair);
        }
        true
    }

    fn shortest(&self) -> Option<(Group, Random)> {
        let mut shelf = self.shelf();
        let of = shelf
            .pairs
            .iter()
            .map(|(group, pairs)| (pairs.len(), *group));
        let (len, group) = of.min()?;
        (len < self.most).then(|| (group, shelf.random.fork()))
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Whoever panicked with it has left it whole: a pair is there or it is not.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crypto::dh::{Job, Outcome};

    use super::*;

    #[test]
    fn only_what_was_asked_for_is_made_and_no_more_than_there_is_room_for() {
        let pairs = Pairs::with_room([1; 32], 3);
        assert!(!pairs.make_one(), "nobody has asked for anything");
        assert!(pairs.take(Group::Ecp256).is_none());
        assert!(pairs.take(Group::Toy).is_none());
        let made = (0..100).take_while(|_| pairs.make_one()).count();
        assert_eq!(made, 6, "three of each");
        for group in [Group::Ecp256, Group::Toy] {
            let taken: Vec<_> = std::iter::from_fn(|| pairs.take(group)).collect();
            assert!(taken.iter().all(|pair| pair.group() == group));
            assert_eq!(taken.len(), 3);
        }
    }

    #[test]
    fn no_pair_is_given_twice() {
        let pairs = Pairs::with_room([1; 32], 4);
        let mut seen = BTreeSet::new();
        for _ in 0..16 {
            if let Some(pair) = pairs.take(Group::Ecp256) {
                assert!(seen.insert(pair.public().to_vec()));
            }
            pairs.make_one();
            pairs.make_one();
        }
        assert_eq!(seen.len(), 15);
    }

    #[test]
    fn an_exchange_with_a_pair_made_beforehand_agrees_with_the_peer() {
        let pairs = Pairs::with_room([1; 32], 1);
        assert!(pairs.take(Group::Ecp256).is_none());
        assert!(pairs.make_one());
        let peer = KeyPair::generate(Group::Ecp256, &[7; 64]);
        let job = || Job::Exchange {
            group: Group::Ecp256,
            random: [9; 64],
            peer: peer.public().to_vec(),
        };
        let run = |job: Job| {
            let outcome = job.run_with(|group| pairs.take(group));
            let Outcome::Exchanged { public, shared } = outcome else {
                panic!("{outcome:?}");
            };
            assert_eq!(peer.agree(&public).unwrap(), shared);
            public
        };
        let fresh = KeyPair::generate(Group::Ecp256, &[9; 64]);
        assert_ne!(run(job()), fresh.public(), "the pair from the shelf");
        assert_eq!(run(job()), fresh.public(), "there was only one");
    }
}
