use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use packet::checksum;
use packet::header::{Icmp, Ipv4};
use zerocopy::IntoBytes;

use super::{Fate, Peer};
use crate::change::{
    Adjacency, AdjacencyId, Change, Class, Event, Inject, Listener, Punt, RouteTarget,
    SharedChange, ToWorker,
};
use crate::id::{ShardId, WorkerId};
use crate::memory::{FarEnd, MemoryChunk, MemoryPort, chunk};
use crate::mesh::{Sizes, SlowEnd, mesh};
use crate::port::Port;
use crate::wire::Interface;
use crate::{Discard, Limits, Settings, Shared, Turn, Worker};

/// The port towards the peers.
pub(super) const TUNNEL: usize = 0;
/// The port towards the network.
pub(super) const NETWORK: usize = 1;

/// The listener that requires IPsec, and the one that serves plain L2TP.
pub(super) const SECURE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const PLAIN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Our address inside the tunnels.
pub(super) const OWN: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
/// A host behind the gateway.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);

const CHUNK_LEN: usize = 2048;
pub(super) const CHUNKS_PER_WORKER: usize = 2048;
/// More turns than this without coming to rest is a loop.
const TURNS_MAX: usize = 1000;

pub(super) struct Gateway {
    pub(super) shared: Arc<Shared>,
    pub(super) workers: Vec<Worker<MemoryPort>>,
    pub(super) cables: Vec<[FarEnd; 2]>,
    pub(super) slow: SlowEnd,
    pub(super) now: Instant,
    pub(super) events: Vec<Event>,
}

impl Gateway {
    pub(super) fn new(workers: u8) -> Self {
        Self::with_sizes(workers, Sizes::default())
    }

    pub(super) fn with_sizes(workers: u8, sizes: Sizes) -> Self {
        Self::with_settings(workers, sizes, Settings::default())
    }

    pub(super) fn with_settings(workers: u8, sizes: Sizes, settings: Settings) -> Self {
        Self::with_ports(workers, sizes, settings, |port| port)
    }

    /// One whose frames all take the rooms.
    pub(super) fn without_lane() -> Self {
        let (sizes, settings) = (Sizes::default(), Settings::default());
        Self::with_ports(1, sizes, settings, MemoryPort::canonical)
    }

