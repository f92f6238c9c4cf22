use std::time::Duration;

use packet::Endpoint;

use super::gateway::{SECURE, SERVER, ip};
use super::peer::outer;
use super::{Fate, Gateway, Peer, TUNNEL};
use crate::Discard;
use crate::change::{
    Adjacency, AdjacencyId, Change, Class, Entry, Inject, Kind, Origin, SharedChange,
};
use crate::cookie::CookieKey;
use crate::id::{ShardId, Slot, WorkerId};
use crate::mesh::Sizes;

fn stranger(last: u8) -> Endpoint {
    Endpoint::new([198, 51, 100, last].into(), 500)
}

fn gateway_at(port: u16) -> Endpoint {
    Endpoint::new(SECURE.into(), port)
}

/// The ways out of `link`.
// conformance: 3948-05 3948-07
#[test]
fn the_ways_out_of_link() {
    let mut gateway = Gateway::new(1);
    let ike = [&[7; 8][..], &[0; 20]].concat();
    for port in [500, 4500] {
        let (local, remote) = (gateway_at(port), stranger(9));
        let frame = outer(Kind::Ike, remote, local, &ike);
        // The peer's end adds the marker by its own port.
        let remote_on_port = remote.with_port(port);
        let frame = if port == 4500 {
            outer(Kind::Ike, remote_on_port, local, &ike)
        } else {
            frame
        };
        let remote = if port == 4500 { remote_on_port } else { remote };
        let origin = Origin::Ike {
            worker: WorkerId(0),
            local,
            remote,
        };
        assert_eq!(
            gateway.fate(TUNNEL, frame),
            Fate::Punted(origin, ike.clone())
        );
    }
    let mut bad_sum = outer(Kind::Ike, stranger(9), gateway_at(500), &ike);
    bad_sum[50] ^= 1;
    let elsewhere = Endpoint::new([192, 0, 2, 77].into(), 500);
    let rows = [
        (
            outer(Kind::Keepalive, stranger(9), gateway_at(4500), &[0xff]),
            Discard::Keepalive,
        ),
        (
            outer(Kind::Ike, stranger(9), gateway_at(500), &ike[..27]),
            Discard::Truncated,
        ),
        (
            outer(Kind::EspInUdp, stranger(9), gateway_at(4500), &[9; 7]),
            Discard::Truncated,
        ),
        (
            outer(Kind::L2tp, stranger(9), gateway_at(1701), &[2; 12]),
            Discard::PlainRefused,
        ),
        (
            outer(Kind::Ike, stranger(9), elsewhere, &ike),
            Discard::NotForSubscriber,
        ),
        (bad_sum, Discard::BadChecksum),
    ];
    for (frame, expected) in rows {
        assert_eq!(gateway.fate(TUNNEL, frame), Fate::Discarded(expected));
    }
}

#[test]
fn a_cookie_of_ours_tells_a_known_exchange_from_a_stranger() {
    let mut gateway = Gateway::new(1);
    let key = CookieKey::new([5; 32]);
    gateway
        .shared
        .apply(SharedChange::SetCookieKey(key.clone()));
    let slot = Slot::new(ShardId::new(7), 1, 2);
    let cookie = key.cookie(slot, stranger(9).address());
    let rows = [
        ([0; 8], Class::Stranger),
        ([1; 8], Class::Stranger),
        (cookie, Class::InProgress),
    ];
    for (responder, class) in rows {
        let ike = [&[7; 8][..], &responder, &[0; 12]].concat();
        gateway.send(
            0,
            TUNNEL,
            outer(Kind::Ike, stranger(9), gateway_at(500), &ike),
        );
        gateway.settle();
        let punts = gateway.punts();
        assert_eq!(punts.iter().map(|p| p.class).collect::<Vec<_>>(), [class]);
    }
}

