//! A gateway inside another program, with memory where the network would be: its own configuration,
//! slow path, workers and threads, and no kernel between it and whoever loads it.
//!
//! ```text
//!   load ──► Cables.tunnel ──► worker ──► Cables.network ──► load
//!        ◄──                   │    ▲                    ◄──
//!                              └────┴ slow path, compute
//! ```
//!
//! The configuration is one of `adit run`; `io`, `[[port]]`, `tun` and `control` are not looked at.
//! Each cable ends at one router: that of the tunnel side has all peers behind it, whoever they are
//! said to be, and that of the network side everybody else who is no subscriber.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use crossbeam::channel::bounded;
use dataplane::change::{Adjacency, AdjacencyId, RouteTarget, SharedChange};
use dataplane::id::WorkerId;
use dataplane::memory::{self, FarEnd, MemoryPort};
use dataplane::ring::Bell;
use dataplane::wire::Interface;
use dataplane::{Discard, Shared};
use ipnet::{IpNet, Ipv4Net};
use packet::header::{Ethernet, Ipv4, Udp};
use zerocopy::byteorder::network_endian::U16;

pub use crate::assembly::Chunks;
use crate::assembly::{Around, Gateway as Assembled, Inside, Orders, packet_memory, tun_mtu};
use crate::config::{Config, counted};
use crate::log;
use crate::port::{AnyPort, Memory, SOCKETS, TUN};
use crate::signals::{Order, Signals};
use crate::wake::Alarm;
pub use dataplane::memory::Frames;

/// Frames that each direction of a cable holds: as many as a large ring of a network card.
pub const CABLE: usize = 4096;
/// The MAC addresses of the cables' ends; nobody looks at them.
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
const LOAD: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The routers at the ends of the cables.
const PEERS: AdjacencyId = AdjacencyId(0);
const OTHERS: AdjacencyId = AdjacencyId(1);
/// Octets of the header of Ethernet.
const ETHERNET: usize = size_of::<Ethernet>();

/// A gateway that serves.
pub struct Gateway {
    thread: JoinHandle<Result<Chunks>>,
    pulse: Weak<()>,
    order: Order,
    shared: Arc<Shared>,
    workers: u8,
    /// Where it serves, in the order of its configuration.
    pub listeners: Vec<IpAddr>,
}

/// The two sides of a gateway.
pub struct Cables {
    /// Peers: IKE, ESP, L2TP.
    pub tunnel: Cable,
    /// The network that subscribers talk to.
    pub network: Cable,
}

/// The far end of one port of each worker.
pub struct Cable {
    /// With what wakes the worker.
    ends: Vec<(FarEnd, Arc<Bell>)>,
}

/// Tells, from anywhere, whether something waits at the end of a cable.
#[derive(Clone)]
pub struct Watch(Vec<memory::Watch>);

/// What a worker has done with its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cycles {
    /// In turns that had work.
    pub busy: u64,
    /// In all.
    pub all: u64,
}

/// Tells whether a gateway still serves, which it does until it is told to end or is broken.
#[derive(Clone, Debug)]
pub struct Pulse(Weak<()>);

impl Pulse {
    /// Whether it does.
    #[must_use]
    pub fn is_beating(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Gateway {
    /// Starts the gateway of a configuration file. It rings `bell` when it has put something into
    /// either cable.
    pub fn start(file: &Path, bell: &Arc<Bell>) -> Result<(Self, Cables)> {
        let config = Config::load(file).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            let count = counted(faults.len(), "fault");
            anyhow!("{count} in {}:\n{}", file.display(), lines.join("\n"))
        })?;
        let quiet = log::quiet(&config.log);
        log::start(&quiet);
        let (signals, order) = Signals::ordered()?;
        let workers = config.workers.count;
        let listeners = config.control.listeners.iter().map(|l| l.address).collect();
        let (told, ready) = sync_channel(1);
        let bell = Arc::clone(bell);
        let heart = Arc::new(());
        let pulse = Arc::downgrade(&heart);
        let thread = thread::Builder::new().name("slow-path".into());
        let thread = thread.spawn(move || {
            let _until_it_ends_or_panics = heart;
            let started = assemble(&config, signals, &bell);
            let (gateway, ready) = match started {
                Ok((gateway, shared, cables)) => (Some(gateway), Ok((shared, cables))),
                Err(error) => (None, Err(error)),
            };
            let _caller_waits = told.send(ready);
            gateway.map_or(Ok(Chunks { given: 0, found: 0 }), Assembled::serve)
        })?;
        let (shared, cables) = ready
            .recv()
            .context("the gateway panicked at its start")??;
        let gateway = Self {
            thread,
            pulse,
            order,
            shared,
            workers,
            listeners,
        };
        Ok((gateway, cables))
    }

