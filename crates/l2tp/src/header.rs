//! The header that control and data messages share, RFC 2661 §3.1.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |T|L|x|x|S|x|O|P|x|x|x|x|  Ver  |          Length (opt)         |
//! |           Tunnel ID           |           Session ID          |
//! |             Ns (opt)          |             Nr (opt)          |
//! |      Offset Size (opt)        |    Offset pad... (opt)        |
//! ```

use std::fmt;
use std::ops::Range;

use crate::Refusal;

/// Names a control connection; each end gives its own. 0 means "not assigned yet" and is never valid as an assigned id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TunnelId(pub u16);

/// Names a call inside a tunnel; each end gives its own. 0 is never valid as an assigned id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SessionId(pub u16);

impl fmt::Display for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The T bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A control message; an empty payload makes it a ZLB acknowledgement.
    Control,
    /// A PPP frame.
    Data,
}

/// A header that was found sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Control or data.
    pub kind: Kind,
    /// The receiver's tunnel id.
    pub tunnel: TunnelId,
    /// The receiver's session id; 0 for messages about the tunnel.
    pub session: SessionId,
    /// Ns and Nr, where the S bit is set.
    pub sequence: Option<(u16, u16)>,
    /// Where the payload (AVPs, or a PPP frame) lies in the datagram; what follows it is padding.
    pub payload: Range<usize>,
}

impl Header {
    /// A control message without a body: an acknowledgement and nothing else.
    pub fn is_zlb(&self) -> bool {
        self.kind == Kind::Control && self.payload.is_empty()
    }
}

const TYPE: u16 = 0x8000;
const LENGTH: u16 = 0x4000;
const SEQUENCE: u16 = 0x0800;
const OFFSET: u16 = 0x0200;
const VERSION: u16 = 0x000f;

/// Octets of every control header: flags, Length, both ids, Ns, Nr.
pub(crate) const CONTROL_OCTETS: usize = 12;
/// T, L and S set, O and P clear, version 2: what mtpd insists on (it masks with 0xCB0F).
pub(crate) const CONTROL_FLAGS: u16 = TYPE | LENGTH | SEQUENCE | 2;

/// Reads a header, control or data, without looking at the payload.
pub fn peek(bytes: &[u8]) -> Result<Header, Refusal> {
    let mut at = 0;
    let flags = word(bytes, &mut at)?;
    match flags & VERSION {
        2 => {}
        3 => return Err(Refusal::VersionThree),
        other => return Err(Refusal::UnknownVersion(other as u8)),
    }
    let kind = if flags & TYPE != 0 {
        Kind::Control
    } else {
        Kind::Data
    };
    if kind == Kind::Control {
        check_control(flags)?;
    }

    let length = if flags & LENGTH != 0 {
        usize::from(word(bytes, &mut at)?)
    } else {
        bytes.len()
    };
    // RFC 2661 §3.1: Length counts the whole message; anything behind it is padding of a lower layer.
    let message = bytes.get(..length).ok_or(Refusal::LengthPastEnd)?;
    let tunnel = TunnelId(word(message, &mut at)?);
    let session = SessionId(word(message, &mut at)?);
    let sequence = if flags & SEQUENCE != 0 {
        Some((word(message, &mut at)?, word(message, &mut at)?))
    } else {
        None
    };
    if flags & OFFSET != 0 {
        at += usize::from(word(message, &mut at)?);
    }
    if at > length {
        return Err(Refusal::OffsetPastEnd);
    }
    Ok(Header {
        kind,
        tunnel,
        session,
        sequence,
        payload: at..length,
    })
}

/// RFC 2661 §3.1: control messages carry Length and sequence numbers, and no offset. Reserved bits and P are ignored.
fn check_control(flags: u16) -> Result<(), Refusal> {
    if flags & LENGTH == 0 {
        return Err(Refusal::NoLength);
    }
    if flags & SEQUENCE == 0 {
        return Err(Refusal::NoSequenceNumbers);
    }
    if flags & OFFSET != 0 {
        return Err(Refusal::OffsetInControl);
    }
    Ok(())
}

fn word(bytes: &[u8], at: &mut usize) -> Result<u16, Refusal> {
    let word = bytes.get(*at..*at + 2).ok_or(Refusal::Truncated)?;
    *at += 2;
    Ok(u16::from_be_bytes([word[0], word[1]]))
}

#[cfg(test)]
mod tests;
