//! What the lane counts where packets pass is seen by everybody, soon and in the end exactly.

use std::time::Duration;

use super::gateway::{Gateway, NETWORK, SERVER, TUNNEL, ethernet, ip};
use super::peer::Peer;
use crate::batch::BATCH_FRAMES;
use crate::change::{Change, Event, Traffic};
use crate::id::{InboundSa, WorkerId};

const LEN: usize = 100;

fn packets(count: usize) -> Traffic {
    Traffic {
        packets: count as u64,
        bytes: (count * LEN) as u64,
    }
}

/// A burst that tells of more to come, both ways.
fn send_bursts(gateway: &mut Gateway, peer: &mut Peer) {
    for _ in 0..BATCH_FRAMES {
        gateway.send(0, TUNNEL, peer.data(&ip(peer.address, SERVER, LEN)));
        gateway.send(0, NETWORK, ethernet(&ip(SERVER, peer.address, LEN)));
    }
}

/// What everybody sees of the session, up and down, and of path and SA in packets.
fn seen(gateway: &Gateway, peer: &Peer) -> ([Traffic; 2], [u64; 2]) {
    let session = gateway.shared.session(peer.session).unwrap().traffic;
    let path = gateway.shared.path(peer.path()).unwrap();
    let sa = gateway.shared.inbound(InboundSa(peer.slot)).unwrap();
    let numbers = [path.sent.packets, sa.received.packets];
    assert_eq!([path.sequence, sa.sequence], numbers, "one SA, in order");
    ([session.up, session.down], numbers)
}

#[test]
fn counts_are_seen_within_a_second_of_load_and_at_once_when_it_pauses() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let (mut sent, mut at_last) = (0, 0);
    for round in 0..40 {
        send_bursts(&mut gateway, &mut peer);
        sent += BATCH_FRAMES;
        assert!(gateway.turn(0).work > 0);
        gateway.received(0, NETWORK);
        gateway.received(0, TUNNEL);
        let ([up, down], _) = seen(&gateway, &peer);
        if round == 0 {
            assert_eq!([up, down], [Traffic::default(); 2], "they are kept back");
        }
        if round % 20 == 19 {
            for way in [up, down] {
                assert!(way.packets as usize >= at_last, "{way:?} after {sent}");
                assert_eq!(way, packets(way.packets as usize));
            }
            // Two bursts may be under way.
            at_last = sent - 2 * BATCH_FRAMES;
        }
        gateway.now += Duration::from_millis(60);
    }
    gateway.settle();
    let ([up, down], numbers) = seen(&gateway, &peer);
    assert_eq!([up, down], [packets(sent); 2]);
    assert_eq!(numbers, [sent as u64; 2]);
    let session = gateway.shared.session(peer.session).unwrap();
    for seen in [session.last_seen_up, session.last_seen_down] {
        assert!(gateway.now - seen.unwrap() <= Duration::from_millis(1060));
    }
    gateway.assert_chunks_are_whole();
}

#[test]
fn what_a_closed_session_has_moved_is_told_to_the_last_packet() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    send_bursts(&mut gateway, &mut peer);
    gateway.turn(0);
    send_bursts(&mut gateway, &mut peer);
    gateway.turn(0);
    assert_eq!(seen(&gateway, &peer).0, [Traffic::default(); 2]);
    let shard = peer.slot.shard();
    gateway.change(shard, Change::CloseSession(peer.session));
    gateway.change(shard, Change::RetireInbound(InboundSa(peer.slot)));
    gateway.settle();
    // The first bursts have been walked; the second ones found nobody.
    let all = BATCH_FRAMES as u64;
    let (mut told, mut received) = (None, None);
    for event in &gateway.events {
        if let Event::SessionRetired(_, traffic) = event {
            told = Some([traffic.up.packets, traffic.down.packets]);
        } else if let Event::InboundRetired(_, traffic) = event {
            received = Some(traffic.packets);
        }
    }
    assert_eq!((told, received), (Some([all; 2]), Some(all)));
}

