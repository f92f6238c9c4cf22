//! Numbered packets, and the account of what became of them.
//!
//! Every packet carries the run it belongs to, its flow, its number in the flow, and when it was
//! sent by the clock that both ends share. So each that arrives says what is missing, what came
//! twice, what came late, and how long it took; nothing counts as delivered that was not received.

use std::time::Duration;

use hdrhistogram::Histogram;
use zerocopy::byteorder::network_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Tells our packets from others.
const MAGIC: [u8; 8] = *b"ADIT-LAB";
/// Numbers behind the highest of a flow that are still told apart.
const WINDOW: u64 = 4096;
const WORDS: usize = (WINDOW / 64) as usize + 1;
/// The longest latency that is told apart from longer ones.
const LATENCY_MAX: Duration = Duration::from_secs(60);
/// Three digits: the gateway's microseconds show.
const DIGITS: u8 = 3;
/// There are many named flows.
const NAMED_DIGITS: u8 = 2;

/// What begins each packet's payload.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Mark {
    magic: [u8; 8],
    run: U32,
    flow: U32,
    number: U64,
    sent_ns: U64,
}

const _: () = assert!(size_of::<Mark>() == 32);

impl Mark {
    /// Octets.
    pub const LEN: usize = size_of::<Self>();

    /// The mark of one packet.
    #[must_use]
    pub fn new(run: u32, flow: u32, number: u64, sent_ns: u64) -> Self {
        Self {
            magic: MAGIC,
            run: run.into(),
            flow: flow.into(),
            number: number.into(),
            sent_ns: sent_ns.into(),
        }
    }

    /// The mark of a payload, if it has one.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (mark, _) = Self::read_from_prefix(payload).ok()?;
        (mark.magic == MAGIC).then_some(mark)
    }

    /// Which run it belongs to.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.run.get()
    }

    /// Which flow it names.
    #[must_use]
    pub fn flow(&self) -> u32 {
        self.flow.get()
    }
}

/// What arrived of one flow.
#[derive(Clone, Debug)]
struct Arrivals {
    /// One more than the highest number so far.
    next: u64,
    seen: [u64; WORDS],
    received: u64,
    duplicated: u32,
    reordered: u32,
    worst_ns: u64,
}

/// What a packet turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    InOrder,
    Late,
    Copy,
    /// So late that nobody knows whether it is a copy: it does not count as received.
    Stale,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            next: 0,
            seen: [0; WORDS],
            received: 0,
            duplicated: 0,
            reordered: 0,
            worst_ns: 0,
        }
    }
}

impl Arrivals {
    fn note(&mut self, number: u64) -> Arrival {
        let is_next = number >= self.next;
        if is_next {
            self.move_beyond(number);
        } else if self.next - number > WINDOW {
            return Arrival::Stale;
        } else if self.seen[word(number)] & bit(number) != 0 {
            return Arrival::Copy;
        }
        self.seen[word(number)] |= bit(number);
        self.received += 1;
        match is_next {
            true => Arrival::InOrder,
            false => Arrival::Late,
        }
    }

    fn move_beyond(&mut self, number: u64) {
        let current = self.next.saturating_sub(1) / 64;
        for entered in current + 1..=(number / 64).min(current + WORDS as u64) {
            self.seen[entered as usize % WORDS] = 0;
        }
        self.next = number + 1;
    }
}

fn word(number: u64) -> usize {
    (number / 64) as usize % WORDS
}

fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

/// What arrived of all flows of a run, in one direction.
#[derive(Clone, Debug)]
pub struct Account {
    run: u32,
    flows: Vec<Arrivals>,
    received: u64,
    /// Numbers that were skipped and have not come since.
    skipped: u64,
    latency: Histogram<u64>,
    /// Of the first flows, each by itself.
    named: Vec<Histogram<u64>>,
    /// Octets of IP packets received, each once.
    pub octets: u64,
    /// Packets that came twice.
    pub duplicated: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets too late to be told from copies.
    pub stale: u64,
    /// Packets of a flow that belongs to somebody else.
    pub astray: u64,
    /// Packets that are not of this run, or not of ours at all.
    pub foreign: u64,
}

