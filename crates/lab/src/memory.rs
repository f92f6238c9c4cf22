//! `--target memory:CONFIG`: the gateway in this process, and no kernel between it and the load.
//!
//! ```text
//!   Driver ◄─ Cable ─► gateway ◄─ Cable ─► Network          one clock, one bell
//!   Fleet              its own threads     echoes, or whoever asked for it
//! ```
//!
//! The gateway is the product's: its configuration file, slow path, workers, on threads of their own.
//! The load has one thread, which serves both sides; whatever the gateway sends wakes it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use dataplane::ring::{Bell, Wake};
use gateway::memory::{Cable, Cycles, Gateway, Pulse, Watch};
use ipnet::Ipv4Net;
use packet::checksum;
use packet::header::{Icmp, Ipv4};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zerocopy::{FromBytes, IntoBytes};

use crate::cli::Target;
use crate::driver::Driver;
use crate::fleet::{Arrival, Fleet, Outgoing};
use crate::wire;
use crate::wires::{self, Readiness, Waker, Wire};

/// Frames taken from each worker in one turn.
const ROUND: usize = 256;
/// Turns that find something, and do not ask the kernel whether the waker was rung, in a row.
const ASK_EVERY: u32 = 16;
/// RFC 792.
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// A gateway in this process, with whatever it is to talk to.
#[derive(Debug)]
pub struct Stage {
    gateway: Gateway,
    /// Until somebody has it.
    tunnel: Option<Cable>,
    /// Likewise.
    network: Option<Cable>,
    /// Of what comes by the network side, whoever takes it.
    behind: Watch,
    bell: Arc<Bell>,
}

impl Stage {
    /// Starts the gateway of a configuration file.
    pub fn open(file: &Path) -> Result<Self> {
        let bell = Arc::new(Bell::default());
        let (gateway, cables) = Gateway::start(file, &bell)?;
        gateway.peers_are_at(CLIENTS.into());
        Ok(Self {
            gateway,
            behind: cables.network.watch(),
            tunnel: Some(cables.tunnel),
            network: Some(cables.network),
            bell,
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
    ///
    /// # Panics
    /// If somebody has it already.
    pub fn network(&mut self) -> Network {
        let cable = self.network.take();
        let cable = cable.expect("a gateway has one network side");
        Network { cable }
    }

    /// A fleet that dials this gateway. A gateway has one.
    pub fn driver(&mut self, fleet: Fleet) -> io::Result<Driver> {
        let places = fleet.places().collect();
        Driver::over(fleet, |waker| Ok(self.wire(&places, waker)))
    }

    /// The tunnel side alone, for who puts something between it and a driver; clients are at these
    /// places.
    ///
    /// # Panics
    /// If somebody has it already.
    pub fn wire(&mut self, places: &BTreeSet<SocketAddrV4>, waker: &Waker) -> Box<dyn Wire> {
        let addresses: BTreeSet<Ipv4Addr> = places.iter().map(|place| *place.ip()).collect();
        for own in addresses.into_iter().filter(|own| !CLIENTS.contains(own)) {
            self.gateway.peers_are_at(IpAddr::V4(own).into());
        }
        self.bell.set_wake(Arc::new(Ring(Arc::clone(waker))));
        let tunnel = self.tunnel.take();
        Box::new(Line {
            tunnel: tunnel.expect("a gateway has one load"),
            network: self.network.take().map(|cable| Network { cable }),
            behind: self.behind.clone(),
            bell: Arc::clone(&self.bell),
            waker: Arc::clone(waker),
            pulse: self.gateway.pulse(),
            ready_in_a_row: 0,
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

/// The addresses of clients that were given none: shared address space (RFC 6598), which no pool
/// should have.
const CLIENTS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// So many of them.
#[must_use]
pub fn addresses(count: usize) -> Vec<Ipv4Addr> {
    CLIENTS.hosts().take(count).collect()
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
#[derive(Debug)]
pub struct Network {
    cable: Cable,
}

impl Network {
    /// Takes what has come, up to a bound.
    pub fn receive(&mut self, take: &mut dyn FnMut(&[u8])) {
        self.cable.receive(ROUND, &mut |frames| {
            frames.iter_mut().for_each(|f| take(&f[Cable::PACKET..]));
        });
    }

    /// Sends an IP packet to a subscriber; `false` if the cable is full. A gateway that sleeps does
    /// so until [`Self::flush`].
    #[must_use]
    pub fn send(&mut self, packet: &[u8]) -> bool {
        self.cable.send(packet)
    }

    /// Wakes the gateway for what was sent.
    pub fn flush(&mut self) {
        self.cable.ring();
    }

    /// Answers every echo request, and takes everything else without a word.
    pub fn answer(&mut self) {
        let mut answers = Vec::new();
        self.receive(&mut |packet| answers.extend(echo_reply(packet)));
        for answer in &answers {
            // A full cable loses it, as a full link would.
            let _ = self.send(answer);
        }
        if !answers.is_empty() {
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
    /// If the echo requests at the network side are ours to answer.
    network: Option<Network>,
    behind: Watch,
    bell: Arc<Bell>,
    waker: Waker,
    pulse: Pulse,
    ready_in_a_row: u32,
}

impl Line {
    /// With the network side, which is served by the same thread, whoever serves it.
    fn is_ready(&self) -> bool {
        self.tunnel.is_ready() || self.behind.is_ready()
    }
}

impl Wire for Line {
    fn wait(&mut self, timeout: Duration) -> io::Result<Readiness> {
        if !self.pulse.is_beating() {
            return Err(io::Error::other(
                "the gateway has ended by itself: what it said last stands above",
            ));
        }
        // Who finds something every time asks the kernel now and then only.
        self.ready_in_a_row = match self.is_ready() {
            true => (self.ready_in_a_row + 1) % ASK_EVERY,
            false => 0,
        };
        if self.ready_in_a_row > 0 {
            return Ok(Readiness::default());
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
        if let Some(network) = &mut self.network {
            network.answer();
        }
        let mut unreadable = 0;
        self.tunnel.receive(ROUND, &mut |frames| {
            let count = frames.len();
            let mut arrivals: Vec<Arrival<'_>> = frames
                .iter_mut()
                .filter_map(|frame| wires::arrival(frame.get_mut(Cable::PACKET..)?))
                .collect();
            unreadable += count - arrivals.len();
            take(&mut arrivals);
        });
        Ok(unreadable)
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
