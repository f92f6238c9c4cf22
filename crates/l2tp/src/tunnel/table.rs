//! The table of RFC 2661 §7.2.1, row by row.
//!
//! "idle" at the end of a row means that the control connection is over; the channel under it lives on for a while, to
//! deliver the StopCCN or to acknowledge its repeats.

use crate::message::Judgement::{self, Bad, Good};

/// States of RFC 2661 §7.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    WaitCtlReply,
    WaitCtlConn,
    Established,
}

/// Events; a received message is judged first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    LocalOpen,
    NewCall,
    AdminClose,
    Sccrq(Judgement),
    /// An SCCRQ from the peer that we dial, whose tie breaker wins.
    LostTie,
    Sccrp(Judgement),
    Scccn(Judgement),
    StopCcn,
}

/// Actions, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    SendSccrq,
    SendSccrp,
    SendScccn,
    SendStopCcn,
    /// "Send tunnel-open event to waiting sessions".
    TunnelOpen,
    CleanUp,
}
use Action::{CleanUp, SendScccn, SendSccrp, SendSccrq, SendStopCcn, TunnelOpen};
use State::{Established, Idle, WaitCtlConn, WaitCtlReply};

type Row = (&'static [State], &'static [Event], &'static [Action], State);

/// Departs from RFC 2661 §7.2.1 in one row that it lacks: wait-ctl-reply, Receive SCCRQ inside the connection is treated
/// as the other messages out of place, because a peer that does so has lost its way (an SCCRQ of another connection has
/// tunnel id 0 and comes as LostTie, or not at all).
pub(crate) const TABLE: &[Row] = &[
    (&[Idle], &[Event::LocalOpen], &[SendSccrq], WaitCtlReply),
    (&[Idle], &[Event::Sccrq(Good)], &[SendSccrp], WaitCtlConn),
    (&[Idle], &[Event::Sccrq(Bad)], &[SendStopCcn, CleanUp], Idle),
    (
        &[Idle],
        &[Event::Sccrp(Good), Event::Sccrp(Bad)],
        &[SendStopCcn, CleanUp],
        Idle,
    ),
    (
        &[Idle],
        &[Event::Scccn(Good), Event::Scccn(Bad)],
        &[CleanUp],
        Idle,
    ),
    (
        &[WaitCtlReply],
        &[Event::Sccrp(Good)],
        &[SendScccn, TunnelOpen],
        Established,
    ),
    (
        &[WaitCtlReply],
        &[Event::Sccrp(Bad)],
        &[SendStopCcn, CleanUp],
        Idle,
    ),
    (&[WaitCtlReply], &[Event::LostTie], &[CleanUp], Idle),
    (
        &[WaitCtlReply],
        &[
            Event::Scccn(Good),
            Event::Scccn(Bad),
            Event::Sccrq(Good),
            Event::Sccrq(Bad),
        ],
        &[SendStopCcn, CleanUp],
        Idle,
    ),
    (
        &[WaitCtlConn],
        &[Event::Scccn(Good)],
        &[TunnelOpen],
        Established,
    ),
    (
        &[WaitCtlConn],
        &[Event::Scccn(Bad)],
        &[SendStopCcn, CleanUp],
        Idle,
    ),
    (
        &[WaitCtlConn],
        &[
            Event::Sccrp(Good),
            Event::Sccrp(Bad),
            Event::Sccrq(Good),
            Event::Sccrq(Bad),
        ],
        &[SendStopCcn, CleanUp],
        Idle,
    ),
    (
        &[Established],
        &[Event::NewCall],
        &[TunnelOpen],
        Established,
    ),
    // §7.6: a tunnel that is still being set up may be closed as well.
    (
        &[WaitCtlReply, WaitCtlConn, Established],
        &[Event::AdminClose],
        &[SendStopCcn, CleanUp],
        Idle,
    ),
    (&[Idle], &[Event::AdminClose], &[CleanUp], Idle),
    (
        &[Established],
        &[
            Event::Sccrq(Good),
            Event::Sccrq(Bad),
            Event::Sccrp(Good),
            Event::Sccrp(Bad),
            Event::Scccn(Good),
            Event::Scccn(Bad),
        ],
        &[SendStopCcn, CleanUp],
        Idle,
    ),
    (
        &[Idle, WaitCtlReply, WaitCtlConn, Established],
        &[Event::StopCcn],
        &[CleanUp],
        Idle,
    ),
];

/// What to do, and the state after it; nothing for an event that means nothing in this state.
pub(crate) fn transition(state: State, event: Event) -> (&'static [Action], State) {
    TABLE
        .iter()
        .find(|(states, events, ..)| states.contains(&state) && events.contains(&event))
        .map_or((&[], state), |&(_, _, actions, next)| (actions, next))
}

#[cfg(test)]
mod tests;
