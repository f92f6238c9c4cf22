use std::net::Ipv4Addr;
use std::time::Duration;

use crypto::esp::{Integrity, Suite};
use packet::Endpoint;

use super::gateway::{SERVER, ethernet, hop, ip};
use super::peer::GCM;
use super::{Fate, Gateway, NETWORK, Peer, TUNNEL};
use crate::change::{Activation, Change, Encapsulation, Event, Kind, Limits};
use crate::id::InboundSa;
use crate::mesh::Sizes;
use crate::shard::path::WAITING_SAS;
use crate::{Discard, Settings};

/// Both doors, both encapsulations, every suite, several lengths.
// conformance: 4303-01 4303-04 4303-08 4303-09 4106-01 4106-03 4106-04 4106-05 3602-01 3602-02
// conformance: 2404-01 4868-01 4303-17 3948-03
#[test]
fn every_suite_opens_and_seals_raw_and_in_udp_with_and_without_esn() {
    for suite in Suite::ALL {
        for (encapsulation, esn) in [(Encapsulation::Esp, false), (Encapsulation::EspInUdp, true)] {
            let mut peer = Peer::new(3, 5);
            if encapsulation == Encapsulation::Esp {
                peer = peer.raw();
            }
            (peer.suite, peer.esn) = (suite, esn);
            let mut gateway = Gateway::with_peer(&mut peer);
            for len in [40, 41, 47, 576, 1300] {
                let packet = ip(peer.address, SERVER, len);
                let frame = peer.data(&packet);
                assert_eq!(
                    gateway.fate(TUNNEL, frame),
                    Fate::Network(hop(&packet)),
                    "{suite}"
                );
                let packet = ip(SERVER, peer.address, len);
                let Fate::Peer(frame) = gateway.fate(NETWORK, ethernet(&packet)) else {
                    panic!("{suite} {len}: nothing came back");
                };
                assert_eq!(peer.open(&frame), hop(&packet), "{suite}");
            }
            gateway.assert_chunks_are_whole();
        }
    }
}

/// The ways out of `esp::open`.
// conformance: 4303-22 4303-26 4303-27 4303-29 4303-31 4303-32 4303-33 4303-34 4303-10 4303-11
// conformance: 4303-07 4303-23 4303-28 4301-02 3948-08
#[test]
fn the_ways_out_of_open() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let packet = ip(peer.address, SERVER, 100);
    let good = peer.data(&packet);
    let udp = [&[6, 0xa5, 6, 0xa5, 0, 8, 0, 0][..], &[]].concat();
    let strange_spi = {
        let mut frame = peer.data(&packet);
        frame[14 + 28..][..4].copy_from_slice(&(peer.spi_in ^ 1 << 24).to_be_bytes());
        frame
    };
    let forged = {
        let mut frame = peer.data(&packet);
        let last = frame.len() - 1;
        frame[last] ^= 1;
        frame
    };
    let forged_far_ahead = {
        let mut frame = forged.clone();
        frame[14 + 28 + 4] ^= 0x40;
        frame
    };
    let dummy = peer.seal(&udp, 59);
    let tcp = peer.seal(&udp, 6);
    let bad_pad = peer.seal_padded(100, &udp, &[1, 3, 2, 17]);
    let long_pad = peer.seal_padded(101, &udp, &[1, 2, 200, 17]);
    let mut rows = vec![
        ("good", good.clone(), Ok(())),
        ("second copy", good.clone(), Err(Discard::Replayed)),
        ("no SA", strange_spi, Err(Discard::UnknownSpi)),
        ("forged", forged, Err(Discard::NotAuthentic)),
        (
            "forged, far ahead",
            forged_far_ahead,
            Err(Discard::NotAuthentic),
        ),
        ("after forgery", peer.data(&packet), Ok(())),
        ("short", peer.outer_esp(&[1, 2, 3]), Err(Discard::Truncated)),
        (
            "no IV",
            peer.outer_esp(&good[42..52]),
            Err(Discard::BadEspLength),
        ),
        (
            "no block",
            peer.outer_esp(&good[42..good.len() - 1]),
            Err(Discard::BadEspLength),
        ),
        ("dummy", peer.outer_esp(&dummy), Err(Discard::Dummy)),
        ("not UDP", peer.outer_esp(&tcp), Err(Discard::NotUdp)),
        (
            "padding not 1, 2, 3",
            peer.outer_esp(&bad_pad),
            Err(Discard::BadPadding),
        ),
        (
            "padding past the start",
            peer.outer_esp(&long_pad),
            Err(Discard::BadPadding),
        ),
    ];
    let late = peer.data(&packet);
    peer.sequence = 2000;
    rows.push(("ahead", peer.data(&packet), Ok(())));
    rows.push(("left of the window", late, Err(Discard::Replayed)));
    for (name, frame, expected) in rows {
        let expected = match expected {
            Ok(()) => Fate::Network(hop(&packet)),
            Err(reason) => Fate::Discarded(reason),
        };
        assert_eq!(gateway.fate(TUNNEL, frame), expected, "{name}");
    }
    let sa = gateway.shared.inbound(InboundSa(peer.slot)).unwrap();
    assert_eq!((sa.replayed, sa.forged, sa.sequence), (2, 2, 2001));
    gateway.assert_chunks_are_whole();
}

