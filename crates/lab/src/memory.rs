//! `--target memory:CONFIG`: the gateway in this process, and no kernel between it and the load.
//!
//! ```text
//!   Driver ◄─ Cable ─► gateway ◄─ Cable ─► Network          one clock, one bell
//!   Fleet              its own threads     echoes, or whoever asked for it
//! ```
//!
//! The gateway is the product's: its configuration file, slow path, workers, on threads of their own.
//! The load has one thread, which serves both sides; whatever the gateway sends wakes it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use dataplane::ring::{Bell, Wake};
use gateway::memory::{Cable, Cables, Cycles, Gateway, Pulse};
use packet::checksum;
use packet::header::{Icmp, Ipv4};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zerocopy::{FromBytes, IntoBytes};

use crate::cli::Target;
use crate::driver::Driver;
use crate::fleet::{Arrival, Fleet, Outgoing};
use crate::wire;
use crate::wires::{self, Readiness, Waker, Wire};

/// Frames that are handed over together.
const BURST: usize = 64;
/// Frames taken from each worker in one turn.
const ROUND: usize = 256;
/// RFC 792.
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// A gateway in this process, with whatever it is to talk to.
#[derive(Debug)]
pub struct Stage {
    gateway: Gateway,
    cables: Cables,
    bell: Arc<Bell>,
    is_network_taken: bool,
}

impl Stage {
    /// Starts the gateway of a configuration file.
    pub fn open(file: &Path) -> Result<Self> {
        let bell = Arc::new(Bell::default());
        let (gateway, cables) = Gateway::start(file, &bell)?;
        Ok(Self {
            gateway,
            cables,
            bell,
            is_network_taken: false,
        })
    }

    /// The address of the gateway's first listener: whom the fleet dials.
    pub fn address(&self) -> Result<Ipv4Addr> {
        match self.gateway.listeners.first() {
            Some(IpAddr::V4(address)) => Ok(*address),
            Some(IpAddr::V6(_)) => bail!("the first [[listener]] has an IPv6 address"),
            None => bail!("the configuration has no [[listener]] to dial"),
        }
    }

    /// The network side, for who wants it; before [`Self::driver`], which otherwise answers every
    /// echo request there, whatever address it is for.
    pub fn network(&mut self) -> Network {
        self.is_network_taken = true;
        Network {
            cable: self.cables.network.clone(),
        }
    }

    /// A fleet that dials this gateway. A gateway has one.
    pub fn driver(&self, fleet: Fleet) -> io::Result<Driver> {
        Driver::over(fleet, |waker| Ok(self.wire(waker)))
    }

    /// The tunnel side alone, for who puts something between it and a driver.
    pub fn wire(&self, waker: &Waker) -> Box<dyn Wire> {
        self.bell.set_wake(Arc::new(Ring(Arc::clone(waker))));
        Box::new(Line {
            tunnel: self.cables.tunnel.clone(),
            network: Network {
                cable: self.cables.network.clone(),
            },
            answers: !self.is_network_taken,
            bell: Arc::clone(&self.bell),
            waker: Arc::clone(waker),
            pulse: self.gateway.pulse(),
            frames: Vec::with_capacity(BURST),
        })
    }

    /// What each worker of the gateway has done with its time so far.
    #[must_use]
    pub fn cycles(&self) -> Vec<Cycles> {
        self.gateway.cycles()
    }

    /// What the gateway discarded, and how often.
    #[must_use]
    pub fn discards(&self) -> Vec<(&'static str, u64)> {
        self.gateway.discards()
    }

    /// Ends the gateway in order; an error if a chunk of packet memory is missing.
    pub fn close(self) -> Result<()> {
        self.gateway.begin_to_end();
        let chunks = self.gateway.join()?;
        if chunks.found != chunks.given {
            bail!(
                "{} of the gateway's {} chunks are missing",
                chunks.given - chunks.found,
                chunks.given
            );
        }
        Ok(())
    }
}

/// A target's address, and the gateway itself if it is in this process.
pub fn reach(target: &Target) -> Result<(Ipv4Addr, Option<Stage>)> {
    match target {
        Target::Address(address) => Ok((*address, None)),
        Target::Memory(file) => {
            let stage = Stage::open(file)?;
            Ok((stage.address()?, Some(stage)))
        }
    }
}

/// Addresses for so many clients: shared address space (RFC 6598), which no pool should have.
#[must_use]
pub fn addresses(count: usize) -> Vec<Ipv4Addr> {
    /// 100.64.0.0/10.
    const FIRST: u32 = 0x6440_0001;
    (FIRST..).take(count).map(Ipv4Addr::from).collect()
}

/// So many ports that are not well known; they begin anew when there are no more.
#[must_use]
pub fn ports(count: usize) -> Vec<u16> {
    (20_000..60_000).cycle().take(count).collect()
}

/// So many others, for a NAT that forgets; an error if there are not enough.
pub fn spare_ports(count: usize) -> Result<Vec<u16>> {
    let ports: Vec<u16> = (5000..20_000).chain(60_000..=u16::MAX).collect();
    match ports.get(..count) {
        Some(ports) => Ok(ports.to_vec()),
        None => bail!(
            "the NAT has only {} ports for the {count} of its clients",
            ports.len()
        ),
    }
}

