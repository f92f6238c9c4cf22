use proptest::prelude::*;

use super::*;
use crate::testing::{
    APPLE_SCCRQ, HIDDEN_SCCRQ, MTPD_SCCRQ, WINDOWS_ICRQ, WINDOWS_SCCRQ, XL2TPD_ICCN, XL2TPD_SCCRQ,
    bytes, secret,
};

const VECTOR: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// Message type HELLO.
const HELLO: &[u8] = &[0x80, 8, 0, 0, 0, 0, 0, 6];

fn body(hex: &str) -> Vec<u8> {
    bytes(hex).split_off(CONTROL_OCTETS)
}

/// One AVP behind a HELLO's Message Type.
fn hello_with(flags: u16, vendor: u16, attribute: u16, value: &[u8]) -> Vec<u8> {
    let mut body = HELLO.to_vec();
    for word in [flags | (6 + value.len() as u16), vendor, attribute] {
        body.extend_from_slice(&word.to_be_bytes());
    }
    body.extend_from_slice(value);
    body
}

fn fault(body: &[u8]) -> Option<Refusal> {
    Attributes::read(body, Some(&secret())).unwrap().fault
}

#[test]
fn the_sccrq_of_each_client_is_read() {
    // (message, host name, vendor, tunnel id, window)
    let cases = [
        (XL2TPD_SCCRQ, "client", Some("xelerance.com"), 0x6b5e, 4),
        (APPLE_SCCRQ, "macbook", None, 7, 4),
        (MTPD_SCCRQ, "anonymous", None, 0x7b3d, 1),
        (WINDOWS_SCCRQ, "RWB-LAPTOP-DELL", Some("Microsoft"), 1, 8),
    ];
    for (hex, host, vendor, tunnel, window) in cases {
        let body = body(hex);
        let avps = Attributes::read(&body, None).unwrap();
        assert_eq!(avps.fault, None);
        assert_eq!((avps.message_type(), avps.type_mandatory), (1, true));
        assert_eq!(avps.u16(Attribute::ProtocolVersion), Some(0x0100));
        assert_eq!(avps.text(Attribute::HostName).as_deref(), Some(host));
        assert_eq!(avps.text(Attribute::VendorName).as_deref(), vendor);
        assert_eq!(avps.u16(Attribute::AssignedTunnelId), Some(tunnel));
        assert_eq!(avps.u16(Attribute::ReceiveWindowSize), Some(window));
    }
}

#[test]
fn an_iccn_of_xl2tpd_is_read() {
    let body = body(XL2TPD_ICCN);
    let avps = Attributes::read(&body, None).unwrap();
    assert_eq!(avps.u32(Attribute::TxConnectSpeed), Some(100_000_000));
    assert_eq!(avps.u32(Attribute::RxConnectSpeed), Some(100_000_000));
    assert_eq!(avps.u32(Attribute::FramingType), Some(1));
}

#[test]
fn the_correlation_id_of_windows_is_read() {
    let body = body(WINDOWS_ICRQ);
    let avps = Attributes::read(&body, None).unwrap();
    assert_eq!(avps.fault, None);
    assert_eq!(
        avps.correlation_id.map(|id| (id[0], id[15])),
        Some((0x10, 0x1f))
    );
}

// conformance: 2661-20
#[test]
fn hidden_values_are_those_that_hashlib_computes() {
    let cases: [(u16, &[u8], &str); 2] = [
        (9, &[0x12, 0x34], "9b7afb1f"),
        (
            30,
            b"subscriber-0001@isp.example, and more than one block",
            "2450e7081a8ea35c9d0a2603aa352e2924d7f3e3a44a662b99b01b72c0622ee5d32480bab6b993e556f5b62d0e932468\
             3009a19c64ff",
        ),
    ];
    for (attribute, value, hidden) in cases {
        assert_eq!(
            hidden::hide(attribute, &secret(), &VECTOR, value),
            bytes(hidden)
        );
        let revealed = hidden::reveal(attribute, &secret(), &VECTOR, &bytes(hidden));
        assert_eq!(revealed.as_deref(), Some(value));
    }
    // Twelve octets of padding, as in the example of §4.3.
    let padded = bytes("372c142b2b17674d6de8a93e57140938");
    assert_eq!(
        hidden::reveal(14, &secret(), &VECTOR, &padded).unwrap(),
        [0xab, 0xcd]
    );
}

