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

use crypto::cpu::Address;
use packet::header::Ethernet;
use packet::{Chunk, Frame};

use crate::ahead::{DOWN, UP};
use crate::batch::{BATCH_FRAMES, Batch, Exit, Note, Room, Seats, Source, Stop, each};
use crate::discard::Discard;
use crate::id::{InboundSa, SessionSlot, ShardId, Slot};
use crate::link;
use crate::port::{Meta, Packet};
use crate::shard::inbound::Inbound;
use crate::shard::path::Path;
use crate::shard::session::Session;
use crate::shared::Target;
use crate::tables::Tables;
use crate::wire::{self, Head, OUTER, OUTER_IP, Usual};

pub(crate) use down::downstream;
pub(crate) use up::upstream;

/// Octets of an Ethernet header.
const ETHERNET: usize = size_of::<Ethernet>();

/// A frame as it came, and what the lane knows of it: a cache line, of which another worker reads one
/// for each frame that is handed over.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Seat<C> {
    /// `None` once it has left.
    frame: Option<Frame<C>>,
    ticket: Ticket,
}

impl<C> Seat<C> {
    /// Of a frame that nobody has looked at.
    #[inline(always)]
    pub(crate) fn of(frame: Frame<C>) -> Self {
        Self {
            frame: Some(frame),
            ticket: Ticket::BLANK,
        }
    }

    pub(crate) fn frame(&self) -> Option<&Frame<C>> {
        self.frame.as_ref()
    }

    pub(crate) fn leave(self) -> Option<Frame<C>> {
        self.frame
    }
}

/// What the lane knows of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// What the frame is; `None` if it never was in the lane.
    usual: Option<Usual>,
    /// The port it came by.
    from: u8,
    /// The port it leaves by.
    port: u8,
    /// Octets of the outermost IP packet.
    len: u16,
    /// Octets in front of the canonical frame.
    front: u8,
    /// Whom its head names: tunnel and session of a plain message, the address of a packet from the
    /// network; of a packet in an SA the slot of the session that is foreseen.
    target: u32,
    /// What it looks up first: an SA, a tunnel, or the session that its destination names.
    slot: Slot,
    /// The peer's path, once it is foreseen; of a packet from the network at first the session, which
    /// leads to it.
    path: Option<Slot>,
    /// Its whole sequence number, while the cipher is at work.
    sequence: u64,
}

const _: () = assert!(size_of::<Ticket>() <= 32);

impl Ticket {
    const BLANK: Self = Self {
        usual: None,
        from: 0,
        port: 0,
        len: 0,
        front: ETHERNET as u8,
        target: 0,
        slot: NOWHERE,
        path: None,
        sequence: 0,
    };

    /// The port it came by.
    pub(crate) fn from(&self) -> u8 {
        self.from
    }

    /// Octets in front of the canonical frame.
    #[inline(always)]
    fn front(&self) -> usize {
        usize::from(self.front)
    }

    /// Octets of the canonical frame.
    #[inline(always)]
    fn canonical_len(&self) -> usize {
        ETHERNET + usize::from(self.len) - self.front()
    }

    /// The shard that it is for.
    pub(crate) fn shard(&self) -> ShardId {
        self.slot.shard()
    }
}

/// The whole frames of a batch.
#[derive(Debug, Default)]
pub(crate) struct Express {
    /// Who begins at ESP, at plain L2TP, and at an IP packet from the network.
    sealed: Seats,
    plain: Seats,
    network: Seats,
    /// Who has come to the end.
    out: Seats,
    /// Who is for a shard that is not here.
    away: Seats,
    /// Of whom two lines in a row have to be seen before the last is known.
    distant: Seats,
    /// How many have left for the rooms.
    pub(crate) left: usize,
    /// How many of its frames' lines have been asked for.
    pub(crate) approached: usize,
    /// What each reads behind the cipher.
    near: Vec<Near>,
}

