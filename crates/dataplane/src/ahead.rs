//! What the next batch will look up, asked for while this one is worked on.
//!
//! A look-up that misses the caches costs as much as all rooms together, and sixteen at once cost
//! hardly more than one. So a full burst is received and sorted a turn before it is walked, and in
//! between, once for each packet that the cipher begins, one [`Ahead::step`] is made:
//!
//! | for the frame | asked for | known from |
//! |---|---|---|
//! | as it is sorted | SA, tunnel, or the address's word in the trie | the header |
//! | the *n*th of the burst after next | its head | the port's ring |
//! | at hand | the session, if SA or tunnel foretell it; the path of a tunnel, or of an SA that foretells none; the session of the address | its line, which has arrived |
//! | one stride before | the session of a path, or the path of a session, where they were not yet known | its line, which has arrived |
//!
//! Keys are asked for by the ciphers, a few packets ahead: six lines each for a whole burst would crowd
//! out everything else.
//!
//! For guests of the rooms, who are few, the same is asked for just before they are walked.

use packet::Chunk;
use packet::header::Ipv4;

use crate::batch::{BATCH_FRAMES, Batch, Room};
use crate::express;
use crate::id::Slot;
use crate::port::Port;
use crate::shard::inbound::Inbound;
use crate::shard::key_slot;
use crate::shard::path::Path;
use crate::shard::session::Session;
use crate::shared::Target;
use crate::stages::Stage;
use crate::tables::Tables;

/// Frames between asking for a line and reading it: at 100 cycles a packet, more than memory takes.
const STRIDE: usize = 8;

/// The ways a packet goes, as an index.
pub(crate) const UP: usize = 0;
pub(crate) const DOWN: usize = 1;

/// One walk's view of the batch that comes after it.
pub(crate) struct Ahead<'b, P: Port> {
    /// The batch that has been sorted and waits, with the port whose next burst follows it.
    next: Option<(&'b mut Batch<P::Chunk>, &'b P)>,
}

impl<'b, P: Port> Ahead<'b, P> {
    pub(crate) fn new(next: Option<(&'b mut Batch<P::Chunk>, &'b P)>) -> Self {
        Self { next }
    }

    /// Asks for some lines.
    #[inline]
    pub(crate) fn step(&mut self, tables: &Tables) {
        if let Some((batch, port)) = &mut self.next
            && batch.express.approached < batch.burst.whole.len() + STRIDE
        {
            port.expect(batch.express.approached);
            approach(batch, tables);
        }
    }

    /// Asks for all that is left, when no cipher was there to wait for.
    pub(crate) fn finish(mut self, tables: &mut Tables) {
        if let Some((batch, port)) = &mut self.next {
            tables.watch.lap(Stage::Ahead, || batch.len());
            for nth in batch.express.approached..BATCH_FRAMES {
                port.expect(nth);
            }
            approach_all(batch, tables);
            tables.watch.pause();
        }
    }
}

/// Asks for all lines of a batch that is about to be walked.
pub(crate) fn approach_all<C: Chunk>(batch: &mut Batch<C>, tables: &Tables) {
    let (from, count) = (batch.express.approached, batch.burst.whole.len());
    for seat in from..count {
        express::approach_second(batch, seat, tables);
    }
    for seat in from.saturating_sub(STRIDE)..count {
        express::approach_between(batch, seat, tables);
    }
    for seat in from.saturating_sub(STRIDE)..count {
        express::approach_last(batch, seat, tables);
    }
    batch.express.approached = count + STRIDE;
    for stage in [named_by_the_frame, named_by_that, named_at_last] {
        for seat in 0..batch.guests() {
            stage(batch, seat, tables);
        }
    }
}

#[inline]
fn approach<C: Chunk>(batch: &mut Batch<C>, tables: &Tables) {
    let at = batch.express.approached;
    batch.express.approached += 1;
    express::approach_second(batch, at, tables);
    express::approach_last(batch, at.wrapping_sub(STRIDE), tables);
}

