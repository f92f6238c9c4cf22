//! What a link asks of the one who drives it, and what it is told in return.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::{Credentials, Method, Name, Refusal};

/// The phases of RFC 1661 §3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not opened yet, or down for good.
    Dead,
    /// LCP is being negotiated.
    Establish,
    /// LCP is open; it isn't settled yet who the peer is.
    Authenticate,
    /// Network protocols are negotiated or open.
    Network,
    /// The link is being taken down.
    Terminate,
}

/// What a link wants done, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// A complete PPP frame for the peer: `FF 03`, two octets of protocol, packet.
    Send(Vec<u8>),
    /// LCP is open.
    LcpUp(Negotiated),
    /// Server: look these up and call [`crate::Link::authorize`]. Comes again when the peer starts
    /// LCP anew or tries another password.
    Authenticate(Credentials),
    /// Authentication failed; [`Output::Down`] follows, unless the peer may try again.
    AuthRefused {
        /// Who the peer (or, as client, we) claimed to be.
        user: Name,
        /// How.
        method: Method,
        /// What the side that refused said about it.
        message: String,
    },
    /// IPCP is open, or about to be: a server's `Up` precedes the first frame with our Configure-Ack,
    /// even if the peer's is still to come, so that whoever installs the addresses can do so before
    /// the peer may use them.
    Up(Addresses),
    /// IPCP has left Opened: no IP until the next `Up`. Every `Up` is taken back by one of these,
    /// before `Down` at the latest.
    NetworkDown,
    /// The peer's LCP Identification (RFC 1570 §1.1), at most [`crate::MAX_IDENTS`] per link.
    Ident(String),
    /// The peer's LCP Time-Remaining (RFC 1570 §1.2).
    TimeRemaining {
        /// What it says remains; `None` stands for "for ever".
        remaining: Option<Duration>,
        /// Why.
        message: String,
    },
    /// An Echo-Request was answered after this long.
    EchoRtt(Duration),
    /// A frame was dropped, and why. The link goes on.
    Discarded(Refusal),
    /// The link is over. Exactly once, and last.
    Down(DownReason),
}

/// What LCP agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The longest packet the peer wants to receive.
    pub peer_mru: u16,
    /// The longest packet the peer has been told to send.
    pub own_mru: u16,
    /// Protocols may be sent to the peer in one octet.
    pub pfc: bool,
    /// Frames may be sent to the peer without `FF 03`.
    pub acfc: bool,
    /// How the authenticating side is to be shown who is there.
    pub auth: Option<Method>,
}

/// What IPCP agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// This end; unspecified when the peer refused to hear of it.
    pub own: Ipv4Addr,
    /// The other end; unspecified when a server did not name its own.
    pub peer: Ipv4Addr,
    /// Name servers: as server what was granted, as client what was learnt.
    pub dns: Vec<Ipv4Addr>,
    /// NetBIOS name servers, likewise.
    pub wins: Vec<Ipv4Addr>,
}

/// The answer to [`Output::Authenticate`].
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The peer is who it claims to be.
    Accept(Grant),
    /// It isn't, or may not come in. The text goes to the peer; a text of the form
    /// `E=… R=… C=… V=… M=…` (RFC 2759 §6, as RADIUS passes it) gives error code and message.
    Reject {
        /// For the peer.
        message: String,
    },
}

/// What an accepted peer is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The subscriber's address.
    pub peer_address: Ipv4Addr,
    /// Our end of the link.
    pub own_address: Ipv4Addr,
    /// At most two are used.
    pub dns: Vec<Ipv4Addr>,
    /// At most two are used.
    pub wins: Vec<Ipv4Addr>,
    /// MS-CHAPv2: `S=` and 40 hexadecimal digits, our proof to the peer.
    pub authenticator_response: Option<String>,
}

/// Why a link is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// An operator wanted it.
    Cleared,
    /// We are shutting down.
    Shutdown,
    /// The subscriber's time was up.
    SessionTimeout,
    /// The subscriber was idle for too long.
    IdleTimeout,
    /// What carried the link is gone.
    LowerLayerDown,
    /// The peer sent a Terminate-Request.
    PeerTerminated {
        /// The peer's reason, as far as it is text.
        message: String,
    },
    /// Max-Configure requests went unanswered.
    NoAnswer,
    /// The link was not up within the negotiation limit.
    NegotiationLimit,
    /// The peer starts negotiation anew again and again.
    TooManyRenegotiations,
    /// The peer refused every method of authentication that is allowed.
    NoCommonMethod,
    /// A password was wrong, or a subscriber not welcome.
    AuthenticationFailed {
        /// What the refusing side said.
        message: String,
    },
    /// Challenges or requests went unanswered.
    AuthenticationTimeout,
    /// MS-CHAPv2: the server could not prove that it knows the password (RFC 2759 §5).
    ServerNotAuthentic,
    /// We hear ourselves (RFC 1661 §6.4).
    Loopback,
    /// Echo-Requests went unanswered.
    EchoTimeout,
    /// The peer ended IPCP, and there is no other network protocol.
    NetworkClosed,
    /// IPCP went unanswered, or never came to terms.
    NoNetwork,
    /// IPCP is open, but this end has no address.
    NoAddress,
    /// The peer refused a protocol that the link can't do without.
    ProtocolRejected(u16),
    /// The peer refused an LCP code that the link can't do without.
    CodeRejected(u8),
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cleared => f.write_str("cleared by the operator"),
            Self::Shutdown => f.write_str("the gateway shuts down"),
            Self::SessionTimeout => f.write_str("session time is up"),
            Self::IdleTimeout => f.write_str("idle for too long"),
            Self::LowerLayerDown => f.write_str("the tunnel or call below is gone"),
            Self::PeerTerminated { message } if message.is_empty() => {
                f.write_str("the peer hung up")
            }
            Self::PeerTerminated { message } => write!(f, "the peer hung up: {message}"),
            Self::NoAnswer => f.write_str("the peer does not answer Configure-Requests"),
            Self::NegotiationLimit => f.write_str("negotiation took too long"),
            Self::TooManyRenegotiations => f.write_str("the peer renegotiates without end"),
            Self::NoCommonMethod => {
                f.write_str("the peer refuses every allowed method of authentication")
            }
            Self::AuthenticationFailed { message } if message.is_empty() => {
                f.write_str("authentication failed")
            }
            Self::AuthenticationFailed { message } => {
                write!(f, "authentication failed: {message}")
            }
            Self::AuthenticationTimeout => f.write_str("authentication went unanswered"),
            Self::ServerNotAuthentic => f.write_str("the server does not know the password"),
            Self::Loopback => f.write_str("the line is looped back"),
            Self::EchoTimeout => f.write_str("LCP echo went unanswered"),
            Self::NetworkClosed => f.write_str("the peer ended IPCP"),
            Self::NoNetwork => f.write_str("the peer does not answer IPCP"),
            Self::NoAddress => f.write_str("no address was assigned"),
            Self::ProtocolRejected(protocol) => {
                write!(f, "the peer rejects protocol {protocol:#06x}")
            }
            Self::CodeRejected(code) => write!(f, "the peer rejects LCP code {code}"),
        }
    }
}
