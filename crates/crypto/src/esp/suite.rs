//! What two ESP peers can agree on, and the key material an agreement needs.

use std::fmt;
use std::str::FromStr;

use super::HEADER_LEN;
use crate::Secret;
use crate::cipher::Algorithm;

/// How a suite that does not authenticate by itself is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Integrity {
    /// RFC 2404.
    HmacSha1_96,
    /// RFC 4868.
    HmacSha256_128,
    /// RFC 4868.
    HmacSha384_192,
    /// RFC 4868.
    HmacSha512_256,
}

impl Integrity {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::HmacSha1_96,
        Self::HmacSha256_128,
        Self::HmacSha384_192,
        Self::HmacSha512_256,
    ];

    /// Length of the key in bytes: RFC 2404 §3 and RFC 4868 §2.1.1 fix it to the hash's output.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha1_96 => 20,
            Self::HmacSha256_128 => 32,
            Self::HmacSha384_192 => 48,
            Self::HmacSha512_256 => 64,
        }
    }

    /// Length of the ICV in bytes: 96 bits for SHA-1, else half the hash (RFC 4868 §2.3).
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::HmacSha1_96 => 12,
            Self::HmacSha256_128 => 16,
            Self::HmacSha384_192 => 24,
            Self::HmacSha512_256 => 32,
        }
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha1_96 => "sha1",
            Self::HmacSha256_128 => "sha256",
            Self::HmacSha384_192 => "sha384",
            Self::HmacSha512_256 => "sha512",
        })
    }
}

/// Encryption and authentication of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suite {
    /// AES-GCM with a 16-octet ICV (RFC 4106).
    AesGcm16 {
        /// 128, 192 or 256.
        key_bits: u16,
    },
    /// AES-CBC (RFC 3602) and an HMAC.
    AesCbc {
        /// 128, 192 or 256.
        key_bits: u16,
        /// The HMAC.
        integrity: Integrity,
    },
    /// Triple DES in CBC mode (RFC 2451) and an HMAC.
    TripleDesCbc {
        /// The HMAC.
        integrity: Integrity,
    },
}

/// RFC 4106 §4: octets of KEYMAT behind the key, which begin each nonce.
const GCM_SALT_LEN: usize = 4;

impl Suite {
    /// Every suite there is, the ones without separate integrity first.
    pub const ALL: [Self; 19] = all();

    /// Length of the IV in the packet.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        match self {
            Self::AesGcm16 { .. } | Self::TripleDesCbc { .. } => 8,
            Self::AesCbc { .. } => 16,
        }
    }

    /// Length of the ICV at the end of the packet.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::AesGcm16 { .. } => 16,
            Self::AesCbc { integrity, .. } | Self::TripleDesCbc { integrity } => {
                integrity.icv_len()
            }
        }
    }

    /// What payload, padding and trailer together are a multiple of.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            // RFC 4303 §2.4: whatever the cipher, the trailer ends on a 4-octet boundary.
            Self::AesGcm16 { .. } => 4,
            Self::AesCbc { .. } => 16,
            Self::TripleDesCbc { .. } => 8,
        }
    }

    /// Length of the KEYMAT of one SA.
    #[must_use]
    pub const fn keymat_len(self) -> usize {
        self.encryption_key_len() + self.salt_len() + self.integrity_key_len()
    }

    /// The parts of a suite that is CBC and an HMAC; `None` for the one that is neither.
    pub(super) const fn cbc_and_hmac(self) -> Option<(Algorithm, Integrity)> {
        match self {
            Self::AesGcm16 { .. } => None,
            Self::AesCbc {
                key_bits: 128,
                integrity,
            } => Some((Algorithm::Aes128Cbc, integrity)),
            Self::AesCbc {
                key_bits: 192,
                integrity,
            } => Some((Algorithm::Aes192Cbc, integrity)),
            Self::AesCbc { integrity, .. } => Some((Algorithm::Aes256Cbc, integrity)),
            Self::TripleDesCbc { integrity } => Some((Algorithm::TripleDesCbc, integrity)),
        }
    }

    /// Whether a packet of this length, header to ICV, can be the suite's.
    #[inline]
    #[must_use]
    pub const fn is_packet_len(self, len: usize) -> bool {
        let around = HEADER_LEN + self.iv_len() + self.icv_len();
        // RFC 4303 §2.4: at least one block, which holds pad length and next header.
        len > around && (len - around).is_multiple_of(self.block_len())
    }

    pub(super) const fn encryption_key_len(self) -> usize {
        match self {
            Self::AesGcm16 { key_bits } | Self::AesCbc { key_bits, .. } => key_bits as usize / 8,
            Self::TripleDesCbc { .. } => 24,
        }
    }

    const fn salt_len(self) -> usize {
        match self {
            Self::AesGcm16 { .. } => GCM_SALT_LEN,
            Self::AesCbc { .. } | Self::TripleDesCbc { .. } => 0,
        }
    }

    const fn integrity_key_len(self) -> usize {
        match self {
            Self::AesGcm16 { .. } => 0,
            Self::AesCbc { integrity, .. } | Self::TripleDesCbc { integrity } => {
                integrity.key_len()
            }
        }
    }
}

