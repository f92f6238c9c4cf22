use std::net::Ipv4Addr;
use std::time::Duration;

use packet::checksum;
use packet::header::Ipv4;

use super::gateway::{OWN, SECURE, SERVER, ethernet, hop, ip, ip_with, ping, route};
use super::peer::outer;
use super::{Fate, Gateway, NETWORK, Peer, TUNNEL};
use crate::Discard;
use crate::change::{Adjacency, AdjacencyId, Change, Kind, Origin, RouteTarget, SharedChange};

const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 81);

/// The ways out of `ip::forward` that end there.
// conformance: 791-01 1812-01 1812-04
#[test]
fn the_ways_out_of_forward() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let own = peer.address;
    let good = ip(own, SERVER, 100);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = good.clone();
        change(&mut packet);
        packet
    };
    let to = |destination: [u8; 4]| ip(own, destination.into(), 100);
    let broken = |change: fn(&mut Ipv4)| ip_with(own, SERVER, 17, &[0; 40], change);
    let rows = [
        ("short", good[..19].to_vec(), Discard::Truncated),
        ("cut off", good[..99].to_vec(), Discard::Truncated),
        ("version 6", with(&|p| p[0] = 0x65), Discard::NotIpv4),
        ("header of 16", with(&|p| p[0] = 0x44), Discard::IpMalformed),
        (
            "length below header",
            broken(|h| h.total_length = 19.into()),
            Discard::IpMalformed,
        ),
        ("checksum", with(&|p| p[8] = 1), Discard::IpChecksum),
        ("forged", ip(OTHER, SERVER, 100), Discard::SourceForged),
        ("multicast", to([224, 0, 0, 1]), Discard::Martian),
        ("broadcast", to([255; 4]), Discard::Martian),
        ("loopback", to([127, 0, 0, 1]), Discard::Martian),
        ("this network", to([0, 0, 0, 0]), Discard::Martian),
        ("blackhole", to([203, 0, 113, 130]), Discard::Blackholed),
        (
            "the tunnel's own address",
            to(SECURE.octets()),
            Discard::TunnelInTunnel,
        ),
    ];
    for (name, packet, expected) in rows {
        let frame = peer.data(&packet);
        assert_eq!(
            gateway.fate(TUNNEL, frame),
            Fate::Discarded(expected),
            "{name}"
        );
    }
    let host = to([172, 16, 0, 9]);
    let frame = peer.data(&host);
    assert_eq!(
        gateway.fate(TUNNEL, frame),
        Fate::Punted(Origin::Host(peer.session), host)
    );
    let framed = ip(Ipv4Addr::new(192, 168, 77, 9), SERVER, 100);
    let frame = peer.data(&framed);
    assert_eq!(
        gateway.fate(TUNNEL, frame),
        Fate::Network(hop(&framed)),
        "a routed prefix"
    );
    let view = gateway.shared.session(peer.session).unwrap();
    assert_eq!(view.traffic.discarded.packets, 13);
    gateway.assert_chunks_are_whole();
}

/// The ways out of `ip::route` that end there.
#[test]
fn the_ways_out_of_route() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let to = |destination: Ipv4Addr| ip(SERVER, destination, 100);
    let rows = [
        ("not ours", to(OTHER), Discard::NotForSubscriber),
        (
            "nobody's",
            to(Ipv4Addr::new(8, 8, 8, 8)),
            Discard::NotForSubscriber,
        ),
        ("our own, but no ping", to(OWN), Discard::NotForSubscriber),
        (
            "multicast",
            to(Ipv4Addr::new(239, 0, 0, 1)),
            Discard::Martian,
        ),
        ("short", vec![0x45; 10], Discard::OuterMalformed),
        (
            "loopback source",
            ip([127, 0, 0, 1].into(), peer.address, 60),
            Discard::Martian,
        ),
        (
            "multicast source",
            ip([224, 0, 0, 1].into(), peer.address, 60),
            Discard::Martian,
        ),
    ];
    for (name, packet, expected) in rows {
        let fate = gateway.fates(NETWORK, ethernet(&packet));
        assert_eq!(fate, [Fate::Discarded(expected)], "{name}");
    }
    let frame = ethernet(&to(peer.address));
    assert!(matches!(gateway.fate(NETWORK, frame), Fate::Peer(_)));
}

