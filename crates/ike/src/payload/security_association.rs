//! The SA payload (RFC 2408 §3.4 to §3.6): proposals, and transforms in each.
//!
//! A transform keeps its bytes, because a responder returns the one it has chosen exactly as it
//! came (RFC 2409 §5).

use crate::Refusal;
use crate::message::kind;
use crate::payload::attribute::{self, Attribute};
use crate::payload::notification::DOI_IPSEC;

/// RFC 2407 §4.2.1.
const SIT_IDENTITY_ONLY: u32 = 1;
/// The most proposals in one SA payload.
pub const PROPOSALS_MAX: usize = 64;
/// The most transforms in one SA payload.
pub const TRANSFORMS_MAX: usize = 512;

/// The body of an SA payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityAssociation<'a> {
    /// Proposals in the order of preference; equal numbers in a row belong together.
    pub proposals: Vec<Proposal<'a>>,
}

/// One protocol of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal<'a> {
    /// Proposal number.
    pub number: u8,
    /// Protocol.
    pub protocol: u8,
    /// Where the sender wants to receive; may be present and meaningless in phase 1.
    pub spi: &'a [u8],
    /// Alternatives in the order of preference.
    pub transforms: Vec<Transform<'a>>,
}

/// One alternative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform<'a> {
    /// Transform number.
    pub number: u8,
    /// Transform ID: KEY_IKE, or the ESP cipher.
    pub id: u8,
    /// The attributes, read.
    pub attributes: Vec<Attribute<'a>>,
    /// The attributes, as they came.
    pub attribute_bytes: &'a [u8],
}

impl<'a> SecurityAssociation<'a> {
    /// Reads the body of an SA payload.
    pub fn parse(body: &'a [u8]) -> Result<Self, Refusal> {
        let (&[doi @ .., a, b, c, d], rest): (&[u8; 8], _) =
            body.split_first_chunk().ok_or(Refusal::Truncated)?;
        // RFC 2408 §5.4: another DOI or situation discards the message.
        if u32::from_be_bytes(doi) != DOI_IPSEC {
            return Err(Refusal::UnknownDoi);
        }
        if u32::from_be_bytes([a, b, c, d]) != SIT_IDENTITY_ONLY {
            return Err(Refusal::UnknownSituation);
        }
        let mut room = TRANSFORMS_MAX;
        let mut proposals = Vec::new();
        for item in items(rest, kind::PROPOSAL, PROPOSALS_MAX)? {
            proposals.push(Proposal::parse(item, &mut room)?);
        }
        Ok(Self { proposals })
    }

    /// The body of an SA payload.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = DOI_IPSEC.to_be_bytes().to_vec();
        out.extend_from_slice(&SIT_IDENTITY_ONLY.to_be_bytes());
        write_items(&mut out, kind::PROPOSAL, &self.proposals, Proposal::write);
        out
    }
}

impl<'a> Proposal<'a> {
    fn parse(item: &'a [u8], room: &mut usize) -> Result<Self, Refusal> {
        let (&[number, protocol, spi_len, count], rest) =
            item.split_first_chunk().ok_or(Refusal::BadProposal)?;
        let (spi, rest) = rest
            .split_at_checked(spi_len.into())
            .ok_or(Refusal::BadProposal)?;
        let items = items(rest, kind::TRANSFORM, *room)?;
        *room -= items.len();
        if items.len() != usize::from(count) {
            return Err(Refusal::BadProposal);
        }
        let transforms = items
            .into_iter()
            .map(Transform::parse)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            number,
            protocol,
            spi,
            transforms,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let len = |len: usize| u8::try_from(len).expect("our own proposals are short");
        out.extend_from_slice(&[
            self.number,
            self.protocol,
            len(self.spi.len()),
            len(self.transforms.len()),
        ]);
        out.extend_from_slice(self.spi);
        write_items(out, kind::TRANSFORM, &self.transforms, Transform::write);
    }
}

impl<'a> Transform<'a> {
    /// A transform of ours, from attributes that have been written.
    #[must_use]
    pub fn new(number: u8, id: u8, attribute_bytes: &'a [u8]) -> Self {
        let attributes = attribute::parse(attribute_bytes).unwrap_or_default();
        Self {
            number,
            id,
            attributes,
            attribute_bytes,
        }
    }

    fn parse(item: &'a [u8]) -> Result<Self, Refusal> {
        let (&[number, id, reserved_high, reserved_low], attribute_bytes) =
            item.split_first_chunk().ok_or(Refusal::BadTransform)?;
        if (reserved_high, reserved_low) != (0, 0) {
            return Err(Refusal::ReservedNotZero);
        }
        let attributes = attribute::parse(attribute_bytes)?;
        Ok(Self {
            number,
            id,
            attributes,
            attribute_bytes,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.number, self.id, 0, 0]);
        out.extend_from_slice(self.attribute_bytes);
    }
}

/// Splits a run of proposals or transforms; each begins with next payload, a reserved byte and a
/// length that includes these four bytes.
fn items(mut bytes: &[u8], kind: u8, max: usize) -> Result<Vec<&[u8]>, Refusal> {
    let mut items = Vec::new();
    loop {
        let (&[next, reserved, high, low], _) =
            bytes.split_first_chunk().ok_or(Refusal::BadProposal)?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        // RFC 2408 §3.5, §3.6: one more of the same, or the end.
        if next != kind && next != 0 {
            return Err(Refusal::BadProposal);
        }
        if reserved != 0 {
            return Err(Refusal::ReservedNotZero);
        }
        if len < 8 || len > bytes.len() {
            return Err(Refusal::BadProposal);
        }
        if items.len() == max {
            return Err(Refusal::TooManyTransforms);
        }
        items.push(&bytes[4..len]);
        bytes = &bytes[len..];
        match (next, bytes.is_empty()) {
            (0, true) => return Ok(items),
            (0, false) | (_, true) => return Err(Refusal::BadProposal),
            (_, false) => {}
        }
    }
}

fn write_items<T>(out: &mut Vec<u8>, kind: u8, items: &[T], write: impl Fn(&T, &mut Vec<u8>)) {
    for (index, item) in items.iter().enumerate() {
        let start = out.len();
        let next = if index + 1 == items.len() { 0 } else { kind };
        out.extend_from_slice(&[next, 0, 0, 0]);
        write(item, out);
        let len = u16::try_from(out.len() - start).expect("our own proposals are short");
        out[start + 2..start + 4].copy_from_slice(&len.to_be_bytes());
    }
}
