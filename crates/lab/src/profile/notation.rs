//! The small notations of a profile: algorithms, vendor IDs, AVPs and options by name, and octets.

use std::str::FromStr;

use crypto::Random;
use crypto::esp::Suite;
use ike::habits::{Attribute, EspTransform};
use ike::policy::Phase1Proposal;

use super::Port;
use crate::cli::Phase1;

/// Not the notation that was expected; the reader says which that is.
#[derive(Debug)]
pub(super) struct Unreadable;

/// Octets: `0a0b`, `text:MSRASV5.20`, `random:16`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Octets {
    Fixed(Vec<u8>),
    Random(usize),
}

pub(super) const OCTETS: &str = "octets such as 0a0b, text:NAME or random:16";

impl FromStr for Octets {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        if let Some(text) = text.strip_prefix("text:") {
            return Ok(Self::Fixed(text.as_bytes().to_vec()));
        }
        if let Some(count) = text.strip_prefix("random:") {
            let count = count.parse().map_err(|_| Unreadable)?;
            return (1..=64)
                .contains(&count)
                .then_some(Self::Random(count))
                .ok_or(Unreadable);
        }
        let digits = text.as_bytes().chunks(2);
        let octet = |pair: &[u8]| match pair {
            [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let text = std::str::from_utf8(pair).map_err(|_| Unreadable)?;
                u8::from_str_radix(text, 16).map_err(|_| Unreadable)
            }
            _ => Err(Unreadable),
        };
        digits.map(octet).collect::<Result<_, _>>().map(Self::Fixed)
    }
}

impl Octets {
    pub(super) fn draw(&self, random: &mut Random) -> Vec<u8> {
        match self {
            Self::Fixed(octets) => octets.clone(),
            Self::Random(count) => {
                let mut octets = vec![0; *count];
                random.fill(&mut octets);
                octets
            }
        }
    }
}

/// A vendor ID by name, or as octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VendorId(pub(super) Vec<u8>);

pub(super) const VENDOR_ID: &str = "a vendor ID such as rfc3947, or its octets";

/// The MD5 digests are those of the texts that they are named for.
const VENDOR_IDS: &[(&str, &str)] = &[
    ("rfc3947", "4a131c81070358455c5728f20e95452f"),
    ("natt-08", "8f8d83826d246b6fc7a8a6a428c11de8"),
    ("natt-07", "439b59f8ba676c4c7737ae22eab8f582"),
    ("natt-06", "4d1e0e136deafa34c4f3ea9f02ec7285"),
    ("natt-05", "80d0bb3def54565ee84645d4c85ce3ee"),
    ("natt-04", "9909b64eed937c6573de52ace952fa6b"),
    ("natt-03", "7d9419a65310ca6f2c179d9215529d56"),
    ("natt-02", "cd60464335df21f87cfdb2fc68b6a448"),
    ("natt-02-newline", "90cb80913ebb696e086381b5ec427b1f"),
    ("natt-00", "4485152d18b6bbcd0be8a8469579ddcc"),
    ("natt-apple", "4df37928e9fc4fd1b3262170d515c662"),
    ("fragmentation", "4048b7d56ebce88525e7de7f00d6c2d3"),
    (
        "fragmentation-80000000",
        "4048b7d56ebce88525e7de7f00d6c2d380000000",
    ),
    ("dpd", "afcad71368a1f1c96b8696fc77570100"),
    ("xauth", "09002689dfd6b712"),
    ("ms-nt5-9", "1e2b516905991c7d7c96fcbfb587e46100000009"),
    ("key-mods-1", "01528bbbc00696121849ab9a1c5b2a5100000001"),
    (
        "ms-negotiation-discovery",
        "fb1de3cdf341b7ea16b7e5be0855f120",
    ),
    ("vid-initial-contact", "26244d38eddb61b3172a36e3d0cfb819"),
    ("ike-cga", "e3a5966a76379fe707228231e5ce8652"),
];

impl FromStr for VendorId {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let known = VENDOR_IDS.iter().find(|(name, _)| *name == text);
        match known.map_or(text, |(_, octets)| octets).parse()? {
            Octets::Fixed(octets) => Ok(Self(octets)),
            Octets::Random(_) => Err(Unreadable),
        }
    }
}

/// A transform of phase 1, whether it is one that can be used or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phase1Offer {
    cipher: u16,
    key_bits: Option<u16>,
    hash: u16,
    group: u16,
    /// What it is to us.
    pub(super) usable: Option<Phase1Proposal>,
}

pub(super) const PHASE1: &str = "a transform such as aes256-sha1-modp2048 or des-md5-modp768";

/// RFC 2409 appendix A, RFC 3602 and the registry of IANA.
const CIPHERS: &[(&str, u16, Option<u16>)] = &[
    ("des", 1, None),
    ("3des", 5, None),
    ("aes128", 7, Some(128)),
    ("aes192", 7, Some(192)),
    ("aes256", 7, Some(256)),
];
const HASHES: &[(&str, u16)] = &[
    ("md5", 1),
    ("sha1", 2),
    ("sha256", 4),
    ("sha384", 5),
    ("sha512", 6),
];
const GROUPS: &[(&str, u16)] = &[
    ("modp768", 1),
    ("modp1024", 2),
    ("modp1536", 5),
    ("modp2048", 14),
    ("modp3072", 15),
    ("modp4096", 16),
    ("ecp256", 19),
    ("ecp384", 20),
    ("ecp521", 21),
    ("curve25519", 31),
];

