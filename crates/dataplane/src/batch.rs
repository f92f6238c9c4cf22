//! The frames of one burst on their way through the lines.
//!
//! ```text
//!   seat      0  1  2  3  4  5  …      a frame sits where it was received, and is never moved
//!   enters    ■  ■  ·  ■  ■  ■         which seats enter at a room: one bit each
//!   in line   ■  ·  ·  ■  ·  ■         who has entered and was not refused: one bit each
//! ```
//!
//! A room sees those in line one after the other, in order of arrival; whom it refuses steps out
//! with an exit. Nothing is copied from room to room, and nothing is allocated.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use crypto::esp::{EspJob, KeySlot, Verdict};
use packet::{Chunk, Frame};

use crate::change::Class;
use crate::discard::Discard;
use crate::esp::{Jobs, Shape};
use crate::express::{Express, Seat};
use crate::id::{SessionSlot, Slot};
use crate::port::{Burst, Meta, Packet};
use crate::stages::Stage;
use crate::tables::Tables;

/// Frames in a batch (PERF §7: 64 for ESP; plain L2TP is as fast with 32), a bit of a word each.
pub(crate) const BATCH_FRAMES: usize = 64;

/// More moves than this and a frame runs in circles.
pub(crate) const MOVES_MAX: u8 = 4;

/// How a frame leaves a line before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It ends here, counted.
    Discard(Discard),
    /// It is copied to the slow path.
    Punt(Why),
    /// It goes on elsewhere.
    Move(Stop),
}

impl From<Discard> for Exit {
    fn from(reason: Discard) -> Self {
        Self::Discard(reason)
    }
}

/// Why a frame is the slow path's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// An ISAKMP message.
    Ike(Class),
    /// An L2TP control message in the clear.
    PlainL2tp(Class),
    /// An L2TP control message through an SA.
    SecuredL2tp,
    /// A PPP frame that is not IP, or IP that is early.
    Ppp,
    /// An IP packet for the host.
    Host,
}

/// A place where a frame can enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) room: Room,
    /// What the room looks up: it also says which shard, and so which worker.
    pub(crate) slot: Slot,
}

/// The rooms of the two lines, in the order of the drawing, and the two landings beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Open,
    Decap,
    Strip,
    Route,
    Frame,
    Encap,
    Seal,
    /// Cut to pieces, which go on to [`Traveller::then`].
    Fragment,
    /// Out by a port.
    Transmit,
}

impl Room {
    pub(crate) const COUNT: usize = 9;

    /// The stop at this room for what `slot` holds.
    #[inline]
    pub(crate) fn stop(self, slot: Slot) -> Stop {
        Stop { room: self, slot }
    }

    /// The stop at this room, where it looks nothing up.
    pub(crate) fn anywhere(self) -> Stop {
        self.stop(Slot::from_word(0))
    }

    /// What the walk that begins here is counted as, if one does.
    #[inline]
    fn stage(self) -> Option<Stage> {
        Some(match self {
            Self::Open => Stage::Admit,
            Self::Strip => Stage::Forward,
            Self::Route => Stage::Route,
            Self::Encap => Stage::Encap,
            Self::Seal => Stage::Prepare,
            Self::Decap | Self::Frame | Self::Fragment | Self::Transmit => return None,
        })
    }

    /// Whether the room belongs to a shard.
    pub(crate) fn is_sharded(self) -> bool {
        !matches!(self, Self::Route | Self::Fragment | Self::Transmit)
    }
}

/// Who made a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Network,
    Subscriber,
    /// We did, or the host.
    Own,
}

/// What the cipher has to do for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) shape: Shape,
    pub(crate) key: KeySlot,
    /// The whole sequence number.
    pub(crate) sequence: u64,
    pub(crate) esn: bool,
}

impl Work {
    /// To be done with this packet.
    #[inline(always)]
    pub(crate) fn on(self, packet: &mut [u8]) -> EspJob<'_> {
        EspJob {
            packet,
            slot: self.key,
            esn_high: self.esn.then_some((self.sequence >> 32) as u32),
            verdict: Verdict::Pending,
        }
    }
}

