//! What the machine wants done, and what it has to say.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crypto::Secret;
use crypto::cipher::Algorithm;
use crypto::dh::Job;
use crypto::esp::{Keymat, Suite};

use crate::Refusal;
use crate::message::{Cookie, Cookies, Spi};
use crate::nat::NatSituation;
use crate::payload::identification::{Identification, Identity};
use crate::policy::Phase1Proposal;
pub use crate::proposal::{Refused, WhyRefused};

/// One thing for the owner to do or to know, in order.
#[derive(Debug)]
pub enum Output {
    /// A message. Whoever sends it puts the non-ESP marker before it if `local` is not port 500.
    Send {
        /// Our end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
        /// The ISAKMP message.
        message: Vec<u8>,
    },
    /// The single byte 0xFF that keeps a NAT's mapping alive (RFC 3948 §2.3).
    Keepalive {
        /// Our end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
    },
    /// Public-key work. Its outcome comes back with the token; a token that is not waited for any
    /// more is ignored.
    Compute {
        /// Names the answer.
        token: u64,
        /// The work.
        job: Job,
    },
    /// Phase 1 is complete and the peer has proved that it knows the key.
    Established(Box<Established>),
    /// An IPsec SA pair exists. As responder of a quick mode this comes before the `Send` that
    /// tells the peer our SPI, and only inbound packets are due until `ChildConfirmed`.
    ChildUp(Box<Child>),
    /// The peer has shown that it has the pair too, or has had time enough to: outbound packets may
    /// use it.
    ChildConfirmed {
        /// Names the pair.
        inbound: Spi,
    },
    /// A quick mode that we started came to nothing; the SPI is free again.
    ChildFailed {
        /// The SPI that had been reserved.
        inbound: Option<Spi>,
        /// Why.
        reason: ChildEnd,
    },
    /// An IPsec SA pair is no more. Once for each `ChildUp`.
    ChildDown {
        /// Names the pair.
        inbound: Spi,
        /// Why.
        reason: ChildEnd,
    },
    /// An authentic message came from elsewhere: this is where the peer is.
    RemoteMoved {
        /// Our end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
    },
    /// The peer says that it knows of no other SA with us (RFC 2407 §4.6.3.3).
    InitialContact,
    /// No offered transform was acceptable; this says for each one why.
    ProposalRefused(Vec<Refused>),
    /// The lifetime runs out soon: time for a new main mode.
    RenewalDue,
    /// Keys for decoding a capture.
    KeysForLog(KeyLog),
    /// The ISAKMP SA is no more. Once, and nothing but the ends of surviving children follows.
    Down {
        /// Why.
        reason: DownReason,
    },
}

/// What phase 1 came to.
#[derive(Clone, Debug)]
pub struct Established {
    /// Who the peer has proved to be.
    pub identity: Identity,
    /// Who the NATs are in front of.
    pub nat: NatSituation,
    /// Names the ISAKMP SA.
    pub cookies: Cookies,
    /// What was negotiated.
    pub suite: Phase1Proposal,
    /// How long the SA may live.
    pub lifetime: Duration,
    /// Whether both ends speak DPD.
    pub dpd: bool,
    /// Transforms that were offered before the chosen one and not taken.
    pub refused: Vec<Refused>,
}

/// One IPsec SA pair.
#[derive(Clone, Debug)]
pub struct Child {
    /// Names packets to us.
    pub inbound: Spi,
    /// Names packets to the peer.
    pub outbound: Spi,
    /// The algorithms.
    pub suite: Suite,
    /// Extended sequence numbers (RFC 4304).
    pub esn: bool,
    /// Keys for packets to us.
    pub inbound_keys: Keymat,
    /// Keys for packets to the peer.
    pub outbound_keys: Keymat,
    /// In UDP, on the port pair of the ISAKMP SA.
    pub encapsulated: bool,
    /// When it has to be renewed.
    pub lifetime: Lifetime,
    /// Whether we started the quick mode.
    pub initiator: bool,
    /// The pair that this one takes over from.
    pub replaces: Option<Spi>,
    /// Our end of the traffic.
    pub local: Identification,
    /// The peer's end of the traffic.
    pub remote: Identification,
    /// The address that the peer believes it has (NAT-OA).
    pub remote_original: Option<IpAddr>,
    /// The address that the peer believes we have (NAT-OA).
    pub local_original: Option<IpAddr>,
}

