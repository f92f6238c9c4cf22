//! What the standards call their numbers.

mod isakmp;
mod l2tp;
mod ppp;

pub(super) use isakmp::{
    Attributes, attribute, certificate_encoding, encryption_id, exchange, identification, payload,
    protocol, vendor,
};
pub(super) use l2tp::{Form, attribute as l2tp_attribute, message as l2tp_message};
pub(super) use ppp::{
    AUTHENTICATION, MRRU, MRU, code as ppp_code, has_codes, has_options, option as ppp_option,
    protocol as ppp_protocol,
};

/// IP protocol numbers.
pub(super) fn ip_protocol(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "ICMP",
        2 => "IGMP",
        4 => "IPv4",
        6 => "TCP",
        17 => "UDP",
        41 => "IPv6",
        44 => "IPv6 fragment",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        58 => "ICMPv6",
        115 => "L2TPv3",
        _ => return None,
    })
}

/// ICMP types (RFC 792).
pub(super) fn icmp_type(number: u8) -> Option<&'static str> {
    Some(match number {
        0 => "echo reply",
        3 => "destination unreachable",
        5 => "redirect",
        8 => "echo request",
        11 => "time exceeded",
        12 => "parameter problem",
        _ => return None,
    })
}

/// Whether identifier and sequence mean something.
pub(super) fn is_icmp_echo(kind: u8) -> bool {
    matches!(kind, 0 | 8)
}