/// What the rooms behind a frame have learnt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    /// The room at which it enters, once it has been sorted.
    pub(crate) room: Room,
    /// Who made the packet.
    pub(crate) source: Source,
    /// What the room at hand looks up: an SA, then its path or a tunnel, then the session; and
    /// the other way on the way back.
    pub(crate) slot: Slot,
    /// The session, once it is known, to count discards by.
    pub(crate) session: Option<SessionSlot>,
    /// How it leaves; without one it goes out by a port.
    pub(crate) exit: Option<Exit>,
    /// Listener of a plain tunnel.
    pub(crate) listener: u16,
    /// UDP ports inside the SA, ours and the peer's.
    pub(crate) ports: [u16; 2],
    /// Ns of an L2TP data message.
    pub(crate) ns: Option<u16>,
    /// Where a packet goes on once it has been cut to pieces, and how large they may be.
    pub(crate) then: (Room, u16),
    /// What it will look up next but one, as far as it is foreseen.
    pub(crate) ahead: Slot,
    pub(crate) work: Option<Work>,
}

impl Note {
    pub(crate) fn new(source: Source) -> Self {
        Self {
            room: Room::Transmit,
            source,
            slot: Slot::from_word(0),
            session: None,
            exit: None,
            listener: 0,
            ports: [0; 2],
            ns: None,
            then: (Room::Transmit, 0),
            ahead: Slot::from_word(0),
            work: None,
        }
    }

    /// The stop at which it enters.
    pub(crate) fn stop(&self) -> Stop {
        self.room.stop(self.slot)
    }
}

/// A frame between two batches: in the lobby, in a parcel, or waiting for a next hop.
#[derive(Debug)]
pub(crate) struct Traveller<C> {
    pub(crate) packet: Packet<C>,
    pub(crate) note: Note,
}

impl<C> Traveller<C> {
    pub(crate) fn new(packet: Packet<C>, source: Source) -> Self {
        let note = Note::new(source);
        Self { packet, note }
    }

    /// One who takes its exit.
    #[inline]
    pub(crate) fn leaving(packet: Packet<C>, note: &Note) -> Self {
        let note = Note {
            exit: None,
            ..*note
        };
        Self { packet, note }
    }

    /// As a room sees it.
    #[inline]
    pub(crate) fn as_guest(&mut self) -> Guest<'_, C> {
        Guest::new(&mut self.packet, &mut self.note)
    }
}

/// A frame in its seat, as a room sees it: the window, the meta line, and the note.
pub(crate) struct Guest<'b, C> {
    pub(crate) frame: &'b mut Frame<C>,
    pub(crate) meta: &'b mut Meta,
    note: &'b mut Note,
}

impl<'b, C> Guest<'b, C> {
    #[inline]
    pub(crate) fn new(packet: &'b mut Packet<C>, note: &'b mut Note) -> Self {
        let Packet { frame, meta } = packet;
        Self { frame, meta, note }
    }
}

impl<C> Deref for Guest<'_, C> {
    type Target = Note;

    #[inline]
    fn deref(&self) -> &Note {
        self.note
    }
}

impl<C> DerefMut for Guest<'_, C> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Note {
        self.note
    }
}

/// Seats of a batch, a bit each.
pub(crate) type Seats = u64;

/// The seats of a set, first to last.
#[inline]
pub(crate) fn each(mut seats: Seats) -> impl Iterator<Item = usize> + Clone {
    std::iter::from_fn(move || {
        let seat = seats.trailing_zeros() as usize;
        (seats != 0).then(|| {
            seats &= seats - 1;
            seat
        })
    })
}

/// The frames of one walk through the lines.
pub(crate) struct Batch<C> {
    /// What a port fills.
    pub(crate) burst: Burst<C>,
    /// What is known of the whole frames in it.
    pub(crate) express: Express,
    notes: Vec<Note>,
    enters: [Seats; Room::COUNT],
    line: Seats,
    /// Who is in the room.
    at_hand: usize,
}

impl<C> Default for Batch<C> {
    fn default() -> Self {
        Self {
            burst: Burst::with_capacity(0),
            express: Express::default(),
            notes: Vec::new(),
            enters: [0; Room::COUNT],
            line: 0,
            at_hand: 0,
        }
    }
}

impl<C> Batch<C> {
    pub(crate) fn new() -> Self {
        Self {
            burst: Burst::with_capacity(BATCH_FRAMES),
            express: Express::with_capacity(),
            notes: Vec::with_capacity(BATCH_FRAMES),
            ..Self::default()
        }
    }

    /// How many frames: the seat of one that has left the lane for the rooms is empty.
    pub(crate) fn len(&self) -> usize {
        self.burst.len() - self.express.left
    }

