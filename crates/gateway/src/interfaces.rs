//! Interfaces for XDP: a socket for each queue, and the classifier that feeds them.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use af_xdp::bpf::{AttachError, AttachMode, Link};
use af_xdp::classifier::{Classifier, Description, Endpoint, Prefix};
use af_xdp::interface::Interface;
use af_xdp::{Area, Chunk, Mode, Socket, SocketSettings};
use anyhow::{Context, Result, anyhow, bail};
use control::settings::{Listener, Pool};
use dataplane::Shared;
use dataplane::wire;
use ipnet::IpNet;
use packet::header::Udp;

use crate::config::{Config, CopyMode, Io, PortSettings};
use crate::host::prefixes;
use crate::port::{AnyPort, FIRST_INTERFACE, Xdp};
use crate::routes::Outlet;

/// Entries of a ring, at most: 5 ms at a million frames a second.
const RING_MAX: usize = 8192;

/// What surrounds an IP packet in a chunk: the kernel's headroom, Ethernet and two VLAN tags.
const AROUND: u32 = 256 + 22;
/// 802.1Q tags that the classifier looks through.
const VLAN_DEPTH: u8 = 2;

/// The interfaces while the gateway runs. Dropping them detaches the programs: do it before the
/// sockets are closed.
pub(crate) struct Interfaces {
    _programs: Vec<(Classifier, Link)>,
    pub(crate) outlets: Vec<Outlet>,
    /// What a person wants to know: `eth1 copy, eth2 zero-copy`.
    pub(crate) text: String,
}

impl Interfaces {
    /// Opens every queue of every interface and adds a port for it to its worker; nothing reaches
    /// them before [`Interfaces::open`] has returned.
    pub(crate) fn open(
        config: &Config,
        area: &Arc<Area>,
        chunks: &mut [Vec<Chunk>],
        shared: &Arc<Shared>,
        ports: &mut [Vec<AnyPort>],
    ) -> Result<Self> {
        let description = describe(&config.control.listeners, &config.control.pools);
        let ring = ring_size(config.memory.chunks, config.ports.len());
        let mut interfaces = Self {
            _programs: Vec::new(),
            outlets: Vec::new(),
            text: String::new(),
        };
        for (settings, port) in config.ports.iter().zip(FIRST_INTERFACE..) {
            let name = &settings.interface;
            let found = Interface::by_name(name).with_context(|| format!("interface {name}"))?;
            check(&found, config)?;
            let outlet = Outlet {
                interface: found.index,
                port,
                mac: found.mac,
                mtu: clamp_mtu(found.mtu),
            };
            let program = attach(settings, config.io, &found, &description, |classifier| {
                bind(
                    settings, &found, outlet, ring, area, chunks, shared, classifier, ports,
                )
            })?;
            interfaces.note(name, ports);
            interfaces.outlets.push(outlet);
            interfaces._programs.push(program);
        }
        Ok(interfaces)
    }

    fn note(&mut self, name: &str, ports: &[Vec<AnyPort>]) {
        let last = ports.first().and_then(|ports| ports.last());
        let zero_copy = matches!(last, Some(AnyPort::Xdp(xdp)) if xdp.is_zero_copy());
        let mode = if zero_copy { "zero-copy" } else { "copy" };
        let comma = if self.text.is_empty() { "" } else { ", " };
        self.text += &format!("{comma}{name} {mode}");
    }
}

/// Of what the kernel says, what needs to be explained.
fn hint(error: &AttachError, found: &Interface) -> &'static str {
    let is_veth = found.driver.as_deref() == Some("veth");
    if let AttachError::System(error) = error
        && is_veth
        && error.kind() == io::ErrorKind::StorageFull
    {
        return ": its peer sends on more queues than it receives on (ethtool -L PEER tx N)";
    }
    ""
}

