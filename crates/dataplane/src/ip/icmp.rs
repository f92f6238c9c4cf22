//! ICMP of our own (RFC 792, RFC 1812 §4.3): each is the packet it is about, turned round in its
//! own chunk.

use std::net::{IpAddr, Ipv4Addr};

use packet::header::{Icmp, Ipv4};
use packet::{Chunk, Frame, checksum};

use crate::batch::{Exit, Guest, Room, Source};
use crate::discard::Discard;
use crate::shared::Target;
use crate::tables::Tables;
use zerocopy::IntoBytes;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO: u8 = 8;
const TIME_EXCEEDED: u8 = 11;

/// RFC 1812 §4.3.2.3: an error is at most this long.
const ERROR_LEN_MAX: usize = 576;

const ICMP_LEN: usize = size_of::<Icmp>();

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    NetworkUnreachable,
    HostUnreachable,
    TooBig(u16),
    TimeExceeded,
}

impl Trouble {
    /// Type, code, and the second half of the second word.
    fn fields(self) -> (u8, u8, u16) {
        match self {
            Self::NetworkUnreachable => (UNREACHABLE, 0, 0),
            Self::HostUnreachable => (UNREACHABLE, 1, 0),
            // RFC 1191 §4: the MTU of the next hop.
            Self::TooBig(mtu) => (UNREACHABLE, 4, mtu),
            Self::TimeExceeded => (TIME_EXCEEDED, 0, 0),
        }
    }

    /// Whether there is a place for one more of these.
    fn may_be_told(self, tables: &mut Tables) -> bool {
        let limiter = match self {
            Self::TooBig(_) => &mut tables.too_big,
            Self::NetworkUnreachable | Self::HostUnreachable | Self::TimeExceeded => {
                &mut tables.icmp
            }
        };
        limiter.take(tables.now_ms)
    }

    /// What the packet is counted as when nobody is told.
    fn discard(self) -> Discard {
        match self {
            Self::NetworkUnreachable => Discard::NoRoute,
            Self::HostUnreachable => Discard::NoSubscriber,
            Self::TooBig(_) => Discard::TooBig,
            Self::TimeExceeded => Discard::TtlExpired,
        }
    }
}

/// Turns a packet into the error about it, on its way back to its sender. The packet is counted as
/// discarded either way.
pub(super) fn answer<C: Chunk>(
    t: &mut Guest<'_, C>,
    trouble: Trouble,
    tables: &mut Tables,
) -> Exit {
    let own = tables.snapshot.own_address(t.meta.vrf);
    let (Some(IpAddr::V4(own)), true) = (own, may_be_answered(t.frame)) else {
        return trouble.discard().into();
    };
    let from = speaker(t.frame, own, t.meta.vrf, tables);
    if !trouble.may_be_told(tables) || turn_round(t.frame, from, trouble).is_none() {
        return trouble.discard().into();
    }
    tables.counters().discard(trouble.discard());
    send(t)
}

/// Whom an error is from: us. Only what goes to the host or through it would be dropped there,
/// because our address is one of the host's own: it comes from where the packet was to go, as from
/// Linux's own tunnels.
fn speaker<C: Chunk>(frame: &Frame<C>, own: Ipv4Addr, vrf: u16, tables: &Tables) -> Ipv4Addr {
    let Some(header) = frame.peek::<Ipv4>() else {
        return own;
    };
    let is_by_the_host = match tables.shared.lookup(vrf, IpAddr::V4(header.source())) {
        Target::Local => true,
        Target::Via(hop) => {
            let hop = tables.shared.adjacency(hop);
            hop.is_some_and(|hop| hop.is_resolved && hop.rewrite.is_none())
        }
        Target::Session(_)
        | Target::Endpoint
        | Target::Host
        | Target::Blackhole
        | Target::Pool
        | Target::None
        | Target::Unreachable => false,
    };
    if is_by_the_host {
        header.destination()
    } else {
        own
    }
}

fn turn_round<C: Chunk>(frame: &mut Frame<C>, own: Ipv4Addr, trouble: Trouble) -> Option<()> {
    let sender = frame.peek::<Ipv4>()?.source();
    let quoted = frame.len().min(ERROR_LEN_MAX - Ipv4::LEN - ICMP_LEN);
    frame.truncate(quoted)?;
    let (kind, code, value) = trouble.fields();
    let mut icmp = Icmp {
        kind,
        code,
        checksum: 0.into(),
        rest: [0.into(), value.into()],
    };
    let sums = [checksum::sum(icmp.as_bytes()), checksum::sum(frame.bytes())];
    icmp.checksum = (!checksum::add(&sums)).into();
    frame.prepend(&icmp)?;
    frame.prepend(&Ipv4::new(own, sender, Ipv4::ICMP, frame.len() as u16))
}

/// RFC 1812 §4.3.2.7: what no error may be about.
fn may_be_answered<C: Chunk>(frame: &Frame<C>) -> bool {
    let Some(header) = frame.peek::<Ipv4>() else {
        return false;
    };
    let is_first = header.flags_fragment.get() & Ipv4::OFFSET == 0;
    // An invalid source, broadcast or multicast does not get as far as here.
    is_first && !is_icmp_error(frame, header)
}

fn is_icmp_error<C: Chunk>(frame: &Frame<C>, header: &Ipv4) -> bool {
    // RFC 792: echo, timestamp, information and their replies are no errors.
    let is_query = |kind: &u8| matches!(*kind, 0 | 8 | 13..=18);
    let kind = frame.bytes().get(header.header_len());
    header.protocol == Ipv4::ICMP && !kind.is_some_and(is_query)
}

/// Answers a ping for one of our own addresses; `None` if the packet is none.
pub(super) fn echo<C: Chunk>(t: &mut Guest<'_, C>, tables: &mut Tables) -> Option<Exit> {
    let header = t.frame.peek::<Ipv4>()?;
    let header_len = header.header_len();
    let is_whole = header.protocol == Ipv4::ICMP && !header.is_fragment();
    let kind = t.frame.bytes().get(header_len).copied();
    let has_header = t.frame.len() >= header_len + ICMP_LEN;
    if !is_whole || !has_header || kind != Some(ECHO) || t.source == Source::Own {
        return None;
    }
    if !tables.icmp.take(tables.now_ms) {
        return Some(Discard::IcmpLimited.into());
    }
    reply(t.frame.bytes_mut(), header_len);
    Some(send(t))
}

fn reply(packet: &mut [u8], header_len: usize) {
    let (header, icmp) = packet.split_at_mut(header_len);
    // The sum does not change when source and destination do.
    for i in 12..16 {
        header.swap(i, i + 4);
    }
    let old = u16::from_be_bytes([header[8], header[9]]);
    header[8] = 64;
    let new = u16::from_be_bytes([header[8], header[9]]);
    renew(&mut header[10..12], old, new);
    icmp[0] = ECHO_REPLY;
    let code = icmp[1];
    renew(
        &mut icmp[2..4],
        u16::from_be_bytes([ECHO, code]),
        u16::from_be_bytes([ECHO_REPLY, code]),
    );
}

fn renew(field: &mut [u8], old: u16, new: u16) {
    let before = u16::from_be_bytes([field[0], field[1]]);
    field.copy_from_slice(&checksum::update(before, old, new).to_be_bytes());
}

/// A packet of our own looks for its way like any other.
fn send<C>(t: &mut Guest<'_, C>) -> Exit {
    t.source = Source::Own;
    t.session = None;
    Exit::Move(Room::Route.anywhere())
}
