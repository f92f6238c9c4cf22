//! Data attributes (RFC 2408 §3.3): a type and a value, in short or in long form.

use crate::Refusal;

/// RFC 2408 §3.3: set when the value is in the two bytes of the length.
const FORMAT_SHORT: u16 = 0x8000;

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Type, without the format bit.
    pub kind: u16,
    /// The value, as it came.
    pub value: Value<'a>,
}

/// The value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// In two bytes.
    Short(u16),
    /// In any number of bytes.
    Long(&'a [u8]),
}

impl Value<'_> {
    /// The number, whichever form it came in; too large numbers saturate.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Short(value) => value.into(),
            Self::Long(bytes) => bytes.iter().fold(0u64, |number, &byte| {
                number
                    .checked_mul(256)
                    .map_or(u64::MAX, |number| number | u64::from(byte))
            }),
        }
    }

    /// The number if it came in short form, as RFC 2409 appendix A and RFC 2407 §4.5 ask of
    /// attributes of class "B".
    #[must_use]
    pub fn short(self) -> Option<u16> {
        match self {
            Self::Short(value) => Some(value),
            Self::Long(_) => None,
        }
    }
}

/// Reads attributes to the end of the bytes.
pub fn parse(mut bytes: &[u8]) -> Result<Vec<Attribute<'_>>, Refusal> {
    let mut attributes = Vec::new();
    while !bytes.is_empty() {
        let (&[a, b, c, d], rest) = bytes.split_first_chunk().ok_or(Refusal::BadTransform)?;
        let kind = u16::from_be_bytes([a, b]);
        let word = u16::from_be_bytes([c, d]);
        let value = if kind & FORMAT_SHORT != 0 {
            bytes = rest;
            Value::Short(word)
        } else {
            let (value, rest) = rest
                .split_at_checked(word.into())
                .ok_or(Refusal::BadTransform)?;
            bytes = rest;
            Value::Long(value)
        };
        attributes.push(Attribute {
            kind: kind & !FORMAT_SHORT,
            value,
        });
    }
    Ok(attributes)
}

/// Writes an attribute in short form.
pub fn write_short(out: &mut Vec<u8>, kind: u16, value: u16) {
    out.extend_from_slice(&(kind | FORMAT_SHORT).to_be_bytes());
    out.extend_from_slice(&value.to_be_bytes());
}

/// Writes a 32-bit number in long form.
pub fn write_long(out: &mut Vec<u8>, kind: u16, value: u32) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&4u16.to_be_bytes());
    out.extend_from_slice(&value.to_be_bytes());
}