fn number(names: &[(&str, u16)], name: Option<&str>) -> Result<u16, Unreadable> {
    let known = names.iter().find(|(known, _)| Some(*known) == name);
    known.map(|(_, number)| *number).ok_or(Unreadable)
}

impl FromStr for Phase1Offer {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let mut parts = text.split('-');
        let name = parts.next();
        let cipher = CIPHERS.iter().find(|(known, ..)| Some(*known) == name);
        let &(_, cipher, key_bits) = cipher.ok_or(Unreadable)?;
        let hash = number(HASHES, parts.next())?;
        let group = number(GROUPS, parts.next())?;
        let usable = text.parse::<Phase1>().ok().map(|phase1| phase1.0);
        match parts.next() {
            Some(_) => Err(Unreadable),
            None => Ok(Self {
                cipher,
                key_bits,
                hash,
                group,
                usable,
            }),
        }
    }
}

const PRE_SHARED_KEY: u16 = 1;
const SECONDS: u16 = 1;
const KILOBYTES: u16 = 2;

impl Phase1Offer {
    /// RFC 2409 appendix A: cipher, key length, hash, group, authentication, lifetime.
    pub(super) fn attributes(&self, seconds: u32, is_long: bool) -> Vec<Attribute> {
        let mut list = vec![Attribute::Short(1, self.cipher)];
        list.extend(self.key_bits.map(|bits| Attribute::Short(14, bits)));
        list.extend([
            Attribute::Short(2, self.hash),
            Attribute::Short(4, self.group),
            Attribute::Short(3, PRE_SHARED_KEY),
            Attribute::Short(11, SECONDS),
            duration(12, seconds, is_long),
        ]);
        list
    }
}

/// RFC 2409 appendix A: long where it has to be, or out of habit.
fn duration(kind: u16, value: u32, is_long: bool) -> Attribute {
    match u16::try_from(value) {
        Ok(short) if !is_long => Attribute::Short(kind, short),
        _ => Attribute::Long(kind, value),
    }
}

/// A transform of quick mode, whether it is one that can be used or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EspOffer {
    id: u8,
    key_bits: Option<u16>,
    integrity: Option<u16>,
    /// What it is to us.
    pub(super) usable: Option<Suite>,
}

pub(super) const ESP: &str = "a suite such as aes128gcm16, aes256-sha1, des-md5";

/// RFC 2407 §4.4.4, RFC 3602, RFC 4106.
const ESP_CIPHERS: &[(&str, u8, Option<u16>)] = &[
    ("des", 2, None),
    ("3des", 3, None),
    ("null", 11, None),
    ("aes128", 12, Some(128)),
    ("aes192", 12, Some(192)),
    ("aes256", 12, Some(256)),
    ("aes128gcm16", 20, Some(128)),
    ("aes192gcm16", 20, Some(192)),
    ("aes256gcm16", 20, Some(256)),
];
const INTEGRITIES: &[(&str, u16)] = &[
    ("md5", 1),
    ("sha1", 2),
    ("sha256", 5),
    ("sha384", 6),
    ("sha512", 7),
];

impl FromStr for EspOffer {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (cipher, integrity) = match text.split_once('-') {
            Some((cipher, integrity)) => (cipher, Some(number(INTEGRITIES, Some(integrity))?)),
            None => (text, None),
        };
        let known = ESP_CIPHERS.iter().find(|(known, ..)| *known == cipher);
        let &(_, id, key_bits) = known.ok_or(Unreadable)?;
        let usable = text.parse().ok();
        Ok(Self {
            id,
            key_bits,
            integrity,
            usable,
        })
    }
}

/// What every transform of a quick mode says.
#[derive(Clone, Copy, Debug)]
pub(super) struct EspTerms {
    pub(super) seconds: u32,
    pub(super) kilobytes: Option<u32>,
    pub(super) group: Option<crypto::dh::Group>,
    pub(super) is_long: bool,
}

impl EspOffer {
    /// RFC 2407 §4.5: mode, key length, integrity, group, lifetimes.
    pub(super) fn transform(&self, terms: EspTerms) -> EspTransform {
        let mut attributes = vec![Attribute::Encapsulation(4)];
        attributes.extend(self.key_bits.map(|bits| Attribute::Short(6, bits)));
        attributes.extend(self.integrity.map(|number| Attribute::Short(5, number)));
        let group = terms
            .group
            .map(|group| number(GROUPS, Some(&group.to_string())));
        attributes.extend(
            group
                .and_then(Result::ok)
                .map(|group| Attribute::Short(3, group)),
        );
        let seconds = duration(2, terms.seconds, terms.is_long);
        attributes.extend([Attribute::Short(1, SECONDS), seconds]);
        if let Some(kilobytes) = terms.kilobytes {
            let kilobytes = duration(2, kilobytes, terms.is_long);
            attributes.extend([Attribute::Short(1, KILOBYTES), kilobytes]);
        }
        let id = self.id;
        EspTransform { id, attributes }
    }
}

