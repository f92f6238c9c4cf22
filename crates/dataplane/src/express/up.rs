//! The lane from the subscriber to the network.

use std::mem::offset_of;

use packet::header::{Esp, Ethernet, Ipv4, Udp};
use packet::{Chunk, Frame};
use zerocopy::FromBytes;

use super::{Door, ETHERNET, Seat, Ticket};
use crate::ahead::Ahead;
use crate::batch::{Batch, Work, each};
use crate::change::Encapsulation;
use crate::discard::Discard;
use crate::esp;
use crate::id::SessionSlot;
use crate::l2tp::Header;
use crate::port::Port;
use crate::shard::key_slot;
use crate::shard::path::{Ends, Path};
use crate::shared::Target;
use crate::stages::Stage;
use crate::tables::Tables;
use crate::wire::{Head, OUTER};
use crate::{ip, ppp};
use crypto::esp::Verdict;

/// Everything that comes from subscribers.
pub(crate) fn upstream<P: Port>(
    batch: &mut Batch<P::Chunk>,
    tables: &mut Tables,
    ahead: &mut Ahead<'_, P>,
) {
    if batch.express.sealed != 0 {
        open(batch, tables, ahead);
    }
    let seats = batch.express.plain;
    if seats != 0 {
        tables
            .watch
            .lap(Stage::Forward, || seats.count_ones() as usize);
        for nth in each(seats) {
            match carry_plain(&mut batch.burst.whole[nth], tables) {
                Some(()) => batch.express.out |= 1 << nth,
                None => _ = batch.leave_lane(nth, Door::First, tables),
            }
        }
    }
    tables.watch.pause();
}

/// What comes in ESP.
fn open<P: Port>(batch: &mut Batch<P::Chunk>, tables: &mut Tables, ahead: &mut Ahead<'_, P>) {
    let seats = batch.express.sealed;
    tables
        .watch
        .lap(Stage::Admit, || seats.count_ones() as usize);
    for nth in each(seats) {
        let Batch { burst, express, .. } = &mut *batch;
        let Seat { frame, ticket } = &burst.whole[nth];
        let frame = frame.as_ref().map(Frame::bytes);
        express.works[nth] = frame.and_then(|frame| admit(ticket, frame, tables));
        if express.works[nth].is_none() {
            express.sealed &= !(1 << nth);
            batch.leave_lane(nth, Door::First, tables);
        }
    }
    let seats = batch.express.sealed;
    tables
        .watch
        .lap(Stage::Open, || seats.count_ones() as usize);
    esp::decrypt(batch.works_of_lane(seats), tables, ahead);
    tables
        .watch
        .lap(Stage::Accept, || seats.count_ones() as usize);
    for nth in each(seats) {
        let work = batch.express.works[nth].take().ok_or(Door::First);
        let seat = &mut batch.burst.whole[nth];
        match work.and_then(|work| accept(seat, &work, tables)) {
            Ok(()) => batch.express.out |= 1 << nth,
            Err(door) => _ = batch.leave_lane(nth, door, tables),
        }
    }
}

/// RFC 4303 §3.4.2–3: the SA, the peer where it always is, then the window.
#[inline(always)]
fn admit(ticket: &Ticket, frame: &[u8], tables: &Tables) -> Option<Work> {
    let esp = Esp::ref_from_bytes(frame.get(OUTER..OUTER + size_of::<Esp>())?).ok()?;
    let shard = tables.shards.peek(ticket.slot.shard)?;
    let path = shard.paths.at(ticket.path?)?;
    let is_theirs = path.encapsulation == Encapsulation::EspInUdp && path.is_between(ends(frame)?);
    let sa = shard.inbound.at(ticket.slot)?;
    let len = usize::from(ticket.len) - (OUTER - ETHERNET);
    if !is_theirs || !sa.suite.is_packet_len(len) || !tables.compat.admits(sa.suite) {
        return None;
    }
    Some(Work {
        suite: sa.suite,
        key: key_slot(ticket.slot),
        sequence: sa.window.check(esp.sequence.get())?,
        esn: sa.esn,
        verdict: Verdict::Pending,
    })
}

/// The ends that the outer headers of a frame as usual name.
#[inline(always)]
fn ends(frame: &[u8]) -> Option<&Ends> {
    const AT: usize = offset_of!(Head, ip) + offset_of!(Ipv4, source);
    frame.get(AT..)?.first_chunk()
}

/// What follows from the verdict, and on to the next hop.
#[inline(always)]
fn accept<C: Chunk>(
    Seat { frame, ticket }: &mut Seat<C>,
    work: &Work,
    tables: &mut Tables,
) -> Result<(), Door> {
    let exit = |reason: Discard| Door::Exit(reason.into());
    let frame = frame.as_mut().ok_or(Door::First)?;
    let len = usize::from(ticket.len) - (OUTER - ETHERNET);
    let (now_ms, from) = (tables.now_ms, ticket.from);
    let Tables { shards, keys, .. } = &mut *tables;
    let shard = shards.own(ticket.slot.shard).ok_or(Door::First)?;
    let accepted = esp::authenticate(ticket.slot, len, work, shard, keys);
    if !shard.untold.is_empty() {
        shards.mark(ticket.slot.shard, true);
    }
    let slot = accepted.map_err(exit)?.path;
    ticket.path = Some(slot);
    let path = shards
        .own(slot.shard)
        .and_then(|shard| shard.paths.at_mut(slot));
    let path = path.ok_or_else(|| exit(Discard::NoPath))?;
    path.heard(now_ms);
    path.port = Some(from);
    let skip = OUTER + size_of::<Esp>() + work.suite.iv_len();
    let end = OUTER + len - work.suite.icv_len();
    let plaintext = frame.bytes().get(skip..end).unwrap_or_default();
    let len = esp::payload_len(plaintext).map_err(exit)?;
    let datagram = peel_udp(&plaintext[..len]);
    let vrf = path.vrf;
    let entered = datagram.and_then(|(_, message)| Entered::read(message, path));
    let ports = datagram.map(|(ports, _)| ports);
    let onward =
        entered.and_then(|entered| forward(frame, skip + Udp::LEN, &entered, ports, vrf, tables));
    ticket.port = onward.ok_or(Door::Decap { skip, len })?;
    Ok(())
}