const fn all() -> [Suite; 19] {
    let mut suites = [Suite::AesGcm16 { key_bits: 128 }; 19];
    suites[1] = Suite::AesGcm16 { key_bits: 192 };
    suites[2] = Suite::AesGcm16 { key_bits: 256 };
    let mut i = 0;
    while i < Integrity::ALL.len() {
        let integrity = Integrity::ALL[i];
        suites[3 + i] = Suite::AesCbc {
            key_bits: 128,
            integrity,
        };
        suites[7 + i] = Suite::AesCbc {
            key_bits: 192,
            integrity,
        };
        suites[11 + i] = Suite::AesCbc {
            key_bits: 256,
            integrity,
        };
        suites[15 + i] = Suite::TripleDesCbc { integrity };
        i += 1;
    }
    suites
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AesGcm16 { key_bits } => write!(f, "aes{key_bits}gcm16"),
            Self::AesCbc {
                key_bits,
                integrity,
            } => write!(f, "aes{key_bits}-{integrity}"),
            Self::TripleDesCbc { integrity } => write!(f, "3des-{integrity}"),
        }
    }
}

/// No suite has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownSuite;

impl fmt::Display for UnknownSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such ESP suite; examples are aes128gcm16, aes256-sha1 and 3des-sha1")
    }
}

impl std::error::Error for UnknownSuite {}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(name: &str) -> Result<Self, UnknownSuite> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.to_string() == name)
            .ok_or(UnknownSuite)
    }
}

/// The key material of one SA, in the order in which IKE derives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keymat {
    suite: Suite,
    bytes: Secret,
}

impl Keymat {
    /// Takes exactly [`Suite::keymat_len`] bytes, of a suite that exists.
    #[must_use]
    pub fn new(suite: Suite, bytes: &[u8]) -> Option<Self> {
        (Suite::ALL.contains(&suite) && bytes.len() == suite.keymat_len()).then(|| Self {
            suite,
            bytes: Secret::new(bytes),
        })
    }

    /// The suite it is for.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// RFC 2409 §5.5: the encryption key comes first.
    #[must_use]
    pub fn encryption_key(&self) -> &[u8] {
        &self.bytes.expose()[..self.suite.encryption_key_len()]
    }

    /// RFC 4106 §8.1: the four octets after the AES key are the salt. Empty for other suites.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.bytes.expose()[self.suite.encryption_key_len()..][..self.suite.salt_len()]
    }

    /// The integrity key comes last. Empty for GCM.
    #[must_use]
    pub fn integrity_key(&self) -> &[u8] {
        &self.bytes.expose()[self.suite.keymat_len() - self.suite.integrity_key_len()..]
    }
}
