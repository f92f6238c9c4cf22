//! What a peer did that was not taken, and the one place where that becomes a result code.

use std::fmt;

use crate::ResultCode;
use crate::result::{ErrorCode, call, control};

/// Why a message was dropped, or ended a call or the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Shorter than its header.
    Truncated,
    /// L2TPv3 header.
    VersionThree,
    /// Neither L2TPv2 nor L2TPv3 (1 is L2F).
    UnknownVersion(u8),
    /// A data message where a control message belongs.
    NotControl,
    /// Control message without the L bit.
    NoLength,
    /// Control message without the S bit.
    NoSequenceNumbers,
    /// Control message with the O bit.
    OffsetInControl,
    /// The Length field goes past the end of the datagram.
    LengthPastEnd,
    /// The Offset Size goes past the end of the message.
    OffsetPastEnd,
    /// Neither our tunnel id nor a message that may carry 0.
    WrongTunnel,
    /// Already received; it was acknowledged again.
    Duplicate,
    /// Too far ahead of what is expected, or too long to be kept.
    OutsideWindow,
    /// The tunnel is over; repeats are acknowledged, nothing else.
    TunnelOver,
    /// The first AVP isn't a Message Type.
    NoMessageType,
    /// An AVP's length is below 6 or goes past the end of the message.
    AvpLength,
    /// An AVP that we know has a value of the wrong size or out of range.
    MalformedAvp(u16),
    /// An AVP that we don't know has the M bit set.
    UnknownMandatoryAvp {
        /// 0 is the IETF.
        vendor: u16,
        /// Attribute type.
        attribute: u16,
    },
    /// A hidden AVP with M set can't be revealed: no secret, or no Random Vector before it.
    CannotReveal(u16),
    /// A message lacks an AVP that it must have.
    MissingAvp(u16),
    /// A message type that we don't know has the M bit set.
    UnknownMandatoryMessage(u16),
    /// A message that has no place in this state.
    UnexpectedMessage(u16),
    /// A message about a call that doesn't exist.
    UnknownSession(u16),
    /// The peer speaks L2TPv3 only.
    NeedsVersionThree,
    /// Protocol Version AVP other than 1.
    ProtocolVersion(u8),
    /// An assigned id of 0.
    ZeroId,
    /// A receive window of 0.
    ZeroWindow,
    /// The peer challenges us and there is no secret.
    NoSecret,
    /// A wrong Challenge Response, or none.
    NotAuthentic,
    /// A call on a tunnel that isn't established.
    NoTunnelYet,
    /// An Assigned Session ID that a living call has.
    SessionIdInUse,
    /// No room for another call.
    TooManyCalls,
    /// An outgoing call was asked for: we place none.
    OutgoingCall,
    /// A framing type that we didn't advertise.
    FramingType(u32),
    /// The peer keeps asking and never acknowledges the answers.
    NeverAcknowledges,
}

