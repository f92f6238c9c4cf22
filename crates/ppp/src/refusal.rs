//! What a peer did to have a frame dropped.

use std::fmt;

/// Why a frame was dropped without an answer, except where the text says that there was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It ended before the protocol field did.
    NoProtocol,
    /// No protocol number looks like this (RFC 1661 §2: odd last octet, even first).
    NotAProtocol,
    /// A control frame longer than [`crate::MAX_FRAME`].
    Oversized,
    /// The packet's Length is below 4, or above what came (RFC 1661 §5).
    BadLength,
    /// An option's length is below 2, or beyond the packet's end.
    BadOptionLength,
    /// A field inside the packet goes beyond its end.
    Malformed,
    /// An answer to a request that is not the last one.
    StaleIdentifier,
    /// The last request was answered already.
    SecondAnswer,
    /// A Configure-Ack or -Reject that does not repeat our options.
    NotOurOptions,
    /// The automaton has no use for this event in its state.
    OutOfState,
    /// The protocol is not spoken in this phase (RFC 1661 §3.4, §3.5, §3.7).
    WrongPhase(u16),
    /// The link is down, or was not opened.
    LinkDown,
    /// Not the method of authentication that was agreed on.
    OtherMethod,
    /// An authentication packet whose code makes no sense here.
    UnknownAuthCode(u8),
    /// Our own magic number came back (RFC 1661 §6.4).
    OwnMagic,
    /// More Identification packets than are listened to.
    TooManyIdents,
    /// An unsupported protocol, and more of them than are answered.
    TooManyRejects(u16),
    /// An unsupported protocol; a Protocol-Reject was sent.
    UnsupportedProtocol(u16),
    /// An unknown code; a Code-Reject was sent.
    UnknownCode(u8),
}

impl Refusal {
    /// Whether something is wrong: a peer that answers each copy of a request does as it should.
    pub fn is_fault(self) -> bool {
        self != Self::SecondAnswer
    }

    /// For a counter's label.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoProtocol => "frame ends before its protocol field",
            Self::NotAProtocol => "not a PPP protocol number",
            Self::Oversized => "control frame too long",
            Self::BadLength => "bad packet length",
            Self::BadOptionLength => "bad option length",
            Self::Malformed => "field beyond the packet's end",
            Self::StaleIdentifier => "answer to no pending request",
            Self::SecondAnswer => "second answer to one request",
            Self::NotOurOptions => "answer names options that were not asked for",
            Self::OutOfState => "packet out of state",
            Self::WrongPhase(_) => "protocol not spoken in this phase",
            Self::LinkDown => "link is down",
            Self::OtherMethod => "other authentication method than agreed",
            Self::UnknownAuthCode(_) => "unknown authentication code",
            Self::OwnMagic => "our own magic number came back",
            Self::TooManyIdents => "too many Identification packets",
            Self::TooManyRejects(_) => "unsupported protocol, unanswered",
            Self::UnsupportedProtocol(_) => "unsupported protocol, rejected",
            Self::UnknownCode(_) => "unknown code, rejected",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongPhase(protocol)
            | Self::TooManyRejects(protocol)
            | Self::UnsupportedProtocol(protocol) => {
                write!(f, "{} ({protocol:#06x})", self.text())
            }
            Self::UnknownAuthCode(code) | Self::UnknownCode(code) => {
                write!(f, "{} ({code})", self.text())
            }
            Self::NoProtocol
            | Self::NotAProtocol
            | Self::Oversized
            | Self::BadLength
            | Self::BadOptionLength
            | Self::Malformed
            | Self::StaleIdentifier
            | Self::SecondAnswer
            | Self::NotOurOptions
            | Self::OutOfState
            | Self::LinkDown
            | Self::OtherMethod
            | Self::OwnMagic
            | Self::TooManyIdents => f.write_str(self.text()),
        }
    }
}
