//! Identification (RFC 2407 §4.6.2): who somebody is, or whose traffic an SA is for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::Refusal;

const ID_IPV4_ADDR: u8 = 1;
const ID_FQDN: u8 = 2;
const ID_USER_FQDN: u8 = 3;
const ID_IPV4_ADDR_SUBNET: u8 = 4;
const ID_IPV6_ADDR: u8 = 5;
const ID_IPV6_ADDR_SUBNET: u8 = 6;
const ID_IPV4_ADDR_RANGE: u8 = 7;
const ID_IPV6_ADDR_RANGE: u8 = 8;
const ID_DER_ASN1_DN: u8 = 9;
const ID_DER_ASN1_GN: u8 = 10;
const ID_KEY_ID: u8 = 11;

/// Somebody, in one of the forms of RFC 2407 §4.6.2.1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// A host.
    Ipv4(Ipv4Addr),
    /// A domain name, as it came.
    Fqdn(Vec<u8>),
    /// `user@domain`, as it came.
    UserFqdn(Vec<u8>),
    /// An address and its mask.
    Ipv4Subnet(Ipv4Addr, Ipv4Addr),
    /// A host.
    Ipv6(Ipv6Addr),
    /// An address and its mask.
    Ipv6Subnet(Ipv6Addr, Ipv6Addr),
    /// First and last address.
    Ipv4Range(Ipv4Addr, Ipv4Addr),
    /// First and last address.
    Ipv6Range(Ipv6Addr, Ipv6Addr),
    /// An X.500 distinguished name in DER.
    DerAsn1Dn(Vec<u8>),
    /// An X.500 general name in DER.
    DerAsn1Gn(Vec<u8>),
    /// Whatever the two ends agreed on.
    KeyId(Vec<u8>),
}

impl Identity {
    /// The address, if this is a single host.
    #[must_use]
    pub fn host(&self) -> Option<IpAddr> {
        match *self {
            Self::Ipv4(address) => Some(address.into()),
            Self::Ipv6(address) => Some(address.into()),
            Self::Fqdn(_)
            | Self::UserFqdn(_)
            | Self::Ipv4Subnet(..)
            | Self::Ipv6Subnet(..)
            | Self::Ipv4Range(..)
            | Self::Ipv6Range(..)
            | Self::DerAsn1Dn(_)
            | Self::DerAsn1Gn(_)
            | Self::KeyId(_) => None,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Ipv4(_) => ID_IPV4_ADDR,
            Self::Fqdn(_) => ID_FQDN,
            Self::UserFqdn(_) => ID_USER_FQDN,
            Self::Ipv4Subnet(..) => ID_IPV4_ADDR_SUBNET,
            Self::Ipv6(_) => ID_IPV6_ADDR,
            Self::Ipv6Subnet(..) => ID_IPV6_ADDR_SUBNET,
            Self::Ipv4Range(..) => ID_IPV4_ADDR_RANGE,
            Self::Ipv6Range(..) => ID_IPV6_ADDR_RANGE,
            Self::DerAsn1Dn(_) => ID_DER_ASN1_DN,
            Self::DerAsn1Gn(_) => ID_DER_ASN1_GN,
            Self::KeyId(_) => ID_KEY_ID,
        }
    }

