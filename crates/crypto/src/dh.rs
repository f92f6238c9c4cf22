//! Diffie-Hellman: the groups of IKE, and the job that does the work elsewhere.
//!
//! One exponentiation costs as much as a thousand packets, so the protocol thread never does one:
//! it emits a [`Job`] with everything in it, random bytes included, and gets an [`Outcome`] back.
//!
//! ```text
//!   initiator                          responder
//!   Generate ──► public ─────────────► Exchange ──► public, shared
//!   Agree  ◄──────────────────── public
//!     └──► shared
//! ```

mod ecp;
mod modp;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, Zeroizing};

use crate::{Random, Secret};

/// A Diffie-Hellman group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// Group 2, RFC 2409 §6.2.
    Modp1024,
    /// Group 5, RFC 3526 §2.
    Modp1536,
    /// Group 14, RFC 3526 §3.
    Modp2048,
    /// Group 15, RFC 3526 §4.
    Modp3072,
    /// Group 16, RFC 3526 §5.
    Modp4096,
    /// Group 19, RFC 5903 §3.1.
    Ecp256,
    /// Group 20, RFC 5903 §3.2.
    Ecp384,
    /// 64 bits, for the simulation only: it protects nothing, has no number on the wire, and no
    /// name that a configuration could give.
    Toy,
}

impl Group {
    /// The groups that two gateways can agree on, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Modp1024,
        Self::Modp1536,
        Self::Modp2048,
        Self::Modp3072,
        Self::Modp4096,
        Self::Ecp256,
        Self::Ecp384,
    ];

    /// Length of a public value in bytes, always the same.
    #[must_use]
    pub fn public_len(self) -> usize {
        match self {
            Self::Modp1024 => 128,
            Self::Modp1536 => 192,
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
            Self::Ecp256 => 64,
            Self::Ecp384 => 96,
            Self::Toy => 8,
        }
    }

    /// Length of the shared secret in bytes, always the same.
    #[must_use]
    pub fn secret_len(self) -> usize {
        match self {
            Self::Ecp256 | Self::Ecp384 => self.public_len() / 2,
            Self::Modp1024
            | Self::Modp1536
            | Self::Modp2048
            | Self::Modp3072
            | Self::Modp4096
            | Self::Toy => self.public_len(),
        }
    }

    fn arithmetic(self) -> &'static dyn Arithmetic {
        match self {
            Self::Modp1024 => &*modp::MODP_1024,
            Self::Modp1536 => &*modp::MODP_1536,
            Self::Modp2048 => &*modp::MODP_2048,
            Self::Modp3072 => &*modp::MODP_3072,
            Self::Modp4096 => &*modp::MODP_4096,
            Self::Ecp256 => &ecp::ECP_256,
            Self::Ecp384 => &ecp::ECP_384,
            Self::Toy => &*modp::TOY,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Modp1024 => "modp1024",
            Self::Modp1536 => "modp1536",
            Self::Modp2048 => "modp2048",
            Self::Modp3072 => "modp3072",
            Self::Modp4096 => "modp4096",
            Self::Ecp256 => "ecp256",
            Self::Ecp384 => "ecp384",
            Self::Toy => "toy",
        })
    }
}

/// No group has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownGroup;

impl fmt::Display for UnknownGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such Diffie-Hellman group; examples are modp2048 and ecp256")
    }
}

impl std::error::Error for UnknownGroup {}

impl FromStr for Group {
    type Err = UnknownGroup;

    fn from_str(name: &str) -> Result<Self, UnknownGroup> {
        Self::ALL
            .into_iter()
            .find(|group| group.to_string() == name)
            .ok_or(UnknownGroup)
    }
}

/// What a kind of group has to be able to do.
trait Arithmetic: Sync {
    /// Cuts a private value from random bytes.
    fn private(&self, random: &[u8; 64]) -> Secret;
    /// The public value of a private one.
    fn public(&self, private: &Secret) -> Vec<u8>;
    /// The shared secret, if the peer's value is one of the group's.
    fn agree(&self, private: &Secret, peer: &[u8]) -> Result<Secret, BadPublicValue>;
}

