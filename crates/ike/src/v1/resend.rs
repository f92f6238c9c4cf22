//! Sending again what was not answered: the schedule is the policy's ladder (RFC 2408 §5.1: it
//! backs off, and it ends).

use std::time::{Duration, Instant};

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Resend {
    messages: Vec<Vec<u8>>,
    rung: usize,
    at: Instant,
}

/// What a deadline means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Not yet.
    Wait,
    /// Send these again.
    Again(Vec<Vec<u8>>),
    /// It was sent often enough.
    GiveUp,
}

impl Resend {
    /// The request has just been sent for the first time.
    pub(super) fn new(now: Instant, ladder: &[Duration], message: Vec<u8>) -> Self {
        let first = ladder.first().copied().unwrap_or_default();
        Self {
            messages: vec![message],
            rung: 0,
            at: now + first,
        }
    }

    /// One more request that may bring the same answer.
    pub(super) fn join(&mut self, message: Vec<u8>) {
        self.messages.push(message);
    }

    /// What is due now.
    pub(super) fn fire(&mut self, now: Instant, ladder: &[Duration]) -> Due {
        if now < self.at {
            return Due::Wait;
        }
        self.rung += 1;
        match ladder.get(self.rung) {
            Some(&wait) => {
                self.at = now + wait;
                Due::Again(self.messages.clone())
            }
            None => Due::GiveUp,
        }
    }

    /// When to fire.
    pub(super) fn deadline(&self) -> Instant {
        self.at
    }
}
