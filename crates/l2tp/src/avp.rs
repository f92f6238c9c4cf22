//! Attribute-value pairs, RFC 2661 §4: the table of those we know, reading and writing.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |M|H| rsvd  |      Length       |           Vendor ID           |
//! |         Attribute Type        |        Attribute Value...
//! ```
//!
//! An AVP is known by vendor *and* attribute type. What is unknown, malformed or can't be revealed is ignored when its M bit
//! is clear and ends the call or the tunnel when it is set (§4.1, §7.1). Reading goes on behind such an AVP, because the
//! ids that the answer needs may follow it.

mod hidden;

use std::borrow::Cow;

use crypto::Secret;

use crate::header::{CONTROL_FLAGS, CONTROL_OCTETS};
use crate::{Refusal, SessionId, TunnelId};

/// The M bit of [`Avp::flags`].
pub const MANDATORY: u16 = 0x8000;
/// The H bit.
pub const HIDDEN: u16 = 0x4000;
const RESERVED: u16 = 0x3c00;
const LENGTH: u16 = 0x03ff;
/// Flags and length, vendor, attribute type.
const HEADER_OCTETS: usize = 6;
/// RFC 2661 §4.1: ten bits of length, of which the header takes six octets.
const VALUE_OCTETS_MAX: usize = LENGTH as usize - HEADER_OCTETS;

const IETF: u16 = 0;
const MICROSOFT: u16 = 311;
/// Microsoft's Correlation-ID: a GUID that the client's event log shows too ([MS-L2TPIE] §2.2.1).
const CORRELATION_ID: u16 = 1;
/// Attributes that only L2TPv3 has (RFC 3931 §5.4: 58 Extended Random Vector … 75 Rx Connect Speed).
const VERSION_THREE_ATTRIBUTES: std::ops::RangeInclusive<u16> = 58..=75;

/// What size a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Exactly(usize),
    AtLeast(usize),
}
use Size::{AtLeast, Exactly};

/// What RFC 2661 §4.4 says about an attribute.
struct Definition {
    attribute: Attribute,
    size: Size,
    mandatory: bool,
    may_hide: bool,
}

macro_rules! attributes {
    ($($name:ident = $number:literal, $size:expr, $mandatory:ident, $hiding:ident;)*) => {
        /// The attributes of RFC 2661 §4.4, under its names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Attribute { $($name = $number),* }

        const DEFINITIONS: &[Definition] = &[$(Definition {
            attribute: Attribute::$name,
            size: $size,
            mandatory: attributes!(@mandatory $mandatory),
            may_hide: attributes!(@hiding $hiding),
        }),*];
    };
    (@mandatory M) => { true };
    (@mandatory o) => { false };
    (@hiding hideable) => { true };
    (@hiding clear) => { false };
}

// M: sent with the M bit; o: without. Sizes are those that are taken, which for a few is more than the RFC has (see notes).
attributes! {
    MessageType           = 0,  Exactly(2),  M, clear;
    // Apple counts its header twice: length 14, six octets of which are stale. xl2tpd before 1.3.14 refused a bare code.
    ResultCode            = 1,  AtLeast(2),  M, clear;
    ProtocolVersion       = 2,  Exactly(2),  M, clear;
    FramingCapabilities   = 3,  Exactly(4),  M, hideable;
    BearerCapabilities    = 4,  Exactly(4),  M, hideable;
    TieBreaker            = 5,  Exactly(8),  o, clear;
    FirmwareRevision      = 6,  Exactly(2),  o, hideable;
    HostName              = 7,  AtLeast(1),  M, clear;
    VendorName            = 8,  AtLeast(0),  o, hideable;
    AssignedTunnelId      = 9,  Exactly(2),  M, hideable;
    ReceiveWindowSize     = 10, Exactly(2),  M, clear;
    Challenge             = 11, AtLeast(1),  M, hideable;
    Q931CauseCode         = 12, AtLeast(2),  M, clear;
    ChallengeResponse     = 13, Exactly(16), M, hideable;
    AssignedSessionId     = 14, Exactly(2),  M, hideable;
    CallSerialNumber      = 15, Exactly(4),  M, hideable;
    MinimumBps            = 16, Exactly(4),  M, hideable;
    MaximumBps            = 17, Exactly(4),  M, hideable;
    BearerType            = 18, Exactly(4),  M, hideable;
    FramingType           = 19, Exactly(4),  M, hideable;
    CalledNumber          = 21, AtLeast(0),  M, hideable;
    CallingNumber         = 22, AtLeast(0),  M, hideable;
    SubAddress            = 23, AtLeast(0),  M, hideable;
    TxConnectSpeed        = 24, Exactly(4),  M, hideable;
    PhysicalChannelId     = 25, Exactly(4),  o, hideable;
    InitialReceivedConfreq = 26, AtLeast(0), o, hideable;
    LastSentConfreq       = 27, AtLeast(0),  o, hideable;
    LastReceivedConfreq   = 28, AtLeast(0),  o, hideable;
    ProxyAuthenType       = 29, Exactly(2),  o, hideable;
    ProxyAuthenName       = 30, AtLeast(0),  o, hideable;
    ProxyAuthenChallenge  = 31, AtLeast(1),  o, hideable;
    ProxyAuthenId         = 32, Exactly(2),  o, hideable;
    ProxyAuthenResponse   = 33, AtLeast(0),  o, hideable;
    CallErrors            = 34, Exactly(26), M, hideable;
    Accm                  = 35, Exactly(10), M, hideable;
    RandomVector          = 36, AtLeast(0),  M, clear;
    PrivateGroupId        = 37, AtLeast(0),  o, hideable;
    RxConnectSpeed        = 38, Exactly(4),  o, hideable;
    // The RFC has no value here; one that comes is of no consequence.
    SequencingRequired    = 39, AtLeast(0),  M, clear;
}

