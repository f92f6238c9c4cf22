//! Saying goodbye: sessions and tunnels first, while their SAs still carry the message, then the
//! SAs; and after that a while of answering those who did not hear.

use std::time::Instant;

use dataplane::id::{PathId, SessionSlot};
use l2tp::TunnelEnd;
use ppp::DownReason;

use crate::timers::Timer;
use crate::tunnel::TunnelKey;
use crate::{Control, Output, SHUTDOWN_LIMIT_MAX};

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shutdown {
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
            self.shutdown = Some(Shutdown::Tunnels);
            self.wait_for_goodbyes(now);
        }
        if hurry {
            while self.shutdown != Some(Shutdown::Finished) {
                self.next_goodbye(now);
            }
        } else if self.peers.slots.len() == 0 {
            self.finish();
        }
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

    /// Two fifths of the time for the tunnels, two fifths for the SAs: the rest belongs to whoever
    /// waits for the process.
    fn wait_for_goodbyes(&mut self, now: Instant) {
        let part = self.settings.shutdown_limit.min(SHUTDOWN_LIMIT_MAX) * 2 / 5;
        self.timers
            .set(Timer::Shutdown, Some((now + part, "shutdown")));
    }

    /// The next step.
    pub(crate) fn next_goodbye(&mut self, now: Instant) {
        match self.shutdown {
            Some(Shutdown::Tunnels) => {
                let peers: Vec<PathId> = self
                    .peers
                    .slots
                    .iter()
                    .map(|(slot, _)| PathId(slot))
                    .collect();
                for path in peers {
                    self.end_peer(now, path, "the gateway shuts down");
                }
                self.shutdown = Some(Shutdown::Sas);
                self.wait_for_goodbyes(now);
            }
            Some(Shutdown::Sas) => self.finish(),
            Some(Shutdown::Finished) | None => {}
        }
    }

    fn finish(&mut self) {
        self.timers.set(Timer::Shutdown, None);
        if self.shutdown.replace(Shutdown::Finished) != Some(Shutdown::Finished) {
            self.outbox.push(Output::Finished);
        }
    }
}
