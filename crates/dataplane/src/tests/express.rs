//! The express lane against the rooms: two gateways that differ in nothing else get the same frames,
//! and the same has to become of each.

use std::net::Ipv4Addr;

use packet::checksum;
use packet::header::Ipv4;
use proptest::prelude::*;

use super::gateway::{Gateway, OWN, SERVER, ethernet, ip, ip_with};
use super::{Fate, NETWORK, Peer, TUNNEL};
use crate::WorkerCounters;
use crate::change::{Change, Rate, Session};
use crate::id::{SessionSlot, WorkerId};
use crate::shard::tunnels::tunnel_slot;

/// One step: a frame for either side, or time that passes.
#[derive(Clone, Debug)]
struct Step {
    peer: usize,
    shape: Shape,
    len: usize,
    ttl: u8,
    protocol: u8,
    flags: u8,
    /// An octet of the finished frame that is changed, and by what.
    fault: Option<(usize, u8)>,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Up,
    UpFrom(u8),
    UpTo(u8),
    UpAgain,
    UpMarked,
    UpSyn,
    UpWithLength,
    UpWithSequence(u8),
    UpCompressed,
    UpControl,
    UpEarlySequence,
    Down,
    DownSyn,
    DownLong,
    DownFragment,
    DownOptions,
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    use Shape::*;
    let shape = prop_oneof![
        6 => Just(Up),
        1 => any::<u8>().prop_map(UpFrom),
        2 => any::<u8>().prop_map(UpTo),
        1 => Just(UpAgain),
        1 => Just(UpMarked),
        1 => Just(UpSyn),
        2 => Just(UpWithLength),
        1 => any::<u8>().prop_map(UpWithSequence),
        1 => Just(UpCompressed),
        1 => Just(UpControl),
        1 => Just(UpEarlySequence),
        6 => Just(Down),
        1 => Just(DownSyn),
        1 => Just(DownLong),
        1 => Just(DownFragment),
        1 => Just(DownOptions),
        1 => Just(Pass),
    ];
    let ttl = prop_oneof![Just(64), Just(2), Just(1), Just(0)];
    let protocol = prop_oneof![Just(Ipv4::UDP), Just(Ipv4::TCP), Just(Ipv4::ICMP), Just(47)];
    let fault = prop::option::weighted(0.3, (0_usize..120, 1_u8..));
    (
        0..PEERS,
        shape,
        40_usize..200,
        ttl,
        protocol,
        any::<u8>(),
        fault,
    )
        .prop_map(|(peer, shape, len, ttl, protocol, flags, fault)| Step {
            peer,
            shape,
            len,
            ttl,
            protocol,
            flags,
            fault,
        })
}

const PEERS: usize = 6;

/// Peers of every kind; the last is policed.
fn peers() -> Vec<Peer> {
    let mut esn = Peer::new(3, 2);
    esn.esn = true;
    let mut sequencing = Peer::new(4, 3).plain();
    sequencing.sequencing = true;
    vec![
        Peer::new(1, 0),
        Peer::new(2, 1).plain(),
        esn,
        sequencing,
        Peer::new(6, 5).raw(),
        Peer::new(5, 4),
    ]
}

/// A gateway, its peers, and what was sent last.
struct World {
    gateway: Gateway,
    peers: Vec<Peer>,
    last: Vec<u8>,
}

impl World {
    fn new(mut gateway: Gateway) -> Self {
        let mut peers = peers();
        peers.iter_mut().for_each(|peer| gateway.open(peer));
        let policed = &peers[PEERS - 1];
        let rate = Some(Rate {
            bits_per_second: 8_000,
            burst: 400,
        });
        let session = policed.session;
        gateway.change(
            session.0.shard(),
            Change::SetPolicers {
                session,
                up: rate,
                down: rate,
            },
        );
        gateway.settle();
        Self {
            gateway,
            peers,
            last: Vec::new(),
        }
    }

    fn take(&mut self, step: &Step) -> Vec<Fate> {
        if matches!(step.shape, Shape::Pass) {
            self.gateway.pass(std::time::Duration::from_millis(50));
            return Vec::new();
        }
        let (port, mut frame) = self.frame(step);
        if let Some((at, by)) = step.fault
            && let Some(octet) = frame.get_mut(at)
        {
            *octet ^= by;
        }
        self.gateway.fates(port, frame)
    }