    fn with_ports(
        workers: u8,
        sizes: Sizes,
        settings: Settings,
        port: impl Fn(MemoryPort) -> MemoryPort,
    ) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let epoch = Instant::now();
        let limits = Limits {
            workers,
            slots_per_shard: 1 << 14,
            ..Limits::default()
        };
        let shared = Shared::new(limits, epoch);
        configure(&shared);
        let (ends, slow) = mesh(workers, sizes);
        let mut cables = Vec::new();
        let workers = ends
            .into_iter()
            .map(|end| {
                let [tunnel, network] = [0, 1].map(|port| port_of(&shared, port));
                cables.push([tunnel.1, network.1]);
                let chunks = (0..CHUNKS_PER_WORKER).map(|_| chunk(CHUNK_LEN)).collect();
                let ports = vec![port(tunnel.0), port(network.0)];
                let settings = Settings {
                    chunks: CHUNKS_PER_WORKER,
                    ..settings
                };
                Worker::new(Arc::clone(&shared), ports, chunks, end, settings)
            })
            .collect();
        Self {
            shared,
            workers,
            cables,
            slow,
            now: epoch,
            events: Vec::new(),
        }
    }

    /// A gateway of one worker with one peer, whose session is open.
    pub(super) fn with_peer(peer: &mut Peer) -> Self {
        let mut gateway = Self::new(1);
        gateway.open(peer);
        gateway
    }

    pub(super) fn open(&mut self, peer: &mut Peer) {
        peer.open_session(self);
        peer.open_network(self);
        self.settle();
        self.events.clear();
    }

    /// To the owner of the shard that a change is about.
    pub(super) fn change(&mut self, shard: ShardId, change: Change) {
        self.post(shard, ToWorker::Change(change));
    }

    pub(super) fn inject(&mut self, shard: ShardId, inject: Inject) {
        self.post(shard, ToWorker::Inject(inject));
    }

    fn post(&mut self, shard: ShardId, message: ToWorker) {
        let owner = usize::from(self.shared.owner(shard).0);
        while self.slow.workers[owner].room() == 0 {
            self.turn(owner);
        }
        self.slow.workers[owner]
            .send(message)
            .expect("there is room");
    }

    pub(super) fn turn(&mut self, worker: usize) -> Turn {
        let turn = self.workers[worker].turn(self.now);
        while let Some(event) = self.slow.workers[worker].events.receive() {
            self.events.push(event);
        }
        turn
    }

    /// Turns until no worker finds anything to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let work: usize = (0..self.workers.len()).map(|w| self.turn(w).work).sum();
            if work == 0 && self.workers.iter_mut().all(Worker::may_park) {
                self.workers.iter_mut().for_each(Worker::unpark);
                return;
            }
        }
        panic!("the workers do not come to rest");
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    pub(super) fn send(&mut self, worker: usize, port: usize, frame: Vec<u8>) {
        let has_room = self.cables[worker][port].send(&frame);
        assert!(has_room, "the cable has room");
    }

    pub(super) fn received(&mut self, worker: usize, port: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.cables[worker][port].receive()).collect()
    }

    pub(super) fn punts(&self) -> Vec<Punt> {
        let of = |worker: &crate::mesh::WorkerLink| -> Vec<Punt> {
            [Class::Established, Class::InProgress, Class::Stranger]
                .into_iter()
                .flat_map(|class| std::iter::from_fn(move || worker.punts(class).receive()))
                .collect()
        };
        self.slow.workers.iter().flat_map(of).collect()
    }

    pub(super) fn discards(&self) -> Vec<(Discard, u64)> {
        let all = Discard::ALL
            .iter()
            .map(|reason| (*reason, self.discarded(*reason)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    pub(super) fn discarded(&self, reason: Discard) -> u64 {
        (0..self.workers.len() as u8)
            .map(|worker| self.shared.worker(WorkerId(worker)).discarded(reason))
            .sum()
    }

    /// Sends one frame to worker 0 and says the one thing that became of it.
    pub(super) fn fate(&mut self, port: usize, frame: Vec<u8>) -> Fate {
        let mut fates = self.fates(port, frame);
        assert_eq!(fates.len(), 1, "{fates:?}");
        fates.remove(0)
    }

    /// All that became of one frame.
    pub(super) fn fates(&mut self, port: usize, frame: Vec<u8>) -> Vec<Fate> {
        let before = self.discards();
        self.send(0, port, frame);
        self.settle();
        let mut fates = Vec::new();
        for worker in 0..self.workers.len() {
            let network = self.received(worker, NETWORK);
            fates.extend(
                network
                    .into_iter()
                    .map(|frame| Fate::Network(frame[14..].to_vec())),
            );
            fates.extend(self.received(worker, TUNNEL).into_iter().map(Fate::Peer));
        }
        for punt in self.punts() {
            fates.push(Fate::Punted(punt.origin, punt.bytes));
        }
        for (reason, count) in self.discards() {
            let was = before
                .iter()
                .find(|(r, _)| *r == reason)
                .map_or(0, |(_, n)| *n);
            fates.extend((was..count).map(|_| Fate::Discarded(reason)));
        }
        fates
    }

    /// Every chunk is where it should be.
    pub(super) fn assert_chunks_are_whole(mut self) {
        self.settle();
        let expected = self.workers.len() * CHUNKS_PER_WORKER;
        let mut chunks: Vec<MemoryChunk> = Vec::new();
        for worker in self.workers {
            let (ports, free) = worker.dismantle();
            chunks.extend(free);
            assert!(ports.iter().all(|port| port.in_flight() == 0));
        }
        assert_eq!(chunks.len(), expected);
        assert!(chunks.iter().all(|chunk| chunk.len() == CHUNK_LEN));
    }
}

fn port_of(shared: &Arc<Shared>, port: u8) -> (MemoryPort, FarEnd) {
    let interface = Interface {
        port,
        vrf: 0,
        mtu: 1600,
        mac: [2, 0, 0, 0, 0, port],
    };
    MemoryPort::new(Arc::clone(shared), interface, 4096)
}

fn configure(shared: &Shared) {
    for (index, address, ipsec_required) in [(0, SECURE, true), (1, PLAIN, false)] {
        shared.apply(SharedChange::SetListener(Listener {
            index,
            address: address.into(),
            ipsec_required,
            data_checksum: false,
            vrf: 0,
        }));
    }
    for (id, port, prefix) in [(0, 0, "198.51.100.0/24"), (1, 1, "203.0.113.0/24")] {
        shared.apply(SharedChange::SetAdjacency(
            AdjacencyId(id),
            Adjacency {
                port,
                mtu: 1500,
                rewrite: Some([[2, 1, 0, 0, 0, port], [2, 0, 0, 0, 0, port]]),
                is_resolved: true,
            },
        ));
        route(shared, prefix, RouteTarget::Via(AdjacencyId(id)));
    }
    route(shared, "203.0.113.128/26", RouteTarget::Blackhole);
    route(shared, "203.0.113.192/26", RouteTarget::Unreachable);
    route(shared, "172.16.0.0/24", RouteTarget::Host);
    shared.apply(SharedChange::AddPool {
        vrf: 0,
        prefix: "10.64.0.0/16".parse().unwrap(),
    });
    shared.apply(SharedChange::AddLocal {
        vrf: 0,
        address: IpAddr::V4(OWN),
    });
}

pub(super) fn route(shared: &Shared, prefix: &str, target: RouteTarget) {
    shared.apply(SharedChange::SetRoute {
        vrf: 0,
        prefix: prefix.parse().unwrap(),
        target,
    });
}

/// An Ethernet frame around an IP packet.
pub(super) fn ethernet(packet: &[u8]) -> Vec<u8> {
    [&[2; 12], &[8, 0][..], packet].concat()
}

/// An IP packet; `change` has the last word before the checksum is made.
pub(super) fn ip_with(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    payload: &[u8],
    change: impl FnOnce(&mut Ipv4),
) -> Vec<u8> {
    let mut header = Ipv4::new(source, destination, protocol, payload.len() as u16);
    change(&mut header);
    header.renew_checksum();
    [header.as_bytes(), payload].concat()
}

/// A UDP packet of no particular content.
pub(super) fn ip(source: Ipv4Addr, destination: Ipv4Addr, len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..len - 20).map(|i| i as u8).collect();
    ip_with(source, destination, Ipv4::UDP, &payload, |_| {})
}

pub(super) fn ping(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mut icmp = Icmp {
        kind: 8,
        code: 0,
        checksum: 0.into(),
        rest: [77.into(), 1.into()],
    };
    let payload = [0xab; 48];
    let sums = [checksum::sum(icmp.as_bytes()), checksum::sum(&payload)];
    icmp.checksum = (!checksum::add(&sums)).into();
    ip_with(
        source,
        destination,
        Ipv4::ICMP,
        &[icmp.as_bytes(), &payload].concat(),
        |_| {},
    )
}

/// The packet one hop further.
pub(super) fn hop(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[8] -= 1;
    packet[10..12].fill(0);
    let sum = checksum::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}
