//! How one kind of LAC says what every LAC has to say: which AVPs, in which order, with which M bits, and how patiently.
//!
//! An LNS has no habits. They are for those who play somebody else, to find out how an LNS takes it. A message is first
//! built as ever and then put into the order of the habit, so that what it says is still the tunnel's own.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::avp::{Attribute, Avp, HIDDEN, MANDATORY, Reader};
use crate::header::CONTROL_OCTETS;
use crate::message::MessageType;

/// Flags and length, vendor, attribute type.
const AVP_HEADER_OCTETS: usize = 6;
/// The header, and the Message Type AVP, which always comes first.
const HEAD: usize = CONTROL_OCTETS + AVP_HEADER_OCTETS + 2;
const RESULT_CODE: u16 = Attribute::ResultCode as u16;
/// What Apple counts twice: the header of an AVP, and so it sends six octets of what was there before.
const APPLE_STALE: [u8; 6] = [0; 6];

/// The habits of one kind of LAC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// What messages hold behind their Message Type, by its number; other messages are sent as ever.
    pub messages: BTreeMap<u16, Vec<Item>>,
    /// How a Result Code of a StopCCN or CDN is written.
    pub results: Results,
    /// The waits after each transmission, the last for all that follow; empty is RFC 2661 §5.8.
    pub ladder: Vec<Duration>,
    /// The same until the peer has said anything at all; empty is no different.
    pub opening_ladder: Vec<Duration>,
    /// Retransmissions until then; 0 is no different.
    pub opening_retransmissions: u32,
    /// Nothing new is sent while something is unacknowledged.
    pub sends_one_at_a_time: bool,
    /// Nothing is heard while something is unacknowledged.
    pub hears_one_at_a_time: bool,
}

/// One AVP of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The M bit.
    pub is_mandatory: bool,
    /// Whose attribute; 0 is the IETF.
    pub vendor: u16,
    /// Attribute type.
    pub attribute: u16,
    /// Its value; `None` is what the tunnel has to say, and nothing if it has nothing to say.
    pub value: Option<Vec<u8>>,
}

/// How Result Codes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Results {
    /// RFC 2661 §4.4.2.
    #[default]
    Standard,
    /// With the low octet first, and six octets too many: Apple.
    Apple,
    /// In a StopCCN always this number, and nothing behind it: mtpd.
    Bare(u16),
}

impl Habits {
    /// The wait after transmission `n`, 0 the first, if it is not that of the RFC.
    pub(crate) fn wait(&self, n: u32) -> Option<Duration> {
        rung(&self.ladder, n)
    }

    /// The same while the peer has not said anything.
    pub(crate) fn opening_wait(&self, n: u32) -> Option<Duration> {
        rung(&self.opening_ladder, n)
    }

    /// The message as this LAC would write it.
    pub(crate) fn shape(&self, message: Vec<u8>) -> Vec<u8> {
        let Some((head, rest)) = message.split_at_checked(HEAD) else {
            return message;
        };
        let number = u16::from_be_bytes([head[HEAD - 2], head[HEAD - 1]]);
        let mut avps = Vec::new();
        let mut reader = Reader::new(rest, None);
        while let Some(Ok(avp)) = reader.next() {
            avps.push(avp);
        }
        let mut shaped = head.to_vec();
        match self.messages.get(&number) {
            None => avps
                .iter()
                .for_each(|avp| self.write(number, avp, &mut shaped)),
            Some(items) => {
                for item in items {
                    if let Some(avp) = item.find(&avps) {
                        self.write(number, &avp, &mut shaped);
                    }
                }
            }
        }
        let length = (shaped.len() as u16).to_be_bytes();
        shaped[2..4].copy_from_slice(&length);
        shaped
    }

    fn write(&self, message: u16, avp: &Avp<'_>, out: &mut Vec<u8>) {
        let value = match (avp.vendor, avp.attribute) {
            (0, RESULT_CODE) => self.result(message, avp.value),
            _ => avp.value.to_vec(),
        };
        let length = (AVP_HEADER_OCTETS + value.len()) as u16;
        for word in [
            avp.flags & (MANDATORY | HIDDEN) | length,
            avp.vendor,
            avp.attribute,
        ] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&value);
    }

    fn result(&self, message: u16, value: &[u8]) -> Vec<u8> {
        match (self.results, value) {
            (Results::Apple, &[high, low, ..]) => [&[low, high][..], &APPLE_STALE].concat(),
            (Results::Bare(code), _) if message == MessageType::StopCcn as u16 => {
                code.to_be_bytes().to_vec()
            }
            (Results::Standard | Results::Apple | Results::Bare(_), _) => value.to_vec(),
        }
    }
}

/// The last rung holds for all that follow.
fn rung(ladder: &[Duration], n: u32) -> Option<Duration> {
    ladder.get(n as usize).or_else(|| ladder.last()).copied()
}

impl Item {
    /// The AVP that goes here: the item's own, or what the tunnel says with the M bit of the item.
    fn find<'v>(&'v self, said: &[Avp<'v>]) -> Option<Avp<'v>> {
        let (vendor, attribute) = (self.vendor, self.attribute);
        let mandatory = if self.is_mandatory { MANDATORY } else { 0 };
        let (hidden, value) = match &self.value {
            Some(value) => (0, &value[..]),
            None => {
                let mut said = said.iter();
                let avp = said.find(|avp| (avp.vendor, avp.attribute) == (vendor, attribute))?;
                (avp.flags & HIDDEN, avp.value)
            }
        };
        let flags = mandatory | hidden;
        Some(Avp {
            flags,
            vendor,
            attribute,
            value,
        })
    }
}
