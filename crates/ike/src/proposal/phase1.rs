//! Phase 1: the attributes of RFC 2409 appendix A.

use std::time::Duration;

use crypto::cipher::Algorithm;
use crypto::dh::Group;
use crypto::hash::Hash;

use super::{Foreign, LISTED_MAX, Life, Refused, WhyRefused, short_once};
use crate::Refusal;
use crate::payload::attribute::{Attribute, write_long, write_short};
use crate::payload::notification::PROTO_ISAKMP;
use crate::payload::security_association::{Proposal, SecurityAssociation, Transform};
use crate::policy::{Phase1Proposal, Policy};

/// The most transforms that we offer: message 1 then fits into one packet of 1400 bytes.
pub const OFFERED_MAX: usize = 30;

const KEY_IKE: u8 = 1;

const ENCRYPTION_ALGORITHM: u16 = 1;
const HASH_ALGORITHM: u16 = 2;
const AUTHENTICATION_METHOD: u16 = 3;
const GROUP_DESCRIPTION: u16 = 4;
const LIFE_TYPE: u16 = 11;
const LIFE_DURATION: u16 = 12;
const KEY_LENGTH: u16 = 14;

const CIPHER_3DES_CBC: u16 = 5;
const CIPHER_AES_CBC: u16 = 7;
const PRE_SHARED_KEY: u16 = 1;

/// What a responder has chosen.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The suite.
    pub suite: Phase1Proposal,
    /// The shorter of the offered and our own lifetime.
    pub lifetime: Duration,
    /// The body of the SA payload that says so.
    pub body: Vec<u8>,
}

/// What one transform offers, as far as we understand it.
#[derive(Clone, Copy, Debug)]
struct Offer {
    suite: Phase1Proposal,
    seconds: u64,
}

type Row<'a, 'b> = (
    &'b Proposal<'a>,
    &'b Transform<'a>,
    Result<Offer, WhyRefused>,
);

/// Every transform, read, and which one is taken.
fn weigh<'a, 'b>(
    policy: &Policy,
    sa: &'b SecurityAssociation<'a>,
) -> (Vec<Row<'a, 'b>>, Option<usize>) {
    let rows: Vec<Row<'a, 'b>> = sa
        .proposals
        .iter()
        .flat_map(|proposal| proposal.transforms.iter().map(move |one| (proposal, one)))
        .map(|(proposal, transform)| (proposal, transform, read(proposal, transform)))
        .collect();
    let fits =
        |suite: Phase1Proposal, row: &Row<'_, '_>| row.2.is_ok_and(|offer| offer.suite == suite);
    let chosen = policy
        .phase1
        .iter()
        .find_map(|&suite| rows.iter().position(|row| fits(suite, row)));
    (rows, chosen)
}

/// Chooses from an initiator's offer.
#[must_use]
pub fn choose(policy: &Policy, sa: &SecurityAssociation<'_>) -> Option<Choice> {
    let (rows, chosen) = weigh(policy, sa);
    let (proposal, transform, offer) = &rows[chosen?];
    let offer = offer.ok()?;
    let transforms = vec![(*transform).clone()];
    let answer = Proposal {
        transforms,
        ..(*proposal).clone()
    };
    let body = SecurityAssociation {
        proposals: vec![answer],
    }
    .to_bytes();
    Some(Choice {
        suite: offer.suite,
        lifetime: lifetime(policy, &offer),
        body,
    })
}

fn lifetime(policy: &Policy, offer: &Offer) -> Duration {
    policy
        .phase1_lifetime
        .min(Duration::from_secs(offer.seconds))
}

