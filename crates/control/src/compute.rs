//! Public-key work: it takes milliseconds, so others do it, so many jobs at a time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crypto::dh::{Job, Outcome};

use crate::counters::Counter;
use crate::exchange::IkeId;
use crate::{Control, Output};

/// Public-key work under way, and waiting for its turn.
#[derive(Debug, Default)]
pub(crate) struct Computations {
    next: u64,
    under_way: BTreeMap<u64, (IkeId, u64)>,
    waiting: VecDeque<(IkeId, u64, Job)>,
}

/// Jobs waiting for each one that may be under way.
const WAITING_PER_COMPUTATION: usize = 4;

impl Control {
    pub(crate) fn compute(&mut self, id: IkeId, token: u64, job: Job) {
        let computations = &mut self.ike.computations;
        let limit = self.settings.limits.computations;
        if computations.under_way.len() < limit {
            let name = computations.next;
            computations.next += 1;
            computations.under_way.insert(name, (id, token));
            self.outbox.push(Output::Compute { token: name, job });
            return;
        }
        self.counters.add(Counter::ComputeLimit);
        if computations.waiting.len() < limit.saturating_mul(WAITING_PER_COMPUTATION) {
            computations.waiting.push_back((id, token, job));
        }
    }

    /// An answer to [`Output::Compute`]; one that nobody waits for is dropped.
    pub(crate) fn on_computed(&mut self, now: Instant, token: u64, outcome: Outcome) {
        let asked = self.ike.computations.under_way.remove(&token);
        while let Some((id, token, job)) = self.ike.computations.waiting.pop_front() {
            if self.ike.slots.get(id.0).is_some() {
                self.compute(id, token, job);
                break;
            }
        }
        let taken = asked.and_then(|(id, token)| {
            self.with_sa(now, id, |sa, env, out| {
                sa.handle_computed(now, token, outcome, env, out);
            })
        });
        if taken.is_none() {
            self.counters.add(Counter::StaleComputed);
        }
    }
}
