//! How long a worker is held up by sessions that come and go: the turns in which it does nothing
//! but apply changes, as many at a time as it takes. Counted is the time that the thread had a core:
//! what others do with it meanwhile is not the worker's stall.

use anyhow::Result;
use crypto::esp::Backend;
use dataplane::change::{Change, ToWorker};
use dataplane::id::{InboundSa, PathId, SessionSlot};
use hdrhistogram::Histogram;

use crate::clock;
use crate::gateway::{Gateway, Size};
use crate::probe::{Probe, Sample, protection};
use crate::subscriber::{Protection, Subscriber};

/// Sessions that stay.
const SESSIONS: usize = 10_000;
/// Sessions of a round that come and go.
const RESTLESS: usize = 8_192;
/// Of those, how many are there at a time.
const CROWD: usize = 512;
/// Changes that a worker takes in a turn.
const CHANGES: usize = 64;
const QUANTILE: f64 = 0.999;
/// Ticks beyond which a turn counts as this long.
const LONGEST: u64 = 1 << 36;

/// A gateway at which nothing flows.
pub(crate) struct Stalls {
    gateway: Gateway,
    protection: Protection,
    /// The next session that has never been there.
    next: usize,
}

impl Stalls {
    pub(crate) fn new(suite: &str) -> Result<Self> {
        let protection = protection(suite)?;
        let gateway = Gateway::new(Size {
            protection,
            backend: Backend::auto(),
            sessions: SESSIONS,
            workers: 1,
            frames: 0,
        })?;
        Ok(Self {
            gateway,
            protection,
            next: SESSIONS,
        })
    }

    /// Has changes applied, and notes how long each turn took that did.
    fn apply(&mut self, changes: Vec<Change>, turns: &mut Histogram<u64>) {
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            for change in changes.by_ref().take(CHANGES) {
                let sent = self.gateway.slow.workers[0].send(ToWorker::Change(change));
                assert!(sent.is_ok(), "there is room");
            }
            let now = clock::now();
            let start = clock::thread_ticks();
            self.gateway.workers[0].turn(now);
            turns.saturating_record(clock::thread_ticks() - start);
            self.gateway.listen();
        }
        self.gateway.settle();
    }
}

impl Probe for Stalls {
    fn round(&mut self) -> Result<Sample> {
        let mut turns = Histogram::new_with_max(LONGEST, 3)?;
        let before = clock::cycles_per_tick();
        for _ in 0..RESTLESS / CROWD {
            let protection = self.protection;
            let crowd = (self.next..self.next + CROWD).map(|n| Subscriber::new(n, protection));
            self.next += CROWD;
            let come = crowd.clone().flat_map(Subscriber::changes).collect();
            self.apply(come, &mut turns);
            self.apply(crowd.flat_map(farewell).collect(), &mut turns);
        }
        let cycles_per_tick = f64::midpoint(before, clock::cycles_per_tick());
        let ticks = turns.value_at_quantile(QUANTILE) as f64;
        Ok(Sample::of_ticks(ticks, cycles_per_tick, 0.0))
    }
}

/// What takes a subscriber with a peer of its own down again.
fn farewell(subscriber: Subscriber) -> [Change; 4] {
    let slot = subscriber.slot();
    [
        Change::CloseSession(SessionSlot(slot)),
        Change::RetireInbound(InboundSa(slot)),
        Change::RetireOutbound {
            path: PathId(slot),
            spi: subscriber.outbound_spi(),
        },
        Change::ClosePath(PathId(slot)),
    ]
}
