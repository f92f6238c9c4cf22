//! A wire with a worse path in front of it.

use std::io;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crypto::Random;
use serde::Serialize;

use super::{Fates, Impairment, Lane, Nat};
use crate::clock;
use crate::fleet::{Arrival, Outgoing};
use crate::wires::{Readiness, Wire};

/// Arrivals that are handed over at once.
const BURST: usize = 64;
/// Packets that wait for a wire that is full.
const READY_MAX: usize = 4 * BURST;
/// Until such a wire is tried again.
const RETRY: Duration = Duration::from_millis(1);

/// What a path did to the packets of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// To the gateway.
    pub up: Fates,
    /// From the gateway.
    pub down: Fates,
    /// Times the NAT forgot its mappings.
    pub rebindings: u64,
    /// Packets that came to a port that nobody was behind any more.
    pub forgotten: u64,
}

/// An arrival that is on its way.
#[derive(Clone)]
struct Held {
    from: SocketAddrV4,
    to: SocketAddrV4,
    bytes: Vec<u8>,
}

/// Another wire, behind an impaired path.
pub struct ImpairedWire {
    inner: Box<dyn Wire>,
    up: Lane<Vec<u8>>,
    down: Lane<Held>,
    nat: Option<Nat>,
    /// Out of the lane, and not taken by the wire yet.
    ready: Vec<Outgoing>,
    forgotten: u64,
    tally: Arc<Mutex<Tally>>,
}

impl ImpairedWire {
    /// The path to and from a wire, and a NAT in front of it.
    #[must_use]
    pub fn new(
        inner: Box<dyn Wire>,
        [up, down]: [Impairment; 2],
        nat: Option<Nat>,
        dice: &mut Random,
    ) -> Self {
        Self {
            inner,
            up: Lane::new(up, dice.fork()),
            down: Lane::new(down, dice.fork()),
            nat,
            ready: Vec::new(),
            forgotten: 0,
            tally: Arc::default(),
        }
    }

    /// What the path does, for whoever wants to look while it is in use.
    #[must_use]
    pub fn tally(&self) -> Arc<Mutex<Tally>> {
        Arc::clone(&self.tally)
    }

    /// Sends what has come out of the lane. What the wire refuses is lost.
    fn flush(&mut self) -> io::Result<()> {
        let now = clock::now();
        // What the wire does not take fills the lane, which is bounded.
        while self.ready.len() < READY_MAX
            && let Some(mut packet) = self.up.take(now)
        {
            if let Some(nat) = &self.nat {
                nat.translate(now, &mut packet);
            }
            self.ready.push(Outgoing::finished(packet));
        }
        while !self.ready.is_empty() {
            match self.inner.send(&self.ready) {
                Ok(0) => break,
                Ok(count) => drop(self.ready.drain(..count)),
                Err(error) => {
                    self.ready.remove(0);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn tell(&self) {
        let tally = Tally {
            up: self.up.fates(),
            down: self.down.fates(),
            rebindings: self
                .nat
                .as_ref()
                .map_or(0, |nat| nat.rebindings(clock::now())),
            forgotten: self.forgotten,
        };
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner) = tally;
    }
}

impl Wire for ImpairedWire {
    fn wait(&mut self, timeout: Duration) -> io::Result<Readiness> {
        let next = self
            .up
            .poll_timeout()
            .into_iter()
            .chain(self.down.poll_timeout())
            .min();
        let patience = match self.ready.is_empty() {
            true => next.map_or(timeout, |at| at.saturating_duration_since(clock::now())),
            false => RETRY,
        };
        self.inner.wait(patience.min(timeout))
    }

    fn receive(&mut self, take: &mut dyn FnMut(&mut [Arrival<'_>])) -> io::Result<usize> {
        let (down, nat, forgotten) = (&mut self.down, &self.nat, &mut self.forgotten);
        let unreadable = self.inner.receive(&mut |arrivals| {
            let now = clock::now();
            for arrival in arrivals {
                let port = arrival.to.port();
                let Some(port) = nat.as_ref().map_or(Some(port), |nat| nat.back(now, port)) else {
                    *forgotten += 1;
                    continue;
                };
                let held = Held {
                    from: arrival.from,
                    to: SocketAddrV4::new(*arrival.to.ip(), port),
                    bytes: arrival.bytes.to_vec(),
                };
                down.put(now, held);
            }
        })?;
        let now = clock::now();
        loop {
            let mut held: Vec<Held> = std::iter::from_fn(|| self.down.take(now))
                .take(BURST)
                .collect();
            if held.is_empty() {
                break;
            }
            let mut arrivals: Vec<Arrival<'_>> = held
                .iter_mut()
                .map(|held| Arrival {
                    from: held.from,
                    to: held.to,
                    bytes: &mut held.bytes,
                })
                .collect();
            take(&mut arrivals);
        }
        self.flush()?;
        self.tell();
        Ok(unreadable)
    }

    fn send(&mut self, packets: &[Outgoing]) -> io::Result<usize> {
        let now = clock::now();
        for outgoing in packets {
            self.up.put(now, outgoing.packet.clone());
        }
        self.flush()?;
        Ok(packets.len())
    }

    fn overflowed(&self) -> io::Result<u64> {
        self.inner.overflowed()
    }
}
