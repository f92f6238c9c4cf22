//! The fast path takes no memory from the heap, whatever becomes of a packet: every allocation of a
//! worker's turns is counted while packets go up and down, in an SA and in the clear, well-formed,
//! doubled and forged.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::esp::{Backend, Direction, EspJob, KeySlot, Keymat, Keys, Suite, Verdict};
use dataplane::change::{
    Activation, Adjacency, AdjacencyId, Change, Encapsulation, InstallInbound, InstallOutbound,
    Limits, Listener, Network, Path, Rate, RouteTarget, Session, SharedChange, ToWorker,
};
use dataplane::id::{InboundSa, PathId, SessionSlot, ShardId, Slot, WorkerId};
use dataplane::mesh::{Sizes, mesh};
use dataplane::port::{Burst, Packet, Pool, Port, SendError};
use dataplane::wire::{self, Interface};
use dataplane::{Discard, Settings, Shared, Worker};
use packet::header::{Ethernet, Ipv4, Udp};
use packet::{Endpoint, Frame};
use zerocopy::IntoBytes;

type Chunk = Box<[u8]>;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
const SUITE: Suite = Suite::AesGcm16 { key_bits: 128 };
const HEADROOM: usize = 256;
const TUNNEL: u16 = 0x0441;
/// Packets of each kind in a round: more than two full bursts.
const ROUND: u64 = 150;

/// The subscribers: one in an SA, one in the clear.
const SECURED: Slot = slot(1);
const PLAIN: Slot = slot(2);

const fn slot(index: u32) -> Slot {
    Slot::new(ShardId::new(1), index, 1)
}

#[test]
fn nothing_is_allocated_on_the_way_up_down_or_out() {
    let mut stage = Stage::new();
    for _ in 0..3 {
        stage.load();
        stage.run();
    }
    stage.load();
    let counters = Arc::clone(&stage.shared);
    let before = outcome(&counters);
    let allocations = allocation_counter::measure(|| stage.run());
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
    let after = outcome(&counters);
    let difference: Vec<u64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
    // Sent; replayed, forged.
    assert_eq!(difference, [4 * ROUND, ROUND, ROUND]);
}

/// A page fault, or the making of a page of slots, would hold packets up: such memory comes with the
/// change that needs it first. What is left are a few words that the allocator has at hand.
#[test]
fn changes_bring_the_pages_that_they_need() {
    let mut stage = Stage::vacant();
    let now = stage.now;
    let allocations = allocation_counter::measure(|| {
        stage.worker.turn(now);
    });
    assert_eq!(stage.worker.turn(now).work, 0, "all were applied at once");
    assert!(allocations.bytes_total < 4096, "{allocations:?}");
}

fn outcome(shared: &Shared) -> [u64; 3] {
    let worker = shared.worker(WorkerId(0));
    [
        worker.sent.value().packets,
        worker.discarded(Discard::Replayed),
        worker.discarded(Discard::NotAuthentic),
    ]
}

