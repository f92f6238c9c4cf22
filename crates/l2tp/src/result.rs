//! Why tunnels and calls end, and the result codes that say so on the wire, RFC 2661 §4.4.2.

use std::fmt;

use crate::Refusal;

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
    pub(crate) const GENERAL_ERROR: u16 = 2;
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

/// Why a call ended, or should end (`Tunnel::hang_up`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// The link under or over it went: PPP ended, the line dropped.
    LostCarrier,
    /// Ended by the operator or by policy.
    Administrative,
    /// No room for the call.
    NoResources,
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
