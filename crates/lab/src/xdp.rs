//! `--io xdp`: the packets of a fleet past the kernel's stack, by AF_XDP on the interface that has the
//! clients' addresses.
//!
//! ```text
//!   Driver ─► Ethernet in front ─► transmit ring ─┐
//!          ◄─ arrival ◄─ receive rings ◄─ classifier ◄─ interface
//! ```
//!
//! The classifier is the gateway's, told the clients' addresses and ports: everything else at these
//! addresses, ARP first of all, stays with the kernel. So do fragments, which nobody reads here.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use af_xdp::bpf::{AttachMode, Link};
use af_xdp::classifier::{Classifier, Description, Endpoint};
use af_xdp::interface::Interface;
use af_xdp::{Area, AreaSettings, Chunk, HugePages, Socket, SocketSettings};
use anyhow::{Context, Result, anyhow, bail};
use packet::header::Ethernet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zerocopy::IntoBytes;

use crate::fleet::{Arrival, Outgoing};
use crate::wires::{self, Readiness, Waker, Wire};

/// Chunks of packet memory for each queue: its rings, and as many under way.
const CHUNKS: usize = 8192;
/// Octets of a chunk, and where a packet begins in it.
const CHUNK: usize = 2048;
const HEADROOM: usize = 256;
/// Octets of the header of Ethernet.
const ETHERNET: usize = size_of::<Ethernet>();
/// Frames taken from a queue before the next one has its turn.
const ROUND: usize = 256;
/// How often, and how long apart, the next hop is asked for.
const ASKED: usize = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// One interface, all its queues.
pub struct Xdp {
    // Dropped first: the program goes before the sockets.
    _program: (Classifier, Link),
    queues: Vec<Socket>,
    spare: Vec<Chunk>,
    header: Ethernet,
    waker: Waker,
    arrived: Vec<(Chunk, usize, usize)>,
}

impl Xdp {
    /// Opens the interface that has the first of these places, for all of them.
    pub fn open(places: &[SocketAddrV4], server: Ipv4Addr, waker: &Waker) -> Result<Self> {
        let local = *places.first().context("there are no clients")?.ip();
        let found = interface_of(local)?;
        let name = &found.name;
        if !found.is_up {
            bail!("{name} is down: ip link set {name} up");
        }
        let next_hop = next_hop(name, local, server)?;
        let count = found.receive_queues as usize;
        let settings = AreaSettings {
            chunks: (CHUNKS * count) as u32,
            chunk_size: CHUNK as u32,
            huge: HugePages::Prefer,
        };
        let (area, mut spare) = Area::new(settings).context("no memory for packets")?;
        let classifier = Classifier::load(&describe(places), found.receive_queues)
            .map_err(|error| anyhow!("the classifier for {name} cannot be loaded: {error}"))?;
        let mut queues = Vec::new();
        for queue in 0..found.receive_queues {
            let wanted = SocketSettings::new(found.index, queue);
            let socket = Socket::bind(&area, &wanted, &mut spare).map_err(|error| {
                anyhow!("an AF_XDP socket for queue {queue} of {name}: {error}")
            })?;
            classifier.serve(queue, &socket)?;
            queues.push(socket);
        }
        let link = classifier
            .attach(found.index, AttachMode::Native)
            .map_err(|error| anyhow!("attaching XDP to {name}: {error}; try --io sockets"))?;
        Ok(Self {
            _program: (classifier, link),
            queues,
            spare,
            header: Ethernet {
                destination: next_hop,
                source: found.mac,
                ethertype: Ethernet::IPV4.into(),
            },
            waker: Arc::clone(waker),
            arrived: Vec::with_capacity(ROUND),
        })
    }