struct Stage {
    shared: Arc<Shared>,
    worker: Worker<Shelf>,
    client: Keys,
    sequence: u32,
    now: Instant,
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self::vacant();
        while stage.worker.turn(stage.now).work > 0 {}
        stage
    }

    /// The subscribers' changes are on their way.
    fn vacant() -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        let shared = Shared::new(dataplane::Limits::default(), now);
        changes_of_all().for_each(|change| shared.apply(change));
        let (mut ends, mut slow) = mesh(1, Sizes::default());
        let ports = (0..2).map(Shelf::new).collect();
        let chunks = (0..2048).map(|_| vec![0; 2048].into()).collect();
        let end = ends.pop().expect("one was asked for");
        let worker = Worker::new(Arc::clone(&shared), ports, chunks, end, Settings::default());
        for change in changes() {
            assert!(slow.workers[0].send(ToWorker::Change(change)).is_ok());
        }
        let mut client = Keys::new(Backend::auto());
        client.install(KeySlot(0), SUITE, Direction::Seal, &keymat(), &[0; 16]);
        Self {
            shared,
            worker,
            client,
            sequence: 0,
            now,
        }
    }

    fn run(&mut self) {
        while self.worker.turn(self.now).work > 0 {}
        self.now += Duration::from_millis(7);
    }

    /// Puts the packets of a round on the shelves.
    fn load(&mut self) {
        for _ in 0..ROUND {
            let sealed = self.sealed();
            let mut forged = self.sealed();
            *forged.last_mut().expect("it is not empty") ^= 1;
            let plain = udp(Udp::L2TP, &l2tp(PLAIN));
            for packet in [&sealed, &sealed, &forged, &plain] {
                self.worker.ports_mut()[0].put(packet);
            }
            for slot in [SECURED, PLAIN] {
                self.worker.ports_mut()[1].put(&ip(SERVER, address(slot), Ipv4::UDP, &[7; 100]));
            }
        }
    }

    fn sealed(&mut self) -> Vec<u8> {
        self.sequence += 1;
        let l2tp = l2tp(SECURED);
        let header = [Udp::L2TP, Udp::L2TP, l2tp.len() as u16 + 8, 0].map(u16::to_be_bytes);
        let mut payload = [header.as_flattened(), &l2tp].concat();
        let pad = ((payload.len() + 2).next_multiple_of(4) - payload.len() - 2) as u8;
        payload.extend((1..=pad).chain([pad, Ipv4::UDP]));
        let spi = InboundSa(SECURED).spi().to_be_bytes();
        let head = [&spi[..], &self.sequence.to_be_bytes(), &[0; 8]].concat();
        let mut packet = [&head, &payload, &[0; 16][..]].concat();
        let mut job = EspJob {
            packet: &mut packet,
            slot: KeySlot(0),
            esn_high: None,
            verdict: Verdict::Pending,
        };
        self.client.seal(SUITE, std::slice::from_mut(&mut job));
        assert_eq!(job.verdict, Verdict::Ok);
        udp(Udp::NAT_T, &packet)
    }
}

/// A port whose frames lie ready, and whose chunks go round.
struct Shelf {
    interface: Interface,
    arriving: VecDeque<(Chunk, usize)>,
    spare: Vec<Chunk>,
}

impl Shelf {
    fn new(port: u8) -> Self {
        Self {
            interface: Interface {
                port,
                vrf: 0,
                mtu: 1600,
                mac: [2; 6],
            },
            arriving: VecDeque::with_capacity(1024),
            spare: (0..2048).map(|_| vec![0; 2048].into()).collect(),
        }
    }

    fn put(&mut self, packet: &[u8]) {
        let ethernet = Ethernet {
            destination: [2; 6],
            source: [3; 6],
            ethertype: Ethernet::IPV4.into(),
        };
        let frame = [ethernet.as_bytes(), packet].concat();
        let mut chunk = self.spare.pop().expect("there are enough");
        chunk[HEADROOM..HEADROOM + frame.len()].copy_from_slice(&frame);
        self.arriving.push_back((chunk, frame.len()));
    }
}

impl Port for Shelf {
    type Chunk = Chunk;

    fn receive(&mut self, _: &mut dyn Pool<Chunk>, burst: &mut Burst<Chunk>, max: usize) -> usize {
        let count = max.min(self.arriving.len());
        for (chunk, len) in self.arriving.drain(..count) {
            let frame = Frame::new(chunk, HEADROOM, len).expect("it fits");
            burst.push_whole(frame);
        }
        count
    }

    fn send(&mut self, mut packet: Packet<Chunk>) -> Result<(), (Packet<Chunk>, SendError)> {
        match wire::write(&mut packet, &self.interface, [[4; 6], [5; 6]]) {
            Ok(()) => {
                self.spare.push(packet.frame.into_chunk());
                Ok(())
            }
            Err(error) => Err((packet, error)),
        }
    }

    fn flush(&mut self, pool: &mut dyn Pool<Chunk>) {
        // Discarded frames went to the pool.
        while self.spare.len() < 1024
            && let Some(chunk) = pool.take()
        {
            self.spare.push(chunk);
        }
    }

    fn in_flight(&self) -> usize {
        0
    }
}

fn address(slot: Slot) -> Ipv4Addr {
    Ipv4Addr::new(10, 64, 0, slot.index() as u8 + 1)
}

fn keymat() -> Keymat {
    Keymat::new(SUITE, &[0x5a; 20]).expect("as long as the suite wants it")
}

