use super::gateway::{SERVER, ethernet, hop, ip};
use super::{Fate, Gateway, NETWORK, Peer, TUNNEL};
use crate::Discard;
use crate::change::{Change, Network, Origin, Rate};

/// The ways out of `ppp::strip`.
// conformance: 3193-11
#[test]
fn the_ways_out_of_strip() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let packet = ip(peer.address, SERVER, 100);
    for header in [
        &[0xff, 3, 0, 0x21][..],
        &[0, 0x21],
        &[0x21],
        &[0xff, 3, 0x21],
    ] {
        let frame = peer.ppp(&[header, &packet].concat());
        assert_eq!(
            gateway.fate(TUNNEL, frame),
            Fate::Network(hop(&packet)),
            "{header:?}"
        );
    }
    let punted = [
        &[0xff, 3, 0xc0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0][..],
        &[0xc0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0],
        &[0xff, 3, 0x80, 0x21, 1, 1, 0, 4],
        &[0xff, 3, 0, 0x57, 0x60],
        &[0xff, 3, 0xc1, 0x23],
    ];
    for ppp in punted {
        let frame = peer.ppp(ppp);
        let expected = Fate::Punted(Origin::Ppp(peer.session), ppp.to_vec());
        assert_eq!(gateway.fate(TUNNEL, frame), expected);
    }
    for malformed in [
        &[][..],
        &[0xff, 3],
        &[0xff, 3, 0],
        &[0xff, 3, 0, 0x20, 1],
        &[0],
    ] {
        let frame = peer.ppp(malformed);
        let expected = Fate::Discarded(Discard::PppMalformed);
        assert_eq!(gateway.fate(TUNNEL, frame), expected, "{malformed:?}");
    }
    let udp = [1701_u16, 1702, 8 + 6 + 4 + 100, 0].map(u16::to_be_bytes);
    let l2tp = [2, peer.tunnel(), peer.session_id()].map(u16::to_be_bytes);
    let other_port = [
        udp.as_flattened(),
        l2tp.as_flattened(),
        &[0xff, 3, 0, 0x21],
        &packet,
    ]
    .concat();
    let sealed = peer.seal(&other_port, 17);
    let frame = peer.outer_esp(&sealed);
    assert_eq!(
        gateway.fate(TUNNEL, frame),
        Fate::Discarded(Discard::WrongPorts)
    );
    gateway.assert_chunks_are_whole();
}

#[test]
fn four_frames_that_come_before_the_network_is_open_are_kept_by_the_slow_path() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::new(1);
    peer.open_session(&mut gateway);
    gateway.settle();
    let packet = ip(peer.address, SERVER, 60);
    for i in 0..6 {
        let frame = peer.data(&packet);
        let fate = gateway.fate(TUNNEL, frame);
        if i < 4 {
            let ppp = [&peer.ppp_header[..], &packet].concat();
            assert_eq!(fate, Fate::Punted(Origin::Ppp(peer.session), ppp));
        } else {
            assert_eq!(fate, Fate::Discarded(Discard::NetworkNotOpen));
        }
    }
    peer.open_network(&mut gateway);
    let frame = peer.data(&packet);
    assert_eq!(gateway.fate(TUNNEL, frame), Fate::Network(hop(&packet)));
}

#[test]
fn one_session_cannot_fill_the_ring_of_all() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let mut punted = 0;
    for _ in 0..1000 {
        let frame = peer.ppp(&[0xff, 3, 0xc0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0]);
        punted += usize::from(matches!(gateway.fate(TUNNEL, frame), Fate::Punted(..)));
    }
    assert_eq!(punted, 128);
    assert_eq!(gateway.discarded(Discard::PuntLimited), 1000 - 128);
}