/// The ports inside the SA, ours first, and the message.
#[inline(always)]
fn peel_udp(datagram: &[u8]) -> Option<([u16; 2], &[u8])> {
    let (udp, message) = Udp::ref_from_prefix(datagram).ok()?;
    let len = usize::from(udp.length.get()).checked_sub(Udp::LEN)?;
    let ports = [udp.destination.get(), udp.source.get()];
    Some((ports, message.get(..len)?))
}

/// A message of a plain tunnel.
#[inline(always)]
fn carry_plain<C: Chunk>(Seat { frame, ticket }: &mut Seat<C>, tables: &mut Tables) -> Option<()> {
    let frame = frame.as_mut()?;
    let message = frame
        .bytes()
        .get(OUTER..ETHERNET + usize::from(ticket.len))?;
    let slot = ticket.path?;
    let path = tables.shards.own(slot.shard)?.paths.at_mut(slot)?;
    // RFC 2661 §8.1: addresses and ports of a tunnel stay as they are for its life.
    if path.encapsulation != Encapsulation::Plain || !path.is_between(ends(frame.bytes())?) {
        return None;
    }
    let (vrf, entered) = (path.vrf, Entered::read(message, path)?);
    // The rooms would note the same.
    path.heard(tables.now_ms);
    path.port = Some(ticket.from);
    ticket.port = forward(frame, OUTER, &entered, None, vrf, tables)?;
    Some(())
}

/// An IP packet in the data message of a session.
struct Entered {
    session: SessionSlot,
    /// Octets of message in front of it.
    skip: usize,
    inner: Ipv4,
    /// Whether it may open a TCP connection.
    may_open_tcp: bool,
}

impl Entered {
    /// Reads the headers of a message; `None` if they are not as usual.
    #[inline(always)]
    fn read(message: &[u8], path: &Path) -> Option<Self> {
        let header = Header::read(message).ok()?;
        let body = message.get(header.len..header.end)?;
        let (protocol, ppp_len) = ppp::protocol(body)?;
        let packet = body.get(ppp_len..)?;
        let inner = ip::read(packet).ok()?;
        if header.is_control || header.ns.is_some() || protocol != ppp::IPV4 {
            return None;
        }
        Some(Self {
            session: path.directory.find(header.tunnel, header.session)?,
            skip: header.len + ppp_len,
            may_open_tcp: ip::may_open_tcp(&inner, packet),
            inner,
        })
    }
}

/// From an L2TP message, so many octets into the frame, to the next hop's Ethernet header. Says by
/// which port; `None` if anything at all is not as usual, and then nothing has changed.
#[inline(always)]
fn forward<C: Chunk>(
    frame: &mut Frame<C>,
    at: usize,
    entered: &Entered,
    ports: Option<[u16; 2]>,
    vrf: u16,
    tables: &mut Tables,
) -> Option<u8> {
    let Entered { session, inner, .. } = entered;
    let inner_len = usize::from(inner.total_length.get());
    let is_marked = frame.peek::<Head>()?.ip.dscp_ecn & ip::CE == ip::CE;
    let Target::Via(next_hop) = tables.shared.lookup_v4(vrf, inner.destination()) else {
        return None;
    };
    let hop = *tables.hop(next_hop);
    let session = tables
        .shards
        .own(session.0.shard)?
        .sessions
        .at_mut(session.0)?;
    let network = session.network.as_ref()?;
    // RFC 3193 §3.3: the ports are those with which the tunnel was set up.
    if inner_len > usize::from(hop.mtu)
        || ports.is_some_and(|ports| ports != session.ports)
        || !network.is_source(inner.source())
        || inner.ttl <= 1
        || is_marked
        || network.clamp_mss && entered.may_open_tcp
    {
        return None;
    }
    if let Some(policer) = &mut session.up
        && !policer.passes(inner_len, tables.now_ms)
    {
        return None;
    }
    session.tally.last_up.set(tables.now_ms);
    session.tally.up.add(inner_len);
    let skip = at + entered.skip - ETHERNET;
    leave(frame, skip, inner_len, hop.ethernet)?;
    Some(hop.port)
}

/// One hop less, and the Ethernet header in front.
#[inline(always)]
fn leave<C: Chunk>(
    frame: &mut Frame<C>,
    skip: usize,
    len: usize,
    ethernet: Ethernet,
) -> Option<()> {
    frame.narrow(skip, ETHERNET + len)?;
    let (front, rest) = Ethernet::mut_from_prefix(frame.bytes_mut()).ok()?;
    *front = ethernet;
    let (inner, _) = Ipv4::mut_from_prefix(rest).ok()?;
    inner.decrement_ttl();
    Some(())
}
