//! A worker, what it is plugged to, and whether it sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

use dataplane::memory::{FarEnd, MemoryChunk, MemoryPort, chunk};
use dataplane::mesh::WorkerEnd;
use dataplane::ring::{Bell, Wake};
use dataplane::wire::Interface;
use dataplane::{Settings, Shared, Turn, Worker};

/// The port towards subscribers.
pub const TUNNEL: u8 = 0;
/// The port towards the network.
pub const NETWORK: u8 = 1;

/// Free chunks that a worker starts with; it likes to keep half of them, so that the depot is used.
pub(crate) const CHUNKS: usize = 512;
const CHUNK_LEN: usize = 2048;
/// Frames that a cable holds in each direction.
const CABLE: usize = 4096;
/// MTU of both ports.
const MTU: u16 = 1500;

/// Whether somebody was woken.
#[derive(Debug, Default)]
pub(crate) struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(&self) {
        self.0.store(true, SeqCst);
    }
}

impl Alarm {
    pub(crate) fn hang_on(bell: &Bell) -> Arc<Self> {
        let alarm = Arc::new(Self::default());
        bell.set_wake(Arc::<Self>::clone(&alarm));
        alarm
    }

    pub(crate) fn rang(&self) -> bool {
        self.0.swap(false, SeqCst)
    }

    fn rings(&self) -> bool {
        self.0.load(SeqCst)
    }
}

/// A worker in its place.
pub(crate) struct Seat {
    pub(crate) worker: Worker<MemoryPort>,
    cables: [FarEnd; 2],
    alarm: Arc<Alarm>,
    is_parked: bool,
    next: Option<Instant>,
}

impl Seat {
    pub(crate) fn new(shared: &Arc<Shared>, end: WorkerEnd<MemoryChunk>) -> Self {
        let alarm = Alarm::hang_on(&end.bell);
        let plug = |port| {
            let interface = Interface {
                port,
                vrf: 0,
                mtu: MTU,
                mac: [2, 0, 0, 0, 0, port],
            };
            MemoryPort::new(Arc::clone(shared), interface, CABLE)
        };
        let [tunnel, network] = [TUNNEL, NETWORK].map(plug);
        let chunks = (0..CHUNKS).map(|_| chunk(CHUNK_LEN)).collect();
        let settings = Settings {
            chunks: CHUNKS / 2,
            ..Settings::default()
        };
        let ports = vec![tunnel.0, network.0];
        Self {
            worker: Worker::new(Arc::clone(shared), ports, chunks, end, settings),
            cables: [tunnel.1, network.1],
            alarm,
            is_parked: false,
            next: None,
        }
    }

    /// A frame arrives. A full cable loses it, as a full receive ring would.
    pub(crate) fn arrive(&mut self, port: u8, frame: Vec<u8>) {
        let _lost = self.cables[usize::from(port)].send(&frame);
    }

    /// The next frame that was sent by a port.
    pub(crate) fn sent(&mut self, port: u8) -> Option<Vec<u8>> {
        self.cables[usize::from(port)].receive()
    }

    /// A turn, unless it sleeps and nothing wakes it. `None`: it sleeps.
    pub(crate) fn turn(&mut self, now: Instant) -> Option<Turn> {
        if self.is_parked && !self.is_wanted(now) {
            return None;
        }
        if std::mem::take(&mut self.is_parked) {
            self.worker.unpark();
        }
        let turn = self.worker.turn(now);
        let is_later = turn.next.is_none_or(|next| next > now);
        assert!(is_later, "a worker wants a turn in the past");
        self.next = turn.next;
        Some(turn)
    }

    fn is_wanted(&mut self, now: Instant) -> bool {
        let has_frame = self.worker.ports_mut().iter().any(MemoryPort::is_ready);
        let is_due = self.next.is_some_and(|next| next <= now);
        self.alarm.rang() || has_frame || is_due
    }

    /// Goes to sleep, if nothing is to be done.
    pub(crate) fn park(&mut self) {
        self.is_parked = self.worker.may_park();
    }

    /// Whether it sleeps and its bell rings.
    pub(crate) fn is_woken(&self) -> bool {
        self.is_parked && self.alarm.rings()
    }

    /// When it next needs a turn for the time's sake.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// # Panics
    /// If it sleeps although something is in its rings.
    pub(crate) fn assert_woken(&mut self) {
        if self.is_parked {
            let sleeps_well = self.worker.may_park();
            assert!(sleeps_well, "a worker has slept through its bell");
        }
    }
}