/// How much an IPsec SA pair may carry and how long it may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Limit in time.
    pub seconds: u32,
    /// Limit in kilobytes, if there is one.
    pub kilobytes: Option<u32>,
}

/// Why an IPsec SA pair ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChildEnd {
    /// The peer sent a DELETE.
    PeerDeleted,
    /// Its time was over.
    Expired,
    /// A newer pair took its place, and we sent a DELETE.
    Superseded,
    /// The owner asked for it.
    Closed,
    /// The quick mode was not completed in time.
    NotConfirmed,
    /// The peer did not answer.
    PeerDead,
    /// The peer refused the proposal.
    Refused,
    /// No SPI was left, or too many exchanges were under way.
    NoRoom,
    /// The ISAKMP SA ended before the quick mode did.
    NoPhase1,
}

impl ChildEnd {
    /// One line for an operator.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::PeerDeleted => "deleted by the peer",
            Self::Expired => "lifetime over",
            Self::Superseded => "replaced by a newer one",
            Self::Closed => "closed here",
            Self::NotConfirmed => "quick mode was not completed",
            Self::PeerDead => "peer does not answer",
            Self::Refused => "peer refused the proposal",
            Self::NoRoom => "no SPI or exchange left",
            Self::NoPhase1 => "ISAKMP SA ended first",
        }
    }
}

impl fmt::Display for ChildEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Why an ISAKMP SA ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DownReason {
    /// Main mode was not complete within the limit.
    SetupTimeout {
        /// What was waited for.
        waiting_for: &'static str,
        /// A notification that came in clear and may explain it.
        complaint: Option<u16>,
        /// Why the last message that was dropped was dropped.
        refused: Option<Refusal>,
    },
    /// A request of ours was sent as often as allowed, without an answer.
    Unanswered {
        /// What was waited for.
        waiting_for: &'static str,
        /// A notification that came in clear and may explain it.
        complaint: Option<u16>,
        /// Why the last message that was dropped was dropped.
        refused: Option<Refusal>,
    },
    /// Nothing that the peer offered was acceptable.
    ProposalRefused,
    /// No pre-shared key is configured for the peer's address.
    NoPreSharedKey,
    /// The peer's public value was not acceptable.
    BadPublicValue,
    /// The peer sent a DELETE.
    PeerDeleted,
    /// The peer did not answer DPD.
    PeerDead,
    /// Its time was over.
    Expired,
    /// The owner asked for it.
    Closed,
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::SetupTimeout {
                waiting_for,
                complaint,
                refused,
            } => {
                write!(f, "main mode took too long, waiting for {waiting_for}")?;
                return write_hints(f, *complaint, *refused);
            }
            Self::Unanswered {
                waiting_for,
                complaint,
                refused,
            } => {
                write!(f, "no answer, waiting for {waiting_for}")?;
                return write_hints(f, *complaint, *refused);
            }
            Self::ProposalRefused => "no offered transform is acceptable",
            Self::NoPreSharedKey => "no pre-shared key for the peer's address",
            Self::BadPublicValue => "public value is not acceptable for its group",
            Self::PeerDeleted => "deleted by the peer",
            Self::PeerDead => "peer does not answer",
            Self::Expired => "lifetime over",
            Self::Closed => "closed here",
        };
        f.write_str(text)
    }
}

fn write_hints(
    f: &mut fmt::Formatter<'_>,
    complaint: Option<u16>,
    refused: Option<Refusal>,
) -> fmt::Result {
    if let Some(kind) = complaint {
        let name = crate::payload::notification::name(kind);
        write!(f, " (peer said {})", name.unwrap_or("something unknown"))?;
    }
    let clear = Refusal::UnauthenticatedNotification;
    match refused.filter(|refused| *refused != clear) {
        Some(refused) => write!(f, " (dropped: {refused})"),
        None => Ok(()),
    }
}

/// What Wireshark needs to decrypt IKEv1.
#[derive(Clone)]
pub struct KeyLog {
    /// Names the ISAKMP SA.
    pub initiator_cookie: Cookie,
    /// The cipher.
    pub cipher: Algorithm,
    /// Its key, expanded (RFC 2409 appendix B).
    pub key: Secret,
    /// Authenticates what follows phase 1.
    pub skeyid_a: Secret,
}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyLog({}, {:?}, …)", self.initiator_cookie, self.cipher)
    }
}