/// The network that subscribers talk to, as a host of any address sees it.
#[derive(Clone, Debug)]
pub struct Network {
    cable: Cable,
}

impl Network {
    /// Takes what has come, up to a bound; how many packets.
    pub fn receive(&self, take: &mut dyn FnMut(&[u8])) -> usize {
        let frames = self.cable.receive(ROUND);
        frames.map(|frame| take(&frame[Cable::PACKET..])).count()
    }

    /// Sends an IP packet to a subscriber; `false` if the cable is full. A gateway that sleeps does
    /// so until [`Self::flush`].
    #[must_use]
    pub fn send(&self, packet: &[u8]) -> bool {
        self.cable.send(packet)
    }

    /// Wakes the gateway for what was sent.
    pub fn flush(&self) {
        self.cable.ring();
    }

    /// Answers every echo request, and takes everything else without a word.
    pub fn answer(&self) {
        let mut is_answered = false;
        self.receive(&mut |packet| {
            if let Some(answer) = echo_reply(packet) {
                // A full cable loses it, as a full link would.
                is_answered |= self.send(&answer);
            }
        });
        if is_answered {
            self.flush();
        }
    }
}

/// What a host answers to an echo request that was sent to it.
#[must_use]
pub fn echo_reply(packet: &[u8]) -> Option<Vec<u8>> {
    let (from, to, payload) = wire::ip_payload(packet)?;
    let (header, data) = Icmp::read_from_prefix(&packet[payload]).ok()?;
    if packet[wire::PROTOCOL] != Ipv4::ICMP || header.kind != ECHO_REQUEST {
        return None;
    }
    let mut answer = vec![0; Ipv4::LEN];
    let header = Icmp {
        kind: ECHO_REPLY,
        checksum: 0.into(),
        ..header
    };
    answer.extend_from_slice(header.as_bytes());
    answer.extend_from_slice(data);
    let sum = checksum::checksum(&answer[Ipv4::LEN..]).to_be_bytes();
    answer[Ipv4::LEN + 2..Ipv4::LEN + 4].copy_from_slice(&sum);
    wire::finish_ip(&mut answer, to, from, Ipv4::ICMP);
    Some(answer)
}

/// The tunnel side of a gateway in memory, as a wire.
struct Line {
    tunnel: Cable,
    network: Network,
    /// Whether the echo requests at the network side are ours to answer.
    answers: bool,
    bell: Arc<Bell>,
    waker: Waker,
    pulse: Pulse,
    frames: Vec<Vec<u8>>,
}

impl Line {
    /// With the network side, which is served by the same thread, whoever serves it.
    fn is_ready(&self) -> bool {
        self.tunnel.is_ready() || self.network.cable.is_ready()
    }
}

impl Wire for Line {
    fn wait(&mut self, timeout: Duration) -> io::Result<Readiness> {
        if !self.pulse.is_beating() {
            return Err(io::Error::other(
                "the gateway has ended by itself: what it said last stands above",
            ));
        }
        self.bell.arm();
        // Whatever came before the bell was armed rang it in vain: look once more.
        let timeout = match self.is_ready() {
            true => Duration::ZERO,
            false => timeout,
        };
        let timeout = Timespec::try_from(timeout).ok();
        let mut waker = [PollFd::new(&*self.waker, PollFlags::IN)];
        let woken = match poll(&mut waker, timeout.as_ref()) {
            Ok(count) => count > 0,
            Err(rustix::io::Errno::INTR) => false,
            Err(error) => return Err(error.into()),
        };
        self.bell.disarm();
        Ok(Readiness { is_woken: woken })
    }

    fn receive(&mut self, take: &mut dyn FnMut(&mut [Arrival<'_>])) -> io::Result<usize> {
        if self.answers {
            self.network.answer();
        }
        let mut unreadable = 0;
        let mut waiting = self.tunnel.receive(ROUND);
        loop {
            self.frames.clear();
            self.frames.extend(waiting.by_ref().take(BURST));
            if self.frames.is_empty() {
                return Ok(unreadable);
            }
            let mut arrivals: Vec<Arrival<'_>> = self
                .frames
                .iter_mut()
                .filter_map(|f| wires::arrival(f.get_mut(Cable::PACKET..)?))
                .collect();
            let read = arrivals.len();
            take(&mut arrivals);
            unreadable += self.frames.len() - read;
        }
    }

    fn send(&mut self, packets: &[Outgoing]) -> io::Result<usize> {
        let taken = packets
            .iter()
            .take_while(|outgoing| self.tunnel.send(&outgoing.packet))
            .count();
        self.tunnel.ring();
        Ok(taken)
    }
}

/// Wakes the driver by the descriptor on which it waits.
struct Ring(Waker);

impl Wake for Ring {
    fn wake(&self) {
        // It can only fail when it has been rung 2^64 times unheard.
        let _is_rung = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("tunnel", &self.tunnel)
            .finish()
    }
}

#[cfg(test)]
mod tests;
