//! [`Endpoint`]: an address and a port, of either family, small enough for a hot line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An IP address (IPv4 as an IPv4-mapped IPv6 address, RFC 4291 §2.5.5.2) and a UDP port; the port
/// is 0 where the protocol has none, as for raw ESP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Endpoint {
    address: [u8; 16],
    port: u16,
}

const _: () = assert!(size_of::<Endpoint>() == 18);

/// RFC 4291 §2.5.5.2: what stands in front of an IPv4 address.
const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];

impl Endpoint {
    /// The endpoint at `address` and `port`.
    #[inline]
    pub fn new(address: IpAddr, port: u16) -> Self {
        let address = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Self { address, port }
    }

    /// The endpoint at an IPv4 address.
    #[inline]
    pub fn v4(address: [u8; 4], port: u16) -> Self {
        let mut mapped = MAPPED;
        mapped[12..].copy_from_slice(&address);
        Self {
            address: mapped,
            port,
        }
    }

    /// The address, if it is of IPv4.
    #[inline]
    pub fn as_v4(&self) -> Option<Ipv4Addr> {
        let [prefix @ .., a, b, c, d] = self.address;
        (prefix == MAPPED[..12]).then_some(Ipv4Addr::new(a, b, c, d))
    }

    /// Whether another endpoint is at the same address.
    #[inline]
    pub fn is_at(&self, other: &Self) -> bool {
        self.address == other.address
    }

    /// The address, IPv4-mapped ones as IPv4.
    pub fn address(&self) -> IpAddr {
        Ipv6Addr::from(self.address).to_canonical()
    }

    /// The UDP port, 0 if there is none.
    #[inline]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same address with another port.
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(socket: SocketAddr) -> Self {
        Self::new(socket.ip(), socket.port())
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint.address(), endpoint.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&SocketAddr::from(*self), f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_way_there_and_back() {
        for text in ["192.0.2.1:4500", "[2001:db8::1]:500", "10.0.0.1:0"] {
            let socket: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(Endpoint::from(socket)), socket);
            assert_eq!(Endpoint::from(socket).to_string(), text);
        }
    }

    #[test]
    fn an_ipv4_endpoint_is_the_same_by_either_way() {
        let address = Ipv4Addr::new(192, 0, 2, 7);
        let endpoint = Endpoint::v4(address.octets(), 4500);
        assert_eq!(endpoint, Endpoint::new(address.into(), 4500));
        assert_eq!(endpoint.as_v4(), Some(address));
        assert!(endpoint.is_at(&endpoint.with_port(0)));
        let other = Endpoint::new("2001:db8::1".parse().unwrap(), 4500);
        assert_eq!(other.as_v4(), None);
        assert!(!endpoint.is_at(&other));
    }
}
