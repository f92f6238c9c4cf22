//! The express lane: who is as usual in everything passes all rooms in one go.
//!
//! Nearly every frame has the headers that everybody sends, comes from where its peer always was,
//! and leaves by an Ethernet interface whose next hop is known. Of such a frame the lane looks at
//! each header once, where it lies, and copies nothing but the headers it leaves with.
//!
//! ```text
//!   up     sort ─► admit ─► cipher ─► accept ─► forward ─► out
//!   down   sort ─► prepare ─► cipher ─────────────────────► out
//!           ││        │                 │          │
//!           │▼        ▼                 ▼          ▼
//!           │ the first room         l2tp::decap
//!           ▼
//!          the lane of another worker
//! ```
//!
//! A frame whose shard lives at another worker is handed over whole, with what is known of it, and
//! takes the lane there.
//!
//! Whatever is not as usual the lane leaves to the rooms, at the door where the frame is by then, with
//! nothing counted or changed that the rooms would count or change again. Only what the cipher has
//! said cannot be asked twice: it is judged here, by the functions that judge it there. So the lane
//! says nothing about a packet that the rooms would not say, only faster; the tests send the same
//! packets both ways.

mod down;
mod up;

use crypto::cpu;
use packet::header::{Ethernet, Udp};
use packet::{Chunk, Endpoint, Frame};
use zerocopy::FromBytes;

use crate::ahead::{DOWN, UP};
use crate::batch::{BATCH_FRAMES, Batch, Exit, Note, Room, Seats, Source, Stop, Work, each};
use crate::change::Adjacency;
use crate::discard::Discard;
use crate::id::{InboundSa, ShardId, Slot};
use crate::link;
use crate::port::{Meta, Packet};
use crate::shard::inbound::Inbound;
use crate::shard::key_slot;
use crate::shard::path::Path;
use crate::shard::session::Session;
use crate::shared::Target;
use crate::tables::Tables;
use crate::wire::{self, HEAD_LINES, Head, Interface, OUTER, Usual};

pub(crate) use down::downstream;
pub(crate) use up::upstream;

/// Octets of an Ethernet header.
const ETHERNET: usize = size_of::<Ethernet>();

/// What the lane knows of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// What the frame is; `None` if it never was in the lane.
    usual: Option<Usual>,
    /// What it looks up first: an SA, a tunnel, or the session that its destination names.
    slot: Slot,
    /// The peer's path, once it is foreseen; of a packet from the network at first the session, which
    /// leads to it.
    path: Option<Slot>,
    /// The port it came by.
    from: u8,
    /// The port it leaves by.
    port: u8,
    work: Option<Work>,
}

impl Ticket {
    fn new(from: u8, usual: Usual, slot: Option<Slot>) -> Self {
        Self {
            usual: slot.map(|_| usual),
            slot: slot.unwrap_or(NOWHERE),
            path: None,
            from,
            port: 0,
            work: None,
        }
    }

    /// The port it came by.
    pub(crate) fn from(&self) -> u8 {
        self.from
    }

    /// The shard that it is for.
    pub(crate) fn shard(&self) -> ShardId {
        self.slot.shard
    }
}

/// The whole frames of a batch.
#[derive(Debug, Default)]
pub(crate) struct Express {
    tickets: Vec<Ticket>,
    /// Who begins at ESP, at plain L2TP, and at an IP packet from the network.
    sealed: Seats,
    plain: Seats,
    network: Seats,
    /// Who has come to the end.
    out: Seats,
    /// Who is for a shard that is not here.
    away: Seats,
    /// How many of its frames' lines have been asked for.
    pub(crate) approached: usize,
}

/// The door at which the rooms take a frame over.
enum Door {
    /// Nothing has been done.
    First,
    /// It is authentic: UDP inside the SA begins `skip` octets into the frame and has `len`.
    Decap { skip: usize, len: usize },
    /// It leaves.
    Exit(Exit),
}

