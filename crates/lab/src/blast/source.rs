//! What one end of the traffic sends: for each group its pace, its sizes, its flows in turn.

use std::time::Instant;

use crypto::Random;

use crate::flow::Mark;
use crate::pace::Pace;
use crate::scenario::{OfferedLoad, Rhythm};

/// One group's packets in one direction.
struct Stream {
    /// Stands in every mark.
    run: u32,
    pace: Pace,
    sizes: Vec<usize>,
    /// Packets sent of each flow.
    sent: Vec<u64>,
    octets: u64,
    /// The flow whose turn it is.
    turn: usize,
}

/// A packet that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The group.
    pub group: usize,
    /// What begins the payload.
    pub mark: Mark,
    /// Octets of the whole IP packet.
    pub size: usize,
}

/// The packets of all groups in one direction.
pub struct Source {
    streams: Vec<Option<Stream>>,
    end: Instant,
}

impl Source {
    /// Nothing yet, and nothing that is due after `end`.
    #[must_use]
    pub fn new(end: Instant) -> Self {
        Self {
            streams: Vec::new(),
            end,
        }
    }

    /// The next group: it has so many flows, and sends if it has a load.
    pub fn add(
        &mut self,
        run: u32,
        flows: usize,
        load: Option<&OfferedLoad>,
        begin: Instant,
        dice: Random,
    ) {
        let stream = load.filter(|_| flows > 0).map(|load| {
            let rate = load.packets_per_second() * flows as f64;
            Stream {
                run,
                pace: match load.rhythm {
                    Rhythm::Constant => Pace::even(rate, begin),
                    Rhythm::Poisson => Pace::poisson(rate, begin, dice),
                },
                sizes: load.sizes.0.clone(),
                sent: vec![0; flows],
                octets: 0,
                turn: 0,
            }
        });
        self.streams.push(stream);
    }

    /// Emits what is due. A flow that `emit` does not take, because its subscriber is not there,
    /// has missed its turn, so that the others keep their rate.
    pub fn load(&mut self, now: Instant, now_ns: u64, mut emit: impl FnMut(Due) -> bool) {
        let until = now.min(self.end);
        for (group, stream) in self.streams.iter_mut().enumerate() {
            let Some(stream) = stream else { continue };
            for _ in 0..stream.pace.due(until) {
                stream.emit(group, now_ns, &mut emit);
            }
        }
    }

    /// When the next packet is due.
    #[must_use]
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let streams = self.streams.iter().flatten();
        let next = streams.map(|stream| stream.pace.next(now)).min();
        next.filter(|_| now < self.end)
    }

    /// Packets sent of each flow of a group.
    #[must_use]
    pub fn sent(&self, group: usize) -> &[u64] {
        let stream = self.streams.get(group).and_then(Option::as_ref);
        stream.map_or(&[], |stream| &stream.sent)
    }

    /// Octets of the IP packets sent of a group.
    #[must_use]
    pub fn octets(&self, group: usize) -> u64 {
        let stream = self.streams.get(group).and_then(Option::as_ref);
        stream.map_or(0, |stream| stream.octets)
    }

    /// Packets that were due and were not sent, because we came too late for them.
    #[must_use]
    pub fn withheld(&self) -> u64 {
        let streams = self.streams.iter().flatten();
        streams.map(|stream| stream.pace.withheld()).sum()
    }
}

impl Stream {
    fn emit(&mut self, group: usize, now_ns: u64, emit: &mut impl FnMut(Due) -> bool) {
        let flow = self.turn;
        self.turn = (flow + 1) % self.sent.len();
        let number = self.sent[flow];
        // Another offset for each flow, so that each of them has every size.
        let size = self.sizes[(number as usize + flow) % self.sizes.len()];
        let mark = Mark::new(self.run, flow as u32, number, now_ns);
        if emit(Due { group, mark, size }) {
            self.sent[flow] += 1;
            self.octets += size as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    fn dice() -> Random {
        Random::from_seed([1; 32])
    }

    #[test]
    fn each_subscriber_has_its_rate_and_every_size() {
        let begin = clock::now();
        let load: OfferedLoad = "64,570:100/s".parse().unwrap();
        let mut source = Source::new(begin + Duration::from_secs(1));
        source.add(7, 0, Some(&load), begin, dice());
        source.add(8, 3, None, begin, dice());
        source.add(9, 3, Some(&load), begin, dice());
        let mut sizes = Vec::new();
        for ms in 1..=1000 {
            let now = begin + Duration::from_millis(ms);
            source.load(now, ms, |due| {
                assert_eq!((due.group, due.mark.run()), (2, 9));
                sizes.push((due.mark.flow(), due.size));
                true
            });
        }
        assert_eq!(source.sent(2), [100; 3]);
        assert_eq!(source.octets(2), 150 * (64 + 570));
        for flow in 0..3 {
            let small = sizes.iter().filter(|sent| **sent == (flow, 64));
            assert_eq!(small.count(), 50);
        }
        assert!(source.sent(0).is_empty() && source.sent(1).is_empty());
    }

    #[test]
    fn who_is_not_there_leaves_the_others_their_rate() {
        let begin = clock::now();
        let load: OfferedLoad = "64:100/s".parse().unwrap();
        let mut source = Source::new(begin + Duration::from_secs(1));
        source.add(1, 4, Some(&load), begin, dice());
        for ms in 1..=1500 {
            let now = begin + Duration::from_millis(ms);
            source.load(now, ms, |due| due.mark.flow() != 2);
        }
        assert_eq!(
            source.sent(0),
            [100, 100, 0, 100],
            "and nothing after the end"
        );
        assert_eq!(source.next(begin + Duration::from_secs(1)), None);
    }
}
