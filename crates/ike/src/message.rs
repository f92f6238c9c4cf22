//! The ISAKMP header (RFC 2408 §3.1) and the chain of payloads behind it (§3.2).

use std::fmt;

use crypto::cipher::Cbc;

use crate::Refusal;

/// Length of the ISAKMP header.
pub const HEADER_LEN: usize = 28;

/// One half of an ISAKMP SA's name (RFC 2408 §2.5.3).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cookie(pub [u8; 8]);

impl Cookie {
    /// The responder's cookie in a first message.
    pub const ZERO: Self = Self([0; 8]);
}

impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Both halves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cookies {
    /// Chosen by the initiator of the main mode.
    pub initiator: Cookie,
    /// Chosen by its responder; zero until message 2.
    pub responder: Cookie,
}

/// Names an IPsec SA at its receiver.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spi(pub u32);

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spi({:08x})", self.0)
    }
}

/// Exchange type (RFC 2408 §3.1, RFC 2409 appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// Identity protection, which RFC 2409 calls main mode.
    MainMode,
    /// Aggressive mode.
    Aggressive,
    /// Informational.
    Informational,
    /// Mode config, which also carries XAUTH.
    Transaction,
    /// Quick mode.
    QuickMode,
}

impl Exchange {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::MainMode => 2,
            Self::Aggressive => 4,
            Self::Informational => 5,
            Self::Transaction => 6,
            Self::QuickMode => 32,
        }
    }

    fn from_number(number: u8) -> Result<Self, Refusal> {
        match number {
            2 => Ok(Self::MainMode),
            4 => Ok(Self::Aggressive),
            5 => Ok(Self::Informational),
            6 => Ok(Self::Transaction),
            32 => Ok(Self::QuickMode),
            _ => Err(Refusal::UnknownExchange),
        }
    }
}

/// Encrypted from the first byte after the header.
pub const FLAG_ENCRYPTION: u8 = 1;
/// Wait for CONNECTED before using the SA.
pub const FLAG_COMMIT: u8 = 2;
/// Authenticated only.
pub const FLAG_AUTHENTICATION: u8 = 4;

const VERSION: u8 = 0x10;

/// The fixed part of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Both cookies, in the order of the main mode that made the SA.
    pub cookies: Cookies,
    /// Type of the first payload.
    pub next_payload: u8,
    /// Exchange type.
    pub exchange: Exchange,
    /// Flag bits.
    pub flags: u8,
    /// Zero in phase 1.
    pub message_id: u32,
    /// Length of the whole message.
    pub length: u32,
}

impl Header {
    /// Whether the payloads are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.flags & FLAG_ENCRYPTION != 0
    }

    /// Whether this starts a main mode: there is no responder cookie yet.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.cookies.responder == Cookie::ZERO
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cookies.initiator.0);
        out.extend_from_slice(&self.cookies.responder.0);
        out.extend_from_slice(&[
            self.next_payload,
            VERSION,
            self.exchange.number(),
            self.flags,
        ]);
        out.extend_from_slice(&self.message_id.to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
    }
}

/// Reads the header and holds it against the datagram, without looking at any payload.
pub fn peek(bytes: &[u8]) -> Result<Header, Refusal> {
    let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Refusal::Truncated)?;
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let cookie = |at: usize| {
        let mut cookie = [0; 8];
        cookie.copy_from_slice(&header[at..at + 8]);
        Cookie(cookie)
    };
    // RFC 2408 §3.1: minor version must not be higher than ours either.
    if header[17] != VERSION {
        return Err(Refusal::UnknownVersion);
    }
    let header = Header {
        cookies: Cookies {
            initiator: cookie(0),
            responder: cookie(8),
        },
        next_payload: header[16],
        exchange: Exchange::from_number(header[18])?,
        flags: header[19],
        message_id: word(20),
        length: word(24),
    };
    check(&header, bytes.len())?;
    Ok(header)
}

fn check(header: &Header, received: usize) -> Result<(), Refusal> {
    if header.flags & !(FLAG_ENCRYPTION | FLAG_COMMIT | FLAG_AUTHENTICATION) != 0 {
        return Err(Refusal::UndefinedFlags);
    }
    if header.cookies.initiator == Cookie::ZERO {
        return Err(Refusal::CookieMissing);
    }
    if header.length as usize != received {
        return Err(Refusal::LengthMismatch);
    }
    Ok(())
}

