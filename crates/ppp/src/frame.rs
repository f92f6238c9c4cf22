//! A PPP frame as L2TP carries it, and the packet of code, identifier and length that every control
//! protocol puts into one (RFC 1661 §2, §5).
//!
//! ```text
//! FF 03 │ protocol │ code │ identifier │ length │ …
//! ```

use crate::{MAX_FRAME, Refusal};

/// The protocol numbers that are more than a number to us.
pub mod protocol {
    #![allow(missing_docs)]
    pub const IP: u16 = 0x0021;
    pub const IPCP: u16 = 0x8021;
    pub const LCP: u16 = 0xc021;
    pub const PAP: u16 = 0xc023;
    pub const CHAP: u16 = 0xc223;
}

/// The codes of RFC 1661 §5 and RFC 1570 §1; IPCP has the first seven.
pub mod code {
    #![allow(missing_docs)]
    pub const CONFIGURE_REQUEST: u8 = 1;
    pub const CONFIGURE_ACK: u8 = 2;
    pub const CONFIGURE_NAK: u8 = 3;
    pub const CONFIGURE_REJECT: u8 = 4;
    pub const TERMINATE_REQUEST: u8 = 5;
    pub const TERMINATE_ACK: u8 = 6;
    pub const CODE_REJECT: u8 = 7;
    pub const PROTOCOL_REJECT: u8 = 8;
    pub const ECHO_REQUEST: u8 = 9;
    pub const ECHO_REPLY: u8 = 10;
    pub const DISCARD_REQUEST: u8 = 11;
    pub const IDENTIFICATION: u8 = 12;
    pub const TIME_REMAINING: u8 = 13;
}

/// All-Stations address and Unnumbered-Information control, RFC 1662 §3.1.
const ADDRESS_AND_CONTROL: [u8; 2] = [0xff, 0x03];

/// Octets of code, identifier and length.
pub(crate) const PACKET_HEADER: usize = 4;

/// Protocol number and information field of a frame.
pub fn parse(frame: &[u8]) -> Result<(u16, &[u8]), Refusal> {
    // RFC 1661 §6.6 wants this agreed on first. Over L2TP clients do as they like, and as no
    // protocol number begins with FF, there is nothing to confuse.
    let body = frame.strip_prefix(&ADDRESS_AND_CONTROL).unwrap_or(frame);
    let (&first, after_first) = body.split_first().ok_or(Refusal::NoProtocol)?;
    // RFC 1661 §6.5: an odd octet ends the field; the other form of the protocol begins with 00.
    if first & 1 == 1 {
        return Ok((u16::from(first), after_first));
    }
    let (&second, information) = after_first.split_first().ok_or(Refusal::NoProtocol)?;
    if second & 1 == 0 {
        return Err(Refusal::NotAProtocol);
    }
    if body.len() > MAX_FRAME {
        return Err(Refusal::Oversized);
    }
    Ok((u16::from_be_bytes([first, second]), information))
}

/// One packet of a control protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// One of [`code`], or of the protocol's own.
    pub code: u8,
    /// Which request this is, or answers.
    pub id: u8,
    /// What follows Length, padding cut off.
    pub body: &'a [u8],
}

