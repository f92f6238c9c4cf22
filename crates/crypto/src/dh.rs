//! Diffie-Hellman.

use crate::Secret;

/// A group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// RFC 2409 §6.2, group 2.
    Modp1024,
    /// RFC 3526 §2, group 5.
    Modp1536,
    /// RFC 3526 §3, group 14.
    Modp2048,
    /// RFC 3526 §4, group 15.
    Modp3072,
    /// RFC 3526 §5, group 16.
    Modp4096,
    /// RFC 5903 §3.1, group 19.
    Ecp256,
    /// RFC 5903 §3.2, group 20.
    Ecp384,
    /// A 64-bit group for simulation: protects nothing.
    Toy,
}

impl Group {
    /// Length of a public value in bytes.
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

    /// Length of the shared secret in bytes.
    #[must_use]
    pub fn secret_len(self) -> usize {
        match self {
            Self::Ecp256 => 32,
            Self::Ecp384 => 48,
            _ => self.public_len(),
        }
    }
}

/// A private value and the public one that goes with it.
#[derive(Clone, Debug)]
pub struct KeyPair {
    group: Group,
    public: Vec<u8>,
}

/// The peer's public value is not one of the group's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPublicValue;

impl KeyPair {
    /// Makes a key pair out of random bytes.
    #[must_use]
    pub fn generate(group: Group, random: &[u8; 64]) -> Self {
        let _ = random;
        Self {
            group,
            public: vec![0; group.public_len()],
        }
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// The public value, as it goes on the wire.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The shared secret.
    pub fn agree(&self, peer: &[u8]) -> Result<Secret, BadPublicValue> {
        let _ = peer;
        Ok(Secret::new(vec![0; self.group.secret_len()]))
    }
}

/// What the slow path hands to the compute pool.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Job {
    Generate {
        group: Group,
        random: [u8; 64],
    },
    Agree {
        pair: KeyPair,
        peer: Vec<u8>,
    },
    Exchange {
        group: Group,
        random: [u8; 64],
        peer: Vec<u8>,
    },
}

/// What comes back.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Outcome {
    Generated(KeyPair),
    Agreed(Secret),
    Exchanged { public: Vec<u8>, shared: Secret },
    BadPublicValue,
}

impl Job {
    /// Does the work.
    #[must_use]
    pub fn run(self) -> Outcome {
        match self {
            Self::Generate { group, random } => {
                Outcome::Generated(KeyPair::generate(group, &random))
            }
            Self::Agree { pair, peer } => pair
                .agree(&peer)
                .map_or(Outcome::BadPublicValue, Outcome::Agreed),
            Self::Exchange {
                group,
                random,
                peer,
            } => {
                let pair = KeyPair::generate(group, &random);
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