    /// Hands over the IP packets that have come, a burst of each queue; one without a whole header of
    /// Ethernet is empty.
    pub fn packets(&mut self, take: &mut dyn FnMut(Vec<&mut [u8]>)) {
        for queue in &mut self.queues {
            let arrived = &mut self.arrived;
            queue.receive(ROUND, |chunk, offset, len| {
                arrived.push((chunk, offset, len))
            });
            if !arrived.is_empty() {
                let packets = arrived.iter_mut().map(|(chunk, offset, len)| {
                    let frame = chunk.as_mut().get_mut(*offset..*offset + *len);
                    let packet = frame.and_then(|frame| frame.get_mut(ETHERNET..));
                    packet.unwrap_or_default()
                });
                take(packets.collect());
            }
            let (arrived, spare) = (&mut self.arrived, &mut self.spare);
            spare.extend(arrived.drain(..).map(|(chunk, ..)| chunk));
            queue.complete(|chunk| spare.push(chunk));
            queue.fill(|| spare.pop());
        }
    }

    /// Puts packets into the transmit ring as far as there is room; how many, and what is wrong with
    /// the one behind them.
    fn enqueue(&mut self, packets: &[Outgoing]) -> (usize, Option<io::Error>) {
        for (count, outgoing) in packets.iter().enumerate() {
            match self.transmit(&outgoing.packet) {
                Ok(true) => {}
                Ok(false) => return (count, None),
                Err(error) => return (count, Some(error)),
            }
        }
        (packets.len(), None)
    }

    /// Puts one packet into the transmit ring; `false` if there is no room.
    fn transmit(&mut self, packet: &[u8]) -> io::Result<bool> {
        let end = HEADROOM + ETHERNET + packet.len();
        if end > CHUNK {
            let said = format!("{} octets are too long for a chunk", packet.len());
            return Err(io::Error::other(said));
        }
        let Some(mut chunk) = self.spare.pop() else {
            return Ok(false);
        };
        let room = chunk.as_mut();
        room[HEADROOM..HEADROOM + ETHERNET].copy_from_slice(self.header.as_bytes());
        room[HEADROOM + ETHERNET..end].copy_from_slice(packet);
        match self.queues[0].transmit(chunk, HEADROOM, end - HEADROOM) {
            Ok(()) => Ok(true),
            Err(chunk) => {
                self.spare.push(chunk);
                Ok(false)
            }
        }
    }
}