// conformance: 4303-25
#[test]
fn of_two_copies_in_one_burst_one_passes() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let frame = peer.data(&ip(peer.address, SERVER, 100));
    for _ in 0..3 {
        gateway.send(0, TUNNEL, frame.clone());
    }
    gateway.settle();
    assert_eq!(gateway.received(0, NETWORK).len(), 1);
    assert_eq!(gateway.discards(), [(Discard::Replayed, 2)]);
}

#[test]
fn a_burst_of_many_suites_keeps_its_order() {
    let mut gateway = Gateway::new(1);
    let mut peers: Vec<_> = (0..10)
        .map(|n| {
            let mut peer = Peer::new(n as u8 * 5, n);
            peer.suite = Suite::ALL[n as usize * 2 % Suite::ALL.len()];
            gateway.open(&mut peer);
            peer
        })
        .collect();
    let mut expected = Vec::new();
    for i in 0..60 {
        let peer = &mut peers[i * 7 % 10];
        let packet = ip(peer.address, SERVER, 40 + i * 17);
        let frame = peer.data(&packet);
        gateway.send(0, TUNNEL, frame);
        expected.push(ethernet(&hop(&packet))[14..].to_vec());
    }
    gateway.settle();
    let received: Vec<_> = gateway
        .received(0, NETWORK)
        .iter()
        .map(|f| f[14..].to_vec())
        .collect();
    assert_eq!(received, expected);
}

/// The ways out of `esp::seal`.
// conformance: 3193-16 4303-16
#[test]
fn the_ways_out_of_seal() {
    let packet = |peer: &Peer| ethernet(&ip(SERVER, peer.address, 100));
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    assert!(matches!(
        gateway.fate(NETWORK, packet(&peer)),
        Fate::Peer(_)
    ));
    let (path, spi) = (peer.path(), peer.spi_out);
    gateway.change(peer.slot.shard(), Change::RetireOutbound { path, spi });
    let fate = gateway.fate(NETWORK, packet(&peer));
    assert_eq!(fate, Fate::Discarded(Discard::NoOutboundSa));

    peer.install_outbound(&mut gateway, 77, 7, Activation::Now);
    let Fate::Peer(frame) = gateway.fate(NETWORK, packet(&peer)) else {
        panic!("the new SA is not used");
    };
    peer.open(&frame);
    gateway.change(peer.slot.shard(), Change::ClosePath(path));
    let fate = gateway.fate(NETWORK, packet(&peer));
    assert_eq!(
        fate,
        Fate::Discarded(Discard::NoSession),
        "the session went with its path"
    );
    gateway.assert_chunks_are_whole();
}

// conformance: 4303-06 4303-16
#[test]
fn limits_are_told_once_and_hard_ones_stop_the_sa() {
    let mut peer = Peer::new(3, 5);
    peer.limits = Limits {
        soft_packets: 3,
        hard_packets: 5,
        ..Limits::NONE
    };
    let mut gateway = Gateway::with_peer(&mut peer);
    let (up, down) = (ip(peer.address, SERVER, 100), ip(SERVER, peer.address, 100));
    let mut fates = Vec::new();
    for _ in 0..7 {
        let frame = peer.data(&up);
        fates.push(matches!(gateway.fate(TUNNEL, frame), Fate::Network(_)));
    }
    assert_eq!(fates, [true, true, true, true, true, false, false]);
    assert_eq!(gateway.discarded(Discard::SaExhausted), 2);
    let (soft, hard) = (Event::SoftLimit(peer.path()), Event::HardLimit(peer.path()));
    let first = Event::FirstInbound(InboundSa(peer.slot));
    assert_eq!(gateway.events, [first, soft.clone(), hard.clone()]);
    gateway.events.clear();
    for _ in 0..7 {
        gateway.fate(NETWORK, ethernet(&down));
    }
    assert_eq!(gateway.discarded(Discard::SaExhausted), 4);
    assert_eq!(gateway.events, [soft, hard]);
}