    /// How many are in the rooms.
    pub(crate) fn guests(&self) -> usize {
        self.burst.packets.len()
    }

    /// Says of every packet that a port has put in where it enters, or how it leaves.
    #[inline(always)]
    pub(crate) fn sort(&mut self, mut room: impl FnMut(&mut Guest<'_, C>) -> Result<Stop, Exit>) {
        self.notes
            .resize(self.burst.packets.len(), Note::new(Source::Network));
        let seats = self.burst.packets.iter_mut().zip(&mut self.notes);
        for (seat, (packet, note)) in seats.enumerate() {
            match room(&mut Guest::new(packet, note)) {
                Ok(stop) => {
                    (note.room, note.slot) = (stop.room, stop.slot);
                    self.enters[stop.room as usize] |= 1 << seat;
                }
                Err(exit) => note.exit = Some(exit),
            }
        }
    }

    /// Seats one who knows where to enter, or how to leave.
    pub(crate) fn take_in(&mut self, packet: Packet<C>, note: Note) {
        if note.exit.is_none() {
            self.enters[note.room as usize] |= 1 << self.burst.packets.len();
        }
        self.burst.packets.push(packet);
        self.notes.push(note);
    }

    /// Seats one who knows where to enter.
    pub(crate) fn seat(&mut self, traveller: Traveller<C>) {
        self.take_in(traveller.packet, traveller.note);
    }

    /// Those who enter at this room step into line.
    #[inline]
    pub(crate) fn board(&mut self, room: Room, tables: &mut Tables) {
        self.line |= std::mem::take(&mut self.enters[room as usize]);
        if let Some(stage) = room.stage() {
            tables.watch.lap(stage, || self.in_line());
        }
    }

    /// How many are in line.
    #[inline]
    pub(crate) fn in_line(&self) -> usize {
        self.line.count_ones() as usize
    }

    /// At the end of a line nobody is in it any more.
    #[inline]
    pub(crate) fn arrive(&mut self, tables: &mut Tables) {
        self.line = 0;
        tables.watch.pause();
    }

    /// Runs one room over every frame in line. Those it refuses step out.
    #[inline(always)]
    pub(crate) fn walk(&mut self, mut room: impl FnMut(&mut Guest<'_, C>) -> Result<(), Exit>) {
        self.walk_seats(|_, guest| room(guest));
    }

    /// The same for a room that has to know the seat.
    #[inline(always)]
    pub(crate) fn walk_seats(
        &mut self,
        mut room: impl FnMut(usize, &mut Guest<'_, C>) -> Result<(), Exit>,
    ) {
        for seat in each(self.line) {
            self.at_hand = seat;
            let mut guest = Guest::new(&mut self.burst.packets[seat], &mut self.notes[seat]);
            if let Err(exit) = room(seat, &mut guest) {
                self.notes[seat].exit = Some(exit);
                self.line &= !(1 << seat);
            }
        }
    }

    /// All frames, the one in the room first; then those of the lane.
    pub(crate) fn at_hand(&self) -> impl Iterator<Item = &Frame<C>> {
        let packets = &self.burst.packets;
        let (before, from) = packets.split_at(self.at_hand.min(packets.len()));
        let guests = from.iter().chain(before).map(|packet| &packet.frame);
        guests.chain(self.burst.whole.iter().filter_map(Seat::frame))
    }

    /// A frame that waits for its batch to be walked, and where it will enter.
    #[inline]
    pub(crate) fn waiting(&mut self, seat: usize) -> Option<(&Packet<C>, &mut Note)> {
        self.burst.packets.get(seat).zip(self.notes.get_mut(seat))
    }

    /// What those in line have for a cipher.
    #[inline]
    pub(crate) fn jobs(&mut self) -> Jobs<'_>
    where
        C: Chunk,
    {
        let mut jobs = Jobs::default();
        let seats = self.burst.packets.iter_mut().zip(&self.notes).enumerate();
        for (seat, (packet, note)) in seats {
            if let Some(work) = note.work.filter(|_| self.line >> seat & 1 != 0) {
                jobs.add(seat, work.shape, work.on(packet.frame.bytes_mut()));
            }
        }
        jobs
    }

    /// Empties the batch, in order of arrival.
    #[inline(always)]
    pub(crate) fn empty(&mut self, mut leave: impl FnMut(Packet<C>, &Note)) {
        (self.line, self.enters) = (0, [0; Room::COUNT]);
        self.at_hand = 0;
        // Neither is copied into a pair: that would be another copy of each packet.
        let mut notes = self.notes.iter();
        for packet in self.burst.packets.drain(..) {
            if let Some(note) = notes.next() {
                leave(packet, note);
            }
        }
        self.notes.clear();
    }
}

/// Frames that were moved here, or made here, until a batch seats them.
pub(crate) type Lobby<C> = VecDeque<Traveller<C>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survivors_stay_in_order_and_leavers_keep_their_exits() {
        let mut tables = tables();
        let mut batch = batch(0..6, Room::Strip);
        batch.board(Room::Strip, &mut tables);
        batch.walk(|t| refuse_if(t, |n| n % 2 == 1, Discard::Replayed));
        assert_eq!(line(&mut batch), [0, 2, 4]);
        batch.walk(|t| refuse_if(t, |n| n == 2, Discard::NoRoute));
        assert_eq!(line(&mut batch), [0, 4]);
        let mut exits = Vec::new();
        batch.empty(|_, note| exits.push(note.exit));
        let replayed = Some(Exit::Discard(Discard::Replayed));
        let no_route = Some(Exit::Discard(Discard::NoRoute));
        assert_eq!(exits, [None, replayed, no_route, replayed, None, replayed]);
    }

    #[test]
    fn each_steps_into_line_at_its_own_room_and_all_keep_the_order_of_arrival() {
        let mut tables = tables();
        let mut batch = batch(0..3, Room::Strip);
        batch.seat(traveller(10, Room::Open));
        batch.seat(traveller(11, Room::Strip));
        batch.board(Room::Open, &mut tables);
        assert_eq!(line(&mut batch), [10]);
        batch.board(Room::Strip, &mut tables);
        assert_eq!(line(&mut batch), [0, 1, 2, 10, 11]);
        batch.arrive(&mut tables);
        batch.board(Room::Strip, &mut tables);
        assert!(line(&mut batch).is_empty(), "nobody boards twice");
        let mut count = 0;
        batch.empty(|_, _| count += 1);
        assert_eq!(count, 5);
    }

    #[test]
    fn who_is_sorted_out_never_steps_into_line() {
        let mut tables = tables();
        let mut batch = batch(0..0, Room::Open);
        for n in 0..64 {
            batch.burst.packets.push(traveller(n, Room::Open).packet);
        }
        batch.sort(|t| match t.frame.bytes()[0] {
            63 => Err(Discard::Truncated.into()),
            n => Ok([Room::Open, Room::Decap][usize::from(n % 2)].anywhere()),
        });
        assert_eq!(batch.len(), BATCH_FRAMES);
        batch.board(Room::Open, &mut tables);
        assert_eq!(line(&mut batch).len(), 32);
        batch.board(Room::Decap, &mut tables);
        assert_eq!(line(&mut batch), (0..63).collect::<Vec<_>>());
    }

    fn tables() -> Tables {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = std::time::Instant::now();
        let shared = crate::Shared::new(crate::Limits::default(), now);
        Tables::new(crate::id::WorkerId(0), shared, &crate::Settings::default())
    }

    fn batch(frames: std::ops::Range<u8>, room: Room) -> Batch<Box<[u8]>> {
        let mut batch = Batch::new();
        frames.for_each(|n| batch.seat(traveller(n, room)));
        batch
    }

    fn line(batch: &mut Batch<Box<[u8]>>) -> Vec<u8> {
        let mut line = Vec::new();
        batch.walk(|t| {
            line.push(t.frame.bytes()[0]);
            Ok(())
        });
        line
    }

    fn refuse_if(
        t: &Guest<'_, Box<[u8]>>,
        condition: impl Fn(u8) -> bool,
        reason: Discard,
    ) -> Result<(), Exit> {
        if condition(t.frame.bytes()[0]) {
            Err(reason.into())
        } else {
            Ok(())
        }
    }

    fn traveller(n: u8, room: Room) -> Traveller<Box<[u8]>> {
        let meta = Meta::ip(0);
        let frame = Frame::new(vec![n].into(), 0, 1).unwrap();
        let mut traveller = Traveller::new(Packet { frame, meta }, Source::Network);
        traveller.note.room = room;
        traveller
    }
}