/// Payload types (RFC 2408 §3.1; RFC 3947 and its drafts).
pub mod kind {
    #![allow(missing_docs)]
    pub const NONE: u8 = 0;
    pub const SA: u8 = 1;
    pub const PROPOSAL: u8 = 2;
    pub const TRANSFORM: u8 = 3;
    pub const KEY_EXCHANGE: u8 = 4;
    pub const IDENTIFICATION: u8 = 5;
    pub const CERTIFICATE: u8 = 6;
    pub const CERTIFICATE_REQUEST: u8 = 7;
    pub const HASH: u8 = 8;
    pub const SIGNATURE: u8 = 9;
    pub const NONCE: u8 = 10;
    pub const NOTIFICATION: u8 = 11;
    pub const DELETE: u8 = 12;
    pub const VENDOR_ID: u8 = 13;
    pub const NAT_D: u8 = 20;
    pub const NAT_OA: u8 = 21;
    pub const NAT_D_DRAFT: u8 = 130;
    pub const NAT_OA_DRAFT: u8 = 131;
    pub const FRAGMENT: u8 = 132;

    /// Types that may stand in a chain; 14 is the attributes of mode config, 15 and 16 are what
    /// draft-ietf-ipsec-nat-t-ike-08 called NAT-D and NAT-OA before they had numbers.
    pub(super) fn is_known(kind: u8) -> bool {
        matches!(
            kind,
            SA | KEY_EXCHANGE..=VENDOR_ID
                | 14..=16
                | NAT_D
                | NAT_OA
                | NAT_D_DRAFT
                | NAT_OA_DRAFT
                | FRAGMENT
        )
    }
}

/// The longest message that is read: what one UDP datagram holds.
pub const MESSAGE_LEN_MAX: usize = 65_507;
/// The most payloads in one message; Apple's first has 13.
pub const PAYLOADS_MAX: usize = 64;
/// Length of the generic payload header (RFC 2408 §3.2).
const GENERIC_LEN: usize = 4;

/// One payload of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// Its type.
    pub kind: u8,
    /// What stands behind its generic header.
    pub body: &'a [u8],
}

/// The payloads of one message, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain<'a> {
    payloads: Vec<Payload<'a>>,
    /// Everything behind the first payload, without padding: what HASH(1) and HASH(2) cover.
    after_first: &'a [u8],
}

impl<'a> Chain<'a> {
    /// Walks the chain. In a clear message it ends with the message; in a decrypted one padding
    /// may follow, whatever its value (RFC 2409 appendix B).
    pub fn parse(first: u8, bytes: &'a [u8], padding: Padding) -> Result<Self, Refusal> {
        let mut payloads: Vec<Payload<'a>> = Vec::new();
        let (mut next, mut at, mut second) = (first, 0, 0);
        while next != kind::NONE {
            if !kind::is_known(next) {
                return Err(Refusal::UnknownPayload);
            }
            if payloads.len() == PAYLOADS_MAX {
                return Err(Refusal::TooManyPayloads);
            }
            let (following, body) = split(&bytes[at..])?;
            payloads.push(Payload { kind: next, body });
            at += GENERIC_LEN + body.len();
            if payloads.len() == 1 {
                second = at;
            }
            next = following;
        }
        if padding == Padding::None && at != bytes.len() {
            return Err(Refusal::LengthMismatch);
        }
        Ok(Self {
            payloads,
            after_first: &bytes[second..at],
        })
    }

    /// All payloads.
    #[must_use]
    pub fn payloads(&self) -> &[Payload<'a>] {
        &self.payloads
    }

    /// Everything behind the first payload, without padding.
    #[must_use]
    pub fn after_first(&self) -> &'a [u8] {
        self.after_first
    }

    /// The bodies of all payloads of a type.
    pub fn all(&self, kind: u8) -> impl Iterator<Item = &'a [u8]> {
        self.payloads
            .iter()
            .filter(move |payload| payload.kind == kind)
            .map(|payload| payload.body)
    }

    /// The body of the only payload of a type, if there is one.
    pub fn optional(&self, kind: u8) -> Result<Option<&'a [u8]>, Refusal> {
        let mut all = self.all(kind);
        let first = all.next();
        match all.next() {
            Some(_) => Err(Refusal::PayloadRepeated),
            None => Ok(first),
        }
    }

    /// The body of the only payload of a type.
    pub fn single(&self, kind: u8) -> Result<&'a [u8], Refusal> {
        self.optional(kind)?.ok_or(Refusal::PayloadMissing)
    }

    /// The body of the first payload, which has to be of this type.
    pub fn leading(&self, kind: u8) -> Result<&'a [u8], Refusal> {
        match self.payloads.first() {
            Some(payload) if payload.kind == kind => Ok(payload.body),
            Some(_) => Err(Refusal::PayloadOrder),
            None => Err(Refusal::PayloadMissing),
        }
    }
}

/// Whether bytes may follow the last payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// None: the message was clear.
    None,
    /// Up to the end: the message was encrypted.
    Allowed,
}

