//! The lane from the network to the subscriber.

use packet::header::{Esp, Ethernet, Ipv4, L2tp, Udp};
use packet::{Chunk, Frame};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Door, ETHERNET, Seat};
use crate::ahead::Ahead;
use crate::batch::{Batch, Work, each};
use crate::change::Encapsulation;
use crate::esp::{self, Jobs, Shape};
use crate::id::Slot;
use crate::ip;
use crate::port::Port;
use crate::shard::path::Ends;
use crate::shard::session::PppHeader;
use crate::stages::Stage;
use crate::tables::{Hop, Tables};
use crate::wire::{Around, OUTER, OUTER_IP, Outer, OuterIp, Outside};

/// Octets of all headers in front of an IP packet, at most: Ethernet, IP, UDP, ESP with its IV, UDP,
/// L2TP, PPP.
pub(super) const HEADROOM: usize = OUTER + 8 + 16 + size_of::<Inside>() + 4;
/// Octets of padding up to a block, pad length, next header and ICV, at most.
const TAILROOM: usize = 15 + esp::TRAILER + 32;

/// A frame of the network.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Arrived {
    ethernet: Ethernet,
    ip: Ipv4,
}

/// What is outside, and what comes next.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Front<O: Unaligned, T: Unaligned> {
    outer: O,
    last: T,
}

/// What an SA protects in front of PPP.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Inside {
    udp: Udp,
    l2tp: L2tp,
}

/// Everything that comes from the network.
pub(crate) fn downstream<P: Port>(
    batch: &mut Batch<P::Chunk>,
    tables: &mut Tables,
    ahead: &mut Ahead<'_, P>,
) {
    let seats = batch.express.network;
    if seats == 0 {
        return;
    }
    tables
        .watch
        .lap(Stage::Prepare, || seats.count_ones() as usize);
    let Batch { burst, express, .. } = &mut *batch;
    let (mut jobs, mut plain, mut secured) = (Jobs::default(), 0, 0);
    for (nth, seat) in burst.whole.iter_mut().enumerate() {
        if seats >> nth & 1 == 0 {
            continue;
        }
        match prepare(seat, tables) {
            Some(Some((work, packet))) => {
                jobs.add(nth, work.shape, work.on(packet));
                secured |= 1 << nth;
            }
            Some(None) => plain |= 1 << nth,
            None => {}
        }
    }
    express.out |= plain;
    if secured != 0 {
        tables
            .watch
            .lap(Stage::Seal, || u64::count_ones(secured) as usize);
    }
    let verdicts = esp::encrypt(jobs, tables, ahead);
    batch.express.out |= verdicts.good;
    for nth in each(secured & !verdicts.good) {
        if let Err(why) = esp::sealed(verdicts.of(nth)) {
            batch.leave_lane(nth, Door::Exit(why.into()), tables);
        }
    }
    for nth in each(seats & !plain & !secured) {
        batch.leave_lane(nth, Door::First, tables);
    }
    tables.watch.pause();
}

/// Everything but the cipher: the session, its policer, all headers; says what the cipher has to do, if
/// there is an SA. `None` if anything is not as usual, and then nothing has changed.
#[inline(always)]
fn prepare<'f, C: Chunk>(
    Seat { frame, ticket }: &'f mut Seat<C>,
    tables: &mut Tables,
) -> Option<Option<(Work, &'f mut [u8])>> {
    let frame = frame.as_mut()?;
    let arrived = frame.peek_chunk::<Arrived>()?;
    let len = ip::usual_len(&arrived.ip, frame.len() - ETHERNET)?;
    // RFC 2983 §3, RFC 6040 §4.3: as the rooms do.
    let dscp_ecn = arrived.ip.dscp_ecn & !ip::CE;
    let path = ticket.path?;
    let way = find_way(path, len, tables)?;
    let message = enter(frame, len, ticket.slot, &way, tables)?;
    let numbered = leave(path, &way, &message, tables)?;
    let around = Around {
        ethernet: way.hop.ethernet,
        ends: way.ends,
        dscp_ecn,
        len: message.datagram,
    };
    frame.narrow(ETHERNET, len)?;
    frame.peek_mut::<Ipv4>()?.decrement_ttl();
    ticket.port = way.hop.port;
    ticket.len = (way.front - ETHERNET + message.datagram) as u16;
    ticket.front = way.front as u8;
    let Some((work, esp)) = numbered else {
        write_plain(frame, &around, &message)?;
        return Some(None);
    };
    let packet = match way.front {
        OUTER_IP => write_raw(frame, &around, esp, work.shape, &message)?,
        _ => write_sealed::<Outer, C>(frame, &around, esp, work.shape, &message)?,
    };
    Some(Some((work, packet)))
}

