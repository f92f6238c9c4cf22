//! The lane from the subscriber to the network.

use crypto::esp::Verdict;
use packet::header::{Ethernet, Ipv4, L2tp, Udp};
use packet::{Chunk, Frame};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Door, ETHERNET, Seat};
use crate::ahead::Ahead;
use crate::batch::{Batch, Work, each};
use crate::change::Encapsulation;
use crate::discard::Discard;
use crate::esp::{self, Jobs, Opened};
use crate::id::{SessionSlot, Slot};
use crate::port::Port;
use crate::shard::directory::Entry;
use crate::shard::key_slot;
use crate::shared::Target;
use crate::stages::Stage;
use crate::tables::{Hop, Tables};
use crate::wire::{Head, OUTER, OUTER_IP, Usual};
use crate::{ip, ppp};

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
    let (mut jobs, mut admitted) = (Jobs::default(), 0);
    for (nth, seat) in batch.burst.whole.iter_mut().enumerate() {
        if seats >> nth & 1 != 0 && admit(nth, seat, &mut jobs, tables).is_some() {
            admitted |= 1 << nth;
        }
    }
    tables
        .watch
        .lap(Stage::Open, || u64::count_ones(admitted) as usize);
    let verdicts = esp::decrypt(jobs, tables, ahead);
    tables
        .watch
        .lap(Stage::Accept, || u64::count_ones(admitted) as usize);
    for nth in each(verdicts.good) {
        if let Some(near) = batch.express.near.get(nth + NEAR) {
            near.bring();
        }
        accept_seat(batch, nth, Verdict::Ok, tables);
    }
    for nth in each(admitted & !verdicts.good) {
        accept_seat(batch, nth, verdicts.of(nth), tables);
    }
    for nth in each(seats & !admitted) {
        batch.leave_lane(nth, Door::First, tables);
    }
}

/// Seats between bringing lines near and reading them.
const NEAR: usize = 3;

/// What follows from the verdict of a seat.
#[inline(always)]
fn accept_seat<C: Chunk>(batch: &mut Batch<C>, nth: usize, verdict: Verdict, tables: &mut Tables) {
    match accept(&mut batch.burst.whole[nth], verdict, tables) {
        Ok(()) => batch.express.out |= 1 << nth,
        Err(door) => _ = batch.leave_lane(nth, door, tables),
    }
}

/// RFC 4303 §3.4.2–3: the SA, the peer where it always is, then the window. What is in order becomes a
/// job of the cipher; `None` if it is not.
#[inline(always)]
fn admit<'f, C: Chunk>(
    nth: usize,
    seat: &'f mut Seat<C>,
    jobs: &mut Jobs<'f>,
    tables: &Tables,
) -> Option<()> {
    match seat.ticket.usual {
        Some(Usual::Esp) => admit_raw(nth, seat, jobs, tables),
        _ => admit_behind::<OUTER, C>(nth, seat, jobs, tables),
    }
}

/// ESP without UDP has a copy of its own, so that neither has to look where its frames begin.
#[inline(never)]
fn admit_raw<'f, C: Chunk>(
    nth: usize,
    seat: &'f mut Seat<C>,
    jobs: &mut Jobs<'f>,
    tables: &Tables,
) -> Option<()> {
    admit_behind::<OUTER_IP, C>(nth, seat, jobs, tables)
}

/// What has so many octets in front of ESP.
#[inline(always)]
fn admit_behind<'f, const FRONT: usize, C: Chunk>(
    nth: usize,
    Seat { frame, ticket }: &'f mut Seat<C>,
    jobs: &mut Jobs<'f>,
    tables: &Tables,
) -> Option<()> {
    let frame = frame.as_mut()?;
    let head = frame.peek_chunk::<Head>()?;
    let sa = tables.shards.inbound.at(ticket.slot)?;
    let is_theirs = match sa.origin.encapsulation {
        Encapsulation::EspInUdp => FRONT == OUTER && sa.origin.is_between(head.ends()),
        Encapsulation::Esp => FRONT == OUTER_IP && sa.origin.joins(head.ends()),
        Encapsulation::Plain => false,
    };
    let len = usize::from(ticket.len) - (FRONT - ETHERNET);
    // Whether it has the length of a packet the cipher will say.
    if !is_theirs || is_marked(head) || !tables.compat.admits(sa.shape) {
        return None;
    }
    let (_, sequence) = head.esp(FRONT);
    let work = Work {
        shape: sa.shape,
        key: key_slot(ticket.slot),
        sequence: sa.window.check(sequence)?,
        esn: sa.esn,
    };
    let packet = frame.bytes_mut().get_mut(FRONT..FRONT + len)?;
    ticket.sequence = work.sequence;
    jobs.add(nth, work.shape, work.on(packet));
    Some(())
}