/// Says of each transform that is not taken why not.
#[must_use]
pub fn refused(policy: &Policy, sa: &SecurityAssociation<'_>) -> Vec<Refused> {
    let (rows, chosen) = weigh(policy, sa);
    let others = rows
        .iter()
        .enumerate()
        .filter(|(index, _)| Some(*index) != chosen);
    let listed = others
        .take(LISTED_MAX)
        .map(|(_, (proposal, transform, offer))| Refused {
            proposal: proposal.number,
            transform: transform.number,
            offered: describe(&transform.attributes),
            why: match offer {
                Err(why) => *why,
                Ok(offer) if policy.phase1.contains(&offer.suite) => WhyRefused::NotPreferred,
                Ok(offer) => WhyRefused::NotInPolicy(foreign(policy, &offer.suite)),
            },
        });
    listed.collect()
}

fn foreign(policy: &Policy, offered: &Phase1Proposal) -> Foreign {
    let suites = &policy.phase1;
    Foreign {
        cipher: suites.iter().all(|suite| suite.cipher != offered.cipher),
        hash: suites.iter().all(|suite| suite.hash != offered.hash),
        group: suites.iter().all(|suite| suite.group != offered.group),
    }
}

/// What a responder's answer means; it has to be one transform of those that we offered.
pub fn accept(
    policy: &Policy,
    sa: &SecurityAssociation<'_>,
) -> Result<(Phase1Proposal, Duration), Refusal> {
    let [proposal] = &sa.proposals[..] else {
        return Err(Refusal::SeveralProposals);
    };
    let [transform] = &proposal.transforms[..] else {
        return Err(Refusal::ProposalNotOffered);
    };
    let offer = read(proposal, transform).map_err(|_| Refusal::ProposalNotOffered)?;
    if !policy.phase1.contains(&offer.suite) {
        return Err(Refusal::ProposalNotOffered);
    }
    Ok((offer.suite, lifetime(policy, &offer)))
}

/// The body of the SA payload with which we start.
#[must_use]
pub fn offer(policy: &Policy) -> Vec<u8> {
    if let Some(habits) = &policy.habits {
        return habits.phase1_offer();
    }
    let seconds = u32::try_from(policy.phase1_lifetime.as_secs()).unwrap_or(u32::MAX);
    let suites = offered(&policy.phase1);
    let attributes: Vec<Vec<u8>> = suites
        .into_iter()
        .map(|suite| attributes(suite, seconds))
        .collect();
    let transforms = (1..=u8::MAX)
        .zip(&attributes)
        .map(|(number, attributes)| Transform::new(number, KEY_IKE, attributes))
        .collect();
    let proposal = Proposal {
        number: 1,
        protocol: PROTO_ISAKMP,
        spi: &[],
        transforms,
    };
    SecurityAssociation {
        proposals: vec![proposal],
    }
    .to_bytes()
}

/// The list, thinned out if it is too long: first what few peers insist on.
fn offered(list: &[Phase1Proposal]) -> Vec<Phase1Proposal> {
    let rare: [fn(&Phase1Proposal) -> bool; 2] = [
        |suite| suite.cipher == Algorithm::Aes192Cbc,
        |suite| matches!(suite.hash, Hash::Sha384 | Hash::Sha512),
    ];
    let mut suites = list.to_vec();
    for is_rare in rare {
        if suites.len() > OFFERED_MAX {
            suites.retain(|suite| !is_rare(suite));
        }
    }
    suites.truncate(OFFERED_MAX);
    suites
}

fn attributes(suite: Phase1Proposal, seconds: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let (cipher, key_bits) = cipher_number(suite.cipher);
    write_short(&mut out, ENCRYPTION_ALGORITHM, cipher);
    if let Some(key_bits) = key_bits {
        write_short(&mut out, KEY_LENGTH, key_bits);
    }
    write_short(&mut out, HASH_ALGORITHM, hash_number(suite.hash));
    write_short(&mut out, GROUP_DESCRIPTION, group_number(suite.group));
    write_short(&mut out, AUTHENTICATION_METHOD, PRE_SHARED_KEY);
    write_short(&mut out, LIFE_TYPE, super::LIFE_SECONDS);
    match u16::try_from(seconds) {
        Ok(seconds) => write_short(&mut out, LIFE_DURATION, seconds),
        Err(_) => write_long(&mut out, LIFE_DURATION, seconds),
    }
    out
}