/// How packets go to a peer.
struct Way {
    /// Of the SA, if there is one.
    shape: Option<Shape>,
    /// Octets of what is outside.
    front: usize,
    ends: Ends,
    hop: Hop,
}

/// The way to the peer of a path, for a packet of `len` octets.
#[inline(always)]
fn find_way(path: Slot, len: usize, tables: &mut Tables) -> Option<Way> {
    let Tables {
        shards,
        shared,
        compat,
        ..
    } = &mut *tables;
    let path = shards.paths.at_mut(path)?;
    let shape = match path.encapsulation {
        Encapsulation::Plain if shared.checks_data() => return None,
        Encapsulation::Plain => None,
        Encapsulation::EspInUdp | Encapsulation::Esp => {
            let sa = path.outbound.as_ref()?;
            if !sa.has_left(len + HEADROOM) || !compat.admits(sa.shape) {
                return None;
            }
            Some(sa.shape)
        }
    };
    let front = match path.encapsulation {
        Encapsulation::Esp => OUTER_IP,
        Encapsulation::EspInUdp | Encapsulation::Plain => OUTER,
    };
    let ends = path.ends_back()?;
    let next_hop = path.next_hop(shared)?;
    let hop = tables.hop(next_hop);
    Some(Way {
        shape,
        front,
        ends,
        hop: tables.hops[hop],
    })
}

/// The message that a packet becomes.
struct Message {
    l2tp: L2tp,
    ppp: PppHeader,
    /// UDP ports inside the SA.
    ports: [u16; 2],
    /// Octets, with the headers.
    len: usize,
    /// Octets once it is sealed, if it is to be.
    datagram: usize,
}

impl Message {
    /// What an SA protects in front of PPP.
    #[inline(always)]
    fn inside(&self) -> Inside {
        Inside {
            udp: Udp {
                source: self.ports[0].into(),
                destination: self.ports[1].into(),
                length: ((Udp::LEN + self.len) as u16).into(),
                // RFC 3948 §3.1.2 allows the UDP checksum of an integrity-protected packet to be zero.
                checksum: 0.into(),
            },
            l2tp: self.l2tp,
        }
    }
}

/// A packet of `len` octets enters its session, and is counted there.
#[inline(always)]
fn enter<C: Chunk>(
    frame: &Frame<C>,
    len: usize,
    session: Slot,
    way: &Way,
    tables: &mut Tables,
) -> Option<Message> {
    let arrived = frame.peek_chunk::<Arrived>()?;
    let now_ms = tables.now_ms;
    let session = tables.shards.sessions.at_mut(session)?;
    let network = session.network.as_ref()?;
    let ppp = network.ppp_header_at_end();
    let message = size_of::<L2tp>() + ppp.1 + len;
    let sealed = |shape| esp::sealed_len(shape, message);
    let datagram = way.shape.map_or(message, sealed);
    let has_room = frame.headroom() >= HEADROOM && frame.tailroom() >= TAILROOM;
    if !has_room
        || way.front - ETHERNET + datagram > usize::from(way.hop.mtu)
        || len > usize::from(network.mtu)
        || session.sequencing
        || arrived.ip.ttl <= 1
        || network.clamp_mss && ip::may_open_tcp(&arrived.ip, &frame.bytes()[ETHERNET..])
    {
        return None;
    }
    if let Some(policer) = &mut session.down
        && !policer.passes(len, now_ms)
    {
        return None;
    }
    session.tally.down.add(len);
    session.tally.last_down.set(now_ms);
    Some(Message {
        l2tp: L2tp {
            flags: 2.into(),
            tunnel: session.peer_tunnel.into(),
            session: session.peer_session.into(),
        },
        ppp,
        ports: session.ports,
        len: message,
        datagram,
    })
}