/// The next payload's type and this one's body.
fn split(bytes: &[u8]) -> Result<(u8, &[u8]), Refusal> {
    let &[next, reserved, high, low] = bytes
        .first_chunk::<GENERIC_LEN>()
        .ok_or(Refusal::PayloadOverrun)?;
    // RFC 2408 §5.3: a reserved field that is not zero discards the message.
    if reserved != 0 {
        return Err(Refusal::ReservedNotZero);
    }
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len < GENERIC_LEN {
        return Err(Refusal::PayloadTooShort);
    }
    let body = bytes.get(GENERIC_LEN..len).ok_or(Refusal::PayloadOverrun)?;
    Ok((next, body))
}

/// A chain of payloads being written.
#[derive(Clone, Debug, Default)]
pub struct Payloads {
    first: u8,
    /// Where the type of the next payload goes; `None` while the chain is empty.
    link: Option<usize>,
    bytes: Vec<u8>,
}

impl Payloads {
    /// An empty chain.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a payload.
    #[must_use]
    pub fn with(mut self, kind: u8, body: &[u8]) -> Self {
        self.add(kind, body);
        self
    }

    /// Appends a payload.
    pub fn add(&mut self, kind: u8, body: &[u8]) {
        match self.link {
            Some(link) => self.bytes[link] = kind,
            None => self.first = kind,
        }
        self.link = Some(self.bytes.len());
        let len = u16::try_from(GENERIC_LEN + body.len()).expect("our own payloads are short");
        self.bytes.extend_from_slice(&[kind::NONE, 0]);
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(body);
    }

    /// The same chain behind one more payload.
    #[must_use]
    pub fn after(&self, kind: u8, body: &[u8]) -> Self {
        let mut whole = Self::new().with(kind, body);
        let (head, offset) = (whole.link.expect("one payload is in it"), whole.bytes.len());
        whole.bytes[head] = self.first;
        whole.bytes.extend_from_slice(&self.bytes);
        whole.link = self.link.map(|link| link + offset).or(Some(head));
        whole
    }

    /// The chain as it goes on the wire.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The type of the first payload.
    #[must_use]
    pub fn first(&self) -> u8 {
        self.first
    }
}

#[cfg(test)]
impl Payloads {
    /// For tests that spoil what they send.
    pub(crate) fn set_byte(&mut self, at: usize, value: u8) {
        self.bytes[at] = value;
    }
}

/// Who a message is from and what it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Both cookies.
    pub cookies: Cookies,
    /// Exchange type.
    pub exchange: Exchange,
    /// Zero in phase 1.
    pub message_id: u32,
}

impl Envelope {
    /// A message in clear.
    #[must_use]
    pub fn clear(&self, payloads: &Payloads) -> Vec<u8> {
        self.message(payloads.first, 0, &payloads.bytes)
    }

    /// An encrypted message. `iv` becomes the IV of the exchange's next message.
    #[must_use]
    pub fn seal(&self, payloads: &Payloads, cipher: &Cbc, iv: &mut Vec<u8>) -> Vec<u8> {
        let block_len = iv.len();
        let mut bytes = payloads.bytes.clone();
        // RFC 2409 appendix B: padded to whole blocks, and the header's length includes it.
        bytes.resize(bytes.len().next_multiple_of(block_len), 0);
        cipher.encrypt(iv, &mut bytes);
        *iv = bytes[bytes.len() - block_len..].to_vec();
        self.message(payloads.first, FLAG_ENCRYPTION, &bytes)
    }

    fn message(&self, next_payload: u8, flags: u8, body: &[u8]) -> Vec<u8> {
        let len = HEADER_LEN + body.len();
        let mut out = Vec::with_capacity(len);
        let header = Header {
            cookies: self.cookies,
            next_payload,
            exchange: self.exchange,
            flags,
            message_id: self.message_id,
            length: u32::try_from(len).expect("our own messages are short"),
        };
        header.write(&mut out);
        out.extend_from_slice(body);
        out
    }
}

/// What decryption made of a message: still to be authenticated.
#[derive(Debug)]
pub struct Opened {
    /// Payloads and padding.
    pub plain: Vec<u8>,
    /// The IV of the exchange's next message.
    pub next_iv: Vec<u8>,
}

/// Decrypts everything behind the header.
pub fn open(message: &[u8], cipher: &Cbc, iv: &[u8]) -> Result<Opened, Refusal> {
    let sealed = message.get(HEADER_LEN..).ok_or(Refusal::Truncated)?;
    if sealed.is_empty() || !sealed.len().is_multiple_of(iv.len()) {
        return Err(Refusal::NotWholeBlocks);
    }
    let next_iv = sealed[sealed.len() - iv.len()..].to_vec();
    let mut plain = sealed.to_vec();
    cipher.decrypt(iv, &mut plain);
    Ok(Opened { plain, next_iv })
}
