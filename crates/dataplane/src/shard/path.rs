//! A peer: the outer header towards it, the SA to send on, and those that wait to replace it.

use std::mem::offset_of;

use packet::Endpoint;

use super::directory::Directory;
use super::key_slot;
use super::ledger::Counts;
use super::news::News;
use crate::batch::Work;
use crate::bucket::{Bucket, Rate};
use crate::change::{self, AdjacencyId, Encapsulation, InstallOutbound, Limits, Traffic};
use crate::counters::Unpublished;
use crate::discard::Discard;
use crate::esp::Shape;
use crate::id::{InboundSa, PathId, Slot};
use crate::shared::{PathTally, Shared, Tally};

/// Outbound SAs that may wait at the same time.
pub(crate) const WAITING_SAS: usize = 4;

/// An endpoint is followed at most this often.
const FOLLOW_EVERY_MS: u64 = 1000;

/// How exactly it is known when a peer was last heard: keepalives and idle times count in seconds.
const HEARD_MS: u64 = 1024;

/// L2TP control messages of one peer: a LAC that places a thousand calls a second is within it.
const CONTROL: Rate = Rate {
    per_second: 4000,
    burst: 4000,
};

/// RFC 4303 §3.3.3: rekeying is asked for well before the 32-bit sequence number ends.
const SOFT_SEQUENCE: u64 = 3 << 30;

/// A peer as the fast path sees it. In the first cache line lies what plain packets look at that go up,
/// in two what those look at that go down.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Path {
    pub(crate) origin: Origin,
    pub(crate) heard: Heard,
    pub(crate) directory: Directory,
    /// What was sent since it was last published.
    pub(crate) sent: Unpublished,
    /// The next hop towards the peer, and the count of [`Shared::ways`] at which it was that.
    way: (u32, Option<AdjacencyId>),
    pub(crate) outbound: Option<Outbound>,
    pub(crate) tally: Tally<PathTally>,
    pub(crate) local: Endpoint,
    pub(crate) remote: Endpoint,
    pub(crate) id: PathId,
    followed_ms: Option<u64>,
    pub(crate) waiting: Vec<InstallOutbound>,
    pub(crate) inbound: Vec<InboundSa>,
    pub(crate) news: News,
    /// How often its control messages may go to the slow path.
    control: Bucket,
}

/// What a slot puts in front of its holder.
const SLOT: usize = 8;
const _: () = assert!(SLOT + offset_of!(Path, directory) + Directory::FIRST <= 64);
const _: () = assert!(SLOT + offset_of!(Path, outbound) + Outbound::HOT <= 128);

impl Path {
    /// Cache lines that a packet looks at on its way up, and down.
    pub(crate) const LINES: [&[usize]; 2] = [&[0], &[0, 1]];

    pub(crate) fn new(path: &change::Path, tally: Tally<PathTally>) -> Self {
        Self {
            id: path.id,
            local: path.local,
            remote: path.remote,
            origin: Origin {
                ends: ends(path.remote, path.local),
                vrf: path.vrf,
                encapsulation: path.encapsulation,
            },
            heard: Heard::default(),
            sent: Unpublished::default(),
            way: (0, None),
            outbound: None,
            waiting: Vec::new(),
            inbound: Vec::new(),
            directory: Directory::default(),
            news: News::default(),
            tally,
            control: Bucket::full(CONTROL),
            followed_ms: None,
        }
    }

    /// Whether another control message may go to the slow path.
    pub(crate) fn may_control(&mut self, now_ms: u64) -> Result<(), Discard> {
        let may = self.control.take(CONTROL, now_ms);
        may.then_some(()).ok_or(Discard::PuntLimited)
    }

    /// The peer was heard by a port. Counters have a cache line of their own, which is left alone if they
    /// nearly say so already.
    #[inline(always)]
    pub(crate) fn heard_by(&mut self, port: u8, now_ms: u64) {
        let before = self.heard;
        self.heard.note(port, now_ms);
        if self.heard != before {
            self.tally.last_authentic.set(now_ms);
        }
    }

    /// Whether frames travel in an SA.
    #[inline]
    pub(crate) fn is_secured(&self) -> bool {
        self.origin.encapsulation != Encapsulation::Plain
    }