// conformance: 4303-16
#[test]
fn no_number_is_used_after_the_last_one() {
    for (esn, last) in [
        (false, u64::from(u32::MAX)),
        (true, u64::from(u32::MAX) + 2),
    ] {
        let mut peer = Peer::new(3, 5);
        peer.esn = esn;
        let mut gateway = Gateway::with_peer(&mut peer);
        let path = peer.path();
        peer.install_outbound(&mut gateway, 77, 7, Activation::Now);
        gateway.settle();
        // The same SA near its end.
        let path = gateway.workers[0].state().paths.at_mut(path.0).unwrap();
        let outbound = path.outbound.as_mut().unwrap();
        outbound.set_next(u64::from(u32::MAX) - 1);
        let install = Some(outbound.spi);
        assert_eq!(install, Some(77));
        let mut sent = 0;
        for _ in 0..4 {
            let fate = gateway.fate(NETWORK, ethernet(&ip(SERVER, peer.address, 100)));
            sent += u64::from(matches!(fate, Fate::Peer(_)));
        }
        let expected = if esn {
            4
        } else {
            last - (u64::from(u32::MAX) - 1) + 1
        };
        assert_eq!(sent, expected);
    }
}

#[test]
fn the_first_packet_on_a_new_inbound_sa_activates_the_outbound_sa_that_waits_for_it() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let (old_key, old_spi) = (2, peer.spi_out);
    let new = peer.slot.with_index(99);
    let waits = Activation::AfterFirst(InboundSa(new));
    let old_sender = peer.data(&ip(peer.address, SERVER, 60));
    peer.install_inbound(&mut gateway, new, 11);
    peer.install_outbound(&mut gateway, 4242, 12, waits);
    let down = |peer: &Peer| ethernet(&ip(SERVER, peer.address, 100));

    // Until the peer uses the new one, it is sent to on the old one; and its old frames are taken.
    assert!(matches!(gateway.fate(TUNNEL, old_sender), Fate::Network(_)));
    peer.listen(old_key, old_spi);
    let Fate::Peer(frame) = gateway.fate(NETWORK, down(&peer)) else {
        panic!("nothing came");
    };
    peer.open(&frame);

    gateway.events.clear();
    let frame = peer.data(&ip(peer.address, SERVER, 60));
    assert!(matches!(gateway.fate(TUNNEL, frame), Fate::Network(_)));
    assert_eq!(gateway.events, [Event::FirstInbound(InboundSa(new))]);
    peer.listen(12, 4242);
    let Fate::Peer(frame) = gateway.fate(NETWORK, down(&peer)) else {
        panic!("nothing came");
    };
    peer.open(&frame);
}

#[test]
fn of_outbound_sas_that_nobody_takes_into_use_the_oldest_go() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let (shard, path, old) = (peer.slot.shard(), peer.path(), peer.spi_out);
    let spis = 4242..4242 + WAITING_SAS as u32 + 2;
    for (key, spi) in (12..).zip(spis.clone()) {
        let waits = Activation::AfterFirst(InboundSa(peer.slot.with_index(spi)));
        peer.install_outbound(&mut gateway, spi, key, waits);
    }
    for spi in spis.clone().take(2) {
        gateway.change(shard, Change::ActivateOutbound { path, spi });
    }
    peer.listen(2, old);
    let down = ethernet(&ip(SERVER, peer.address, 100));
    let Fate::Peer(frame) = gateway.fate(NETWORK, down.clone()) else {
        panic!("nothing came");
    };
    peer.open(&frame);

    let (key, spi) = (12..).zip(spis).nth(2).unwrap();
    gateway.change(shard, Change::ActivateOutbound { path, spi });
    peer.listen(key, spi);
    let Fate::Peer(frame) = gateway.fate(NETWORK, down) else {
        panic!("nothing came");
    };
    peer.open(&frame);
}

#[test]
fn the_delete_of_the_current_sa_activates_the_one_that_waits() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let old = peer.spi_out;
    let waits = Activation::AfterFirst(InboundSa(peer.slot.with_index(99)));
    peer.install_outbound(&mut gateway, 4242, 12, waits);
    let path = peer.path();
    gateway.change(peer.slot.shard(), Change::RetireOutbound { path, spi: old });
    let fate = gateway.fate(NETWORK, ethernet(&ip(SERVER, peer.address, 100)));
    let Fate::Peer(frame) = fate else {
        panic!("{fate:?}");
    };
    peer.open(&frame);
}