/// Each is told to the sender, up and down: type, code, next-hop MTU, quotation.
// conformance: 791-02 1191-01 4303-19 4301-05
#[test]
fn troubles_are_told_to_who_sent_the_packet() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let own = peer.address;
    gateway.shared.apply(SharedChange::SetAdjacency(
        AdjacencyId(2),
        Adjacency {
            port: 1,
            mtu: 1000,
            rewrite: Some([[6; 6]; 2]),
            is_resolved: true,
        },
    ));
    route(
        &gateway.shared,
        "203.0.113.64/28",
        RouteTarget::Via(AdjacencyId(2)),
    );
    let narrow = Ipv4Addr::new(203, 0, 113, 65);
    let dying = |from, to| ip_with(from, to, 17, &[5; 90], |h| h.ttl = 1);
    let pool = Ipv4Addr::new(10, 64, 99, 99);
    let up = [
        (dying(own, SERVER), [11, 0], 0, Discard::TtlExpired),
        (ip(own, narrow, 1001), [3, 4], 1000, Discard::TooBig),
        (ip(own, pool, 90), [3, 1], 0, Discard::NoSubscriber),
        (
            ip(own, Ipv4Addr::new(8, 8, 8, 8), 90),
            [3, 0],
            0,
            Discard::NoRoute,
        ),
        (
            ip(own, Ipv4Addr::new(203, 0, 113, 200), 90),
            [3, 0],
            0,
            Discard::NoRoute,
        ),
    ];
    for (packet, kind, value, reason) in up {
        let frame = peer.data(&packet);
        let fates = gateway.fates(TUNNEL, frame);
        let [Fate::Peer(frame), Fate::Discarded(discard)] = &fates[..] else {
            panic!("{fates:?}");
        };
        assert_eq!(*discard, reason);
        check_error(&peer.open(frame), own, kind, value, &packet);
    }
    let down = [
        (dying(SERVER, own), [11, 0], 0),
        (ip(SERVER, own, 1401), [3, 4], 1400),
        (ip(SERVER, pool, 90), [3, 1], 0),
    ];
    for (packet, kind, value) in down {
        let fates = gateway.fates(NETWORK, ethernet(&packet));
        let [Fate::Network(error), Fate::Discarded(_)] = &fates[..] else {
            panic!("{fates:?}");
        };
        check_error(error, SERVER, kind, value, &packet);
    }
    gateway.assert_chunks_are_whole();
}

fn check_error(error: &[u8], to: Ipv4Addr, kind: [u8; 2], value: u16, about: &[u8]) {
    assert_eq!(checksum::checksum(&error[..20]), 0);
    assert_eq!(error[12..16], OWN.octets());
    assert_eq!(error[16..20], to.octets());
    let icmp = &error[20..];
    assert_eq!(checksum::checksum(icmp), 0);
    assert_eq!(icmp[..2], kind);
    assert_eq!(icmp[4..8], [[0, 0], value.to_be_bytes()].concat());
    assert!(error.len() <= 576);
    let quoted = &icmp[8..];
    assert_eq!(quoted.len(), about.len().min(548));
    let same = |at: &[usize]| at.iter().all(|i| quoted[*i] == about[*i]);
    assert!(same(&[
        0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 27
    ]));
}

