//! What Adit asks of the host: the device `adit0`, and the pools as routes to it.
//!
//! Pools are kernel routes to `adit0`, so that BIRD or FRR export them and proxy ARP works. Behind
//! each stands an unreachable route of a higher metric: when Adit is down and `adit0` with it, a
//! packet for a pool is answered "unreachable" and neither loops nor leaves in the clear.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the kernel's large vocabulary little is for us"
)]

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use anyhow::{Result, anyhow, bail};
use control::settings::{Pool, Range};
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::{Existing, Netlink, because, interface_index};

/// Our mark on routes, so that they are known as ours: a number that iproute2 leaves free.
pub(crate) const ROUTE_PROTOCOL: u8 = 201;
/// Metric of the route that catches a pool when Adit is down.
const CATCH_METRIC: u32 = 4096;
/// Packets that may wait in the device for a worker: at 1 Gbit/s of full ones some 50 ms.
const QUEUE_PACKETS: u32 = 4096;

/// The TUN device while the gateway runs; it disappears with the process.
pub(crate) struct Host {
    pub(crate) index: u32,
    /// One for each worker.
    pub(crate) queues: Vec<OwnedFd>,
}

impl Host {
    /// Makes the device with a queue for each worker, takes it up and routes the pools to it.
    pub(crate) fn set_up(name: &str, workers: u8, mtu: u16, pools: &[Pool]) -> Result<Self> {
        if interface_index(name).is_ok() {
            bail!(
                "there is a device {name} already, another gateway's most likely: stop it, `ip \
                 link del {name}`, or set gateway.tun to another name"
            );
        }
        let queues = (0..workers)
            .map(|_| af_xdp::tun::open(name))
            .collect::<io::Result<Vec<OwnedFd>>>()
            .map_err(|error| why_no_tun(error, name))?;
        let index = interface_index(name)?;
        let mut netlink = Netlink::open()?;
        take_up(&mut netlink, index, mtu)
            .map_err(|error| because(error, &format!("cannot take {name} up")))?;
        for pool in pools {
            route_pool(&mut netlink, index, pool)?;
        }
        Ok(Self { index, queues })
    }
}

/// The device node has a mode of its own, which capabilities do not overrule.
fn why_no_tun(error: io::Error, name: &str) -> anyhow::Error {
    const DEVICE: &str = "/dev/net/tun";
    match fs::OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(_) => because(error, &format!("cannot make the TUN device {name}")),
        Err(closed) => {
            let mend = if closed.kind() == io::ErrorKind::PermissionDenied {
                format!("chmod 0666 {DEVICE}, as distributions have it")
            } else {
                "modprobe tun".into()
            };
            anyhow!("{DEVICE} cannot be opened, so there is no {name}: {closed} ({mend})")
        }
    }
}

fn take_up(netlink: &mut Netlink, index: u32, mtu: u16) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes.push(LinkAttribute::Mtu(mtu.into()));
    link.attributes
        .push(LinkAttribute::TxQueueLen(QUEUE_PACKETS));
    netlink.order(RouteNetlinkMessage::SetLink(link), Existing::Change)
}

/// Packets that the device dropped because nobody read them in time.
pub(crate) fn drops(index: u32) -> Result<u64> {
    let mut question = LinkMessage::default();
    question.header.index = index;
    let answer = Netlink::open()?.ask(RouteNetlinkMessage::GetLink(question))?;
    let counted = answer.into_iter().find_map(|message| match message {
        RouteNetlinkMessage::NewLink(link) => {
            link.attributes
                .into_iter()
                .find_map(|attribute| match attribute {
                    LinkAttribute::Stats64(counted) => Some(counted.tx_dropped),
                    _ => None,
                })
        }
        _ => None,
    });
    Ok(counted.unwrap_or(0))
}

fn route_pool(netlink: &mut Netlink, index: u32, pool: &Pool) -> Result<()> {
    let own = IpNet::from(pool.gateway);
    netlink
        .order(
            RouteNetlinkMessage::NewAddress(address(index, own)),
            Existing::Replace,
        )
        .map_err(|error| because(error, &format!("cannot give {own} to the TUN device")))?;
    for prefix in pool.ranges.iter().flat_map(prefixes) {
        for route in [route_to(prefix, index), catch(prefix)] {
            netlink
                .order(RouteNetlinkMessage::NewRoute(route), Existing::Replace)
                .map_err(|error| because(error, &format!("cannot route the pool {prefix}")))?;
        }
    }
    Ok(())
}

fn address(index: u32, prefix: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(prefix.addr());
    message.header.prefix_len = prefix.prefix_len();
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Address(prefix.addr()),
        AddressAttribute::Local(prefix.addr()),
    ];
    message
}

/// A route of ours to `prefix` through the device.
pub(crate) fn route_to(prefix: IpNet, index: u32) -> RouteMessage {
    let mut route = route(prefix);
    route.header.kind = RouteType::Unicast;
    route.header.scope = RouteScope::Link;
    route.attributes.push(RouteAttribute::Oif(index));
    route
}

fn catch(prefix: IpNet) -> RouteMessage {
    let mut route = route(prefix);
    route.header.kind = RouteType::Unreachable;
    route
        .attributes
        .push(RouteAttribute::Priority(CATCH_METRIC));
    route
}

fn route(prefix: IpNet) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = family(prefix.addr());
    route.header.destination_prefix_length = prefix.prefix_len();
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    route
        .attributes
        .push(RouteAttribute::Destination(match prefix.addr() {
            IpAddr::V4(v4) => RouteAddress::Inet(v4),
            IpAddr::V6(v6) => RouteAddress::Inet6(v6),
        }));
    route
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

/// The fewest prefixes that cover a range. A range that was a prefix less its network and broadcast
/// address is covered by that prefix: nobody else has those two either.
pub(crate) fn prefixes(range: &Range) -> Vec<IpNet> {
    let (IpAddr::V4(first), IpAddr::V4(last)) = (range.first, range.last) else {
        return Vec::new();
    };
    let (first, last) = match (first.to_bits(), last.to_bits()) {
        (low, high) if is_hosts_of_a_prefix(low, high) => (low - 1, high + 1),
        bits => bits,
    };
    ipnet::Ipv4Subnets::new(first.into(), last.into(), 0)
        .map(IpNet::from)
        .collect()
}

fn is_hosts_of_a_prefix(low: u32, high: u32) -> bool {
    let (Some(network), Some(broadcast)) = (low.checked_sub(1), high.checked_add(1)) else {
        return false;
    };
    let size = u64::from(broadcast) - u64::from(network) + 1;
    size.is_power_of_two() && u64::from(network) % size == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_routed_by_the_prefix_it_was_written_as() {
        let prefix: IpNet = "10.77.0.0/24".parse().unwrap();
        assert_eq!(prefixes(&prefix.into()), [prefix]);
    }

    #[test]
    fn a_range_is_routed_by_few_prefixes() {
        let [first, last] = ["10.0.0.4", "10.0.0.11"].map(|text| text.parse().unwrap());
        let texts: Vec<String> = prefixes(&Range { first, last })
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(texts, ["10.0.0.4/30", "10.0.0.8/30"]);
    }
}