impl<'a> Packet<'a> {
    /// RFC 1661 §5: what follows Length is padding; a Length that cannot be drops the packet.
    pub fn parse(information: &'a [u8]) -> Result<Self, Refusal> {
        let Some(&[code, id, high, low]) = information.first_chunk() else {
            return Err(Refusal::BadLength);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let body = information
            .get(PACKET_HEADER..length)
            .ok_or(Refusal::BadLength)?;
        Ok(Self { code, id, body })
    }

    /// The frame that carries this packet, never compressed: RFC 1661 §6.5 and §6.6 forbid that
    /// for LCP, and the rest is too rare to matter.
    pub(crate) fn frame(&self, protocol: u16) -> Vec<u8> {
        // Bodies are built here, or cut to what came in one frame.
        debug_assert!(self.body.len() <= usize::from(u16::MAX) - PACKET_HEADER);
        let length = (PACKET_HEADER + self.body.len()) as u16;
        let mut frame = Vec::with_capacity(PACKET_HEADER + 4 + self.body.len());
        frame.extend_from_slice(&ADDRESS_AND_CONTROL);
        frame.extend_from_slice(&protocol.to_be_bytes());
        frame.extend_from_slice(&[self.code, self.id]);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(self.body);
        frame
    }
}

/// Text of a peer, made fit for a log line: RFC 1570 §1.1 recommends ASCII 32 to 126.
pub fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|letter| match letter.is_control() {
            true => '.',
            false => letter,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An LCP Echo-Request in each shape a client may give it.
    #[test]
    fn address_and_control_may_be_there_or_not() {
        let bare = [0xc0, 0x21, 9, 1, 0, 4];
        let framed = [0xff, 0x03, 0xc0, 0x21, 9, 1, 0, 4];
        assert_eq!(parse(&bare), parse(&framed));
        assert_eq!(parse(&bare).unwrap().0, protocol::LCP);
    }

    // conformance: 1661-56 1661-58
    #[test]
    fn the_protocol_field_may_have_one_octet_or_two() {
        assert_eq!(parse(&[0x00, 0x21, 0x45]), Ok((protocol::IP, &[0x45][..])));
        assert_eq!(parse(&[0x21, 0x45]), Ok((protocol::IP, &[0x45][..])));
        assert_eq!(
            parse(&[0xff, 0x03, 0x21, 0x45]),
            Ok((protocol::IP, &[0x45][..]))
        );
    }

    #[test]
    fn what_is_no_protocol_is_refused() {
        assert_eq!(parse(&[]), Err(Refusal::NoProtocol));
        assert_eq!(parse(&[0xff, 0x03]), Err(Refusal::NoProtocol));
        assert_eq!(parse(&[0xc0]), Err(Refusal::NoProtocol));
        assert_eq!(parse(&[0xc0, 0x20, 1]), Err(Refusal::NotAProtocol));
        assert_eq!(parse(&[0x80; MAX_FRAME + 1]), Err(Refusal::NotAProtocol));
        let mut long = vec![0; MAX_FRAME + 1];
        long[0..2].copy_from_slice(&[0xc0, 0x21]);
        assert_eq!(parse(&long), Err(Refusal::Oversized));
        long.pop();
        assert!(parse(&long).is_ok());
    }

    // conformance: 1661-23
    #[test]
    fn length_rules_the_packet() {
        let packet = |bytes| Packet::parse(bytes);
        assert_eq!(packet(&[1, 2, 0]), Err(Refusal::BadLength));
        assert_eq!(packet(&[1, 2, 0, 3]), Err(Refusal::BadLength));
        assert_eq!(packet(&[1, 2, 0, 5]), Err(Refusal::BadLength));
        assert_eq!(packet(&[1, 2, 0, 4]).unwrap().body, &[0; 0]);
        assert_eq!(packet(&[1, 2, 0, 5, 7, 9, 9]).unwrap().body, &[7]);
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let packet = Packet {
            code: code::ECHO_REQUEST,
            id: 7,
            body: &[1, 2, 3, 4],
        };
        let frame = packet.frame(protocol::LCP);
        assert_eq!(frame[..4], [0xff, 0x03, 0xc0, 0x21]);
        let (protocol, information) = parse(&frame).unwrap();
        assert_eq!(protocol, protocol::LCP);
        assert_eq!(Packet::parse(information), Ok(packet));
    }

    #[test]
    fn a_peer_s_text_cannot_break_a_log_line() {
        assert_eq!(printable(b"MSRASV5.20\r\n\x1b[2J\0"), "MSRASV5.20...[2J.");
    }
}