impl Wire for Xdp {
    fn wait(&mut self, timeout: Duration) -> io::Result<Readiness> {
        let timeout = Timespec::try_from(timeout).ok();
        let waker = PollFd::new(&*self.waker, PollFlags::IN);
        let queues = self.queues.iter().map(|queue| queue.fd());
        let queues = queues.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let mut all: Vec<PollFd<'_>> = [waker].into_iter().chain(queues).collect();
        match poll(&mut all, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_woken = all[0].revents().contains(PollFlags::IN);
        Ok(Readiness { is_woken })
    }

    fn receive(&mut self, take: &mut dyn FnMut(&mut [Arrival<'_>])) -> io::Result<usize> {
        let mut unreadable = 0;
        self.packets(&mut |packets| {
            let came = packets.len();
            let mut arrivals: Vec<Arrival<'_>> =
                packets.into_iter().filter_map(wires::arrival).collect();
            unreadable += came - arrivals.len();
            if !arrivals.is_empty() {
                take(&mut arrivals);
            }
        });
        Ok(unreadable)
    }

    fn overflowed(&self) -> io::Result<u64> {
        let lost = self.queues.iter().map(|queue| {
            let statistics = queue.statistics()?;
            Ok(statistics.dropped + statistics.ring_full)
        });
        lost.sum()
    }

    /// Takes packets and kicks in turns, until all have left or nothing moves.
    fn send(&mut self, packets: &[Outgoing]) -> io::Result<usize> {
        let (mut taken, mut queued) = (0, 0);
        loop {
            let (took, error) = self.enqueue(&packets[taken..]);
            taken += took;
            // A kick fails when the interface goes down: what is queued stays, and is full some day.
            let left = self.queues[0].kick().unwrap_or_default();
            let spare = &mut self.spare;
            self.queues[0].complete(|chunk| spare.push(chunk));
            match error {
                // It is told when it is about the first.
                Some(error) if taken == 0 => return Err(error),
                Some(_) => return Ok(taken),
                None if left == 0 && taken == packets.len() => return Ok(taken),
                None if took == 0 && left >= queued => return Ok(taken),
                None => queued = left,
            }
        }
    }
}

/// What the classifier is to take: raw ESP and these ports.
fn describe(places: &[SocketAddrV4]) -> Description {
    let mut ports: BTreeMap<Ipv4Addr, Vec<u16>> = BTreeMap::new();
    for place in places {
        ports.entry(*place.ip()).or_default().push(place.port());
    }
    let endpoint = |(address, udp_ports)| Endpoint {
        address,
        esp: true,
        udp_ports,
    };
    Description {
        endpoints: ports.into_iter().map(endpoint).collect(),
        ..Description::default()
    }
}

fn interface_of(local: Ipv4Addr) -> Result<Interface> {
    let addresses = nix::ifaddrs::getifaddrs().context("cannot list the interfaces")?;
    let has = |entry: &nix::ifaddrs::InterfaceAddress| {
        let address = entry.address.as_ref().and_then(|a| a.as_sockaddr_in());
        address.is_some_and(|address| address.ip() == local)
    };
    let mut entries = addresses.into_iter();
    let entry = entries
        .find(has)
        .with_context(|| format!("no interface here has the address {local}"))?;
    // An address with a label of its own is named behind a colon.
    let name = entry.interface_name.split(':').next().unwrap_or_default();
    Interface::by_name(name).with_context(|| format!("interface {name}"))
}

/// The MAC address of whoever leads to the server. The kernel finds it out, if it has something to
/// send there.
fn next_hop(interface: &str, local: Ipv4Addr, server: Ipv4Addr) -> Result<[u8; 6]> {
    let routes = fs::read_to_string("/proc/thread-self/net/route")?;
    let hop = gateway(&routes, interface, server)
        .with_context(|| format!("{interface} has no route to {server}"))?;
    let asker = UdpSocket::bind((local, 0))?;
    for _ in 0..ASKED {
        let table = fs::read_to_string("/proc/thread-self/net/arp")?;
        if let Some(mac) = neighbour(&table, interface, hop) {
            return Ok(mac);
        }
        // Discard (RFC 863); what matters is that the kernel asks for the neighbour.
        let _unsent = asker.send_to(&[], (hop, 9));
        thread::park_timeout(PAUSE);
    }
    bail!("{hop}, the next hop to {server}, does not answer ARP on {interface}")
}

/// The next hop of the longest route, in the words of `/proc/net/route`.
fn gateway(routes: &str, interface: &str, server: Ipv4Addr) -> Option<Ipv4Addr> {
    let address = |hex: &str| u32::from_str_radix(hex, 16).ok().map(u32::swap_bytes);
    let rows = routes.lines().skip(1).filter_map(|row| {
        let columns: Vec<&str> = row.split_whitespace().collect();
        let [name, destination, gateway, _, _, _, _, mask, ..] = columns[..] else {
            return None;
        };
        let (destination, mask) = (address(destination)?, address(mask)?);
        let leads = name == interface && server.to_bits() & mask == destination;
        leads.then_some((mask, address(gateway)?))
    });
    let (_, gateway) = rows.max_by_key(|(mask, _)| *mask)?;
    Some(match gateway {
        0 => server,
        other => Ipv4Addr::from(other),
    })
}

/// Of a neighbour that is known, in the words of `/proc/net/arp`.
fn neighbour(table: &str, interface: &str, hop: Ipv4Addr) -> Option<[u8; 6]> {
    let hop = hop.to_string();
    let row = table.lines().skip(1).find_map(|row| {
        let columns: Vec<&str> = row.split_whitespace().collect();
        match columns[..] {
            [address, _, _, mac, _, name] if address == hop && name == interface => Some(mac),
            _ => None,
        }
    })?;
    let octets = row
        .split(':')
        .filter_map(|octet| u8::from_str_radix(octet, 16).ok());
    let mac: [u8; 6] = octets.collect::<Vec<u8>>().try_into().ok()?;
    // One that is being asked for has none yet.
    (mac != [0; 6]).then_some(mac)
}

#[cfg(test)]
mod tests;