    /// The peer is elsewhere.
    pub(crate) fn go_to(&mut self, local: Endpoint, remote: Endpoint) {
        (self.local, self.remote) = (local, remote);
        self.origin.ends = ends(remote, local);
        self.way = (0, None);
    }

    /// The next hop towards the peer.
    #[inline]
    pub(crate) fn next_hop(&mut self, shared: &Shared) -> Option<AdjacencyId> {
        let ways = shared.ways();
        if self.way.0 != ways {
            self.find_way(ways, shared);
        }
        self.way.1
    }

    #[cold]
    #[inline(never)]
    fn find_way(&mut self, ways: u32, shared: &Shared) {
        self.way = (ways, shared.next_hop(self.remote));
    }

    /// Follows the peer to where an authentic frame, the newest of its SA, came from: at most once
    /// a second, so that two copies on two ways do not make it swing.
    #[inline]
    pub(crate) fn follow(&mut self, local: Endpoint, remote: Endpoint, now_ms: u64) -> bool {
        let recently = |at: u64| now_ms.saturating_sub(at) < FOLLOW_EVERY_MS;
        if self.remote == remote || self.followed_ms.is_some_and(recently) {
            return false;
        }
        self.go_to(local, remote);
        self.followed_ms = Some(now_ms);
        true
    }
}

impl Counts for Path {
    fn approach(&self) {
        self.tally.prefetch();
    }

    fn publish(&mut self, now_ms: u64) {
        if self.sent.is_empty() {
            return;
        }
        self.sent.take_to(&self.tally.sent);
        self.tally.last_sent.set(now_ms);
        if let Some(outbound) = &self.outbound {
            self.tally.sequence.set(outbound.next - 1);
        }
    }
}

/// How the frames of a peer come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Both ends as a frame of the peer has them.
    ends: Ends,
    pub(crate) vrf: u16,
    pub(crate) encapsulation: Encapsulation,
}

impl Origin {
    /// Whether a frame comes from the peer's endpoint to ours.
    #[inline(always)]
    pub(crate) fn is_between(&self, ends: &Ends) -> bool {
        self.ends == *ends
    }

    /// Whether it comes from the peer's address to ours: ESP has no ports.
    #[inline(always)]
    pub(crate) fn joins(&self, ends: &Ends) -> bool {
        self.ends[..8] == ends[..8]
    }

    /// The ends of a frame of ours; `None` if they are not of IPv4.
    #[inline(always)]
    pub(crate) fn ends_back(&self) -> Option<Ends> {
        // By words: two of them change places, and so do the halves of the third.
        let [there, here, ports]: [[u8; 4]; 3] = zerocopy::transmute!(self.ends);
        let ports = u32::from_ne_bytes(ports).rotate_left(16).to_ne_bytes();
        (self.ends != Ends::default()).then_some(zerocopy::transmute!([here, there, ports]))
    }
}

/// By which port somebody was last heard, and about when.
/// In one word: the time in units of [`HEARD_MS`] (it comes again after a hundred days), [`Self::EVER`],
/// the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard(u32);

impl Heard {
    const EVER: u32 = 1 << u8::BITS;

    /// Notes that a frame came.
    #[inline(always)]
    pub(crate) fn note(&mut self, port: u8, now_ms: u64) {
        let period = (now_ms / HEARD_MS * 2) as u32;
        *self = Self(period << u8::BITS | Self::EVER | u32::from(port));
    }

    /// Whether the last frame came by this port.
    #[inline(always)]
    pub(crate) fn is_by(self, port: u8) -> bool {
        const LAST: u32 = Heard::EVER | 0xff;
        self.0 & LAST == Self::EVER | u32::from(port)
    }

    pub(crate) fn port(self) -> Option<u8> {
        (self.0 & Self::EVER != 0).then_some(self.0 as u8)
    }
}

/// Source and destination address, source and destination port, as they follow one another in a
/// frame of IPv4 without options and UDP.
pub(crate) type Ends = [u8; 12];

/// Of frames from the first to the second; all zero, as in no frame, if they are not of IPv4.
#[inline]
pub(crate) fn ends(from: Endpoint, to: Endpoint) -> Ends {
    let mut ends = Ends::default();
    if let (Some(source), Some(destination)) = (from.as_v4(), to.as_v4()) {
        ends[..4].copy_from_slice(&source.octets());
        ends[4..8].copy_from_slice(&destination.octets());
        ends[8..10].copy_from_slice(&from.port().to_be_bytes());
        ends[10..].copy_from_slice(&to.port().to_be_bytes());
    }
    ends
}