// conformance: 1812-02 1812-03
#[test]
fn errors_are_never_about_errors_fragments_or_nobody_and_not_without_end() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let own = peer.address;
    let dying = |payload: &[u8], protocol, change: fn(&mut Ipv4)| {
        ip_with(own, SERVER, protocol, payload, |header| {
            header.ttl = 1;
            change(header);
        })
    };
    let quiet = [
        dying(&[3, 0, 0, 0, 0, 0, 0, 0], Ipv4::ICMP, |_| {}),
        dying(&[11, 0, 0, 0, 0, 0, 0, 0], Ipv4::ICMP, |_| {}),
        dying(&[], Ipv4::ICMP, |_| {}),
        dying(&[0; 8], Ipv4::UDP, |h| h.flags_fragment = 5.into()),
    ];
    for packet in quiet {
        let frame = peer.data(&packet);
        assert_eq!(
            gateway.fate(TUNNEL, frame),
            Fate::Discarded(Discard::TtlExpired)
        );
    }
    let mut told = 0;
    for _ in 0..1100 {
        let frame = peer.data(&dying(&[0; 8], Ipv4::UDP, |_| {}));
        told += gateway.fates(TUNNEL, frame).len() - 1;
    }
    assert_eq!(told, 1000);
    // Nor do all these keep anybody from learning the MTU.
    let long = ip_with(own, SERVER, Ipv4::UDP, &[0; 1480], |_| {});
    let narrow = Adjacency {
        port: 1,
        mtu: 700,
        rewrite: Some([[6; 6]; 2]),
        is_resolved: true,
    };
    let shared = &gateway.shared;
    shared.apply(SharedChange::SetAdjacency(AdjacencyId(1), narrow));
    let frame = peer.data(&long);
    assert_eq!(gateway.fates(TUNNEL, frame).len(), 2);
    gateway.now += Duration::from_millis(10);
    let frame = peer.data(&dying(&[0; 8], Ipv4::UDP, |_| {}));
    assert_eq!(gateway.fates(TUNNEL, frame).len(), 2);
}

#[test]
fn our_own_address_answers_ping_from_both_sides() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let frame = peer.data(&ping(peer.address, OWN));
    let Fate::Peer(frame) = gateway.fate(TUNNEL, frame) else {
        panic!("no answer");
    };
    let reply = peer.open(&frame);
    check_reply(&reply, &ping(peer.address, OWN));
    let Fate::Network(reply) = gateway.fate(NETWORK, ethernet(&ping(SERVER, OWN))) else {
        panic!("no answer");
    };
    check_reply(&reply, &ping(SERVER, OWN));
    for _ in 0..998 {
        let frame = peer.data(&ping(peer.address, OWN));
        assert!(matches!(gateway.fate(TUNNEL, frame), Fate::Peer(_)));
    }
    let frame = peer.data(&ping(peer.address, OWN));
    let limited = Fate::Discarded(Discard::IcmpLimited);
    assert_eq!(gateway.fate(TUNNEL, frame), limited, "but not without end");
    let dns = ip(peer.address, OWN, 60);
    let frame = peer.data(&dns);
    assert_eq!(
        gateway.fate(TUNNEL, frame),
        Fate::Punted(Origin::Host(peer.session), dns)
    );
}

fn check_reply(reply: &[u8], ping: &[u8]) {
    assert_eq!(checksum::checksum(&reply[..20]), 0);
    assert_eq!(checksum::checksum(&reply[20..]), 0);
    assert_eq!(
        (&reply[12..16], &reply[16..20]),
        (&ping[16..20], &ping[12..16])
    );
    assert_eq!((reply[20], &reply[24..]), (0, &ping[24..]));
}