/// One more than the largest attribute number.
const NUMBERS: usize = Attribute::SequencingRequired as usize + 1;

impl Attribute {
    fn definition(self) -> &'static Definition {
        DEFINITIONS
            .iter()
            .find(|definition| definition.attribute == self)
            .expect("the macro makes both from the same list")
    }
}

/// The AVPs of one message. Of an attribute that comes twice, the first counts.
#[derive(Debug)]
pub(crate) struct Attributes<'m> {
    values: [Option<Cow<'m, [u8]>>; NUMBERS],
    /// Whether the first AVP, the Message Type, has its M bit set.
    pub(crate) type_mandatory: bool,
    /// Microsoft's Correlation-ID.
    pub(crate) correlation_id: Option<[u8; 16]>,
    /// Attributes of L2TPv3 are there, and whether one has its M bit set.
    pub(crate) version_three: Option<VersionThree>,
    /// The first thing that is wrong with the message.
    pub(crate) fault: Option<Refusal>,
}

/// How a peer speaks of L2TPv3 in a message with an L2TPv2 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionThree {
    /// It can fall back: M bits clear.
    Offered,
    /// It insists: an M bit set.
    Required,
}

impl<'m> Attributes<'m> {
    /// Reads the body of a control message that isn't a ZLB.
    pub(crate) fn read(body: &'m [u8], secret: Option<&Secret>) -> Result<Self, Refusal> {
        let mut attributes = Self {
            values: [const { None }; NUMBERS],
            type_mandatory: false,
            correlation_id: None,
            version_three: None,
            fault: None,
        };
        let mut reader = Reader::new(body, secret);
        // RFC 2661 §4.4.1: the Message Type is the first AVP, and it is never hidden.
        let first = reader
            .next()
            .ok_or(Refusal::NoMessageType)?
            .map_err(|_| Refusal::NoMessageType)?;
        attributes.type_mandatory = first.flags & MANDATORY != 0;
        let is_type = first.vendor == IETF
            && first.attribute == Attribute::MessageType as u16
            && first.flags & (HIDDEN | RESERVED) == 0
            && first.value.len() == 2;
        if !is_type {
            return Err(Refusal::NoMessageType);
        }
        attributes.values[0] = Some(Cow::Borrowed(first.value));

        while let Some(avp) = reader.next() {
            let taken = avp.and_then(|avp| attributes.take(&avp, &reader));
            if let Err(refusal) = taken {
                attributes.fault.get_or_insert(refusal);
            }
        }
        Ok(attributes)
    }

    /// Files one AVP, or says what is wrong with it if its M bit forbids to ignore that.
    fn take(&mut self, avp: &Avp<'m>, reader: &Reader<'m, '_>) -> Result<(), Refusal> {
        let complaint = if avp.flags & RESERVED != 0 {
            // RFC 2661 §4.1: an AVP with a reserved bit set is treated as unrecognised.
            avp.unknown()
        } else if avp.vendor == IETF {
            match self.take_ietf(avp, reader) {
                Ok(()) => return Ok(()),
                Err(complaint) => complaint,
            }
        } else if self.take_vendor(avp) {
            return Ok(());
        } else {
            avp.unknown()
        };
        if avp.flags & MANDATORY == 0 {
            Ok(())
        } else {
            Err(complaint)
        }
    }

