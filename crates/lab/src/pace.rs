//! A constant rate: how many packets are due by now.

use std::time::{Duration, Instant};

/// The most that is sent at once. Whoever was held up longer has lost the time: catching up would
/// be a burst that no constant rate has.
pub const BURST_MAX: u64 = 64;
/// Packets are sent this often if nothing else happens.
const TICK: Duration = Duration::from_millis(1);

/// A sender's schedule.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    per_second: f64,
    begin: Instant,
    sent: u64,
}

impl Pace {
    /// So many packets a second, from `begin` on.
    #[must_use]
    pub fn new(per_second: u64, begin: Instant) -> Self {
        Self {
            per_second: per_second.max(1) as f64,
            begin,
            sent: 0,
        }
    }

    /// How many packets are due; they count as sent.
    pub fn due(&mut self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.begin);
        let due = ((elapsed.as_secs_f64() * self.per_second) as u64).saturating_sub(self.sent);
        if due > BURST_MAX {
            let late = Duration::from_secs_f64((due - BURST_MAX) as f64 / self.per_second);
            self.begin += late;
        }
        let due = due.min(BURST_MAX);
        self.sent += due;
        due
    }

    /// When the next packet is due; not sooner than a tick, for the sake of the processor.
    #[must_use]
    pub fn next(&self, now: Instant) -> Instant {
        let at = self.begin + Duration::from_secs_f64((self.sent + 1) as f64 / self.per_second);
        at.max(now + TICK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn the_rate_is_kept_whatever_the_ticks() {
        let begin = clock::now();
        let mut pace = Pace::new(20_000, begin);
        let sent: u64 = (1..=1000)
            .map(|ms| pace.due(begin + Duration::from_millis(ms)))
            .sum();
        assert_eq!(sent, 20_000);
        assert_eq!(
            pace.due(begin),
            0,
            "a clock that stands still sends nothing"
        );
    }

    #[test]
    fn lost_time_is_not_made_up_for_in_a_burst() {
        let begin = clock::now();
        let mut pace = Pace::new(20_000, begin);
        let late = begin + Duration::from_secs(1);
        assert_eq!(pace.due(late), BURST_MAX);
        assert_eq!(pace.due(late + Duration::from_millis(1)), 20);
    }
}