/// The SA and its key, the word of the tunnel or of the address, or the session itself.
#[inline]
fn named_by_the_frame<C: Chunk>(batch: &mut Batch<C>, seat: usize, tables: &Tables) {
    let Some((packet, note)) = batch.waiting(seat) else {
        return;
    };
    if note.room == Room::Route {
        if let Some(header) = packet.frame.peek::<Ipv4>() {
            tables
                .shared
                .prefetch(packet.meta.vrf, header.destination());
        }
        return;
    }
    let shards = &tables.shards;
    match note.room {
        Room::Open => {
            shards.inbound.prefetch(note.slot, Inbound::LINES);
            tables.keys.opening.prefetch(key_slot(note.slot));
        }
        Room::Decap => {
            if let Some(path) = shards.tunnels.at(note.slot).and_then(|tunnel| tunnel.path) {
                note.ahead = path.0;
                shards.paths.prefetch(path.0, Path::LINES[DOWN]);
                tables.shared.paths.prefetch(path.0);
            }
        }
        Room::Strip | Room::Frame | Room::Encap => {
            shards.sessions.prefetch(note.slot, Session::LINES);
            tables.shared.sessions.prefetch(note.slot);
        }
        Room::Seal => {
            shards.paths.prefetch(note.slot, Path::LINES[DOWN]);
            tables.shared.paths.prefetch(note.slot);
            tables.keys.sealing.prefetch(key_slot(note.slot));
        }
        Room::Route | Room::Fragment | Room::Transmit => {}
    }
}

/// The path of the SA, the session of the tunnel or of the address, or the path of the session.
#[inline]
fn named_by_that<C: Chunk>(batch: &mut Batch<C>, seat: usize, tables: &Tables) {
    let Some((packet, note)) = batch.waiting(seat) else {
        return;
    };
    match note.room {
        Room::Open => {
            let shards = &tables.shards;
            if let Some(sa) = shards.inbound.at(note.slot) {
                note.ahead = sa.path.0;
                shards.paths.prefetch(sa.path.0, Path::LINES[DOWN]);
                tables.shared.paths.prefetch(sa.path.0);
            }
        }
        Room::Decap => approach_session_of_path(note.ahead, tables),
        Room::Route => {
            let header = packet.frame.peek::<Ipv4>();
            let destination = header.map(Ipv4::destination);
            if let Some(destination) = destination
                && let Target::Session(session) =
                    tables.shared.lookup_v4(packet.meta.vrf, destination)
            {
                note.ahead = session.0;
                approach_session(session.0, tables);
            }
        }
        Room::Frame | Room::Encap => approach_path_of_session(note.slot, tables),
        Room::Strip | Room::Seal | Room::Fragment | Room::Transmit => {}
    }
}

/// The session of the SA's path, or the path of the address's session.
#[inline]
fn named_at_last<C: Chunk>(batch: &mut Batch<C>, seat: usize, tables: &Tables) {
    let Some((_, note)) = batch.waiting(seat) else {
        return;
    };
    match note.room {
        Room::Open => approach_session_of_path(note.ahead, tables),
        Room::Route => approach_path_of_session(note.ahead, tables),
        Room::Decap
        | Room::Strip
        | Room::Frame
        | Room::Encap
        | Room::Seal
        | Room::Fragment
        | Room::Transmit => {}
    }
}

/// The session that a peer's next frame is most likely for.
#[inline]
fn approach_session_of_path(path: Slot, tables: &Tables) {
    let path = tables.shards.paths.at(path);
    if let Some(session) = path.and_then(|path| path.directory.likely()) {
        approach_session(session.0, tables);
    }
}

#[inline]
fn approach_session(session: Slot, tables: &Tables) {
    let shards = &tables.shards;
    shards.sessions.prefetch(session, Session::LINES);
    tables.shared.sessions.prefetch(session);
}

#[inline]
fn approach_path_of_session(session: Slot, tables: &Tables) {
    let shards = &tables.shards;
    if let Some(session) = shards.sessions.at(session) {
        shards.paths.prefetch(session.path.0, Path::LINES[DOWN]);
        tables.shared.paths.prefetch(session.path.0);
        tables.keys.sealing.prefetch(key_slot(session.path.0));
    }
}