/// A message leaves by its path, and is counted there; what its SA makes of it, if there is one.
#[inline(always)]
fn leave(
    slot: Slot,
    way: &Way,
    message: &Message,
    tables: &mut Tables,
) -> Option<Option<(Work, Esp)>> {
    let now_ms = tables.now_ms;
    let path = tables.shards.paths.at_mut(slot)?;
    path.tally.sent.add(message.len);
    path.tally.last_sent.set(now_ms);
    if way.shape.is_none() {
        return Some(None);
    }
    let sa = path.outbound.as_mut()?;
    let work = sa.number(slot, message.len).ok()?;
    path.tally.sequence.set(work.sequence);
    let esp = Esp {
        spi: sa.spi.into(),
        sequence: (work.sequence as u32).into(),
    };
    if sa.usage.soft_news() {
        esp::tell_soft(slot, tables);
    }
    Some(Some((work, esp)))
}

/// Puts all headers of plain L2TP in front of an IP packet.
#[inline(always)]
fn write_plain<C: Chunk>(frame: &mut Frame<C>, around: &Around, message: &Message) -> Option<()> {
    let (ppp, ppp_len) = message.ppp;
    let front = OUTER + size_of::<L2tp>() + ppp_len;
    frame.grow_front(front)?;
    let octets = frame.bytes_mut();
    *octets.get_mut(front - ppp.len()..)?.first_chunk_mut()? = ppp;
    let (headers, _) = Front::<Outer, L2tp>::mut_from_prefix(octets).ok()?;
    headers.last = message.l2tp;
    headers.outer.write(around);
    Some(())
}

/// Puts all headers in front of an IP packet, and the trailer behind it; what the cipher works on.
#[inline(always)]
fn write_sealed<'f, O: Outside, C: Chunk>(
    frame: &'f mut Frame<C>,
    around: &Around,
    esp: Esp,
    shape: Shape,
    message: &Message,
) -> Option<&'f mut [u8]> {
    let (ppp, ppp_len) = message.ppp;
    let payload = size_of::<Inside>() + ppp_len + frame.len();
    let padded = shape.padded(payload + esp::TRAILER);
    let outside = size_of::<O>() + shape.front();
    frame.grow_front(outside + size_of::<Inside>() + ppp_len)?;
    frame.grow_back(padded - payload + shape.icv_len())?;
    let (front, rest) = frame.bytes_mut().split_at_mut_checked(outside)?;
    *rest
        .get_mut(size_of::<Inside>() + ppp_len - ppp.len()..)?
        .first_chunk_mut()? = ppp;
    let (headers, _) = Inside::mut_from_prefix(rest).ok()?;
    *headers = message.inside();
    esp::write_trailer(rest.get_mut(payload..)?, padded - payload - esp::TRAILER);
    let (headers, _) = Front::<O, Esp>::mut_from_prefix(front).ok()?;
    headers.last = esp;
    headers.outer.write(around);
    frame.bytes_mut().get_mut(size_of::<O>()..)
}

/// The same without UDP, apart, so that neither has to look where its frames begin.
#[inline(never)]
fn write_raw<'f, C: Chunk>(
    frame: &'f mut Frame<C>,
    around: &Around,
    esp: Esp,
    shape: Shape,
    message: &Message,
) -> Option<&'f mut [u8]> {
    write_sealed::<OuterIp, C>(frame, around, esp, shape, message)
}
