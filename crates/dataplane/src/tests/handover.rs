use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::gateway::{SERVER, ethernet, hop, ip};
use super::{Fate, Gateway, NETWORK, Peer, TUNNEL};
use crate::Discard;
use crate::batch::BATCH_FRAMES;
use crate::change::{Change, Event};
use crate::id::{InboundSa, SessionSlot, ShardId, Slot, WorkerId};
use crate::mesh::Sizes;

/// Subscribers whose traffic arrives at the worker that does not own them.
#[test]
fn both_directions_cross_the_workers_and_every_chunk_comes_home() {
    for workers in [1, 2, 3] {
        let mut gateway = Gateway::new(workers);
        let mut peers: Vec<_> = (0..8).map(|n| Peer::new(n as u8, n)).collect();
        for peer in &mut peers {
            gateway.open(peer);
        }
        let (mut up, mut down) = (0_u64, 0);
        for round in 0..200 {
            for peer in &mut peers {
                let owner = usize::from(gateway.shared.owner(peer.slot.shard()).0);
                let other = (owner + 1) % usize::from(workers);
                let packet = ip(peer.address, SERVER, 60 + round);
                let frame = peer.data(&packet);
                gateway.send(other, TUNNEL, frame);
                let packet = ip(SERVER, peer.address, 60 + round);
                gateway.send(other, NETWORK, ethernet(&packet));
            }
            gateway.settle();
            for worker in 0..usize::from(workers) {
                up += gateway.received(worker, NETWORK).len() as u64;
                for frame in gateway.received(worker, TUNNEL) {
                    let spi = u32::from_be_bytes(frame[42..46].try_into().unwrap());
                    let peer = peers.iter_mut().find(|p| p.spi_out == spi).unwrap();
                    assert_eq!(peer.open(&frame).len(), 60 + round);
                    down += 1;
                }
            }
        }
        assert_eq!((up, down), (1600, 1600));
        assert_eq!(gateway.discards(), []);
        let mut express = 0;
        for worker in 0..workers {
            let counters = gateway.shared.worker(WorkerId(worker));
            express += counters.express.value();
            let crossed = if workers == 1 { 0 } else { 1 };
            assert_eq!(counters.handed_out.value().min(1), crossed);
            assert_eq!(counters.handed_in.value().min(1), crossed);
        }
        assert_eq!(
            express,
            up + down,
            "who is handed over takes the lane as well"
        );
        gateway.assert_chunks_are_whole();
    }
}

#[test]
fn two_subscribers_of_two_workers_reach_each_other() {
    let mut gateway = Gateway::new(2);
    let (mut a, mut b) = (Peer::new(2, 5), Peer::new(3, 6));
    gateway.open(&mut a);
    gateway.open(&mut b);
    assert_ne!(
        gateway.shared.owner(a.slot.shard()),
        gateway.shared.owner(b.slot.shard())
    );
    for (from, to) in [(0, 1), (1, 0), (0, 0), (1, 1)] {
        let packet = ip(a.address, b.address, 300);
        let frame = a.data(&packet);
        gateway.send(from, TUNNEL, frame);
        gateway.settle();
        let out: Vec<_> = (0..2).flat_map(|w| gateway.received(w, TUNNEL)).collect();
        assert_eq!(b.open(&out[0]), hop(&packet));
        let packet = ip(b.address, a.address, 300);
        let frame = b.data(&packet);
        gateway.send(to, TUNNEL, frame);
        gateway.settle();
        let out: Vec<_> = (0..2).flat_map(|w| gateway.received(w, TUNNEL)).collect();
        assert_eq!(a.open(&out[0]), hop(&packet));
    }
    assert_eq!(gateway.discards(), []);
    gateway.assert_chunks_are_whole();
}

