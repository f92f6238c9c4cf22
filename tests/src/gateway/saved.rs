//! The state of the fast path, written down: the fold of its changes.

use std::time::Instant;

use control::Output;
use dataplane::change::{Change, SharedChange, ToWorker};
use dataplane::id::ShardId;

use super::Gateway;
use crate::dice::Dice;
use crate::ledger::Ledger;
use crate::trace::Trace;

/// A piece of the state of the fast path.
#[derive(Clone, Debug)]
pub enum Saved {
    /// For the owner of a shard.
    Change(ShardId, Change),
    /// For all.
    Shared(SharedChange),
}

/// How far outbound sequence numbers jump when state is taken up again: further than was sent since
/// it was saved.
const SEQUENCE_GAP: u64 = 1 << 20;

impl Gateway {
    /// From here on, changes are saved.
    pub fn save(&mut self) {
        self.saved = Some(Vec::new());
    }

    /// What was saved, and the books.
    #[must_use]
    pub fn into_saved(self) -> (Vec<Saved>, Ledger) {
        (self.saved.unwrap_or_default(), self.ledger)
    }

    /// Takes up the state of another fast path: the fold of its changes. The slow path knows nothing
    /// of it.
    pub fn restore(&mut self, now: Instant, saved: Vec<Saved>, dice: &mut Dice, trace: &mut Trace) {
        self.carry_out(now, dice, trace);
        for piece in saved {
            let output = match piece {
                Saved::Change(_, Change::GiveShard { .. }) => continue,
                Saved::Change(shard, mut change) => {
                    if let Change::InstallOutbound(install) = &mut change {
                        install.first_sequence += SEQUENCE_GAP;
                    }
                    let message = ToWorker::Change(change);
                    Output::ToWorker { shard, message }
                }
                Saved::Shared(change) => Output::Shared(change),
            };
            self.carry_out_one(now, output, dice, trace);
        }
    }
}