#[test]
fn two_subscribers_reach_each_other_or_not_if_either_is_isolated() {
    for (first, second, is_through) in [
        (false, false, true),
        (true, false, false),
        (false, true, false),
    ] {
        let (mut a, mut b) = (Peer::new(3, 5), Peer::new(4, 6));
        (a.isolate, b.isolate) = (first, second);
        let mut gateway = Gateway::with_peer(&mut a);
        gateway.open(&mut b);
        let packet = ip(a.address, b.address, 200);
        let frame = a.data(&packet);
        match gateway.fate(TUNNEL, frame) {
            Fate::Peer(frame) if is_through => assert_eq!(b.open(&frame), hop(&packet)),
            fate @ (Fate::Peer(_) | Fate::Network(_) | Fate::Punted(..) | Fate::Discarded(_)) => {
                assert!(!is_through && fate == Fate::Discarded(Discard::Isolated));
            }
        }
    }
}

#[test]
fn packets_that_allow_it_are_cut_to_pieces_both_ways() {
    let mut peer = Peer::new(3, 5);
    peer.mtu = 600;
    let mut gateway = Gateway::with_peer(&mut peer);
    let cuttable = |from, to| {
        let payload: Vec<u8> = (0..1400).map(|i| (i / 7) as u8).collect();
        ip_with(from, to, 17, &payload, |header| {
            header.flags_fragment = 0.into();
            header.identification = 0x4711.into();
        })
    };
    let packet = cuttable(SERVER, peer.address);
    let pieces: Vec<_> = gateway
        .fates(NETWORK, ethernet(&packet))
        .iter()
        .map(|fate| {
            let Fate::Peer(frame) = fate else {
                panic!("{fate:?}");
            };
            peer.open(frame)
        })
        .collect();
    check_pieces(&pieces, &packet, 600);

    gateway.shared.apply(SharedChange::SetAdjacency(
        AdjacencyId(1),
        Adjacency {
            port: 1,
            mtu: 700,
            rewrite: Some([[6; 6]; 2]),
            is_resolved: true,
        },
    ));
    let packet = cuttable(peer.address, SERVER);
    let frame = peer.data(&packet);
    let pieces: Vec<_> = gateway
        .fates(TUNNEL, frame)
        .into_iter()
        .map(|fate| {
            let Fate::Network(piece) = fate else {
                panic!("{fate:?}");
            };
            piece
        })
        .collect();
    check_pieces(&pieces, &packet, 700);
    gateway.assert_chunks_are_whole();
}

#[test]
fn a_fragment_beyond_the_longest_packet_is_not_cut_into_others() {
    let mut peer = Peer::new(3, 5);
    peer.mtu = 600;
    let mut gateway = Gateway::with_peer(&mut peer);
    let fragment = |offset: u16| {
        ip_with(SERVER, peer.address, 17, &[7; 1000], |header| {
            header.flags_fragment = offset.into();
        })
    };
    // 1 000 octets from octet 65 528 on, and such as end just before octet 65 535.
    let (beyond, last) = (fragment(8191), fragment(8066));
    assert_eq!(
        gateway.fate(NETWORK, ethernet(&beyond)),
        Fate::Discarded(Discard::IpMalformed)
    );
    assert_eq!(gateway.fates(NETWORK, ethernet(&last)).len(), 2);
}

fn check_pieces(pieces: &[Vec<u8>], packet: &[u8], mtu: usize) {
    let mut whole: Vec<u8> = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        assert!(piece.len() <= mtu);
        assert_eq!(checksum::checksum(&piece[..20]), 0);
        assert_eq!(piece[4..6], packet[4..6]);
        let word = u16::from_be_bytes([piece[6], piece[7]]);
        assert_eq!(usize::from(word & Ipv4::OFFSET) * 8, whole.len());
        assert_eq!(word & Ipv4::MF != 0, i + 1 < pieces.len());
        whole.extend(&piece[20..]);
    }
    assert_eq!(whole, packet[20..]);
    assert!(pieces.len() >= 3);
}

