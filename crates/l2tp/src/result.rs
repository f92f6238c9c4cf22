//! Why tunnels and calls end, and the result codes that say so on the wire, RFC 2661 §4.4.2.

use std::fmt;

use crate::{Busy, Refusal};

/// Result codes of StopCCN.
pub(crate) mod control {
    pub(crate) const CLEAR: u16 = 1;
    pub(crate) const GENERAL_ERROR: u16 = 2;
    pub(crate) const ALREADY_EXISTS: u16 = 3;
    pub(crate) const NOT_AUTHORIZED: u16 = 4;
    pub(crate) const VERSION: u16 = 5;
    pub(crate) const SHUTTING_DOWN: u16 = 6;
    pub(crate) const STATE_MACHINE_ERROR: u16 = 7;
}

/// Result codes of CDN.
pub(crate) mod call {
    pub(crate) const LOST_CARRIER: u16 = 1;
    pub(crate) const ADMINISTRATIVE: u16 = 3;
    pub(crate) const NO_FACILITIES_TEMPORARY: u16 = 4;
    pub(crate) const NO_FACILITIES_PERMANENT: u16 = 5;
    pub(crate) const INVALID_DESTINATION: u16 = 6;
    pub(crate) const TIMED_OUT: u16 = 10;
}

/// General error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    NoControlConnection = 1,
    Length = 2,
    Value = 3,
    Resources = 4,
    SessionId = 5,
    TryAnother = 7,
    UnknownMandatoryAvp = 8,
}

/// RFC 2661 §4.4.3: the version that we support, told in StopCCN result 5.
const VERSION_SUPPORTED: u16 = 1;

/// Whose result codes: the numbers mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// StopCCN.
    Tunnel,
    /// CDN.
    Call,
}

impl Scope {
    /// RFC 2661 §4.4.2: defined are 1 to 7 for StopCCN, 1 to 11 for CDN.
    fn last_defined(self) -> u16 {
        match self {
            Self::Tunnel => 7,
            Self::Call => 11,
        }
    }
}

/// A Result Code AVP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultCode {
    /// The result; 0 where the peer gave none.
    pub result: u16,
    /// The general error code, if there is one.
    pub error: Option<u16>,
    /// Text for people; never used for decisions.
    pub message: String,
}

impl ResultCode {
    pub(crate) fn plain(result: u16) -> Self {
        Self {
            result,
            error: None,
            message: String::new(),
        }
    }

    pub(crate) fn general(error: ErrorCode, message: String) -> Self {
        Self {
            result: control::GENERAL_ERROR,
            error: Some(error as u16),
            message,
        }
    }

