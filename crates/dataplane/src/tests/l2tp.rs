use packet::Endpoint;
use packet::header::Udp;

use super::gateway::{SECURE, SERVER, ethernet, hop, ip};
use super::{Fate, Gateway, NETWORK, Peer, TUNNEL};
use crate::Discard;
use crate::change::{Change, Entry, Inject, Kind, Origin};
use crate::id::WorkerId;

const T: u16 = 0x8000;
const L: u16 = 0x4000;
const S: u16 = 0x0800;
const O: u16 = 0x0200;
const P: u16 = 0x0100;
const RESERVED: u16 = 0x34f0;

/// Ids, optional fields as `flags` say, and a PPP frame behind them.
fn message(peer: &Peer, flags: u16, ppp: &[u8]) -> Vec<u8> {
    message_with(peer, flags, 0, 3, ppp)
}

fn message_with(peer: &Peer, flags: u16, ns: u16, offset: u16, ppp: &[u8]) -> Vec<u8> {
    let mut fields = vec![flags | 2];
    if flags & L != 0 {
        fields.push(0);
    }
    fields.extend([peer.tunnel(), peer.session_id()]);
    if flags & S != 0 {
        fields.extend([ns, 0]);
    }
    if flags & O != 0 {
        fields.push(offset);
    }
    let mut message: Vec<u8> = fields.into_iter().flat_map(u16::to_be_bytes).collect();
    if flags & O != 0 {
        message.extend(vec![0xee; usize::from(offset)]);
    }
    message.extend(ppp);
    if flags & L != 0 {
        let len = (message.len() as u16).to_be_bytes();
        message[2..4].copy_from_slice(&len);
    }
    message
}

fn ppp(packet: &[u8]) -> Vec<u8> {
    [&[0xff, 3, 0, 0x21], packet].concat()
}

// conformance: 2661-04 2661-07 2661-08
#[test]
fn each_combination_of_the_optional_fields_is_read_at_its_right_offsets() {
    for mut peer in [Peer::new(3, 5), Peer::new(3, 5).plain()] {
        let mut gateway = Gateway::with_peer(&mut peer);
        let mut ns = 0;
        for bits in 0..16 {
            let mut flags = RESERVED;
            for (bit, flag) in [L, S, O, P].into_iter().enumerate() {
                flags |= if bits >> bit & 1 == 1 { flag } else { 0 };
            }
            let packet = ip(peer.address, SERVER, 100);
            let message = message_with(&peer, flags, ns, 3, &ppp(&packet));
            ns += u16::from(flags & S != 0);
            let frame = peer.l2tp(&message);
            assert_eq!(
                gateway.fate(TUNNEL, frame),
                Fate::Network(hop(&packet)),
                "{flags:04x}"
            );
        }
    }
}

/// The ways out of `l2tp::decap`, in an SA and in the clear.
// conformance: 2661-03 2661-06 2661-08 2661-51 2661-96 2661-97 3193-10 3193-11
#[test]
fn the_ways_out_of_decap() {
    for is_plain in [false, true] {
        let mut peer = Peer::new(3, 5);
        if is_plain {
            peer = peer.plain();
        }
        let mut gateway = Gateway::with_peer(&mut peer);
        let packet = ppp(&ip(peer.address, SERVER, 100));
        let good = message(&peer, L, &packet);
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut message = good.clone();
            change(&mut message);
            message
        };
        let wrong_length = if is_plain {
            Discard::NoTunnel
        } else {
            Discard::NoSession
        };
        let rows: Vec<(&str, Vec<u8>, Discard)> = vec![
            ("version 3", with(&|m| m[1] = 3), Discard::L2tpVersion),
            ("version 1", with(&|m| m[1] = 1), Discard::L2tpVersion),
            (
                "length past the end",
                with(&|m| m[3] += 1),
                Discard::L2tpMalformed,
            ),
            (
                "length inside the header",
                with(&|m| m[2..4].copy_from_slice(&[0, 7])),
                Discard::L2tpMalformed,
            ),
            (
                "offset past the end",
                message_with(&peer, O, 0, 3, &[])[..10].to_vec(),
                Discard::L2tpMalformed,
            ),
            (
                "cut off in the header",
                good[..6].to_vec(),
                Discard::Truncated,
            ),
            (
                "another session",
                with(&|m| m[7] ^= 0x40),
                Discard::NoSession,
            ),
            ("another tunnel", with(&|m| m[4] ^= 0x40), wrong_length),
        ];
        for (name, message, expected) in rows {
            let frame = peer.l2tp(&message);
            assert_eq!(
                gateway.fate(TUNNEL, frame),
                Fate::Discarded(expected),
                "{name} {is_plain}"
            );
        }
        // RFC 2661 §3.1: longer than Length is trimmed.
        let longer = with(&|m| m.extend([0xcc; 9]));
        let frame = peer.l2tp(&longer);
        assert!(matches!(gateway.fate(TUNNEL, frame), Fate::Network(p) if p.len() == 100));
        gateway.assert_chunks_are_whole();
    }
}

