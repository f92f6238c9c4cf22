//! What an operator decides: algorithms, keys, lifetimes, patience and limits.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::Secret;
use crypto::cipher::Algorithm;
use crypto::dh::Group;
use crypto::esp::{Integrity, Suite};
use crypto::hash::Hash;
use ipnet::IpNet;

use crate::payload::identification::Identity;
use crate::{Habits, Refusal};

/// The most pre-shared keys tried on one message 5: each costs a key derivation and a decryption.
pub const PSK_TRIALS_MAX: usize = 16;

/// Everything that is set for the peers of one listener.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Phase 1 suites: offered in this order, accepted in this order of preference.
    pub phase1: Vec<Phase1Proposal>,
    /// ESP suites: offered in this order, accepted in this order of preference.
    pub phase2: Vec<Phase2Proposal>,
    /// Groups accepted for perfect forward secrecy in quick mode.
    pub pfs_groups: Vec<Group>,
    /// As initiator: the group to offer for perfect forward secrecy, if any.
    pub pfs: Option<Group>,
    /// As responder: refuse a quick mode without key exchange.
    pub pfs_required: bool,
    /// Pre-shared keys, chosen by the peer's address.
    pub psks: Vec<Psk>,
    /// Who we say we are; our address if `None`.
    pub identity: Option<Identity>,
    /// Longest life of an ISAKMP SA.
    pub phase1_lifetime: Duration,
    /// Longest life of an IPsec SA pair.
    pub phase2_lifetime: Duration,
    /// Most kilobytes over an IPsec SA pair.
    pub phase2_kilobytes: Option<u32>,
    /// Renew IPsec SA pairs, and ask for a renewal of the ISAKMP SA, before they expire.
    pub rekey: bool,
    /// How long the old IPsec SA pair stays after its successor is up, when we renewed it.
    pub overlap: Duration,
    /// Extended sequence numbers are taken when offered.
    pub accept_esn: bool,
    /// Dead peer detection; `None` still answers the peer's queries.
    pub dpd: Option<Dpd>,
    /// NAT traversal.
    pub natt: Natt,
    /// Whether a MODP value may lack its leading zeros: SoftEther drops them, which one in 256 has.
    pub short_public_values: bool,
    /// Interval of keepalives when we are behind a NAT.
    pub nat_keepalive: Duration,
    /// When to send a request again: the wait after each sending. The last wait ends the exchange.
    pub ladder: Vec<Duration>,
    /// How long main mode may take in all.
    pub setup_limit: Duration,
    /// The most IPsec SA pairs of one peer.
    pub max_children: usize,
    /// The most quick modes under way with one peer.
    pub max_exchanges: usize,
    /// As initiator: say INITIAL-CONTACT in message 5.
    pub initial_contact: bool,
    /// Our port of the protected traffic (UDP); as responder the only one that quick mode IDs may
    /// name for us.
    pub port: u16,
    /// As initiator of a quick mode: our own port of the protected traffic; 0 is any.
    pub client_port: u16,
    /// As initiator: how somebody else would say it. A gateway has none.
    pub habits: Option<Arc<Habits>>,
}

/// One combination for phase 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase1Proposal {
    /// Encrypts from message 5 on.
    pub cipher: Algorithm,
    /// Hash and, as HMAC, PRF.
    pub hash: Hash,
    /// Diffie-Hellman group.
    pub group: Group,
}

impl fmt::Display for Phase1Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cipher = match self.cipher {
            Algorithm::Aes128Cbc => "AES128",
            Algorithm::Aes192Cbc => "AES192",
            Algorithm::Aes256Cbc => "AES256",
            Algorithm::TripleDesCbc => "3DES",
        };
        let hash = match self.hash {
            Hash::Md5 => "MD5",
            Hash::Sha1 => "SHA1",
            Hash::Sha256 => "SHA256",
            Hash::Sha384 => "SHA384",
            Hash::Sha512 => "SHA512",
        };
        write!(
            f,
            "{cipher}/{hash}/{}",
            crate::proposal::phase1::group_name(self.group)
        )
    }
}

/// One suite for phase 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase2Proposal {
    /// The ESP algorithms.
    pub suite: Suite,
}

/// A pre-shared key and whose it is.
#[derive(Clone)]
pub struct Psk {
    /// Addresses of the peers that may use it; `None` is any.
    pub peer: Option<IpNet>,
    /// The identity that the peer has to show; `None` is any.
    pub identity: Option<Identity>,
    /// The key.
    pub key: Secret,
}

impl Psk {
    /// Whether a peer that has proved to know the key may have this identity.
    pub(crate) fn check(&self, identity: &Identity) -> Result<(), Refusal> {
        match &self.identity {
            Some(expected) if expected != identity => Err(Refusal::IdentityRefused),
            Some(_) | None => Ok(()),
        }
    }
}

// RFC 3193 §5.1.4: a key is guarded as a password is, and is not printed.
impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Psk")
            .field("peer", &self.peer)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Dead peer detection (RFC 3706).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dpd {
    /// Silence after which the peer is asked.
    pub interval: Duration,
    /// Wait for an answer before asking again.
    pub retry: Duration,
    /// Unanswered queries after which the peer is dead.
    pub tries: u32,
}

/// NAT traversal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Natt {
    /// Not offered and not accepted.
    Off,
    /// Used when there is a NAT.
    Detect,
    /// Used always: our NAT-D hash is false on purpose, so that the peer finds a NAT.
    Force,
}

