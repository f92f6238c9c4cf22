//! The lane from the network to the subscriber.

use packet::header::{Esp, Ethernet, Ipv4, L2tp, Udp};
use packet::{Chunk, Frame};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Door, ETHERNET, Seat, Ticket};
use crate::ahead::Ahead;
use crate::batch::{Batch, Work, each};
use crate::change::Encapsulation;
use crate::compat::Ceiling;
use crate::esp::{self, Jobs};
use crate::id::Slot;
use crate::ip;
use crate::port::Port;
use crate::shard::news::{Item, Subject, Untold};
use crate::shard::path::{Ends, Path};
use crate::shard::session::{PppHeader, Session};
use crate::stages::Stage;
use crate::tables::{Hop, Tables};
use crate::wire::{Around, Head, OUTER, Outer, OuterIp, Outside};

/// Octets of all headers in front of an IP packet, at most: Ethernet, IP, UDP, ESP with its IV, UDP,
/// L2TP, PPP.
pub(super) const HEADROOM: usize = OUTER + 8 + 16 + size_of::<Inside>() + 4;
/// Octets of padding up to a block, pad length, next header and ICV, at most.
const TAILROOM: usize = 15 + esp::TRAILER + 32;

/// A frame of the network, so far as [`Head`](crate::wire::Head) has seen one of it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Arrived {
    ethernet: Ethernet,
    ip: Ipv4,
    first: [u8; 16],
}

const _: () = assert!(size_of::<Arrived>() == size_of::<Head>());

