//! PPP: protocols, codes and options.

use ppp::frame::protocol::{CHAP, IP, IPCP, LCP, PAP};

/// LCP options that are more than octets.
pub(in crate::decode) const MRU: u8 = 1;
pub(in crate::decode) const AUTHENTICATION: u8 = 3;
pub(in crate::decode) const MRRU: u8 = 17;

const IPV6CP: u16 = 0x8057;
const CCP: u16 = 0x80fd;
const EAP: u16 = 0xc227;

/// Protocol numbers, as far as clients are known to send them.
pub(in crate::decode) fn protocol(number: u16) -> Option<&'static str> {
    Some(match number {
        IP => "IPv4",
        0x002d => "Van Jacobson compressed TCP",
        0x002f => "Van Jacobson uncompressed TCP",
        0x003d => "multilink",
        0x0057 => "IPv6",
        0x00fd => "compressed",
        IPCP => "IPCP",
        0x8031 => "BCP",
        0x8053 => "ECP",
        IPV6CP => "IPV6CP",
        CCP => "CCP",
        0x8235 => "ACSCP",
        0x8281 => "MPLSCP",
        LCP => "LCP",
        PAP => "PAP",
        0xc025 => "LQR",
        0xc029 => "CBCP",
        CHAP => "CHAP",
        EAP => "EAP",
        _ => return None,
    })
}

/// Whether a protocol's packets have code, identifier and length (RFC 1661 §5).
pub(in crate::decode) fn has_codes(number: u16) -> bool {
    has_options(number) || matches!(number, PAP | CHAP | EAP | 0xc029)
}

/// Whether its first codes negotiate options.
pub(in crate::decode) fn has_options(number: u16) -> bool {
    // RFC 1661 §2: 8xxx to bxxx are NCPs.
    number == LCP || (0x8000..0xc000).contains(&number)
}

/// The name of a code.
pub(in crate::decode) fn code(protocol: u16, code: u8) -> Option<&'static str> {
    const PAP_CODES: [&str; 3] = [
        "Authenticate-Request",
        "Authenticate-Ack",
        "Authenticate-Nak",
    ];
    const CHAP_CODES: [&str; 4] = ["Challenge", "Response", "Success", "Failure"];
    const EAP_CODES: [&str; 4] = ["Request", "Response", "Success", "Failure"];
    const CODES: [&str; 15] = [
        "Configure-Request",
        "Configure-Ack",
        "Configure-Nak",
        "Configure-Reject",
        "Terminate-Request",
        "Terminate-Ack",
        "Code-Reject",
        "Protocol-Reject",
        "Echo-Request",
        "Echo-Reply",
        "Discard-Request",
        "Identification",
        "Time-Remaining",
        "Reset-Request",
        "Reset-Ack",
    ];
    let list: &[&'static str] = match protocol {
        PAP => &PAP_CODES,
        CHAP => &CHAP_CODES,
        EAP => &EAP_CODES,
        _ => &CODES,
    };
    list.get(usize::from(code).checked_sub(1)?).copied()
}

/// The name of an option.
pub(in crate::decode) fn option(protocol: u16, kind: u8) -> Option<&'static str> {
    Some(match (protocol, kind) {
        (LCP, MRU) => "Maximum-Receive-Unit",
        (LCP, 2) => "Async-Control-Character-Map",
        (LCP, AUTHENTICATION) => "Authentication-Protocol",
        (LCP, 4) => "Quality-Protocol",
        (LCP, 5) => "Magic-Number",
        (LCP, 7) => "Protocol-Field-Compression",
        (LCP, 8) => "Address-and-Control-Field-Compression",
        (LCP, 13) => "Callback",
        (LCP, MRRU) => "Multilink-MRRU",
        (LCP, 18) => "Multilink-Short-Sequence-Number",
        (LCP, 19) => "Multilink-Endpoint-Discriminator",
        (IPCP, 1) => "IP-Addresses",
        (IPCP, 2) => "IP-Compression-Protocol",
        (IPCP, 3) => "IP-Address",
        (IPCP, 129) => "Primary-DNS",
        (IPCP, 130) => "Primary-NBNS",
        (IPCP, 131) => "Secondary-DNS",
        (IPCP, 132) => "Secondary-NBNS",
        (IPV6CP, 1) => "Interface-Identifier",
        (CCP, 18) => "MPPE",
        (CCP, 21) => "BSD-Compress",
        (CCP, 24 | 26) => "Deflate",
        _ => return None,
    })
}