/// RFC 6040 §4.2: of congestion outside the packet inside has to be told, which the rooms do.
#[inline(always)]
fn is_marked(head: &Head) -> bool {
    head.ip.dscp_ecn & ip::CE == ip::CE
}

/// What follows from the verdict, and on to the next hop.
#[inline(always)]
fn accept<C: Chunk>(seat: &mut Seat<C>, verdict: Verdict, tables: &mut Tables) -> Result<(), Door> {
    match seat.ticket.usual {
        Some(Usual::Esp) => accept_raw(seat, verdict, tables),
        _ => accept_behind::<OUTER, C>(seat, verdict, tables),
    }
}

#[inline(never)]
fn accept_raw<C: Chunk>(
    seat: &mut Seat<C>,
    verdict: Verdict,
    tables: &mut Tables,
) -> Result<(), Door> {
    accept_behind::<OUTER_IP, C>(seat, verdict, tables)
}

#[inline(always)]
fn accept_behind<const FRONT: usize, C: Chunk>(
    Seat { frame, ticket }: &mut Seat<C>,
    verdict: Verdict,
    tables: &mut Tables,
) -> Result<(), Door> {
    let exit = |reason: Discard| Door::Exit(reason.into());
    let frame = frame.as_mut().ok_or(Door::First)?;
    let len = usize::from(ticket.len) - (FRONT - ETHERNET);
    let opened = Opened {
        sa: ticket.slot,
        len,
        sequence: ticket.sequence,
        verdict,
        port: ticket.from,
    };
    let now_ms = tables.now_ms;
    let Tables { shards, keys, .. } = &mut *tables;
    let accepted = esp::authenticate(opened, now_ms, shards, keys).map_err(exit)?;
    ticket.path = Some(accepted.path);
    let shape = accepted.shape;
    let skip = FRONT + shape.front();
    // The cipher has seen that it is as long as a packet of the SA's at least.
    let inside = len - shape.front() - shape.icv_len();
    let plaintext = frame.reach(skip, inside).unwrap_or_default();
    let len = esp::payload_len(plaintext).map_err(exit)?;
    let door = Door::Decap { skip, len };
    let Some((ports, data)) = peel_udp(plaintext, len) else {
        return Err(door);
    };
    let likely = accepted.likely.filter(|entry| entry.is_of(data.ids));
    let entry = likely.or_else(|| find(accepted.path, data.ids, tables));
    let Some(entry) = entry else {
        return Err(door);
    };
    let len = data.packet.len();
    let Some(hop) = forward(data.packet, entry.slot, Some(ports), accepted.vrf, tables) else {
        return Err(door);
    };
    let at = skip + Udp::LEN + data.at;
    let Some(port) = depart(frame, at, len, hop) else {
        return Err(door);
    };
    ticket.port = port;
    if likely.is_none() {
        learn(ticket.slot, entry, tables);
    }
    Ok(())
}

/// The session of a path that has several.
#[inline(never)]
fn find(path: Slot, ids: u32, tables: &Tables) -> Option<Entry> {
    let path = tables.shards.paths.at(path)?;
    let session = path.directory.find_ids(ids)?;
    Entry::new(ids, session)
}

/// The next packet of an SA will be for this session as well.
#[inline(never)]
fn learn(sa: Slot, entry: Entry, tables: &mut Tables) {
    if let Some(sa) = tables.shards.inbound.at_mut(sa) {
        sa.likely = Some(entry);
    }
}

/// The ports inside the SA, and the message in a payload of `len` octets.
#[inline(always)]
fn peel_udp(plaintext: &[u8], len: usize) -> Option<([u16; 2], Data<'_>)> {
    let (udp, message) = Udp::ref_from_prefix(plaintext).ok()?;
    let ports = [udp.destination.get(), udp.source.get()];
    let datagram = usize::from(udp.length.get());
    if datagram > len {
        return None;
    }
    let data = Data::read(message, datagram.checked_sub(Udp::LEN)?)?;
    Some((ports, data))
}

