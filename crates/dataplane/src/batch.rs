//! The frames of one burst on their way through a line.
//!
//! ```text
//!   │ still in line, in order │ left, each with its exit │ free │
//!   0                         in_line                    len    BATCH_FRAMES
//! ```
//!
//! A room sees those in line one after the other; whom it refuses steps out behind them. Frames
//! that were moved here wait in the [`Lobby`] of the room at which they enter and board when the
//! line comes by. Nothing is allocated once the lobbies have grown to what a burst needs.

use std::collections::VecDeque;

use crypto::esp::{KeySlot, Suite, Verdict};
use packet::Frame;

use crate::change::Class;
use crate::discard::Discard;
use crate::id::{SessionSlot, ShardId, Slot};
use crate::port::{Meta, Packet};

/// Frames in a batch (PERF §7: 64 for ESP).
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
    Forward,
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
    pub(crate) const COUNT: usize = 10;

    /// The stop at this room for what `slot` holds.
    #[inline]
    pub(crate) fn stop(self, slot: Slot) -> Stop {
        Stop { room: self, slot }
    }

    /// The stop at this room, where it looks nothing up.
    pub(crate) fn anywhere(self) -> Stop {
        self.stop(Slot::from_word(0))
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
    pub(crate) suite: Suite,
    pub(crate) shard: ShardId,
    pub(crate) key: KeySlot,
    /// The whole sequence number.
    pub(crate) sequence: u64,
    pub(crate) esn: bool,
    pub(crate) verdict: Verdict,
}

/// A frame on its way, and what the rooms behind it have learnt.
#[derive(Debug)]
pub(crate) struct Traveller<C> {
    pub(crate) frame: Frame<C>,
    pub(crate) meta: Meta,
    /// The room at which it enters, once it has been sorted.
    pub(crate) room: Room,
    /// What the room at hand looks up: an SA, then its path or a tunnel, then the session; and
    /// the other way on the way back.
    pub(crate) slot: Slot,
    /// The session, once it is known, to count discards by.
    pub(crate) session: Option<SessionSlot>,
    pub(crate) source: Source,
    /// Listener of a plain tunnel.
    pub(crate) listener: u16,
    /// UDP ports inside the SA, ours and the peer's.
    pub(crate) ports: [u16; 2],
    /// Ns of an L2TP data message.
    pub(crate) ns: Option<u16>,
    pub(crate) work: Option<Work>,
    /// Where the pieces of a fragmented packet go on, and how large they may be.
    pub(crate) then: (Room, u16),
}

impl<C> Traveller<C> {
    pub(crate) fn new(packet: Packet<C>, source: Source) -> Self {
        Self {
            frame: packet.frame,
            meta: packet.meta,
            room: Room::Transmit,
            slot: Slot::from_word(0),
            session: None,
            source,
            listener: 0,
            ports: [0; 2],
            ns: None,
            work: None,
            then: (Room::Transmit, 0),
        }
    }

    /// What a port gets.
    pub(crate) fn into_packet(self) -> Packet<C> {
        Packet {
            frame: self.frame,
            meta: self.meta,
        }
    }
}

/// Frames that wait to board at each room.
pub(crate) struct Lobbies<C>([VecDeque<Traveller<C>>; Room::COUNT]);

impl<C> Lobbies<C> {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| {
            VecDeque::with_capacity(BATCH_FRAMES)
        }))
    }

    #[inline]
    pub(crate) fn at(&mut self, room: Room) -> &mut VecDeque<Traveller<C>> {
        &mut self.0[room as usize]
    }

    /// Frames waiting anywhere.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(VecDeque::len).sum()
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Traveller<C>> {
        self.0.iter_mut().flat_map(|lobby| lobby.drain(..))
    }
}

/// The frames of one walk through a line.
pub(crate) struct Batch<C> {
    frames: Vec<(Traveller<C>, Option<Exit>)>,
    in_line: usize,
    /// Who is in the room.
    at_hand: usize,
}

impl<C> Default for Batch<C> {
    fn default() -> Self {
        Self {
            frames: Vec::new(),
            in_line: 0,
            at_hand: 0,
        }
    }
}

impl<C> Batch<C> {
    pub(crate) fn new() -> Self {
        Self {
            frames: Vec::with_capacity(BATCH_FRAMES),
            ..Self::default()
        }
    }

