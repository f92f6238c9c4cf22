//! The option negotiation automaton of RFC 1661 §4, shared by LCP and the network protocols.
//!
//! The table is the RFC's own, with its abbreviations and state numbers, so that it can be read
//! beside §4.1. It says what to do and where to go; `negotiation.rs` does it.

/// RFC 1661 §4.2, numbered as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Initial,
    Starting,
    Closed,
    Stopped,
    Closing,
    Stopping,
    ReqSent,
    AckRcvd,
    AckSent,
    Opened,
}

impl State {
    /// RFC 1661 §4.1: the states that know a TO event are those in which the Restart timer runs.
    pub(crate) fn is_timed(self) -> bool {
        step(self, Event::TimeoutPlus).is_some()
    }
}

/// RFC 1661 §4.3, in the order of the table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Up,
    Down,
    Open,
    Close,
    /// TO+: the Restart timer ran out, and the counter is above zero.
    TimeoutPlus,
    /// TO-: it ran out for the last time.
    TimeoutMinus,
    /// RCR+: an acceptable Configure-Request.
    RcrPlus,
    /// RCR-: one with something to Nak or to Reject.
    RcrMinus,
    /// Configure-Ack.
    Rca,
    /// Configure-Nak or -Reject.
    Rcn,
    /// Terminate-Request.
    Rtr,
    /// Terminate-Ack.
    Rta,
    /// Unknown code.
    Ruc,
    /// RXJ+: a Code- or Protocol-Reject that can be lived with.
    RxjPlus,
    /// RXJ-: one that can't.
    RxjMinus,
    /// Echo-Request, Echo-Reply, Discard-Request and what RFC 1570 adds.
    Rxr,
}

/// RFC 1661 §4.4, by the RFC's abbreviations.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// This-Layer-Up
    tlu,
    /// This-Layer-Down
    tld,
    /// This-Layer-Started
    tls,
    /// This-Layer-Finished
    tlf,
    /// Initialize-Restart-Count
    irc,
    /// Zero-Restart-Count
    zrc,
    /// Send-Configure-Request
    scr,
    /// Send-Configure-Ack
    sca,
    /// Send-Configure-Nak or -Reject
    scn,
    /// Send-Terminate-Request
    str,
    /// Send-Terminate-Ack
    sta,
    /// Send-Code-Reject
    scj,
    /// Send-Echo-Reply
    ser,
}

/// What `event` in `state` asks for; `None` where the table has a dash: it cannot occur.
pub(crate) fn step(state: State, event: Event) -> Option<(&'static [Action], State)> {
    TABLE[event as usize][state as usize]
        .map(|(actions, next)| (actions, STATES[usize::from(next)]))
}

type Cell = Option<(&'static [Action], u8)>;

const STATES: [State; 10] = [
    State::Initial,
    State::Starting,
    State::Closed,
    State::Stopped,
    State::Closing,
    State::Stopping,
    State::ReqSent,
    State::AckRcvd,
    State::AckSent,
    State::Opened,
];

macro_rules! cell {
    (-) => {
        None
    };
    ($next:literal) => {
        Some((&[] as &[Action], $next))
    };
    ($($action:ident),+ / $next:literal) => {
        Some((&[$(Action::$action),+] as &[Action], $next))
    };
}

macro_rules! table {
    ($($event:literal: $([$($cell:tt)+])+;)+) => {
        [$([$(cell!($($cell)+)),+]),+]
    };
}

/// RFC 1661 §4.1. Left out are the RFC's marks `r` (a restart option on Open), `p` (an option to
/// wait passively) and `x` (a crossed connection), which change no cell.
#[rustfmt::skip]
const TABLE: [[Cell; 10]; 16] = table! {
    //       0       1           2           3                 4       5       6           7           8           9
    //       Initial Starting    Closed    Stopped           Closing Stopping Req-Sent    Ack-Rcvd    Ack-Sent    Opened
    "Up":    [2]     [irc,scr/6] [-]         [-]               [-]     [-]     [-]         [-]         [-]         [-];
    "Down":  [-]     [-]         [0]         [tls/1]           [0]     [1]     [1]         [1]         [1]         [tld/1];
    "Open":  [tls/1] [1]         [irc,scr/6] [3]               [5]     [5]     [6]         [7]         [8]         [9];
    "Close": [0]     [tlf/0]     [2]         [2]               [4]     [4]     [irc,str/4] [irc,str/4] [irc,str/4] [tld,irc,str/4];

    "TO+":   [-]     [-]         [-]         [-]               [str/4] [str/5] [scr/6]     [scr/6]     [scr/8]     [-];
    "TO-":   [-]     [-]         [-]         [-]               [tlf/2] [tlf/3] [tlf/3]     [tlf/3]     [tlf/3]     [-];

    "RCR+":  [-]     [-]         [sta/2]     [irc,scr,sca/8]   [4]     [5]     [sca/8]     [sca,tlu/9] [sca/8]     [tld,scr,sca/8];
    "RCR-":  [-]     [-]         [sta/2]     [irc,scr,scn/6]   [4]     [5]     [scn/6]     [scn/7]     [scn/6]     [tld,scr,scn/6];
    "RCA":   [-]     [-]         [sta/2]     [sta/3]           [4]     [5]     [irc/7]     [scr/6]     [irc,tlu/9] [tld,scr/6];
    "RCN":   [-]     [-]         [sta/2]     [sta/3]           [4]     [5]     [irc,scr/6] [scr/6]     [irc,scr/8] [tld,scr/6];

    "RTR":   [-]     [-]         [sta/2]     [sta/3]           [sta/4] [sta/5] [sta/6]     [sta/6]     [sta/6]     [tld,zrc,sta/5];
    "RTA":   [-]     [-]         [2]         [3]               [tlf/2] [tlf/3] [6]         [6]         [8]         [tld,scr/6];

    "RUC":   [-]     [-]         [scj/2]     [scj/3]           [scj/4] [scj/5] [scj/6]     [scj/7]     [scj/8]     [scj/9];
    "RXJ+":  [-]     [-]         [2]         [3]               [4]     [5]     [6]         [6]         [8]         [9];
    "RXJ-":  [-]     [-]         [tlf/2]     [tlf/3]           [tlf/2] [tlf/3] [tlf/3]     [tlf/3]     [tlf/3]     [tld,irc,str/5];

    "RXR":   [-]     [-]         [2]         [3]               [4]     [5]     [6]         [7]         [8]         [ser/9];
};

#[cfg(test)]
mod tests;
