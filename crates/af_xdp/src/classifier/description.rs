//! [`Description`]: what a classifier is to do, and the table rows that follow from it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

/// UDP ports one endpoint address can have.
pub const MAX_PORTS: usize = 8;

/// VLAN tags the program can look behind.
pub const MAX_VLAN_DEPTH: u8 = 2;

/// Endpoints and pools together.
pub const MAX_PREFIXES: usize = 1 << 16;

/// An address of ours at which tunnels end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: Ipv4Addr,
    /// Whether it takes raw ESP.
    pub esp: bool,
    /// The UDP ports it takes.
    pub udp_ports: Vec<u16>,
}

/// An IPv4 prefix; bits behind its length do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its length in bits.
    pub length: u8,
}

impl Prefix {
    /// Whether `address` is in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.address.to_bits()) & self.mask() == 0
    }

    /// The same prefix with the bits behind its length cleared.
    fn canonical(self) -> Self {
        let address = Ipv4Addr::from_bits(self.address.to_bits() & self.mask());
        Self { address, ..self }
    }

    fn mask(self) -> u32 {
        let free = 32_u32.saturating_sub(u32::from(self.length));
        u32::MAX.checked_shl(free).unwrap_or(0)
    }
}

/// What a classifier is to do. An address may stand in several endpoints: what they take adds up.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Description {
    /// Our tunnel addresses.
    pub endpoints: Vec<Endpoint>,
    /// Subscribers' addresses.
    pub pools: Vec<Prefix>,
    /// VLAN tags that may stand before the IP header.
    pub vlan_depth: u8,
}

/// Why a [`Description`] cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DescriptionError {
    /// More than [`MAX_PORTS`] ports at one address.
    TooManyPorts(Ipv4Addr),
    /// UDP port 0.
    PortZero(Ipv4Addr),
    /// A prefix length of 0 or above 32.
    PrefixLength(Prefix),
    /// A pool of one address that is also an endpoint.
    EndpointIsPool(Ipv4Addr),
    /// More than [`MAX_VLAN_DEPTH`] VLAN tags.
    VlanDepth(u8),
    /// Another VLAN depth than the program was loaded with.
    VlanDepthChanged,
    /// More than [`MAX_PREFIXES`] endpoints and pools.
    TooManyPrefixes(usize),
}

impl fmt::Display for DescriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyPorts(address) => {
                write!(f, "{address} has more than {MAX_PORTS} UDP ports")
            }
            Self::PortZero(address) => write!(f, "{address} cannot take UDP port 0"),
            Self::PrefixLength(Prefix { address, length }) => {
                write!(f, "{address}/{length} is no prefix for a pool")
            }
            Self::EndpointIsPool(address) => {
                write!(f, "{address} is a tunnel address and a pool of one address")
            }
            Self::VlanDepth(depth) => {
                write!(f, "{depth} VLAN tags are more than {MAX_VLAN_DEPTH}")
            }
            Self::VlanDepthChanged => {
                f.write_str("the VLAN depth can change only by loading the program again")
            }
            Self::TooManyPrefixes(count) => {
                write!(
                    f,
                    "{count} endpoints and pools are more than {MAX_PREFIXES}"
                )
            }
        }
    }
}

impl std::error::Error for DescriptionError {}

/// Octets of a [`Rule`] in the map: flags, then the ports.
pub(super) const RULE_LEN: usize = 4 + 2 * MAX_PORTS;

/// Where the ports start in it.
pub(super) const RULE_PORTS: usize = 4;

/// In [`Rule::flags`]: all of it goes to the workers.
pub(super) const FLAG_POOL: u32 = 1;
/// In [`Rule::flags`]: ESP goes to the workers.
pub(super) const FLAG_ESP: u32 = 2;

/// What the map says about a prefix. Unused ports are 0, which no rule can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Rule {
    flags: u32,
    ports: [u16; MAX_PORTS],
}

impl Rule {
    fn add(&mut self, endpoint: &Endpoint) -> Result<(), DescriptionError> {
        if endpoint.esp {
            self.flags |= FLAG_ESP;
        }
        for port in &endpoint.udp_ports {
            if *port == 0 {
                return Err(DescriptionError::PortZero(endpoint.address));
            }
            if self.ports.contains(port) {
                continue;
            }
            let free = self.ports.iter_mut().find(|slot| **slot == 0);
            *free.ok_or(DescriptionError::TooManyPorts(endpoint.address))? = *port;
        }
        Ok(())
    }

    /// As the program reads it: flags in host order, ports in network order.
    pub(super) fn to_octets(self) -> [u8; RULE_LEN] {
        let mut octets = [0; RULE_LEN];
        octets[..RULE_PORTS].copy_from_slice(&self.flags.to_ne_bytes());
        let places = octets[RULE_PORTS..].chunks_exact_mut(2);
        for (place, port) in places.zip(self.ports) {
            place.copy_from_slice(&port.to_be_bytes());
        }
        octets
    }
}

impl Description {
    /// The rows of the table, one per prefix.
    pub(super) fn rules(&self) -> Result<BTreeMap<Prefix, Rule>, DescriptionError> {
        if self.vlan_depth > MAX_VLAN_DEPTH {
            return Err(DescriptionError::VlanDepth(self.vlan_depth));
        }
        let mut rules: BTreeMap<Prefix, Rule> = BTreeMap::new();
        for endpoint in &self.endpoints {
            let address = endpoint.address;
            let prefix = Prefix {
                address,
                length: 32,
            };
            rules.entry(prefix).or_default().add(endpoint)?;
        }
        for pool in &self.pools {
            if !(1..=32).contains(&pool.length) {
                return Err(DescriptionError::PrefixLength(*pool));
            }
            let rule = rules.entry(pool.canonical()).or_insert(Rule {
                flags: FLAG_POOL,
                ports: [0; MAX_PORTS],
            });
            if rule.flags != FLAG_POOL {
                return Err(DescriptionError::EndpointIsPool(pool.address));
            }
        }
        match rules.len() {
            count if count > MAX_PREFIXES => Err(DescriptionError::TooManyPrefixes(count)),
            _ => Ok(rules),
        }
    }
}