// conformance: 3948-07 3948-12
#[test]
fn a_peer_behind_a_nat_is_followed_by_its_newest_authentic_frame_once_a_second() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let home = peer.outer;
    let elsewhere = Endpoint::new(Ipv4Addr::new(198, 51, 100, 99).into(), 50_000);
    let packet = ip(peer.address, SERVER, 100);
    let down = ethernet(&ip(SERVER, peer.address, 100));
    let older = peer.data(&packet);
    let frame = peer.data(&packet);
    gateway.fate(TUNNEL, frame);
    gateway.events.clear();

    // Neither a keepalive, nor a forgery, nor an old frame moves it.
    peer.outer = elsewhere;
    let keepalive = peer.outer(Kind::Keepalive, &[0xff]);
    let mut forged = peer.data(&packet);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let mut old = older;
    old[26..30].copy_from_slice(&[198, 51, 100, 99]);
    old[24..26].fill(0);
    let sum = packet::checksum::checksum(&old[14..34]);
    old[24..26].copy_from_slice(&sum.to_be_bytes());
    let alive = gateway.shared.path(peer.path()).unwrap().last_authentic;
    gateway.now += Duration::from_secs(5);
    for frame in [keepalive, forged, old] {
        gateway.fate(TUNNEL, frame);
    }
    let view = gateway.shared.path(peer.path()).unwrap();
    assert_ne!(view.last_authentic, alive, "the old frame is authentic");
    let alive = view.last_authentic;
    gateway.now += Duration::from_secs(5);
    gateway.fate(TUNNEL, peer.outer(Kind::Keepalive, &[0xff]));
    let view = gateway.shared.path(peer.path()).unwrap();
    assert_eq!(view.last_authentic, alive, "a keepalive proves nothing");
    peer.outer = home;
    let Fate::Peer(frame) = gateway.fate(NETWORK, down.clone()) else {
        panic!("nothing came");
    };
    peer.open(&frame);
    assert_eq!(gateway.events, []);

    // A new one does.
    peer.outer = elsewhere;
    let frame = peer.data(&packet);
    gateway.fate(TUNNEL, frame);
    let Fate::Peer(frame) = gateway.fate(NETWORK, down.clone()) else {
        panic!("nothing came");
    };
    peer.open(&frame);
    let path = peer.path();
    let moved = |remote| Event::PathMoved { path, remote };
    assert_eq!(gateway.events, [moved(elsewhere)]);

    // Not again within the second.
    gateway.now += Duration::from_millis(999);
    let frame = peer.data_from(home, &packet);
    gateway.fate(TUNNEL, frame);
    assert_eq!(gateway.events, [moved(elsewhere)]);
    gateway.now += Duration::from_millis(1);
    let frame = peer.data_from(home, &packet);
    gateway.fate(TUNNEL, frame);
    assert_eq!(gateway.events, [moved(elsewhere), moved(home)]);
}

#[test]
fn raw_esp_from_another_address_is_not_the_peers() {
    let mut peer = Peer::new(3, 5).raw();
    let mut gateway = Gateway::with_peer(&mut peer);
    let other = Endpoint::new(Ipv4Addr::new(198, 51, 100, 99).into(), 0);
    let packet = ip(peer.address, SERVER, 100);
    let frame = peer.data_from(other, &packet);
    assert_eq!(
        gateway.fate(TUNNEL, frame),
        Fate::Discarded(Discard::WrongEndpoint)
    );
    assert_eq!(gateway.events, [Event::FirstInbound(InboundSa(peer.slot))]);
}