impl Account {
    /// Nothing has arrived.
    #[must_use]
    pub fn new(run: u32, flows: usize) -> Self {
        let longest = LATENCY_MAX.as_nanos() as u64;
        Self {
            run,
            flows: vec![Arrivals::default(); flows],
            latency: Histogram::new_with_max(longest, DIGITS)
                .expect("three digits to a minute fit"),
            named: Vec::new(),
            received: 0,
            skipped: 0,
            octets: 0,
            duplicated: 0,
            reordered: 0,
            stale: 0,
            astray: 0,
            foreign: 0,
        }
    }

    /// Keeps the latencies of the first flows apart from each other.
    #[must_use]
    pub fn with_named(mut self, flows: usize) -> Self {
        let longest = LATENCY_MAX.as_nanos() as u64;
        let one =
            Histogram::new_with_max(longest, NAMED_DIGITS).expect("two digits to a minute fit");
        self.named = vec![one; flows.min(self.flows.len())];
        self
    }

    /// Whether packets of this run are counted here.
    #[must_use]
    pub fn is_of(&self, mark: &Mark) -> bool {
        mark.run.get() == self.run
    }

    /// A packet of `octets` arrived; `is_right` says whether a flow belongs where it did.
    pub fn note(
        &mut self,
        now_ns: u64,
        payload: &[u8],
        octets: usize,
        is_right: impl FnOnce(u32) -> bool,
    ) {
        let Some(mark) = Mark::read(payload).filter(|mark| mark.run.get() == self.run) else {
            self.foreign += 1;
            return;
        };
        let Some(flow) = self.flows.get_mut(mark.flow() as usize) else {
            self.foreign += 1;
            return;
        };
        if !is_right(mark.flow()) {
            self.astray += 1;
            return;
        }
        let expected = flow.next;
        match flow.note(mark.number.get()) {
            Arrival::InOrder => self.skipped += mark.number.get() - expected,
            Arrival::Late => {
                flow.reordered += 1;
                self.reordered += 1;
                self.skipped -= 1;
            }
            Arrival::Copy => {
                flow.duplicated += 1;
                return self.duplicated += 1;
            }
            Arrival::Stale => return self.stale += 1,
        }
        let took = now_ns.saturating_sub(mark.sent_ns.get());
        flow.worst_ns = flow.worst_ns.max(took);
        self.received += 1;
        self.octets += octets as u64;
        self.latency.saturating_record(took);
        if let Some(named) = self.named.get_mut(mark.flow() as usize) {
            named.saturating_record(took);
        }
    }

    /// Packets received, each once.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets that are overdue: later ones of their flow are there.
    #[must_use]
    pub fn overdue(&self) -> u64 {
        self.skipped
    }

    /// Flows of which less was received than sent, and how much is missing in all.
    #[must_use]
    pub fn missing(&self, sent: &[u64]) -> (usize, u64) {
        let missing = self
            .flows
            .iter()
            .zip(sent)
            .map(|(flow, sent)| sent - flow.received.min(*sent));
        let missing = missing.filter(|missing| *missing > 0);
        missing.fold((0, 0), |(flows, sum), missing| (flows + 1, sum + missing))
    }

    /// What arrived of one flow.
    #[must_use]
    pub fn flow(&self, flow: usize) -> Option<Arrived<'_>> {
        let arrivals = self.flows.get(flow)?;
        Some(Arrived {
            received: arrivals.received,
            duplicated: arrivals.duplicated,
            reordered: arrivals.reordered,
            worst_ns: arrivals.worst_ns,
            latency: self.named.get(flow),
        })
    }

    /// Latencies in nanoseconds.
    #[must_use]
    pub fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }
}

/// What arrived of one flow.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// Packets, each once.
    pub received: u64,
    /// Packets that came twice.
    pub duplicated: u32,
    /// Packets that came after a later one.
    pub reordered: u32,
    /// The longest latency.
    pub worst_ns: u64,
    /// All latencies, if the flow is a named one.
    pub latency: Option<&'a Histogram<u64>>,
}

/// Gives numbers to the packets of a run: flow by flow in turn, sizes in a fixed mix.
#[derive(Clone, Debug)]
pub struct Numbering {
    run: u32,
    sizes: &'static [usize],
    sent: Vec<u64>,
    flow: usize,
    total: u64,
    count: u64,
}