impl Refusal {
    /// A short name for counters and logs.
    pub fn text(&self) -> &'static str {
        match self {
            Self::Truncated => "shorter than its header",
            Self::VersionThree => "L2TPv3 header",
            Self::UnknownVersion(_) => "unknown header version",
            Self::NotControl => "not a control message",
            Self::NoLength => "control message without Length",
            Self::NoSequenceNumbers => "control message without sequence numbers",
            Self::OffsetInControl => "control message with an offset",
            Self::LengthPastEnd => "Length beyond the datagram",
            Self::OffsetPastEnd => "offset beyond the message",
            Self::WrongTunnel => "not for this tunnel",
            Self::Duplicate => "duplicate, acknowledged again",
            Self::OutsideWindow => "outside the receive window",
            Self::TunnelOver => "tunnel is over",
            Self::NoMessageType => "first AVP is not Message Type",
            Self::AvpLength => "AVP length is wrong",
            Self::MalformedAvp(_) => "malformed AVP",
            Self::UnknownMandatoryAvp { .. } => "unknown mandatory AVP",
            Self::CannotReveal(_) => "hidden AVP can't be revealed",
            Self::MissingAvp(_) => "a required AVP is missing",
            Self::UnknownMandatoryMessage(_) => "unknown mandatory message",
            Self::UnexpectedMessage(_) => "message out of place",
            Self::UnknownSession(_) => "no such call",
            Self::NeedsVersionThree => "peer wants L2TPv3",
            Self::ProtocolVersion(_) => "unsupported protocol version",
            Self::ZeroId => "assigned id is 0",
            Self::ZeroWindow => "receive window is 0",
            Self::NoSecret => "challenged, but no tunnel secret is configured",
            Self::NotAuthentic => "tunnel authentication failed",
            Self::NoTunnelYet => "call before the tunnel is established",
            Self::SessionIdInUse => "session id is in use",
            Self::TooManyCalls => "no room for another call",
            Self::OutgoingCall => "outgoing calls are not placed here",
            Self::FramingType(_) => "framing type was not advertised",
            Self::NeverAcknowledges => "peer acknowledges nothing",
        }
    }

    /// Part of every conversation over a lossy path.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::Duplicate | Self::TunnelOver)
    }

    /// What the peer is told when this ends the tunnel.
    pub(crate) fn stop_ccn(&self) -> ResultCode {
        match self.complaint() {
            Complaint::NotAuthorized => ResultCode::plain(control::NOT_AUTHORIZED),
            Complaint::OutOfPlace => ResultCode::plain(control::STATE_MACHINE_ERROR),
            Complaint::Version => ResultCode::unsupported_version(),
            Complaint::NeverHere => ResultCode::general(ErrorCode::Value, self.to_string()),
            Complaint::General(error) => ResultCode::general(error, self.to_string()),
        }
    }

    /// What the peer is told when this ends a call, or keeps it from beginning.
    pub(crate) fn cdn(&self) -> ResultCode {
        let error = match self.complaint() {
            Complaint::NeverHere => return ResultCode::plain(call::NO_FACILITIES_PERMANENT),
            // The state machine error of CDN is that the id doesn't fit.
            Complaint::OutOfPlace => ErrorCode::SessionId,
            Complaint::NotAuthorized | Complaint::Version => ErrorCode::Value,
            Complaint::General(error) => error,
        };
        ResultCode::general(error, self.to_string())
    }

    /// The one place where a misdeed gets its code, RFC 2661 §4.4.2.
    fn complaint(&self) -> Complaint {
        match self {
            Self::NotAuthentic | Self::NoSecret => Complaint::NotAuthorized,
            Self::UnexpectedMessage(_) => Complaint::OutOfPlace,
            Self::NeedsVersionThree | Self::ProtocolVersion(_) => Complaint::Version,
            Self::OutgoingCall => Complaint::NeverHere,
            Self::NoTunnelYet => Complaint::General(ErrorCode::NoControlConnection),
            Self::AvpLength | Self::Truncated | Self::LengthPastEnd => {
                Complaint::General(ErrorCode::Length)
            }
            Self::TooManyCalls | Self::NeverAcknowledges => {
                Complaint::General(ErrorCode::Resources)
            }
            Self::SessionIdInUse | Self::UnknownSession(_) => {
                Complaint::General(ErrorCode::SessionId)
            }
            Self::UnknownMandatoryAvp { .. } | Self::CannotReveal(_) => {
                Complaint::General(ErrorCode::UnknownMandatoryAvp)
            }
            Self::NoMessageType
            | Self::MalformedAvp(_)
            | Self::MissingAvp(_)
            | Self::UnknownMandatoryMessage(_)
            | Self::ZeroId
            | Self::ZeroWindow
            | Self::FramingType(_) => Complaint::General(ErrorCode::Value),
            // Dropped before anything could be answered.
            Self::VersionThree
            | Self::UnknownVersion(_)
            | Self::NotControl
            | Self::NoLength
            | Self::NoSequenceNumbers
            | Self::OffsetInControl
            | Self::OffsetPastEnd
            | Self::WrongTunnel
            | Self::Duplicate
            | Self::OutsideWindow
            | Self::TunnelOver => Complaint::General(ErrorCode::Value),
        }
    }

    /// The number that belongs to the text, and what it counts.
    fn detail(&self) -> Option<(&'static str, u32)> {
        match self {
            Self::MalformedAvp(number)
            | Self::CannotReveal(number)
            | Self::MissingAvp(number)
            | Self::UnknownMandatoryAvp {
                attribute: number, ..
            } => Some(("attribute", u32::from(*number))),
            Self::UnknownMandatoryMessage(number) | Self::UnexpectedMessage(number) => {
                Some(("type", u32::from(*number)))
            }
            Self::UnknownSession(id) => Some(("session", u32::from(*id))),
            Self::UnknownVersion(version) | Self::ProtocolVersion(version) => {
                Some(("version", u32::from(*version)))
            }
            Self::FramingType(bits) => Some(("type", *bits)),
            Self::Truncated
            | Self::VersionThree
            | Self::NotControl
            | Self::NoLength
            | Self::NoSequenceNumbers
            | Self::OffsetInControl
            | Self::LengthPastEnd
            | Self::OffsetPastEnd
            | Self::WrongTunnel
            | Self::Duplicate
            | Self::OutsideWindow
            | Self::TunnelOver
            | Self::NoMessageType
            | Self::AvpLength
            | Self::NeedsVersionThree
            | Self::ZeroId
            | Self::ZeroWindow
            | Self::NoSecret
            | Self::NotAuthentic
            | Self::NoTunnelYet
            | Self::SessionIdInUse
            | Self::TooManyCalls
            | Self::OutgoingCall
            | Self::NeverAcknowledges => None,
        }
    }
}

/// What kind of wrong a refusal is.
enum Complaint {
    NotAuthorized,
    OutOfPlace,
    Version,
    NeverHere,
    General(ErrorCode),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        if let Self::UnknownMandatoryAvp { vendor, attribute } = self {
            return write!(f, " (vendor {vendor}, attribute {attribute})");
        }
        match self.detail() {
            Some((what, number)) => write!(f, " ({what} {number})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}