#[test]
fn the_mss_of_a_syn_is_lowered_both_ways_and_nothing_else_is_touched() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    // (flags, options, options afterwards)
    let rows: [(u8, &[u8], &[u8]); 8] = [
        (2, &[2, 4, 5, 0xb4], &[2, 4, 5, 0x50]),
        (0x12, &[2, 4, 5, 0xb4], &[2, 4, 5, 0x50]),
        (2, &[2, 4, 5, 0x50], &[2, 4, 5, 0x50]),
        (2, &[2, 4, 2, 0], &[2, 4, 2, 0]),
        (0x10, &[2, 4, 5, 0xb4], &[2, 4, 5, 0xb4]),
        (
            2,
            &[1, 2, 4, 5, 0xb4, 1, 1, 0],
            &[1, 2, 4, 5, 0x50, 1, 1, 0],
        ),
        (
            2,
            &[3, 0, 2, 4, 5, 0xb4, 0, 0],
            &[3, 0, 2, 4, 5, 0xb4, 0, 0],
        ),
        (
            2,
            &[4, 2, 2, 4, 5, 0xb4, 0, 0],
            &[4, 2, 2, 4, 5, 0x50, 0, 0],
        ),
    ];
    for (flags, options, expected) in rows {
        let up = segment(peer.address, SERVER, flags, options);
        let frame = peer.data(&up);
        let Fate::Network(packet) = gateway.fate(TUNNEL, frame) else {
            panic!("nothing came");
        };
        assert_eq!(packet, hop(&segment(peer.address, SERVER, flags, expected)));
        let down = segment(SERVER, peer.address, flags, options);
        let Fate::Peer(frame) = gateway.fate(NETWORK, ethernet(&down)) else {
            panic!("nothing came");
        };
        assert_eq!(
            peer.open(&frame),
            hop(&segment(SERVER, peer.address, flags, expected))
        );
    }
}

fn segment(from: Ipv4Addr, to: Ipv4Addr, flags: u8, options: &[u8]) -> Vec<u8> {
    let mut tcp = vec![0; 20];
    (tcp[12], tcp[13]) = ((5 + options.len() as u8 / 4) << 4, flags);
    tcp.extend(options);
    let len = tcp.len() as u16;
    let pseudo = checksum::pseudo_header(from, to, Ipv4::TCP, len);
    let sum = !checksum::add(&[pseudo, checksum::sum(&tcp)]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    ip_with(from, to, Ipv4::TCP, &tcp, |_| {})
}

#[test]
fn a_congestion_mark_of_the_outer_header_goes_inward() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let marked = |frame: Vec<u8>| {
        let mut frame = frame;
        frame[15] = 0b11;
        frame[24..26].fill(0);
        let sum = checksum::checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let inner = |ecn| ip_with(peer_address(), SERVER, 17, &[1; 40], |h| h.dscp_ecn = ecn);
    for (before, after) in [
        (0b10, Some(0b11)),
        (0b01, Some(0b11)),
        (0b11, Some(0b11)),
        (0, None),
    ] {
        let frame = marked(peer.data(&inner(before)));
        let expected = match after {
            Some(ecn) => Fate::Network(hop(&inner(ecn))),
            None => Fate::Discarded(Discard::CongestionLost),
        };
        assert_eq!(gateway.fate(TUNNEL, frame), expected);
    }
}

fn peer_address() -> Ipv4Addr {
    Peer::new(3, 5).address
}

#[test]
fn until_the_next_hop_is_resolved_one_packet_waits_and_the_rest_are_dropped_by_name() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let set = |gateway: &Gateway, is_resolved| {
        gateway.shared.apply(SharedChange::SetAdjacency(
            AdjacencyId(1),
            Adjacency {
                port: 1,
                mtu: 1500,
                rewrite: Some([[6; 6]; 2]),
                is_resolved,
            },
        ));
    };
    set(&gateway, false);
    let packet = ip(peer.address, SERVER, 100);
    let frame = peer.data(&packet);
    assert_eq!(gateway.fates(TUNNEL, frame), []);
    let frame = peer.data(&packet);
    assert_eq!(
        gateway.fate(TUNNEL, frame),
        Fate::Discarded(Discard::Unresolved)
    );
    set(&gateway, true);
    gateway.pass(Duration::from_millis(10));
    assert_eq!(gateway.received(0, NETWORK), [outer_of(&hop(&packet))]);

    set(&gateway, false);
    let frame = peer.data(&packet);
    assert_eq!(gateway.fates(TUNNEL, frame), []);
    assert!(gateway.turn(0).next.is_some(), "somebody waits");
    gateway.pass(Duration::from_secs(3));
    assert_eq!(gateway.discarded(Discard::ResolveTimeout), 1);
    assert_eq!(gateway.turn(0).next, None);
    gateway.assert_chunks_are_whole();
}