// conformance: 2661-22
#[test]
fn a_hidden_value_that_claims_to_be_longer_than_it_is_is_malformed() {
    let lying = bytes("9bb0fb1f");
    assert_eq!(hidden::reveal(9, &secret(), &VECTOR, &lying), None);
    for octets in 0..2 {
        assert_eq!(
            hidden::reveal(9, &secret(), &VECTOR, &lying[..octets]),
            None
        );
    }
    let mut body = hello_with(0x8000, 0, 36, &VECTOR);
    body.extend_from_slice(&hello_with(0xc000, 0, 9, &lying)[HELLO.len()..]);
    assert_eq!(fault(&body), Some(Refusal::MalformedAvp(9)));
}

// conformance: 2661-21
#[test]
fn each_hidden_avp_uses_the_random_vector_last_seen_before_it() {
    let body = body(HIDDEN_SCCRQ);
    let avps = Attributes::read(&body, Some(&secret())).unwrap();
    assert_eq!(avps.fault, None);
    assert_eq!(avps.u32(Attribute::FramingCapabilities), Some(3));
    assert_eq!(avps.u16(Attribute::AssignedTunnelId), Some(0x4242));
    let challenge: Vec<u8> = (0x40..0x60).collect();
    assert_eq!(avps.bytes(Attribute::Challenge), Some(&challenge[..]));
}

// conformance: 2661-18
#[test]
fn without_a_secret_a_hidden_avp_is_unrecognised() {
    let body = body(HIDDEN_SCCRQ);
    let avps = Attributes::read(&body, None).unwrap();
    assert_eq!(avps.fault, Some(Refusal::CannotReveal(3)));
    let optional = hello_with(0x4000, 0, 30, b"hidden");
    assert_eq!(Attributes::read(&optional, None).unwrap().fault, None);
}

// conformance: 2661-19
#[test]
fn a_hidden_avp_without_a_random_vector_before_it_is_refused() {
    let mut body = hello_with(0xc000, 0, 9, &[0x9b, 0x7a, 0xfb, 0x1f]);
    body.extend_from_slice(&hello_with(0x8000, 0, 36, &VECTOR)[HELLO.len()..]);
    assert_eq!(fault(&body), Some(Refusal::CannotReveal(9)));
}

#[test]
fn what_must_not_be_hidden_is_malformed_when_it_is() {
    let mut body = hello_with(0x8000, 0, 36, &VECTOR);
    body.extend_from_slice(&hello_with(0xc000, 0, 7, b"hostname")[HELLO.len()..]);
    assert_eq!(fault(&body), Some(Refusal::MalformedAvp(7)));
}

// conformance: 2661-16
#[test]
fn a_vendor_avp_is_never_taken_for_an_ietf_one() {
    // Broadband Forum's Agent-Remote-Id is 3561/2; 2 of the IETF is Protocol Version (xl2tpd issue 163).
    let body = hello_with(0, 3561, 2, b"DEU.QSC.CP250572");
    let avps = Attributes::read(&body, None).unwrap();
    assert_eq!((avps.fault, avps.values[2].as_deref()), (None, None));
    let body = hello_with(0x8000, 3561, 2, &[1, 0]);
    let unknown = Refusal::UnknownMandatoryAvp {
        vendor: 3561,
        attribute: 2,
    };
    assert_eq!(fault(&body), Some(unknown));
}

// conformance: 2661-15
#[test]
fn an_unknown_avp_counts_only_with_the_m_bit() {
    for attribute in [20, 40, 57, 76, 0xffff] {
        assert_eq!(fault(&hello_with(0, 0, attribute, b"x")), None);
        let unknown = Refusal::UnknownMandatoryAvp {
            vendor: 0,
            attribute,
        };
        assert_eq!(
            fault(&hello_with(0x8000, 0, attribute, b"x")),
            Some(unknown)
        );
    }
}

// conformance: 2661-12
#[test]
fn an_avp_with_a_reserved_bit_is_unrecognised() {
    for bit in [0x2000, 0x1000, 0x0800, 0x0400] {
        let body = hello_with(bit, 0, 9, &[0x12, 0x34]);
        let avps = Attributes::read(&body, None).unwrap();
        assert_eq!(
            (avps.fault.clone(), avps.u16(Attribute::AssignedTunnelId)),
            (None, None)
        );
        let unknown = Refusal::UnknownMandatoryAvp {
            vendor: 0,
            attribute: 9,
        };
        assert_eq!(
            fault(&hello_with(0x8000 | bit, 0, 9, &[0x12, 0x34])),
            Some(unknown)
        );
    }
}

