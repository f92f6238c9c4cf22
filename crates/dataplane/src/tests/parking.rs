//! When a worker that found nothing to do may sleep, and for how long.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use packet::Endpoint;

use crate::change::{Entry, Inject, Kind, ToWorker};
use crate::id::ShardId;
use crate::memory::{FarEnd, MemoryChunk, MemoryPort, chunk};
use crate::mesh::{Sizes, SlowEnd, mesh};
use crate::port::{Burst, Packet, Pool, Port, SendError};
use crate::wire::Interface;
use crate::{Limits, Settings, Shared, Worker};

/// Longer than this nobody may have to wait for a frame that is ready to leave.
const SOON: Duration = Duration::from_millis(5);

#[test]
fn a_frame_that_the_kernel_did_not_take_is_offered_again_soon() {
    let mut stage = Stage::new();
    stage.kernel_takes.store(false, Ordering::Relaxed);
    stage.send_something();
    let turn = stage.worker.turn(stage.now);
    assert_eq!(turn.work, 1);
    for _ in 0..3 {
        stage.now += SOON;
        let turn = stage.worker.turn(stage.now);
        assert_eq!((turn.work, stage.far.receive()), (0, None));
        assert!(
            turn.next.is_some_and(|at| at <= stage.now + SOON),
            "nobody wakes a worker for a frame that waits in a transmit ring"
        );
    }
    stage.kernel_takes.store(true, Ordering::Relaxed);
    let turn = stage.worker.turn(stage.now);
    assert!(stage.far.receive().is_some());
    assert_eq!(turn.next, None, "nothing is left to wait for");
    assert!(stage.worker.may_park());
}

#[test]
fn a_worker_without_free_chunks_looks_for_some_soon() {
    let mut stage = Stage::new();
    let chunks = stage.worker.take_chunks();
    let turn = stage.worker.turn(stage.now);
    assert!(turn.next.is_some_and(|at| at <= stage.now + SOON));
    stage.worker.return_chunks(chunks);
    assert_eq!(stage.worker.turn(stage.now).next, None);
}

/// A worker with one port.
struct Stage {
    worker: Worker<Reluctant>,
    kernel_takes: Arc<AtomicBool>,
    far: FarEnd,
    slow: SlowEnd,
    now: Instant,
}

impl Stage {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        let shared = Shared::new(Limits::default(), now);
        let interface = Interface {
            port: 0,
            vrf: 0,
            mtu: 1500,
            mac: [2; 6],
        };
        let (port, far) = MemoryPort::new(Arc::clone(&shared), interface, 8);
        let kernel_takes = Arc::new(AtomicBool::new(true));
        let port = Reluctant {
            port,
            queued: Vec::new(),
            takes: Arc::clone(&kernel_takes),
        };
        let (mut ends, slow) = mesh(1, Sizes::default());
        let end = ends.pop().expect("one worker was asked for");
        let chunks = (0..8).map(|_| chunk(2048)).collect();
        let settings = Settings {
            chunks: 8,
            ..Settings::default()
        };
        let worker = Worker::new(shared, vec![port], chunks, end, settings);
        Self {
            worker,
            kernel_takes,
            far,
            slow,
            now,
        }
    }

    fn send_something(&mut self) {
        let at = |host| Endpoint::new(Ipv4Addr::new(192, 0, 2, host).into(), 4500);
        let inject = Inject {
            entry: Entry::Transmit {
                shard: ShardId::all().next().expect("there are 64"),
                kind: Kind::Keepalive,
                local: at(1),
                remote: at(2),
            },
            bytes: vec![0xff],
        };
        let sent = self.slow.workers[0].send(ToWorker::Inject(inject));
        assert!(sent.is_ok());
    }
}

/// A port as AF_XDP has them: what is sent rests in a ring until the kernel takes it.
struct Reluctant {
    port: MemoryPort,
    queued: Vec<Packet<MemoryChunk>>,
    takes: Arc<AtomicBool>,
}

impl Port for Reluctant {
    type Chunk = MemoryChunk;

    fn receive(
        &mut self,
        pool: &mut dyn Pool<MemoryChunk>,
        burst: &mut Burst<MemoryChunk>,
        max: usize,
    ) -> usize {
        self.port.receive(pool, burst, max)
    }

    fn send(
        &mut self,
        packet: Packet<MemoryChunk>,
    ) -> Result<(), (Packet<MemoryChunk>, SendError)> {
        self.queued.push(packet);
        Ok(())
    }

    fn flush(&mut self, pool: &mut dyn Pool<MemoryChunk>) {
        if self.takes.load(Ordering::Relaxed) {
            for packet in self.queued.drain(..) {
                assert!(self.port.send(packet).is_ok());
            }
        }
        self.port.flush(pool);
    }

    fn in_flight(&self) -> usize {
        self.queued.len() + self.port.in_flight()
    }
}
