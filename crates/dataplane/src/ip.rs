//! IPv4 between subscribers and the network: [`vouch`] and [`forward`] from, [`route`] to the
//! subscriber.
//!
//! Budget: 30 cycles for a packet that goes straight on. What turns round or is cut to pieces
//! leaves by a move and takes its time elsewhere.

mod fragment;
mod icmp;
mod mss;

use std::net::Ipv4Addr;

use packet::header::Ipv4;
use packet::{Chunk, Frame, checksum};
use zerocopy::FromBytes;

use crate::batch::{Exit, Guest, Room, Source, Why};
use crate::change::AdjacencyId;
use crate::discard::Discard;
use crate::id::SessionSlot;
use crate::shard::session::Session;
use crate::shared::Target;
use crate::tables::Tables;

pub(crate) use fragment::fragment;
use icmp::Trouble;
pub(crate) use mss::{clamp as clamp_mss, may_open_tcp};

/// Congestion experienced, and the mask of the ECN field (RFC 3168 §5).
pub(crate) const CE: u8 = 0b11;

/// What is known of a subscriber's packet once it may go on.
pub(crate) struct Leaving {
    destination: Ipv4Addr,
    isolate: bool,
}

/// A subscriber's packet is one, is its own, and is not too much.
#[inline]
pub(crate) fn vouch<C: Chunk>(
    t: &mut Guest<'_, C>,
    session: &mut Session,
    now_ms: u64,
) -> Result<Leaving, Exit> {
    let header = check(t.frame)?;
    let network = session.network.as_ref().ok_or(Discard::NetworkNotOpen)?;
    if !network.is_source(header.source()) {
        return Err(Discard::SourceForged.into());
    }
    if let Some(policer) = &mut session.up
        && !policer.passes(t.frame.len(), now_ms)
    {
        return Err(Discard::PolicedUp.into());
    }
    t.source = Source::Subscriber;
    if t.meta.dscp_ecn & CE == CE {
        mark_congestion(t.frame)?;
    }
    if network.clamp_mss {
        mss::clamp(t.frame, network.mtu);
    }
    session.tally.up.add(t.frame.len());
    Ok(Leaving {
        destination: header.destination(),
        isolate: network.isolate,
    })
}

/// A subscriber's packet finds its way.
#[inline]
pub(crate) fn forward<C: Chunk>(
    t: &mut Guest<'_, C>,
    leaving: Leaving,
    tables: &mut Tables,
) -> Result<(), Exit> {
    match tables.shared.lookup_v4(t.meta.vrf, leaving.destination) {
        Target::Via(adjacency) => onward(t, adjacency, tables),
        Target::Session(_) if leaving.isolate => Err(Discard::Isolated.into()),
        Target::Session(other) => Err(across(t, other, tables)),
        Target::Local => Err(icmp::echo(t, tables).unwrap_or(Exit::Punt(Why::Host))),
        Target::Host => Err(Exit::Punt(Why::Host)),
        // A tunnel inside a tunnel to the same gateway would be a loop.
        Target::Endpoint => Err(Discard::TunnelInTunnel.into()),
        Target::Blackhole => Err(Discard::Blackholed.into()),
        Target::Pool => Err(icmp::answer(t, Trouble::HostUnreachable, tables)),
        Target::None | Target::Unreachable => {
            Err(icmp::answer(t, Trouble::NetworkUnreachable, tables))
        }
    }
}

/// To a next hop.
#[inline]
fn onward<C: Chunk>(
    t: &mut Guest<'_, C>,
    adjacency: AdjacencyId,
    tables: &mut Tables,
) -> Result<(), Exit> {
    let hop = tables.shared.adjacency(adjacency).ok_or(Discard::NoRoute)?;
    take_hop(t, tables)?;
    t.meta.next_hop = Some(adjacency);
    if t.frame.len() > usize::from(hop.mtu) {
        return Err(too_big(t, hop.mtu, Room::Transmit));
    }
    Ok(())
}

/// To another subscriber.
fn across<C: Chunk>(t: &mut Guest<'_, C>, other: SessionSlot, tables: &mut Tables) -> Exit {
    match take_hop(t, tables) {
        Ok(()) => Exit::Move(Room::Frame.stop(other.0)),
        Err(exit) => exit,
    }
}

/// A packet from the network, from the host or from ourselves finds its subscriber.
pub(crate) fn route<C: Chunk>(t: &mut Guest<'_, C>, tables: &mut Tables) -> Result<(), Exit> {
    let header = check(t.frame)?;
    match tables.shared.lookup_v4(t.meta.vrf, header.destination()) {
        Target::Session(session) => {
            t.slot = session.0;
            if t.source == Source::Network {
                take_hop(t, tables)?;
            }
            Ok(())
        }
        Target::Via(adjacency) if t.source == Source::Own => {
            t.meta.next_hop = Some(adjacency);
            Err(Exit::Move(Room::Transmit.anywhere()))
        }
        Target::Local if t.source == Source::Own => Err(Exit::Punt(Why::Host)),
        Target::Local => {
            let reply = icmp::echo(t, tables);
            Err(reply.unwrap_or(Exit::Discard(Discard::NotForSubscriber)))
        }
        Target::Pool => Err(icmp::answer(t, Trouble::HostUnreachable, tables)),
        Target::Endpoint
        | Target::Via(_)
        | Target::Host
        | Target::Blackhole
        | Target::None
        | Target::Unreachable => Err(Discard::NotForSubscriber.into()),
    }
}

