//! The outermost room: sorts what arrives into lines, and addresses what leaves.
//!
//! Budget: 20 cycles a frame each way. Nothing behind this room has to ask whose a frame is.

use packet::Chunk;
use packet::header::{Esp, L2tp};

use crate::batch::{Exit, Guest, Note, Room, Source, Stop, Why};
use crate::change::{Class, Encapsulation, Kind};
use crate::discard::Discard;
use crate::id::{InboundSa, Slot};
use crate::port::Packet;
use crate::shard::tunnels::tunnel_slot;
use crate::tables::Tables;

/// Octets of an ISAKMP header (RFC 2408 §3.1).
const ISAKMP_HEADER: usize = 28;

/// Where a received frame enters.
#[inline(always)]
pub(crate) fn sort<C: Chunk>(t: &mut Guest<'_, C>, tables: &Tables) -> Result<Stop, Exit> {
    match t.meta.kind {
        Kind::Ip => Ok(Room::Route.anywhere()),
        Kind::Esp | Kind::EspInUdp => {
            let esp = t.frame.peek::<Esp>().ok_or(Discard::Truncated)?;
            Ok(Room::Open.stop(InboundSa::from_spi(esp.spi.get()).0))
        }
        Kind::L2tp => plain_l2tp(t, tables),
        Kind::Ike => Err(ike(t, tables)),
        // RFC 3948 §2.3: a keepalive is ignored; §4: nor does it prove that the peer lives.
        Kind::Keepalive => Err(Discard::Keepalive.into()),
    }
}

/// Where a canonical packet enters that nobody has seen before.
#[cold]
pub(crate) fn sort_packet<C: Chunk>(
    packet: &mut Packet<C>,
    tables: &Tables,
) -> (Note, Result<Stop, Exit>) {
    let mut note = Note::new(Source::Network);
    let outcome = sort(&mut Guest::new(packet, &mut note), tables);
    (note, outcome)
}

#[inline(always)]
fn plain_l2tp<C: Chunk>(t: &mut Guest<'_, C>, tables: &Tables) -> Result<Stop, Exit> {
    let listener = tables.listener(&t.meta.local);
    let listener = listener.ok_or(Discard::NoListener)?;
    // RFC 3193 §3.3: what has to come through an SA and does not is dropped, without an answer.
    if listener.ipsec_required {
        return Err(Discard::PlainRefused.into());
    }
    let header = *t.frame.peek::<L2tp>().ok_or(Discard::Truncated)?;
    let flags = header.flags.get();
    let is_control = flags & L2tp::CONTROL != 0;
    // Departs from RFC 2661 §8.1: the checksum of data is looked at only if the listener says so,
    // because the packets inside carry their own and the sum costs more than all other rooms.
    if t.meta.bad_checksum && (is_control || listener.data_checksum) {
        return Err(Discard::BadChecksum.into());
    }
    t.listener = listener.index;
    // A short message without a length has its ids all the same.
    let (message, mut first) = (t.frame.bytes(), [0; 8]);
    let len = message.len().min(first.len());
    first[..len].copy_from_slice(&message[..len]);
    match tunnel(ids(&first), listener.index) {
        Some(slot) => Ok(Room::Decap.stop(slot)),
        None if is_control => Err(Exit::Punt(Why::PlainL2tp(Class::Stranger))),
        None => Err(Discard::NoTunnel.into()),
    }
}

/// Where the tunnel of a message is looked up, of which `ids` are [tunnel and session](ids).
#[inline(always)]
pub(crate) fn tunnel(ids: u32, listener: u16) -> Option<Slot> {
    let tunnel = (ids >> 16) as u16;
    tunnel_slot(listener, tunnel).filter(|_| tunnel != 0)
}

/// The ids of tunnel and session at the beginning of a message, in one word.
#[inline(always)]
pub(crate) fn ids(message: &[u8; 8]) -> u32 {
    let [flags, _, a, b, c, d, e, f] = *message;
    // RFC 2661 §3.1: with L set, the length stands between the flags and the ids.
    if u16::from(flags) << 8 & L2tp::LENGTH != 0 {
        u32::from_be_bytes([c, d, e, f])
    } else {
        u32::from_be_bytes([a, b, c, d])
    }
}

/// IKE goes to the slow path from where it arrived; only its class is of interest here.
#[cold]
fn ike<C: Chunk>(t: &Guest<'_, C>, tables: &Tables) -> Exit {
    if t.meta.bad_checksum {
        return Discard::BadChecksum.into();
    }
    if tables.listener(&t.meta.local).is_none() {
        return Discard::NoListener.into();
    }
    match t.frame.bytes().first_chunk::<ISAKMP_HEADER>() {
        Some(header) => Exit::Punt(Why::Ike(ike_class(header, t, tables))),
        None => Discard::Truncated.into(),
    }
}

fn ike_class<C: Chunk>(header: &[u8; ISAKMP_HEADER], t: &Guest<'_, C>, tables: &Tables) -> Class {
    let [mut initiator, mut responder] = [[0; 8]; 2];
    initiator.copy_from_slice(&header[..8]);
    responder.copy_from_slice(&header[8..16]);
    let peer = t.meta.remote.address();
    let is_known = match &tables.snapshot.cookie_key {
        Some(key) => [initiator, responder]
            .iter()
            .any(|cookie| key.slot(*cookie, peer).is_some()),
        None => responder != [0; 8],
    };
    if is_known {
        Class::InProgress
    } else {
        Class::Stranger
    }
}

/// Writes the address on a frame that leaves for a peer.
#[inline]
pub(crate) fn address<C: Chunk>(t: &mut Guest<'_, C>, tables: &mut Tables) -> Result<(), Exit> {
    let shards = tables.shards.at(Room::Seal, t.slot)?;
    let path = shards.paths.at_mut(t.slot).ok_or(Discard::NoPath)?;
    t.meta.kind = match path.origin.encapsulation {
        Encapsulation::Plain => Kind::L2tp,
        Encapsulation::Esp => Kind::Esp,
        Encapsulation::EspInUdp => Kind::EspInUdp,
    };
    (t.meta.local, t.meta.remote) = (path.local, path.remote);
    path.tally.last_sent.set(tables.now_ms);
    t.meta.port = path.heard.port().unwrap_or(tables.tunnel_port);
    t.meta.next_hop = path.next_hop(&tables.shared);
    t.meta.checksum = t.meta.kind == Kind::L2tp && tables.makes_checksum(&t.meta.local);
    Ok(())
}
