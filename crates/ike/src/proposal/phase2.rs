//! Phase 2: ESP, and the attributes of RFC 2407 §4.5.

use std::time::Duration;

use crypto::dh::Group;
use crypto::esp::{Integrity, Suite};

use super::phase1::{group, group_name, group_number};
use super::{Foreign, LISTED_MAX, Life, Refused, WhyRefused, short_once};
use crate::Refusal;
use crate::message::Spi;
use crate::nat::{EncapsulationMode, NatSituation};
use crate::output::Lifetime;
use crate::payload::attribute::{Attribute, write_long, write_short};
use crate::payload::notification::PROTO_IPSEC_ESP;
use crate::payload::security_association::{Proposal, SecurityAssociation, Transform};
use crate::policy::Policy;

const ESP_3DES: u8 = 3;
const ESP_NULL: u8 = 11;
const ESP_AES_CBC: u8 = 12;
const ESP_AES_GCM_8: u8 = 18;
const ESP_AES_GCM_12: u8 = 19;
const ESP_AES_GCM_16: u8 = 20;

const SA_LIFE_TYPE: u16 = 1;
const SA_LIFE_DURATION: u16 = 2;
const GROUP_DESCRIPTION: u16 = 3;
const ENCAPSULATION_MODE: u16 = 4;
const AUTHENTICATION_ALGORITHM: u16 = 5;
const KEY_LENGTH: u16 = 6;
/// RFC 4304 §3.
const EXTENDED_SEQUENCE_NUMBER: u16 = 11;

/// SPIs below are reserved (RFC 4303 §2.1).
const SPI_MIN: u32 = 256;

/// What a quick mode came to.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The ESP algorithms.
    pub suite: Suite,
    /// Extended sequence numbers.
    pub esn: bool,
    /// In UDP.
    pub encapsulated: bool,
    /// Group of the key exchange, if there is one.
    pub group: Option<Group>,
    /// The shorter of the offered and our own limits.
    pub lifetime: Lifetime,
    /// Where the peer receives.
    pub outbound: Spi,
}

/// What a responder has chosen.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What it means.
    pub terms: Terms,
    number: u8,
    transform: (u8, u8, Vec<u8>),
}

impl Choice {
    /// The body of the SA payload that says so: the transform byte for byte, and our SPI.
    #[must_use]
    pub fn body(&self, inbound: Spi) -> Vec<u8> {
        let (number, id, attributes) = &self.transform;
        let proposal = Proposal {
            number: self.number,
            protocol: PROTO_IPSEC_ESP,
            spi: &inbound.0.to_be_bytes(),
            transforms: vec![Transform::new(*number, *id, attributes)],
        };
        SecurityAssociation {
            proposals: vec![proposal],
        }
        .to_bytes()
    }
}

/// What surrounds an offer.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// The NATs that phase 1 found.
    pub nat: NatSituation,
    /// The path is on port 4500, so that ESP in UDP would arrive.
    pub floated: bool,
    /// Length of the public value, if the quick mode has one.
    pub public_len: Option<usize>,
}

impl Situation {
    /// Whether ESP would go in UDP; RFC 3947 §5.1: where there is a NAT, and only there.
    fn encapsulated(&self, mode: EncapsulationMode) -> Result<bool, WhyRefused> {
        match mode {
            EncapsulationMode::Tunnel | EncapsulationMode::UdpTunnel => Err(WhyRefused::TunnelMode),
            EncapsulationMode::Transport if self.nat.encapsulates() => {
                Err(WhyRefused::Encapsulation)
            }
            EncapsulationMode::Transport => Ok(false),
            // A peer that insists on UDP without a NAT gets it if the path carries it.
            EncapsulationMode::UdpTransport if self.nat.encapsulates() || self.floated => Ok(true),
            EncapsulationMode::UdpTransport => Err(WhyRefused::Encapsulation),
        }
    }
}

type Row<'a, 'b> = (
    &'b Proposal<'a>,
    &'b Transform<'a>,
    Result<Terms, WhyRefused>,
);