#[derive(Default)]
struct Terms {
    cipher: Option<u16>,
    hash: Option<u16>,
    method: Option<u16>,
    group: Option<u16>,
    key_bits: Option<u16>,
    life: Life,
}

impl Terms {
    fn read(attributes: &[Attribute<'_>]) -> Result<Self, WhyRefused> {
        let mut terms = Self::default();
        for &Attribute { kind, value } in attributes {
            match kind {
                ENCRYPTION_ALGORITHM => short_once(&mut terms.cipher, value)?,
                HASH_ALGORITHM => short_once(&mut terms.hash, value)?,
                AUTHENTICATION_METHOD => short_once(&mut terms.method, value)?,
                GROUP_DESCRIPTION => short_once(&mut terms.group, value)?,
                KEY_LENGTH => short_once(&mut terms.key_bits, value)?,
                LIFE_TYPE => terms.life.set_kind(value)?,
                LIFE_DURATION => terms.life.set_duration(value)?,
                _ => return Err(WhyRefused::AttributeUnsupported),
            }
        }
        Ok(terms)
    }
}

fn read(proposal: &Proposal<'_>, transform: &Transform<'_>) -> Result<Offer, WhyRefused> {
    if proposal.protocol != PROTO_ISAKMP {
        return Err(WhyRefused::Protocol);
    }
    // RFC 2408 §3.5: in phase 1 the SPI is 0 to 16 bytes long and ignored.
    if proposal.spi.len() > 16 {
        return Err(WhyRefused::Spi);
    }
    if transform.id != KEY_IKE {
        return Err(WhyRefused::TransformId);
    }
    let terms = Terms::read(&transform.attributes)?;
    // RFC 2409 §4: these four have to be there.
    let missing = WhyRefused::AttributeMissing;
    let cipher = cipher(terms.cipher.ok_or(missing)?, terms.key_bits)?;
    let hash = hash(terms.hash.ok_or(missing)?).ok_or(WhyRefused::Hash)?;
    let group = group(terms.group.ok_or(missing)?).ok_or(WhyRefused::Group)?;
    if terms.method.ok_or(missing)? != PRE_SHARED_KEY {
        return Err(WhyRefused::AuthenticationMethod);
    }
    terms.life.check()?;
    let seconds = terms.life.seconds();
    Ok(Offer {
        suite: Phase1Proposal {
            cipher,
            hash,
            group,
        },
        seconds,
    })
}

fn cipher(number: u16, key_bits: Option<u16>) -> Result<Algorithm, WhyRefused> {
    match (number, key_bits) {
        (CIPHER_AES_CBC, Some(128)) => Ok(Algorithm::Aes128Cbc),
        (CIPHER_AES_CBC, Some(192)) => Ok(Algorithm::Aes192Cbc),
        (CIPHER_AES_CBC, Some(256)) => Ok(Algorithm::Aes256Cbc),
        (CIPHER_AES_CBC, None) => Err(WhyRefused::KeyLengthMissing),
        (CIPHER_3DES_CBC, None) => Ok(Algorithm::TripleDesCbc),
        (CIPHER_AES_CBC | CIPHER_3DES_CBC, Some(_)) => Err(WhyRefused::KeyLength),
        _ => Err(WhyRefused::Cipher),
    }
}

fn cipher_number(cipher: Algorithm) -> (u16, Option<u16>) {
    match cipher {
        Algorithm::Aes128Cbc => (CIPHER_AES_CBC, Some(128)),
        Algorithm::Aes192Cbc => (CIPHER_AES_CBC, Some(192)),
        Algorithm::Aes256Cbc => (CIPHER_AES_CBC, Some(256)),
        Algorithm::TripleDesCbc => (CIPHER_3DES_CBC, None),
    }
}

/// MD5 (1) and Tiger (3) are never taken.
fn hash(number: u16) -> Option<Hash> {
    match number {
        2 => Some(Hash::Sha1),
        4 => Some(Hash::Sha256),
        5 => Some(Hash::Sha384),
        6 => Some(Hash::Sha512),
        _ => None,
    }
}

fn hash_number(hash: Hash) -> u16 {
    match hash {
        Hash::Md5 => 1,
        Hash::Sha1 => 2,
        Hash::Sha256 => 4,
        Hash::Sha384 => 5,
        Hash::Sha512 => 6,
    }
}

/// In the range for private use (RFC 2409 appendix A), because the simulation group has no number.
const GROUP_TOY: u16 = 0xAD17;

const GROUPS: [(u16, Group, &str); 8] = [
    (2, Group::Modp1024, "MODP1024"),
    (5, Group::Modp1536, "MODP1536"),
    (14, Group::Modp2048, "MODP2048"),
    (15, Group::Modp3072, "MODP3072"),
    (16, Group::Modp4096, "MODP4096"),
    (19, Group::Ecp256, "ECP256"),
    (20, Group::Ecp384, "ECP384"),
    (GROUP_TOY, Group::Toy, "TOY"),
];

/// The group of a number; group 1 is never taken.
pub(super) fn group(number: u16) -> Option<Group> {
    GROUPS.iter().find(|row| row.0 == number).map(|row| row.1)
}

/// The number of a group.
pub(super) fn group_number(group: Group) -> u16 {
    GROUPS
        .iter()
        .find(|row| row.1 == group)
        .map_or(0, |row| row.0)
}

/// The group's name in a log.
#[must_use]
pub fn group_name(group: Group) -> &'static str {
    GROUPS
        .iter()
        .find(|row| row.1 == group)
        .map_or("?", |row| row.2)
}

