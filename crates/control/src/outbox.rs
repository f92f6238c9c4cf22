//! What leaves the machine, in order; and what must wait because its shard is on the move.

use std::collections::{BTreeMap, VecDeque};

use dataplane::change::{Change, Entry, Inject, SharedChange, ToWorker};
use dataplane::id::{SHARDS, SessionSlot, ShardId, WorkerId};

use crate::Output;

/// The one queue of outputs.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Output>,
    owners: [WorkerId; SHARDS],
    /// Messages for shards that have been given away and have not arrived.
    held: BTreeMap<ShardId, Vec<ToWorker>>,
    /// Spreads new peers over the shards of a worker.
    turn: usize,
}

impl Outbox {
    pub(crate) fn new(owners: [WorkerId; SHARDS]) -> Self {
        Self {
            queue: VecDeque::new(),
            owners,
            held: BTreeMap::new(),
            turn: 0,
        }
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    pub(crate) fn shared(&mut self, change: SharedChange) {
        self.push(Output::Shared(change));
    }

    pub(crate) fn change(&mut self, shard: ShardId, change: Change) {
        self.queue(shard, ToWorker::Change(change));
    }

    pub(crate) fn inject(&mut self, shard: ShardId, entry: Entry, bytes: Vec<u8>) {
        self.queue(shard, ToWorker::Inject(Inject { entry, bytes }));
    }

    fn queue(&mut self, shard: ShardId, message: ToWorker) {
        match self.held.get_mut(&shard) {
            Some(held) => held.push(message),
            None => self.push(Output::ToWorker { shard, message }),
        }
    }

    /// The session has ended: a shard that has not been told of it need not know any more.
    pub(crate) fn withdraw(&mut self, shard: ShardId, ended: SessionSlot) {
        if let Some(held) = self.held.get_mut(&shard) {
            held.retain(|message| {
                !matches!(message, ToWorker::Change(Change::OpenSession(session))
                    if session.id == ended)
            });
        }
    }

    /// Tells the present owner to let go; what follows waits for [`Outbox::arrived`].
    pub(crate) fn give(&mut self, shard: ShardId, to: WorkerId) {
        if self.held.contains_key(&shard) || self.owners[shard.index()] == to {
            return;
        }
        self.change(shard, Change::GiveShard { shard, to });
        self.held.insert(shard, Vec::new());
    }

    /// The shard is at home at `worker`.
    pub(crate) fn arrived(&mut self, shard: ShardId, worker: WorkerId) {
        self.owners[shard.index()] = worker;
        for message in self.held.remove(&shard).unwrap_or_default() {
            self.push(Output::ToWorker { shard, message });
        }
    }

    /// The worker that runs the shard.
    pub(crate) fn owner(&self, shard: ShardId) -> WorkerId {
        self.owners[shard.index()]
    }

    /// The next shard of all.
    pub(crate) fn any_shard(&mut self) -> ShardId {
        self.turn = self.turn.wrapping_add(1);
        ShardId::new((self.turn % SHARDS) as u8)
    }

    /// A shard of the worker's for a new peer; any shard if it has none.
    pub(crate) fn choose_shard(&mut self, worker: WorkerId) -> ShardId {
        self.turn = self.turn.wrapping_add(1);
        let mut of_worker = ShardId::all().filter(|&shard| self.owner(shard) == worker);
        match ShardId::all()
            .filter(|&shard| self.owner(shard) == worker)
            .count()
        {
            0 => ShardId::new((self.turn % SHARDS) as u8),
            count => of_worker.nth(self.turn % count).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use dataplane::change::Session;
    use dataplane::id::{PathId, Slot};

    use super::*;

    const SHARD: ShardId = ShardId::new(3);

    fn names(outbox: &mut Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.pop())
            .map(|output| format!("{output:?}"))
            .map(|text| text.contains("GiveShard").to_string())
            .collect()
    }

    #[test]
    fn nothing_is_sent_for_a_shard_on_the_move_and_nothing_is_lost() {
        let mut outbox = Outbox::new([WorkerId(0); SHARDS]);
        outbox.give(SHARD, WorkerId(1));
        outbox.inject(SHARD, Entry::Route { vrf: 0 }, vec![1]);
        outbox.inject(ShardId::new(4), Entry::Route { vrf: 0 }, vec![2]);
        assert_eq!(names(&mut outbox), ["true", "false"]);
        outbox.arrived(SHARD, WorkerId(1));
        assert_eq!(names(&mut outbox), ["false"]);
        assert_eq!(outbox.owner(SHARD), WorkerId(1));
    }

    /// The session lives in one shard, its path in another, and that one is on the move.
    #[test]
    fn a_session_that_has_ended_is_not_opened_where_it_was_held_back() {
        let slot = |index| SessionSlot(Slot::new(ShardId::new(4), index, 1));
        let session = |id| Session {
            id,
            path: PathId(Slot::new(SHARD, 0, 1)),
            listener: 0,
            tunnel: 1,
            session: 1,
            peer_tunnel: 1,
            peer_session: 1,
            local_port: 1701,
            peer_port: 1701,
            sequencing: false,
        };
        let mut outbox = Outbox::new([WorkerId(0); SHARDS]);
        outbox.give(SHARD, WorkerId(1));
        outbox.change(SHARD, Change::OpenSession(session(slot(1))));
        outbox.change(SHARD, Change::OpenSession(session(slot(2))));
        outbox.withdraw(SHARD, slot(1));
        assert_eq!(names(&mut outbox), ["true"]);
        outbox.arrived(SHARD, WorkerId(1));
        assert_eq!(names(&mut outbox), ["false"]);
    }

    #[test]
    fn new_peers_are_spread_over_the_shards_of_their_worker() {
        let mut owners = [WorkerId(0); SHARDS];
        owners[5] = WorkerId(1);
        owners[7] = WorkerId(1);
        let mut outbox = Outbox::new(owners);
        let mut chosen: Vec<_> = (0..4).map(|_| outbox.choose_shard(WorkerId(1))).collect();
        chosen.sort();
        assert_eq!(chosen, [5, 5, 7, 7].map(ShardId::new));
        assert!(outbox.choose_shard(WorkerId(9)).index() < SHARDS);
    }
}