#[test]
fn what_is_retired_is_told_with_its_last_counters_and_its_slots_serve_again() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let frame = peer.data(&ip(peer.address, SERVER, 100));
    let esp_len = frame.len() - 42;
    gateway.fate(TUNNEL, frame.clone());
    gateway.events.clear();
    gateway.change(peer.slot.shard(), Change::CloseSession(peer.session));
    gateway.change(
        peer.slot.shard(),
        Change::RetireInbound(InboundSa(peer.slot)),
    );
    gateway.change(peer.slot.shard(), Change::ClosePath(peer.path()));
    gateway.settle();
    let [session, sa, path] = &gateway.events[..] else {
        panic!("{:?}", gateway.events);
    };
    assert!(matches!(session, Event::SessionRetired(_, t) if t.up.bytes == 100));
    assert!(matches!(sa, Event::InboundRetired(_, t) if t.bytes == esp_len as u64));
    assert_eq!(*path, Event::PathRetired(peer.path()));
    assert_eq!(
        gateway.fate(TUNNEL, frame),
        Fate::Discarded(Discard::UnknownSpi)
    );

    let mut next = Peer::new(3, 5);
    next.slot = next.slot.with_generation(2);
    next.session = crate::id::SessionSlot(next.slot);
    next.suite = GCM;
    gateway.open(&mut next);
    let packet = ip(next.address, SERVER, 100);
    next.spi_in = InboundSa(next.slot).spi();
    let frame = next.data(&packet);
    assert_eq!(gateway.fate(TUNNEL, frame), Fate::Network(hop(&packet)));
}

/// Same outer address, same ports inside, perhaps even the same address of their own at home.
// conformance: 3948-15 3948-16
#[test]
fn two_clients_behind_one_nat_both_work_and_neither_can_speak_for_the_other() {
    let (mut a, mut b) = (Peer::new(3, 5), Peer::new(3, 6));
    b.outer = a.outer.with_port(a.outer.port() + 1);
    let mut gateway = Gateway::with_peer(&mut a);
    gateway.open(&mut b);
    for (peer, other) in [(&mut a, b.address), (&mut b, Peer::new(3, 5).address)] {
        let packet = ip(peer.address, SERVER, 100);
        let frame = peer.data(&packet);
        assert_eq!(gateway.fate(TUNNEL, frame), Fate::Network(hop(&packet)));
        let packet = ip(SERVER, peer.address, 100);
        let Fate::Peer(frame) = gateway.fate(NETWORK, ethernet(&packet)) else {
            panic!("nothing came");
        };
        assert_eq!(peer.open(&frame), hop(&packet));
        let frame = peer.data(&ip(other, SERVER, 100));
        assert_eq!(
            gateway.fate(TUNNEL, frame),
            Fate::Discarded(Discard::SourceForged)
        );
    }
    // The other's session ids through one's own SA.
    let ppp = [&[0xff, 3, 0, 0x21][..], &ip(b.address, SERVER, 100)].concat();
    let ids = [2, b.tunnel(), b.session_id()].map(u16::to_be_bytes);
    let frame = a.l2tp(&[ids.as_flattened(), &ppp].concat());
    assert_eq!(
        gateway.fate(TUNNEL, frame),
        Fate::Discarded(Discard::NoSession)
    );
}

// conformance: 3948-09
#[test]
fn the_udp_checksum_inside_is_not_looked_at() {
    let mut peer = Peer::new(3, 5).raw();
    let mut gateway = Gateway::with_peer(&mut peer);
    let packet = ip(peer.address, SERVER, 100);
    let udp = [1701, 1701, 8 + 6 + 4 + 100, 0xbad0].map(u16::to_be_bytes);
    let l2tp = [2, peer.tunnel(), peer.session_id()].map(u16::to_be_bytes);
    let payload = [
        udp.as_flattened(),
        l2tp.as_flattened(),
        &[0xff, 3, 0, 0x21],
        &packet,
    ]
    .concat();
    let sealed = peer.seal(&payload, 17);
    let frame = peer.outer_esp(&sealed);
    assert_eq!(gateway.fate(TUNNEL, frame), Fate::Network(hop(&packet)));
}

#[test]
fn what_3des_takes_beyond_its_share_is_dropped_by_name_and_others_are_not_touched() {
    let settings = Settings {
        compat_max_share: 1,
        ..Settings::default()
    };
    let mut gateway = Gateway::with_settings(1, Sizes::default(), settings);
    let [mut old, mut new] = [5, 6].map(|n| Peer::new(1, n));
    old.suite = Suite::TripleDesCbc {
        integrity: Integrity::HmacSha1_96,
    };
    gateway.open(&mut old);
    gateway.open(&mut new);
    for _ in 0..640 {
        for peer in [&mut old, &mut new] {
            let frame = peer.data(&ip(peer.address, SERVER, 1300));
            gateway.send(0, TUNNEL, frame);
        }
    }
    gateway.settle();
    let dropped = gateway.discarded(Discard::CompatShare);
    assert!((1..640).contains(&dropped), "{dropped} of 640");
    assert_eq!(gateway.discards(), [(Discard::CompatShare, dropped)]);
    assert_eq!(gateway.received(0, NETWORK).len() as u64, 1280 - dropped);
}
