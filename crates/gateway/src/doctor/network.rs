//! What a configuration needs of the network: interfaces that XDP can run on, addresses that are
//! this machine's, ports that nobody else has.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use af_xdp::interface::Interface;
use packet::header::Udp;

use super::{Finding, Weight};
use crate::config::{Config, CopyMode, Io, PortSettings, counted};
use crate::port::holder;

/// Octets in front of a frame in its chunk (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;
/// Ethernet header and two VLAN tags.
const LINK_HEADER: usize = 22;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in &config.control.listeners {
        findings.push(address(&listener.name, listener.address));
    }
    if config.io != Io::Sockets {
        for port in &config.ports {
            findings.extend(interface(port, config));
        }
    }
    findings
}

/// Whether a listener can be bound to its address.
fn address(listener: &str, address: IpAddr) -> Finding {
    let subject = format!("listener {listener}");
    for port in [Udp::IKE, Udp::NAT_T, Udp::L2TP] {
        let place = SocketAddr::new(address, port);
        let Err(error) = UdpSocket::bind(place) else {
            continue;
        };
        if error.kind() == ErrorKind::AddrNotAvailable {
            return Finding::of(
                Weight::Bad,
                &subject,
                format!("{address} is no address of this machine"),
                format!("ip addr add {address}/32 dev lo, or as your network has it"),
            );
        }
        // Where it is forbidden, the capabilities will allow it, and they are looked at elsewhere.
        if error.kind() == ErrorKind::AddrInUse {
            return in_use(&subject, place);
        }
    }
    Finding::good(&subject, format!("{address} is here, its ports are free"))
}

/// Whether a gateway runs here already: then the programs and ports are its.
fn is_served(config: &Config) -> bool {
    let mut addresses = config.control.listeners.iter().map(|l| l.address);
    addresses.any(|address| {
        let held = holder(SocketAddr::new(address, Udp::IKE));
        held.is_some_and(|(name, _)| name == "adit")
    })
}

fn in_use(subject: &str, place: SocketAddr) -> Finding {
    let port = place.port();
    match holder(place) {
        Some((name, process)) if name == "adit" => {
            Finding::good(subject, format!("served by adit (process {process})"))
        }
        Some((name, process)) => Finding::of(
            Weight::Bad,
            subject,
            format!("UDP {place} is held by {name} (process {process})"),
            format!("stop it: kill {process}"),
        ),
        None => Finding::of(
            Weight::Bad,
            subject,
            format!("UDP {place} is held by another program"),
            format!("ss -lunp 'sport = :{port}' names it"),
        ),
    }
}

fn interface(port: &PortSettings, config: &Config) -> Vec<Finding> {
    let name = port.interface.as_str();
    match Interface::by_name(name) {
        Ok(found) => {
            let mut findings = vec![driver(&found, port, config.io)];
            findings.extend(obstacles(&found, config));
            findings
        }
        Err(error) => {
            let list = "ip -br link lists what there is";
            vec![Finding::of(Weight::Bad, name, error.to_string(), list)]
        }
    }
}

/// Which way of XDP the driver has.
fn driver(found: &Interface, port: &PortSettings, io: Io) -> Finding {
    let driver = found.driver.as_deref().unwrap_or("unknown driver");
    let offers = found.xdp.map(|xdp| (xdp.native, xdp.zero_copy));
    let mode = match (offers, port.mode) {
        (None, _) => "the kernel does not say what XDP it has",
        (Some((false, _)), _) if io == Io::XdpSkb => "generic XDP",
        (Some((false, _)), _) => {
            return Finding::of(
                Weight::Bad,
                &found.name,
                format!("{driver} has no native XDP"),
                "io = \"sockets\", or io = \"xdp-skb\"",
            );
        }
        (Some((true, false)), CopyMode::ZeroCopy) => {
            return Finding::of(
                Weight::Bad,
                &found.name,
                format!("{driver} has no zero-copy"),
                "mode = \"copy\" for this [[port]]",
            );
        }
        (Some((true, true)), CopyMode::Auto | CopyMode::ZeroCopy) => {
            "native XDP, zero-copy (which nobody has tested yet)"
        }
        (Some((true, _)), _) => "native XDP, copy",
    };
    Finding::good(&found.name, format!("{driver}: {mode}; MTU {}", found.mtu))
}

/// What keeps XDP from running on it.
fn obstacles(found: &Interface, config: &Config) -> Vec<Finding> {
    let name = found.name.as_str();
    let mut findings = Vec::new();
    if found.is_up && !found.has_carrier {
        let mend = "plug it in, or take its peer up";
        findings.push(Finding::of(Weight::Worse, name, "no carrier", mend));
    }
    let mut bad = |what: String, mend: String| {
        findings.push(Finding::of(Weight::Bad, name, what, mend));
    };
    if !found.is_up {
        bad("down".into(), format!("ip link set {name} up"));
    }
    let (chunk, largest) = (config.memory.chunk_size, largest_mtu(config));
    if found.mtu as usize > largest {
        bad(
            format!("MTU {} does not fit into a chunk of {chunk}", found.mtu),
            format!("ip link set {name} mtu {largest}, or memory.chunk_size = 4096"),
        );
    }
    let workers = u32::from(config.workers.count);
    let queues = found.receive_queues;
    if queues != workers || found.transmit_queues < workers {
        bad(
            format!(
                "{} and {}",
                counted(queues as usize, "receive queue"),
                counted(workers as usize, "worker")
            ),
            found.command_for_queues(workers),
        );
    }
    if let Some(program) = found.xdp_program
        && !is_served(config)
    {
        bad(
            format!("an XDP program is attached already (id {program})"),
            format!("stop what attached it, or ip link set {name} xdp off"),
        );
    }
    if found.offloads.lro == Some(true) {
        bad(
            "LRO is on: XDP cannot run".into(),
            format!("ethtool -K {name} lro off"),
        );
    }
    findings
}

fn largest_mtu(config: &Config) -> usize {
    config.memory.chunk_size - HEADROOM - LINK_HEADER
}