/// A transform as an operator reads it, known or not.
fn describe(attributes: &[Attribute<'_>]) -> String {
    let value = |kind: u16| {
        let mut found = attributes.iter().filter(|attribute| attribute.kind == kind);
        found.next().map(|attribute| attribute.value.number())
    };
    let named = |what: &str, number: Option<u64>, names: &[(u64, &str)]| match number {
        None => format!("no {what}"),
        Some(number) => names
            .iter()
            .find(|(known, _)| *known == number)
            .map_or_else(
                || format!("{what} {number}"),
                |(_, name)| (*name).to_owned(),
            ),
    };
    let groups: Vec<(u64, &str)> = GROUPS
        .iter()
        .map(|row| (row.0.into(), row.2))
        .chain([(1, "MODP768")])
        .collect();
    let key_bits = value(KEY_LENGTH)
        .map(|bits| bits.to_string())
        .unwrap_or_default();
    let cipher = named("cipher", value(ENCRYPTION_ALGORITHM), CIPHER_NAMES);
    let hash = named("hash", value(HASH_ALGORITHM), HASH_NAMES);
    let group = named("group", value(GROUP_DESCRIPTION), &groups);
    let mut text = format!("{cipher}{key_bits}/{hash}/{group}");
    let method = value(AUTHENTICATION_METHOD);
    if method != Some(PRE_SHARED_KEY.into()) {
        text = format!("{text}/{}", named("authentication", method, METHOD_NAMES));
    }
    text
}

const CIPHER_NAMES: &[(u64, &str)] = &[
    (1, "DES"),
    (2, "IDEA"),
    (3, "BLOWFISH"),
    (4, "RC5"),
    (5, "3DES"),
    (6, "CAST"),
    (7, "AES"),
    (8, "CAMELLIA"),
];

const HASH_NAMES: &[(u64, &str)] = &[
    (1, "MD5"),
    (2, "SHA1"),
    (3, "TIGER"),
    (4, "SHA256"),
    (5, "SHA384"),
    (6, "SHA512"),
];

const METHOD_NAMES: &[(u64, &str)] = &[
    (2, "DSS"),
    (3, "RSA"),
    (4, "RSA-encryption"),
    (5, "RSA-revised-encryption"),
    (64221, "hybrid"),
    (65001, "XAUTH-PSK"),
    (65005, "XAUTH-RSA"),
];