    fn take_ietf(&mut self, avp: &Avp<'m>, reader: &Reader<'m, '_>) -> Result<(), Refusal> {
        if VERSION_THREE_ATTRIBUTES.contains(&avp.attribute) {
            let required =
                avp.flags & MANDATORY != 0 || self.version_three == Some(VersionThree::Required);
            let insistence = if required {
                VersionThree::Required
            } else {
                VersionThree::Offered
            };
            self.version_three = Some(insistence);
        }
        let definition = DEFINITIONS
            .iter()
            .find(|definition| definition.attribute as u16 == avp.attribute)
            .ok_or_else(|| avp.unknown())?;
        let value = if avp.flags & HIDDEN == 0 {
            Cow::Borrowed(avp.value)
        } else if definition.may_hide {
            Cow::Owned(reader.reveal(avp)?)
        } else {
            return Err(Refusal::MalformedAvp(avp.attribute));
        };
        let fits = match definition.size {
            Exactly(octets) => value.len() == octets,
            AtLeast(octets) => value.len() >= octets,
        };
        if !fits {
            return Err(Refusal::MalformedAvp(avp.attribute));
        }
        self.values[usize::from(avp.attribute)].get_or_insert(value);
        Ok(())
    }

    /// Takes a vendor's AVP that we know; everything else of vendors is unrecognised, whatever its number.
    fn take_vendor(&mut self, avp: &Avp<'_>) -> bool {
        let is_known =
            (avp.vendor, avp.attribute) == (MICROSOFT, CORRELATION_ID) && avp.flags & HIDDEN == 0;
        let guid = <[u8; 16]>::try_from(avp.value).ok().filter(|_| is_known);
        self.correlation_id = self.correlation_id.or(guid);
        guid.is_some()
    }

    /// The Message Type.
    pub(crate) fn message_type(&self) -> u16 {
        self.u16(Attribute::MessageType).unwrap_or(0)
    }

    /// The octets of a value.
    pub(crate) fn bytes(&self, attribute: Attribute) -> Option<&[u8]> {
        self.values[attribute as usize].as_deref()
    }

    /// A value of two octets.
    pub(crate) fn u16(&self, attribute: Attribute) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(attribute)?.try_into().ok()?))
    }

    /// A value of four octets.
    pub(crate) fn u32(&self, attribute: Attribute) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(attribute)?.try_into().ok()?))
    }

    /// A value of eight octets.
    pub(crate) fn u64(&self, attribute: Attribute) -> Option<u64> {
        Some(u64::from_be_bytes(self.bytes(attribute)?.try_into().ok()?))
    }

    /// A value for people. Apple's host name ends in a NUL, which is no part of it.
    pub(crate) fn text(&self, attribute: Attribute) -> Option<String> {
        let mut bytes = self.bytes(attribute)?;
        while let [rest @ .., 0] = bytes {
            bytes = rest;
        }
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Complains about an attribute that the message must have and has not.
    pub(crate) fn require<T>(attribute: Attribute, value: Option<T>) -> Result<T, Refusal> {
        value.ok_or(Refusal::MissingAvp(attribute as u16))
    }
}

/// What makes this side refuse the body of a control message, whatever its type.
pub fn objection(body: &[u8], secret: Option<&Secret>) -> Option<Refusal> {
    match Attributes::read(body, secret) {
        Ok(attributes) => attributes.fault,
        Err(refusal) => Some(refusal),
    }
}

/// One AVP as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Avp<'m> {
    /// M, H and reserved bits, and the length.
    pub flags: u16,
    /// Whose attribute; 0 is the IETF.
    pub vendor: u16,
    /// Attribute type.
    pub attribute: u16,
    /// Attribute value, hidden if the H bit is set.
    pub value: &'m [u8],
}

impl Avp<'_> {
    fn unknown(&self) -> Refusal {
        Refusal::UnknownMandatoryAvp {
            vendor: self.vendor,
            attribute: self.attribute,
        }
    }
}

/// Walks over the AVPs of a message and remembers the last Random Vector.
pub struct Reader<'m, 's> {
    rest: &'m [u8],
    secret: Option<&'s Secret>,
    vector: Option<&'m [u8]>,
}

impl<'m, 's> Reader<'m, 's> {
    /// Begins with the Message Type.
    pub fn new(body: &'m [u8], secret: Option<&'s Secret>) -> Self {
        Self {
            rest: body,
            secret,
            vector: None,
        }
    }