/// Loads the classifier, lets `serve` bind the sockets, and attaches it last.
fn attach(
    settings: &PortSettings,
    io: Io,
    found: &Interface,
    description: &Description,
    serve: impl FnOnce(&Classifier) -> Result<()>,
) -> Result<(Classifier, Link)> {
    let name = &settings.interface;
    let classifier = Classifier::load(description, found.receive_queues)
        .map_err(|error| anyhow!("the classifier for {name} cannot be loaded: {error}"))?;
    serve(&classifier)?;
    let mode = if io == Io::XdpSkb {
        AttachMode::Generic
    } else {
        AttachMode::Native
    };
    let link = classifier.attach(found.index, mode).map_err(|error| {
        anyhow!(
            "attaching XDP to {name}: {error}{} (`adit doctor` tells more)",
            hint(&error, found)
        )
    })?;
    Ok((classifier, link))
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call, and each is a different thing"
)]
fn bind(
    settings: &PortSettings,
    found: &Interface,
    outlet: Outlet,
    ring: u32,
    area: &Arc<Area>,
    chunks: &mut [Vec<Chunk>],
    shared: &Arc<Shared>,
    classifier: &Classifier,
    ports: &mut [Vec<AnyPort>],
) -> Result<()> {
    let Outlet { port, mac, mtu, .. } = outlet;
    for (queue, (chunks, ports)) in (0u32..).zip(chunks.iter_mut().zip(ports)) {
        let mut wanted = SocketSettings::new(found.index, queue);
        wanted.fill_size = ring;
        wanted.receive_size = ring;
        wanted.mode = match settings.mode {
            CopyMode::Auto => Mode::Auto,
            CopyMode::Copy => Mode::Copy,
            CopyMode::ZeroCopy => Mode::ZeroCopy,
        };
        let socket = Socket::bind(area, &wanted, chunks).map_err(|error| {
            anyhow!(
                "an AF_XDP socket for queue {queue} of {}: {error}",
                settings.interface
            )
        })?;
        classifier.serve(queue, &socket)?;
        let interface = wire::Interface {
            port,
            vrf: 0,
            mtu,
            mac,
        };
        ports.push(AnyPort::Xdp(Box::new(Xdp::new(
            socket,
            interface,
            Arc::clone(shared),
        ))));
    }
    Ok(())
}

/// What would make frames vanish without a trace.
fn check(found: &Interface, config: &Config) -> Result<()> {
    let name = &found.name;
    if !found.is_up {
        bail!("{name} is down: ip link set {name} up");
    }
    let largest = config.memory.chunk_size as u32 - AROUND;
    if found.mtu > largest {
        bail!(
            "{name} has MTU {}, and a chunk of {} carries {largest}: ip link set {name} mtu \
             {largest}, or memory.chunk_size = 4096",
            found.mtu,
            config.memory.chunk_size
        );
    }
    let (queues, workers) = (found.receive_queues, u32::from(config.workers.count));
    if queues > workers {
        bail!(
            "{name} has {queues} receive queues and {workers} workers serve {workers} of them; what \
             arrives on the others would be lost: {}",
            found.command_for_queues(workers)
        );
    }
    if queues < workers || found.transmit_queues < workers {
        bail!(
            "{name} has {queues} receive queues for {workers} workers: {}, or workers.count = {queues}",
            found.command_for_queues(workers)
        );
    }
    Ok(())
}

/// Fill rings hold half of a worker's chunks, if it has so many interfaces; the other half is for
/// frames under way. A ring that is never filled would only be memory.
fn ring_size(chunks: usize, interfaces: usize) -> u32 {
    let most = (chunks / (2 * interfaces.max(1))).clamp(1, RING_MAX);
    1 << most.ilog2()
}

fn clamp_mtu(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX)
}

fn describe(listeners: &[Listener], pools: &[Pool]) -> Description {
    let endpoints = listeners.iter().filter_map(|listener| {
        let IpAddr::V4(address) = listener.address else {
            return None;
        };
        let udp_ports = vec![Udp::IKE, Udp::NAT_T, Udp::L2TP];
        Some(Endpoint {
            address,
            esp: true,
            udp_ports,
        })
    });
    let pools: BTreeSet<Prefix> = pools
        .iter()
        .flat_map(|pool| pool.ranges.iter().flat_map(prefixes))
        .filter_map(|prefix| match prefix {
            IpNet::V4(v4) => Some(Prefix {
                address: v4.network(),
                length: v4.prefix_len(),
            }),
            IpNet::V6(_) => None,
        })
        .collect();
    Description {
        endpoints: endpoints.collect(),
        pools: pools.into_iter().collect(),
        vlan_depth: VLAN_DEPTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_rings_leave_half_of_the_chunks_for_frames_under_way() {
        for (chunks, interfaces, expected) in [
            (16384, 2, 4096),
            (16384, 1, 8192),
            (1024, 2, 256),
            (1024, 3, 128),
            (1 << 20, 2, 8192),
        ] {
            let ring = ring_size(chunks, interfaces);
            assert_eq!(ring, expected, "{chunks} chunks, {interfaces} interfaces");
            assert!(ring as usize * interfaces <= chunks / 2);
        }
    }
}