    pub(crate) fn no_control_connection() -> Self {
        Self {
            result: control::GENERAL_ERROR,
            error: Some(ErrorCode::NoControlConnection as u16),
            message: String::new(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = self.result.to_be_bytes().to_vec();
        if let Some(error) = self.error {
            value.extend_from_slice(&error.to_be_bytes());
            value.extend_from_slice(self.message.as_bytes());
        }
        value
    }

    /// Reads a value of two octets or more.
    pub fn decode(value: &[u8], scope: Scope) -> Self {
        let [r0, r1, rest @ ..] = value else {
            return Self::default();
        };
        let result = u16::from_be_bytes([*r0, *r1]);
        let swapped = result.swap_bytes();
        let defined = 1..=scope.last_defined();
        if !defined.contains(&result) && defined.contains(&swapped) {
            // Departs from RFC 2661 §4.4.2: a code that is defined only when its octets are swapped is taken so,
            // because Apple sends it in the order of its own memory, with stale octets behind it.
            return Self::plain(swapped);
        }
        let [e0, e1, text @ ..] = rest else {
            return Self::plain(result);
        };
        let error = Some(u16::from_be_bytes([*e0, *e1]));
        Self {
            result,
            error,
            message: String::from_utf8_lossy(text).into_owned(),
        }
    }

    pub(crate) fn unsupported_version() -> Self {
        Self {
            result: control::VERSION,
            error: Some(VERSION_SUPPORTED),
            message: String::new(),
        }
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "result {}", self.result)?;
        if let Some(error) = self.error {
            write!(f, " error {error}")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// Why a tunnel ended, or should end (`Tunnel::close`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelEnd {
    /// Closed here, for no fault of the peer.
    Administrative,
    /// This host is being shut down.
    ShuttingDown,
    /// The peer may not have a tunnel.
    NotAuthorized,
    /// No room for another tunnel.
    NoResources,
    /// Another tunnel between the two hosts exists.
    AlreadyExists,
    /// Not established within the set-up limit.
    SetupTimedOut,
    /// The peer didn't acknowledge any of the retransmissions.
    PeerSilent,
    /// The peer sent StopCCN.
    PeerStopped(ResultCode),
    /// The peer broke the protocol.
    PeerMisbehaved(Refusal),
    /// Both sides dialled and the other's tie breaker won.
    LostTie,
}

impl TunnelEnd {
    /// What the peer is told; `None` where it is told nothing.
    pub(crate) fn stop_ccn(&self) -> Option<ResultCode> {
        Some(match self {
            Self::Administrative | Self::SetupTimedOut => ResultCode::plain(control::CLEAR),
            Self::ShuttingDown => ResultCode::plain(control::SHUTTING_DOWN),
            Self::NotAuthorized => ResultCode::plain(control::NOT_AUTHORIZED),
            Self::NoResources => ResultCode::general(ErrorCode::Resources, String::new()),
            Self::AlreadyExists => ResultCode::plain(control::ALREADY_EXISTS),
            Self::PeerMisbehaved(refusal) => refusal.stop_ccn(),
            Self::PeerSilent | Self::PeerStopped(_) | Self::LostTie => return None,
        })
    }
}

impl fmt::Display for TunnelEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Administrative => f.write_str("closed"),
            Self::ShuttingDown => f.write_str("shutting down"),
            Self::NotAuthorized => f.write_str("peer is not authorized"),
            Self::NoResources => f.write_str("no room for another tunnel"),
            Self::AlreadyExists => f.write_str("another tunnel exists"),
            Self::SetupTimedOut => f.write_str("not established in time"),
            Self::PeerSilent => f.write_str("peer does not answer"),
            Self::PeerStopped(result) => {
                write!(f, "peer closed it: {}", result.describe(Scope::Tunnel))
            }
            Self::PeerMisbehaved(refusal) => write!(f, "peer broke the protocol: {refusal}"),
            Self::LostTie => f.write_str("the other side dialled too and won"),
        }
    }
}

/// Why a call ended, or should end (`Tunnel::hang_up`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// The link under or over it went: PPP ended, the line dropped.
    LostCarrier,
    /// Ended by the operator or by policy.
    Administrative,
    /// No room for the call.
    NoResources,
    /// Something that the call needs has run out for the moment: addresses, say.
    NoFacilities,
    /// Not established within the set-up limit.
    SetupTimedOut,
    /// The tunnel ended.
    TunnelDown,
    /// The peer sent CDN.
    PeerHungUp(ResultCode),
    /// The peer broke the protocol.
    PeerMisbehaved(Refusal),
    /// The offer had been withdrawn, or never existed, when it was accepted.
    OfferGone,
    /// The given id is 0 or in use.
    BadSessionId,
}

/// Why an offered call isn't taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallRefusal {
    /// No room; told as `Settings::busy` says.
    Busy,
    /// Administrative reasons, result 3.
    Administrative,
    /// Never possible here, result 5.
    NoFacilities,
    /// Unknown called number or group, result 6.
    InvalidDestination,
    /// Another LNS should be tried, result 2 error 7.
    TryAnother,
}

