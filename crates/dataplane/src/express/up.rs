//! The lane from the subscriber to the network.

use std::mem::offset_of;

use packet::header::{Esp, Ethernet, Ipv4, Udp};
use packet::{Chunk, Frame};
use zerocopy::FromBytes;

use super::{Door, ETHERNET, Ticket, hop};
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
        for seat in each(seats) {
            let ticket = &mut batch.express.tickets[seat];
            let frame = batch.burst.whole[seat].as_mut();
            match frame.and_then(|frame| carry_plain(frame, ticket, tables)) {
                Some(()) => batch.express.out |= 1 << seat,
                None => batch.leave_lane(seat, Door::First, tables),
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
    for seat in each(seats) {
        let ticket = &mut batch.express.tickets[seat];
        let frame = batch.burst.whole[seat].as_ref();
        ticket.work = frame.and_then(|frame| admit(frame, ticket, tables));
        if ticket.work.is_none() {
            batch.express.sealed &= !(1 << seat);
            batch.leave_lane(seat, Door::First, tables);
        }
    }
    let seats = batch.express.sealed;
    tables
        .watch
        .lap(Stage::Open, || seats.count_ones() as usize);
    esp::decrypt(batch.works_of_lane(), tables, ahead);
    tables
        .watch
        .lap(Stage::Accept, || seats.count_ones() as usize);
    for seat in each(seats) {
        let ticket = &mut batch.express.tickets[seat];
        let Some(frame) = batch.burst.whole[seat].as_mut() else {
            continue;
        };
        match accept(frame, ticket, tables) {
            Ok(()) => batch.express.out |= 1 << seat,
            Err(door) => batch.leave_lane(seat, door, tables),
        }
    }
}

/// RFC 4303 §3.4.2–3: the SA, the peer where it always is, then the window.
#[inline(always)]
fn admit<C: Chunk>(frame: &Frame<C>, ticket: &Ticket, tables: &Tables) -> Option<Work> {
    let head = frame.peek::<Head>()?;
    let len = usize::from(head.udp.length.get()) - Udp::LEN;
    let esp = frame.bytes().get(OUTER..)?;
    let (esp, _) = Esp::ref_from_prefix(esp).ok()?;
    let shard = tables.shards.peek(ticket.slot.shard)?;
    let path = shard.paths.at(ticket.path?)?;
    let is_theirs = path.encapsulation == Encapsulation::EspInUdp && path.is_between(ends(frame)?);
    let sa = shard.inbound.at(ticket.slot)?;
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
fn ends<C: Chunk>(frame: &Frame<C>) -> Option<&Ends> {
    let addresses = offset_of!(Head, ip) + offset_of!(Ipv4, source);
    frame.bytes().get(addresses..)?.first_chunk()
}

/// What follows from the verdict, and on to the next hop.
#[inline(always)]
fn accept<C: Chunk>(
    frame: &mut Frame<C>,
    ticket: &mut Ticket,
    tables: &mut Tables,
) -> Result<(), Door> {
    let exit = |reason: Discard| Door::Exit(reason.into());
    let work = ticket.work.take().ok_or(Door::First)?;
    let len = esp_len(frame);
    let shard = tables.shards.own(ticket.slot.shard).ok_or(Door::First)?;
    let accepted = esp::authenticate(ticket.slot, len, &work, shard, &mut tables.keys);
    let has_news = !shard.untold.is_empty();
    tables.shards.mark(ticket.slot.shard, has_news);
    let path = accepted.map_err(exit)?.path;
    ticket.path = Some(path);
    let path = tables
        .shards
        .own(path.shard)
        .and_then(|shard| shard.paths.at_mut(path));
    let path = path.ok_or_else(|| exit(Discard::NoPath))?;
    path.heard(tables.now_ms);
    path.port = Some(ticket.from);
    let skip = OUTER + size_of::<Esp>() + work.suite.iv_len();
    let end = OUTER + len - work.suite.icv_len();
    let len = esp::payload_len(&frame.bytes()[skip..end]).map_err(exit)?;
    let datagram = peel_udp(&frame.bytes()[skip..skip + len]);
    let vrf = path.vrf;
    let entered = datagram.and_then(|(_, message)| Entered::read(message, path));
    let ports = datagram.map(|(ports, _)| ports);
    let onward =
        entered.and_then(|entered| forward(frame, skip + Udp::LEN, &entered, ports, vrf, tables));
    ticket.port = onward.ok_or(Door::Decap { skip, len })?;
    Ok(())
}

/// Octets of ESP in a frame as usual.
#[inline(always)]
fn esp_len<C: Chunk>(frame: &Frame<C>) -> usize {
    let head = frame.peek::<Head>();
    head.map_or(0, |head| usize::from(head.udp.length.get()) - Udp::LEN)
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
fn carry_plain<C: Chunk>(
    frame: &mut Frame<C>,
    ticket: &mut Ticket,
    tables: &mut Tables,
) -> Option<()> {
    let head = frame.peek::<Head>()?;
    let end = ETHERNET + usize::from(head.ip.total_length.get());
    let message = frame.bytes().get(OUTER..end)?;
    let slot = ticket.path?;
    let path = tables.shards.own(slot.shard)?.paths.at_mut(slot)?;
    // RFC 2661 §8.1: addresses and ports of a tunnel stay as they are for its life.
    if path.encapsulation != Encapsulation::Plain || !path.is_between(ends(frame)?) {
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
    let adjacency = tables.shared.adjacency(next_hop);
    let (port, rewrite) = hop(adjacency, inner_len, &tables.interfaces)?;
    let session = tables
        .shards
        .own(session.0.shard)?
        .sessions
        .at_mut(session.0)?;
    let network = session.network.as_ref()?;
    // RFC 3193 §3.3: the ports are those with which the tunnel was set up.
    if ports.is_some_and(|ports| ports != session.ports)
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
    leave(frame, skip, inner_len, rewrite)?;
    Some(port)
}

/// One hop less, and the Ethernet header in front.
#[inline(always)]
fn leave<C: Chunk>(
    frame: &mut Frame<C>,
    skip: usize,
    len: usize,
    [destination, source]: [[u8; 6]; 2],
) -> Option<()> {
    frame.narrow(skip, ETHERNET + len)?;
    let (ethernet, rest) = Ethernet::mut_from_prefix(frame.bytes_mut()).ok()?;
    *ethernet = Ethernet {
        destination,
        source,
        ethertype: Ethernet::IPV4.into(),
    };
    let (inner, _) = Ipv4::mut_from_prefix(rest).ok()?;
    inner.decrement_ttl();
    Some(())
}
