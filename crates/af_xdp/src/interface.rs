//! What an interface is and can do, asked over netlink and ethtool in the network namespace of the
//! calling thread. sysfs is not used: it shows the namespace in which it was mounted.

mod netlink;

use std::io;

use crate::syscall::ethtool::{Ethtool, FLAG_LRO, Question};

use netlink::{Attributes, Question as Which};

/// An interface as it is at the moment of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Link-layer address; zero where it has none of 6 octets.
    pub mac: [u8; 6],
    /// Largest IP packet.
    pub mtu: u32,
    /// Whether it is set up.
    pub is_up: bool,
    /// Whether it has a carrier.
    pub has_carrier: bool,
    /// Name of its driver, where it says.
    pub driver: Option<String>,
    /// Queues it receives on.
    pub receive_queues: u32,
    /// Queues it sends on.
    pub transmit_queues: u32,
    /// Whether a queue of it receives and sends, rather than each queue doing one of both.
    pub has_combined_queues: bool,
    /// Id of the XDP program that is attached.
    pub xdp_program: Option<u32>,
    /// What its driver can do with XDP; `None` where the kernel does not say (before 6.3).
    pub xdp: Option<XdpFeatures>,
    /// Offloads that matter to us.
    pub offloads: Offloads,
}

/// What a driver can do with XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures {
    /// Programs run in the driver and can redirect into sockets.
    pub native: bool,
    /// AF_XDP sockets without a copy.
    pub zero_copy: bool,
}

impl From<u64> for XdpFeatures {
    /// From the bits of `enum netdev_xdp_act` of `linux/netdev.h`.
    fn from(bits: u64) -> Self {
        const BASIC_AND_REDIRECT: u64 = 0b11;
        const XSK_ZEROCOPY: u64 = 1 << 3;
        Self {
            native: bits & BASIC_AND_REDIRECT == BASIC_AND_REDIRECT,
            zero_copy: bits & XSK_ZEROCOPY != 0,
        }
    }
}

/// Offloads; `None` where the driver does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Offloads {
    /// Generic receive offload.
    pub gro: Option<bool>,
    /// Large receive offload: XDP cannot run with it.
    pub lro: Option<bool>,
    /// Transmit checksum offload: on a veth's peer it leaves checksums unset.
    pub transmit_checksum: Option<bool>,
}

impl Interface {
    /// The command that gives it `count` queues.
    pub fn command_for_queues(&self, count: u32) -> String {
        let name = &self.name;
        if self.has_combined_queues {
            format!("ethtool -L {name} combined {count}")
        } else {
            format!("ethtool -L {name} rx {count} tx {count}")
        }
    }

    /// The interface called `name`.
    pub fn by_name(name: &str) -> io::Result<Self> {
        Self::ask(Which::Name(name))
    }

    /// The interface with this index.
    pub fn by_index(index: u32) -> io::Result<Self> {
        Self::ask(Which::Index(index))
    }

    fn ask(which: Which<'_>) -> io::Result<Self> {
        let answer = netlink::ask_link(which)?;
        let link = netlink::Link::parse(&answer)?;
        let attributes = link.attributes;
        let name = attributes
            .text(netlink::IFLA_IFNAME)
            .ok_or(io::ErrorKind::InvalidData)?;
        let ethtool = Ethtool::new(&name)?;
        let channels = ethtool.channels().ok();
        let queues = |of: Option<u32>, attribute| {
            of.filter(|count| *count > 0)
                .or_else(|| attributes.number(attribute))
                .unwrap_or(1)
        };
        Ok(Self {
            index: link.index,
            mac: attributes
                .find(netlink::IFLA_ADDRESS)
                .and_then(|mac| mac.try_into().ok())
                .unwrap_or_default(),
            mtu: attributes.number(netlink::IFLA_MTU).unwrap_or(0),
            is_up: link.flags & libc::IFF_UP as u32 != 0,
            has_carrier: attributes.find(netlink::IFLA_CARRIER) == Some(&[1]),
            driver: ethtool.driver().ok().filter(|driver| !driver.is_empty()),
            receive_queues: queues(
                channels.map(|c| c.receive.saturating_add(c.combined)),
                netlink::IFLA_NUM_RX_QUEUES,
            ),
            transmit_queues: queues(
                channels.map(|c| c.transmit.saturating_add(c.combined)),
                netlink::IFLA_NUM_TX_QUEUES,
            ),
            has_combined_queues: channels.is_none_or(|c| c.combined_max > 0),
            xdp_program: xdp_program(attributes),
            xdp: netlink::xdp_features(link.index)
                .ok()
                .map(XdpFeatures::from),
            offloads: offloads(&ethtool),
            name,
        })
    }
}

/// The first program that `IFLA_XDP` names: the one of its only mode, else native, generic, NIC.
fn xdp_program(attributes: Attributes<'_>) -> Option<u32> {
    let xdp = Attributes(attributes.find(netlink::IFLA_XDP)?);
    netlink::IFLA_XDP_PROGRAM_IDS
        .into_iter()
        .filter_map(|kind| xdp.number(kind))
        .find(|id| *id != 0)
}

fn offloads(ethtool: &Ethtool) -> Offloads {
    let is_on = |question| ethtool.ask(question).ok().map(|value| value != 0);
    Offloads {
        gro: is_on(Question::Gro),
        lro: ethtool
            .ask(Question::Flags)
            .ok()
            .map(|flags| flags & FLAG_LRO != 0),
        transmit_checksum: is_on(Question::TransmitChecksum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_known_by_name_and_index() {
        let lo = Interface::by_name("lo").unwrap();
        assert_eq!((lo.index, lo.mac, lo.xdp_program), (1, [0; 6], None));
        assert!(lo.mtu > 1280 && lo.receive_queues >= 1 && lo.transmit_queues >= 1);
        assert_eq!(Interface::by_index(1).unwrap(), lo);
    }

    #[test]
    fn there_is_no_such_interface() {
        let raw = |result: io::Result<Interface>| result.unwrap_err().raw_os_error();
        assert_eq!(raw(Interface::by_name("adit-nobody")), Some(libc::ENODEV));
        assert_eq!(raw(Interface::by_index(0x7fff_fff0)), Some(libc::ENODEV));
        assert!(Interface::by_name("a-name-that-is-too-long").is_err());
    }
}
