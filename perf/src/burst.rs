//! How long the longest of a thousand bursts takes, while the slow path is at work beside.
//!
//! The worker runs 1400-octet packets in bursts of 64. On another core clients dial at a steady
//! rate, and what the slow path wants changed goes to this worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, ensure};
use crypto::cpu;
use crypto::esp::Backend;
use hdrhistogram::Histogram;

use crate::clock;
use crate::dial::{Call, Exchange};
use crate::gateway::{Gateway, Size, TUNNEL};
use crate::path::descriptor;
use crate::probe::{Probe, Sample, protection};
use crate::traffic::{FarEnds, Line};

/// Frames that wait at a time: as many as a worker takes in a turn.
const BURST: usize = 64;
/// Packets of a round.
const PACKETS: usize = 65_536;
const SESSIONS: usize = 1000;
const SIZE: usize = 1400;
/// Subscribers that may dial.
const USERS: usize = 60_000;
/// Ticks beyond which a burst counts as this long.
const LONGEST: u64 = 1 << 36;
const QUANTILE: f64 = 0.999;

/// Who dials beside, and how often.
pub(crate) struct Bursts {
    gateway: Gateway,
    far: FarEnds,
    stop: Arc<AtomicBool>,
    dialling: Option<JoinHandle<Result<usize>>>,
}

impl Bursts {
    /// `dialling` is what clients want, and how many a second.
    pub(crate) fn new(dialling: Option<(Call, u32)>, seed: u64) -> Result<Self> {
        let protection = protection("aes128gcm16")?;
        let mut gateway = Gateway::new(Size {
            protection,
            backend: Backend::auto(),
            sessions: SESSIONS,
            workers: 1,
            frames: BURST,
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let dialling = dialling.map(|(call, per_second)| {
            let slow = gateway.take_slow();
            let shared = Arc::clone(&gateway.shared);
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                clock::pin_to(1);
                let exchange = Exchange::beside(call, USERS, (shared, slow), seed);
                dial(exchange, Duration::from_secs(1) / per_second, &stop)
            })
        });
        Ok(Self {
            gateway,
            far: FarEnds::new(protection, SESSIONS, seed),
            stop,
            dialling,
        })
    }
}

/// One call at a time, at a steady rate, until told to stop.
fn dial(mut exchange: Exchange, pause: Duration, stop: &AtomicBool) -> Result<usize> {
    let mut next = clock::now();
    let mut calls = 0;
    while !stop.load(Relaxed) && calls < USERS {
        if clock::now() < next {
            std::hint::spin_loop();
            continue;
        }
        exchange.dial(1)?;
        exchange.forget_clients();
        calls += 1;
        next += pause;
    }
    Ok(calls)
}

impl Probe for Bursts {
    fn round(&mut self) -> Result<Sample> {
        clock::pin_to(0);
        let mut staged = self.far.stage(Line::Up, &[SIZE], PACKETS)?;
        let mut histogram = Histogram::<u64>::new_with_max(LONGEST, 3)?;
        let before = clock::cycles_per_tick();
        for start in (0..staged.len()).step_by(BURST) {
            for index in start..start + BURST {
                let chunk = self.gateway.chunks.pop().expect("all have come back");
                let arriving = &mut self.gateway.workers[0].ports_mut()[TUNNEL].arriving;
                arriving.push(descriptor(chunk, staged.frame(index)));
            }
            let mut turns = 0;
            while self.gateway.workers[0].ports_mut()[1].leaving.len() < BURST && turns < 1000 {
                let start = cpu::cycles();
                self.gateway.workers[0].turn(clock::now());
                histogram.saturating_record(cpu::cycles() - start);
                turns += 1;
            }
            self.gateway.prove(&mut self.far, &mut staged, Line::Up)?;
        }
        ensure!(staged.missing() == 0, "lost:{}", self.gateway.discards());
        let cycles_per_tick = f64::midpoint(before, clock::cycles_per_tick());
        let ticks = histogram.value_at_quantile(QUANTILE) as f64;
        Ok(Sample::of_ticks(ticks, cycles_per_tick, 0.0))
    }
}

impl Drop for Bursts {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(Ok(Err(error))) = self.dialling.take().map(JoinHandle::join) {
            eprintln!("dialling beside: {error:#}");
        }
    }
}
