//! L2TP: RFC 2661 §3.2 and §4.4, and the attributes that IANA has given numbers since.

/// How a value is best shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) enum Form {
    /// As a number.
    Number,
    /// As two numbers with a dot.
    Version,
    /// As text of the peer.
    Text,
    /// As a Result Code.
    Result,
    /// As hexadecimal digits.
    Octets,
}
use Form::{Number, Octets, Result, Text, Version};

pub(in crate::decode) fn message(number: u16) -> Option<&'static str> {
    Some(match number {
        1 => "SCCRQ",
        2 => "SCCRP",
        3 => "SCCCN",
        4 => "StopCCN",
        6 => "HELLO",
        7 => "OCRQ",
        8 => "OCRP",
        9 => "OCCN",
        10 => "ICRQ",
        11 => "ICRP",
        12 => "ICCN",
        14 => "CDN",
        15 => "WEN",
        16 => "SLI",
        28 => "CSUN",
        30 => "CSURQ",
        _ => return None,
    })
}

pub(in crate::decode) fn attribute(number: u16) -> Option<(&'static str, Form)> {
    Some(match number {
        0 => ("Message Type", Number),
        1 => ("Result Code", Result),
        2 => ("Protocol Version", Version),
        3 => ("Framing Capabilities", Number),
        4 => ("Bearer Capabilities", Number),
        5 => ("Tie Breaker", Octets),
        6 => ("Firmware Revision", Number),
        7 => ("Host Name", Text),
        8 => ("Vendor Name", Text),
        9 => ("Assigned Tunnel ID", Number),
        10 => ("Receive Window Size", Number),
        11 => ("Challenge", Octets),
        12 => ("Q.931 Cause Code", Octets),
        13 => ("Challenge Response", Octets),
        14 => ("Assigned Session ID", Number),
        15 => ("Call Serial Number", Number),
        16 => ("Minimum BPS", Number),
        17 => ("Maximum BPS", Number),
        18 => ("Bearer Type", Number),
        19 => ("Framing Type", Number),
        21 => ("Called Number", Text),
        22 => ("Calling Number", Text),
        23 => ("Sub-Address", Text),
        24 => ("(Tx) Connect Speed", Number),
        25 => ("Physical Channel ID", Number),
        26 => ("Initial Received LCP CONFREQ", Octets),
        27 => ("Last Sent LCP CONFREQ", Octets),
        28 => ("Last Received LCP CONFREQ", Octets),
        29 => ("Proxy Authen Type", Number),
        30 => ("Proxy Authen Name", Text),
        31 => ("Proxy Authen Challenge", Octets),
        32 => ("Proxy Authen ID", Number),
        33 => ("Proxy Authen Response", Octets),
        34 => ("Call Errors", Octets),
        35 => ("ACCM", Octets),
        36 => ("Random Vector", Octets),
        37 => ("Private Group ID", Text),
        38 => ("Rx Connect Speed", Number),
        39 => ("Sequencing Required", Octets),
        46 => ("PPP Disconnect Cause Code", Octets),
        _ => return None,
    })
}
