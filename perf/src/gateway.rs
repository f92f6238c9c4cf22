//! The gateway under test: real workers, tables and rings, with memory instead of network cards.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use af_xdp::{Area, AreaSettings, Chunk, HugePages, Pages};
use anyhow::{Context, Result};
use crypto::esp::Backend;
use dataplane::change::{
    Adjacency, AdjacencyId, Change, Listener, RouteTarget, SharedChange, ToWorker,
};
use dataplane::id::{SessionSlot, ShardId, WorkerId};
use dataplane::mesh::{Sizes, SlowEnd, WorkerEnd, mesh};
use dataplane::wire::Interface;
use dataplane::{Discard, Limits, Settings, Shared, Worker};

use crate::clock;
use crate::port::RingPort;
use crate::rng::Rng;
use crate::subscriber::{PLAIN, Protection, SECURE, Subscriber};
use crate::traffic::{FarEnds, Line, Staged};

/// Octets of a chunk.
const CHUNK: u32 = 2048;
/// Free chunks of a worker.
const SPARE: usize = 256;
/// The ports: towards the subscribers, and towards the network.
pub(crate) const TUNNEL: usize = 0;
pub(crate) const NETWORK: usize = 1;
/// Where subscribers' packets go: 203.0.113.0/24.
pub(crate) const SERVERS: u32 = 0xcb00_7100;

/// A gateway with its subscribers.
pub(crate) struct Gateway {
    pub(crate) shared: Arc<Shared>,
    pub(crate) workers: Vec<Worker<RingPort>>,
    pub(crate) slow: SlowEnd,
    /// Packet memory for the generator.
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) pages: Pages,
}

/// What a gateway is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) protection: Protection,
    pub(crate) backend: Backend,
    pub(crate) sessions: usize,
    pub(crate) workers: u8,
    /// Chunks for frames.
    pub(crate) frames: usize,
}

impl Gateway {
    pub(crate) fn new(size: Size) -> Result<Self> {
        Self::with(size, |number| Subscriber::new(number, size.protection))
    }

    /// Whose subscribers are not all alike.
    pub(crate) fn with(size: Size, of: impl Fn(usize) -> Subscriber) -> Result<Self> {
        let limits = Limits {
            workers: size.workers,
            ..Limits::default()
        };
        let shared = Shared::new(limits, clock::now());
        configure(&shared);
        let spare = SPARE * usize::from(size.workers);
        let (area, mut chunks) = Area::new(AreaSettings {
            chunks: (size.frames + spare) as u32,
            chunk_size: CHUNK,
            huge: HugePages::Prefer,
        })?;
        let rings = Sizes {
            changes: 1 << 16,
            events: 1 << 16,
            ..Sizes::default()
        };
        let (ends, slow) = mesh(size.workers, rings);
        let workers = ends
            .into_iter()
            .map(|end| {
                let spare = chunks.split_off(chunks.len() - SPARE);
                worker(&shared, end, spare, size)
            })
            .collect();
        let mut gateway = Self {
            shared,
            workers,
            slow,
            chunks,
            pages: area.pages(),
        };
        (0..size.sessions).for_each(|number| gateway.open(of(number)));
        gateway.settle();
        Ok(gateway)
    }

    fn open(&mut self, subscriber: Subscriber) {
        let session = SessionSlot(subscriber.slot());
        for change in subscriber.changes() {
            self.post(session.0.shard(), change);
        }
        self.shared.apply(SharedChange::Attach {
            vrf: 0,
            prefix: IpAddr::V4(subscriber.address()).into(),
            session,
        });
    }

    /// To the owner of a shard.
    pub(crate) fn post(&mut self, shard: ShardId, change: Change) {
        let owner = usize::from(self.shared.owner(shard).0);
        while self.slow.workers[owner].room() == 0 {
            self.workers[owner].turn(clock::now());
            self.listen();
        }
        let sent = self.slow.workers[owner].send(ToWorker::Change(change));
        assert!(sent.is_ok(), "there is room");
    }

    /// Turns until every change has been applied.
    pub(crate) fn settle(&mut self) {
        while (0..self.workers.len()).any(|w| self.workers[w].turn(clock::now()).work > 0) {
            self.listen();
        }
        self.listen();
    }

    /// The slow path's ends of the rings, for a slow path.
    pub(crate) fn take_slow(&mut self) -> SlowEnd {
        let (_, none) = mesh::<Chunk>(0, Sizes::default());
        std::mem::replace(&mut self.slow, none)
    }

    /// Free chunks are taken in no order from here on, as after a long time of use.
    pub(crate) fn scatter_chunks(&mut self) {
        Rng::new(self.chunks.len() as u64).shuffle(&mut self.chunks);
    }

    /// Every frame that was sent this way is what it has to be; its chunk is free again.
    pub(crate) fn prove(
        &mut self,
        far: &mut FarEnds,
        staged: &mut Staged,
        line: Line,
    ) -> Result<()> {
        let mut freed = Vec::new();
        let by = match line {
            Line::Up => NETWORK,
            Line::Down => TUNNEL,
        };
        for worker in &mut self.workers {
            let port = &mut worker.ports_mut()[by];
            for sent in port.leaving.drain() {
                far.take(staged, line, sent.bytes())
                    .with_context(|| format!("a frame of {} octets went {line:?}", sent.len))?;
                freed.push(sent.chunk);
            }
        }
        // The next round writes them in the order of their addresses again.
        freed.reverse();
        self.chunks.extend(freed);
        self.listen();
        Ok(())
    }

    /// Hears what the workers tell, and forgets it.
    pub(crate) fn listen(&self) {
        for link in &self.slow.workers {
            while link.events.receive().is_some() {}
        }
    }

    /// What was discarded, by name.
    pub(crate) fn discards(&self) -> String {
        let mut text = String::new();
        for worker in 0..self.workers.len() as u8 {
            let counters = self.shared.worker(WorkerId(worker));
            for reason in Discard::ALL {
                let count = counters.discarded(*reason);
                if count > 0 {
                    let _ = write!(text, " {count} {reason:?}");
                }
            }
        }
        text
    }
}

fn worker(
    shared: &Arc<Shared>,
    end: WorkerEnd<Chunk>,
    spare: Vec<Chunk>,
    size: Size,
) -> Worker<RingPort> {
    let ports = [TUNNEL, NETWORK].map(|port| {
        let interface = Interface {
            port: port as u8,
            vrf: 0,
            mtu: 1600,
            mac: [2, 0, 0, 0, 0, port as u8],
        };
        RingPort::new(Arc::clone(shared), interface, size.frames)
    });
    let settings = Settings {
        backend: size.backend,
        chunks: spare.len(),
        ..Settings::default()
    };
    Worker::new(Arc::clone(shared), ports.into(), spare, end, settings)
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
    for (port, prefix) in [(TUNNEL, "0.0.0.0/0"), (NETWORK, "203.0.113.0/24")] {
        let (id, port) = (AdjacencyId(port as u16), port as u8);
        let adjacency = Adjacency {
            port,
            mtu: 1600,
            rewrite: Some([[2, 1, 0, 0, 0, port], [2, 0, 0, 0, 0, port]]),
            is_resolved: true,
        };
        shared.apply(SharedChange::SetAdjacency(id, adjacency));
        shared.apply(SharedChange::SetRoute {
            vrf: 0,
            prefix: prefix.parse().expect("a prefix"),
            target: RouteTarget::Via(id),
        });
    }
    shared.apply(SharedChange::AddPool {
        vrf: 0,
        prefix: "10.0.0.0/8".parse().expect("a prefix"),
    });
}
