//! What set-ups, idle sessions and their memory cost.

use std::time::Duration;

use anyhow::Result;

use crate::clock;
use crate::dial::{Call, Exchange, resident};
use crate::path::undisturbed;
use crate::probe::{Probe, Sample};

/// Calls of a round: enough crowds to tell an interrupted one from the others.
const CALLS: usize = 320;
/// Rounds for which there are users.
const ROUNDS_MAX: usize = 64;

/// A set-up, at the slow path alone, its public-key work included.
pub(crate) struct SetUp(Exchange);

impl SetUp {
    pub(crate) fn new(call: Call, seed: u64) -> Result<Self> {
        let mut exchange = Exchange::new(call, CALLS * ROUNDS_MAX, seed);
        exchange.dial(CALLS)?;
        Ok(Self(exchange))
    }

    /// As in a burst after an idle time, in which the gateway has made key pairs.
    pub(crate) fn with_pairs(call: Call, seed: u64) -> Result<Self> {
        let mut set_up = Self::new(call, seed)?;
        set_up.0.uses_pairs = true;
        Ok(set_up)
    }
}

impl Probe for SetUp {
    fn round(&mut self) -> Result<Sample> {
        let before = clock::cycles_per_tick();
        let crowds = self.0.dial(CALLS)?;
        let cycles_per_tick = f64::midpoint(before, clock::cycles_per_tick());
        let (ticks, _) = undisturbed(&crowds);
        Ok(Sample::of_ticks(ticks, cycles_per_tick, 0.0))
    }
}

/// Sessions that do nothing but be asked whether they are there: the share of the slow path's core
/// that they take, in percent. LCP echoes go every 30 s, HELLO every 60 s.
pub(crate) struct Idle(Exchange);

const MINUTE: Duration = Duration::from_secs(60);

impl Idle {
    pub(crate) fn new(sessions: usize, seed: u64) -> Result<Self> {
        let mut exchange = Exchange::new(Call::Plain, sessions, seed);
        exchange.dial(sessions)?;
        exchange.run_until(exchange.now() + MINUTE)?;
        Ok(Self(exchange))
    }
}

impl Probe for Idle {
    fn round(&mut self) -> Result<Sample> {
        let before = self.0.ticks;
        self.0.run_until(self.0.now() + MINUTE)?;
        let ticks = (self.0.ticks - before) as f64;
        let share = ticks / clock::ticks_per_ns() / MINUTE.as_nanos() as f64;
        Ok(Sample::of_value(100.0 * share))
    }
}

/// Memory of an idle session, both planes, in octets: what the process has more than before,
/// divided by the sessions.
pub(crate) struct Memory {
    call: Call,
    sessions: usize,
}

/// Before these, memory is taken that is not any session's. Each shard has one of them.
const FIRST: usize = 64;
/// What is kept for the end of a set-up, such as replies that may have to be repeated, is gone by then.
const SETTLED: Duration = Duration::from_secs(61);

impl Memory {
    pub(crate) fn new(call: Call, sessions: usize) -> Self {
        Self { call, sessions }
    }
}

impl Probe for Memory {
    fn round(&mut self) -> Result<Sample> {
        let mut exchange = Exchange::of_both_planes(self.call, self.sessions + FIRST, 1);
        exchange.dial(FIRST)?;
        let before = resident()?;
        exchange.idle(self.sessions)?;
        let octets = resident()?.saturating_sub(before);
        Ok(Sample::of_value(octets as f64 / self.sessions as f64))
    }
}

impl Exchange {
    /// So many more clients dial, and are not heard of for a while.
    fn idle(&mut self, sessions: usize) -> Result<()> {
        let mut left = sessions;
        while left > 0 {
            let some = left.min(FIRST);
            self.dial(some)?;
            self.forget_clients();
            left -= some;
        }
        self.run_until(self.now() + SETTLED)
    }
}

#[cfg(test)]
mod tests {
    use crypto::dh::Group::Ecp256;

    use super::*;

    /// Sessions after which nearly all pages are there. Those of tunnels, whose ids are in no order, are
    /// four to a shard.
    const BEFORE: usize = 16 * FIRST;

    fn net_octets(call: Call, sessions: usize) -> i64 {
        let mut exchange = Exchange::of_both_planes(call, sessions + BEFORE, 1);
        for _ in 0..BEFORE / FIRST {
            exchange.dial(FIRST).unwrap();
            exchange.forget_clients();
        }
        let taken = allocation_counter::measure(|| exchange.idle(sessions).unwrap());
        taken.bytes_current / sessions as i64
    }

    /// Octets that were asked for, without pages of slots and keys, which sessions share and whose
    /// sizes are asserted where they are made; the dialler's own books are 280 of them. So that what
    /// a session keeps for nothing is noticed without a hundred thousand of them.
    #[test]
    fn an_idle_session_keeps_nothing_that_it_does_not_need() {
        for (call, sessions, most) in [
            (Call::Plain, 2000, 2560),
            (Call::Secured(Ecp256), 500, 3840),
        ] {
            let octets = net_octets(call, sessions);
            assert!(octets <= most, "{call:?}: {octets} octets");
        }
    }
}
