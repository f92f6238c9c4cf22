//! What is offered, what is chosen from an offer, and why the rest was refused.
//!
//! A responder goes through its own list in order of preference and takes the first transform that
//! fits; among transforms that fit the same entry the peer's order decides. What it takes goes back
//! byte for byte (RFC 2409 §5).

use std::fmt;

use crate::payload::attribute::Value;

pub mod phase1;
pub mod phase2;

/// The most refused transforms that are listed: the list is for a person.
pub const LISTED_MAX: usize = 64;

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
    /// The policy does not have it, or not in this combination.
    NotInPolicy(Foreign),
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
    /// A lifetime below [`LIFE_SECONDS_MIN`] or [`LIFE_KILOBYTES_MIN`].
    LifeShort,
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
            Self::NotInPolicy(foreign) => foreign.text(),
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
            Self::LifeShort => "lifetime too short",
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

/// What of an offer occurs nowhere in the policy; nothing, if only the combination does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Foreign {
    /// The cipher, with its key length.
    pub cipher: bool,
    /// The hash.
    pub hash: bool,
    /// The group.
    pub group: bool,
}

impl Foreign {
    fn text(self) -> &'static str {
        match (self.cipher, self.hash, self.group) {
            (false, false, false) => "combination not in the policy",
            (true, false, false) => "cipher not in the policy",
            (false, true, false) => "hash not in the policy",
            (false, false, true) => "group not in the policy",
            (true, true, false) => "cipher and hash not in the policy",
            (true, false, true) => "cipher and group not in the policy",
            (false, true, true) => "hash and group not in the policy",
            (true, true, true) => "cipher, hash and group not in the policy",
        }
    }
}

impl fmt::Display for WhyRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// RFC 2407 §4.5: the lifetime when none is offered.
const DEFAULT_LIFE_SECONDS: u64 = 28_800;

/// The shortest lifetime in seconds that is taken, in either phase: somebody has to renew what is
/// agreed on, and who asks for less wants to keep us busy.
pub const LIFE_SECONDS_MIN: u64 = 10;
/// The shortest lifetime in kilobytes that is taken.
pub const LIFE_KILOBYTES_MIN: u64 = 1000;

const LIFE_SECONDS: u16 = 1;
const LIFE_KILOBYTES: u16 = 2;

/// The pairs of life type and life duration of one transform.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    kind: Option<u16>,
    seconds: Option<u64>,
    kilobytes: Option<u64>,
}

impl Life {
    /// Zero, which some send for no limit, is as good as nothing said.
    fn seconds(&self) -> u64 {
        self.seconds
            .filter(|&seconds| seconds != 0)
            .unwrap_or(DEFAULT_LIFE_SECONDS)
    }

    fn kilobytes(&self) -> Option<u64> {
        self.kilobytes.filter(|&kilobytes| kilobytes != 0)
    }

    /// Whether it is worth the work of setting it up.
    fn check(&self) -> Result<(), WhyRefused> {
        let is_short = self.seconds() < LIFE_SECONDS_MIN
            || self
                .kilobytes()
                .is_some_and(|life| life < LIFE_KILOBYTES_MIN);
        match is_short {
            true => Err(WhyRefused::LifeShort),
            false => Ok(()),
        }
    }

    fn set_kind(&mut self, value: Value<'_>) -> Result<(), WhyRefused> {
        self.kind = Some(value.short().ok_or(WhyRefused::LifeType)?);
        Ok(())
    }

    fn set_duration(&mut self, value: Value<'_>) -> Result<(), WhyRefused> {
        // RFC 2407 §4.5: a duration belongs to the type right before it.
        match self.kind.take() {
            Some(LIFE_SECONDS) => once(&mut self.seconds, value.number()),
            Some(LIFE_KILOBYTES) => once(&mut self.kilobytes, value.number()),
            Some(_) | None => Err(WhyRefused::LifeType),
        }
    }
}

/// RFC 2407 §4.5.2: an attribute may be repeated, but not with another value.
fn once<T: PartialEq>(slot: &mut Option<T>, value: T) -> Result<(), WhyRefused> {
    match slot {
        Some(known) if *known != value => Err(WhyRefused::AttributeConflict),
        Some(_) => Ok(()),
        None => {
            *slot = Some(value);
            Ok(())
        }
    }
}

/// The same for attributes that have to be in short form.
fn short_once(slot: &mut Option<u16>, value: Value<'_>) -> Result<(), WhyRefused> {
    once(slot, value.short().ok_or(WhyRefused::AttributeUnsupported)?)
}
