//! Where the cycles go: a stopwatch that is read between the rooms, in one busy turn of 64.
//!
//! Reading the cycle counter costs about 20 cycles and there are some twenty readings in a walk of up
//! to 64 packets, so even a turn that is timed costs a few cycles a packet more, and the rest none.

use crypto::cpu;

use crate::counters::WorkerCounters;

macro_rules! stages {
    ($($name:ident = $key:literal, $text:literal,)*) => {
        /// A stretch of the way through a worker. One pair of counters each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Stage {
            $(#[doc = $text] $name,)*
        }

        impl Stage {
            /// All stages, in the order of the way.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// What an operator reads.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// A stable key for machines.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }
        }
    };
}

stages! {
    Receive = "receive", "frames from ports, outer headers taken off",
    Sort    = "sort", "which line and room a frame enters",
    Ahead   = "ahead", "lines asked for that no cipher's loop had asked for",
    Admit   = "esp-admit", "SA and replay window",
    Open    = "esp-open", "ESP verified and decrypted",
    Accept  = "esp-accept", "window, endpoint, padding; in the express lane the rest of the way as well",
    Forward = "ip-forward", "L2TP and PPP taken off; source, policer, route",
    Route   = "ip-route", "which subscriber",
    Encap   = "l2tp-encap", "policer; PPP and L2TP put on",
    Prepare = "esp-prepare", "sequence number, padding, outer endpoints; in the express lane the way before it as well",
    Seal    = "esp-seal", "ESP encrypted and signed",
    Send    = "send", "outer headers put on, frames to ports; discards and punts",
}

/// Busy turns of which one is timed.
const SAMPLE: u64 = 64;

/// The stopwatch of one worker.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    pub(crate) is_allowed: bool,
    is_running: bool,
    since: u64,
    /// What is being timed, and for how many packets.
    at: Option<(Stage, u64)>,
    /// Packets and cycles that nobody has been told of.
    laps: [(u64, u64); Stage::COUNT],
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self {
            is_allowed: true,
            is_running: false,
            since: 0,
            at: None,
            laps: [(0, 0); Stage::COUNT],
        }
    }
}

impl Stopwatch {
    /// A turn begins, the `busy_turns`th with something to do.
    #[inline]
    pub(crate) fn start(&mut self, busy_turns: u64) {
        self.is_running = self.is_allowed && busy_turns.is_multiple_of(SAMPLE);
        self.at = None;
    }

    /// The stage before ends, and this one begins, with so many packets.
    #[inline]
    pub(crate) fn lap(&mut self, stage: Stage, packets: impl FnOnce() -> usize) {
        if self.is_running {
            self.end();
            self.at = Some((stage, packets() as u64));
        }
    }

    /// The stage before ends, and it turns out only now that it had as many packets as this one.
    #[inline]
    pub(crate) fn resume(&mut self, stage: Stage, packets: usize) {
        if self.is_running {
            if let Some((_, before)) = &mut self.at {
                *before = packets as u64;
            }
            self.lap(stage, || packets);
        }
    }

    /// The stage ends.
    #[inline]
    pub(crate) fn pause(&mut self) {
        if self.is_running {
            self.end();
        }
    }

    #[cold]
    fn end(&mut self) {
        let now = cpu::cycles();
        if let Some((stage, packets)) = self.at.take().filter(|(_, packets)| *packets > 0) {
            let (all_packets, all_cycles) = &mut self.laps[stage as usize];
            *all_packets += packets;
            *all_cycles += now.wrapping_sub(self.since);
        }
        self.since = now;
    }

    /// The turn ends.
    #[inline]
    pub(crate) fn stop(&mut self, counters: &WorkerCounters) {
        if !std::mem::take(&mut self.is_running) {
            return;
        }
        for (stage, (packets, cycles)) in Stage::ALL.iter().zip(&mut self.laps) {
            counters.add_stage(*stage, std::mem::take(packets), std::mem::take(cycles));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_busy_turn_of_sixty_four_is_timed_and_stages_without_packets_are_not() {
        let (mut watch, counters) = (Stopwatch::default(), WorkerCounters::default());
        for turn in 0..3 * SAMPLE {
            watch.start(turn);
            watch.lap(Stage::Forward, || 10);
            watch.lap(Stage::Encap, || 0);
            watch.pause();
            watch.lap(Stage::Send, || 2);
            watch.pause();
            watch.stop(&counters);
        }
        let packets = |stage| counters.stage(stage).0;
        assert_eq!(packets(Stage::Forward), 30);
        assert_eq!(packets(Stage::Send), 6);
        assert_eq!(counters.stage(Stage::Encap), (0, 0));
        assert_eq!(counters.stage(Stage::Open), (0, 0));
    }

    #[test]
    fn who_does_not_want_it_has_no_turn_timed() {
        let (mut watch, counters) = (Stopwatch::default(), WorkerCounters::default());
        watch.is_allowed = false;
        watch.start(0);
        watch.lap(Stage::Forward, || 10);
        watch.pause();
        watch.stop(&counters);
        assert_eq!(counters.stage(Stage::Forward), (0, 0));
    }
}