    /// Peers have these addresses: what is for them leaves by the tunnel cable.
    pub fn peers_are_at(&self, prefix: IpNet) {
        self.shared.apply(route(prefix, PEERS));
    }

    /// For whoever depends on it.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        Pulse(Weak::clone(&self.pulse))
    }

    /// What each worker has done with its time so far.
    #[must_use]
    pub fn cycles(&self) -> Vec<Cycles> {
        let of = |worker| {
            let counters = self.shared.worker(WorkerId(worker));
            Cycles {
                busy: counters.busy_cycles.value(),
                all: counters.cycles.value(),
            }
        };
        (0..self.workers).map(of).collect()
    }

    /// Frames that were discarded through somebody's fault, why, and how many.
    #[must_use]
    pub fn discards(&self) -> Vec<(&'static str, u64)> {
        let count = |reason: &Discard| {
            let workers = (0..self.workers).map(WorkerId);
            let frames = workers.map(|id| self.shared.worker(id).discarded(*reason));
            (reason.text(), frames.sum())
        };
        let faults = Discard::ALL.iter().filter(|reason| reason.is_fault());
        faults
            .map(count)
            .filter(|(_, frames)| *frames > 0)
            .collect()
    }

    /// Tells the gateway to say goodbye to everybody and end.
    pub fn begin_to_end(&self) {
        self.order.give();
    }

    /// Waits until it has ended; what has become of its chunks.
    pub fn join(self) -> Result<Chunks> {
        let outcome = self.thread.join();
        outcome.map_err(|_| anyhow!("the gateway's slow path panicked"))?
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gateway({})", counted(self.workers.into(), "worker"))
    }
}

impl Cable {
    /// Puts an IP packet into the cable; `false` if that is full. The worker may sleep on until
    /// [`Self::ring`].
    #[must_use]
    pub fn send(&mut self, packet: &[u8]) -> bool {
        const HEADER: [u8; ETHERNET] = zerocopy::transmute!(Ethernet {
            destination: GATEWAY,
            source: LOAD,
            ethertype: U16::from_bytes(Ethernet::IPV4.to_be_bytes()),
        });
        let (end, _) = match &mut self.ends[..] {
            [end] => end,
            ends => &mut ends[spread(packet) % ends.len()],
        };
        end.push([&HEADER, packet])
    }

    /// Lets out what was sent, and wakes the workers that sleep.
    pub fn ring(&mut self) {
        for (end, bell) in &mut self.ends {
            end.flush();
            bell.ring();
        }
    }

    /// Whether something waits to be received.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ends.iter().any(|(end, _)| end.is_ready())
    }

    /// To be told of it elsewhere.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(self.ends.iter().map(|(end, _)| end.watch()).collect())
    }

    /// Takes what has come, burst by burst, until it is `most` frames of each worker or a little
    /// more; where in a frame the IP packet begins is [`Cable::PACKET`].
    pub fn receive(&mut self, most: usize, take: &mut dyn FnMut(&mut Frames)) {
        for (end, _) in &mut self.ends {
            let mut count = 0;
            while count < most
                && let Some(frames) = end.receive_burst(&mut *take)
            {
                count += frames;
            }
        }
    }

    /// Octets in front of the IP packet of a frame.
    pub const PACKET: usize = ETHERNET;
}

impl Watch {
    /// Whether something waits to be received.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.iter().any(memory::Watch::is_ready)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({})", counted(self.0.len(), "worker"))
    }
}

impl fmt::Debug for Cable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cable({})", counted(self.ends.len(), "worker"))
    }
}