    /// The next AVP; one that has no end is the last.
    #[expect(
        clippy::should_implement_trait,
        reason = "between two AVPs the caller reveals"
    )]
    pub fn next(&mut self) -> Option<Result<Avp<'m>, Refusal>> {
        if self.rest.is_empty() {
            return None;
        }
        let avp = self.split();
        if avp.is_err() {
            // Where this AVP ends is unknown, so nothing behind it can be read.
            self.rest = &[];
        }
        Some(avp)
    }

    fn split(&mut self) -> Result<Avp<'m>, Refusal> {
        let (header, _) = self
            .rest
            .split_first_chunk::<HEADER_OCTETS>()
            .ok_or(Refusal::AvpLength)?;
        let [f0, f1, v0, v1, a0, a1] = *header;
        let flags = u16::from_be_bytes([f0, f1]);
        let length = usize::from(flags & LENGTH);
        let value = self
            .rest
            .get(HEADER_OCTETS..length)
            .ok_or(Refusal::AvpLength)?;
        self.rest = &self.rest[length..];
        let avp = Avp {
            flags,
            vendor: u16::from_be_bytes([v0, v1]),
            attribute: u16::from_be_bytes([a0, a1]),
            value,
        };
        // RFC 2661 §4.3: the random vector is that of the last Random Vector AVP before the hidden one.
        if avp.vendor == IETF
            && avp.attribute == Attribute::RandomVector as u16
            && avp.flags & (HIDDEN | RESERVED) == 0
        {
            self.vector = Some(value);
        }
        Ok(avp)
    }

    /// The original value of the hidden AVP that was read last (RFC 2661 §4.3).
    pub fn reveal(&self, avp: &Avp<'_>) -> Result<Vec<u8>, Refusal> {
        let cannot = Refusal::CannotReveal(avp.attribute);
        let (Some(secret), Some(vector)) = (self.secret, self.vector) else {
            return Err(cannot);
        };
        hidden::reveal(avp.attribute, secret, vector, avp.value)
            .ok_or(Refusal::MalformedAvp(avp.attribute))
    }
}

/// How to hide: the tunnel secret, and the random vector of this message.
pub(crate) struct Hiding<'s> {
    pub(crate) secret: &'s Secret,
    pub(crate) vector: [u8; 16],
}

/// Builds one control message. Ns, Nr and the tunnel id are filled in when it is transmitted.
pub(crate) struct Writer<'s> {
    bytes: Vec<u8>,
    hiding: Option<Hiding<'s>>,
}

impl<'s> Writer<'s> {
    /// A message that begins with its Message Type and, if anything will be hidden, the Random Vector.
    pub(crate) fn new(message_type: u16, session: SessionId, hiding: Option<Hiding<'s>>) -> Self {
        let mut bytes = Vec::with_capacity(128);
        header(&mut bytes, TunnelId(0), session, 0, 0);
        let mut writer = Self {
            bytes,
            hiding: None,
        };
        writer.u16(Attribute::MessageType, message_type);
        if let Some(hiding) = hiding {
            writer.bytes(Attribute::RandomVector, &hiding.vector);
            writer.hiding = Some(hiding);
        }
        writer
    }

    pub(crate) fn u16(&mut self, attribute: Attribute, value: u16) -> &mut Self {
        self.bytes(attribute, &value.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, attribute: Attribute, value: u32) -> &mut Self {
        self.bytes(attribute, &value.to_be_bytes())
    }

    /// Writes an AVP with the M bit that the RFC gives it, hidden if it may be and this message hides. Cuts a value that
    /// no AVP can hold.
    pub(crate) fn bytes(&mut self, attribute: Attribute, value: &[u8]) -> &mut Self {
        let definition = attribute.definition();
        let mandatory = if definition.mandatory { MANDATORY } else { 0 };
        let hiding = self.hiding.as_ref().filter(|_| definition.may_hide);
        let (hidden, value) = match hiding {
            Some(hiding) => {
                let value = &value[..value.len().min(VALUE_OCTETS_MAX - hidden::LENGTH_OCTETS)];
                let value = hidden::hide(attribute as u16, hiding.secret, &hiding.vector, value);
                (HIDDEN, Cow::Owned(value))
            }
            None => (
                0,
                Cow::Borrowed(&value[..value.len().min(VALUE_OCTETS_MAX)]),
            ),
        };
        let length = (HEADER_OCTETS + value.len()) as u16;
        for word in [mandatory | hidden | length, IETF, attribute as u16] {
            self.bytes.extend_from_slice(&word.to_be_bytes());
        }
        self.bytes.extend_from_slice(&value);
        self
    }

    pub(crate) fn text(&mut self, attribute: Attribute, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.bytes(attribute, value.as_bytes()),
            None => self,
        }
    }

    /// The whole message with its Length.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u16;
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
        self.bytes
    }
}

/// Writes a control header with the Length of a ZLB.
pub(crate) fn header(bytes: &mut Vec<u8>, tunnel: TunnelId, session: SessionId, ns: u16, nr: u16) {
    for word in [
        CONTROL_FLAGS,
        CONTROL_OCTETS as u16,
        tunnel.0,
        session.0,
        ns,
        nr,
    ] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