/// Checks a header; octets behind the packet are cut off.
#[inline(always)]
fn check<C: Chunk>(frame: &mut Frame<C>) -> Result<Ipv4, Discard> {
    let header = read(frame.bytes())?;
    let len = usize::from(header.total_length.get());
    frame.truncate(len).ok_or(Discard::Truncated)?;
    Ok(header)
}

/// RFC 1812 §5.2.2: what a header must be before anything in it is believed.
#[inline(always)]
pub(crate) fn read(bytes: &[u8]) -> Result<Ipv4, Discard> {
    let (header, _) = Ipv4::read_from_prefix(bytes).map_err(|_| Discard::Truncated)?;
    if header.version_ihl >> 4 != 4 {
        return Err(Discard::NotIpv4);
    }
    let (header_len, len) = (header.header_len(), usize::from(header.total_length.get()));
    if header_len < Ipv4::LEN || len < header_len {
        return Err(Discard::IpMalformed);
    }
    if len > bytes.len() {
        return Err(Discard::Truncated);
    }
    let is_right = match header_len {
        Ipv4::LEN => header.is_right(),
        _ => checksum::checksum(&bytes[..header_len]) == 0,
    };
    if !is_right {
        return Err(Discard::IpChecksum);
    }
    if is_martian(header.source) || is_martian(header.destination) {
        return Err(Discard::Martian);
    }
    Ok(header)
}

/// RFC 1812 §5.3.7, §5.3.5: neither "this network", loopback, multicast nor broadcast: 0, 127, 224 and
/// above. One less, 0 is above as well.
#[inline(always)]
fn is_martian([first, ..]: [u8; 4]) -> bool {
    matches!(first.wrapping_sub(1), 126 | 223..=255)
}

/// The length of a packet that has no options and that [`read`] finds right, among `room` octets.
#[inline(always)]
pub(crate) fn usual_len(header: &Ipv4, room: usize) -> Option<usize> {
    let len = usize::from(header.total_length.get());
    let is_usual = header.version_ihl == 0x45
        && (Ipv4::LEN..=room).contains(&len)
        && header.is_right()
        && is_between_hosts(header);
    is_usual.then_some(len)
}

/// What [`read`] asks of the addresses.
#[inline(always)]
pub(crate) fn is_between_hosts(header: &Ipv4) -> bool {
    !is_martian(header.source) && !is_martian(header.destination)
}

/// RFC 1812 §5.3.1: one hop less, or its end.
#[inline]
fn take_hop<C: Chunk>(t: &mut Guest<'_, C>, tables: &mut Tables) -> Result<(), Exit> {
    let header = t.frame.peek_mut::<Ipv4>().ok_or(Discard::Truncated)?;
    if header.ttl <= 1 {
        return Err(icmp::answer(t, Trouble::TimeExceeded, tables));
    }
    header.decrement_ttl();
    Ok(())
}

/// A packet larger than the way on: it will be cut to pieces that go on at `then`, or sent back.
#[cold]
pub(crate) fn too_big<C>(t: &mut Guest<'_, C>, mtu: u16, then: Room) -> Exit {
    t.then = (then, mtu);
    Exit::Move(Room::Fragment.stop(t.slot))
}

/// Sends a packet back that is too big, if its sender forbids to cut it.
pub(crate) fn send_back<C: Chunk>(t: &mut Guest<'_, C>, tables: &mut Tables) -> Option<Exit> {
    let header = t.frame.peek::<Ipv4>()?;
    let is_whole = header.flags_fragment.get() & Ipv4::DF != 0;
    is_whole.then(|| icmp::answer(t, Trouble::TooBig(t.then.1), tables))
}

/// RFC 6040 §4.2: a mark on the outer header goes inward; a packet that cannot carry it is lost.
fn mark_congestion<C: Chunk>(frame: &mut Frame<C>) -> Result<(), Discard> {
    let header = frame.peek_mut::<Ipv4>().ok_or(Discard::Truncated)?;
    if header.dscp_ecn & CE == 0 {
        return Err(Discard::CongestionLost);
    }
    let word = |header: &Ipv4| u16::from_be_bytes([header.version_ihl, header.dscp_ecn]);
    let old = word(header);
    header.dscp_ecn |= CE;
    header.checksum = checksum::update(header.checksum.get(), old, word(header)).into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    proptest! {
        /// The short look against the long one.
        #[test]
        fn a_header_is_usual_if_it_is_right_and_has_no_options(
            (source, destination) in (any::<[u8; 4]>(), any::<[u8; 4]>()),
            payload in 0_u16..20,
            cut in 0_usize..10,
            fault in prop::option::of((0_usize..20, 1_u8..)),
        ) {
            let mut header = Ipv4::new(source.into(), destination.into(), Ipv4::UDP, payload);
            if let Some((at, by)) = fault {
                header.as_mut_bytes()[at] ^= by;
            }
            let room = (Ipv4::LEN + usize::from(payload)).saturating_sub(cut).max(Ipv4::LEN);
            let packet = [header.as_bytes(), &[0; 20]].concat();
            let read = read(&packet[..room]).ok();
            let right = read.filter(|header| header.header_len() == Ipv4::LEN);
            let len = right.map(|header| usize::from(header.total_length.get()));
            prop_assert_eq!(usual_len(&header, room), len);
        }
    }
}
