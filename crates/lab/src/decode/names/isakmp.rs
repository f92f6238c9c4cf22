//! ISAKMP: RFC 2407, RFC 2408, RFC 2409 appendix A, RFC 3947, and what vendors call themselves.

use ike::message::kind;
use ike::nat::{
    VID_DPD, VID_DRAFT_02, VID_DRAFT_02_NEWLINE, VID_DRAFT_03, VID_FRAGMENTATION, VID_RFC3947,
};

/// Whose attributes: the numbers mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) enum Attributes {
    /// RFC 2409 appendix A.
    Phase1,
    /// RFC 2407 §4.5.
    Phase2,
}

pub(in crate::decode) fn exchange(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "base",
        2 => "main mode",
        3 => "authentication only",
        4 => "aggressive mode",
        5 => "informational",
        6 => "transaction",
        32 => "quick mode",
        33 => "new group mode",
        _ => return None,
    })
}

pub(in crate::decode) fn payload(number: u8) -> Option<&'static str> {
    Some(match number {
        kind::SA => "SA",
        kind::KEY_EXCHANGE => "KE",
        kind::IDENTIFICATION => "ID",
        kind::CERTIFICATE => "CERT",
        kind::CERTIFICATE_REQUEST => "CR",
        kind::HASH => "HASH",
        kind::SIGNATURE => "SIG",
        kind::NONCE => "NONCE",
        kind::NOTIFICATION => "N",
        kind::DELETE => "D",
        kind::VENDOR_ID => "VID",
        14 => "ATTR",
        15 | kind::NAT_D | kind::NAT_D_DRAFT => "NAT-D",
        16 | kind::NAT_OA | kind::NAT_OA_DRAFT => "NAT-OA",
        kind::FRAGMENT => "fragment",
        _ => return None,
    })
}

pub(in crate::decode) fn protocol(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "ISAKMP",
        2 => "AH",
        3 => "ESP",
        4 => "IPCOMP",
        _ => return None,
    })
}

pub(in crate::decode) fn identification(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "IPV4_ADDR",
        2 => "FQDN",
        3 => "USER_FQDN",
        4 => "IPV4_ADDR_SUBNET",
        5 => "IPV6_ADDR",
        6 => "IPV6_ADDR_SUBNET",
        7 => "IPV4_ADDR_RANGE",
        8 => "IPV6_ADDR_RANGE",
        9 => "DER_ASN1_DN",
        10 => "DER_ASN1_GN",
        11 => "KEY_ID",
        _ => return None,
    })
}

pub(in crate::decode) fn certificate_encoding(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "PKCS #7",
        2 => "PGP",
        4 => "X.509 signature",
        5 => "X.509 key exchange",
        7 => "CRL",
        _ => return None,
    })
}

/// ESP transforms (RFC 2407 §4.4.4, RFC 3602, RFC 4106).
pub(in crate::decode) fn encryption_id(number: u8) -> Option<&'static str> {
    Some(match number {
        2 => "DES",
        3 => "3DES",
        6 => "CAST",
        7 => "BLOWFISH",
        11 => "NULL",
        12 => "AES-CBC",
        13 => "AES-CTR",
        14 => "AES-CCM-8",
        15 => "AES-CCM-12",
        16 => "AES-CCM-16",
        18 => "AES-GCM-8",
        19 => "AES-GCM-12",
        20 => "AES-GCM-16",
        22 => "CAMELLIA",
        23 => "AES-GMAC",
        _ => return None,
    })
}

/// The name of an attribute, and that of its value where it has one.
pub(in crate::decode) fn attribute(
    set: Attributes,
    kind: u16,
    value: u64,
) -> (Option<&'static str>, Option<&'static str>) {
    match set {
        Attributes::Phase1 => match kind {
            1 => (Some("encryption"), cipher(value)),
            2 => (Some("hash"), hash(value)),
            3 => (Some("authentication"), method(value)),
            4 => (Some("group"), group(value)),
            11 => (Some("life type"), life(value)),
            12 => (Some("life duration"), None),
            13 => (Some("prf"), None),
            14 => (Some("key length"), None),
            _ => (None, None),
        },
        Attributes::Phase2 => match kind {
            1 => (Some("life type"), life(value)),
            2 => (Some("life duration"), None),
            3 => (Some("group"), group(value)),
            4 => (Some("mode"), mode(value)),
            5 => (Some("integrity"), integrity(value)),
            6 => (Some("key length"), None),
            11 => (Some("extended sequence numbers"), None),
            _ => (None, None),
        },
    }
}

fn cipher(number: u64) -> Option<&'static str> {
    Some(match number {
        1 => "DES-CBC",
        3 => "BLOWFISH-CBC",
        5 => "3DES-CBC",
        6 => "CAST-CBC",
        7 => "AES-CBC",
        8 => "CAMELLIA-CBC",
        _ => return None,
    })
}

fn hash(number: u64) -> Option<&'static str> {
    Some(match number {
        1 => "MD5",
        2 => "SHA1",
        4 => "SHA256",
        5 => "SHA384",
        6 => "SHA512",
        _ => return None,
    })
}

fn method(number: u64) -> Option<&'static str> {
    Some(match number {
        1 => "pre-shared key",
        2 => "DSS signatures",
        3 => "RSA signatures",
        64221 => "hybrid RSA (initiator)",
        65001 => "pre-shared key and XAUTH (initiator)",
        65002 => "pre-shared key and XAUTH (responder)",
        65005 => "RSA signatures and XAUTH (initiator)",
        _ => return None,
    })
}

