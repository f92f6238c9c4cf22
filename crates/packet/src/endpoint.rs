//! [`Endpoint`]: an address and a port, of either family, small enough for a hot line.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An IP address (IPv4 as an IPv4-mapped IPv6 address, RFC 4291 §2.5.5.2) and a UDP port; the port
/// is 0 where the protocol has none, as for raw ESP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Endpoint {
    address: [u8; 16],
    port: u16,
}

const _: () = assert!(size_of::<Endpoint>() == 18);

impl Endpoint {
    /// The endpoint at `address` and `port`.
    pub fn new(address: IpAddr, port: u16) -> Self {
        let address = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Self { address, port }
    }

    /// The address, IPv4-mapped ones as IPv4.
    pub fn address(&self) -> IpAddr {
        Ipv6Addr::from(self.address).to_canonical()
    }

    /// The UDP port, 0 if there is none.
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
}
