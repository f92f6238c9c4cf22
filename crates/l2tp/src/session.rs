//! Calls, RFC 2661 §7.4: the tables of both sides of an incoming call.
//!
//! The LAC asks (ICRQ), the LNS takes the call (ICRP), the LAC connects it (ICCN). An LNS is in "idle" while its owner makes
//! up its mind about an offer. Outgoing calls (§7.5) are refused at their first message and have no table here.

use std::time::Instant;

use crate::message::Judgement::{self, Bad, Good};
use crate::{CallParameters, SessionId};

/// States of RFC 2661 §7.4.1 (LAC) and §7.4.2 (LNS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    WaitTunnel,
    WaitReply,
    WaitConnect,
    Established,
}

/// Which of the two tables applies to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// We placed the call.
    Lac,
    /// We were offered the call.
    Lns,
}

/// Events; a received message is judged first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// "Bearer Ring or Ready to indicate incoming conn."
    LocalOpen,
    TunnelOpen,
    Icrq(Judgement),
    Icrp(Judgement),
    Iccn(Judgement),
    Cdn,
    /// "Local close request or Bearer line drop".
    LocalClose,
}

/// Actions, in the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// "Initiate local tunnel open".
    OpenTunnel,
    SendIcrq,
    SendIcrp,
    SendIccn,
    SendCdn,
    CleanUp,
    /// "Prepare for data".
    Prepare,
}
use Action::{CleanUp, OpenTunnel, Prepare, SendCdn, SendIccn, SendIcrp, SendIcrq};
use State::{Established, Idle, WaitConnect, WaitReply, WaitTunnel};

type Row = (&'static [State], &'static [Event], &'static [Action], State);

const ANY_ICRQ: [Event; 2] = [Event::Icrq(Good), Event::Icrq(Bad)];
const ANY_ICRP: [Event; 2] = [Event::Icrp(Good), Event::Icrp(Bad)];
const ANY_ICCN: [Event; 2] = [Event::Iccn(Good), Event::Iccn(Bad)];
const ANY_REQUEST_OR_REPLY: [Event; 4] = [ANY_ICRQ[0], ANY_ICRQ[1], ANY_ICRP[0], ANY_ICRP[1]];
const ANY_OF_THREE: [Event; 6] = [
    ANY_ICRQ[0],
    ANY_ICRQ[1],
    ANY_ICRP[0],
    ANY_ICRP[1],
    ANY_ICCN[0],
    ANY_ICCN[1],
];

/// RFC 2661 §7.4.1.
pub(crate) const LAC: &[Row] = &[
    (&[Idle], &[Event::LocalOpen], &[OpenTunnel], WaitTunnel),
    (
        &[Idle],
        &[
            ANY_ICCN[0],
            ANY_ICCN[1],
            ANY_ICRP[0],
            ANY_ICRP[1],
            Event::Cdn,
        ],
        &[CleanUp],
        Idle,
    ),
    (&[WaitTunnel], &[Event::LocalClose], &[CleanUp], Idle),
    (&[WaitTunnel], &[Event::TunnelOpen], &[SendIcrq], WaitReply),
    (
        &[WaitReply],
        &[Event::Icrp(Good)],
        &[SendIccn, Prepare],
        Established,
    ),
    (&[WaitReply], &[Event::Icrp(Bad)], &[SendCdn, CleanUp], Idle),
    (&[WaitReply], &ANY_ICRQ, &[SendCdn, CleanUp], Idle),
    (
        &[WaitReply],
        &[Event::Cdn, ANY_ICCN[0], ANY_ICCN[1]],
        &[CleanUp],
        Idle,
    ),
    (
        &[WaitReply],
        &[Event::LocalClose],
        &[SendCdn, CleanUp],
        Idle,
    ),
    (&[Established], &[Event::Cdn], &[CleanUp], Idle),
    (&[Established], &ANY_OF_THREE, &[SendCdn, CleanUp], Idle),
    (
        &[Established],
        &[Event::LocalClose],
        &[SendCdn, CleanUp],
        Idle,
    ),
];

/// RFC 2661 §7.4.2.
pub(crate) const LNS: &[Row] = &[
    (&[Idle], &[Event::Icrq(Good)], &[SendIcrp], WaitConnect),
    (&[Idle], &[Event::Icrq(Bad)], &[SendCdn, CleanUp], Idle),
    (&[Idle], &ANY_ICRP, &[SendCdn, CleanUp], Idle),
    (&[Idle], &ANY_ICCN, &[CleanUp], Idle),
    (
        &[WaitConnect],
        &[Event::Iccn(Good)],
        &[Prepare],
        Established,
    ),
    (
        &[WaitConnect],
        &[Event::Iccn(Bad)],
        &[SendCdn, CleanUp],
        Idle,
    ),
    (
        &[WaitConnect],
        &ANY_REQUEST_OR_REPLY,
        &[SendCdn, CleanUp],
        Idle,
    ),
    (
        &[Idle, WaitConnect, Established],
        &[Event::Cdn],
        &[CleanUp],
        Idle,
    ),
    (
        &[WaitConnect, Established],
        &[Event::LocalClose],
        &[SendCdn, CleanUp],
        Idle,
    ),
    (&[Established], &ANY_OF_THREE, &[SendCdn, CleanUp], Idle),
];

/// What to do, and the state after it; nothing for an event that means nothing in this state.
pub(crate) fn transition(side: Side, state: State, event: Event) -> (&'static [Action], State) {
    let table = match side {
        Side::Lac => LAC,
        Side::Lns => LNS,
    };
    table
        .iter()
        .find(|(states, events, ..)| states.contains(&state) && events.contains(&event))
        .map_or((&[], state), |&(_, _, actions, next)| (actions, next))
}

/// One call of a tunnel.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) side: Side,
    pub(crate) state: State,
    /// 0 until the peer has said.
    pub(crate) peer: SessionId,
    /// What an LAC tells about the call.
    pub(crate) parameters: Option<Box<CallParameters>>,
    /// When it must be established.
    pub(crate) deadline: Instant,
}

#[cfg(test)]
mod tests;
