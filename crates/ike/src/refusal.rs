//! What a peer did that made a message worthless, and the notify type that says so to the peer.

use std::fmt;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// A message that was dropped, named by what the peer did.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Refusal {
            $(#[doc = $text] $name,)+
        }

        impl Refusal {
            /// Every refusal there is, for counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// One line for an operator.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

refusals! {
    Truncated = "message shorter than its header or payloads say",
    LengthMismatch = "length in the ISAKMP header differs from the datagram",
    TooLong = "message longer than is accepted",
    UnknownVersion = "ISAKMP version other than 1.0",
    UndefinedFlags = "undefined flag bits set",
    UnknownExchange = "exchange type is not known",
    AggressiveMode = "aggressive mode is not accepted",
    ForeignCookies = "cookies of another ISAKMP SA",
    ResponderCookieSet = "first message with a responder cookie",
    CookieMissing = "cookie is zero",
    MessageIdSet = "message ID set in phase 1",
    MessageIdMissing = "message ID zero outside phase 1",
    UnknownPayload = "payload type is not known",
    ReservedNotZero = "reserved field is not zero",
    PayloadTooShort = "payload length below its minimum",
    PayloadOverrun = "payload runs past the end of the message",
    TooManyPayloads = "more payloads than are accepted",
    PayloadMissing = "a payload that the exchange needs is missing",
    PayloadRepeated = "a payload that may come once came again",
    PayloadOrder = "payloads in an order that the exchange forbids",
    UnknownDoi = "domain of interpretation other than IPsec",
    UnknownSituation = "situation other than identity only",
    SeveralProposals = "phase 1 with more than one proposal",
    TooManyTransforms = "more transforms than are accepted",
    BadProposal = "proposal payload is malformed",
    BadTransform = "transform payload is malformed",
    BadSpiSize = "SPI size does not fit the protocol",
    BadIdentification = "identification payload is malformed",
    BadIdPort = "phase 1 identification with a port or protocol that RFC 2407 forbids",
    IdRefused = "client identification does not fit the policy",
    ProposalRefused = "none of the offered transforms is acceptable",
    ProposalNotOffered = "answered with a transform that was not offered",
    PfsRequired = "quick mode without key exchange, but policy requires PFS",
    GroupMismatch = "key exchange does not fit the offered group",
    BadKeyLength = "public value has the wrong length for its group",
    BadPublicValue = "public value is not acceptable for its group",
    NonceLength = "nonce shorter than 8 or longer than 256 bytes",
    BadNatAddress = "NAT-OA payload is malformed",
    BadDelete = "delete payload is malformed",
    BadNotification = "notification payload is malformed",
    NotEncrypted = "clear message where an encrypted one is due",
    Encrypted = "encrypted message before there are keys",
    NotWholeBlocks = "encrypted part is not a whole number of blocks",
    NotAuthentic = "message does not decrypt or its HASH is wrong",
    WrongPreSharedKey = "message 5 or 6 does not open: the pre-shared keys differ",
    ProofRefused = "encrypted notification instead of message 6: the pre-shared keys probably differ",
    IdentityRefused = "the peer's identity is not the one that its key is for",
    NoPreSharedKey = "no pre-shared key is configured for the peer's address",
    Unexpected = "message that the exchange does not wait for",
    Duplicate = "copy of a message that needs no further answer",
    TooManyAttempts = "more different key exchanges in one main mode than are tried",
    TooManyCopies = "copies of a message beyond the number that is answered",
    OldPort = "main mode message on port 500 after the move to 4500",
    WrongSequence = "DPD sequence number out of order",
    UnknownSpi = "delete or notification for an SPI that is not there",
    UnknownNotification = "notification that means nothing here",
    UnauthenticatedNotification = "notification in clear: not acted on",
    InitialContactRepeated = "INITIAL-CONTACT after the first is not acted on",
    TooManyChildren = "more IPsec SAs than one peer may have",
    TooManyExchanges = "more exchanges at once than one peer may have",
    NoSpiLeft = "no SPI left for another IPsec SA",
    BadFragment = "IKE fragment is malformed",
    TooManyFragments = "IKE fragments beyond the number or size accepted",
    FragmentStored = "IKE fragment stored until the rest has come",
    Finished = "the ISAKMP SA has ended",
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Refusal {}