/// Every transform, read, and which one is taken.
fn weigh<'a, 'b>(
    policy: &Policy,
    situation: &Situation,
    sa: &'b SecurityAssociation<'a>,
) -> (Vec<Row<'a, 'b>>, Option<usize>) {
    let rows: Vec<Row<'a, 'b>> = sa
        .proposals
        .iter()
        .flat_map(|proposal| proposal.transforms.iter().map(move |one| (proposal, one)))
        .map(|(proposal, transform)| {
            // RFC 2408 §4.2: equal numbers are one proposal for several protocols.
            let is_like = |other: &&Proposal<'_>| other.number == proposal.number;
            let terms = match sa.proposals.iter().filter(is_like).count() {
                1 => read(policy, situation, proposal, transform),
                _ => Err(WhyRefused::Bundle),
            };
            (proposal, transform, terms)
        })
        .collect();
    let chosen = preferred(policy, situation, &rows);
    (rows, chosen)
}

/// UDP only where it is needed, then our own preference, then the peer's order.
fn preferred(policy: &Policy, situation: &Situation, rows: &[Row<'_, '_>]) -> Option<usize> {
    let fits = |encapsulated: bool| {
        policy.phase2.iter().find_map(|wanted| {
            rows.iter().position(|(.., terms)| {
                matches!(terms, Ok(terms)
                    if terms.suite == wanted.suite && terms.encapsulated == encapsulated)
            })
        })
    };
    let due = situation.nat.encapsulates();
    fits(due).or_else(|| fits(!due))
}

/// Chooses from an initiator's offer.
#[must_use]
pub fn choose(
    policy: &Policy,
    situation: &Situation,
    sa: &SecurityAssociation<'_>,
) -> Option<Choice> {
    let (mut rows, chosen) = weigh(policy, situation, sa);
    let (proposal, transform, terms) = rows.swap_remove(chosen?);
    let attributes = transform.attribute_bytes.to_vec();
    Some(Choice {
        terms: terms.ok()?,
        number: proposal.number,
        transform: (transform.number, transform.id, attributes),
    })
}

/// Says of each transform that is not taken why not.
#[must_use]
pub fn refused(
    policy: &Policy,
    situation: &Situation,
    sa: &SecurityAssociation<'_>,
) -> Vec<Refused> {
    let (rows, chosen) = weigh(policy, situation, sa);
    let is_known = |terms: &Terms| policy.phase2.iter().any(|known| known.suite == terms.suite);
    let others = rows
        .iter()
        .enumerate()
        .filter(|(index, _)| Some(*index) != chosen);
    let listed = others
        .take(LISTED_MAX)
        .map(|(_, (proposal, transform, terms))| Refused {
            proposal: proposal.number,
            transform: transform.number,
            offered: describe(proposal.protocol, transform),
            why: match terms {
                Err(why) => *why,
                Ok(terms) if is_known(terms) => WhyRefused::NotPreferred,
                Ok(terms) => WhyRefused::NotInPolicy(foreign(policy, terms.suite)),
            },
        });
    listed.collect()
}

fn foreign(policy: &Policy, offered: Suite) -> Foreign {
    let (cipher, integrity) = halves(offered);
    let mut known = policy.phase2.iter().map(|known| halves(known.suite));
    Foreign {
        cipher: known.clone().all(|known| known.0 != cipher),
        hash: integrity.is_some() && known.all(|known| known.1 != integrity),
        group: false,
    }
}