/// Where the state of a frame lies that is read behind the cipher. It was asked for long before, and a
/// whole burst has gone through the nearest cache since: it is brought there once more.
#[derive(Clone, Copy, Debug, Default)]
struct Near {
    sa: Address,
    session: Address,
}

impl Near {
    #[inline(always)]
    fn bring(&self) {
        for line in Inbound::LINES {
            self.sa.prefetch(*line);
        }
        for line in Session::LINES {
            self.session.prefetch(*line);
        }
    }
}

impl Express {
    pub(crate) fn with_capacity() -> Self {
        Self {
            near: vec![Near::default(); BATCH_FRAMES],
            ..Self::default()
        }
    }
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

/// Asks for the heads of frames that nobody expected.
pub(crate) fn approach_heads<C: Chunk>(batch: &Batch<C>) {
    for frame in batch.burst.whole.iter().filter_map(Seat::frame) {
        wire::approach_head(frame.chunk().as_ref(), frame.headroom());
    }
}

/// Gives a ticket to each whole frame that port `from` has put in, and asks for the first lines. The
/// others are read for the rooms. Says how many octets the canonical frames have.
#[inline(always)]
pub(crate) fn sort<C: Chunk>(batch: &mut Batch<C>, from: u8, tables: &Tables) -> usize {
    let Batch { burst, express, .. } = batch;
    let mut octets = 0;
    // Who is not as usual, and then each that is.
    let mut seats = [0; 1 + Usual::COUNT];
    for (nth, seat) in burst.whole.iter_mut().enumerate() {
        let frame = seat.frame.as_ref();
        seat.ticket.from = from;
        let usual = frame.and_then(|frame| look_at(frame, &mut seat.ticket, tables));
        seats[usual.map_or(0, |usual| 1 + usual as usize)] |= 1 << nth;
        octets += seat.ticket.canonical_len();
    }
    let [others, esp, esp_in_udp, l2tp, ip] = seats;
    express.sealed |= esp | esp_in_udp;
    express.plain |= l2tp;
    express.network |= ip;
    // Not before all heads have been read: they shall not have to wait behind these lines.
    for (nth, Seat { frame, ticket }) in burst.whole.iter().enumerate() {
        if let (Some(usual), Some(frame)) = (ticket.usual, frame)
            && approach_first(usual, frame, ticket, tables) == Whereabouts::Away
        {
            express.sealed &= !(1 << nth);
            express.plain &= !(1 << nth);
            express.away |= 1 << nth;
        }
    }
    for nth in each(others) {
        octets += batch.leave_lane(nth, Door::First, tables);
    }
    octets
}

/// What a frame as usual is, and what it looks up first. `None`: not in this lane.
#[inline(always)]
fn look_at<C: Chunk>(frame: &Frame<C>, ticket: &mut Ticket, tables: &Tables) -> Option<Usual> {
    let head = frame.peek_chunk::<Head>()?;
    let usual = head.usual(frame.len())?;
    match usual {
        Usual::EspInUdp => ticket.slot = InboundSa::from_spi(head.esp(OUTER).0).0,
        Usual::Esp => ticket.slot = InboundSa::from_spi(head.esp(OUTER_IP).0).0,
        Usual::L2tp => {
            let listener = tables.plain_listener(head.ip.destination)?;
            ticket.target = link::ids(&head.first);
            ticket.slot = link::tunnel(ticket.target, listener)?;
        }
        Usual::Ip => ticket.target = u32::from_be_bytes(head.ip.destination),
    }
    (ticket.usual, ticket.len) = (Some(usual), head.ip.total_length.get());
    ticket.front = usual.front() as u8;
    Some(usual)
}

/// Whether a shard is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    Here,
    Away,
}