#[test]
fn strangers_are_limited_each_and_in_all_and_known_ones_are_not() {
    let mut gateway = Gateway::new(1);
    let ike = |responder: u8| [&[7; 8][..], &[responder; 8], &[0; 12]].concat();
    let send = |gateway: &mut Gateway, from: u8, responder: u8, count: usize| {
        let mut punted = 0;
        for _ in 0..count {
            let frame = outer(Kind::Ike, stranger(from), gateway_at(500), &ike(responder));
            punted += usize::from(matches!(gateway.fate(TUNNEL, frame), Fate::Punted(..)));
        }
        punted
    };
    assert_eq!(
        send(&mut gateway, 1, 0, 100),
        40,
        "one address has its burst"
    );
    assert_eq!(send(&mut gateway, 2, 0, 30), 30, "and another its own");
    assert_eq!(
        send(&mut gateway, 1, 9, 100),
        100,
        "an exchange in progress goes on"
    );
    let all: usize = (3..100).map(|from| send(&mut gateway, from, 0, 30)).sum();
    assert!(all <= 1000 - 70, "{all} in all");
    gateway.pass(Duration::from_secs(1));
    assert_eq!(send(&mut gateway, 1, 0, 100), 20, "a second later");
}

#[test]
fn a_full_ring_of_strangers_leaves_the_others_room() {
    let sizes = Sizes {
        punts: [2, 2, 2],
        ..Sizes::default()
    };
    let mut gateway = Gateway::with_sizes(1, sizes);
    let mut peer = Peer::new(3, 5);
    gateway.open(&mut peer);
    let ike = [&[7; 8][..], &[0; 20]].concat();
    for from in 1..=4 {
        gateway.send(
            0,
            TUNNEL,
            outer(Kind::Ike, stranger(from), gateway_at(500), &ike),
        );
    }
    let lcp = peer.ppp(&[0xff, 3, 0xc0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0]);
    gateway.send(0, TUNNEL, lcp);
    gateway.settle();
    let classes: Vec<_> = gateway.punts().iter().map(|punt| punt.class).collect();
    assert_eq!(
        classes,
        [Class::Established, Class::Stranger, Class::Stranger]
    );
    assert_eq!(gateway.discarded(Discard::PuntFull), 2);
}

#[test]
fn what_came_by_an_exception_socket_takes_the_same_way() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let packet = ip(peer.address, SERVER, 1300);
    let frame = peer.data(&packet);
    let entry = Entry::Link {
        kind: Kind::EspInUdp,
        local: peer.gateway,
        remote: peer.outer,
    };
    let bytes = frame[42..].to_vec();
    gateway.inject(peer.slot.shard(), Inject { entry, bytes });
    gateway.settle();
    assert_eq!(gateway.received(0, super::NETWORK).len(), 1);
    let ike = [&[7; 8][..], &[0; 3000]].concat();
    let entry = Entry::Link {
        kind: Kind::Ike,
        local: gateway_at(500),
        remote: stranger(3),
    };
    gateway.inject(peer.slot.shard(), Inject { entry, bytes: ike });
    gateway.settle();
    assert_eq!(
        gateway.discarded(Discard::SendTooLong),
        1,
        "larger than a chunk"
    );
}

#[test]
fn events_wait_in_their_slots_until_the_slow_path_has_room() {
    let sizes = Sizes {
        events: 2,
        ..Sizes::default()
    };
    let mut gateway = Gateway::with_sizes(1, sizes);
    let mut peers: Vec<_> = (0..20).map(|n| Peer::new(n as u8, n)).collect();
    for peer in &mut peers {
        gateway.open(peer);
    }
    for peer in &mut peers {
        gateway.change(peer.slot.shard(), Change::ClosePath(peer.path()));
    }
    for _ in 0..100 {
        gateway.turn(0);
    }
    gateway.settle();
    // Of each peer: session, inbound SA, path.
    assert_eq!(gateway.events.len(), 60);
    let mut unique = gateway
        .events
        .iter()
        .map(|event| format!("{event:?}"))
        .collect::<Vec<_>>();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 60);
}