impl fmt::Debug for Cables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cables({:?})", self.tunnel)
    }
}

fn assemble(
    config: &Config,
    signals: Signals,
    bell: &Arc<Bell>,
) -> Result<(Assembled, Arc<Shared>, Cables)> {
    // Nobody asks by a socket.
    let (_, questions) = bounded(1);
    let orders = Orders {
        alarm: Alarm::new()?,
        signals,
        socket: None,
        questions,
        key_log: None,
    };
    let mut outside = None;
    let gateway = Assembled::assemble(config, orders, |around| {
        let (inside, cables) = open(config, around, bell)?;
        outside = Some((Arc::clone(around.shared), cables));
        Ok(inside)
    })?;
    let (shared, cables) = outside.expect("what was assembled was opened");
    Ok((gateway, shared, cables))
}

/// Two ports in memory for each worker, and the cables they hang on.
fn open(config: &Config, around: &Around<'_>, bell: &Arc<Bell>) -> Result<(Inside, Cables)> {
    let (_area, chunks) = packet_memory(config)?;
    let mtu = tun_mtu(config);
    let mut cables = [SOCKETS, TUN].map(|_| Cable { ends: Vec::new() });
    let mut ports = Vec::new();
    for worker in &around.bells {
        let of_worker = [SOCKETS, TUN].into_iter().zip(&mut cables);
        let plug = |(port, cable): (u8, &mut Cable)| {
            let interface = Interface {
                port,
                vrf: 0,
                mtu,
                mac: GATEWAY,
            };
            let shared = Arc::clone(around.shared);
            let (port, far) = MemoryPort::new(shared, interface, CABLE);
            cable.ends.push((far, Arc::clone(worker)));
            AnyPort::Memory(Memory::new(port, Arc::clone(bell)))
        };
        ports.push(of_worker.map(plug).collect());
    }
    for (router, port) in [(PEERS, SOCKETS), (OTHERS, TUN)] {
        let adjacency = Adjacency {
            port,
            mtu,
            rewrite: Some([LOAD, GATEWAY]),
            is_resolved: true,
        };
        around
            .shared
            .apply(SharedChange::SetAdjacency(router, adjacency));
    }
    around
        .shared
        .apply(route(Ipv4Net::default().into(), OTHERS));
    let [tunnel, network] = cables;
    let inside = Inside {
        io: "memory".into(),
        ports,
        chunks,
        interfaces: None,
        routes: None,
        icmp: None,
        adit0: None,
    };
    Ok((inside, Cables { tunnel, network }))
}

fn route(prefix: IpNet, router: AdjacencyId) -> SharedChange {
    SharedChange::SetRoute {
        vrf: 0,
        prefix,
        target: RouteTarget::Via(router),
    }
}

/// Tells flows apart as a network card would: ESP by the bits of the SPI that name the shard, and
/// everything else by its addresses and ports.
fn spread(packet: &[u8]) -> usize {
    /// The shard, in an inbound SPI.
    const SHARD: u8 = 0x3f;
    let at = |offset: usize| packet.get(offset).copied().unwrap_or(0);
    let last_of_spi = |esp: usize| usize::from(at(esp + 3) & SHARD);
    let payload = usize::from(at(0) & 0x0f) * 4;
    let is_natt = at(9) == Ipv4::UDP
        && packet.get(payload + 2..payload + 4) == Some(&Udp::NAT_T.to_be_bytes()[..]);
    let behind_udp = payload + Udp::LEN;
    let is_marked = packet.get(behind_udp..behind_udp + 4) == Some(&[0; 4]);
    match at(9) {
        Ipv4::ESP => last_of_spi(payload),
        _ if is_natt && !is_marked && packet.len() >= behind_udp + 4 => last_of_spi(behind_udp),
        _ => {
            let ends = (12..Ipv4::LEN).map(|offset| usize::from(at(offset)));
            let ports = [payload + 1, payload + 3].map(|offset| usize::from(at(offset)));
            ends.sum::<usize>()
                + if at(9) == Ipv4::UDP {
                    ports[0] + ports[1]
                } else {
                    0
                }
        }
    }
}

#[cfg(test)]
mod tests;
