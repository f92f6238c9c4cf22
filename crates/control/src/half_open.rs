//! How many set-ups are under way, from each source and in all: what a stranger can make us
//! remember is bounded here. What has come up in the clear is still a stranger's, and counted too.
//!
//! A source address proves nothing before it has answered. So at a limit the newcomer gets the
//! place of the oldest that has not answered yet: whoever floods us from addresses that he does not
//! have pushes out his own, while who answers within a round trip gets through.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Set-ups under way.
#[derive(Debug)]
pub(crate) struct HalfOpen<K> {
    by_source: BTreeMap<K, usize>,
    in_all: usize,
    limit: usize,
    limit_per_source: usize,
}

/// Which limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The source has enough of them.
    Source,
    /// There are enough in all.
    InAll,
}

impl<K: Ord> HalfOpen<K> {
    pub(crate) fn new(limit: usize, limit_per_source: usize) -> Self {
        Self {
            by_source: BTreeMap::new(),
            in_all: 0,
            limit,
            limit_per_source,
        }
    }

    /// One more of this source, if it may be.
    pub(crate) fn enter(&mut self, source: K) -> Result<(), Full> {
        if let Some(full) = self.limit_met(&source) {
            return Err(full);
        }
        *self.by_source.entry(source).or_default() += 1;
        self.in_all += 1;
        Ok(())
    }

    /// The limit that keeps one more of this source out.
    pub(crate) fn limit_met(&self, source: &K) -> Option<Full> {
        let of_source = self.by_source.get(source).copied().unwrap_or(0);
        if self.in_all >= self.limit {
            Some(Full::InAll)
        } else if of_source >= self.limit_per_source {
            Some(Full::Source)
        } else {
            None
        }
    }

    /// One of the source's is complete, or has failed.
    pub(crate) fn leave(&mut self, source: &K) {
        let Some(of_source) = self.by_source.get_mut(source) else {
            debug_assert!(false, "left without having entered");
            return;
        };
        *of_source -= 1;
        if *of_source == 0 {
            self.by_source.remove(source);
        }
        self.in_all -= 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.in_all
    }
}

/// Set-ups whose source has not shown yet that it hears us, by age.
#[derive(Debug)]
pub(crate) struct Unproven<K, I> {
    by_age: BTreeMap<u64, I>,
    by_source: BTreeSet<(K, u64)>,
    ages: BTreeMap<I, (K, u64)>,
    next: u64,
}

impl<K: Ord + Copy, I: Ord + Copy> Unproven<K, I> {
    pub(crate) fn new() -> Self {
        Self {
            by_age: BTreeMap::new(),
            by_source: BTreeSet::new(),
            ages: BTreeMap::new(),
            next: 0,
        }
    }

    pub(crate) fn add(&mut self, source: K, id: I) {
        let age = self.next;
        self.next += 1;
        self.by_age.insert(age, id);
        self.by_source.insert((source, age));
        self.ages.insert(id, (source, age));
    }

    /// It has shown that it hears us, or is over. Returns whether it had not shown it before.
    pub(crate) fn remove(&mut self, id: I) -> bool {
        let Some((source, age)) = self.ages.remove(&id) else {
            return false;
        };
        self.by_age.remove(&age);
        self.by_source.remove(&(source, age));
        true
    }

    /// Which one has to make room when a newcomer of this source meets a limit.
    pub(crate) fn oldest(&self, full: Full, source: K) -> Option<I> {
        match full {
            Full::InAll => self.by_age.values().next().copied(),
            Full::Source => {
                let mut of_source = self.by_source.range((source, 0)..=(source, u64::MAX));
                of_source
                    .next()
                    .and_then(|(_, age)| self.by_age.get(age))
                    .copied()
            }
        }
    }
}

/// What counts as one source: an IPv4 address, or the /64 that an IPv6 host chooses from.
pub(crate) fn source_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
    }
}

/// How many set-ups may begin in one second, from each source and in all.
#[derive(Debug)]
pub(crate) struct Rate<K> {
    per_second: (usize, usize),
    this_second: Option<(std::time::Instant, HalfOpen<K>)>,
}

impl<K: Ord> Rate<K> {
    pub(crate) fn new(in_all: usize, per_source: usize) -> Self {
        Self {
            per_second: (in_all, per_source),
            this_second: None,
        }
    }

    /// One more of this source, if it may be.
    pub(crate) fn enter(&mut self, now: std::time::Instant, source: K) -> Result<(), Full> {
        const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
        let (in_all, per_source) = self.per_second;
        let is_current = |since| now.saturating_duration_since(since) < SECOND;
        self.this_second.take_if(|(since, _)| !is_current(*since));
        let fresh = || (now, HalfOpen::new(in_all, per_source));
        self.this_second.get_or_insert_with(fresh).1.enter(source)
    }
}

/// So many of something a second, with as much in one burst.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: u32,
    left: u32,
    since: Option<std::time::Instant>,
}

impl Bucket {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            left: per_second,
            since: None,
        }
    }

    /// Whether one more is allowed.
    pub(crate) fn take(&mut self, now: std::time::Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let earned =
            now.saturating_duration_since(since).as_millis() * u128::from(self.per_second) / 1000;
        if earned > 0 {
            self.left = self
                .per_second
                .min(self.left.saturating_add(earned.min(u32::MAX.into()) as u32));
            self.since = Some(now);
        }
        let is_allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tests::start;

    #[test]
    fn both_limits_hold_and_leaving_makes_room() {
        let mut half_open = HalfOpen::new(3, 2);
        assert_eq!(half_open.enter('a'), Ok(()));
        assert_eq!(half_open.enter('a'), Ok(()));
        assert_eq!(half_open.enter('a'), Err(Full::Source));
        assert_eq!(half_open.enter('b'), Ok(()));
        assert_eq!(half_open.enter('c'), Err(Full::InAll));
        half_open.leave(&'a');
        assert_eq!(half_open.enter('c'), Ok(()));
        assert_eq!(half_open.len(), 3);
    }

    #[test]
    fn the_oldest_that_has_not_answered_makes_room() {
        let mut unproven = Unproven::new();
        for (source, id) in [('a', 1), ('b', 2), ('a', 3), ('a', 4)] {
            unproven.add(source, id);
        }
        unproven.remove(1);
        assert_eq!(unproven.oldest(Full::InAll, 'c'), Some(2));
        assert_eq!(unproven.oldest(Full::Source, 'a'), Some(3));
        assert_eq!(unproven.oldest(Full::Source, 'c'), None);
        assert_eq!(
            [2, 3, 4, 4].map(|id| unproven.remove(id)),
            [true, true, true, false]
        );
        assert_eq!(unproven.oldest(Full::InAll, 'a'), None);
        assert!(unproven.by_source.is_empty() && unproven.ages.is_empty());
    }

    #[test]
    fn an_ipv6_host_is_one_source_whatever_its_address() {
        let source = |text: &str| source_of(text.parse().unwrap()).to_string();
        assert_eq!(source("192.0.2.1"), "192.0.2.1");
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn a_bucket_allows_its_rate_and_one_burst() {
        let (now, mut bucket) = (start(), Bucket::new(5));
        let burst = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(burst(&mut bucket, now), 5);
        assert_eq!(burst(&mut bucket, now + Duration::from_millis(199)), 0);
        assert_eq!(burst(&mut bucket, now + Duration::from_millis(200)), 1);
        assert_eq!(burst(&mut bucket, now + Duration::from_secs(3600)), 5);
    }
}
