use super::*;
use crate::change::{Listener, SharedChange};
use crate::shared::Limits;
use std::sync::Arc;
use std::time::Instant;

const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const INTERFACE: Interface = Interface {
    port: 3,
    vrf: 0,
    mtu: 1500,
    mac: MACS[1],
};

// conformance: 3948-05 3948-06 3948-08 3948-11
#[test]
fn what_is_written_is_read_again_for_every_kind() {
    let shared = tables();
    let ike = [&[7; 8][..], &[0; 30]].concat();
    let cases: [(Kind, u16, &[u8]); 7] = [
        (Kind::Esp, 0, &[9; 40]),
        (Kind::EspInUdp, 4500, &[9; 40]),
        (Kind::EspInUdp, 4500, &[9; 3]),
        (Kind::Ike, 500, &ike),
        (Kind::Ike, 4500, &ike),
        (Kind::L2tp, 1701, &[0xc8, 2, 0, 12, 0, 1, 0, 0, 0, 0, 0, 0]),
        (Kind::Keepalive, 4500, &[0xff]),
    ];
    for (kind, port, payload) in cases {
        let sent = packet(kind, port, payload);
        let frame = turn_round(sent);
        let read = read_one(frame, &shared).unwrap_or_else(|(_, why)| panic!("{kind:?} {why:?}"));
        assert_eq!(read.frame.bytes(), payload, "{kind:?}");
        let expected = Meta {
            local: Endpoint::new(OURS.into(), port),
            remote: Endpoint::new(PEER.into(), port),
            port: 3,
            ..meta(kind, port)
        };
        assert_eq!(read.meta, expected, "{kind:?}");
    }
}

#[test]
fn what_is_no_endpoint_protocol_of_ours_stays_ip() {
    let shared = tables();
    let other_port = datagram(4501, PEER, OURS, |_| {});
    let other_address = datagram(500, PEER, Ipv4Addr::new(192, 0, 2, 2), |_| {});
    let tcp = ip(Ipv4::new(PEER, OURS, Ipv4::TCP, 3), &[1, 2, 3]);
    for bytes in [other_port, other_address, tcp] {
        let packet = read_one(frame(&bytes), &shared).unwrap();
        assert_eq!(packet.meta.kind, Kind::Ip);
        assert_eq!(packet.frame.bytes(), &bytes[14..]);
    }
}

// conformance: 4303-20
#[test]
fn what_is_not_for_the_line_is_named_and_given_back() {
    let shared = tables();
    let arp = [&[0; 12][..], &[8, 6], &[0; 46]].concat();
    let mut fragment = Ipv4::new(PEER, OURS, Ipv4::ESP, 3);
    fragment.flags_fragment = Ipv4::MF.into();
    fragment.renew_checksum();
    let mut bad_sum = Ipv4::new(PEER, OURS, Ipv4::ESP, 3);
    bad_sum.ttl = 3;
    let short = ip(Ipv4::new(PEER, OURS, Ipv4::ESP, 9), &[1, 2, 3]);
    let udp_len = datagram(500, PEER, OURS, |udp| udp.length = 100.into());
    let cases = [
        (arp, NotOurs::OtherProtocol),
        (ip(fragment, &[1, 2, 3]), NotOurs::Fragment),
        (ip(bad_sum, &[1, 2, 3]), NotOurs::Malformed),
        (short, NotOurs::Malformed),
        (udp_len, NotOurs::Malformed),
        (vec![1; 13], NotOurs::Malformed),
    ];
    for (bytes, expected) in cases {
        let (frame, why) = read_one(frame(&bytes), &shared).unwrap_err();
        assert_eq!(why, expected);
        assert_eq!(frame.bytes(), bytes, "it is given back as it was");
    }
}

// conformance: 2661-98 3948-03 3948-04
#[test]
fn a_checksum_is_wrong_only_if_it_is_set_and_neither_right_nor_the_bare_pseudo_header() {
    let shared = tables();
    let pseudo = checksum::pseudo_header(PEER, OURS, Ipv4::UDP, 8 + PAYLOAD.len() as u16);
    let set = |field: u16| move |udp: &mut Udp| udp.checksum = field.into();
    let right = {
        let bytes = datagram(500, PEER, OURS, |_| {});
        !checksum::add(&[pseudo, checksum::sum(&bytes[34..])])
    };
    for (port, field, is_bad) in [
        (500, 0, false),
        (500, right, false),
        (500, pseudo, false),
        (500, right ^ 1, true),
        (1701, 0x1234, true),
        (4500, 0x1234, false),
    ] {
        let bytes = datagram(port, PEER, OURS, set(field));
        let packet = read_one(frame(&bytes), &shared).unwrap();
        assert_eq!(packet.meta.bad_checksum, is_bad, "{port} {field:04x}");
    }
}