/// Asks for the lines in front of a packet from the network and behind it: headers and a trailer are
/// written there before any cipher has asked for the body.
#[inline(always)]
fn approach_ends<C: Chunk>(frame: &Frame<C>, packet: usize) {
    let start = frame.headroom() + ETHERNET;
    let chunk = frame.chunk().as_ref();
    Address::in_bytes(chunk, start.saturating_sub(down::HEADROOM)).prefetch(0);
    Address::in_bytes(chunk, start + packet).prefetch(0);
}

/// What a frame of the network looks up is not yet known.
const NOWHERE: Slot = Slot::from_word(0);

/// Asks for an SA and its key, a tunnel, or the word of a destination.
#[inline(always)]
fn approach_first<C: Chunk>(
    usual: Usual,
    frame: &Frame<C>,
    ticket: &Ticket,
    tables: &Tables,
) -> Whereabouts {
    if usual == Usual::Ip {
        let vrf = tables.vrf(ticket.from);
        tables.shared.prefetch(vrf, ticket.target.into());
        approach_ends(frame, usize::from(ticket.len));
        return Whereabouts::Here;
    }
    let slot = ticket.slot;
    if !tables.shards.has(slot.shard()) {
        return Whereabouts::Away;
    }
    if usual == Usual::L2tp {
        tables.shards.tunnels.prefetch(slot);
    } else {
        tables.shards.inbound.prefetch(slot, Inbound::LINES);
    }
    Whereabouts::Here
}

/// Asks for what the first lines name: path and likely session of an SA or tunnel, the session of a
/// destination.
#[inline(always)]
pub(crate) fn approach_second<C: Chunk>(batch: &mut Batch<C>, nth: usize, tables: &Tables) {
    let Batch { burst, express, .. } = batch;
    let Some(Seat { ticket, .. }) = burst.whole.get_mut(nth) else {
        return;
    };
    let usual = ticket.usual;
    if usual == Some(Usual::Ip) {
        if ticket.path.is_none() {
            find_session(ticket, tables);
        }
        match approach_session(ticket, tables) {
            Some(Whereabouts::Here) => express.distant |= 1 << nth,
            Some(Whereabouts::Away) => {
                express.network &= !(1 << nth);
                express.away |= 1 << nth;
            }
            None => {}
        }
        return;
    }
    let likely = match usual {
        Some(Usual::L2tp) => approach_tunnel(ticket, tables),
        _ => {
            let near = express.near.get_mut(nth);
            near.and_then(|near| approach_sa(ticket, near, tables))
        }
    };
    if likely == Some(None) {
        express.distant |= 1 << nth;
    }
}

/// Asks for what an SA names. `None`: there is none; says the session that is foreseen.
#[inline(always)]
fn approach_sa(
    ticket: &mut Ticket,
    near: &mut Near,
    tables: &Tables,
) -> Option<Option<SessionSlot>> {
    let shards = &tables.shards;
    let sa = shards.inbound.at(ticket.slot)?;
    ticket.path = Some(sa.path.0);
    near.sa = Address::of(sa);
    match sa.likely {
        Some(entry) => near.session = approach_entered(entry.slot, tables),
        None => _ = shards.paths.prefetch(sa.path.0, Path::LINES[UP]),
    }
    Some(sa.likely.map(|entry| entry.slot))
}

/// Asks for what a tunnel names; the same for it.
#[inline(always)]
fn approach_tunnel(ticket: &mut Ticket, tables: &Tables) -> Option<Option<SessionSlot>> {
    let shards = &tables.shards;
    let tunnel = shards.tunnels.at(ticket.slot)?;
    let path = tunnel.path?;
    ticket.path = Some(path.0);
    shards.paths.prefetch(path.0, Path::LINES[UP]);
    if let Some(session) = tunnel.only {
        approach_entered(session, tables);
    }
    Some(tunnel.only)
}

/// Asks for the session that a packet from a subscriber is for.
#[inline(always)]
fn approach_entered(session: SessionSlot, tables: &Tables) -> Address {
    let sessions = &tables.shards.sessions;
    sessions.prefetch(session.0, Session::LINES)
}