#[test]
fn a_shard_that_moves_leaves_no_count_behind() {
    let mut peer = Peer::new(0, 5);
    let mut gateway = Gateway::new(2);
    gateway.open(&mut peer);
    gateway.settle();
    let (shard, mut sent) = (peer.slot.shard(), 0);
    for to in [1, 0, 1] {
        send_bursts(&mut gateway, &mut peer);
        sent += BATCH_FRAMES;
        // Walked, not yet seen; then it moves.
        let owner = usize::from(gateway.shared.owner(shard).0);
        (0..4).for_each(|_| _ = gateway.turn(0));
        gateway.turn(owner);
        let to = WorkerId(to);
        gateway.change(shard, Change::GiveShard { shard, to });
        gateway.settle();
        assert_eq!(seen(&gateway, &peer).0, [packets(sent); 2]);
    }
    gateway.assert_chunks_are_whole();
}

#[test]
fn the_lane_knows_where_a_peer_went_as_soon_as_its_path_does() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    gateway.settle();
    let express = |gateway: &Gateway| gateway.shared.worker(WorkerId(0)).express.value();
    let send = |gateway: &mut Gateway, peer: &mut Peer| {
        let before = express(gateway);
        gateway.send(0, TUNNEL, peer.data(&ip(peer.address, SERVER, LEN)));
        gateway.pass(Duration::from_secs(2));
        (
            express(gateway) - before,
            gateway.received(0, NETWORK).len(),
        )
    };
    assert_eq!(send(&mut gateway, &mut peer), (1, 1));
    // Behind a NAT that forgets: the rooms follow, and the lane after them.
    peer.outer = packet::Endpoint::v4([198, 51, 100, 77], 40_000);
    assert_eq!(send(&mut gateway, &mut peer), (0, 1));
    assert_eq!(send(&mut gateway, &mut peer), (1, 1));
    // The slow path says so.
    peer.outer = packet::Endpoint::v4([198, 51, 100, 78], 40_001);
    let moved = Change::MovePath {
        path: peer.path(),
        remote: peer.outer,
        encapsulation: peer.encapsulation,
    };
    gateway.change(peer.slot.shard(), moved);
    assert_eq!(send(&mut gateway, &mut peer), (1, 1));
}

#[test]
fn authentic_frames_alone_show_that_a_peer_is_alive() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let packet = ip(peer.address, SERVER, LEN);
    let path = peer.path();
    let last_heard = |gateway: &Gateway| {
        let last = gateway.shared.path(path).unwrap().last_authentic;
        last.map(|at| gateway.now - at)
    };
    assert_eq!(last_heard(&gateway), None);
    let frame = peer.data(&packet);
    gateway.fate(TUNNEL, frame.clone());
    assert_eq!(last_heard(&gateway), Some(Duration::ZERO));

    let age = Duration::from_secs(5);
    gateway.now += age;
    let mut forged = peer.data(&packet);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for frame in [forged, frame] {
        gateway.fate(TUNNEL, frame);
        assert_eq!(last_heard(&gateway), Some(age), "forged, or seen before");
    }

    // Nor does it take a pause to see one.
    for _ in 0..40 {
        gateway.now += Duration::from_millis(60);
        send_bursts(&mut gateway, &mut peer);
        assert!(gateway.turn(0).work > 0);
        gateway.received(0, NETWORK);
        gateway.received(0, TUNNEL);
    }
    let age = last_heard(&gateway).unwrap();
    assert!(age < Duration::from_millis(2100), "{age:?}");
}

#[test]
fn a_path_knows_by_which_port_its_peer_comes_whichever_sa_says_so() {
    let mut peer = Peer::new(3, 5);
    let mut gateway = Gateway::with_peer(&mut peer);
    let packet = ip(peer.address, SERVER, LEN);
    let old: Vec<_> = (0..3).map(|_| peer.data(&packet)).collect();
    let new_sa = peer.slot.with_index(peer.slot.index() + 1);
    peer.install_inbound(&mut gateway, new_sa, 11);
    gateway.settle();
    let new = peer.data(&packet);
    let heard_after = |gateway: &mut Gateway, port, frame: &[u8]| {
        gateway.send(0, port, frame.to_vec());
        gateway.settle();
        let shards = gateway.workers[0].state();
        shards
            .paths
            .at(peer.slot)
            .and_then(|path| path.heard.port())
    };
    let (first, other) = (TUNNEL as u8, NETWORK as u8);
    assert_eq!(heard_after(&mut gateway, TUNNEL, &old[0]), Some(first));
    assert_eq!(heard_after(&mut gateway, NETWORK, &new), Some(other));
    assert_eq!(heard_after(&mut gateway, TUNNEL, &old[1]), Some(first));
    assert_eq!(heard_after(&mut gateway, NETWORK, &old[2]), Some(other));
}
