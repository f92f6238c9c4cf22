//! What a tunnel does when time passes: retransmissions, HELLO, set-up limits, and the last cycle after the end.

use std::time::Instant;

use crypto::Random;

use super::table::Event;
use super::{End, Tunnel};
use crate::channel::Patience;
use crate::message;
use crate::{Output, TunnelEnd};

impl Tunnel {
    /// To be called when the time of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Instant, _random: &mut Random, out: &mut Vec<Output>) {
        match self.end {
            End::Open => self.check_deadlines(now, out),
            End::Closing(until) if now >= until => self.end = End::Finished,
            End::Closing(_) => {}
            End::Finished => return,
        }
        if self.end == End::Finished {
            self.channel.abandon();
            return;
        }
        if self.channel.handle_timeout(now, out) == Patience::Exhausted {
            self.lose_patience(now, out);
        }
        if self.hello_at().is_some_and(|at| now >= at) {
            self.hello_since = now;
            self.channel.send(message::hello());
        }
        self.channel.flush(now, out);
    }

    /// When `handle_timeout` is next wanted, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let retransmission = self.channel.poll_timeout().map(|at| (at, "retransmission"));
        let own = match self.end {
            End::Finished => return None,
            End::Closing(until) => [Some((until, "last repeats of a closed tunnel")), None, None],
            End::Open => {
                let limit = self.set_up.as_ref().map(|set_up| set_up.deadline);
                [
                    limit.map(|at| (at, "tunnel set-up limit")),
                    self.hello_at().map(|at| (at, "hello")),
                    self.calls
                        .first_deadline()
                        .map(|at| (at, "call set-up limit")),
                ]
            }
        };
        own.into_iter()
            .chain([retransmission])
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    fn check_deadlines(&mut self, now: Instant, out: &mut Vec<Output>) {
        let set_up = self.set_up.as_ref();
        if set_up.is_some_and(|set_up| now >= set_up.deadline) {
            self.drive(now, Event::AdminClose, TunnelEnd::SetupTimedOut, out);
            return;
        }
        self.expire_calls(now, out);
    }

    /// All retransmissions were in vain.
    fn lose_patience(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.end != End::Open {
            self.channel.abandon();
            self.end = End::Finished;
            return;
        }
        let is_hello = self.channel.oldest().is_some_and(message::is_hello);
        if is_hello && self.heard_at > self.hello_since {
            // Departs from RFC 2661 §5.5: an undelivered HELLO doesn't end the tunnel of a peer that is heard,
            // because phones asleep send data and acknowledge no HELLO.
            self.hello_since = now;
            self.channel.keep_trying(now, out);
            return;
        }
        self.drive(now, Event::AdminClose, TunnelEnd::PeerSilent, out);
    }

    /// RFC 2661 §6.5: after a time without any message from the peer, and never while one of ours is unacknowledged.
    fn hello_at(&self) -> Option<Instant> {
        let is_due = self.end == End::Open && self.is_established() && self.channel.is_idle();
        self.settings
            .hello_interval
            .filter(|_| is_due)
            .map(|interval| self.heard_at + interval)
    }
}