/// The cipher with its key length, and the integrity algorithm where it is one of its own.
fn halves(suite: Suite) -> ((&'static str, u16), Option<Integrity>) {
    match suite {
        Suite::AesGcm16 { key_bits } => (("gcm", key_bits), None),
        Suite::AesCbc {
            key_bits,
            integrity,
        } => (("cbc", key_bits), Some(integrity)),
        Suite::TripleDesCbc { integrity } => (("3des", 192), Some(integrity)),
    }
}

/// What a responder's answer means; it has to be one transform of those that we offered.
pub fn accept(
    policy: &Policy,
    situation: &Situation,
    group: Option<Group>,
    sa: &SecurityAssociation<'_>,
) -> Result<Terms, Refusal> {
    let [proposal] = &sa.proposals[..] else {
        return Err(Refusal::ProposalNotOffered);
    };
    let [transform] = &proposal.transforms[..] else {
        return Err(Refusal::ProposalNotOffered);
    };
    let terms =
        read(policy, situation, proposal, transform).map_err(|_| Refusal::ProposalNotOffered)?;
    let offered = policy.phase2.iter().any(|known| known.suite == terms.suite);
    let encapsulation = terms.encapsulated == situation.nat.encapsulates();
    if !offered || !encapsulation || terms.esn || terms.group != group {
        return Err(Refusal::ProposalNotOffered);
    }
    Ok(terms)
}

/// The body of the SA payload with which we start a quick mode.
#[must_use]
pub fn offer(policy: &Policy, lifetime: Duration, nat: &NatSituation, inbound: Spi) -> Vec<u8> {
    if let Some(habits) = &policy.habits {
        return habits.esp_offer(inbound, transport_mode(nat));
    }
    let attributes: Vec<(u8, Vec<u8>)> = policy
        .phase2
        .iter()
        .map(|proposal| attributes(policy, lifetime, nat, proposal.suite))
        .collect();
    let transforms = (1..=u8::MAX)
        .zip(&attributes)
        .map(|(number, (id, attributes))| Transform::new(number, *id, attributes))
        .collect();
    let spi = inbound.0.to_be_bytes();
    let proposal = Proposal {
        number: 1,
        protocol: PROTO_IPSEC_ESP,
        spi: &spi,
        transforms,
    };
    SecurityAssociation {
        proposals: vec![proposal],
    }
    .to_bytes()
}

fn attributes(
    policy: &Policy,
    lifetime: Duration,
    nat: &NatSituation,
    suite: Suite,
) -> (u8, Vec<u8>) {
    let mut out = Vec::new();
    let (id, key_bits) = match suite {
        Suite::AesGcm16 { key_bits } => (ESP_AES_GCM_16, Some(key_bits)),
        Suite::AesCbc { key_bits, .. } => (ESP_AES_CBC, Some(key_bits)),
        Suite::TripleDesCbc { .. } => (ESP_3DES, None),
    };
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
    let mut life = |kind, duration| {
        write_short(&mut out, SA_LIFE_TYPE, kind);
        match u16::try_from(duration) {
            Ok(duration) => write_short(&mut out, SA_LIFE_DURATION, duration),
            Err(_) => write_long(&mut out, SA_LIFE_DURATION, duration),
        }
    };
    life(super::LIFE_SECONDS, seconds);
    if let Some(kilobytes) = policy.phase2_kilobytes {
        life(super::LIFE_KILOBYTES, kilobytes);
    }
    if let Some(group) = policy.pfs {
        write_short(&mut out, GROUP_DESCRIPTION, group_number(group));
    }
    write_short(&mut out, ENCAPSULATION_MODE, transport_mode(nat));
    if let Some(integrity) = crate::policy::integrity(suite) {
        write_short(
            &mut out,
            AUTHENTICATION_ALGORITHM,
            integrity_number(integrity),
        );
    }
    if let Some(key_bits) = key_bits {
        write_short(&mut out, KEY_LENGTH, key_bits);
    }
    (id, out)
}

/// The number of transport mode, in UDP where there is a NAT.
fn transport_mode(nat: &NatSituation) -> u16 {
    let udp = nat.method.filter(|_| nat.encapsulates());
    udp.map_or(2, |method| method.udp_transport())
}

#[derive(Default)]
struct Attributes {
    life: Life,
    group: Option<u16>,
    mode: Option<u16>,
    integrity: Option<u16>,
    key_bits: Option<u16>,
    esn: Option<u16>,
}

impl Attributes {
    fn read(attributes: &[Attribute<'_>]) -> Result<Self, WhyRefused> {
        let mut read = Self::default();
        for &Attribute { kind, value } in attributes {
            match kind {
                SA_LIFE_TYPE => read.life.set_kind(value)?,
                SA_LIFE_DURATION => read.life.set_duration(value)?,
                GROUP_DESCRIPTION => short_once(&mut read.group, value)?,
                ENCAPSULATION_MODE => short_once(&mut read.mode, value)?,
                AUTHENTICATION_ALGORITHM => short_once(&mut read.integrity, value)?,
                KEY_LENGTH => short_once(&mut read.key_bits, value)?,
                EXTENDED_SEQUENCE_NUMBER => short_once(&mut read.esn, value)?,
                // RFC 2407 §4.5.3: a transform with an attribute that is not supported is not taken.
                _ => return Err(WhyRefused::AttributeUnsupported),
            }
        }
        Ok(read)
    }
}

fn read(
    policy: &Policy,
    situation: &Situation,
    proposal: &Proposal<'_>,
    transform: &Transform<'_>,
) -> Result<Terms, WhyRefused> {
    if proposal.protocol != PROTO_IPSEC_ESP {
        return Err(WhyRefused::Protocol);
    }
    let spi = <[u8; 4]>::try_from(proposal.spi).map_err(|_| WhyRefused::Spi)?;
    let outbound = Spi(u32::from_be_bytes(spi));
    if outbound.0 < SPI_MIN {
        return Err(WhyRefused::Spi);
    }
    let attributes = Attributes::read(&transform.attributes)?;
    attributes.life.check()?;
    let suite = suite(transform.id, attributes.key_bits, attributes.integrity)?;
    let mode = attributes.mode.ok_or(WhyRefused::AttributeMissing)?;
    let mode = EncapsulationMode::from_number(mode).ok_or(WhyRefused::Encapsulation)?;
    Ok(Terms {
        suite,
        esn: esn(policy, attributes.esn)?,
        encapsulated: situation.encapsulated(mode)?,
        group: pfs_group(policy, situation.public_len, attributes.group)?,
        lifetime: lifetime(policy, &attributes.life),
        outbound,
    })
}

fn suite(id: u8, key_bits: Option<u16>, integrity: Option<u16>) -> Result<Suite, WhyRefused> {
    match id {
        ESP_AES_GCM_16 => Ok(Suite::AesGcm16 {
            key_bits: aes_key_bits(key_bits)?,
        }),
        ESP_AES_GCM_8 | ESP_AES_GCM_12 => Err(WhyRefused::ShortIcv),
        ESP_AES_CBC => Ok(Suite::AesCbc {
            key_bits: aes_key_bits(key_bits)?,
            integrity: integrity_of(integrity)?,
        }),
        // RFC 2407 §4.5: no key length for ciphers that have but one.
        ESP_3DES if key_bits.is_some() => Err(WhyRefused::KeyLength),
        ESP_3DES => Ok(Suite::TripleDesCbc {
            integrity: integrity_of(integrity)?,
        }),
        ESP_NULL => Err(WhyRefused::NoEncryption),
        // RFC 2408 §5.6: what is not known is passed over.
        _ => Err(WhyRefused::Cipher),
    }
}

fn aes_key_bits(key_bits: Option<u16>) -> Result<u16, WhyRefused> {
    match key_bits {
        Some(bits @ (128 | 192 | 256)) => Ok(bits),
        Some(_) => Err(WhyRefused::KeyLength),
        None => Err(WhyRefused::KeyLengthMissing),
    }
}

/// HMAC-MD5 (1) is never taken.
fn integrity_of(number: Option<u16>) -> Result<Integrity, WhyRefused> {
    match number {
        Some(2) => Ok(Integrity::HmacSha1_96),
        Some(5) => Ok(Integrity::HmacSha256_128),
        Some(6) => Ok(Integrity::HmacSha384_192),
        Some(7) => Ok(Integrity::HmacSha512_256),
        Some(_) => Err(WhyRefused::Hash),
        None => Err(WhyRefused::NoIntegrity),
    }
}

fn integrity_number(integrity: Integrity) -> u16 {
    match integrity {
        Integrity::HmacSha1_96 => 2,
        Integrity::HmacSha256_128 => 5,
        Integrity::HmacSha384_192 => 6,
        Integrity::HmacSha512_256 => 7,
    }
}

/// RFC 4304 §3: value 1 asks for extended sequence numbers, and there is no other.
fn esn(policy: &Policy, value: Option<u16>) -> Result<bool, WhyRefused> {
    match value {
        None => Ok(false),
        Some(1) if policy.accept_esn => Ok(true),
        Some(1) => Err(WhyRefused::Esn),
        Some(_) => Err(WhyRefused::AttributeUnsupported),
    }
}

/// RFC 2409 §5.5: a group goes with a public value of its length, and not without one.
fn pfs_group(
    policy: &Policy,
    public_len: Option<usize>,
    number: Option<u16>,
) -> Result<Option<Group>, WhyRefused> {
    let Some(public_len) = public_len else {
        return if number.is_some() {
            Err(WhyRefused::PfsGroup)
        } else {
            Ok(None)
        };
    };
    number
        .and_then(group)
        .filter(|group| policy.pfs_groups.contains(group) && group.public_len() == public_len)
        .map(Some)
        .ok_or(WhyRefused::PfsGroup)
}

/// RFC 2407 §4.5.4: the shorter lifetime is used, in silence.
fn lifetime(policy: &Policy, life: &Life) -> Lifetime {
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let offered = life.seconds();
    let kilobytes = life.kilobytes().map(number);
    Lifetime {
        seconds: number(offered.min(policy.phase2_lifetime.as_secs())),
        kilobytes: match (kilobytes, policy.phase2_kilobytes) {
            (Some(theirs), Some(ours)) => Some(theirs.min(ours)),
            (theirs, ours) => theirs.or(ours),
        },
    }
}

/// A transform as an operator reads it, known or not.
fn describe(protocol: u8, transform: &Transform<'_>) -> String {
    let value = |kind: u16| {
        let mut found = transform
            .attributes
            .iter()
            .filter(|attribute| attribute.kind == kind);
        found.next().map(|attribute| attribute.value.number())
    };
    if protocol != PROTO_IPSEC_ESP {
        return format!("protocol {protocol} transform {}", transform.id);
    }
    let name = |names: &[(u64, &str)], number: u64, what: &str| {
        let known = names.iter().find(|row| row.0 == number);
        known.map_or_else(|| format!("{what} {number}"), |row| row.1.to_owned())
    };
    let mut text = name(CIPHER_NAMES, transform.id.into(), "cipher");
    if let Some(bits) = value(KEY_LENGTH) {
        text += &bits.to_string();
    }
    if let Some(number) = value(AUTHENTICATION_ALGORITHM) {
        text = format!("{text}/{}", name(INTEGRITY_NAMES, number, "integrity"));
    }
    if let Some(number) = value(ENCAPSULATION_MODE) {
        text = format!("{text}/{}", name(MODE_NAMES, number, "mode"));
    }
    if let Some(number) = value(GROUP_DESCRIPTION) {
        let group = u16::try_from(number).ok().and_then(group);
        let group = group.map_or_else(|| format!("group {number}"), |g| group_name(g).to_owned());
        text = format!("{text}/{group}");
    }
    text
}

const CIPHER_NAMES: &[(u64, &str)] = &[
    (1, "DES-IV64"),
    (2, "DES"),
    (3, "3DES"),
    (7, "BLOWFISH"),
    (11, "NULL"),
    (12, "AES-CBC"),
    (13, "AES-CTR"),
    (18, "AES-GCM-8"),
    (19, "AES-GCM-12"),
    (20, "AES-GCM-16"),
    (22, "CAMELLIA"),
    (23, "NULL-AES-GMAC"),
];

const INTEGRITY_NAMES: &[(u64, &str)] = &[
    (1, "MD5"),
    (2, "SHA1"),
    (5, "SHA256"),
    (6, "SHA384"),
    (7, "SHA512"),
    (9, "AES-XCBC"),
];

const MODE_NAMES: &[(u64, &str)] = &[
    (1, "tunnel"),
    (2, "transport"),
    (3, "UDP-tunnel"),
    (4, "UDP-transport"),
    (61443, "UDP-tunnel"),
    (61444, "UDP-transport"),
];