/// The session of a destination.
#[inline(always)]
fn find_session(ticket: &mut Ticket, tables: &Tables) {
    let vrf = tables.vrf(ticket.from);
    if let Target::Session(session) = tables.shared.lookup_v4(vrf, ticket.target.into()) {
        ticket.slot = session.0;
        ticket.path = Some(session.0);
    }
}

/// Asks for the session, if one was found.
#[inline(always)]
fn approach_session(ticket: &Ticket, tables: &Tables) -> Option<Whereabouts> {
    let session = ticket.path?;
    if !tables.shards.has(session.shard()) {
        return Some(Whereabouts::Away);
    }
    let sessions = &tables.shards.sessions;
    sessions.prefetch(session, Session::LINES);
    Some(Whereabouts::Here)
}

/// Asks for what frames that were handed over look up first, and for their heads, which another core
/// has read.
pub(crate) fn expect<C: Chunk>(batch: &Batch<C>, tables: &Tables) {
    for Seat { frame, ticket } in &batch.burst.whole {
        if let (Some(frame), Some(usual)) = (frame, ticket.usual) {
            wire::approach_head(frame.chunk().as_ref(), frame.headroom());
            approach_first(usual, frame, ticket, tables);
        }
    }
}

/// Asks for the directory of a tunnel that has several sessions.
#[inline(always)]
pub(crate) fn approach_between<C: Chunk>(batch: &Batch<C>, nth: usize, tables: &Tables) {
    if batch.express.distant >> nth & 1 != 0
        && let Some(Seat { ticket, .. }) = batch.burst.whole.get(nth)
        && let (Some(Usual::L2tp), Some(path)) = (ticket.usual, ticket.path)
        && let Some(path) = tables.shards.paths.at(path)
    {
        path.directory.prefetch();
    }
}

/// Asks for what those name of whom it is not yet known: the session of a path, the path of a session.
#[inline(always)]
pub(crate) fn approach_last<C: Chunk>(batch: &mut Batch<C>, nth: usize, tables: &Tables) {
    let Batch { burst, express, .. } = batch;
    let Some(Seat { ticket, .. }) = burst.whole.get_mut(nth) else {
        return;
    };
    if express.distant >> nth & 1 == 0 {
        return;
    }
    let Some(known) = ticket.path else {
        return;
    };
    let shards = &tables.shards;
    if ticket.usual == Some(Usual::Ip) {
        let path = shards.sessions.at(known).map(|session| session.path.0);
        ticket.path = path;
        if let Some(path) = path {
            shards.paths.prefetch(path, Path::LINES[DOWN]);
        }
        return;
    }
    let Some(path) = shards.paths.at(known) else {
        return;
    };
    // What is in an SA nobody knows before it is opened.
    let session = match ticket.usual {
        Some(Usual::L2tp) => path.directory.find_ids(ticket.target),
        Some(Usual::EspInUdp | Usual::Esp | Usual::Ip) | None => path.directory.likely(),
    };
    if let (Some(session), Some(near)) = (session, express.near.get_mut(nth)) {
        near.session = approach_entered(session, tables);
    }
}

impl<C: Chunk> Batch<C> {
    /// Empties the lane at its end: each frame, the port it leaves by, and its octets without what
    /// is outside the canonical frame.
    #[inline(always)]
    pub(crate) fn drain_lane(&mut self, mut leave: impl FnMut(Frame<C>, usize, usize)) {
        let Self { burst, express, .. } = self;
        for nth in each(express.out) {
            let seat = &mut burst.whole[nth];
            if let Some(frame) = seat.frame.take() {
                let is_down = express.network >> nth & 1 != 0;
                let front = if is_down {
                    seat.ticket.front()
                } else {
                    ETHERNET
                };
                let len = frame.len() - front;
                leave(frame, usize::from(seat.ticket.port), len);
            }
        }
        burst.whole.clear();
        (express.sealed, express.plain, express.network) = (0, 0, 0);
        (express.out, express.away, express.distant) = (0, 0, 0);
        (express.left, express.approached) = (0, 0);
    }

