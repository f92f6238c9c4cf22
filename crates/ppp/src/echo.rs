//! LCP echo as a life sign (RFC 1661 §5.8), asked for only when nothing else is heard.

use std::time::{Duration, Instant};

use crate::Settings;

/// When to ask next, and what has not been answered yet.
pub(crate) struct Echo {
    interval: Duration,
    failures: u32,
    next: Option<Instant>,
    pending: Option<(u8, Instant)>,
    missed: u32,
}

/// What is to be done about a silent peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// Nothing.
    Rest,
    /// Ask.
    Ask,
    /// Give up.
    Dead,
}

impl Echo {
    /// Not running until [`Self::start`].
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            interval: settings.echo_interval,
            failures: settings.echo_failures,
            next: None,
            pending: None,
            missed: 0,
        }
    }

    /// LCP is open.
    pub(crate) fn start(&mut self, now: Instant) {
        self.pending = None;
        self.missed = 0;
        self.next = (!self.interval.is_zero()).then(|| now + self.interval);
    }

    /// LCP is not, or the peer does not know Echo-Requests.
    pub(crate) fn stop(&mut self) {
        self.next = None;
        self.pending = None;
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// The peer lives: silence is counted from `at`.
    pub(crate) fn saw_traffic(&mut self, at: Instant) {
        self.missed = 0;
        self.next = self.next.map(|next| next.max(at + self.interval));
    }

    /// After [`Pulse::Ask`], [`Self::asked`] is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Pulse {
        if self.next.is_none_or(|next| now < next) {
            return Pulse::Rest;
        }
        if self.missed >= self.failures {
            self.stop();
            return Pulse::Dead;
        }
        Pulse::Ask
    }

    pub(crate) fn asked(&mut self, id: u8, now: Instant) {
        self.missed += 1;
        self.pending = Some((id, now));
        self.next = Some(now + self.interval);
    }

    /// The round-trip time, if this answers the last question.
    pub(crate) fn answered(&mut self, id: u8, now: Instant) -> Option<Duration> {
        let (_, since) = self.pending.take_if(|(asked, _)| *asked == id)?;
        self.saw_traffic(now);
        Some(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn started() -> (Echo, Instant) {
        let settings = Settings {
            echo_interval: INTERVAL,
            echo_failures: 2,
            ..Settings::server("lns")
        };
        let mut echo = Echo::new(&settings);
        let now = crate::testing::epoch();
        echo.start(now);
        (echo, now)
    }

    // conformance: 1661-43
    #[test]
    fn a_silent_peer_is_asked_and_then_given_up() {
        let (mut echo, mut now) = started();
        for id in 1..=2 {
            assert_eq!(
                echo.handle_timeout(now + INTERVAL - Duration::from_millis(1)),
                Pulse::Rest
            );
            now += INTERVAL;
            assert_eq!(echo.handle_timeout(now), Pulse::Ask);
            echo.asked(id, now);
        }
        assert_eq!(echo.handle_timeout(now + INTERVAL), Pulse::Dead);
        assert_eq!(echo.deadline(), None);
    }

    #[test]
    fn traffic_is_as_good_as_an_answer() {
        let (mut echo, now) = started();
        for _ in 0..2 {
            echo.asked(1, now);
        }
        echo.saw_traffic(now + INTERVAL / 2);
        assert_eq!(echo.handle_timeout(now + INTERVAL), Pulse::Rest);
        assert_eq!(echo.handle_timeout(now + INTERVAL * 3 / 2), Pulse::Ask);
    }

    #[test]
    fn only_the_last_question_is_timed() {
        let (mut echo, now) = started();
        echo.asked(1, now);
        echo.asked(2, now + INTERVAL);
        let later = now + INTERVAL + Duration::from_millis(7);
        assert_eq!(echo.answered(1, later), None);
        assert_eq!(echo.answered(2, later), Some(Duration::from_millis(7)));
        assert_eq!(echo.answered(2, later), None);
    }

    #[test]
    fn an_interval_of_zero_asks_never() {
        let mut echo = Echo::new(&Settings {
            echo_interval: Duration::ZERO,
            ..Settings::server("lns")
        });
        echo.start(crate::testing::epoch());
        echo.saw_traffic(crate::testing::epoch());
        assert_eq!(echo.deadline(), None);
    }
}
