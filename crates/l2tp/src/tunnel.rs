//! One control connection and its calls, RFC 2661 §7.2.

use std::sync::Arc;
use std::time::Instant;

use crypto::{Random, Secret};

use crate::{
    CallEnd, CallParameters, CallRefusal, Output, Refusal, SessionId, Settings, TunnelEnd, TunnelId,
};

/// One control connection with its calls.
#[derive(Debug)]
pub struct Tunnel {
    settings: Arc<Settings>,
    id: TunnelId,
}

/// What [`peek_opening`] finds in a message whose header names no tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Message type: 1 is SCCRQ, 4 is StopCCN.
    pub message_type: u16,
    /// The Assigned Tunnel ID AVP.
    pub assigned_tunnel: TunnelId,
    /// Host Name AVP, without a trailing NUL.
    pub host_name: String,
    /// Tie Breaker AVP.
    pub tie_breaker: Option<u64>,
}

/// How two hosts that dial each other at once are told apart, RFC 2661 §4.4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// Neither side minds: answer the SCCRQ, both tunnels live.
    Both,
    /// Ours won: drop the SCCRQ in silence.
    Won,
    /// Ours lost and is gone: answer the SCCRQ.
    Lost,
    /// Equal: ours is gone, and the SCCRQ is dropped in silence.
    Neither,
}

/// Reads the AVPs that tell which tunnel a message with tunnel id 0 is about: an SCCRQ (new, or a repeat), or a StopCCN.
pub fn peek_opening(bytes: &[u8], secret: Option<&Secret>) -> Option<Opening> {
    let _ = (bytes, secret);
    None
}

/// The StopCCN that answers a control message for a tunnel nobody knows; `None` where none is due.
pub fn unknown_tunnel(bytes: &[u8]) -> Option<Vec<u8>> {
    let _ = bytes;
    None
}

impl Tunnel {
    /// Waits for an SCCRQ, which is the first thing to give to `handle_input`.
    pub fn answer(settings: Arc<Settings>, id: TunnelId, now: Instant) -> Self {
        let _ = now;
        Self { settings, id }
    }

    /// Sends an SCCRQ.
    pub fn dial(
        settings: Arc<Settings>,
        id: TunnelId,
        now: Instant,
        random: &mut Random,
        out: &mut Vec<Output>,
    ) -> Self {
        let _ = (now, random, out);
        Self { settings, id }
    }

    /// Takes one datagram. `Err` names what was refused; acknowledgements, CDN or StopCCN may be in `out` all the same.
    pub fn handle_input(
        &mut self,
        now: Instant,
        message: &[u8],
        random: &mut Random,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let _ = (now, message, random, out);
        Ok(())
    }

    /// To be called when the time of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Instant, random: &mut Random, out: &mut Vec<Output>) {
        let _ = (now, random, out);
    }

    /// When `handle_timeout` is next wanted, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }

    /// Another SCCRQ from the peer we are dialling: settles which tunnel lives.
    pub fn meet(&mut self, now: Instant, theirs: &Opening, out: &mut Vec<Output>) -> Tie {
        let _ = (now, theirs, out);
        Tie::Both
    }

    /// Asks the peer to take a call (LAC). May be called before the tunnel is up.
    pub fn place_call(
        &mut self,
        now: Instant,
        session: SessionId,
        call: CallParameters,
        out: &mut Vec<Output>,
    ) {
        let _ = (now, session, call, out);
    }

    /// Takes an offered call (LNS).
    pub fn accept_call(
        &mut self,
        now: Instant,
        peer_session: SessionId,
        session: SessionId,
        out: &mut Vec<Output>,
    ) {
        let _ = (now, peer_session, session, out);
    }

    /// Declines an offered call (LNS).
    pub fn reject_call(
        &mut self,
        now: Instant,
        peer_session: SessionId,
        why: CallRefusal,
        out: &mut Vec<Output>,
    ) {
        let _ = (now, peer_session, why, out);
    }

    /// Ends a call: CDN, `CallDown`.
    pub fn hang_up(
        &mut self,
        now: Instant,
        session: SessionId,
        end: CallEnd,
        out: &mut Vec<Output>,
    ) {
        let _ = (now, session, end, out);
    }

    /// Ends the tunnel: StopCCN, `CallDown` for each call, `TunnelDown`.
    pub fn close(&mut self, now: Instant, end: TunnelEnd, out: &mut Vec<Output>) {
        let _ = (now, end, out);
    }

    /// Something authentic other than a control message came from this peer: it lives.
    pub fn saw_traffic(&mut self, at: Instant) {
        let _ = at;
    }

    /// Our tunnel id.
    pub fn id(&self) -> TunnelId {
        self.id
    }

    /// The peer's tunnel id; 0 until it has said.
    pub fn peer_id(&self) -> TunnelId {
        TunnelId(0)
    }

    /// The peer's Host Name; empty until it has said.
    pub fn peer_host_name(&self) -> &str {
        &self.settings.host_name
    }

    /// Ids of our calls, set up or being set up, in order.
    pub fn calls(&self) -> impl Iterator<Item = SessionId> + '_ {
        std::iter::empty()
    }

    /// Calls may be placed and offered.
    pub fn is_established(&self) -> bool {
        false
    }

    /// Nothing more will come from this machine; it can go.
    pub fn is_finished(&self) -> bool {
        false
    }
}
