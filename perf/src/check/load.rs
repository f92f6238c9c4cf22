//! One load: packets that arrive at a rate, in bursts as a network card hands them over under load,
//! and clients that dial, and leave, at a slow path on the other core.

use std::collections::VecDeque;
use std::iter::Sum;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crypto::cpu;
use crypto::esp::Backend;

use crate::clock;
use crate::dial::{Call, Exchange};
use crate::gateway::{Gateway, NETWORK, Size, TUNNEL};
use crate::path::descriptor;
use crate::port::Descriptor;
use crate::probe::{SuiteName, protection};
use crate::subscriber::{Protection, Subscriber};
use crate::team::{Busy, undisturbed};
use crate::traffic::{FarEnds, Line, Staged};

/// Subscribers whose packets flow.
pub(super) const SESSIONS: usize = 1000;
/// Packets that arrive together: some bursts, as a worker finds them that was busy meanwhile.
const BURST: usize = 512;
/// Packets of a round, both ways.
const PACKETS: usize = 65_536;
/// Subscribers that may dial.
const USERS: usize = 60_000;
/// Clients that dial together: several calls are in progress at a time.
const CROWD: u32 = 16;
/// How often the slow path hears the worker while nobody dials.
const LISTENS_EVERY: Duration = Duration::from_micros(200);
/// Calls before the first packet: tables have grown by then.
const FIRST: u64 = 512;
/// Turns without a packet after which those that are missing are lost.
const TURNS_MAX: usize = 1_000_000;

/// What is offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) name: &'static str,
    /// Of the subscribers, in turn.
    pub(super) suites: &'static [SuiteName],
    /// Octets of inner packets, each as often as it stands here.
    pub(super) sizes: &'static [usize],
    /// Of a hundred packets, so many go down.
    pub(super) down_percent: usize,
    /// Who dials, and how many a second.
    pub(super) calls: Option<(Call, u32)>,
    /// Whether they hang up, once they are up.
    pub(super) is_restless: bool,
}

/// What it kept busy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Observed {
    pub(super) seconds: f64,
    /// Packets that came through, down and up.
    pub(super) packets: [f64; 2],
    /// Set-ups that succeeded.
    pub(super) calls: f64,
    /// Seconds in which the worker was busy, as it counts them itself.
    pub(super) worker: f64,
    /// Seconds of a core that the slow path took.
    pub(super) slow_path: f64,
}

impl Sum for Observed {
    fn sum<I: Iterator<Item = Self>>(rounds: I) -> Self {
        rounds.fold(Self::default(), |sum, round| Self {
            seconds: sum.seconds + round.seconds,
            packets: [0, 1].map(|way| sum.packets[way] + round.packets[way]),
            calls: sum.calls + round.calls,
            worker: sum.worker + round.worker,
            slow_path: sum.slow_path + round.slow_path,
        })
    }
}

/// A gateway under a load.
pub(super) struct Bench {
    load: Load,
    gateway: Gateway,
    far: FarEnds,
    dialling: Option<Dialling>,
}

/// Clients on another thread, and what the slow path did for them so far.
struct Dialling {
    thread: JoinHandle<Result<()>>,
    done: Arc<Done>,
}

#[derive(Default)]
struct Done {
    stop: AtomicBool,
    calls: AtomicU64,
    ticks: AtomicU64,
}

impl Bench {
    pub(super) fn new(load: Load, seed: u64) -> Result<Self> {
        let protections = load.suites.iter().map(|suite| protection(suite));
        let protections: Vec<Protection> = protections.collect::<Result<_>>()?;
        let size = Size {
            protection: protections[0],
            backend: Backend::auto(),
            sessions: SESSIONS,
            workers: 1,
            frames: PACKETS,
        };
        let of = |number: usize| Subscriber::new(number, protections[number % protections.len()]);
        let mut gateway = Gateway::with(size, of)?;
        let dialling = load.calls.map(|calls| {
            let fast_path = (Arc::clone(&gateway.shared), gateway.take_slow());
            Dialling::begin(calls, load.is_restless, fast_path, seed)
        });
        let mut bench = Self {
            load,
            gateway,
            far: FarEnds::mixed(protections, SESSIONS, seed),
            dialling,
        };
        bench.warm_up();
        Ok(bench)
    }

    /// The worker turns until the first have dialled.
    fn warm_up(&mut self) {
        let Some(Dialling { thread, done }) = &self.dialling else {
            return;
        };
        while done.calls.load(Relaxed) < FIRST && !thread.is_finished() {
            self.gateway.workers[0].turn(clock::now());
        }
    }