#[test]
fn control_messages_go_to_the_slow_path_as_they_came() {
    let control = |peer: &Peer, tunnel: u16| {
        let mut control = message(peer, T | L | S, &[1, 2, 3]);
        control[4..6].copy_from_slice(&tunnel.to_be_bytes());
        control
    };
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let message = control(&peer, peer.tunnel());
    let origin = Origin::SecuredL2tp {
        path: peer.path(),
        local_port: Udp::L2TP,
        peer_port: Udp::L2TP,
    };
    let frame = peer.l2tp(&message);
    assert_eq!(gateway.fate(TUNNEL, frame), Fate::Punted(origin, message));

    let mut peer = Peer::new(3, 5).plain();
    let mut gateway = Gateway::with_peer(&mut peer);
    for tunnel in [0, peer.tunnel(), peer.tunnel() ^ 0x40] {
        let message = control(&peer, tunnel);
        let origin = Origin::PlainL2tp {
            worker: WorkerId(0),
            listener: 1,
            local: peer.gateway,
            remote: peer.outer,
        };
        let frame = peer.l2tp(&message);
        assert_eq!(gateway.fate(TUNNEL, frame), Fate::Punted(origin, message));
    }
}

// conformance: 2661-96
#[test]
fn a_plain_tunnel_belongs_to_one_address_and_port() {
    let mut peer = Peer::new(3, 5).plain();
    let mut gateway = Gateway::with_peer(&mut peer);
    let packet = ip(peer.address, SERVER, 100);
    let other_port = peer.outer.with_port(1);
    let other_address = Endpoint::new("198.51.100.250".parse().unwrap(), peer.outer.port());
    for outer in [other_port, other_address] {
        let frame = peer.data_from(outer, &packet);
        assert_eq!(
            gateway.fate(TUNNEL, frame),
            Fate::Discarded(Discard::WrongEndpoint)
        );
        let control = message(&peer, T | L | S, &[]);
        let frame = super::peer::outer(Kind::L2tp, outer, peer.gateway, &control);
        assert_eq!(
            gateway.fate(TUNNEL, frame),
            Fate::Discarded(Discard::WrongEndpoint)
        );
    }
}

// conformance: 3193-10 4301-03
#[test]
fn l2tp_in_the_clear_is_refused_in_silence_where_ipsec_is_required() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let to = Endpoint::new(SECURE.into(), Udp::L2TP);
    let packet = ip(peer.address, SERVER, 100);
    for message in [
        message(&peer, 0, &ppp(&packet)),
        message(&peer, T | L | S, &[]),
    ] {
        let frame = super::peer::outer(Kind::L2tp, peer.outer.with_port(1701), to, &message);
        assert_eq!(
            gateway.fate(TUNNEL, frame),
            Fate::Discarded(Discard::PlainRefused)
        );
    }
    let frame = peer.data(&packet);
    assert_eq!(
        gateway.fate(TUNNEL, frame),
        Fate::Network(hop(&packet)),
        "its tunnel is unharmed"
    );
}

// conformance: 2661-57
#[test]
fn a_data_message_that_is_late_or_doubled_is_dropped() {
    let mut peer = Peer::new(3, 5).plain();
    let mut gateway = Gateway::with_peer(&mut peer);
    let packet = ppp(&ip(peer.address, SERVER, 100));
    let rows = [
        (65_534, true),
        (65_535, true),
        (65_535, false),
        (0, true),
        (65_534, false),
        (5, true),
        (4, false),
        (6, true),
        (6 + 0x8000, true),
        (7, false),
    ];
    for (ns, is_delivered) in rows {
        let frame = peer.l2tp(&message_with(&peer, S, ns, 0, &packet));
        let fate = gateway.fate(TUNNEL, frame);
        let expected = Fate::Discarded(Discard::OutOfOrder);
        assert_eq!(fate != expected, is_delivered, "{ns} {fate:?}");
    }
}

