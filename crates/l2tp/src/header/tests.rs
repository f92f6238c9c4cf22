use super::*;
use crate::testing::{GO_L2TP_HELLO, GO_L2TP_ZLB, OPENL2TP_V3_SCCRQ, bytes};

#[test]
fn a_hello_and_a_zlb_of_go_l2tp_are_read() {
    let hello = peek(&bytes(GO_L2TP_HELLO)).unwrap();
    assert_eq!(
        (
            hello.kind,
            hello.tunnel,
            hello.session,
            hello.sequence,
            hello.payload.clone()
        ),
        (
            Kind::Control,
            TunnelId(1),
            SessionId(0),
            Some((1, 1)),
            12..20
        )
    );
    assert!(!hello.is_zlb());
    assert!(peek(&bytes(GO_L2TP_ZLB)).unwrap().is_zlb());
}

// conformance: 2661-07
#[test]
fn each_combination_of_length_sequence_and_offset_puts_the_payload_where_it_belongs() {
    // (flags, header behind the flags word, where the payload begins)
    let cases: [(u16, &[u16], usize); 8] = [
        (0x0002, &[1, 2], 6),
        (0x4002, &[0, 1, 2], 8),
        (0x0802, &[1, 2, 3, 4], 10),
        (0x4802, &[0, 1, 2, 3, 4], 12),
        (0x0202, &[1, 2, 4, 0xffff, 0xffff], 12),
        (0x4202, &[0, 1, 2, 4, 0xffff, 0xffff], 14),
        (0x0a02, &[1, 2, 3, 4, 4, 0xffff, 0xffff], 16),
        (0x4a02, &[0, 1, 2, 3, 4, 4, 0xffff, 0xffff], 18),
    ];
    for (flags, words, payload) in cases {
        let mut message = flags.to_be_bytes().to_vec();
        for word in words {
            message.extend_from_slice(&word.to_be_bytes());
        }
        message.extend_from_slice(b"ppp");
        let length = message.len();
        if flags & LENGTH != 0 {
            message[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        }
        let header = peek(&message).unwrap();
        assert_eq!(header.kind, Kind::Data);
        assert_eq!(
            (header.tunnel, header.session),
            (TunnelId(1), SessionId(2)),
            "{flags:#06x}"
        );
        assert_eq!(header.payload, payload..length, "{flags:#06x}");
        assert_eq!(header.sequence, (flags & SEQUENCE != 0).then_some((3, 4)));
    }
}

// conformance: 2661-08
#[test]
fn an_offset_may_reach_the_end_and_not_go_past_it() {
    let message = |offset: u8| [0x02, 0x02, 0, 1, 0, 2, 0, offset, 0xaa, 0xbb];
    assert_eq!(peek(&message(2)).unwrap().payload, 10..10);
    assert_eq!(peek(&message(3)), Err(Refusal::OffsetPastEnd));
}

// conformance: 2661-01
#[test]
fn a_control_message_without_length_or_sequence_is_refused() {
    let message = bytes(GO_L2TP_HELLO);
    let with_flags = |flags: u16| {
        let mut message = message.clone();
        message[..2].copy_from_slice(&flags.to_be_bytes());
        peek(&message)
    };
    assert_eq!(with_flags(0x8802), Err(Refusal::NoLength));
    assert_eq!(with_flags(0xc002), Err(Refusal::NoSequenceNumbers));
    assert_eq!(with_flags(0xca02), Err(Refusal::OffsetInControl));
}

// conformance: 2661-03
#[test]
fn other_versions_are_refused_by_name() {
    assert_eq!(peek(&bytes(OPENL2TP_V3_SCCRQ)), Err(Refusal::VersionThree));
    for version in [0, 1, 4, 15] {
        let message = [0xc8, version, 0, 12, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(peek(&message), Err(Refusal::UnknownVersion(version)));
    }
}

// conformance: 2661-04
#[test]
fn reserved_bits_and_priority_are_ignored() {
    let mut message = bytes(GO_L2TP_HELLO);
    let clean = peek(&message);
    message[0] |= 0x35;
    message[1] |= 0xf0;
    assert_eq!(peek(&message), clean);
}

// conformance: 2661-06
#[test]
fn a_datagram_may_be_longer_than_its_length_and_not_shorter() {
    let mut message = bytes(GO_L2TP_HELLO);
    message.extend_from_slice(b"padding");
    assert_eq!(peek(&message).unwrap().payload, 12..20);
    assert_eq!(peek(&message[..20]).unwrap().payload, 12..20);
    assert_eq!(peek(&message[..19]), Err(Refusal::LengthPastEnd));
    message[3] = 11;
    assert_eq!(peek(&message), Err(Refusal::Truncated));
    assert_eq!(peek(&[]), Err(Refusal::Truncated));
}

#[test]
fn our_control_flags_are_what_mtpd_insists_on() {
    // mtpd l2tp.c: MESSAGE_MASK, MESSAGE_FLAG.
    assert_eq!(CONTROL_FLAGS & 0xcb0f, 0xc802);
    assert_eq!(CONTROL_FLAGS, 0xc802);
}