    /// Packets at so many a second, and what dials beside meanwhile.
    pub(super) fn round(&mut self, per_second: f64) -> Result<Observed> {
        clock::pin_to(0);
        let down = PACKETS * self.load.down_percent / 100;
        let sizes = self.load.sizes;
        let mut staged = [
            self.far.stage(Line::Down, sizes, down)?,
            self.far.stage(Line::Up, sizes, PACKETS - down)?,
        ];
        self.gateway.scatter_chunks();
        let mut waiting = [
            (NETWORK, self.written(&staged[0])),
            (TUNNEL, self.written(&staged[1])),
        ];
        // What was wanted changed while packets were made is no matter of this round.
        self.gateway.settle();
        let before = self.mark();
        let turns = self.run(&mut waiting, per_second)?;
        let after = self.mark();
        for (staged, line) in staged.iter_mut().zip([Line::Down, Line::Up]) {
            self.gateway.prove(&mut self.far, staged, line)?;
            ensure!(staged.missing() == 0, "lost:{}", self.gateway.discards());
        }
        let worker = seconds(undisturbed(&turns));
        let [seconds, slow_path] = [0, 1].map(|nth| seconds(after[nth] - before[nth]));
        Ok(Observed {
            seconds,
            packets: [down, PACKETS - down].map(|packets| packets as f64),
            calls: (after[2] - before[2]) as f64,
            worker,
            slow_path,
        })
    }

    /// Frames in chunks, ready to arrive.
    fn written(&mut self, staged: &Staged) -> VecDeque<Descriptor> {
        let free = &mut self.gateway.chunks;
        let frames = (0..staged.len()).map(|index| {
            let chunk = free.pop().expect("all have come back");
            descriptor(chunk, staged.frame(index))
        });
        frames.collect()
    }

    /// The clock and the slow path's time, in ticks; and calls.
    fn mark(&self) -> [u64; 3] {
        let done = self.dialling.as_ref().map(|dialling| &dialling.done);
        let [ticks, calls] = done.map_or([0; 2], |done| {
            [done.ticks.load(Relaxed), done.calls.load(Relaxed)]
        });
        [cpu::cycles(), ticks, calls]
    }

    /// Bursts arrive when they are due, from each side in its proportion, and the worker turns; says
    /// which turns found something to do.
    fn run(
        &mut self,
        waiting: &mut [(usize, VecDeque<Descriptor>); 2],
        rate: f64,
    ) -> Result<Vec<Busy>> {
        let all: usize = waiting.iter().map(|(_, frames)| frames.len()).sum();
        let start = cpu::cycles();
        let (mut arrived, mut idle, mut busy) = (0, 0, Vec::new());
        while idle < TURNS_MAX {
            let due = seconds(cpu::cycles() - start) * rate;
            while arrived < all && arrived as f64 <= due {
                arrived += self.arrive(waiting, all - arrived);
            }
            let begin = cpu::cycles();
            let work = self.gateway.workers[0].turn(clock::now()).work;
            idle += 1;
            if work > 0 {
                busy.push(Busy::new(cpu::cycles() - begin, work));
                idle = 0;
            }
            if arrived == all && self.left() == all {
                return Ok(busy);
            }
        }
        Err(anyhow::anyhow!("lost:{}", self.gateway.discards()))
    }

    /// The next burst, from the side that has more left of what it had.
    fn arrive(&mut self, waiting: &mut [(usize, VecDeque<Descriptor>); 2], left: usize) -> usize {
        let down = left * self.load.down_percent / 100;
        let from = usize::from(waiting[0].1.len() < down.max(1));
        let (port, frames) = &mut waiting[from];
        let count = BURST.min(frames.len());
        let arriving = &mut self.gateway.workers[0].ports_mut()[*port].arriving;
        arriving.extend(frames.drain(..count));
        count
    }

    fn left(&mut self) -> usize {
        let ports = self.gateway.workers[0].ports_mut().iter();
        ports.map(|port| port.leaving.len()).sum()
    }

    /// Everybody stops; an error if a call had failed.
    pub(super) fn end(self) -> Result<()> {
        let Some(Dialling { thread, done }) = self.dialling else {
            return Ok(());
        };
        done.stop.store(true, Relaxed);
        let ended = thread.join().ok().context("the slow path panicked")?;
        ended.context("dialling beside the load")
    }
}

impl Dialling {
    fn begin(
        (call, per_second): (Call, u32),
        is_restless: bool,
        fast_path: (Arc<dataplane::Shared>, dataplane::mesh::SlowEnd),
        seed: u64,
    ) -> Self {
        let done = Arc::new(Done::default());
        let told = Arc::clone(&done);
        let thread = thread::spawn(move || {
            clock::pin_to(1);
            let mut exchange = Exchange::beside(call, USERS, fast_path, seed);
            let pause = Duration::from_secs(1) * CROWD / per_second;
            let mut next = clock::now();
            while !told.stop.load(Relaxed) && (told.calls.load(Relaxed) as usize) < USERS {
                let is_warm = told.calls.load(Relaxed) >= FIRST;
                if is_warm && clock::now() < next {
                    exchange.listen();
                    thread::park_timeout(LISTENS_EVERY);
                    continue;
                }
                exchange.dial(CROWD as usize)?;
                if is_restless {
                    exchange.hang_up()?;
                }
                exchange.forget_clients();
                told.ticks.store(exchange.ticks, Relaxed);
                told.calls.fetch_add(CROWD.into(), Relaxed);
                next = if is_warm { next + pause } else { clock::now() };
            }
            Ok(())
        });
        Self { thread, done }
    }
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock::ticks_per_ns() / 1e9
}