fn group(number: u64) -> Option<&'static str> {
    Some(match number {
        1 => "MODP768",
        2 => "MODP1024",
        5 => "MODP1536",
        14 => "MODP2048",
        15 => "MODP3072",
        16 => "MODP4096",
        17 => "MODP6144",
        18 => "MODP8192",
        19 => "ECP256",
        20 => "ECP384",
        21 => "ECP521",
        31 => "Curve25519",
        _ => return None,
    })
}

fn life(number: u64) -> Option<&'static str> {
    match number {
        1 => Some("seconds"),
        2 => Some("kilobytes"),
        _ => None,
    }
}

fn mode(number: u64) -> Option<&'static str> {
    Some(match number {
        1 => "tunnel",
        2 => "transport",
        3 => "UDP tunnel",
        4 => "UDP transport",
        61443 => "UDP tunnel (draft)",
        61444 => "UDP transport (draft)",
        _ => return None,
    })
}

fn integrity(number: u64) -> Option<&'static str> {
    Some(match number {
        1 => "HMAC-MD5",
        2 => "HMAC-SHA1",
        5 => "HMAC-SHA256",
        6 => "HMAC-SHA384",
        7 => "HMAC-SHA512",
        9 => "AES-XCBC",
        _ => return None,
    })
}

/// Vendor IDs that do not change from version to version.
const VENDORS: [(&[u8], &str); 18] = [
    (VID_RFC3947, "RFC 3947"),
    (VID_DRAFT_03, "draft-ietf-ipsec-nat-t-ike-03"),
    (VID_DRAFT_02, "draft-ietf-ipsec-nat-t-ike-02"),
    (
        VID_DRAFT_02_NEWLINE,
        "draft-ietf-ipsec-nat-t-ike-02 and a newline",
    ),
    (VID_DPD, "DPD"),
    (
        b"\x8f\x8d\x83\x82\x6d\x24\x6b\x6f\xc7\xa8\xa6\xa4\x28\xc1\x1d\xe8",
        "draft-ietf-ipsec-nat-t-ike-08",
    ),
    (
        b"\x43\x9b\x59\xf8\xba\x67\x6c\x4c\x77\x37\xae\x22\xea\xb8\xf5\x82",
        "draft-ietf-ipsec-nat-t-ike-07",
    ),
    (
        b"\x4d\x1e\x0e\x13\x6d\xea\xfa\x34\xc4\xf3\xea\x9f\x02\xec\x72\x85",
        "draft-ietf-ipsec-nat-t-ike-06",
    ),
    (
        b"\x80\xd0\xbb\x3d\xef\x54\x56\x5e\xe8\x46\x45\xd4\xc8\x5c\xe3\xee",
        "draft-ietf-ipsec-nat-t-ike-05",
    ),
    (
        b"\x99\x09\xb6\x4e\xed\x93\x7c\x65\x73\xde\x52\xac\xe9\x52\xfa\x6b",
        "draft-ietf-ipsec-nat-t-ike-04",
    ),
    (
        b"\x44\x85\x15\x2d\x18\xb6\xbb\xcd\x0b\xe8\xa8\x46\x95\x79\xdd\xcc",
        "draft-ietf-ipsec-nat-t-ike-00",
    ),
    (
        b"\x4d\xf3\x79\x28\xe9\xfc\x4f\xd1\xb3\x26\x21\x70\xd5\x15\xc6\x62",
        "draft-ietf-ipsec-nat-t-ike (Apple)",
    ),
    (b"\x09\x00\x26\x89\xdf\xd6\xb7\x12", "XAUTH"),
    (
        b"\x12\xf5\xf2\x8c\x45\x71\x68\xa9\x70\x2d\x9f\xe2\x74\xcc\x01\x00",
        "Cisco Unity",
    ),
    (
        b"\xfb\x1d\xe3\xcd\xf3\x41\xb7\xea\x16\xb7\xe5\xbe\x08\x55\xf1\x20",
        "MS-Negotiation Discovery Capable",
    ),
    (
        b"\x26\x24\x4d\x38\xed\xdb\x61\xb3\x17\x2a\x36\xe3\xd0\xcf\xb8\x19",
        "Vid-Initial-Contact",
    ),
    (
        b"\xe3\xa5\x96\x6a\x76\x37\x9f\xe7\x07\x22\x82\x31\xe5\xce\x86\x52",
        "IKE CGA version 1",
    ),
    (
        b"\x88\x2f\xe5\x6d\x6f\xd2\x0d\xbc\x22\x51\x61\x3b\x2e\xbe\x5b\xeb",
        "strongSwan",
    ),
];

/// Vendor IDs that are followed by a version or by capabilities.
const VENDORS_AND_VERSION: [(&[u8], &str); 4] = [
    (VID_FRAGMENTATION, "FRAGMENTATION"),
    (
        b"\x1e\x2b\x51\x69\x05\x99\x1c\x7d\x7c\x96\xfc\xbf\xb5\x87\xe4\x61",
        "MS NT5 ISAKMPOAKLEY",
    ),
    (
        b"\x01\x52\x8b\xbb\xc0\x06\x96\x12\x18\x49\xab\x9a\x1c\x5b\x2a\x51",
        "MS KEY_MODS",
    ),
    (
        b"\x70\x03\xcb\xc1\x09\x7d\xbe\x9c\x26\x00\xba\x69\x83\xbc\x8b\x35",
        "racoon",
    ),
];

/// Who sends a vendor ID, or what it announces.
pub(in crate::decode) fn vendor(body: &[u8]) -> Option<&'static str> {
    let exact = VENDORS.iter().find(|(id, _)| body == *id);
    let prefix = || {
        VENDORS_AND_VERSION
            .iter()
            .find(|(id, _)| body.starts_with(id))
    };
    exact.or_else(prefix).map(|(_, name)| *name)
}
