//! Runs a fleet: reads the clock, waits, receives, computes, sends.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crypto::dh::Outcome;
use rustix::event::{EventfdFlags, eventfd};

use crate::cli::Io;
use crate::clock;
use crate::discard::Discard;
use crate::fleet::{ClientId, Errand, Fleet};
use crate::wires::{self, Waker, Wire};

/// Deadlines served in one turn.
const DEADLINES: usize = 64;
/// The longest wait: nothing depends on it, but a signal is then noticed soon.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// Until a wire that was full is tried again.
const RETRY: Duration = Duration::from_millis(1);

/// What goes through the tunnels.
pub trait Traffic {
    /// A packet came for a subscriber.
    fn handle_packet(&mut self, now: Instant, to: ClientId, packet: &[u8]);
    /// Loads the packets that are due. While the wire is full it is not called.
    fn load(&mut self, now: Instant, fleet: &mut Fleet);
    /// When something is next due.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// No traffic.
#[derive(Debug)]
pub struct Silence;

impl Traffic for Silence {
    fn handle_packet(&mut self, _: Instant, _: ClientId, _: &[u8]) {}
    fn load(&mut self, _: Instant, _: &mut Fleet) {}
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// A fleet with everything it needs to live.
pub struct Driver {
    /// The clients.
    pub fleet: Fleet,
    wire: Box<dyn Wire>,
    pool: Pool,
    /// Whether the wire did not take the whole outbox.
    is_full: bool,
    /// What was last said about a packet that could not be sent.
    refused: Option<String>,
}

impl Driver {
    /// A fleet on the sockets that its clients need.
    pub fn new(fleet: Fleet) -> io::Result<Self> {
        Self::on(Io::Sockets, fleet)
    }

    /// A fleet on sockets, or past the kernel on the interface that has its addresses.
    pub fn on(io: Io, fleet: Fleet) -> io::Result<Self> {
        let (places, server) = (fleet.places().collect(), fleet.server());
        Self::over(fleet, |waker| wires::open(io, &places, server, waker))
    }

    /// A fleet on any wire, which `open` opens; ringing the waker ends its waits.
    pub fn over(
        fleet: Fleet,
        open: impl FnOnce(&Waker) -> io::Result<Box<dyn Wire>>,
    ) -> io::Result<Self> {
        let pool = Pool::start()?;
        let wire = open(&pool.waker)?;
        Ok(Self {
            fleet,
            wire,
            pool,
            is_full: false,
            refused: None,
        })
    }

    /// One turn: waits, but not beyond `until`, and does what there is to do.
    pub fn turn(&mut self, traffic: &mut dyn Traffic, until: Instant) -> io::Result<()> {
        let load = traffic.poll_timeout().filter(|_| !self.is_full);
        let deadlines = [self.fleet.poll_timeout(), load];
        let next = deadlines.into_iter().flatten().fold(until, Instant::min);
        let longest = if self.is_full { RETRY } else { WAIT_MAX };
        let patience = next.saturating_duration_since(clock::now()).min(longest);
        let readiness = self.wire.wait(patience)?;
        let fleet = &mut self.fleet;
        let unreadable = self.wire.receive(&mut |arrivals| {
            let now = clock::now();
            fleet.receive(now, arrivals, &mut |to, packet| {
                traffic.handle_packet(now, to, packet)
            });
        })?;
        for _ in 0..unreadable {
            self.fleet.count(Discard::Unreadable);
        }
        if readiness.is_woken {
            self.take_results();
        }
        let now = clock::now();
        self.fleet.handle_timeout(now, DEADLINES);
        if self.is_full {
            self.send();
        }
        // What the wire does not take would pile up here: the traffic waits for it.
        if !self.is_full {
            traffic.load(now, &mut self.fleet);
        }
        self.pool.give(self.fleet.take_errands());
        self.send();
        Ok(())
    }

    /// Packets that came and for which the wire had no room, where it counts them.
    pub fn overflowed(&self) -> io::Result<u64> {
        self.wire.overflowed()
    }

    /// What was last said about a packet that could not be sent.
    #[must_use]
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    fn take_results(&mut self) {
        for (id, token, outcome) in self.pool.take() {
            self.fleet.handle_computed(clock::now(), id, token, outcome);
        }
    }

    /// Sends the outbox. A packet that the wire refuses is dropped; when it takes no more, the rest
    /// waits for the next turn.
    fn send(&mut self) {
        loop {
            let outbox = self.fleet.outbox();
            self.is_full = !outbox.is_empty();
            if !self.is_full {
                return;
            }
            match self.wire.send(outbox) {
                Ok(0) => return,
                Ok(count) => self.fleet.sent(count),
                Err(error) => {
                    self.refused = Some(error.to_string());
                    self.fleet.sent(1);
                    self.fleet.count(Discard::NotSent);
                }
            }
        }
    }
}

/// A thread that does public-key work, so that packets need not wait for it.
struct Pool {
    errands: Sender<Errand>,
    results: Receiver<(ClientId, u64, Outcome)>,
    waker: Waker,
}

impl Pool {
    fn start() -> io::Result<Self> {
        let waker = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let (errands, work) = channel::<Errand>();
        let (done, results) = channel();
        let bell = Arc::clone(&waker);
        thread::Builder::new()
            .name("compute".into())
            .spawn(move || {
                for Errand { client, token, job } in work {
                    if done.send((client, token, job.run())).is_err() {
                        return;
                    }
                    // It can only fail when it has been rung 2^64 times unheard.
                    let _is_rung = rustix::io::write(&bell, &1u64.to_ne_bytes());
                }
            })?;
        Ok(Self {
            errands,
            results,
            waker,
        })
    }

    fn give(&self, errands: Vec<Errand>) {
        for errand in errands {
            self.errands
                .send(errand)
                .expect("the thread ends when this end is dropped");
        }
    }

    fn take(&self) -> Vec<(ClientId, u64, Outcome)> {
        let mut count = [0; 8];
        let _how_often_rung = rustix::io::read(&*self.waker, &mut count);
        self.results.try_iter().collect()
    }
}

#[cfg(test)]
mod tests;