/// Gives a ticket to each whole frame that port `from` has put in, and asks for the first lines.
/// Says how many octets the canonical frames have.
#[inline(always)]
pub(crate) fn sort<C: Chunk>(batch: &mut Batch<C>, from: u8, tables: &Tables) -> usize {
    let Batch { burst, express, .. } = batch;
    let (mut others, mut octets) = (0, 0);
    let vrf = tables.vrf(from);
    for (seat, (frame, usual)) in burst.whole.iter().zip(&burst.usual).enumerate() {
        let head = frame.as_ref().and_then(|frame| frame.peek::<Head>());
        let found = head.and_then(|head| first(head, *usual, vrf, tables));
        let line = match (usual, found) {
            (_, None) => &mut others,
            (_, Some((_, Whereabouts::Away))) => &mut express.away,
            (Usual::EspInUdp, _) => &mut express.sealed,
            (Usual::L2tp, _) => &mut express.plain,
            (Usual::Ip, _) => &mut express.network,
        };
        *line |= 1 << seat;
        let slot = found.map(|(slot, _)| slot);
        express.tickets.push(Ticket::new(from, *usual, slot));
        let len = head.map_or(0, |head| usize::from(head.ip.total_length.get()));
        octets += match (usual, frame) {
            (Usual::Ip, Some(frame)) => {
                approach_end(frame, len);
                len
            }
            (Usual::Ip, None) => len,
            (Usual::EspInUdp | Usual::L2tp, _) => len - (OUTER - ETHERNET),
        };
    }
    for seat in each(others) {
        batch.leave_lane(seat, Door::First, tables);
    }
    octets
}

/// Asks for the line behind a packet from the network: a trailer is written there before any cipher
/// has asked for the body.
#[inline(always)]
fn approach_end<C: Chunk>(frame: &Frame<C>, packet: usize) {
    let end = frame.headroom() + ETHERNET + packet;
    cpu::prefetch_bytes(frame.chunk().as_ref(), end, 1);
}

/// What a frame of the network looks up is not yet known.
const NOWHERE: Slot = Slot::from_word(0);

/// Whether a shard is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    Here,
    Away,
}

/// What a frame looks up first, and where that is. `None`: not in this lane.
#[inline(always)]
fn first(head: &Head, usual: Usual, vrf: u16, tables: &Tables) -> Option<(Slot, Whereabouts)> {
    let slot = match usual {
        Usual::EspInUdp => {
            let [a, b, c, d, ..] = head.first;
            InboundSa::from_spi(u32::from_be_bytes([a, b, c, d])).0
        }
        Usual::L2tp => {
            let local = Endpoint::v4(head.ip.destination, Udp::L2TP);
            let listener = tables.listener(&local).filter(|one| !one.ipsec_required)?;
            link::tunnel(&head.first, listener.index)?
        }
        Usual::Ip => {
            tables.shared.prefetch(vrf, head.ip.destination());
            return Some((NOWHERE, Whereabouts::Here));
        }
    };
    Some((slot, approach_first(usual, slot, tables)))
}

/// Asks for an SA and its key, or a tunnel.
#[inline(always)]
fn approach_first(usual: Usual, slot: Slot, tables: &Tables) -> Whereabouts {
    let Some(shard) = tables.shards.peek(slot.shard) else {
        return Whereabouts::Away;
    };
    match usual {
        Usual::EspInUdp => {
            shard.inbound.prefetch(slot, Inbound::LINES);
            tables.keys.opening.prefetch(key_slot(slot));
        }
        Usual::L2tp => shard.prefetch_tunnel(slot),
        Usual::Ip => {}
    }
    Whereabouts::Here
}

impl Express {
    pub(crate) fn with_capacity() -> Self {
        Self {
            tickets: Vec::with_capacity(BATCH_FRAMES),
            ..Self::default()
        }
    }

    /// How many there are, on their way or not.
    pub(crate) fn len(&self) -> usize {
        self.tickets.len()
    }
}

/// Asks for what the first lines name: the path of an SA or tunnel, the session of a destination.
#[inline(always)]
pub(crate) fn approach_second<C: Chunk>(batch: &mut Batch<C>, seat: usize, tables: &Tables) {
    let Batch { burst, express, .. } = batch;
    let Some(ticket) = express.tickets.get_mut(seat) else {
        return;
    };
    let shard = tables.shards.peek(ticket.slot.shard);
    let path = match (ticket.usual, shard) {
        (Some(Usual::EspInUdp), Some(shard)) => shard.inbound.at(ticket.slot).map(|sa| {
            sa.tally.prefetch();
            sa.path
        }),
        (Some(Usual::L2tp), Some(shard)) => shard.tunnel_path(ticket.slot),
        (Some(_), _) => {
            if ticket.path.is_none() {
                let frame = burst.whole.get(seat).and_then(Option::as_ref);
                find_session(ticket, frame.and_then(|frame| frame.peek::<Head>()), tables);
            }
            if approach_session(ticket, tables) == Some(Whereabouts::Away) {
                express.network &= !(1 << seat);
                express.away |= 1 << seat;
            }
            return;
        }
        (None, _) => None,
    };
    if let Some((path, shard)) = path.zip(shard) {
        ticket.path = Some(path.0);
        shard.paths.prefetch(path.0, Path::LINES[UP]);
    }
}