/// Octets of the IP packets: 7 × 64, 4 × 570, 1 × 1400, mixed so that no burst is of one size.
pub const IMIX: &[usize] = &[64, 570, 64, 64, 570, 64, 1400, 64, 570, 64, 570, 64];

impl Numbering {
    /// `count` packets, evenly over the flows.
    #[must_use]
    pub fn new(run: u32, flows: usize, sizes: &'static [usize], count: u64) -> Self {
        Self {
            run,
            sizes,
            sent: vec![0; flows],
            flow: 0,
            total: 0,
            count,
        }
    }

    /// The next packet: its mark and the octets of the whole IP packet. `None` when all are out.
    pub fn next(&mut self, now_ns: u64) -> Option<(Mark, usize)> {
        if self.is_done() {
            return None;
        }
        let number = self.sent[self.flow];
        let mark = Mark::new(self.run, self.flow as u32, number, now_ns);
        // Another offset for each flow, so that each of them has every size.
        let size = self.sizes[(number as usize + self.flow) % self.sizes.len()];
        self.sent[self.flow] += 1;
        self.total += 1;
        self.flow = (self.flow + 1) % self.sent.len();
        Some((mark, size))
    }

    /// Everything was sent, or there are no flows.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.total == self.count || self.sent.is_empty()
    }

    /// Packets sent of each flow.
    #[must_use]
    pub fn sent(&self) -> &[u64] {
        &self.sent
    }

    /// Packets sent of all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Packets left to send.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.count - self.total
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_fate_of_a_packet_is_counted_by_its_name() {
        let mut account = Account::new(7, 2);
        let mut arrive = |run, flow, number| {
            let mark = Mark::new(run, flow, number, 1000);
            account.note(3000, mark.as_bytes(), 64, |flow| flow != 1);
        };
        for number in [0, 1, 3, 2, 3, 9000, 8999, 2] {
            arrive(7, 0, number);
        }
        arrive(7, 1, 0);
        arrive(7, 2, 0);
        arrive(6, 0, 5);
        account.note(0, b"something else", 64, |_| true);
        assert_eq!(account.received(), 6);
        assert_eq!(account.reordered, 2, "2 after 3, 8999 after 9000");
        assert_eq!(account.duplicated, 1);
        assert_eq!(account.overdue(), 8995);
        assert_eq!(account.stale, 1);
        assert_eq!(account.astray, 1);
        assert_eq!(account.foreign, 3);
        assert_eq!(account.octets, 6 * 64);
        assert_eq!(account.missing(&[9001, 0]), (1, 8995));
        assert_eq!(account.latency().len(), 6);
        assert_eq!(account.latency().max(), 2000);
    }

    #[test]
    fn a_run_is_spread_evenly_over_flows_and_sizes() {
        let mut numbering = Numbering::new(1, 5, IMIX, 600);
        let mut octets = 0;
        while let Some((mark, size)) = numbering.next(0) {
            assert!(u64::from(mark.flow()) == (numbering.total() - 1) % 5);
            octets += size;
        }
        assert_eq!(numbering.sent(), [120; 5]);
        assert_eq!(octets, 50 * (7 * 64 + 4 * 570 + 1400));
        assert!(Numbering::new(1, 0, IMIX, 600).next(0).is_none());
    }

    proptest! {
        #[test]
        fn what_is_counted_is_what_arrived(numbers in prop::collection::vec(0u64..9000, 1..600)) {
            let mut flow = Arrivals::default();
            let mut seen = BTreeSet::new();
            for number in numbers {
                let highest = seen.last().copied();
                let arrival = flow.note(number);
                let expected = match highest {
                    None => Arrival::InOrder,
                    Some(highest) if number > highest => Arrival::InOrder,
                    Some(highest) if highest + 1 - number > WINDOW => Arrival::Stale,
                    Some(_) if seen.contains(&number) => Arrival::Copy,
                    Some(_) => Arrival::Late,
                };
                prop_assert_eq!(arrival, expected);
                if arrival != Arrival::Stale {
                    seen.insert(number);
                }
            }
            prop_assert_eq!(flow.received, seen.len() as u64);
        }
    }
}
