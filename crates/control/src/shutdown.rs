//! Saying goodbye: sessions and tunnels first, while their SAs still carry the message, then the
//! SAs. Each step is over when everybody has acknowledged it; until then retransmissions go out and
//! are answered, but not for long: one that is silent does not hold up the end.

use std::time::{Duration, Instant};

use dataplane::id::{PathId, SessionSlot};
use l2tp::TunnelEnd;
use ppp::DownReason;

use crate::timers::Timer;
use crate::tunnel::TunnelKey;
use crate::{Control, Output, SHUTDOWN_LIMIT_MAX};

/// Between two looks at who has heard.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A shutdown under way.
#[derive(Debug)]
pub(crate) struct Shutdown {
    step: Step,
    /// When the next step is taken, whoever has not heard.
    until: Instant,
    /// Tunnels that had not acknowledged everything when last looked at.
    unheard: Vec<TunnelKey>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// LCP Terminate-Request, CDN and StopCCN are out.
    Tunnels,
    /// DELETE is out too.
    Sas,
    /// Everybody has been told.
    Finished,
}

impl Control {
    pub(crate) fn shut_down(&mut self, now: Instant, hurry: bool) {
        if self.shutdown.is_none() {
            self.close_tunnels(now);
            self.shutdown = Some(Shutdown {
                step: Step::Tunnels,
                // Long enough for one retransmission, after the second of RFC 2661 §5.8.
                until: now + self.shutdown_limit() * 3 / 5,
                unheard: self.tunnels.by_key.keys().copied().collect(),
            });
            self.look_again(now);
        }
        if hurry {
            while self.is_saying_goodbye() {
                self.next_goodbye(now);
            }
        } else if self.peers.slots.len() == 0 {
            self.finish();
        }
    }

    fn shutdown_limit(&self) -> Duration {
        self.settings.shutdown_limit.min(SHUTDOWN_LIMIT_MAX)
    }

    fn is_saying_goodbye(&self) -> bool {
        let shutdown = self.shutdown.as_ref();
        shutdown.is_some_and(|shutdown| shutdown.step != Step::Finished)
    }

    fn close_tunnels(&mut self, now: Instant) {
        let sessions: Vec<SessionSlot> = self
            .subscribers
            .iter()
            .map(|(slot, _)| SessionSlot(slot))
            .collect();
        for slot in sessions {
            self.terminate(now, slot, DownReason::Shutdown, "the gateway shuts down");
        }
        let tunnels: Vec<TunnelKey> = self.tunnels.by_key.keys().copied().collect();
        for key in tunnels {
            self.with_tunnel(now, key, |tunnel, _, out| {
                tunnel.close(now, TunnelEnd::ShuttingDown, out);
            });
        }
    }

    fn look_again(&mut self, now: Instant) {
        let until = self.shutdown.as_ref().map(|shutdown| shutdown.until);
        let look = until.map(|until| (until.min(now + LOOK_EVERY), "shutdown"));
        self.timers.set(Timer::Shutdown, look);
    }

    /// Who has heard by now?
    pub(crate) fn shutdown_timeout(&mut self, now: Instant) {
        let Some(shutdown) = &mut self.shutdown else {
            return;
        };
        let tunnels = &self.tunnels.by_key;
        let has_heard = |key: &TunnelKey| {
            let tunnel = tunnels.get(key);
            tunnel.is_none_or(|tunnel| tunnel.machine.is_acknowledged())
        };
        while shutdown.unheard.pop_if(|key| has_heard(key)).is_some() {}
        match shutdown.unheard.is_empty() || shutdown.until <= now {
            true => self.next_goodbye(now),
            false => self.look_again(now),
        }
    }

    /// The next step. What is left of the limit after the last one belongs to whoever waits for the
    /// process.
    fn next_goodbye(&mut self, now: Instant) {
        let part = self.shutdown_limit() / 5;
        let Some(shutdown) = &mut self.shutdown else {
            return;
        };
        match shutdown.step {
            Step::Tunnels => {
                (shutdown.step, shutdown.until) = (Step::Sas, now + part);
                let peers = self.peers.slots.iter();
                let peers: Vec<PathId> = peers.map(|(slot, _)| PathId(slot)).collect();
                for path in peers {
                    self.end_peer(now, path, "the gateway shuts down");
                }
                self.look_again(now);
            }
            Step::Sas => self.finish(),
            Step::Finished => {}
        }
    }

    fn finish(&mut self) {
        self.timers.set(Timer::Shutdown, None);
        if let Some(shutdown) = &mut self.shutdown
            && shutdown.step != Step::Finished
        {
            shutdown.step = Step::Finished;
            self.outbox.push(Output::Finished);
        }
    }
}