/// The SA in use.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Outbound {
    pub(crate) spi: u32,
    pub(crate) shape: Shape,
    pub(crate) esn: bool,
    next: u64,
    pub(crate) usage: Usage,
}

impl Outbound {
    /// Octets that a packet looks at.
    const HOT: usize = offset_of!(Self, usage) + Usage::HOT;

    pub(crate) fn new(install: &InstallOutbound) -> Self {
        let mut limits = install.limits;
        if !install.esn {
            limits.soft_packets = limits.soft_packets.min(SOFT_SEQUENCE);
        }
        Self {
            spi: install.spi,
            shape: Shape::of(install.suite),
            esn: install.esn,
            next: install.first_sequence.max(1),
            usage: Usage::new(limits),
        }
    }

    /// Takes the next sequence number for a packet of `len` octets of this path: what the cipher has to
    /// do, and whether a limit is so near that there may be something to tell.
    #[inline(always)]
    pub(crate) fn number(&mut self, path: Slot, len: usize) -> Result<(Work, bool), Discard> {
        // RFC 4303 §3.3.3: a packet whose number would wrap is never sent.
        if !self.has_number() {
            return Err(Discard::SaExhausted);
        }
        let is_near = !self.usage.take_far(len);
        if is_near && !self.usage.take(len) {
            return Err(Discard::SaExhausted);
        }
        let work = Work {
            shape: self.shape,
            key: key_slot(path),
            sequence: self.next,
            esn: self.esn,
        };
        self.next += 1;
        Ok((work, is_near))
    }

    #[cfg(test)]
    pub(crate) fn set_next(&mut self, next: u64) {
        self.next = next;
    }

    /// Whether another packet may be sent.
    #[inline]
    pub(crate) fn is_usable(&self) -> bool {
        self.has_number() && !self.usage.is_over()
    }

    #[inline(always)]
    fn has_number(&self) -> bool {
        let last = if self.esn {
            u64::MAX - 1
        } else {
            u64::from(u32::MAX)
        };
        self.next <= last
    }
}

/// How much an SA was used, against its limits. What lies behind the stops is looked at once one of
/// them is reached.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Usage {
    packets: u64,
    bytes: u64,
    /// The nearest limits that there is still something to say about, of packets and of octets.
    stops: [u64; 2],
    limits: Limits,
    soft_told: bool,
    hard_told: bool,
}

/// The stops of an SA that has passed a hard limit.
const OVER: [u64; 2] = [0, u64::MAX];

/// A limit that nobody reaches: adding a packet to what is below it cannot overflow.
const FARTHEST: u64 = 1 << 62;