/// The peer's public value has the wrong length, is out of range, or is no point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPublicValue;

impl fmt::Display for BadPublicValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer's Diffie-Hellman value is not one of the group's")
    }
}

impl std::error::Error for BadPublicValue {}

/// A private value and the public one that goes with it.
#[derive(Clone)]
pub struct KeyPair {
    group: Group,
    private: Secret,
    public: Vec<u8>,
}

impl KeyPair {
    /// Makes a key pair out of random bytes; the same bytes make the same pair.
    #[must_use]
    pub fn generate(group: Group, random: &[u8; 64]) -> Self {
        let private = group.arithmetic().private(random);
        let public = group.arithmetic().public(&private);
        Self {
            group,
            private,
            public,
        }
    }

    /// A key pair of chance.
    #[must_use]
    pub fn draw(group: Group, random: &mut Random) -> Self {
        Self::generate(group, &Zeroizing::new(random.array()))
    }

    /// The group it is of.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// The public value as it stands in a KE payload.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The secret shared with whoever has the private value of `peer`.
    ///
    /// # Errors
    /// If `peer` is not one of the group's public values.
    pub fn agree(&self, peer: &[u8]) -> Result<Secret, BadPublicValue> {
        self.group.arithmetic().agree(&self.private, peer)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({}, …)", self.group)
    }
}

/// What the slow path hands to the compute pool.
#[derive(Clone)]
pub enum Job {
    /// The initiator's first half.
    Generate {
        /// The group.
        group: Group,
        /// What the private value is cut from.
        random: [u8; 64],
    },
    /// The initiator's second half.
    Agree {
        /// Of the first half.
        pair: KeyPair,
        /// The peer's public value.
        peer: Vec<u8>,
    },
    /// Both at once, for the responder.
    Exchange {
        /// The group.
        group: Group,
        /// What the private value is cut from.
        random: [u8; 64],
        /// The peer's public value.
        peer: Vec<u8>,
    },
}

/// What the compute pool hands back.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Of [`Job::Generate`].
    Generated(KeyPair),
    /// Of [`Job::Agree`].
    Agreed(Secret),
    /// Of [`Job::Exchange`].
    Exchanged {
        /// Our public value.
        public: Vec<u8>,
        /// The shared secret.
        shared: Secret,
    },
    /// The peer's public value cannot be used.
    BadPublicValue,
}

impl Job {
    /// Does the work: some hundred microseconds, more for the larger groups.
    #[must_use]
    pub fn run(self) -> Outcome {
        self.run_with(|_| None)
    }

    /// Does the work, with a key pair that was made beforehand if `ready` has one. It must not give
    /// a pair twice: whoever learns one private value would open every exchange that has it.
    #[must_use]
    pub fn run_with(self, ready: impl FnOnce(Group) -> Option<KeyPair>) -> Outcome {
        let pair_of = |group: Group, mut random: [u8; 64]| {
            let pair = ready(group).unwrap_or_else(|| KeyPair::generate(group, &random));
            random.zeroize();
            pair
        };
        match self {
            Self::Generate { group, random } => Outcome::Generated(pair_of(group, random)),
            Self::Agree { pair, peer } => pair
                .agree(&peer)
                .map_or(Outcome::BadPublicValue, Outcome::Agreed),
            Self::Exchange {
                group,
                random,
                peer,
            } => {
                let pair = pair_of(group, random);
                match pair.agree(&peer) {
                    Ok(shared) => Outcome::Exchanged {
                        public: pair.public,
                        shared,
                    },
                    Err(BadPublicValue) => Outcome::BadPublicValue,
                }
            }
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generate { group, .. } => write!(f, "Generate({group})"),
            Self::Agree { pair, .. } => write!(f, "Agree({})", pair.group),
            Self::Exchange { group, .. } => write!(f, "Exchange({group})"),
        }
    }
}
