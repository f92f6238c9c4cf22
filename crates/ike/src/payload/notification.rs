//! Notification (RFC 2408 §3.14): an error, or news.

use crate::Refusal;

/// No acceptable proposal.
pub const NO_PROPOSAL_CHOSEN: u16 = 14;
/// A payload makes no sense.
pub const PAYLOAD_MALFORMED: u16 = 16;
/// Client identification refused.
pub const INVALID_ID_INFORMATION: u16 = 18;
/// The exchange that had the commit bit is complete (RFC 2408 §3.14.1).
pub const CONNECTED: u16 = 16384;
/// Shorter lifetime of the responder (RFC 2407 §4.6.3.1).
pub const RESPONDER_LIFETIME: u16 = 24576;
/// Replay protection status (RFC 2407 §4.6.3.2).
pub const REPLAY_STATUS: u16 = 24577;
/// The sender knows of no other SA with us (RFC 2407 §4.6.3.3).
pub const INITIAL_CONTACT: u16 = 24578;
/// DPD query (RFC 3706 §5.3).
pub const R_U_THERE: u16 = 36136;
/// DPD answer (RFC 3706 §5.3).
pub const R_U_THERE_ACK: u16 = 36137;

/// Protocol ISAKMP (RFC 2407 §4.4.1).
pub const PROTO_ISAKMP: u8 = 1;
/// Protocol AH.
pub const PROTO_IPSEC_AH: u8 = 2;
/// Protocol ESP.
pub const PROTO_IPSEC_ESP: u8 = 3;
/// The IPsec domain of interpretation.
pub const DOI_IPSEC: u32 = 1;

/// SPIs are an ESP SPI or both cookies; anything longer is not ours.
const SPI_LEN_MAX: usize = 16;

/// The name of a notify type.
#[must_use]
pub fn name(kind: u16) -> Option<&'static str> {
    Some(match kind {
        1 => "INVALID-PAYLOAD-TYPE",
        2 => "DOI-NOT-SUPPORTED",
        3 => "SITUATION-NOT-SUPPORTED",
        4 => "INVALID-COOKIE",
        5 => "INVALID-MAJOR-VERSION",
        6 => "INVALID-MINOR-VERSION",
        7 => "INVALID-EXCHANGE-TYPE",
        8 => "INVALID-FLAGS",
        9 => "INVALID-MESSAGE-ID",
        10 => "INVALID-PROTOCOL-ID",
        11 => "INVALID-SPI",
        12 => "INVALID-TRANSFORM-ID",
        13 => "ATTRIBUTES-NOT-SUPPORTED",
        NO_PROPOSAL_CHOSEN => "NO-PROPOSAL-CHOSEN",
        15 => "BAD-PROPOSAL-SYNTAX",
        PAYLOAD_MALFORMED => "PAYLOAD-MALFORMED",
        17 => "INVALID-KEY-INFORMATION",
        INVALID_ID_INFORMATION => "INVALID-ID-INFORMATION",
        23 => "INVALID-HASH-INFORMATION",
        24 => "AUTHENTICATION-FAILED",
        25 => "INVALID-SIGNATURE",
        30 => "UNEQUAL-PAYLOAD-LENGTHS",
        CONNECTED => "CONNECTED",
        RESPONDER_LIFETIME => "RESPONDER-LIFETIME",
        REPLAY_STATUS => "REPLAY-STATUS",
        INITIAL_CONTACT => "INITIAL-CONTACT",
        R_U_THERE => "R-U-THERE",
        R_U_THERE_ACK => "R-U-THERE-ACK",
        _ => return None,
    })
}

/// The body of a notification payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    /// Protocol that it is about.
    pub protocol: u8,
    /// Notify message type.
    pub kind: u16,
    /// SPI that it is about; both cookies for ISAKMP.
    pub spi: &'a [u8],
    /// Depends on the type.
    pub content: &'a [u8],
}

impl<'a> Notification<'a> {
    /// Reads the body of a notification payload.
    pub fn parse(body: &'a [u8]) -> Result<Self, Refusal> {
        let (&[a, b, c, d, protocol, spi_len, kind_high, kind_low], rest) =
            body.split_first_chunk().ok_or(Refusal::BadNotification)?;
        if u32::from_be_bytes([a, b, c, d]) != DOI_IPSEC {
            return Err(Refusal::UnknownDoi);
        }
        let spi_len = usize::from(spi_len);
        if spi_len > SPI_LEN_MAX {
            return Err(Refusal::BadSpiSize);
        }
        let (spi, content) = rest
            .split_at_checked(spi_len)
            .ok_or(Refusal::BadNotification)?;
        Ok(Self {
            protocol,
            kind: u16::from_be_bytes([kind_high, kind_low]),
            spi,
            content,
        })
    }

    /// The body of a notification payload.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let spi_len = u8::try_from(self.spi.len()).expect("an SPI is at most 16 bytes");
        let mut out = DOI_IPSEC.to_be_bytes().to_vec();
        out.extend_from_slice(&[self.protocol, spi_len]);
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(self.spi);
        out.extend_from_slice(self.content);
        out
    }
}
