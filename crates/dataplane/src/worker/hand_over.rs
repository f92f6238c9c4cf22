//! Between workers: frames in parcels, shards whole.

use packet::Frame;

use super::Worker;
use crate::batch::{BATCH_FRAMES, Batch, Room, Stop, Traveller};
use crate::discard::Discard;
use crate::express::{self, Ticket};
use crate::id::{ShardId, WorkerId};
use crate::mesh::Parcel;
use crate::port::{Packet, Pool, Port};
use crate::{ahead, ip};

/// Parcels taken from each neighbour in a turn.
const PARCELS: usize = 2;

/// Frames that wait for a shard that is on its way here.
const LIMBO_FRAMES: usize = 1024;

impl<P: Port> Worker<P> {
    /// Shards that were given to us are at home here, and who waited for them goes on.
    pub(super) fn adopt_shards(&mut self) -> usize {
        let mut adopted = 0;
        while let Some(shard) = self.end.shards.receive() {
            self.arrived.push(shard.id());
            self.tables.put_shard(shard);
            adopted += 1;
        }
        if adopted > 0 {
            for traveller in std::mem::take(&mut self.limbo) {
                let stop = traveller.note.stop();
                self.place(traveller, stop);
            }
        }
        adopted
    }

    /// The shard is in the other's ring before anybody is told that it lives there, so a frame that
    /// follows the news finds it.
    pub(super) fn give(&mut self, shard: ShardId, to: WorkerId) {
        if to == self.end.id {
            self.arrived.push(shard);
            return;
        }
        let given = self
            .tables
            .take_shard(shard)
            .expect("only its owner is told to give a shard");
        let neighbour = &self.end.neighbours[usize::from(to.0)];
        let sent = neighbour.shards.send(given);
        assert!(sent.is_ok(), "the ring holds all shards there are");
        self.tables.shared.set_owner(shard, to);
    }

    pub(super) fn accept_parcels(&mut self) -> usize {
        let mut count = 0;
        for from in 0..self.end.neighbours.len() {
            for _ in 0..PARCELS {
                let Some(mut parcel) = self.end.neighbours[from].parcels_in.receive() else {
                    break;
                };
                count += parcel.len();
                // One whose shard has left in the meantime moves once more.
                std::mem::swap(&mut self.batch, &mut *parcel);
                express::expect(&self.batch, &self.tables);
                ahead::approach_all(&mut self.batch, &self.tables);
                self.walk_alone();
                std::mem::swap(&mut self.batch, &mut *parcel);
                // A parcel that finds no room on its way back is simply freed.
                let _ = self.end.neighbours[from].empties_out.send(parcel);
            }
        }
        self.counters().handed_in.add(count as u64);
        count
    }

    /// Puts a frame into the lobby, here or at the worker that owns its shard.
    pub(super) fn place(&mut self, mut traveller: Traveller<P::Chunk>, stop: Stop) {
        (traveller.note.room, traveller.note.slot) = (stop.room, stop.slot);
        if stop.room == Room::Fragment {
            return self.fragment(traveller);
        }
        let shard = stop.slot.shard();
        if !stop.room.is_sharded() || self.tables.shards.has(shard) {
            self.lobby.push_back(traveller);
            return;
        }
        let owner = self.tables.shared.owner(shard);
        if owner != self.end.id {
            self.pack(usize::from(owner.0), |parcel| parcel.seat(traveller));
        } else if self.limbo.len() < LIMBO_FRAMES {
            self.limbo.push(traveller);
        } else {
            self.discard(traveller, Discard::ShardInTransit);
        }
    }

    /// The pieces of a packet go on where it says, unless it may not be cut.
    fn fragment(&mut self, mut traveller: Traveller<P::Chunk>) {
        if let Some(exit) = ip::send_back(&mut traveller.as_guest(), &mut self.tables) {
            return self.leave(traveller, exit);
        }
        let pieces = match ip::fragment(&mut traveller, &mut self.free) {
            Ok(pieces) => pieces,
            Err(why) => return self.discard(traveller, why),
        };
        let Traveller { packet, note } = traveller;
        let stop = note.then.0.stop(note.slot);
        let meta = packet.meta;
        self.place(Traveller { packet, note }, stop);
        for frame in pieces {
            let packet = Packet { frame, meta };
            self.place(Traveller::new(packet, note.source), stop);
        }
    }

    /// Hands a whole frame to the worker that owns its shard, whose lane it takes.
    pub(super) fn hand_whole(&mut self, frame: Frame<P::Chunk>, ticket: Ticket) {
        let owner = self.tables.shared.owner(ticket.shard());
        if owner != self.end.id {
            return self.pack(usize::from(owner.0), |parcel| {
                parcel.seat_whole(frame, ticket)
            });
        }
        // The shard is on its way here.
        let (packet, note, sorted) = express::canonical(frame, ticket.from(), &self.tables);
        let traveller = Traveller { packet, note };
        match sorted {
            Ok(stop) => self.place(traveller, stop),
            Err(exit) => self.leave(traveller, exit),
        }
    }

    #[inline]
    fn pack(&mut self, owner: usize, pack: impl FnOnce(&mut Batch<P::Chunk>)) {
        let parcel = self.parcels[owner].get_or_insert_with(|| {
            let empty = self.end.neighbours[owner].empties_in.receive();
            empty.unwrap_or_else(|| Box::new(Batch::new()))
        });
        pack(parcel);
        if parcel.len() == BATCH_FRAMES {
            self.send_parcel(owner);
        }
    }

    /// At the end of a turn a parcel that is not full goes out only to who has none left: the ring
    /// of a neighbour that is behind holds full ones, and so as many frames as it can.
    pub(super) fn hand_over(&mut self) {
        for owner in 0..self.parcels.len() {
            let is_waited_for = self.end.neighbours[owner].parcels_out.is_empty();
            if is_waited_for {
                self.send_parcel(owner);
            }
        }
    }

    fn send_parcel(&mut self, owner: usize) {
        let Some(parcel) = self.parcels[owner].take_if(|parcel| parcel.len() > 0) else {
            return;
        };
        let count = parcel.len() as u64;
        match self.end.neighbours[owner].parcels_out.send(parcel) {
            Ok(()) => self.counters().handed_out.add(count),
            Err(parcel) => self.unpack(owner, parcel),
        }
    }

    /// The other has no room for a parcel, which is filled again.
    #[cold]
    fn unpack(&mut self, owner: usize, mut parcel: Parcel<P::Chunk>) {
        parcel.empty(|packet, note| {
            self.discard(Traveller::leaving(packet, note), Discard::ParcelFull);
        });
        parcel.give_up_lane(|frame| {
            self.tables.counters().discard(Discard::ParcelFull);
            self.free.put(frame.into_chunk());
        });
        self.parcels[owner] = Some(parcel);
    }
}