fn outer_of(packet: &[u8]) -> Vec<u8> {
    [&[6; 12], &[8, 0][..], packet].concat()
}

#[test]
fn what_comes_by_a_tunnel_in_a_tunnel_does_not_reach_the_line() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let inner = outer(
        Kind::Esp,
        peer.outer.with_port(0),
        peer.gateway.with_port(0),
        &[9; 60],
    );
    let mut packet = inner[14..].to_vec();
    packet[12..16].copy_from_slice(&peer.address.octets());
    packet[10..12].fill(0);
    let sum = checksum::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let frame = peer.data(&packet);
    assert_eq!(
        gateway.fate(TUNNEL, frame),
        Fate::Discarded(Discard::TunnelInTunnel)
    );
}

#[test]
fn a_session_that_is_resized_answers_with_its_new_size() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let packet = ip(SERVER, peer.address, 1100);
    let fate = gateway.fate(NETWORK, ethernet(&packet));
    assert!(matches!(fate, Fate::Peer(_)), "1100 octets fit: {fate:?}");
    for (mtu, told) in [(1099, 1099), (10, 576)] {
        let session = peer.session;
        gateway.change(session.0.shard(), Change::ResizeNetwork { session, mtu });
        gateway.settle();
        let fates = gateway.fates(NETWORK, ethernet(&packet));
        let [Fate::Network(answer), Fate::Discarded(Discard::TooBig)] = &fates[..] else {
            panic!("{fates:?}");
        };
        // RFC 1191 §4: type 3, code 4, and the MTU in the last two octets of the ICMP header.
        assert_eq!(answer[20..22], [3, 4]);
        assert_eq!(answer[26..28], u16::to_be_bytes(told));
    }
    gateway.assert_chunks_are_whole();
}

#[test]
fn the_host_is_told_of_a_packet_that_is_too_big_for_a_subscriber() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let packet = ip(OWN, peer.address, 1401);
    let fates = gateway.fates(NETWORK, ethernet(&packet));
    let [
        Fate::Punted(Origin::Host(_), answer),
        Fate::Discarded(Discard::TooBig),
    ] = &fates[..]
    else {
        panic!("{fates:?}");
    };
    assert_eq!(answer[20..22], [3, 4]);
    assert_eq!(answer[26..28], 1400u16.to_be_bytes());
    let ends = [peer.address, OWN].map(|address| address.octets()).concat();
    assert_eq!(
        answer[12..20],
        ends,
        "its own address the host would not believe"
    );

    // The same holds where the host is the way to everybody.
    let packet = ip(SERVER, peer.address, 1401);
    for (rewrite, from) in [(Some([[6; 6]; 2]), OWN), (None, peer.address)] {
        let adjacency = Adjacency {
            port: 1,
            mtu: 1500,
            rewrite,
            is_resolved: true,
        };
        let change = SharedChange::SetAdjacency(AdjacencyId(1), adjacency);
        gateway.shared.apply(change);
        let fates = gateway.fates(NETWORK, ethernet(&packet));
        let [Fate::Network(answer), Fate::Discarded(Discard::TooBig)] = &fates[..] else {
            panic!("{fates:?}");
        };
        assert_eq!(answer[12..16], from.octets());
    }
    gateway.assert_chunks_are_whole();
}