#[test]
fn ike_and_l2tp_control_carry_a_right_checksum_and_the_rest_none() {
    for (kind, port, payload, has_one) in [
        (Kind::Ike, 500, [7_u8; 9], true),
        (Kind::Ike, 4500, [7; 9], true),
        (Kind::L2tp, 1701, [0xc8; 9], true),
        (Kind::L2tp, 1701, [0x02; 9], false),
        (Kind::EspInUdp, 4500, [7; 9], false),
    ] {
        let packet = packet(kind, port, &payload);
        let datagram = &packet.frame.bytes()[34..];
        let len = datagram.len() as u16;
        let sum = checksum::add(&[
            checksum::pseudo_header(PEER, OURS, Ipv4::UDP, len),
            checksum::sum(datagram),
        ]);
        assert_eq!(datagram[6..8] != [0, 0], has_one);
        assert!(!has_one || sum == 0xffff);
    }
}

#[test]
fn a_packet_beyond_the_mtu_or_without_headroom_is_given_back() {
    let mut fits = unwritten(Kind::Esp, 0, &[0; 1480], 64);
    assert_eq!(write(&mut fits, &INTERFACE, MACS), Ok(()));
    let mut long = unwritten(Kind::Esp, 0, &[0; 1481], 64);
    assert_eq!(write(&mut long, &INTERFACE, MACS), Err(SendError::TooLong));
    let mut tight = unwritten(Kind::Esp, 0, &[0; 8], 33);
    assert_eq!(write(&mut tight, &INTERFACE, MACS), Err(SendError::NoRoom));
}

const PAYLOAD: [u8; 12] = [0xc8, 2, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8];

fn tables() -> Arc<Shared> {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    let shared = Shared::new(Limits::default(), Instant::now());
    shared.apply(SharedChange::SetListener(Listener {
        index: 0,
        address: OURS.into(),
        ipsec_required: false,
        data_checksum: false,
        vrf: 0,
    }));
    shared
}

fn meta(kind: Kind, port: u16) -> Meta {
    Meta {
        kind,
        local: Endpoint::new(PEER.into(), port),
        remote: Endpoint::new(OURS.into(), port),
        dscp_ecn: 0xb8,
        ..Meta::ip(0)
    }
}

/// As the peer sends it.
fn packet(kind: Kind, port: u16, payload: &[u8]) -> Packet<Box<[u8]>> {
    let mut packet = unwritten(kind, port, payload, 256);
    write(&mut packet, &INTERFACE, MACS).unwrap();
    packet
}

fn unwritten(kind: Kind, port: u16, payload: &[u8], headroom: usize) -> Packet<Box<[u8]>> {
    let mut frame = Frame::new(vec![0; 2048].into(), 0, 0).unwrap();
    frame.fill(headroom, payload).unwrap();
    Packet {
        frame,
        meta: meta(kind, port),
    }
}

fn turn_round(packet: Packet<Box<[u8]>>) -> Frame<Box<[u8]>> {
    frame(packet.frame.bytes())
}

type Chunk = Box<[u8]>;

fn read_one(
    frame: Frame<Chunk>,
    shared: &Shared,
) -> Result<Packet<Chunk>, (Frame<Chunk>, NotOurs)> {
    read(frame, &INTERFACE, shared)
}

fn frame(bytes: &[u8]) -> Frame<Box<[u8]>> {
    let mut frame = Frame::new(vec![0; 2048].into(), 0, 0).unwrap();
    frame.fill(256, bytes).unwrap();
    frame
}

fn ip(header: Ipv4, payload: &[u8]) -> Vec<u8> {
    use zerocopy::IntoBytes;
    [&[0; 12], &[8, 0][..], header.as_bytes(), payload].concat()
}

fn datagram(port: u16, from: Ipv4Addr, to: Ipv4Addr, change: impl Fn(&mut Udp)) -> Vec<u8> {
    use zerocopy::IntoBytes;
    let mut udp = Udp {
        source: 1000.into(),
        destination: port.into(),
        length: (8 + PAYLOAD.len() as u16).into(),
        checksum: 0.into(),
    };
    change(&mut udp);
    let header = Ipv4::new(from, to, Ipv4::UDP, 8 + PAYLOAD.len() as u16);
    ip(header, &[udp.as_bytes(), &PAYLOAD].concat())
}