impl Usage {
    /// Octets that a packet looks at which is far from every limit.
    pub(super) const HOT: usize = offset_of!(Self, limits);

    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            packets: 0,
            bytes: 0,
            stops: [
                FARTHEST.min(limits.soft_packets).min(limits.hard_packets),
                FARTHEST.min(limits.soft_bytes).min(limits.hard_bytes),
            ],
            limits,
            soft_told: false,
            hard_told: false,
        }
    }

    /// What was counted so far.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            packets: self.packets,
            bytes: self.bytes,
        }
    }

    /// Whether another packet, after which so many octets have passed, is far from every limit.
    #[inline(always)]
    fn is_far(&self, bytes: u64) -> bool {
        let [stop_packets, stop_bytes] = self.stops;
        self.packets < stop_packets && bytes < stop_bytes
    }

    /// Whether a packet would have passed a hard limit.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.stops == OVER
    }

    /// Counts a packet after which there is nothing to tell, because every limit is far; `false` if one is
    /// near, and then nothing is counted.
    #[inline(always)]
    pub(crate) fn take_far(&mut self, len: usize) -> bool {
        let (packets, bytes) = (self.packets + 1, self.bytes + len as u64);
        let [stop_packets, stop_bytes] = self.stops;
        let is_far = packets < stop_packets && bytes < stop_bytes;
        if is_far {
            (self.packets, self.bytes) = (packets, bytes);
        }
        is_far
    }

    /// Counts a packet; `false` if that would pass a hard limit, and then none passes any more.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> bool {
        let has_left = self.has_left(len);
        if has_left {
            (self.packets, self.bytes) = (self.packets + 1, self.bytes + len as u64);
        } else {
            self.stops = OVER;
        }
        has_left
    }

    /// Whether a packet of `len` octets is within the hard limits.
    #[inline]
    pub(crate) fn has_left(&self, len: usize) -> bool {
        let bytes = self.bytes.saturating_add(len as u64);
        self.is_far(bytes) || self.is_within(bytes)
    }

    #[cold]
    fn is_within(&self, bytes: u64) -> bool {
        !self.is_over()
            && self.packets < self.limits.hard_packets
            && bytes <= self.limits.hard_bytes
    }

    /// Whether the soft limit was passed and nobody knows yet.
    #[inline]
    pub(crate) fn soft_news(&mut self) -> bool {
        !self.is_far(self.bytes) && self.has_passed_soft()
    }

    #[cold]
    fn has_passed_soft(&mut self) -> bool {
        let limits = &self.limits;
        let passed = self.packets >= limits.soft_packets || self.bytes >= limits.soft_bytes;
        if passed && !self.is_over() {
            self.stops = [
                FARTHEST.min(limits.hard_packets),
                FARTHEST.min(limits.hard_bytes),
            ];
        }
        passed && !std::mem::replace(&mut self.soft_told, true)
    }

    /// The SA is unusable: whether nobody knows yet.
    pub(crate) fn hard_news(&mut self) -> bool {
        !std::mem::replace(&mut self.hard_told, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::pages::Pages;

    #[test]
    fn a_peer_is_remembered_by_its_last_port_and_by_the_second_in_which_it_was_heard() {
        let slot = Slot::from_word(5);
        let path = change::Path {
            id: PathId(slot),
            local: Endpoint::v4([192, 0, 2, 1], 4500),
            remote: Endpoint::v4([198, 51, 100, 1], 4500),
            mtu: 1500,
            vrf: 0,
            encapsulation: Encapsulation::EspInUdp,
        };
        let mut path = Path::new(&path, Pages::new(1024).open(slot).unwrap());
        let mut heard = |port, now_ms| {
            path.heard_by(port, now_ms);
            (path.heard.port(), path.tally.last_authentic.ms())
        };
        assert_eq!(heard(1, 2048), (Some(1), Some(2048)));
        assert_eq!(heard(1, 2050), (Some(1), Some(2048)), "nothing new");
        assert_eq!(heard(2, 2051), (Some(2), Some(2051)));
        assert_eq!(heard(2, 3072), (Some(2), Some(3072)));
    }

    /// Against the plain way, which looks at the limits themselves.
    #[test]
    fn limits_are_kept_to_the_packet_and_the_octet_and_told_of_once() {
        let huge = u64::MAX;
        let cases = [
            [1, 3, huge, huge],
            [huge, huge, 3000, 5000],
            [255, 512, huge, huge],
            [256, 257, 70_000, 140_000],
            [1000, 900, huge, huge],
            [huge, huge, 1 << 17, (1 << 17) + 1000],
        ];
        for case in cases {
            let [soft_packets, hard_packets, soft_bytes, hard_bytes] = case;
            let mut usage = Usage::new(Limits {
                soft_packets,
                hard_packets,
                soft_bytes,
                hard_bytes,
            });
            let (mut packets, mut bytes, mut told, mut is_over) = (0, 0, false, false);
            for _ in 0..2000 {
                let fits = packets < hard_packets && bytes + 1000 <= hard_bytes && !is_over;
                is_over |= !fits;
                assert_eq!(usage.has_left(1000), fits, "{case:?} {packets}");
                let is_far = usage.take_far(1000);
                assert_eq!(is_far || usage.take(1000), fits, "{case:?} {packets}");
                assert_eq!(usage.is_over(), is_over);
                if fits {
                    (packets, bytes) = (packets + 1, bytes + 1000);
                    let is_soft = packets >= soft_packets || bytes >= soft_bytes;
                    let is_news = !is_far && usage.soft_news();
                    assert_eq!(is_news, is_soft && !told, "{case:?} {packets}");
                    told |= is_soft;
                }
            }
            assert!(usage.hard_news() && !usage.hard_news());
        }
    }
}