// conformance: 2661-49 2661-56
#[test]
fn sequence_numbers_are_sent_where_the_peer_requires_them_from_0_on() {
    let mut peer = Peer::new(3, 5).plain();
    peer.sequencing = true;
    let mut gateway = Gateway::with_peer(&mut peer);
    for ns in 0..3_u16 {
        let packet = ip(SERVER, peer.address, 100);
        let Fate::Peer(frame) = gateway.fate(NETWORK, ethernet(&packet)) else {
            panic!("nothing came");
        };
        let header = [S | 2, 0x1234, 0x5678, ns, 0].map(u16::to_be_bytes);
        let expected = [header.as_flattened(), &ppp(&hop(&packet))].concat();
        assert_eq!(peer.open_l2tp(&frame), expected);
    }
}

// conformance: 2661-49
#[test]
fn sequence_numbers_may_be_asked_for_when_the_session_is_open_already() {
    let mut peer = Peer::new(3, 5).plain();
    let mut gateway = Gateway::with_peer(&mut peer);
    peer.sequencing = true;
    gateway.change(peer.slot.shard(), Change::OpenSession(peer.as_session()));
    let packet = ip(SERVER, peer.address, 100);
    let Fate::Peer(frame) = gateway.fate(NETWORK, ethernet(&packet)) else {
        panic!("nothing came");
    };
    let header = [S | 2, 0x1234, 0x5678, 0, 0].map(u16::to_be_bytes);
    assert!(peer.open_l2tp(&frame).starts_with(header.as_flattened()));
}

#[test]
fn what_the_slow_path_injects_is_framed_and_sealed_in_order_with_the_data() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let lcp = vec![0xff, 3, 0xc0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0];
    let hello = vec![0xc8, 2, 0, 20, 0x12, 0x34, 0, 0, 0, 1, 0, 1];
    let shard = peer.slot.shard();
    let inject = |entry, bytes: &[u8]| Inject {
        entry,
        bytes: bytes.to_vec(),
    };
    gateway.inject(shard, inject(Entry::Session(peer.session), &lcp));
    let tunnel = Entry::Tunnel {
        path: peer.path(),
        local_port: 1701,
        peer_port: 1701,
    };
    gateway.inject(shard, inject(tunnel, &hello));
    let echo = ip(SERVER, peer.address, 60);
    gateway.inject(shard, inject(Entry::Route { vrf: 0 }, &echo));
    let ike = Entry::Transmit {
        shard,
        kind: Kind::Ike,
        local: peer.gateway,
        remote: peer.outer,
    };
    gateway.inject(shard, inject(ike, &[0x11; 28]));
    gateway.settle();
    let frames = gateway.received(0, TUNNEL);
    let [first, second, third, fourth] = &frames[..] else {
        panic!("{} frames came", frames.len());
    };
    let (ike, sealed): (Vec<_>, Vec<_>) = [first, second, third, fourth]
        .into_iter()
        .partition(|frame| frame[42..46] == [0; 4]);
    assert_eq!(ike[0][46..], [0x11; 28]);
    let mut messages: Vec<_> = sealed
        .into_iter()
        .map(|frame| peer.open_l2tp(frame))
        .collect();
    messages.sort();
    let header = [2_u16, 0x1234, 0x5678].map(u16::to_be_bytes);
    let mut expected = [
        [header.as_flattened(), &lcp].concat(),
        hello,
        [header.as_flattened(), &ppp(&echo)].concat(),
    ];
    expected.sort();
    assert_eq!(messages, expected);
    gateway.assert_chunks_are_whole();
}

#[test]
fn a_session_may_live_apart_from_its_path() {
    let mut peer = Peer::new(3, 5).plain();
    peer.session.0 = peer.session.0.with_shard(crate::id::ShardId::new(40));
    let mut gateway = Gateway::with_peer(&mut peer);
    let packet = ip(peer.address, SERVER, 100);
    let frame = peer.data(&packet);
    assert_eq!(
        gateway.fate(TUNNEL, frame.clone()),
        Fate::Network(hop(&packet))
    );
    let back = ip(SERVER, peer.address, 100);
    let Fate::Peer(reply) = gateway.fate(NETWORK, ethernet(&back)) else {
        panic!("nothing came");
    };
    assert_eq!(peer.open(&reply), hop(&back));
    gateway.change(peer.session.0.shard(), Change::CloseSession(peer.session));
    assert_eq!(
        gateway.fate(TUNNEL, frame),
        Fate::Discarded(Discard::NoSession)
    );
}