impl Arrived {
    #[inline(always)]
    fn may_open_tcp(&self) -> bool {
        ip::may_open_tcp(&self.ip, &self.as_bytes()[ETHERNET..])
    }
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
    for (nth, Seat { frame, ticket }) in burst.whole.iter_mut().enumerate() {
        if seats >> nth & 1 == 0 {
            continue;
        }
        let Some(frame) = frame else {
            continue;
        };
        let Some(departure) = Departure::of(frame, ticket, tables) else {
            continue;
        };
        let sealed = match departure.path.origin.encapsulation {
            Encapsulation::EspInUdp => wrap::<Outer, _>(frame, ticket, departure),
            Encapsulation::Esp => wrap::<OuterIp, _>(frame, ticket, departure),
            Encapsulation::Plain => {
                plain |= u64::from(address(frame, ticket, departure).is_some()) << nth;
                continue;
            }
        };
        if let Some((work, packet)) = sealed {
            jobs.add(nth, work.shape, work.on(packet));
            secured |= 1 << nth;
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

/// A packet from the network that is as usual so far, its session and its way to the peer: each looked
/// up once, and nothing changed.
struct Departure<'t> {
    /// Octets of the packet.
    len: usize,
    session: &'t mut Session,
    ppp: PppHeader,
    path: &'t mut Path,
    slot: Slot,
    hop: &'t Hop,
    compat: &'t Ceiling,
    untold: &'t mut Untold,
    now_ms: u64,
}

impl<'t> Departure<'t> {
    /// `None` if anything is not as usual. [`Head::usual`](crate::wire::Head::usual) has found lengths and
    /// checksum right.
    #[inline(always)]
    fn of<C: Chunk>(frame: &Frame<C>, ticket: &Ticket, tables: &'t mut Tables) -> Option<Self> {
        let Tables {
            shards,
            shared,
            hops,
            interfaces,
            compat,
            now_ms,
            ..
        } = tables;
        let arrived = frame.peek_chunk::<Arrived>()?;
        let len = usize::from(ticket.len);
        let slot = ticket.path?;
        if !ip::is_between_hosts(&arrived.ip) || arrived.ip.ttl <= 1 || frame.headroom() < HEADROOM
        {
            return None;
        }
        let path = shards.paths.at_to_count(slot)?;
        let next_hop = path.next_hop(shared)?;
        let hop = hops.place(next_hop, || Hop::find(next_hop, shared, interfaces));
        let session = shards.sessions.at_to_count(ticket.slot)?;
        let network = session.network.as_ref()?;
        if len > usize::from(network.mtu)
            || session.sequencing
            || network.clamp_mss && arrived.may_open_tcp()
            || path.origin.encapsulation == Encapsulation::Plain && shared.checks_data()
        {
            return None;
        }
        Some(Self {
            len,
            ppp: network.ppp_header_at_end(),
            session,
            path,
            slot,
            hop: &hops[hop],
            compat,
            untold: &mut shards.untold,
            now_ms: *now_ms,
        })
    }

    /// The message that it becomes, in octets.
    #[inline(always)]
    fn message_len(&self) -> usize {
        size_of::<L2tp>() + self.ppp.1 + self.len
    }

    /// Whether the session's policer would let it pass, and the next hop take so many octets with these
    /// in front of them.
    #[inline(always)]
    fn may_go<O: Outside>(&mut self, datagram: usize) -> bool {
        let (len, now_ms) = (self.len, self.now_ms);
        let policer = self.session.down.as_mut();
        size_of::<O>() - ETHERNET + datagram <= usize::from(self.hop.mtu)
            && policer.is_none_or(|policer| policer.would_pass(len, now_ms))
    }

    /// The next number of the SA is its own: what the cipher has to do, and the header of ESP.
    #[inline(always)]
    fn number(&mut self) -> Option<(Work, Esp)> {
        let message = self.message_len();
        let sa = self.path.outbound.as_mut()?;
        let (work, is_near) = sa.number(self.slot, message).ok()?;
        let esp = Esp {
            spi: sa.spi.into(),
            sequence: (work.sequence as u32).into(),
        };
        if is_near && sa.usage.soft_news() {
            tell_soft(self.path, self.untold);
        }
        Some((work, esp))
    }

    /// It enters its session and leaves by its path, and is counted by both.
    #[inline(always)]
    fn count(&mut self) {
        let (len, message) = (self.len, self.message_len());
        if let Some(policer) = &mut self.session.down {
            policer.take(len);
        }
        let (session, path) = (&mut *self.session, &mut *self.path);
        session.went_down.add(len, || &session.tally.down);
        path.sent.add(message, || &path.tally.sent);
    }

    #[inline(always)]
    fn l2tp(&self) -> L2tp {
        L2tp {
            flags: 2.into(),
            tunnel: self.session.peer_tunnel.into(),
            session: self.session.peer_session.into(),
        }
    }

    /// What an SA protects in front of PPP.
    #[inline(always)]
    fn inside(&self) -> Inside {
        let [source, destination] = self.session.ports;
        Inside {
            udp: Udp {
                source: source.into(),
                destination: destination.into(),
                length: ((Udp::LEN + self.message_len()) as u16).into(),
                // RFC 3948 §3.1.2 allows the UDP checksum of an integrity-protected packet to be zero.
                checksum: 0.into(),
            },
            l2tp: self.l2tp(),
        }
    }

    /// What is outside a canonical frame of `len` octets with this in it.
    #[inline(always)]
    fn around(&self, ends: Ends, dscp_ecn: u8, len: usize) -> Around {
        Around {
            ethernet: self.hop.ethernet,
            ends,
            // RFC 2983 §3, RFC 6040 §4.3: as the rooms do.
            dscp_ecn: dscp_ecn & !ip::CE,
            len,
        }
    }

    /// Notes in the ticket how it leaves: `datagram` octets behind the outside.
    #[inline(always)]
    fn stamp<O: Outside>(&self, ticket: &mut Ticket, datagram: usize) {
        ticket.port = self.hop.port;
        ticket.len = (size_of::<O>() - ETHERNET + datagram) as u16;
        ticket.front = size_of::<O>() as u8;
    }
}

/// The slow path hears that the SA of a path has passed a soft limit.
#[cold]
fn tell_soft(path: &mut Path, untold: &mut Untold) {
    path.news.note(Item::Soft, Subject::Path(path.id), untold);
}

/// PPP as the last of four octets, and the packet behind it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Joint {
    ppp: [u8; 4],
    ip: Ipv4,
}

/// Opens the window for so many octets in front of PPP, and behind the packet. PPP is written, the packet
/// takes a hop; says its DSCP and ECN, and what the window shows.
#[inline(always)]
fn open<'f, C: Chunk>(
    frame: &'f mut Frame<C>,
    in_front: usize,
    behind: usize,
    departure: &Departure<'_>,
) -> Option<(u8, &'f mut [u8])> {
    let (ppp, ppp_len) = departure.ppp;
    frame.narrow(ETHERNET, departure.len)?;
    frame.grow_front(in_front + ppp_len)?;
    frame.grow_back(behind)?;
    let octets = frame.bytes_mut();
    let at = in_front + ppp_len - ppp.len();
    let joint = octets.get_mut(at..at + size_of::<Joint>())?;
    let joint = Joint::mut_from_bytes(joint).ok()?;
    joint.ppp = ppp;
    joint.ip.decrement_ttl();
    Some((joint.ip.dscp_ecn, octets))
}

