//! A rate, constant or as chance has it: how many packets are due by now.

use std::time::{Duration, Instant};

use crypto::Random;

/// The most that is sent at once. Whoever was held up longer has lost the time: catching up would
/// be a burst that no constant rate has.
pub const BURST_MAX: u64 = 64;
/// At high rates, so long a stall is made up for: a machine that does other things too has those.
const STALL: Duration = Duration::from_millis(5);
/// What is due at high rates is sent in parts of so many, with a look at what has come between them:
/// longer bursts leave the cache, and the rings of whoever receives them.
const PART: u64 = 256;
/// Packets are sent this often if nothing else happens.
const TICK: Duration = Duration::from_millis(1);
/// A year.
const FAR_SECONDS: f64 = 31e6;

/// How packets follow each other.
#[derive(Debug)]
enum Rhythm {
    Even,
    /// Independent of each other: the time between two is exponentially distributed.
    Poisson {
        dice: Box<Random>,
        /// Seconds after the beginning.
        next: f64,
    },
}

/// A sender's schedule.
#[derive(Debug)]
pub struct Pace {
    per_second: f64,
    begin: Instant,
    sent: u64,
    withheld: u64,
    /// The most that is made up for.
    burst: u64,
    /// More was due than one part.
    is_behind: bool,
    rhythm: Rhythm,
}

impl Pace {
    /// So many packets a second, from `begin` on.
    #[must_use]
    pub fn new(per_second: u64, begin: Instant) -> Self {
        Self {
            burst: BURST_MAX,
            ..Self::even(per_second.max(1) as f64, begin)
        }
    }

    /// The same, for any rate, and with more patience at high ones.
    #[must_use]
    pub fn even(per_second: f64, begin: Instant) -> Self {
        Self {
            per_second: per_second.max(f64::EPSILON),
            begin,
            sent: 0,
            withheld: 0,
            burst: BURST_MAX.max((per_second * STALL.as_secs_f64()) as u64),
            is_behind: false,
            rhythm: Rhythm::Even,
        }
    }

    /// So many on average, each independent of the others.
    #[must_use]
    pub fn poisson(per_second: f64, begin: Instant, mut dice: Random) -> Self {
        let mut pace = Self::even(per_second, begin);
        let next = interval(&mut dice) / pace.per_second;
        pace.rhythm = Rhythm::Poisson {
            dice: Box::new(dice),
            next,
        };
        pace
    }

    /// How many packets are to be sent now; they count as sent. When it is a part of what is due,
    /// the next is due at once.
    pub fn due(&mut self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.begin);
        let most = self.burst.min(PART);
        let (part, due) = match &mut self.rhythm {
            Rhythm::Even => {
                let due = (elapsed.as_secs_f64() * self.per_second) as u64;
                let due = due.saturating_sub(self.sent);
                (due.min(most), due)
            }
            Rhythm::Poisson { dice, next } => {
                let mut part = 0;
                while *next <= elapsed.as_secs_f64() && part < most {
                    *next += interval(dice) / self.per_second;
                    part += 1;
                }
                let behind = (elapsed.as_secs_f64() - *next).max(0.0);
                (part, part + (behind * self.per_second) as u64)
            }
        };
        let late = due.saturating_sub(self.burst);
        if late > 0 {
            self.begin += Duration::from_secs_f64(late as f64 / self.per_second);
            self.withheld += late;
        }
        self.sent += part;
        self.is_behind = due - late > part;
        part
    }

    /// Packets that were due and were not sent, because whoever sends came too late for them.
    #[must_use]
    pub fn withheld(&self) -> u64 {
        self.withheld
    }

    /// When the next packet is due; not sooner than a tick, for the sake of the processor, unless
    /// some are due already.
    #[must_use]
    pub fn next(&self, now: Instant) -> Instant {
        if self.is_behind {
            return now;
        }
        let after = match &self.rhythm {
            Rhythm::Even => (self.sent + 1) as f64 / self.per_second,
            Rhythm::Poisson { next, .. } => *next,
        };
        // A rate of next to nothing: the next packet is not due within any test.
        let at = self.begin + Duration::from_secs_f64(after.min(FAR_SECONDS));
        at.max(now + TICK)
    }
}

/// An exponentially distributed number of mean 1.
fn interval(dice: &mut Random) -> f64 {
    let uniform = (f64::from(dice.u32()) + 1.0) / (f64::from(u32::MAX) + 1.0);
    -uniform.ln()
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
        assert_eq!(pace.withheld(), 20_000 - BURST_MAX);
        assert_eq!(pace.due(late + Duration::from_millis(1)), 20);
    }

    #[test]
    fn much_that_is_due_comes_in_parts_and_none_of_it_is_withheld() {
        let begin = clock::now();
        let dice = Random::from_seed([3; 32]);
        for mut pace in [Pace::even(1e6, begin), Pace::poisson(1e6, begin, dice)] {
            let now = begin + Duration::from_millis(4);
            let mut parts = vec![pace.due(now)];
            while pace.next(now) == now {
                parts.push(pace.due(now));
            }
            let sum: u64 = parts.iter().sum();
            // Of 4000 independent packets, the standard deviation is 63.
            assert!((3700..4300).contains(&sum), "{parts:?}");
            assert!(parts.iter().all(|part| *part <= PART), "{parts:?}");
            assert_eq!((pace.withheld(), pace.next(now)), (0, now + TICK));
        }
    }

    #[test]
    fn chance_keeps_the_rate_on_average_and_no_distance() {
        let begin = clock::now();
        let mut pace = Pace::poisson(20_000.0, begin, Random::from_seed([7; 32]));
        let sent: Vec<u64> = (1..=1000)
            .map(|ms| pace.due(begin + Duration::from_millis(ms)))
            .collect();
        let sum: u64 = sent.iter().sum();
        // Of 20 000 independent packets, the standard deviation is 141.
        assert!((19_300..20_700).contains(&sum), "{sum}");
        let mean = sum as f64 / 1000.0;
        let variance = sent.iter().map(|n| (*n as f64 - mean).powi(2)).sum::<f64>() / 1000.0;
        assert!((15.0..25.0).contains(&variance), "{variance}");
        assert_eq!(pace.withheld(), 0);
        pace.due(begin + Duration::from_secs(2));
        assert!((19_000..21_000).contains(&(pace.withheld() + 100)));
        assert_eq!(pace.due(begin + Duration::from_secs(9)), 100, "5 ms of it");
    }
}