/// Traffic runs both ways while the shard goes to and fro. `Peer::open_esp` panics if a sequence
/// number (and so an IV) comes twice.
#[test]
fn a_shard_that_moves_every_few_turns_loses_nothing_and_repeats_nothing() {
    for parcels in [64, 2] {
        let sizes = Sizes {
            parcels,
            ..Sizes::default()
        };
        let mut gateway = Gateway::with_sizes(2, sizes);
        let mut peer = Peer::new(7, 5);
        gateway.open(&mut peer);
        let shard = peer.slot.shard();
        let (mut up, mut down, mut sent, mut moves) = (0, 0, 0, 0);
        let mut is_at_home = true;
        for round in 0..3000_usize {
            let packet = ip(peer.address, SERVER, 60 + round % 1000);
            let frame = peer.data(&packet);
            gateway.send(round % 2, TUNNEL, frame);
            let packet = ip(SERVER, peer.address, 60 + round % 1000);
            gateway.send(round / 2 % 2, NETWORK, ethernet(&packet));
            sent += 1;
            if round % 5 == 0 && is_at_home {
                let to = WorkerId(1 - gateway.shared.owner(shard).0);
                gateway.change(shard, Change::GiveShard { shard, to });
                is_at_home = false;
                moves += 1;
            }
            // In every order that two workers can run in.
            gateway.turn(round / 3 % 2);
            if round % 7 > 2 {
                gateway.turn((round / 3 + 1) % 2);
            }
            let arrived = |e: &Event| matches!(e, Event::ShardArrived(s, _) if *s == shard);
            if gateway.events.iter().any(arrived) {
                is_at_home = true;
                gateway.events.clear();
            }
            gateway.now += Duration::from_millis(1);
            let count = collect(&mut gateway, &mut peer);
            (up, down) = (up + count.0, down + count.1);
        }
        gateway.settle();
        let count = collect(&mut gateway, &mut peer);
        (up, down) = (up + count.0, down + count.1);
        assert!(moves > 300, "{moves}");
        assert_eq!(gateway.discards(), [], "{parcels}");
        assert_eq!((up, down), (sent, sent));
        let owners = (0..2)
            .filter(|w| gateway.workers[*w].shards().any(|own| own == shard))
            .count();
        assert_eq!(owners, 1);
        gateway.assert_chunks_are_whole();
    }
}

fn collect(gateway: &mut Gateway, peer: &mut Peer) -> (usize, usize) {
    let (mut up, mut down) = (0, 0);
    for worker in 0..2 {
        up += gateway.received(worker, NETWORK).len();
        for frame in gateway.received(worker, TUNNEL) {
            peer.open(&frame);
            down += 1;
        }
    }
    (up, down)
}

#[test]
fn a_frame_of_a_shard_on_its_way_waits_for_it() {
    let mut gateway = Gateway::new(2);
    let mut peer = Peer::new(0, 5);
    gateway.open(&mut peer);
    let shard = peer.slot.shard();
    let to = WorkerId(1);
    gateway.change(shard, Change::GiveShard { shard, to });
    gateway.turn(0);
    assert_eq!(gateway.shared.owner(shard), to);
    for _ in 0..10 {
        let frame = peer.data(&ip(peer.address, SERVER, 100));
        gateway.send(0, TUNNEL, frame);
    }
    gateway.turn(0);
    gateway.settle();
    assert_eq!(gateway.received(1, NETWORK).len(), 10);
    let first = Event::FirstInbound(InboundSa(peer.slot));
    assert_eq!(gateway.events, [Event::ShardArrived(shard, to), first]);
    gateway.assert_chunks_are_whole();
}

#[test]
fn the_waiting_room_of_a_shard_on_its_way_is_bounded() {
    let mut gateway = Gateway::new(2);
    let mut peer = Peer::new(0, 5);
    gateway.open(&mut peer);
    let shard = peer.slot.shard();
    let taken = gateway.workers[0].take_shard(shard);
    gateway.shared.set_owner(shard, WorkerId(1));
    for _ in 0..1034 {
        let frame = peer.data(&ip(peer.address, SERVER, 100));
        gateway.send(1, TUNNEL, frame);
    }
    gateway.settle();
    assert_eq!(gateway.discards(), [(Discard::ShardInTransit, 10)]);
    assert!(taken.is_some());
    gateway.assert_chunks_are_whole();
}

