//! The XDP program: what goes to the workers, what stays with the host.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use crate::bpf::{AttachError, AttachMode, Link, LoadError};
use crate::socket::Socket;

/// UDP ports one endpoint address can have.
pub const MAX_PORTS: usize = 8;

/// VLAN tags the program can look behind.
pub const MAX_VLAN_DEPTH: u8 = 2;

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

/// An IPv4 prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its length in bits.
    pub length: u8,
}

/// What a classifier is to do.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Description {
    /// Our tunnel addresses.
    pub endpoints: Vec<Endpoint>,
    /// Subscribers' addresses.
    pub pools: Vec<Prefix>,
    /// VLAN tags that may stand before the IP header.
    pub vlan_depth: u8,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Not IPv4, or to nobody we know: for the host.
    Foreign,
    /// ESP to an endpoint: for a worker, or for the host if there is none.
    Esp,
    /// UDP to a port of an endpoint: for a worker, or for the host if there is none.
    Udp,
    /// A fragment to an endpoint: for the host, which reassembles.
    Fragment,
    /// Anything else to an endpoint: for the host.
    Host,
    /// To a subscriber: for a worker, or dropped if there is none.
    Pool,
}

/// Frames counted by the program, summed over the CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// [`Class::Foreign`].
    pub foreign: u64,
    /// [`Class::Esp`].
    pub esp: u64,
    /// [`Class::Udp`].
    pub udp: u64,
    /// [`Class::Fragment`].
    pub fragment: u64,
    /// [`Class::Host`].
    pub host: u64,
    /// [`Class::Pool`].
    pub pool: u64,
    /// Frames to an endpoint that went to the host because no socket serves their queue.
    pub unserved_endpoint: u64,
    /// Frames to a pool that were dropped because no socket serves their queue.
    pub unserved_pool: u64,
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
    /// More prefixes than the table holds.
    TooManyPrefixes(usize),
}

impl fmt::Display for DescriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for DescriptionError {}

/// Why a classifier could not be loaded or changed.
#[derive(Debug)]
pub enum ClassifierError {
    /// The description is at fault.
    Description(DescriptionError),
    /// The kernel did not take the program.
    Load(LoadError),
    /// A map could not be made or changed.
    Map(io::Error),
}

impl fmt::Display for ClassifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for ClassifierError {}

/// What `frame` is under `description`: the program's meaning in Rust.
pub fn classify(_frame: &[u8], _description: &Description) -> Class {
    todo!()
}

/// A classifier in the kernel: the program of one interface, and its maps.
#[derive(Debug)]
pub struct Classifier {}

impl Classifier {
    /// Loads the program for an interface with `queues` queues. Nothing is attached yet.
    pub fn load(_description: &Description, _queues: u32) -> Result<Self, ClassifierError> {
        todo!()
    }

    /// Attaches it. It stays until the link is detached or dropped, or the process ends.
    pub fn attach(&self, _interface: u32, _mode: AttachMode) -> Result<Link, AttachError> {
        todo!()
    }

    /// Changes endpoints and pools while the program runs: new ones first, then old ones go.
    pub fn update(&mut self, _description: &Description) -> Result<(), ClassifierError> {
        todo!()
    }

    /// Gives the frames that arrive on `queue` to `socket`.
    pub fn serve(&self, _queue: u32, _socket: &Socket) -> io::Result<()> {
        todo!()
    }

    /// Takes `queue` away from its socket.
    pub fn abandon(&self, _queue: u32) -> io::Result<()> {
        todo!()
    }

    /// What has been counted since it was loaded.
    pub fn counters(&self) -> io::Result<Counters> {
        todo!()
    }
}