/// Ways out that have to do with the worker's own means.
#[test]
fn what_finds_no_means_is_named() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let packet = ip(peer.address, SERVER, 100);

    let hop = |port, mtu| Adjacency {
        port,
        mtu,
        rewrite: Some([[6; 6]; 2]),
        is_resolved: true,
    };
    let set = |gateway: &Gateway, hop| {
        let change = SharedChange::SetAdjacency(AdjacencyId(1), hop);
        gateway.shared.apply(change);
    };
    set(&gateway, hop(9, 1500));
    let frame = peer.data(&packet);
    assert_eq!(
        gateway.fate(TUNNEL, frame),
        Fate::Discarded(Discard::NoPort)
    );

    // The route believes in a larger MTU than the port has.
    set(&gateway, hop(1, 9000));
    let frame = peer.data(&ip(peer.address, SERVER, 1601));
    assert_eq!(
        gateway.fate(TUNNEL, frame),
        Fate::Discarded(Discard::SendTooLong)
    );

    // A cable of 4096 frames that nobody empties.
    for _ in 0..4097 {
        let frame = peer.data(&packet);
        gateway.send(0, TUNNEL, frame);
        gateway.settle();
    }
    assert_eq!(gateway.discarded(Discard::SendFull), 1);
    gateway.received(0, super::NETWORK);

    let tunnel = Entry::Tunnel {
        path: peer.path(),
        local_port: 1701,
        peer_port: 1701,
    };
    let shard = peer.slot.shard();
    let inject = |entry| Inject {
        entry,
        bytes: vec![7; 28],
    };
    gateway.change(shard, Change::ClosePath(peer.path()));
    gateway.inject(shard, inject(tunnel));
    gateway.settle();
    assert_eq!(gateway.discarded(Discard::NoPath), 1);

    gateway.shared.apply(SharedChange::RemoveListener(0));
    let entry = Entry::Link {
        kind: Kind::Ike,
        local: gateway_at(500),
        remote: stranger(3),
    };
    gateway.inject(shard, inject(entry));
    gateway.settle();
    assert_eq!(gateway.discarded(Discard::NoListener), 1);
    gateway.assert_chunks_are_whole();
}

#[test]
fn a_worker_without_free_chunks_drops_what_is_injected_by_name_and_recovers() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let taken = gateway.workers[0].take_chunks();
    let entry = Entry::Session(peer.session);
    let inject = || Inject {
        entry,
        bytes: vec![0xff, 3, 0xc0, 0x21],
    };
    gateway.inject(peer.slot.shard(), inject());
    gateway.settle();
    assert_eq!(gateway.discarded(Discard::NoChunk), 1);
    gateway.workers[0].return_chunks(taken);
    gateway.inject(peer.slot.shard(), inject());
    gateway.settle();
    assert_eq!(gateway.received(0, TUNNEL).len(), 1);
    gateway.assert_chunks_are_whole();
}

#[test]
fn one_peer_or_address_cannot_fill_the_ring_of_all() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let hello = [[0xc8, 2, 0, 12], [0; 4], [0; 4]].concat();
    let mut punted = 0;
    for _ in 0..4500 {
        let frame = peer.l2tp(&hello);
        punted += usize::from(matches!(gateway.fate(TUNNEL, frame), Fate::Punted(..)));
    }
    assert_eq!(punted, 4000);
    let ike = [&[7; 8][..], &[9; 8], &[0; 12]].concat();
    let mut punted = 0;
    for _ in 0..2500 {
        let frame = outer(Kind::Ike, stranger(1), gateway_at(500), &ike);
        punted += usize::from(matches!(gateway.fate(TUNNEL, frame), Fate::Punted(..)));
    }
    assert_eq!(punted, 2000);
    assert_eq!(gateway.discarded(Discard::PuntLimited), 1000);
}

#[test]
fn packets_for_the_host_leave_half_the_ring_to_control_messages() {
    let sizes = Sizes {
        punts: [8, 8, 8],
        ..Sizes::default()
    };
    let mut gateway = Gateway::with_sizes(1, sizes);
    let mut peer = Peer::new(3, 5);
    gateway.open(&mut peer);
    for _ in 0..6 {
        let frame = peer.data(&ip(peer.address, [172, 16, 0, 9].into(), 60));
        gateway.send(0, TUNNEL, frame);
    }
    for _ in 0..6 {
        let frame = peer.ppp(&[0xff, 3, 0xc0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0]);
        gateway.send(0, TUNNEL, frame);
    }
    gateway.settle();
    let punts = gateway.punts();
    let host = punts
        .iter()
        .filter(|punt| matches!(punt.origin, Origin::Host(_)));
    let counts = (host.count(), punts.len());
    assert_eq!(counts.1, 8);
    assert!(counts.0 <= 4);
}