    fn parse(kind: u8, value: &[u8]) -> Option<Self> {
        Some(match kind {
            ID_IPV4_ADDR => Self::Ipv4(v4(value)?),
            ID_FQDN => Self::Fqdn(value.to_vec()),
            ID_USER_FQDN => Self::UserFqdn(value.to_vec()),
            ID_IPV4_ADDR_SUBNET => pair(value, v4).map(|(a, b)| Self::Ipv4Subnet(a, b))?,
            ID_IPV6_ADDR => Self::Ipv6(v6(value)?),
            ID_IPV6_ADDR_SUBNET => pair(value, v6).map(|(a, b)| Self::Ipv6Subnet(a, b))?,
            ID_IPV4_ADDR_RANGE => pair(value, v4).map(|(a, b)| Self::Ipv4Range(a, b))?,
            ID_IPV6_ADDR_RANGE => pair(value, v6).map(|(a, b)| Self::Ipv6Range(a, b))?,
            ID_DER_ASN1_DN => Self::DerAsn1Dn(value.to_vec()),
            ID_DER_ASN1_GN => Self::DerAsn1Gn(value.to_vec()),
            ID_KEY_ID => Self::KeyId(value.to_vec()),
            _ => return None,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ipv4(address) => out.extend_from_slice(&address.octets()),
            Self::Ipv6(address) => out.extend_from_slice(&address.octets()),
            Self::Ipv4Subnet(a, b) | Self::Ipv4Range(a, b) => {
                out.extend_from_slice(&a.octets());
                out.extend_from_slice(&b.octets());
            }
            Self::Ipv6Subnet(a, b) | Self::Ipv6Range(a, b) => {
                out.extend_from_slice(&a.octets());
                out.extend_from_slice(&b.octets());
            }
            Self::Fqdn(bytes)
            | Self::UserFqdn(bytes)
            | Self::DerAsn1Dn(bytes)
            | Self::DerAsn1Gn(bytes)
            | Self::KeyId(bytes) => out.extend_from_slice(bytes),
        }
    }
}

fn v4(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

fn v6(value: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from)
}

fn pair<T>(value: &[u8], half: impl Fn(&[u8]) -> Option<T>) -> Option<(T, T)> {
    let (first, second) = value.split_at(value.len() / 2);
    Some((half(first)?, half(second)?))
}

impl From<IpAddr> for Identity {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}

/// An empty name in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyIdentity;

impl fmt::Display for EmptyIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an identity is an address, a domain name, user@domain or #key-id")
    }
}

impl std::error::Error for EmptyIdentity {}

/// As an operator writes it: `192.0.2.1`, `gw.example.net` (or `@gw`), `user@example.net`, `#key`.
impl FromStr for Identity {
    type Err = EmptyIdentity;

    fn from_str(text: &str) -> Result<Self, EmptyIdentity> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        let (make, name): (fn(Vec<u8>) -> Self, &str) =
            match (text.strip_prefix('#'), text.strip_prefix('@')) {
                (Some(key), _) => (Self::KeyId, key),
                (_, Some(name)) => (Self::Fqdn, name),
                _ if text.contains('@') => (Self::UserFqdn, text),
                _ => (Self::Fqdn, text),
            };
        if name.is_empty() {
            return Err(EmptyIdentity);
        }
        Ok(make(name.as_bytes().to_vec()))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => write!(f, "{address}"),
            Self::Ipv6(address) => write!(f, "{address}"),
            Self::Ipv4Subnet(a, b) => write!(f, "{a}/{b}"),
            Self::Ipv6Subnet(a, b) => write!(f, "{a}/{b}"),
            Self::Ipv4Range(a, b) => write!(f, "{a}-{b}"),
            Self::Ipv6Range(a, b) => write!(f, "{a}-{b}"),
            Self::Fqdn(bytes) | Self::UserFqdn(bytes) => {
                write!(f, "{}", bytes.escape_ascii())
            }
            Self::KeyId(bytes) => write!(f, "#{}", bytes.escape_ascii()),
            Self::DerAsn1Dn(bytes) => write!(f, "DN of {} bytes", bytes.len()),
            Self::DerAsn1Gn(bytes) => write!(f, "GN of {} bytes", bytes.len()),
        }
    }
}

/// The body of an ID payload: somebody, and in quick mode the protocol and port of the traffic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identification {
    /// Who, or which hosts.
    pub identity: Identity,
    /// IP protocol; 0 is any.
    pub protocol: u8,
    /// Port; 0 is any.
    pub port: u16,
}

impl Identification {
    /// Reads the body of an ID payload.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let (&[kind, protocol, port_high, port_low], value) =
            body.split_first_chunk().ok_or(Refusal::BadIdentification)?;
        // RFC 2407 §4.6.2.1: each type of address has its exact length.
        let identity = Identity::parse(kind, value).ok_or(Refusal::BadIdentification)?;
        Ok(Self {
            identity,
            protocol,
            port: u16::from_be_bytes([port_high, port_low]),
        })
    }

    /// The body of an ID payload.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let port = self.port.to_be_bytes();
        let mut out = vec![self.identity.kind(), self.protocol, port[0], port[1]];
        self.identity.write(&mut out);
        out
    }
}

impl fmt::Display for Identification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}/{}]", self.identity, self.protocol, self.port)
    }
}