    fn frame(&mut self, step: &Step) -> (usize, Vec<u8>) {
        let peer = &mut self.peers[step.peer];
        let payload = vec![step.flags; step.len];
        let packet = |source, destination, change: fn(&mut Ipv4)| {
            ip_with(source, destination, step.protocol, &payload, |header| {
                header.ttl = step.ttl;
                header.dscp_ecn = step.flags;
                change(header);
            })
        };
        let usual = packet(peer.address, SERVER, |_| {});
        let header = [peer.tunnel(), peer.session_id()].map(u16::to_be_bytes);
        let ids = header.as_flattened().to_vec();
        let ppp = [&[0xff, 3, 0, 0x21][..], &usual].concat();
        let up = match step.shape {
            Shape::Up => peer.data(&usual),
            Shape::UpFrom(n) => peer.data(&packet(
                Ipv4Addr::new(192, 168, 76 + n % 2, n),
                SERVER,
                |_| {},
            )),
            Shape::UpTo(n) => {
                let there = [
                    OWN,
                    Ipv4Addr::new(10, 64, 0, 66),
                    Ipv4Addr::new(203, 0, 113, 130),
                    Ipv4Addr::new(203, 0, 113, 200),
                    Ipv4Addr::new(172, 16, 0, 1),
                    Ipv4Addr::new(8, 8, 8, 8),
                    Ipv4Addr::new(224, 0, 0, 1),
                ][usize::from(n) % 7];
                peer.data(&packet(peer.address, there, |_| {}))
            }
            Shape::UpAgain => self.last.clone(),
            Shape::UpMarked => marked(peer.data(&usual)),
            Shape::UpSyn => peer.data(&syn(peer.address, SERVER)),
            Shape::UpWithLength => {
                let len = (ppp.len() as u16 + 8).to_be_bytes();
                peer.l2tp(&[&[0x40, 2][..], &len, &ids, &ppp, &[9; 3]].concat())
            }
            Shape::UpWithSequence(ns) => {
                peer.l2tp(&[&[8, 2][..], &ids, &[0, ns, 0, 0], &ppp].concat())
            }
            Shape::UpCompressed => peer.ppp(&[&[0x21][..], &usual].concat()),
            Shape::UpControl => peer.ppp(&[0xff, 3, 0xc0, 0x21, 9, 1, 0, 8, 1, 2, 3, 4]),
            Shape::UpEarlySequence => {
                peer.sequence = peer.sequence.saturating_sub(2).max(1);
                peer.data(&usual)
            }
            Shape::Down | Shape::Pass => {
                return (NETWORK, ethernet(&packet(SERVER, peer.address, |_| {})));
            }
            Shape::DownSyn => return (NETWORK, ethernet(&syn(SERVER, peer.address))),
            Shape::DownLong => return (NETWORK, ethernet(&ip(SERVER, peer.address, 1450))),
            Shape::DownFragment => {
                let fragment = packet(SERVER, peer.address, |h| h.flags_fragment = 0x2001.into());
                return (NETWORK, ethernet(&fragment));
            }
            Shape::DownOptions => {
                let options = packet(SERVER, peer.address, |h| h.version_ihl = 0x46);
                return (NETWORK, ethernet(&options));
            }
        };
        self.last = up.clone();
        (TUNNEL, up)
    }

    /// Everything that is counted of peers and worker.
    fn counted(&self) -> Vec<String> {
        let shared = &self.gateway.shared;
        let of_peer = |peer: &Peer| {
            let session = shared.session(peer.session).unwrap();
            let path = shared.path(peer.path()).unwrap();
            let ages = [
                session.last_seen_up,
                session.last_seen_down,
                path.last_authentic,
                path.last_sent,
            ];
            let ages = ages.map(|at| at.map(|at| self.gateway.now - at));
            format!(
                "{:?} {:?} {} {ages:?}",
                session.traffic, path.sent, path.sequence
            )
        };
        let worker: &WorkerCounters = shared.worker(WorkerId(0));
        let worker = [&worker.received, &worker.sent].map(|traffic| traffic.value());
        let mut all: Vec<_> = self.peers.iter().map(of_peer).collect();
        all.push(format!("{worker:?} {:?}", self.gateway.discards()));
        all
    }
}