/// The session of a destination.
#[inline(always)]
fn find_session(ticket: &mut Ticket, head: Option<&Head>, tables: &Tables) {
    let vrf = tables.vrf(ticket.from);
    if let Some(head) = head
        && let Target::Session(session) = tables.shared.lookup_v4(vrf, head.ip.destination())
    {
        ticket.slot = session.0;
        ticket.path = Some(session.0);
    }
}

/// Asks for the session, if one was found.
#[inline(always)]
fn approach_session(ticket: &Ticket, tables: &Tables) -> Option<Whereabouts> {
    let session = ticket.path?;
    let Some(shard) = tables.shards.peek(session.shard) else {
        return Some(Whereabouts::Away);
    };
    shard.sessions.prefetch(session, Session::LINES[DOWN]);
    tables.shared.sessions.prefetch(session);
    Some(Whereabouts::Here)
}

/// Asks for what frames that were handed over look up first, and for their heads, which another core
/// has read.
pub(crate) fn expect<C: Chunk>(batch: &Batch<C>, tables: &Tables) {
    for (frame, ticket) in batch.burst.whole.iter().zip(&batch.express.tickets) {
        if let (Some(frame), Some(usual)) = (frame, ticket.usual) {
            cpu::prefetch_bytes(frame.chunk().as_ref(), frame.headroom(), HEAD_LINES);
            approach_first(usual, ticket.slot, tables);
        }
    }
}

/// Asks for what those name: the session of a path, the path of a session.
#[inline(always)]
pub(crate) fn approach_last<C: Chunk>(batch: &mut Batch<C>, seat: usize, tables: &Tables) {
    let Batch { burst, express, .. } = batch;
    let Some(ticket) = express.tickets.get_mut(seat) else {
        return;
    };
    let Some(known) = ticket.path else {
        return;
    };
    let Some(shard) = tables.shards.peek(known.shard) else {
        return;
    };
    if ticket.usual == Some(Usual::Ip) {
        let path = shard.sessions.at(known).map(|session| session.path.0);
        ticket.path = path;
        if let Some(path) = path {
            shard.paths.prefetch(path, Path::LINES[DOWN]);
            tables.shared.paths.prefetch(path);
            tables.keys.sealing.prefetch(key_slot(path));
        }
        return;
    }
    let frame = burst.whole.get(seat).and_then(Option::as_ref);
    let Some(path) = shard.paths.at(known) else {
        return;
    };
    path.tally.prefetch();
    // What is in an SA nobody knows before it is opened.
    let session = match ticket.usual {
        Some(Usual::L2tp) => frame
            .and_then(|frame| frame.peek::<Head>())
            .map(|head| link::ids(&head.first))
            .and_then(|[tunnel, session]| path.directory.find(tunnel, session)),
        Some(Usual::EspInUdp | Usual::Ip) | None => path.directory.likely(),
    };
    if let Some(session) = session
        && let Some(shard) = tables.shards.peek(session.0.shard)
    {
        shard.sessions.prefetch(session.0, Session::LINES[UP]);
        tables.shared.sessions.prefetch(session.0);
    }
}

impl<C: Chunk> Batch<C> {
    /// The ESP packet, which begins behind the outer headers, and the work of those that have some.
    #[inline]
    fn works_of_lane(&mut self) -> impl Iterator<Item = (&mut [u8], &mut Work)> {
        let tickets = self.express.tickets.iter_mut();
        let seats = self.burst.whole.iter_mut().zip(tickets);
        seats.filter_map(|(frame, ticket)| {
            let work = ticket.work.as_mut()?;
            let frame = frame.as_mut()?.bytes_mut();
            let head = Head::ref_from_prefix(frame).ok()?.0;
            let end = ETHERNET + usize::from(head.ip.total_length.get());
            Some((frame.get_mut(OUTER..end)?, work))
        })
    }

    /// Empties the lane at its end: each frame, the port it leaves by, and its octets without what
    /// is outside the canonical frame.
    #[inline(always)]
    pub(crate) fn drain_lane(&mut self, mut leave: impl FnMut(Frame<C>, usize, usize)) {
        let Self { burst, express, .. } = self;
        for seat in each(express.out) {
            if let Some(frame) = burst.whole[seat].take() {
                let is_down = express.network >> seat & 1 != 0;
                let outside = if is_down { OUTER } else { ETHERNET };
                let len = frame.len() - outside;
                leave(frame, usize::from(express.tickets[seat].port), len);
            }
        }
        burst.whole.clear();
        burst.usual.clear();
        express.tickets.clear();
        (express.sealed, express.plain, express.network) = (0, 0, 0);
        (express.out, express.away, express.approached) = (0, 0, 0);
    }