    /// Those that are for a shard that is not here, with what is known of them.
    #[inline]
    pub(crate) fn take_away(&mut self) -> impl Iterator<Item = (Frame<C>, Ticket)> {
        let Self { burst, express, .. } = self;
        each(std::mem::take(&mut express.away)).filter_map(|seat| {
            let Seat { frame, ticket } = &mut burst.whole[seat];
            Some((frame.take()?, *ticket))
        })
    }

    /// Gives up every whole frame, wherever it was going.
    pub(crate) fn give_up_lane(&mut self, leave: impl FnMut(Frame<C>)) {
        let whole = self.burst.whole.iter_mut();
        whole.filter_map(|seat| seat.frame.take()).for_each(leave);
        self.drain_lane(|_, _, _| ());
    }

    /// Seats a whole frame that has its ticket.
    pub(crate) fn seat_whole(&mut self, frame: Frame<C>, ticket: Ticket) {
        let Self { burst, express, .. } = self;
        let seat = 1 << burst.whole.len();
        match ticket.usual {
            Some(Usual::EspInUdp | Usual::Esp) => express.sealed |= seat,
            Some(Usual::L2tp) => express.plain |= seat,
            Some(Usual::Ip) => express.network |= seat,
            None => debug_assert!(false, "it never was in the lane"),
        }
        let frame = Some(frame);
        burst.whole.push(Seat { frame, ticket });
    }

    /// The rooms take a frame over. Says how many octets it has there.
    #[cold]
    fn leave_lane(&mut self, nth: usize, door: Door, tables: &Tables) -> usize {
        let Seat { frame, ticket } = &mut self.burst.whole[nth];
        let Some(frame) = frame.take() else {
            return 0;
        };
        let ticket = *ticket;
        self.express.left += 1;
        let (mut packet, mut note, sorted) = canonical(frame, ticket.from, tables);
        let octets = packet.frame.len();
        let outcome = match door {
            Door::First => sorted,
            Door::Exit(exit) => Err(exit),
            Door::Decap { skip, len } => decapped(&ticket, &mut packet, skip, len, tables),
        };
        match outcome {
            Ok(stop) => (note.room, note.slot) = (stop.room, stop.slot),
            Err(exit) => note.exit = Some(exit),
        }
        self.take_in(packet, note);
        octets
    }
}

/// An authentic frame goes on where the SA ends.
fn decapped<C: Chunk>(
    ticket: &Ticket,
    packet: &mut Packet<C>,
    skip: usize,
    len: usize,
    tables: &Tables,
) -> Result<Stop, Exit> {
    let path = ticket.path.ok_or(Discard::NoPath)?;
    let paths = &tables.shards.paths;
    packet.meta.vrf = paths.at(path).ok_or(Discard::NoPath)?.origin.vrf;
    // The window of the packet begins behind the outer headers.
    let skip = skip.checked_sub(ticket.front());
    let skip = skip.ok_or(Discard::Truncated)?;
    packet.frame.narrow(skip, len).ok_or(Discard::Truncated)?;
    Ok(Room::Decap.stop(path))
}

/// A whole frame as the rooms have it, and where it enters.
#[cold]
pub(crate) fn canonical<C: Chunk>(
    frame: Frame<C>,
    from: u8,
    tables: &Tables,
) -> (Packet<C>, Note, Result<Stop, Exit>) {
    let interface = tables.interface(from).unwrap_or_default();
    match wire::read(frame, &interface, &tables.shared) {
        Ok(mut packet) => {
            let (note, sorted) = link::sort_packet(&mut packet, tables);
            (packet, note, sorted)
        }
        Err((frame, why)) => {
            let meta = Meta::ip(from);
            let outcome = Err(Discard::from(why).into());
            (Packet { frame, meta }, Note::new(Source::Network), outcome)
        }
    }
}
