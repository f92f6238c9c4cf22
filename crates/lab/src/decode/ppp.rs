//! PPP (RFC 1661): the control protocols option by option, and the IP packets in between.

use std::net::Ipv4Addr;

use ppp::MAX_FRAME;
use ppp::frame::{self, code, protocol};
use ppp::options::{ConfigOption, Options};

use super::layer::{Layer, Packet, escaped, hex, named};
use super::{Decoder, LAYERS_MAX, names};

const IPV6: u16 = 0x0057;
const IPV6CP: u16 = 0x8057;
const CCP: u16 = 0x80fd;
/// RFC 2433 and RFC 2759 put four fields into the value of their responses.
const MSCHAP_RESPONSE_LEN: usize = 49;
/// Codes of PAP and of CHAP (RFC 1334 §2.2, RFC 1994 §4).
const PAP_REQUEST: u8 = 1;
const CHAP_CHALLENGE: u8 = 1;
const CHAP_RESPONSE: u8 = 2;

impl Decoder {
    pub(super) fn ppp(&mut self, octets: &[u8], packet: &mut Packet) {
        if packet.layers.len() > LAYERS_MAX {
            return packet.malformed("more layers than anybody needs");
        }
        // The limit is one of control frames, and the header is in front.
        let head = &octets[..octets.len().min(MAX_FRAME)];
        let (number, information) = match frame::parse(head) {
            Ok(parsed) => parsed,
            Err(refusal) => {
                packet.layers.push(Layer::new("PPP"));
                return packet.malformed(refusal);
            }
        };
        let information = &octets[head.len() - information.len()..];
        let name = named(names::ppp_protocol(number), format!("{number:#06x}"));
        packet.layers.push(Layer::new("PPP").with("protocol", name));
        match number {
            protocol::IP | IPV6 => self.ip(information, packet),
            _ if names::has_codes(number) => control(number, information, packet),
            _ => packet
                .layers
                .push(Layer::new("payload").with("octets", information.len())),
        }
    }
}

/// A packet of code, identifier and length.
fn control(number: u16, information: &[u8], packet: &mut Packet) {
    let name = names::ppp_protocol(number).unwrap_or("PPP control");
    let parsed = match frame::Packet::parse(information) {
        Ok(parsed) => parsed,
        Err(refusal) => {
            packet.layers.push(Layer::new(name));
            return packet.malformed(refusal);
        }
    };
    let mut layer = Layer::new(name)
        .with(
            "code",
            named(names::ppp_code(number, parsed.code), parsed.code),
        )
        .with("id", parsed.id);
    let read = match number {
        protocol::PAP => pap(&parsed, &mut layer),
        protocol::CHAP => chap(&parsed, &mut layer),
        _ if names::has_options(number) => {
            negotiation(number, &parsed, &mut layer).map_err(ppp::Refusal::text)
        }
        _ => {
            layer.set("octets", parsed.body.len());
            Ok(())
        }
    };
    packet.layers.push(layer);
    if let Err(why) = read {
        packet.malformed(why);
    }
}

fn pap(parsed: &frame::Packet<'_>, layer: &mut Layer) -> Result<(), &'static str> {
    let (first, rest) = counted(parsed.body)?;
    if parsed.code == PAP_REQUEST {
        let (password, _) = counted(rest)?;
        layer.set("peer", escaped(first));
        // Who has the keys has the password too; it need not be in a ticket that way.
        layer.set("octets of password", password.len());
    } else {
        layer.set("message", escaped(first));
    }
    Ok(())
}

fn chap(parsed: &frame::Packet<'_>, layer: &mut Layer) -> Result<(), &'static str> {
    if !matches!(parsed.code, CHAP_CHALLENGE | CHAP_RESPONSE) {
        layer.set("message", escaped(parsed.body));
        return Ok(());
    }
    let (value, name) = counted(parsed.body)?;
    match value {
        _ if value.len() == MSCHAP_RESPONSE_LEN && parsed.code == CHAP_RESPONSE => {
            layer.set("peer challenge", hex(&value[..16]));
            layer.set("NT response", hex(&value[24..48]));
        }
        _ => layer.set("value", hex(value)),
    }
    layer.set("name", escaped(name));
    Ok(())
}

/// A string behind its length in one octet, and the rest.
fn counted(octets: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let (&len, rest) = octets.split_first().ok_or("no string")?;
    rest.split_at_checked(usize::from(len))
        .ok_or("string past the end")
}

/// LCP and the NCPs.
fn negotiation(
    number: u16,
    parsed: &frame::Packet<'_>,
    layer: &mut Layer,
) -> Result<(), ppp::Refusal> {
    match parsed.code {
        code::CONFIGURE_REQUEST..=code::CONFIGURE_REJECT => {
            for option in Options::parse(parsed.body)?.iter() {
                layer.add(show(number, &option));
            }
        }
        code::TERMINATE_REQUEST | code::TERMINATE_ACK => {
            layer.set("text", escaped(parsed.body));
        }
        code::CODE_REJECT => layer.set("rejected", hex(parsed.body)),
        code::PROTOCOL_REJECT if number == protocol::LCP => rejected_protocol(parsed.body, layer)?,
        code::ECHO_REQUEST..=code::TIME_REMAINING if number == protocol::LCP => {
            magic(parsed, layer)?;
        }
        _ => layer.set("octets", parsed.body.len()),
    }
    Ok(())
}

fn rejected_protocol(body: &[u8], layer: &mut Layer) -> Result<(), ppp::Refusal> {
    let number = body.first_chunk().ok_or(ppp::Refusal::Malformed)?;
    let number = u16::from_be_bytes(*number);
    let name = named(names::ppp_protocol(number), format!("{number:#06x}"));
    layer.set("rejected", name);
    Ok(())
}

/// RFC 1661 §5.8, RFC 1570 §1.1: a magic number, and what the sender likes to add.
fn magic(parsed: &frame::Packet<'_>, layer: &mut Layer) -> Result<(), ppp::Refusal> {
    let (magic, rest) = parsed
        .body
        .split_first_chunk::<4>()
        .ok_or(ppp::Refusal::Malformed)?;
    layer.set("magic number", hex(magic));
    match parsed.code {
        code::IDENTIFICATION => layer.set("text", escaped(rest)),
        _ if rest.is_empty() => {}
        _ => layer.set("octets", rest.len()),
    }
    Ok(())
}

fn show(number: u16, option: &ConfigOption<'_>) -> Layer {
    let name = names::ppp_option(number, option.kind);
    let layer = Layer::new(named(name, format!("option {}", option.kind)));
    let is_address = number == protocol::IPCP && option.value.len() == 4;
    match (number, option.kind, option.value) {
        (_, _, []) => layer,
        (_, _, &[a, b, c, d]) if is_address => layer.showing("value", Ipv4Addr::new(a, b, c, d)),
        (protocol::LCP, names::MRU | names::MRRU, &[a, b]) => {
            layer.with("value", u16::from_be_bytes([a, b]))
        }
        (protocol::LCP, names::AUTHENTICATION, value) => layer.with("value", method(value)),
        (IPV6CP | CCP, _, value) | (_, _, value) => layer.with("value", hex(value)),
    }
}

fn method(value: &[u8]) -> String {
    match value {
        [0xc0, 0x23] => "PAP".into(),
        [0xc2, 0x23, 0x05] => "CHAP with MD5".into(),
        [0xc2, 0x23, 0x80] => "MS-CHAPv1".into(),
        [0xc2, 0x23, 0x81] => "MS-CHAPv2".into(),
        [0xc2, 0x27] => "EAP".into(),
        other => hex(other),
    }
}