// conformance: 2661-11
#[test]
fn an_avp_length_below_six_or_past_the_end_is_malformed() {
    let with_length = |length: u16| {
        let mut body = hello_with(0x8000, 0, 9, &[0x12, 0x34]);
        body[8..10].copy_from_slice(&(0x8000 | length).to_be_bytes());
        fault(&body)
    };
    assert_eq!(with_length(8), None);
    assert_eq!(with_length(9), Some(Refusal::AvpLength));
    assert_eq!(with_length(5), Some(Refusal::AvpLength));
    assert_eq!(with_length(0), Some(Refusal::AvpLength));
    // Six is an AVP without a value, which this one needs.
    assert_eq!(with_length(6), Some(Refusal::MalformedAvp(9)));
    assert_eq!(fault(&[HELLO, &[0x80]].concat()), Some(Refusal::AvpLength));
}

// conformance: 2661-89
#[test]
fn a_value_of_the_wrong_size_counts_only_with_the_m_bit() {
    // The example of RFC 2661 §7.1: Rx Connect Speed in two octets.
    let body = hello_with(0, 0, 38, &[0x12, 0x34]);
    let avps = Attributes::read(&body, None).unwrap();
    assert_eq!(
        (avps.fault.clone(), avps.u32(Attribute::RxConnectSpeed)),
        (None, None)
    );
    let body = hello_with(0x8000, 0, 24, &[0x12, 0x34]);
    assert_eq!(fault(&body), Some(Refusal::MalformedAvp(24)));
}

// conformance: 2661-23
#[test]
fn the_message_type_must_be_the_first_avp() {
    let second = [&hello_with(0x8000, 0, 9, &[0, 1])[HELLO.len()..], HELLO].concat();
    for body in [
        &second[..],
        &[0x80],
        &[0xc0, 8, 0, 0, 0, 0, 0, 6],
        &[0x80, 8, 0, 9, 0, 0, 0, 6],
    ] {
        assert_eq!(
            Attributes::read(body, None).unwrap_err(),
            Refusal::NoMessageType
        );
    }
}

#[test]
fn of_an_attribute_that_comes_twice_the_first_counts() {
    let mut body = hello_with(0x8000, 0, 9, &[0, 1]);
    body.extend_from_slice(&hello_with(0x8000, 0, 9, &[0, 2])[HELLO.len()..]);
    let avps = Attributes::read(&body, None).unwrap();
    assert_eq!(avps.u16(Attribute::AssignedTunnelId), Some(1));
}

#[test]
fn a_value_that_no_avp_can_hold_is_cut() {
    for hiding in [
        None,
        Some(Hiding {
            secret: &secret(),
            vector: VECTOR,
        }),
    ] {
        let mut message = Writer::new(6, SessionId(0), hiding);
        message.bytes(Attribute::VendorName, &[b'x'; 2000]);
        let message = message.finish();
        let avps = Attributes::read(&message[CONTROL_OCTETS..], Some(&secret()));
        let length = avps.unwrap().bytes(Attribute::VendorName).map(<[u8]>::len);
        assert!(length == Some(1017) || length == Some(1015), "{length:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        values in proptest::collection::vec(
            (0..DEFINITIONS.len(), proptest::collection::vec(any::<u8>(), 0..80)), 0..12),
        is_hidden: bool,
    ) {
        let secret = secret();
        let hiding = is_hidden.then_some(Hiding { secret: &secret, vector: VECTOR });
        let mut message = Writer::new(12, SessionId(9), hiding);
        let mut expected: Vec<(Attribute, Vec<u8>)> = Vec::new();
        for (index, mut value) in values {
            let definition = &DEFINITIONS[index];
            let taken = [Attribute::MessageType, Attribute::RandomVector];
            let is_new = expected.iter().all(|(known, _)| *known != definition.attribute);
            if taken.contains(&definition.attribute) || !is_new {
                continue;
            }
            match definition.size {
                Exactly(octets) => value.resize(octets, 7),
                AtLeast(octets) => value.resize(value.len().max(octets), 7),
            }
            message.bytes(definition.attribute, &value);
            expected.push((definition.attribute, value));
        }
        let message = message.finish();
        let header = crate::peek(&message).unwrap();
        let avps = Attributes::read(&message[header.payload], Some(&secret)).unwrap();
        prop_assert_eq!(&avps.fault, &None);
        prop_assert_eq!(avps.message_type(), 12);
        for (attribute, value) in expected {
            prop_assert_eq!(avps.bytes(attribute), Some(&value[..]));
        }
    }
}
