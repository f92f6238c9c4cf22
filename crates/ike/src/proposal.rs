//! What is offered, what is chosen from an offer, and why the rest was refused.
//!
//! A responder goes through its own list in order of preference and takes the first transform that
//! fits; among transforms that fit the same entry the peer's order decides. What it takes goes back
//! byte for byte (RFC 2409 §5).

use std::fmt;

pub mod phase1;

/// A transform that was offered and not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Number of its proposal.
    pub proposal: u8,
    /// Its number.
    pub transform: u8,
    /// What it was, as `3DES/SHA1/MODP1024`.
    pub offered: String,
    /// Why it was not taken.
    pub why: WhyRefused,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{} {}: {}",
            self.proposal, self.transform, self.offered, self.why
        )
    }
}

/// Why a transform was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhyRefused {
    /// Another one was preferred.
    NotPreferred,
    /// The combination is not in the policy.
    NotInPolicy,
    /// The protocol is not ISAKMP or ESP.
    Protocol,
    /// The proposal asks for several protocols at once.
    Bundle,
    /// The SPI is missing, too long or reserved.
    Spi,
    /// The transform ID is not known.
    TransformId,
    /// The cipher is not known or never taken.
    Cipher,
    /// The cipher needs a key length and has none.
    KeyLengthMissing,
    /// A key length that the cipher does not have.
    KeyLength,
    /// The hash is not known or never taken.
    Hash,
    /// The group is not known or never taken.
    Group,
    /// Something other than a pre-shared key.
    AuthenticationMethod,
    /// No encryption, hash, authentication method or group.
    AttributeMissing,
    /// The same attribute twice with different values.
    AttributeConflict,
    /// An attribute that is not known or not supported.
    AttributeUnsupported,
    /// Life duration without life type, or of an unknown type.
    LifeType,
    /// ESP without encryption.
    NoEncryption,
    /// ESP without integrity.
    NoIntegrity,
    /// An ICV shorter than 16 bytes.
    ShortIcv,
    /// Tunnel mode.
    TunnelMode,
    /// Encapsulation that does not fit the NATs between us.
    Encapsulation,
    /// The group of the key exchange differs, or is not accepted.
    PfsGroup,
    /// Extended sequence numbers are off.
    Esn,
}

impl WhyRefused {
    /// One line for an operator.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NotPreferred => "another one was preferred",
            Self::NotInPolicy => "not in the policy",
            Self::Protocol => "protocol not supported",
            Self::Bundle => "asks for several protocols at once",
            Self::Spi => "SPI missing, of wrong length or reserved",
            Self::TransformId => "transform not supported",
            Self::Cipher => "cipher not supported",
            Self::KeyLengthMissing => "key length missing",
            Self::KeyLength => "key length does not fit the cipher",
            Self::Hash => "hash not supported",
            Self::Group => "group not supported",
            Self::AuthenticationMethod => "authentication method is not pre-shared key",
            Self::AttributeMissing => "an attribute that is needed is missing",
            Self::AttributeConflict => "one attribute has two values",
            Self::AttributeUnsupported => "attribute not supported",
            Self::LifeType => "life duration without a known life type",
            Self::NoEncryption => "no encryption",
            Self::NoIntegrity => "no integrity",
            Self::ShortIcv => "ICV too short",
            Self::TunnelMode => "tunnel mode",
            Self::Encapsulation => "encapsulation does not fit the NATs between us",
            Self::PfsGroup => "group for perfect forward secrecy not acceptable",
            Self::Esn => "extended sequence numbers are off",
        }
    }
}

impl fmt::Display for WhyRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