    /// Those that are for a shard that is not here, with what is known of them.
    #[inline]
    pub(crate) fn take_away(&mut self) -> impl Iterator<Item = (Frame<C>, Ticket)> {
        let Self { burst, express, .. } = self;
        each(std::mem::take(&mut express.away)).filter_map(|seat| {
            let frame = burst.whole[seat].take()?;
            Some((frame, express.tickets[seat]))
        })
    }

    /// Gives up every whole frame, wherever it was going.
    pub(crate) fn give_up_lane(&mut self, leave: impl FnMut(Frame<C>)) {
        let whole = self.burst.whole.iter_mut();
        whole.filter_map(Option::take).for_each(leave);
        self.drain_lane(|_, _, _| ());
    }

    /// Seats a whole frame that has its ticket.
    pub(crate) fn seat_whole(&mut self, frame: Frame<C>, ticket: Ticket) {
        let Self { burst, express, .. } = self;
        let seat = 1 << express.tickets.len();
        match ticket.usual {
            Some(Usual::EspInUdp) => express.sealed |= seat,
            Some(Usual::L2tp) => express.plain |= seat,
            Some(Usual::Ip) => express.network |= seat,
            None => debug_assert!(false, "it never was in the lane"),
        }
        burst.whole.push(Some(frame));
        express.tickets.push(ticket);
    }

    /// The rooms take a frame over.
    #[cold]
    fn leave_lane(&mut self, seat: usize, door: Door, tables: &Tables) {
        let Some(frame) = self.burst.whole[seat].take() else {
            return;
        };
        let from = self.express.tickets[seat].from;
        let (mut packet, mut note, sorted) = canonical(frame, from, tables);
        let outcome = match door {
            Door::First => sorted,
            Door::Exit(exit) => Err(exit),
            Door::Decap { skip, len } => self.decapped(seat, &mut packet, skip, len, tables),
        };
        match outcome {
            Ok(stop) => (note.room, note.slot) = (stop.room, stop.slot),
            Err(exit) => note.exit = Some(exit),
        }
        self.take_in(packet, note);
    }

    /// An authentic frame goes on where the SA ends.
    fn decapped(
        &self,
        seat: usize,
        packet: &mut Packet<C>,
        skip: usize,
        len: usize,
        tables: &Tables,
    ) -> Result<Stop, Exit> {
        let path = self.express.tickets[seat].path.ok_or(Discard::NoPath)?;
        let shard = tables.shards.peek(path.shard).ok_or(Discard::NoPath)?;
        packet.meta.vrf = shard.paths.at(path).ok_or(Discard::NoPath)?.vrf;
        // The window of the packet begins behind the outer headers.
        let skip = skip.checked_sub(OUTER).ok_or(Discard::Truncated)?;
        packet.frame.narrow(skip, len).ok_or(Discard::Truncated)?;
        Ok(Room::Decap.stop(path))
    }
}

/// A whole frame as the rooms have it, and where it enters.
#[cold]
pub(crate) fn canonical<C: Chunk>(
    frame: Frame<C>,
    from: u8,
    tables: &Tables,
) -> (Packet<C>, Note, Result<Stop, Exit>) {
    let interface = tables.interface(from).unwrap_or_default();
    match wire::read_whole(frame, &interface, &tables.shared) {
        Ok(mut packet) => {
            let (note, sorted) = link::sort_packet(&mut packet, tables);
            (packet, note, sorted)
        }
        // What surrounds it was looked at before, so there is none.
        Err((frame, _)) => {
            let meta = Meta::ip(from);
            let outcome = Err(Discard::IpMalformed.into());
            (Packet { frame, meta }, Note::new(Source::Network), outcome)
        }
    }
}

/// A next hop that is known, behind an Ethernet interface that takes a packet of `len` octets.
#[inline(always)]
fn hop(
    adjacency: Option<Adjacency>,
    len: usize,
    interfaces: &[Option<Interface>],
) -> Option<(u8, [[u8; 6]; 2])> {
    let hop = adjacency.filter(|hop| hop.is_resolved)?;
    let interface = interfaces.get(usize::from(hop.port))?.as_ref()?;
    let mtu = interface.mtu.min(hop.mtu);
    (len <= usize::from(mtu)).then_some((hop.port, hop.rewrite?))
}