fn ip(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = Ipv4::new(source, destination, protocol, payload.len() as u16);
    [header.as_bytes(), payload].concat()
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let header = [port, port, payload.len() as u16 + 8, 0].map(u16::to_be_bytes);
    ip(
        PEER,
        GATEWAY,
        Ipv4::UDP,
        &[header.as_flattened(), payload].concat(),
    )
}

fn l2tp(slot: Slot) -> Vec<u8> {
    let inner = ip(address(slot), SERVER, Ipv4::UDP, &[9; 100]);
    let header = [2, TUNNEL, slot.index() as u16, 0xff03, 0x0021].map(u16::to_be_bytes);
    [header.as_flattened(), &inner].concat()
}

/// What all workers see.
fn changes_of_all() -> impl Iterator<Item = SharedChange> {
    let adjacency = |id: u8| {
        let adjacency = Adjacency {
            port: id,
            mtu: 1600,
            rewrite: Some([[4; 6], [5; 6]]),
            is_resolved: true,
        };
        SharedChange::SetAdjacency(AdjacencyId(id.into()), adjacency)
    };
    let route = |prefix: &str, id| SharedChange::SetRoute {
        vrf: 0,
        prefix: prefix.parse().expect("it is written well"),
        target: RouteTarget::Via(AdjacencyId(id)),
    };
    let attach = |slot| SharedChange::Attach {
        vrf: 0,
        prefix: IpAddr::V4(address(slot)).into(),
        session: SessionSlot(slot),
    };
    [
        SharedChange::SetListener(Listener {
            index: 0,
            address: GATEWAY.into(),
            ipsec_required: false,
            data_checksum: false,
            vrf: 0,
        }),
        adjacency(0),
        adjacency(1),
        route("198.51.100.0/24", 0),
        route("203.0.113.0/24", 1),
        attach(SECURED),
        attach(PLAIN),
    ]
    .into_iter()
}

/// What opens both sessions.
fn changes() -> impl Iterator<Item = Change> {
    let path = |slot, port, encapsulation| {
        Change::OpenPath(Path {
            id: PathId(slot),
            local: Endpoint::new(GATEWAY.into(), port),
            remote: Endpoint::new(PEER.into(), port),
            encapsulation,
            mtu: 1500,
            vrf: 0,
        })
    };
    let inbound = Change::InstallInbound(InstallInbound {
        sa: InboundSa(SECURED),
        path: PathId(SECURED),
        suite: SUITE,
        keys: keymat(),
        esn: false,
        window: 1024,
        limits: Limits::NONE,
    });
    let outbound = Change::InstallOutbound(InstallOutbound {
        path: PathId(SECURED),
        spi: 0x1234_5678,
        suite: SUITE,
        keys: keymat(),
        iv_key: [0; 16],
        esn: false,
        first_sequence: 1,
        limits: Limits::NONE,
        activation: Activation::Now,
    });
    let tunnel = Change::OpenTunnel {
        listener: 0,
        tunnel: TUNNEL,
        path: PathId(PLAIN),
    };
    [
        path(SECURED, Udp::NAT_T, Encapsulation::EspInUdp),
        inbound,
        outbound,
        path(PLAIN, Udp::L2TP, Encapsulation::Plain),
        tunnel,
    ]
    .into_iter()
    .chain([SECURED, PLAIN].into_iter().flat_map(session))
}

fn session(slot: Slot) -> [Change; 3] {
    let id = SessionSlot(slot);
    let rate = Some(Rate {
        bits_per_second: 10_000_000_000,
        burst: 10_000_000,
    });
    [
        Change::OpenSession(Session {
            id,
            path: PathId(slot),
            listener: 0,
            tunnel: TUNNEL,
            session: slot.index() as u16,
            peer_tunnel: 3,
            peer_session: 4,
            local_port: Udp::L2TP,
            peer_port: Udp::L2TP,
            sequencing: false,
        }),
        Change::OpenNetwork(Network {
            session: id,
            address: address(slot).into(),
            prefixes: Vec::new(),
            mtu: 1400,
            pfc: false,
            acfc: false,
            clamp_mss: true,
            isolate: false,
        }),
        Change::SetPolicers {
            session: id,
            up: rate,
            down: rate,
        },
    ]
}