/// A message of a plain tunnel.
#[inline(always)]
fn carry_plain<C: Chunk>(Seat { frame, ticket }: &mut Seat<C>, tables: &mut Tables) -> Option<()> {
    let frame = frame.as_mut()?;
    let slot = ticket.path?;
    let path = tables.shards.paths.at_mut(slot)?;
    let head = frame.peek_chunk::<Head>()?;
    // RFC 2661 §8.1: addresses and ports of a tunnel stay as they are for its life.
    let is_theirs =
        path.origin.encapsulation == Encapsulation::Plain && path.origin.is_between(head.ends());
    if !is_theirs || is_marked(head) {
        return None;
    }
    let len = usize::from(ticket.len) - (OUTER - ETHERNET);
    let message = frame.reach(OUTER, len)?;
    let data = Data::read(message, len)?;
    let session = path.directory.find_ids(data.ids)?;
    // The rooms would note the same.
    path.heard_by(ticket.from, tables.now_ms);
    let vrf = path.origin.vrf;
    let len = data.packet.len();
    let at = OUTER + data.at;
    let hop = forward(data.packet, session, None, vrf, tables)?;
    ticket.port = depart(frame, at, len, hop)?;
    Some(())
}

/// An IP packet in a data message whose headers are as usual.
struct Data<'f> {
    /// Tunnel and session.
    ids: u32,
    /// Where the packet begins.
    at: usize,
    packet: &'f [u8],
}

impl<'f> Data<'f> {
    /// Reads the headers of a message of `len` octets, with which `octets` begin; `None` if they are not
    /// as usual.
    #[inline(always)]
    fn read(octets: &'f [u8], len: usize) -> Option<Self> {
        let headers: &[u8; 12] = octets.first_chunk()?;
        let front = u64::from_be_bytes(*headers.first_chunk()?);
        // RFC 2661 §3.1: with a length or without it, and nothing else.
        let (ids, header, end) = match front >> 48 {
            LENGTH => (front as u32, 8, (front >> 32) as u16),
            NO_LENGTH => ((front >> 16) as u32, 6, len as u16),
            _ => return None,
        };
        let ppp = u32::from_be_bytes(*headers[header..].first_chunk()?);
        let at = header + ppp::ipv4_header_len(ppp)?;
        let end = usize::from(end);
        let packet = octets.get(at..)?;
        let (inner, _) = Ipv4::ref_from_prefix(packet).ok()?;
        let inner_len = ip::usual_len(inner, end.checked_sub(at)?)?;
        let packet = packet.get(..inner_len)?;
        (end <= len).then_some(Self { ids, at, packet })
    }
}

/// Flags and version of a data message with a length, and of one without.
const LENGTH: u64 = (L2tp::LENGTH | 2) as u64;
const NO_LENGTH: u64 = 2;

/// Whether a packet of a session may go on, to which next hop; it is counted then. `None` if anything at
/// all is not as usual, and then nothing has changed.
#[inline(always)]
fn forward<'t>(
    packet: &[u8],
    session: SessionSlot,
    ports: Option<[u16; 2]>,
    vrf: u16,
    tables: &'t mut Tables,
) -> Option<&'t Hop> {
    let (inner, _) = Ipv4::ref_from_prefix(packet).ok()?;
    let Target::Via(next_hop) = tables.shared.lookup_v4(vrf, inner.destination()) else {
        return None;
    };
    let hop = tables.hop(next_hop);
    let Tables {
        shards,
        hops,
        now_ms,
        ..
    } = tables;
    let (hop, len) = (&hops[hop], packet.len());
    let session = shards.sessions.at_to_count(session.0)?;
    let network = session.network.as_ref()?;
    // RFC 3193 §3.3: the ports are those with which the tunnel was set up.
    if len > usize::from(hop.mtu)
        || ports.is_some_and(|ports| ports != session.ports)
        || !network.is_source(inner.source())
        || inner.ttl <= 1
        || network.clamp_mss && ip::may_open_tcp(inner, packet)
    {
        return None;
    }
    if let Some(policer) = &mut session.up
        && !policer.passes(len, *now_ms)
    {
        return None;
    }
    session.went_up.add(len, || &session.tally.up);
    Some(hop)
}

/// Leaves of a frame the packet of `len` octets that begins `at` octets into it, with the Ethernet header
/// of its next hop. Says by which port it goes.
#[inline(always)]
fn depart<C: Chunk>(frame: &mut Frame<C>, at: usize, len: usize, hop: &Hop) -> Option<u8> {
    frame.narrow(at - ETHERNET, ETHERNET + len)?;
    let front = frame.peek_chunk_mut::<Leaving>()?;
    front.ethernet = hop.ethernet;
    front.ip.decrement_ttl();
    Some(hop.port)
}

/// What a frame leaves with.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Leaving {
    ethernet: Ethernet,
    ip: Ipv4,
}
