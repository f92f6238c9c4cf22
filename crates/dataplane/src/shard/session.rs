//! An L2TP session, and the network on top of it once the subscriber has an address.

use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::ledger::Counts;
use super::news::News;
use crate::bucket::{Bucket, Rate};
use crate::change;
use crate::counters::Unpublished;
use crate::id::{PathId, SessionSlot};
use crate::police::Policer;
use crate::shared::{SessionTally, Tally};

/// Data frames that may go to the slow path before the network is open.
pub(crate) const EARLY_FRAMES: u8 = 4;

/// How many control frames a session may send to the slow path.
pub(crate) const PUNTS: Rate = Rate {
    per_second: 64,
    burst: 128,
};

/// Smallest MTU that is believed (RFC 791: every host takes 576 octets).
const MTU_MIN: u16 = 576;

/// An L2TP session. In the first two cache lines lies what packets look at, and what they count.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Session {
    pub(crate) network: Option<Network>,
    /// UDP ports, ours and the peer's.
    pub(crate) ports: [u16; 2],
    pub(crate) sequencing: bool,
    pub(crate) early: u8,
    /// Ns of the next data message sent.
    pub(crate) ns: u16,
    pub(crate) path: PathId,
    pub(crate) peer_tunnel: u16,
    pub(crate) peer_session: u16,
    pub(crate) punts: Bucket,
    pub(crate) up: Option<Policer>,
    /// What came through it since that was last published.
    pub(crate) went_up: Unpublished,
    pub(crate) down: Option<Policer>,
    pub(crate) went_down: Unpublished,
    pub(crate) tally: Tally<SessionTally>,
    /// Ns expected next, once the peer has sent one.
    pub(crate) nr: Option<u16>,
    pub(crate) news: News,
    /// Our ids, as the peer sends them.
    pub(crate) tunnel: u16,
    pub(crate) session: u16,
    pub(crate) id: SessionSlot,
}

/// What a slot puts in front of its holder.
const SLOT: usize = 8;
const _: () = assert!(SLOT + offset_of!(Session, up) == 64);
const _: () = assert!(SLOT + offset_of!(Session, tally) == 128);
const _: () = assert!(SLOT + size_of::<Session>() <= 192);

/// What a session needs to carry IP.
#[derive(Debug)]
pub(crate) struct Network {
    address: Option<Ipv4Addr>,
    prefixes: Option<Box<Prefixes>>,
    pub(crate) mtu: u16,
    pub(crate) clamp_mss: bool,
    pub(crate) isolate: bool,
    header: [u8; 4],
    header_len: u8,
}

/// Octets of which so many at the end are PPP's.
pub(crate) type PppHeader = ([u8; 4], usize);

/// Networks behind a subscriber: few have any.
#[derive(Debug)]
struct Prefixes(Vec<Ipv4Net>);

impl Session {
    /// Cache lines that a packet looks at.
    pub(crate) const LINES: &[usize] = &[0, 1];

    pub(crate) fn new(session: &change::Session, tally: Tally<SessionTally>) -> Self {
        Self {
            id: session.id,
            path: session.path,
            tunnel: session.tunnel,
            session: session.session,
            peer_tunnel: session.peer_tunnel,
            peer_session: session.peer_session,
            ports: [session.local_port, session.peer_port],
            sequencing: session.sequencing,
            ns: 0,
            nr: None,
            network: None,
            up: None,
            went_up: Unpublished::default(),
            down: None,
            went_down: Unpublished::default(),
            early: 0,
            punts: Bucket::full(PUNTS),
            news: News::default(),
            tally,
        }
    }

    /// RFC 2661 §5.4: whether a data message with this Ns comes after all that were delivered. One
    /// that is late is dropped, so nothing is delivered twice or out of order.
    #[inline]
    pub(crate) fn is_in_order(&mut self, ns: u16) -> bool {
        let is_late = |expected: u16| ns.wrapping_sub(expected) >= 1 << 15;
        if self.nr.is_some_and(is_late) {
            return false;
        }
        self.nr = Some(ns.wrapping_add(1));
        true
    }
}

impl Counts for Session {
    fn approach(&self) {
        self.tally.prefetch();
    }

    fn publish(&mut self, now_ms: u64) {
        let tally = &*self.tally;
        if !self.went_up.is_empty() {
            self.went_up.take_to(&tally.up);
            tally.last_up.set(now_ms);
        }
        if !self.went_down.is_empty() {
            self.went_down.take_to(&tally.down);
            tally.last_down.set(now_ms);
        }
    }
}

impl Network {
    pub(crate) fn new(network: &change::Network) -> Self {
        let prefixes: Vec<_> = network.prefixes.iter().filter_map(v4).collect();
        // RFC 1661 §6.5, §6.6: what the peer agreed to leave out is left out.
        let (header, header_len) = match (network.acfc, network.pfc) {
            (false, false) => ([0xff, 0x03, 0x00, 0x21], 4),
            (false, true) => ([0xff, 0x03, 0x21, 0], 3),
            (true, false) => ([0x00, 0x21, 0, 0], 2),
            (true, true) => ([0x21, 0, 0, 0], 1),
        };
        Self {
            address: match network.address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            },
            prefixes: (!prefixes.is_empty()).then(|| Box::new(Prefixes(prefixes))),
            mtu: network.mtu.max(MTU_MIN),
            clamp_mss: network.clamp_mss,
            isolate: network.isolate,
            header,
            header_len,
        }
    }

    /// Takes another size for packets towards the subscriber.
    pub(crate) fn resize(&mut self, mtu: u16) {
        self.mtu = mtu.max(MTU_MIN);
    }

    /// Whether a packet of the subscriber may have this source.
    #[inline]
    pub(crate) fn is_source(&self, source: Ipv4Addr) -> bool {
        let has = |Prefixes(all): &Prefixes| all.iter().any(|prefix| prefix.contains(&source));
        self.address == Some(source) || self.prefixes.as_deref().is_some_and(has)
    }

    /// The same as the last of four octets.
    #[inline(always)]
    pub(crate) fn ppp_header_at_end(&self) -> PppHeader {
        let len = usize::from(self.header_len);
        let unused = 32 - 8 * u32::from(self.header_len);
        let word = u32::from_be_bytes(self.header).wrapping_shr(unused);
        (word.to_be_bytes(), len)
    }

    /// What goes in front of an IP packet.
    #[inline]
    pub(crate) fn ppp_header(&self) -> &[u8] {
        &self.header[..usize::from(self.header_len)]
    }
}

fn v4(prefix: &IpNet) -> Option<Ipv4Net> {
    match prefix {
        IpNet::V4(prefix) => Some(*prefix),
        IpNet::V6(_) => None,
    }
}