/// Makes plain L2TP of a packet. `None` if anything is not as usual, and then nothing has changed.
#[inline(always)]
fn address<C: Chunk>(
    frame: &mut Frame<C>,
    ticket: &mut Ticket,
    mut departure: Departure<'_>,
) -> Option<()> {
    let ends = departure.path.origin.ends_back()?;
    let message = departure.message_len();
    if !departure.may_go::<Outer>(message) {
        return None;
    }
    let (dscp_ecn, octets) = open(frame, OUTER + size_of::<L2tp>(), 0, &departure)?;
    departure.count();
    departure.stamp::<Outer>(ticket, message);
    let (headers, _) = Front::<Outer, L2tp>::mut_from_prefix(octets).ok()?;
    headers.last = departure.l2tp();
    let around = departure.around(ends, dscp_ecn, message);
    headers.outer.write(&around);
    Some(())
}

/// Makes all of ESP of a packet but what the cipher does; what that has to do, and with which octets.
/// `None` if anything is not as usual, and then nothing has changed.
#[inline(always)]
fn wrap<'f, O: Outside, C: Chunk>(
    frame: &'f mut Frame<C>,
    ticket: &mut Ticket,
    mut departure: Departure<'_>,
) -> Option<(Work, &'f mut [u8])> {
    let ends = departure.path.origin.ends_back()?;
    let message = departure.message_len();
    let shape = departure.path.outbound.as_ref()?.shape;
    let datagram = esp::sealed_len(shape, message);
    if frame.tailroom() < TAILROOM
        || !departure.compat.admits(shape)
        || !departure.may_go::<O>(datagram)
    {
        return None;
    }
    let (work, header) = departure.number()?;
    let outside = size_of::<O>() + shape.front();
    let payload = Udp::LEN + message;
    let trailer = datagram - shape.front() - payload;
    let in_front = outside + size_of::<Inside>();
    let (dscp_ecn, octets) = open(frame, in_front, trailer, &departure)?;
    departure.count();
    departure.stamp::<O>(ticket, datagram);
    let (front, rest) = octets.split_at_mut_checked(outside)?;
    let (inside, _) = Inside::mut_from_prefix(rest).ok()?;
    *inside = departure.inside();
    let pad_len = trailer - esp::TRAILER - shape.icv_len();
    esp::write_trailer(rest.get_mut(payload..)?, pad_len);
    let (headers, _) = Front::<O, Esp>::mut_from_prefix(front).ok()?;
    headers.last = header;
    let around = departure.around(ends, dscp_ecn, datagram);
    headers.outer.write(&around);
    Some((work, octets.get_mut(size_of::<O>()..)?))
}