impl Policy {
    /// AES with SHA2 or SHA1 and groups 14, 15, 16, 19, 20: what stock clients of today offer.
    #[must_use]
    pub fn modern() -> Self {
        let mut policy = Self::strict();
        policy
            .phase1
            .extend(phase1(&MODERN_GROUPS, &AES, &[Hash::Sha1]));
        policy.phase2.extend(cbc(&[Integrity::HmacSha1_96]));
        policy
    }

    /// `modern`, and after it 3DES and groups 5 and 2.
    #[must_use]
    pub fn compat() -> Self {
        const OLD_GROUPS: [Group; 2] = [Group::Modp1536, Group::Modp1024];
        let mut policy = Self::modern();
        let all_groups = [&MODERN_GROUPS[..], &OLD_GROUPS].concat();
        for hashes in [&SHA2[..], &[Hash::Sha1]] {
            policy.phase1.extend(phase1(&OLD_GROUPS, &AES, hashes));
        }
        for hashes in [&SHA2[..], &[Hash::Sha1]] {
            policy
                .phase1
                .extend(phase1(&all_groups, &[Algorithm::TripleDesCbc], hashes));
        }
        let suite = Suite::TripleDesCbc {
            integrity: Integrity::HmacSha1_96,
        };
        policy.phase2.push(Phase2Proposal { suite });
        policy.pfs_groups = all_groups;
        policy
    }

    /// `modern` without SHA1.
    #[must_use]
    pub fn strict() -> Self {
        let gcm = KEY_BITS.map(|key_bits| Suite::AesGcm16 { key_bits });
        let gcm = gcm.into_iter().map(|suite| Phase2Proposal { suite });
        let sha2 = [
            Integrity::HmacSha256_128,
            Integrity::HmacSha384_192,
            Integrity::HmacSha512_256,
        ];
        Self {
            phase1: phase1(&MODERN_GROUPS, &AES, &SHA2),
            phase2: gcm.chain(cbc(&sha2)).collect(),
            pfs_groups: MODERN_GROUPS.to_vec(),
            ..Self::bare()
        }
    }

    /// No algorithms, and what is the same for all policies.
    fn bare() -> Self {
        Self {
            phase1: Vec::new(),
            phase2: Vec::new(),
            pfs_groups: Vec::new(),
            pfs: None,
            pfs_required: false,
            psks: Vec::new(),
            identity: None,
            phase1_lifetime: Duration::from_secs(8 * 3600),
            phase2_lifetime: Duration::from_secs(3600),
            phase2_kilobytes: None,
            rekey: true,
            overlap: Duration::from_secs(5),
            accept_esn: false,
            dpd: Some(Dpd {
                interval: Duration::from_secs(30),
                retry: Duration::from_secs(5),
                tries: 5,
            }),
            natt: Natt::Detect,
            short_public_values: false,
            nat_keepalive: Duration::from_secs(20),
            ladder: [1, 2, 4, 8, 16].map(Duration::from_secs).to_vec(),
            setup_limit: Duration::from_secs(30),
            max_children: 32,
            max_exchanges: 8,
            initial_contact: false,
            port: 1701,
            client_port: 1701,
            habits: None,
        }
    }

    /// The keys that a peer at this address may have, the most specific first.
    pub(crate) fn psks_for(&self, address: IpAddr) -> Vec<&Psk> {
        let mut psks: Vec<&Psk> = self
            .psks
            .iter()
            .filter(|psk| psk.peer.is_none_or(|net| net.contains(&address)))
            .collect();
        psks.sort_by_key(|psk| std::cmp::Reverse(psk.peer.map_or(0, |net| 1 + net.prefix_len())));
        psks.truncate(PSK_TRIALS_MAX);
        psks
    }
}

const AES: [Algorithm; 3] = [
    Algorithm::Aes256Cbc,
    Algorithm::Aes128Cbc,
    Algorithm::Aes192Cbc,
];
const KEY_BITS: [u16; 3] = [256, 128, 192];
const SHA2: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];
/// Curves first: they cost a fraction.
const MODERN_GROUPS: [Group; 5] = [
    Group::Ecp256,
    Group::Ecp384,
    Group::Modp2048,
    Group::Modp3072,
    Group::Modp4096,
];

/// Every combination, groups outermost.
fn phase1(groups: &[Group], ciphers: &[Algorithm], hashes: &[Hash]) -> Vec<Phase1Proposal> {
    let mut list = Vec::new();
    for &group in groups {
        for &cipher in ciphers {
            for &hash in hashes {
                list.push(Phase1Proposal {
                    cipher,
                    hash,
                    group,
                });
            }
        }
    }
    list
}

fn cbc(integrities: &[Integrity]) -> impl Iterator<Item = Phase2Proposal> {
    integrities.iter().flat_map(|&integrity| {
        KEY_BITS.map(|key_bits| Phase2Proposal {
            suite: Suite::AesCbc {
                key_bits,
                integrity,
            },
        })
    })
}

/// The HMAC of a suite that has one.
pub(crate) fn integrity(suite: Suite) -> Option<Integrity> {
    match suite {
        Suite::AesGcm16 { .. } => None,
        Suite::AesCbc { integrity, .. } | Suite::TripleDesCbc { integrity } => Some(integrity),
    }
}
