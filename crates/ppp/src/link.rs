//! One PPP session.

use std::sync::Arc;
use std::time::Instant;

use crypto::Random;

use crate::{DownReason, Output, Phase, Settings, Verdict};

/// One PPP session.
pub struct Link {
    settings: Arc<Settings>,
}

#[allow(unused_variables)]
impl Link {
    /// A link that waits for [`Self::open`].
    pub fn new(settings: Arc<Settings>, now: Instant, random: &mut Random) -> Self {
        Self { settings }
    }
    /// The lower layer is up: negotiation begins.
    pub fn open(&mut self, now: Instant, random: &mut Random, out: &mut Vec<Output>) {}
    /// Takes one PPP frame, with or without `FF 03`, with one or two octets of protocol.
    pub fn handle_input(
        &mut self,
        now: Instant,
        frame: &[u8],
        random: &mut Random,
        out: &mut Vec<Output>,
    ) {
    }
    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, random: &mut Random, out: &mut Vec<Output>) {}
    /// When the link next wants to be called, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }
    /// The answer to [`Output::Authenticate`].
    pub fn authorize(
        &mut self,
        now: Instant,
        verdict: Verdict,
        random: &mut Random,
        out: &mut Vec<Output>,
    ) {
    }
    /// Ends the link: Terminate-Request, then [`Output::Down`].
    pub fn close(&mut self, now: Instant, reason: DownReason, out: &mut Vec<Output>) {}
    /// Something came from the peer: no Echo-Request until an interval after `at`.
    pub fn saw_traffic(&mut self, at: Instant) {}
    /// RFC 1661 §3.2.
    pub fn phase(&self) -> Phase {
        Phase::Dead
    }
}
