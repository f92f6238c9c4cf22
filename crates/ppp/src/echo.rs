//! LCP echo as a life sign (RFC 1661 §5.8), asked for only when nothing else is heard.

use std::time::{Duration, Instant};

use crate::Settings;

/// When to ask next, and what has not been answered yet. Not running until [`Echo::start`]; how often
/// and how long is asked is in the settings, which all links share.
#[derive(Default)]
pub(crate) struct Echo {
    next: Option<Instant>,
    /// When the last question was asked, until it is answered.
    pending: Option<Instant>,
    last_id: u8,
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
    /// LCP is open.
    pub(crate) fn start(&mut self, now: Instant, settings: &Settings) {
        self.pending = None;
        self.missed = 0;
        let interval = settings.echo_interval;
        self.next = (!interval.is_zero()).then(|| now + interval);
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
    pub(crate) fn saw_traffic(&mut self, at: Instant, settings: &Settings) {
        self.missed = 0;
        self.next = self.next.map(|next| next.max(at + settings.echo_interval));
    }

    /// After [`Pulse::Ask`], [`Self::asked`] is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, settings: &Settings) -> Pulse {
        if self.next.is_none_or(|next| now < next) {
            return Pulse::Rest;
        }
        if self.missed >= settings.echo_failures {
            self.stop();
            return Pulse::Dead;
        }
        Pulse::Ask
    }

    pub(crate) fn asked(&mut self, id: u8, now: Instant, settings: &Settings) {
        self.missed += 1;
        (self.pending, self.last_id) = (Some(now), id);
        self.next = Some(now + settings.echo_interval);
    }

    /// The round-trip time, if this answers the last question.
    pub(crate) fn answered(
        &mut self,
        id: u8,
        now: Instant,
        settings: &Settings,
    ) -> Option<Duration> {
        let since = self.pending.take_if(|_| self.last_id == id)?;
        self.saw_traffic(now, settings);
        Some(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn started() -> (Echo, Instant, Settings) {
        let settings = Settings {
            echo_interval: INTERVAL,
            echo_failures: 2,
            ..Settings::server("lns")
        };
        let mut echo = Echo::default();
        let now = crate::testing::epoch();
        echo.start(now, &settings);
        (echo, now, settings)
    }

    // conformance: 1661-43
    #[test]
    fn a_silent_peer_is_asked_and_then_given_up() {
        let (mut echo, mut now, settings) = started();
        for id in 1..=2 {
            assert_eq!(
                echo.handle_timeout(now + INTERVAL - Duration::from_millis(1), &settings),
                Pulse::Rest
            );
            now += INTERVAL;
            assert_eq!(echo.handle_timeout(now, &settings), Pulse::Ask);
            echo.asked(id, now, &settings);
        }
        assert_eq!(echo.handle_timeout(now + INTERVAL, &settings), Pulse::Dead);
        assert_eq!(echo.deadline(), None);
    }

    #[test]
    fn traffic_is_as_good_as_an_answer() {
        let (mut echo, now, settings) = started();
        for _ in 0..2 {
            echo.asked(1, now, &settings);
        }
        echo.saw_traffic(now + INTERVAL / 2, &settings);
        assert_eq!(echo.handle_timeout(now + INTERVAL, &settings), Pulse::Rest);
        assert_eq!(
            echo.handle_timeout(now + INTERVAL * 3 / 2, &settings),
            Pulse::Ask
        );
    }

    #[test]
    fn only_the_last_question_is_timed() {
        let (mut echo, now, settings) = started();
        echo.asked(1, now, &settings);
        echo.asked(2, now + INTERVAL, &settings);
        let later = now + INTERVAL + Duration::from_millis(7);
        assert_eq!(echo.answered(1, later, &settings), None);
        assert_eq!(
            echo.answered(2, later, &settings),
            Some(Duration::from_millis(7))
        );
        assert_eq!(echo.answered(2, later, &settings), None);
    }

    #[test]
    fn an_interval_of_zero_asks_never() {
        let settings = Settings {
            echo_interval: Duration::ZERO,
            ..Settings::server("lns")
        };
        let mut echo = Echo::default();
        echo.start(crate::testing::epoch(), &settings);
        echo.saw_traffic(crate::testing::epoch(), &settings);
        assert_eq!(echo.deadline(), None);
    }
}