#[test]
fn a_full_hand_over_drops_by_name_and_keeps_the_chunks() {
    let sizes = Sizes {
        parcels: 1,
        ..Sizes::default()
    };
    let mut gateway = Gateway::with_sizes(2, sizes);
    let mut peer = Peer::new(1, 5);
    gateway.open(&mut peer);
    for round in 1..=3 {
        for _ in 0..2 * BATCH_FRAMES {
            let frame = peer.data(&ip(peer.address, SERVER, 100));
            gateway.send(0, TUNNEL, frame);
        }
        // A full burst is received in one turn and walked in the next, and fills a parcel.
        for _ in 0..3 {
            gateway.turn(0);
        }
        let dropped = gateway.discarded(Discard::ParcelFull);
        assert_eq!(dropped, (round * BATCH_FRAMES) as u64);
        gateway.settle();
        assert_eq!(gateway.received(1, NETWORK).len(), BATCH_FRAMES);
        let handed_out = gateway.shared.worker(WorkerId(0)).handed_out.value();
        assert_eq!(handed_out, dropped, "as many as were dropped");
    }
    gateway.assert_chunks_are_whole();
}

#[test]
fn a_frame_that_runs_in_circles_is_stopped() {
    let mut gateway = Gateway::new(2);
    let mut peer = Peer::new(0, 5);
    gateway.open(&mut peer);
    let shard = peer.slot.shard();
    // Nobody has the shard, and the map always names the other worker.
    let taken = gateway.workers[0].take_shard(shard);
    gateway.shared.set_owner(shard, WorkerId(1));
    let frame = peer.data(&ip(peer.address, SERVER, 100));
    gateway.send(0, TUNNEL, frame);
    for turn in 0..10_u8 {
        gateway.turn(usize::from(turn % 2));
        gateway.shared.set_owner(shard, WorkerId(turn % 2));
    }
    assert_eq!(gateway.discards(), [(Discard::TooManyMoves, 1)]);
    assert!(taken.is_some());
    gateway.assert_chunks_are_whole();
}

#[test]
fn a_session_apart_from_its_path_may_live_at_another_worker() {
    let mut gateway = Gateway::new(2);
    let mut peer = Peer::new(2, 5);
    peer.session.0 = peer.session.0.with_shard(ShardId::new(41));
    gateway.open(&mut peer);
    for worker in [0, 1] {
        let packet = ip(peer.address, SERVER, 100);
        let frame = peer.data(&packet);
        gateway.send(worker, TUNNEL, frame);
        let packet = ip(SERVER, peer.address, 100);
        gateway.send(worker, NETWORK, ethernet(&packet));
    }
    gateway.settle();
    assert_eq!(
        gateway.received(1, NETWORK).len(),
        2,
        "where the session lives"
    );
    let frames = gateway.received(0, TUNNEL);
    assert_eq!(frames.len(), 2, "where the path lives");
    frames
        .iter()
        .for_each(|frame| assert_eq!(peer.open(frame).len(), 100));
    assert_eq!(gateway.discards(), []);
    gateway.assert_chunks_are_whole();
}

/// Packets in at worker A and out at worker B, on two threads.
const MILLION: usize = 1_000_000;

#[test]
fn a_path_that_closes_takes_no_session_of_its_own_shard_for_one_that_lives_apart() {
    let mut lac = Peer::new(3, 5);
    let mut other = Peer::new(3, 7);
    // Index and generation are the same, the shard is not.
    lac.session.0 = other.slot.with_shard(ShardId::new(4));
    let mut gateway = Gateway::with_peer(&mut lac);
    gateway.open(&mut other);
    gateway.change(lac.slot.shard(), Change::ClosePath(lac.path()));
    gateway.change(lac.session.0.shard(), Change::CloseSession(lac.session));
    gateway.settle();
    let is_retired = |event: &&Event| matches!(event, Event::SessionRetired(..));
    let retired: Vec<_> = gateway.events.iter().filter(is_retired).collect();
    let [Event::SessionRetired(session, _)] = retired[..] else {
        panic!("{retired:?}");
    };
    assert_eq!(*session, lac.session);
    let frame = other.data(&ip(other.address, SERVER, 100));
    assert!(matches!(gateway.fate(TUNNEL, frame), Fate::Network(_)));
}