/// The ways out of `ppp::frame`.
#[test]
fn the_ways_out_of_frame() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::new(1);
    let down = ethernet(&ip(SERVER, peer.address, 100));
    peer.open_session(&mut gateway);
    gateway.shared.apply(crate::change::SharedChange::Attach {
        vrf: 0,
        prefix: std::net::IpAddr::from(peer.address).into(),
        session: peer.session,
    });
    assert_eq!(
        gateway.fate(NETWORK, down.clone()),
        Fate::Discarded(Discard::NetworkNotOpen)
    );
    peer.open_network(&mut gateway);
    assert!(matches!(gateway.fate(NETWORK, down.clone()), Fate::Peer(_)));
    gateway.change(peer.session.0.shard(), Change::CloseSession(peer.session));
    assert_eq!(
        gateway.fate(NETWORK, down),
        Fate::Discarded(Discard::NoSession)
    );
}

#[test]
fn what_the_peer_agreed_to_leave_out_is_left_out() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    for (pfc, acfc, header) in [
        (false, false, &[0xff, 3, 0, 0x21][..]),
        (true, false, &[0xff, 3, 0x21]),
        (false, true, &[0, 0x21]),
        (true, true, &[0x21]),
    ] {
        let network = Network {
            session: peer.session,
            address: peer.address.into(),
            prefixes: vec![],
            mtu: 1400,
            pfc,
            acfc,
            clamp_mss: false,
            isolate: false,
        };
        gateway.change(peer.session.0.shard(), Change::OpenNetwork(network));
        let packet = ip(SERVER, peer.address, 100);
        let Fate::Peer(frame) = gateway.fate(NETWORK, ethernet(&packet)) else {
            panic!("nothing came");
        };
        assert_eq!(peer.open_ppp(&frame), [header, &hop(&packet)].concat());
    }
}

#[test]
fn the_outer_header_takes_the_inner_dscp_and_no_congestion_mark() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let packet = super::gateway::ip_with(SERVER, peer.address, 17, &[0; 40], |header| {
        header.dscp_ecn = 0xb8 | 0b10;
    });
    let Fate::Peer(frame) = gateway.fate(NETWORK, ethernet(&packet)) else {
        panic!("nothing came");
    };
    assert_eq!(frame[15], 0xb8);
    assert_eq!(peer.open(&frame), hop(&packet));
}

#[test]
fn what_is_above_a_subscribers_rate_is_dropped_by_name_in_each_direction() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let (session, rate) = (peer.session, |burst| {
        Some(Rate {
            bits_per_second: 8000,
            burst,
        })
    });
    let policers = |up, down| Change::SetPolicers { session, up, down };
    gateway.change(session.0.shard(), policers(rate(250), rate(150)));
    let up = ip(peer.address, SERVER, 100);
    let down = ethernet(&ip(SERVER, peer.address, 100));
    let is_through = |fate: Fate| match fate {
        Fate::Network(_) | Fate::Peer(_) => None,
        Fate::Discarded(reason) => Some(reason),
        Fate::Punted(..) => panic!("nothing for the slow path"),
    };
    let mut send = |gateway: &mut Gateway| {
        let frame = peer.data(&up);
        let up = is_through(gateway.fate(TUNNEL, frame));
        (up, is_through(gateway.fate(NETWORK, down.clone())))
    };
    let (above_up, above_down) = (Some(Discard::PolicedUp), Some(Discard::PolicedDown));
    assert_eq!(send(&mut gateway), (None, None));
    assert_eq!(send(&mut gateway), (None, above_down));
    assert_eq!(send(&mut gateway), (above_up, above_down));
    // An octet comes in a millisecond.
    gateway.pass(std::time::Duration::from_millis(50));
    assert_eq!(send(&mut gateway), (None, None));
    assert_eq!(send(&mut gateway), (above_up, above_down));
    let view = gateway.shared.session(session).expect("it is open");
    assert_eq!(view.traffic.discarded.packets, 5);
    gateway.change(session.0.shard(), policers(None, None));
    assert_eq!(send(&mut gateway), (None, None));
}