    /// Those who wait in a lobby step into line behind those who are in it, as far as there is
    /// room.
    #[inline]
    pub(crate) fn board(&mut self, lobby: &mut VecDeque<Traveller<C>>) {
        let free = BATCH_FRAMES - self.frames.len();
        for traveller in lobby.drain(..free.min(lobby.len())) {
            self.frames.push((traveller, None));
            let last = self.frames.len() - 1;
            if last != self.in_line {
                self.frames.swap(self.in_line, last);
            }
            self.in_line += 1;
        }
    }

    /// Runs one room over every frame in line. Those it refuses step out; the rest keep their order.
    #[inline]
    pub(crate) fn walk(&mut self, mut room: impl FnMut(&mut Traveller<C>) -> Result<(), Exit>) {
        let mut kept = 0;
        for i in 0..self.in_line {
            self.at_hand = i;
            let (traveller, exit) = &mut self.frames[i];
            match room(traveller) {
                Ok(()) => {
                    if kept != i {
                        self.frames.swap(kept, i);
                    }
                    kept += 1;
                }
                Err(why) => *exit = Some(why),
            }
        }
        self.in_line = kept;
    }

    /// All frames, the one in the room first.
    pub(crate) fn at_hand(&self) -> impl Iterator<Item = &Traveller<C>> {
        let (before, from) = self.frames.split_at(self.at_hand.min(self.frames.len()));
        from.iter().chain(before).map(|(traveller, _)| traveller)
    }

    /// The frames in line.
    pub(crate) fn line(&self) -> impl ExactSizeIterator<Item = &Traveller<C>> {
        self.frames[..self.in_line].iter().map(|(frame, _)| frame)
    }

    /// The frames in line.
    pub(crate) fn line_mut(&mut self) -> impl ExactSizeIterator<Item = &mut Traveller<C>> {
        self.frames[..self.in_line]
            .iter_mut()
            .map(|(frame, _)| frame)
    }

    /// Empties the batch: those who came to the end of the line have no exit.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (Traveller<C>, Option<Exit>)> {
        self.in_line = 0;
        self.frames.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Kind;
    use packet::Endpoint;

    #[test]
    fn survivors_stay_in_order_in_front_and_leavers_keep_their_exits() {
        let mut batch = Batch::new();
        batch.board(&mut (0..6).map(traveller).collect());
        batch.walk(|t| refuse_if(t, |n| n % 2 == 1, Discard::Replayed));
        assert_eq!(line(&batch), [0, 2, 4]);
        batch.walk(|t| refuse_if(t, |n| n == 2, Discard::NoRoute));
        assert_eq!(line(&batch), [0, 4]);
        let mut exits: Vec<_> = batch
            .drain()
            .map(|(t, exit)| (t.frame.bytes()[0], exit))
            .collect();
        exits.sort_by_key(|(n, _)| *n);
        let replayed = Some(Exit::Discard(Discard::Replayed));
        let no_route = Some(Exit::Discard(Discard::NoRoute));
        let expected = [None, replayed, no_route, replayed, None, replayed];
        assert!(exits.iter().map(|(_, exit)| *exit).eq(expected));
    }

    #[test]
    fn who_boards_steps_in_behind_those_in_line_and_the_rest_waits() {
        let mut batch = Batch::new();
        batch.board(&mut (0..3).map(traveller).collect());
        batch.walk(|t| refuse_if(t, |n| n == 1, Discard::Replayed));
        let mut lobby: VecDeque<_> = (10..100).map(traveller).collect();
        batch.board(&mut lobby);
        let expected: Vec<u8> = [0, 2].into_iter().chain(10..71).collect();
        assert_eq!(line(&batch), expected);
        assert_eq!(lobby.len(), 29);
        assert_eq!(batch.drain().count(), BATCH_FRAMES);
    }

    fn line(batch: &Batch<Box<[u8]>>) -> Vec<u8> {
        batch.line().map(|t| t.frame.bytes()[0]).collect()
    }

    fn refuse_if(
        t: &Traveller<Box<[u8]>>,
        condition: impl Fn(u8) -> bool,
        reason: Discard,
    ) -> Result<(), Exit> {
        if condition(t.frame.bytes()[0]) {
            Err(reason.into())
        } else {
            Ok(())
        }
    }

    fn traveller(n: u8) -> Traveller<Box<[u8]>> {
        let meta = Meta {
            kind: Kind::Ip,
            local: Endpoint::default(),
            remote: Endpoint::default(),
            port: 0,
            vrf: 0,
            next_hop: None,
            dscp_ecn: 0,
            bad_checksum: false,
            checksum: false,
            moves: 0,
        };
        let frame = Frame::new(vec![n].into(), 0, 1).unwrap();
        Traveller::new(Packet { frame, meta }, Source::Network)
    }
}
