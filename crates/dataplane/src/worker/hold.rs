//! Packets that wait until their next hop is resolved: one for each.

use std::time::{Duration, Instant};

use crate::batch::Traveller;
use crate::change::AdjacencyId;

/// Next hops for which a packet may wait at the same time.
const HELD_MAX: usize = 64;

/// How long a packet waits (RFC 1122 §2.3.2.2 asks that the latest be kept; 3 s is Linux's own
/// patience with a neighbour).
const PATIENCE: Duration = Duration::from_secs(3);

/// How often to look whether somebody can go on.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The packets that wait.
pub(super) struct Held<C> {
    waiting: Vec<(AdjacencyId, Instant, Traveller<C>)>,
    look_at: Option<Instant>,
}

impl<C> Held<C> {
    pub(super) fn new() -> Self {
        Self {
            waiting: Vec::with_capacity(HELD_MAX),
            look_at: None,
        }
    }

    /// Keeps a packet, unless another waits for the same next hop.
    pub(super) fn keep(
        &mut self,
        adjacency: AdjacencyId,
        now: Instant,
        traveller: Traveller<C>,
    ) -> Result<(), Traveller<C>> {
        let is_kept = self.waiting.iter().any(|(other, ..)| *other == adjacency);
        if is_kept || self.waiting.len() == HELD_MAX {
            return Err(traveller);
        }
        self.waiting.push((adjacency, now + PATIENCE, traveller));
        self.look_at = Some(now + LOOK_EVERY);
        Ok(())
    }

    /// Those whose next hop is resolved, or who have waited too long (`true`).
    pub(super) fn due(
        &mut self,
        now: Instant,
        is_resolved: impl Fn(AdjacencyId) -> bool,
    ) -> Vec<(Traveller<C>, bool)> {
        if self.look_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let leaves = |(adjacency, until, _): &mut (AdjacencyId, Instant, Traveller<C>)| {
            *until <= now || is_resolved(*adjacency)
        };
        let due: Vec<_> = self.waiting.extract_if(.., leaves).collect();
        self.look_at = (!self.waiting.is_empty()).then(|| now + LOOK_EVERY);
        due.into_iter()
            .map(|(adjacency, _, traveller)| (traveller, !is_resolved(adjacency)))
            .collect()
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.look_at
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Traveller<C>> {
        self.waiting.drain(..).map(|(_, _, traveller)| traveller)
    }
}