/// The frame with a congestion mark on its outer header.
fn marked(mut frame: Vec<u8>) -> Vec<u8> {
    frame[15] |= 0b11;
    frame[24..26].fill(0);
    let sum = checksum::checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The first packet of a TCP connection, with an MSS of 1460.
fn syn(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mut tcp = [0; 24];
    tcp[12..14].copy_from_slice(&[6 << 4, 2]);
    tcp[20..].copy_from_slice(&[2, 4, 0x05, 0xb4]);
    ip_with(source, destination, Ipv4::TCP, &tcp, |_| {})
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_lane_does_what_the_rooms_do(steps in prop::collection::vec(step(), 1..80)) {
        let mut lane = World::new(Gateway::new(1));
        let mut rooms = World::new(Gateway::without_lane());
        for step in &steps {
            let (with, without) = (lane.take(step), rooms.take(step));
            prop_assert_eq!(with, without, "{:?}", step);
            prop_assert_eq!(lane.counted(), rooms.counted(), "{:?}", step);
        }
        lane.gateway.assert_chunks_are_whole();
        rooms.gateway.assert_chunks_are_whole();
    }
}

#[test]
fn usual_frames_take_the_lane() {
    let mut world = World::new(Gateway::new(1));
    let usual = Step {
        peer: 0,
        shape: Shape::Up,
        len: 64,
        ttl: 64,
        protocol: Ipv4::UDP,
        flags: 0,
        fault: None,
    };
    for peer in [0, 1, 2, 4] {
        for shape in [Shape::Up, Shape::Down] {
            let (port, frame) = world.frame(&Step {
                peer,
                shape,
                ..usual.clone()
            });
            let express = |world: &World| world.gateway.shared.worker(WorkerId(0)).express.value();
            let before = express(&world);
            for _ in 0..3 {
                world.gateway.send(0, port, frame.clone());
            }
            world.gateway.settle();
            let came = world.gateway.received(0, NETWORK + TUNNEL - port).len();
            // The second and third copy of a sealed packet are replays.
            let expected = if peer != 1 && port == TUNNEL { 1 } else { 3 };
            assert_eq!(
                (came, express(&world) - before),
                (expected, expected as u64)
            );
        }
    }
}

#[test]
fn who_leaves_the_lane_is_counted_once() {
    let mut world = World::new(Gateway::new(1));
    let all = world.gateway.workers[0].chunks();
    // With those that leave counted twice it would look like a full burst, which waits a turn.
    for n in 0..40 {
        let step = Step {
            peer: 0,
            shape: if n < 24 {
                Shape::DownOptions
            } else {
                Shape::Down
            },
            len: 64,
            ttl: 64,
            protocol: Ipv4::UDP,
            flags: 0,
            fault: None,
        };
        let (port, frame) = world.frame(&step);
        world.gateway.send(0, port, frame);
    }
    let now = world.gateway.now;
    let worker = &mut world.gateway.workers[0];
    assert_eq!(worker.turn(now).work, 40);
    assert_eq!(worker.chunks(), all);
    world.gateway.settle();
    assert_eq!(world.gateway.received(0, TUNNEL).len(), 40);
}

#[test]
fn a_tunnel_foretells_its_only_session_and_an_sa_the_session_of_its_last_packet() {
    let [mut plain, mut secured] = [Peer::new(8, 7).plain(), Peer::new(7, 6)];
    let mut gateway = Gateway::with_peer(&mut plain);
    gateway.open(&mut secured);
    gateway.settle();
    let likely = |gateway: &mut Gateway, peer: &Peer| {
        let slot = tunnel_slot(1, peer.tunnel()).unwrap();
        gateway.workers[0].state().tunnels.at(slot).unwrap().only
    };
    assert_eq!(likely(&mut gateway, &plain), Some(plain.session));
    let second = Session {
        id: SessionSlot(plain.session.0.with_index(plain.session.0.index() + 100)),
        session: plain.session_id() + 1,
        ..plain.as_session()
    };
    let shard = plain.session.0.shard();
    gateway.change(shard, Change::OpenSession(second));
    gateway.settle();
    assert_eq!(likely(&mut gateway, &plain), None, "it may be either");
    gateway.change(shard, Change::CloseSession(second.id));
    gateway.settle();
    assert_eq!(likely(&mut gateway, &plain), Some(plain.session));

    let slot = secured.slot;
    let last = |gateway: &mut Gateway| {
        let state = gateway.workers[0].state();
        state
            .inbound
            .at(slot)
            .unwrap()
            .likely
            .map(|entry| entry.slot)
    };
    assert_eq!(last(&mut gateway), None);
    let frame = secured.data(&ip(secured.address, SERVER, 100));
    gateway.fate(TUNNEL, frame);
    assert_eq!(last(&mut gateway), Some(secured.session));
}
