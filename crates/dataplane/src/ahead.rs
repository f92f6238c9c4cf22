//! What the next batch will look up, asked for while this one is worked on.
//!
//! A look-up that misses the caches costs as much as all rooms together, and sixteen at once cost
//! hardly more than one. So a full burst is received and sorted a turn before it is walked, and in
//! between, once for each packet that the cipher begins, one [`Ahead::step`] is made:
//!
//! | for the frame | asked for | known from |
//! |---|---|---|
//! | the *n*th of the burst after next | its head | the port's ring |
//! | two strides on | SA and its key, tunnel, or the address's word in the trie | the header |
//! | one stride on | what that names: session or path | its line, which has arrived |
//! | at hand | what the session names: path and key | its line, which has arrived |

use packet::Chunk;
use packet::header::Ipv4;

use crate::batch::{BATCH_FRAMES, Batch, Room};
use crate::port::Port;
use crate::stages::Stage;
use crate::tables::Tables;

/// Frames between asking for a line and reading it: at 100 cycles a packet, more than memory takes.
const STRIDE: usize = 8;

/// What a frame names, what that names, and what that names.
const STAGES: usize = 3;

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
            && batch.approached < BATCH_FRAMES + 2 * STRIDE
        {
            port.expect(batch.approached);
            approach(batch, tables);
        }
    }

    /// Asks for all that is left, when no cipher was there to wait for.
    pub(crate) fn finish(mut self, tables: &mut Tables) {
        if let Some((batch, port)) = &mut self.next {
            tables.watch.lap(Stage::Ahead, || batch.len());
            for nth in batch.approached..BATCH_FRAMES {
                port.expect(nth);
            }
            approach_all(batch, tables);
            tables.watch.pause();
        }
    }
}

/// Asks for all lines of a batch that is about to be walked.
pub(crate) fn approach_all<C: Chunk>(batch: &mut Batch<C>, tables: &Tables) {
    let from = std::mem::replace(&mut batch.approached, BATCH_FRAMES + 2 * STRIDE);
    for stage in 0..STAGES {
        for seat in from.saturating_sub(stage * STRIDE)..batch.len() {
            approach_seat(batch, seat, stage, tables);
        }
    }
}

#[inline]
fn approach<C: Chunk>(batch: &mut Batch<C>, tables: &Tables) {
    let at = batch.approached;
    batch.approached += 1;
    approach_seat(batch, at, 0, tables);
    approach_seat(batch, at.wrapping_sub(STRIDE), 1, tables);
    approach_seat(batch, at.wrapping_sub(2 * STRIDE), 2, tables);
}

#[inline]
fn approach_seat<C: Chunk>(batch: &Batch<C>, seat: usize, stage: usize, tables: &Tables) {
    if let Some((packet, note)) = batch.waiting(seat) {
        if note.room != Room::Route {
            tables.approach(stage, note.stop());
        } else if let Some(header) = packet.frame.peek::<Ipv4>() {
            tables.approach_address(stage, packet.meta.vrf, header.destination());
        }
    }
}