/// An AVP: `M host-name`, `vendor-name`, `M bearer-capabilities = 00000000`, `311/1 = random:16`.
/// Without a value it is what the tunnel has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Avp {
    is_mandatory: bool,
    vendor: u16,
    attribute: u16,
    value: Option<Octets>,
}

pub(super) const AVP: &str = "an AVP such as \"M host-name\", \"M bearer-capabilities = 00000000\" \
                              or \"311/1 = random:16\"";

const AVPS: &[(&str, u16)] = &[
    ("result-code", 1),
    ("protocol-version", 2),
    ("framing-capabilities", 3),
    ("bearer-capabilities", 4),
    ("tie-breaker", 5),
    ("firmware-revision", 6),
    ("host-name", 7),
    ("vendor-name", 8),
    ("assigned-tunnel-id", 9),
    ("receive-window-size", 10),
    ("challenge", 11),
    ("challenge-response", 13),
    ("assigned-session-id", 14),
    ("call-serial-number", 15),
    ("bearer-type", 18),
    ("framing-type", 19),
    ("called-number", 21),
    ("calling-number", 22),
    ("sub-address", 23),
    ("tx-connect-speed", 24),
    ("physical-channel-id", 25),
    ("initial-received-lcp", 26),
    ("last-sent-lcp", 27),
    ("last-received-lcp", 28),
    ("proxy-authen-type", 29),
    ("proxy-authen-name", 30),
    ("proxy-authen-challenge", 31),
    ("proxy-authen-id", 32),
    ("proxy-authen-response", 33),
    ("random-vector", 36),
    ("private-group-id", 37),
    ("rx-connect-speed", 38),
    ("sequencing-required", 39),
];

impl FromStr for Avp {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (is_mandatory, text) = match text.strip_prefix("M ") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().parse()?)),
            None => (text.trim(), None),
        };
        let (vendor, attribute) = match name.split_once('/') {
            Some((vendor, attribute)) => (
                vendor.parse().map_err(|_| Unreadable)?,
                attribute.parse().map_err(|_| Unreadable)?,
            ),
            None => (0, number(AVPS, Some(name))?),
        };
        Ok(Self {
            is_mandatory,
            vendor,
            attribute,
            value,
        })
    }
}

impl Avp {
    pub(super) fn item(&self, random: &mut Random) -> l2tp::Item {
        l2tp::Item {
            is_mandatory: self.is_mandatory,
            vendor: self.vendor,
            attribute: self.attribute,
            value: self.value.as_ref().map(|value| value.draw(random)),
        }
    }
}

/// An option of LCP or an NCP: `mru`, `dns1`, or with a value that means nothing here, `13 = 06`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PppOption {
    kind: u8,
    value: Option<Octets>,
}

pub(super) const PPP_OPTION: &str =
    "an option such as mru, magic, address, dns1, or \"13 = 06\" with its octets";

/// Options that the link asks for by itself.
const OWN_OPTIONS: &[(&str, u8)] = &[
    ("mru", 1),
    ("magic", 5),
    ("pfc", 7),
    ("acfc", 8),
    ("address", 3),
    ("dns1", 129),
    ("nbns1", 130),
    ("dns2", 131),
    ("nbns2", 132),
];

impl FromStr for PppOption {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let Some((kind, value)) = text.split_once('=') else {
            let known = OWN_OPTIONS.iter().find(|(name, _)| *name == text);
            let kind = known.ok_or(Unreadable)?.1;
            return Ok(Self { kind, value: None });
        };
        let kind = kind.trim().parse().map_err(|_| Unreadable)?;
        let value = Some(value.trim().parse()?);
        Ok(Self { kind, value })
    }
}

impl PppOption {
    pub(super) fn asked(&self, random: &mut Random) -> ppp::Asked {
        match &self.value {
            Some(value) => ppp::Asked::Foreign(self.kind, value.draw(random)),
            None => ppp::Asked::Own(self.kind),
        }
    }

    pub(super) fn is(&self, name: &str) -> bool {
        let known = OWN_OPTIONS.iter().find(|(known, _)| *known == name);
        self.value.is_none() && known.map(|(_, kind)| *kind) == Some(self.kind)
    }
}

/// A network control protocol by name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protocol(pub(super) u16);

impl FromStr for Protocol {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let names = [("ipv6cp", 0x8057), ("ccp", 0x80fd), ("acscp", 0x8235)];
        let digits = text.strip_prefix("0x").unwrap_or_default();
        number(&names, Some(text))
            .or_else(|_| u16::from_str_radix(digits, 16).map_err(|_| Unreadable))
            .map(Self)
    }
}

impl FromStr for Port {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        match text {
            "ephemeral" => Ok(Self::Ephemeral),
            _ => text.parse().map(Self::Fixed).map_err(|_| Unreadable),
        }
    }
}
