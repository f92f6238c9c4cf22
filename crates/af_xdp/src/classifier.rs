//! The XDP program: what goes to the workers, what stays with the host.
//!
//! ```text
//!                      ┌─ endpoint ──┬─ fragment ─────────────► host, which reassembles
//!  Ethernet, VLANs,    │             ├─ ESP, UDP to a port ───► socket of the queue, else host
//!  IPv4 ─► destination ┤             └─ anything else ────────► host
//!  looked up by        ├─ pool ───────────────────────────────► socket of the queue, else dropped
//!  longest prefix      └─ neither, or no IPv4 ────────────────► host
//! ```
//!
//! So it fails open for the host and closed for subscribers: when no worker serves a queue, ssh and
//! ARP go on, tunnel packets reach the host's sockets, and nothing is forwarded in clear. The
//! addresses are map entries, changed while the program runs; only the VLAN depth is compiled in.

mod description;
mod emit;
mod reference;

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use crate::bpf::{self, AttachError, AttachMode, Link, LoadError, LpmTrie, Program, SocketMap};
use crate::socket::Socket;

pub use description::{
    Description, DescriptionError, Endpoint, MAX_PORTS, MAX_PREFIXES, MAX_VLAN_DEPTH, Prefix,
};
pub use reference::classify;

use description::{RULE_LEN, Rule};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
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

impl Class {
    /// Every class, in the order of their counters.
    pub const ALL: [Self; 6] = [
        Self::Foreign,
        Self::Esp,
        Self::Udp,
        Self::Fragment,
        Self::Host,
        Self::Pool,
    ];

    /// Whether a worker gets it, if one serves the queue.
    pub fn is_for_a_worker(self) -> bool {
        matches!(self, Self::Esp | Self::Udp | Self::Pool)
    }
}

/// Counter of frames to an endpoint whose queue has no socket; the classes come before it.
const UNSERVED_ENDPOINT: u32 = Class::ALL.len() as u32;
/// Counter of frames to a pool whose queue has no socket.
const UNSERVED_POOL: u32 = UNSERVED_ENDPOINT + 1;
/// How many counters there are.
const COUNTERS: u32 = UNSERVED_POOL + 1;

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
        match self {
            Self::Description(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
            Self::Map(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                f.write_str("making eBPF maps needs CAP_BPF and CAP_NET_ADMIN")
            }
            Self::Map(error) => write!(f, "making or changing an eBPF map: {error}"),
        }
    }
}

impl std::error::Error for ClassifierError {}

impl From<DescriptionError> for ClassifierError {
    fn from(error: DescriptionError) -> Self {
        Self::Description(error)
    }
}

impl From<LoadError> for ClassifierError {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl From<io::Error> for ClassifierError {
    fn from(error: io::Error) -> Self {
        Self::Map(error)
    }
}

/// A classifier in the kernel: the program of one interface, and its maps.
#[derive(Debug)]
pub struct Classifier {
    program: Program,
    table: LpmTrie,
    sockets: SocketMap,
    counters: bpf::Counters,
    /// What `table` holds.
    rules: BTreeMap<Prefix, Rule>,
    vlan_depth: u8,
}

impl Classifier {
    /// Loads the program for an interface with `queues` queues. Nothing is attached yet.
    pub fn load(description: &Description, queues: u32) -> Result<Self, ClassifierError> {
        let rules = description.rules()?;
        let table = LpmTrie::new("adit_prefixes", RULE_LEN as u32, MAX_PREFIXES as u32)?;
        let sockets = SocketMap::new("adit_sockets", queues)?;
        let counters = bpf::Counters::new("adit_classes", COUNTERS)?;
        let maps = emit::Maps {
            table: table.fd(),
            sockets: sockets.fd(),
            counters: counters.fd(),
        };
        let program = Program::load("adit_classify", &emit::emit(description.vlan_depth, maps))?;
        let mut classifier = Self {
            program,
            table,
            sockets,
            counters,
            rules: BTreeMap::new(),
            vlan_depth: description.vlan_depth,
        };
        classifier.enter(rules)?;
        Ok(classifier)
    }

    /// Attaches it. It stays until the link is detached or dropped, or the process ends.
    pub fn attach(&self, interface: u32, mode: AttachMode) -> Result<Link, AttachError> {
        self.program.attach(interface, mode)
    }

    /// Changes endpoints and pools while the program runs: new ones first, then old ones go. The
    /// VLAN depth cannot change.
    pub fn update(&mut self, description: &Description) -> Result<(), ClassifierError> {
        if description.vlan_depth != self.vlan_depth {
            return Err(DescriptionError::VlanDepthChanged.into());
        }
        self.enter(description.rules()?)
    }

    /// Makes the table hold `rules`. When it fails half-way, it can be tried again.
    fn enter(&mut self, rules: BTreeMap<Prefix, Rule>) -> Result<(), ClassifierError> {
        for (prefix, rule) in &rules {
            if self.rules.get(prefix) != Some(rule) {
                self.table
                    .insert(prefix.address, prefix.length, &rule.to_octets())?;
                self.rules.insert(*prefix, *rule);
            }
        }
        let old = self
            .rules
            .keys()
            .filter(|prefix| !rules.contains_key(prefix));
        for prefix in old.copied().collect::<Vec<_>>() {
            self.table.remove(prefix.address, prefix.length)?;
            self.rules.remove(&prefix);
        }
        Ok(())
    }

    /// Gives the frames that arrive on `queue` to `socket`, which must be bound to it: the kernel
    /// drops what a socket of another queue is given.
    pub fn serve(&self, queue: u32, socket: &Socket) -> io::Result<()> {
        if socket.bound_to().1 != queue {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.sockets.set(queue, socket.fd())
    }

    /// Takes `queue` away from its socket. Closing the socket does the same.
    pub fn abandon(&self, queue: u32) -> io::Result<()> {
        self.sockets.clear(queue)
    }

    /// What has been counted since it was loaded.
    pub fn counters(&self) -> io::Result<Counters> {
        let read = |class: Class| self.counters.read(class as u32);
        Ok(Counters {
            foreign: read(Class::Foreign)?,
            esp: read(Class::Esp)?,
            udp: read(Class::Udp)?,
            fragment: read(Class::Fragment)?,
            host: read(Class::Host)?,
            pool: read(Class::Pool)?,
            unserved_endpoint: self.counters.read(UNSERVED_ENDPOINT)?,
            unserved_pool: self.counters.read(UNSERVED_POOL)?,
        })
    }

    /// The program, for test runs and for [`Link::update`].
    pub fn program(&self) -> &Program {
        &self.program
    }
}

#[cfg(test)]
mod tests;
