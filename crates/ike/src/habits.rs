//! How one kind of client says what every initiator has to say: the order of its vendor IDs, its
//! transforms attribute by attribute, and what else gives it away on the wire.
//!
//! A gateway has no habits. They are for those who play somebody else, to find out how a gateway
//! takes it, and they touch only what is *said*: what an answer has to be is still the policy's
//! business, so the policy lists those of the transforms that can be used.

use crate::message::Spi;
use crate::payload::attribute::{write_long, write_short};
use crate::payload::notification::{PROTO_IPSEC_ESP, PROTO_ISAKMP};
use crate::payload::security_association::{Proposal, SecurityAssociation, Transform};

const KEY_IKE: u8 = 1;

/// The habits of one kind of client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// Vendor IDs of message 1, in order.
    pub vendor_ids: Vec<Vec<u8>>,
    /// Transforms of phase 1, in order.
    pub phase1: Vec<Vec<Attribute>>,
    /// Transforms of quick mode, in order.
    pub esp: Vec<EspTransform>,
    /// Every transform of quick mode is a proposal of its own.
    pub has_proposal_each: bool,
    /// Length of nonces.
    pub nonce_octets: usize,
    /// Message IDs of quick modes are 1, 2, …
    pub counts_quick_modes: bool,
}

/// One attribute of a transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// In short form: type and value.
    Short(u16, u16),
    /// In long form, with four octets: type and value.
    Long(u16, u32),
    /// How ESP travels, in short form; the value depends on the NATs that phase 1 found.
    Encapsulation(u16),
}

/// One transform of quick mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspTransform {
    /// Transform ID.
    pub id: u8,
    /// Its attributes, in order.
    pub attributes: Vec<Attribute>,
}

impl Habits {
    /// The body of the SA payload of message 1.
    pub(crate) fn phase1_offer(&self) -> Vec<u8> {
        let written: Vec<Vec<u8>> = self.phase1.iter().map(|list| write(list, 0)).collect();
        let transforms = (1..=u8::MAX)
            .zip(&written)
            .map(|(number, attributes)| Transform::new(number, KEY_IKE, attributes))
            .collect();
        let proposals = vec![Proposal {
            number: 1,
            protocol: PROTO_ISAKMP,
            spi: &[],
            transforms,
        }];
        SecurityAssociation { proposals }.to_bytes()
    }

    /// The body of the SA payload of a quick mode.
    pub(crate) fn esp_offer(&self, inbound: Spi, mode: u16) -> Vec<u8> {
        let spi = inbound.0.to_be_bytes();
        let written: Vec<(u8, Vec<u8>)> = self
            .esp
            .iter()
            .map(|transform| (transform.id, write(&transform.attributes, mode)))
            .collect();
        let numbered: Vec<Transform<'_>> = (1..=u8::MAX)
            .zip(&written)
            .map(|(number, (id, attributes))| {
                let number = if self.has_proposal_each { 1 } else { number };
                Transform::new(number, *id, attributes)
            })
            .collect();
        let groups: Vec<Vec<Transform<'_>>> = match self.has_proposal_each {
            true => numbered.into_iter().map(|one| vec![one]).collect(),
            false => vec![numbered],
        };
        let proposals = (1..=u8::MAX)
            .zip(groups)
            .map(|(number, transforms)| Proposal {
                number,
                protocol: PROTO_IPSEC_ESP,
                spi: &spi,
                transforms,
            })
            .collect();
        SecurityAssociation { proposals }.to_bytes()
    }
}

/// Attributes as they stand on the wire.
fn write(attributes: &[Attribute], mode: u16) -> Vec<u8> {
    let mut out = Vec::new();
    for attribute in attributes {
        match *attribute {
            Attribute::Short(kind, value) => write_short(&mut out, kind, value),
            Attribute::Long(kind, value) => write_long(&mut out, kind, value),
            Attribute::Encapsulation(kind) => write_short(&mut out, kind, mode),
        }
    }
    out
}