#[test]
fn a_million_packets_go_in_at_one_worker_and_out_at_the_other() {
    let mut gateway = Gateway::new(2);
    let mut peer = Peer::new(1, 5).plain();
    gateway.open(&mut peer);
    let frame = peer.data(&ip(peer.address, SERVER, 64));
    let is_done = AtomicBool::new(false);
    let (now, cables) = (gateway.now, &mut gateway.cables);
    std::thread::scope(|scope| {
        for worker in &mut gateway.workers {
            scope.spawn(|| {
                while !is_done.load(Relaxed) {
                    if worker.turn(now).work == 0 {
                        std::thread::yield_now();
                    }
                }
            });
        }
        let (mut sent, mut received) = (0, 0);
        while received < MILLION {
            // Never more on the way than the rings between the workers hold.
            while sent < MILLION && sent - received < 1500 && cables[0][TUNNEL].send(&frame) {
                sent += 1;
            }
            match cables[1][NETWORK].receive() {
                Some(_) => received += 1,
                None => std::thread::yield_now(),
            }
        }
        is_done.store(true, Relaxed);
    });
    let handed_in = gateway.shared.worker(WorkerId(1)).handed_in.value();
    assert_eq!(handed_in, MILLION as u64);
    assert_eq!(gateway.discards(), []);
    gateway.assert_chunks_are_whole();
}

#[test]
fn a_neighbour_that_is_behind_gets_everything_however_few_frames_a_turn_hands_over() {
    let mut gateway = Gateway::new(2);
    let mut peer = Peer::new(1, 5).plain();
    gateway.open(&mut peer);
    let frame = peer.data(&ip(peer.address, SERVER, 64));
    // Frames that fill the ring of parcels, and one a turn would fill it with parcels of one.
    let frames = 1500;
    for _ in 0..frames {
        gateway.send(0, TUNNEL, frame.clone());
        gateway.turn(0);
    }
    let mut received = 0;
    while received < frames {
        gateway.turn(1);
        gateway.turn(0);
        let count = gateway.received(1, NETWORK).len();
        assert_ne!(count, 0, "{received} of {frames}, {:?}", gateway.discards());
        received += count;
    }
    assert_eq!(gateway.discards(), []);
}

#[test]
fn between_two_bursts_at_most_64_changes_are_applied() {
    let mut gateway = Gateway::new(1);
    let mut peer = Peer::new(1, 5);
    gateway.open(&mut peer);
    let before = gateway.shared.worker(WorkerId(0)).applied.load(Relaxed);
    for _ in 0..200 {
        gateway.change(peer.slot.shard(), Change::CloseSession(SessionSlot(STALE)));
    }
    for expected in [64, 128, 192, 200, 200] {
        let frame = peer.data(&ip(peer.address, SERVER, 100));
        gateway.send(0, TUNNEL, frame);
        gateway.turn(0);
        let applied = gateway.shared.worker(WorkerId(0)).applied.load(Relaxed);
        assert_eq!(applied - before, expected);
        assert_eq!(gateway.received(0, NETWORK).len(), 1, "frames do not wait");
    }
}

#[test]
fn while_a_full_burst_waits_changes_come_four_at_a_time() {
    let mut gateway = Gateway::new(1);
    let mut peer = Peer::new(1, 5);
    gateway.open(&mut peer);
    let before = gateway.shared.worker(WorkerId(0)).applied.load(Relaxed);
    for _ in 0..100 {
        gateway.change(peer.slot.shard(), Change::CloseSession(SessionSlot(STALE)));
    }
    for _ in 0..3 * BATCH_FRAMES {
        let frame = peer.data(&ip(peer.address, SERVER, 100));
        gateway.send(0, TUNNEL, frame);
    }
    // The first burst waits from the first turn on, the last one is walked in the fourth.
    for (expected, frames) in [(64, 0), (68, 64), (72, 64), (76, 64), (100, 0)] {
        gateway.turn(0);
        let applied = gateway.shared.worker(WorkerId(0)).applied.load(Relaxed);
        assert_eq!(applied - before, expected);
        assert_eq!(gateway.received(0, NETWORK).len(), frames);
    }
}

/// A slot that nobody holds.
const STALE: Slot = Slot::new(ShardId::new(1), 6, 9);