impl CallEnd {
    /// What the peer is told; `None` where it is told nothing.
    pub(crate) fn cdn(&self) -> Option<ResultCode> {
        Some(match self {
            Self::LostCarrier => ResultCode::plain(call::LOST_CARRIER),
            Self::Administrative => ResultCode::plain(call::ADMINISTRATIVE),
            Self::NoResources => ResultCode::general(ErrorCode::Resources, String::new()),
            Self::NoFacilities => ResultCode::plain(call::NO_FACILITIES_TEMPORARY),
            Self::SetupTimedOut => ResultCode::plain(call::TIMED_OUT),
            Self::PeerMisbehaved(refusal) => refusal.cdn(),
            Self::BadSessionId => ResultCode::general(ErrorCode::Resources, String::new()),
            Self::TunnelDown | Self::PeerHungUp(_) | Self::OfferGone => return None,
        })
    }
}

impl fmt::Display for CallEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LostCarrier => f.write_str("PPP ended"),
            Self::Administrative => f.write_str("ended by the operator"),
            Self::NoResources => f.write_str("no room for the call"),
            Self::NoFacilities => f.write_str("something that the call needs has run out"),
            Self::SetupTimedOut => f.write_str("not established in time"),
            Self::TunnelDown => f.write_str("the tunnel ended"),
            Self::PeerHungUp(result) => write!(f, "peer hung up: {}", result.describe(Scope::Call)),
            Self::PeerMisbehaved(refusal) => write!(f, "peer broke the protocol: {refusal}"),
            Self::OfferGone => f.write_str("the offer was withdrawn"),
            Self::BadSessionId => f.write_str("the session id is 0 or in use"),
        }
    }
}

impl CallRefusal {
    pub(crate) fn cdn(self, busy: Busy) -> ResultCode {
        match (self, busy) {
            (Self::Busy, Busy::GeneralError) => {
                ResultCode::general(ErrorCode::Resources, String::new())
            }
            (Self::Busy, Busy::TemporaryLack) => ResultCode::plain(call::NO_FACILITIES_TEMPORARY),
            (Self::Administrative, _) => ResultCode::plain(call::ADMINISTRATIVE),
            (Self::NoFacilities, _) => ResultCode::plain(call::NO_FACILITIES_PERMANENT),
            (Self::InvalidDestination, _) => ResultCode::plain(call::INVALID_DESTINATION),
            (Self::TryAnother, _) => ResultCode::general(ErrorCode::TryAnother, String::new()),
        }
    }
}

/// What RFC 2661 §4.4.2 calls the result codes of StopCCN, from 1.
const CONTROL_RESULTS: [&str; 7] = [
    "general request to clear",
    "general error",
    "control channel already exists",
    "not authorized to establish a control channel",
    "protocol version not supported",
    "being shut down",
    "finite state machine error",
];

/// The result codes of CDN, from 1.
const CALL_RESULTS: [&str; 11] = [
    "loss of carrier",
    "general error",
    "administrative reasons",
    "lack of facilities, temporary",
    "lack of facilities, permanent",
    "invalid destination",
    "no carrier detected",
    "busy signal",
    "no dial tone",
    "not established within the time allotted by the LAC",
    "no appropriate framing detected",
];

/// The general error codes, from 0.
const ERRORS: [&str; 9] = [
    "no general error",
    "no control connection exists yet",
    "length is wrong",
    "a value was out of range",
    "insufficient resources",
    "session id is invalid in this context",
    "vendor-specific error",
    "try another",
    "unknown mandatory AVP",
];

impl ResultCode {
    /// Numbers and their names, for people.
    pub fn describe(&self, scope: Scope) -> String {
        let names: &[&str] = match scope {
            Scope::Tunnel => &CONTROL_RESULTS,
            Scope::Call => &CALL_RESULTS,
        };
        let name = usize::from(self.result)
            .checked_sub(1)
            .and_then(|index| names.get(index));
        let mut text = format!("{} ({})", name.unwrap_or(&"undefined"), self.result);
        if let Some(error) = self.error.filter(|error| *error != 0) {
            let name = ERRORS.get(usize::from(error)).unwrap_or(&"undefined error");
            text.push_str(&format!(", {name} ({error})"));
        }
        if !self.message.is_empty() {
            text.push_str(": ");
            text.push_str(&self.message);
        }
        text
    }
}

#[cfg(test)]
mod tests;
