//! Time on a machine that others use too: ticks of the TSC, core cycles, nanoseconds.
//!
//! The TSC ticks evenly whatever the core does, so a time in ticks says how long something took,
//! and not how much work it was: the core's own clock is faster, and changes. A chain of dependent
//! multiplications takes a known number of core cycles; how many ticks it takes, measured right
//! before and after, turns ticks into cycles.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use crypto::cpu;

/// A multiplication takes three cycles on every x86-64 core since 2008, an exclusive or takes one,
/// and each step of the chain waits for the one before.
const STEP_CYCLES: u64 = 4;
const STEPS: u64 = 20_000;
/// The shortest of these was not interrupted.
const ATTEMPTS: usize = 5;

/// Reads the clock.
#[expect(
    clippy::disallowed_methods,
    reason = "this program is there to read it"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time of a worker under test, which stands still while its packets are made and proven: as under
/// full load, little of it passes between one packet and the next.
#[derive(Debug)]
pub(crate) struct WorkTime {
    paused: Duration,
    since: Option<Instant>,
}

impl WorkTime {
    /// Standing still.
    pub(crate) fn new() -> Self {
        Self {
            paused: Duration::ZERO,
            since: Some(now()),
        }
    }

    pub(crate) fn resume(&mut self) {
        self.paused += self
            .since
            .take()
            .map_or(Duration::ZERO, |since| since.elapsed());
    }

    pub(crate) fn pause(&mut self) {
        self.since.get_or_insert_with(now);
    }

    /// Reads it.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.since.unwrap_or_else(now) - self.paused
    }
}

/// Core cycles in a tick of the TSC, just now.
pub(crate) fn cycles_per_tick() -> f64 {
    let ticks = (0..ATTEMPTS).map(|_| chain()).min().unwrap_or(1);
    (STEPS * STEP_CYCLES) as f64 / ticks as f64
}

/// How long the chain takes.
fn chain() -> u64 {
    let (factor, mut x) = (black_box(0x9e37_79b9_7f4a_7c15_u64), black_box(1_u64));
    let start = cpu::cycles();
    for _ in 0..STEPS {
        x = x.wrapping_mul(factor) ^ factor;
    }
    black_box(x);
    cpu::cycles() - start
}

/// Ticks that this thread had a core for: what takes milliseconds is always interrupted on a busy
/// machine. Asking costs a system call.
pub(crate) fn thread_ticks() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let ns = time.tv_sec * 1_000_000_000 + time.tv_nsec;
    (ns as f64 * ticks_per_ns()) as u64
}

/// Ticks of the TSC in a nanosecond: it does not change while the machine runs.
pub(crate) fn ticks_per_ns() -> f64 {
    static TICKS_PER_NS: OnceLock<f64> = OnceLock::new();
    *TICKS_PER_NS.get_or_init(compare_with_wall)
}

fn compare_with_wall() -> f64 {
    let (start, ticks) = (now(), cpu::cycles());
    let mut passed = Duration::ZERO;
    while passed < Duration::from_millis(50) {
        passed = start.elapsed();
    }
    (cpu::cycles() - ticks) as f64 / passed.as_nanos() as f64
}

/// Cores of this process. A thread that is pinned, and each that it starts, sees one: whoever asks
/// first does so before that.
fn cores() -> &'static [CoreId] {
    static CORES: OnceLock<Vec<CoreId>> = OnceLock::new();
    CORES.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default())
}

/// Keeps this thread on the core where it gets most done: others use this machine too. Says which.
pub(crate) fn pin() -> Option<usize> {
    let free = cores()
        .iter()
        .max_by_key(|core| match core_affinity::set_for_current(**core) {
            true => chains_in(TRIAL),
            false => 0,
        })?;
    core_affinity::set_for_current(*free).then_some(free.id)
}

/// Keeps this thread on the core that is `index`th from the last; the first serves most interrupts.
/// Says which.
pub(crate) fn pin_to(index: usize) -> Option<usize> {
    let core = cores().iter().rev().nth(index)?;
    core_affinity::set_for_current(*core).then_some(core.id)
}

/// Long enough for the scheduler to share a busy core among several.
const TRIAL: Duration = Duration::from_millis(40);

/// How much this thread gets done in a time.
fn chains_in(time: Duration) -> usize {
    let start = now();
    let mut chains = 0;
    while start.elapsed() < time {
        chain();
        chains += 1;
    }
    chains
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_neither_slower_than_a_quarter_of_its_tsc_nor_faster_than_eight_times() {
        assert!((0.25..8.0).contains(&cycles_per_tick()));
    }

    #[test]
    fn work_time_passes_only_while_there_is_work() {
        let mut time = WorkTime::new();
        let before = time.now();
        chains_in(Duration::from_millis(2));
        assert_eq!(time.now(), before);
        time.resume();
        chains_in(Duration::from_millis(1));
        time.pause();
        let worked = time.now() - before;
        assert!(worked >= Duration::from_millis(1));
        chains_in(Duration::from_millis(2));
        assert_eq!(time.now() - before, worked);
    }

    #[test]
    fn a_pinned_thread_starts_another_on_another_core() {
        let pinned = std::thread::spawn(|| {
            let own = pin_to(0);
            let other = std::thread::spawn(|| pin_to(1)).join().unwrap();
            (own, other, cores().len())
        });
        let (own, other, count) = pinned.join().unwrap();
        assert!(own.is_some());
        assert_eq!(other.is_some(), count > 1);
        assert_ne!(own, other);
    }
}
