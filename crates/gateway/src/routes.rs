//! Where the network side leads: the kernel's routes and neighbours, as the workers need them.
//!
//! | the kernel says | the workers do |
//! |---|---|
//! | via a next hop on an XDP interface | send to its adjacency, a *managed* neighbour |
//! | on-link on an XDP interface | send to the neighbour, a managed one as soon as somebody sends to it |
//! | by any other interface, or local | hand to the host through `adit0` |
//! | blackhole, unreachable, prohibit | discard, in silence or with ICMP |
//!
//! The first packet for an unknown on-link neighbour comes to the slow path, which has the kernel
//! look for the neighbour and sends the packet back into the line, where it waits for the answer;
//! a neighbour that does not answer is forgotten. Next hops are managed neighbours because the
//! kernel sees none of our traffic: it would keep an ordinary entry with a MAC address that has
//! changed long ago. It asks a managed one every minute or so, and more often because we say so.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the kernel's large vocabulary little is for us"
)]

mod book;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dataplane::Shared;
use dataplane::change::{Adjacency, RouteTarget, SharedChange};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::clock;
use crate::host::ROUTE_PROTOCOL;
use crate::netlink::{Existing, Netlink};
use crate::port::TUN;
use book::{Book, HOST, Hop, Neighbour, Precedence, Step, Table, Way};

/// Multicast groups of rtnetlink: neighbours (3) and IPv4 routes (7), as bits.
const GROUPS: u32 = 1 << 2 | 1 << 6;
/// The routing table of the host's own addresses (`RT_TABLE_LOCAL`).
const LOCAL: u32 = 255;

/// How often a neighbour that is not known to be there is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a managed neighbour has to show that it is there, with the same MAC address.
const VERIFY_EVERY: Duration = Duration::from_secs(15);
/// How many are verified at a time.
const VERIFY_PAGE: usize = 64;

/// An interface that the workers send on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outlet {
    pub(crate) interface: u32,
    pub(crate) port: u8,
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: u16,
}

/// Follows the kernel's tables.
pub(crate) struct Routes {
    netlink: Netlink,
    ears: Netlink,
    book: Book,
    /// When to look again for neighbours that are not known to be there.
    look_at: Instant,
    /// When to go on verifying, and who was the last.
    verify_at: Instant,
    verified: Option<Hop>,
}

/// Sends everything to `adit0`, as is right where the kernel routes.
pub(crate) fn leave_by_the_host(shared: &Shared, mtu: u16) {
    for change in host_changes(mtu) {
        shared.apply(change);
    }
}

fn host_changes(mtu: u16) -> [SharedChange; 2] {
    let adjacency = Adjacency {
        port: TUN,
        mtu,
        rewrite: None,
        is_resolved: true,
    };
    let prefix = ipnet::IpNet::V4(ipnet::Ipv4Net::default());
    let target = RouteTarget::Via(HOST);
    [
        SharedChange::SetAdjacency(HOST, adjacency),
        SharedChange::SetRoute {
            vrf: 0,
            prefix,
            target,
        },
    ]
}

impl Routes {
    /// Reads the kernel's tables and follows them from here on. `adit0` is the interface index of
    /// the TUN device: routes to it are our own.
    pub(crate) fn start(
        outlets: Vec<Outlet>,
        adit0: u32,
        host_mtu: u16,
        shared: &Shared,
    ) -> Result<Self> {
        let ears = Netlink::listen(GROUPS).context("cannot listen to the kernel's routes")?;
        let mut routes = Self {
            netlink: Netlink::open()?,
            ears,
            book: Book::new(outlets, adit0),
            look_at: clock::now(),
            verify_at: clock::now() + VERIFY_EVERY,
            verified: None,
        };
        let [adjacency, _] = host_changes(host_mtu);
        shared.apply(adjacency);
        routes.read_everything(shared)?;
        Ok(routes)
    }

    /// Readable when the kernel has news.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.ears.socket().as_fd()
    }

    /// When to look after neighbours, though the kernel says nothing.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        let missing = self.book.misses_neighbours().then_some(self.look_at);
        let present = self.book.manages_any().then_some(self.verify_at);
        missing.into_iter().chain(present).min()
    }

    /// Takes the news; how much there was.
    pub(crate) fn follow(&mut self, shared: &Shared) -> usize {
        self.look_for_the_missing(shared);
        self.verify_the_present();
        match self.ears.heard() {
            Ok(news) => {
                let count = news.len();
                for message in news {
                    self.take(message, shared);
                }
                count
            }
            // The kernel had more to say than the socket holds: read everything anew.
            Err(error) => {
                tracing::debug!(%error, "routes are read anew");
                if let Err(error) = self.read_everything(shared) {
                    tracing::warn!("the kernel's routes cannot be read: {error:#}");
                }
                1
            }
        }
    }

    /// News of a neighbour may be overtaken by older news; what is missing is asked for again.
    fn look_for_the_missing(&mut self, shared: &Shared) {
        let now = clock::now();
        if now < self.look_at || !self.book.misses_neighbours() {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        let mut question = NeighbourMessage::default();
        question.header.family = AddressFamily::Inet;
        let question = RouteNetlinkMessage::GetNeighbour(question);
        for message in self.netlink.dump(question).unwrap_or_default() {
            self.take(message, shared);
        }
    }

    /// Has the kernel ask managed neighbours, a page at a time, whether they are still there.
    fn verify_the_present(&mut self) {
        let now = clock::now();
        if now < self.verify_at {
            return;
        }
        let page = self.book.managed_after(self.verified, VERIFY_PAGE);
        for hop in &page {
            // One without a MAC address is refused: it is being asked for anyway.
            let _ = self.verify(*hop).and_then(|()| self.manage(*hop));
        }
        let is_last = page.len() < VERIFY_PAGE;
        self.verified = page.last().copied().filter(|_| !is_last);
        self.verify_at = now + if is_last { VERIFY_EVERY } else { LOOK_EVERY };
    }

    fn read_everything(&mut self, shared: &Shared) -> Result<()> {
        let mut neighbours = NeighbourMessage::default();
        neighbours.header.family = AddressFamily::Inet;
        let neighbours = self
            .netlink
            .dump(RouteNetlinkMessage::GetNeighbour(neighbours))?;
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        let routes = self.netlink.dump(RouteNetlinkMessage::GetRoute(request))?;
        self.book.begin_anew();
        for message in neighbours.into_iter().chain(routes) {
            self.take(message, shared);
        }
        let steps = self.book.end_anew();
        self.carry_out(steps, shared);
        Ok(())
    }

    fn take(&mut self, message: RouteNetlinkMessage, shared: &Shared) {
        let steps = match message {
            RouteNetlinkMessage::NewRoute(route) => match self.read_route(&route) {
                Some((prefix, rank, way)) => self.book.add(prefix, rank, way),
                None => Vec::new(),
            },
            RouteNetlinkMessage::DelRoute(route) => match self.read_route(&route) {
                Some((prefix, rank, _)) => self.book.remove(prefix, rank),
                None => Vec::new(),
            },
            RouteNetlinkMessage::NewNeighbour(message) => match read_neighbour(&message) {
                Some((hop, neighbour)) => self.book.neighbour(hop, neighbour),
                None => Vec::new(),
            },
            RouteNetlinkMessage::DelNeighbour(message) => match read_neighbour(&message) {
                Some((hop, _)) => self.book.neighbour(hop, Neighbour::Gone),
                None => Vec::new(),
            },
            _ => Vec::new(),
        };
        self.carry_out(steps, shared);
    }

    fn carry_out(&mut self, steps: Vec<Step>, shared: &Shared) {
        for step in steps {
            match step {
                Step::Apply(change) => shared.apply(change),
                Step::Manage(hop) => {
                    if let Err(error) = self.manage(hop) {
                        let address = hop.address;
                        tracing::warn!(%address, "the next hop cannot be managed: {error}");
                    }
                }
                // It may be gone already.
                Step::Forget(hop) => drop(self.give_up(hop)),
            }
        }
    }

    /// A packet for nobody that the workers know: whether the kernel is looking for a neighbour of
    /// that address by now, so that the packet can wait for it in the line.
    pub(crate) fn seek(&mut self, packet: &[u8], shared: &Shared) -> bool {
        // RFC 791 §3.1: the destination stands in octets 16 to 19.
        let Some(destination) = packet.get(16..).and_then(<[u8]>::first_chunk::<4>) else {
            return false;
        };
        let steps = self.book.seek(IpAddr::from(*destination));
        let is_sought = !steps.is_empty();
        self.carry_out(steps, shared);
        is_sought
    }

    /// Has the kernel keep the neighbour's MAC address fresh though it sees no traffic to it.
    fn manage(&mut self, hop: Hop) -> io::Result<()> {
        let mut message = neighbour_message(hop);
        let managed = NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed);
        message.attributes.push(managed);
        let order = RouteNetlinkMessage::NewNeighbour(message);
        self.netlink.order(order, Existing::Replace)
    }

    /// Has the kernel ask the neighbour at once. It does not take a state for a managed one, so
    /// that it has to be managed anew.
    fn verify(&mut self, hop: Hop) -> io::Result<()> {
        let mut message = neighbour_message(hop);
        message.header.state = NeighbourState::Probe;
        let order = RouteNetlinkMessage::NewNeighbour(message);
        self.netlink.order(order, Existing::Change)
    }

    fn give_up(&mut self, hop: Hop) -> io::Result<()> {
        let order = RouteNetlinkMessage::DelNeighbour(neighbour_message(hop));
        self.netlink.order(order, Existing::Change)
    }

    fn read_route(&self, route: &RouteMessage) -> Option<(ipnet::IpNet, Precedence, Way)> {
        let mut read = ReadRoute::of(route)?;
        if route.header.protocol == RouteProtocol::from(ROUTE_PROTOCOL) {
            return None;
        }
        let way = match route.header.kind {
            RouteType::Unicast => self.book.way(read.hops.drain(..).next()?)?,
            RouteType::Local => Way::Host,
            RouteType::BlackHole => Way::Blackhole,
            RouteType::Unreachable | RouteType::Prohibit => Way::Unreachable,
            _ => return None,
        };
        Some((read.prefix, read.rank, way))
    }
}

impl Drop for Routes {
    /// The kernel would ask for our neighbours for ever.
    fn drop(&mut self) {
        for hop in self.book.managed() {
            // Who is gone by itself needs no goodbye.
            let _ = self.give_up(hop);
        }
    }
}

/// What of a route matters to us.
struct ReadRoute {
    prefix: ipnet::IpNet,
    rank: Precedence,
    /// Interface and next hop of each path; without an address the prefix is on-link.
    hops: Vec<(u32, Option<IpAddr>)>,
}

impl ReadRoute {
    fn of(route: &RouteMessage) -> Option<Self> {
        let mut address = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let (mut metric, mut table) = (0, u32::from(route.header.table));
        let mut single = (0, None);
        let mut hops = Vec::new();
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(v4)) => address = IpAddr::V4(*v4),
                RouteAttribute::Gateway(RouteAddress::Inet(v4)) => single.1 = Some(IpAddr::V4(*v4)),
                RouteAttribute::Oif(interface) => single.0 = *interface,
                RouteAttribute::Priority(priority) => metric = *priority,
                RouteAttribute::Table(number) => table = *number,
                RouteAttribute::MultiPath(paths) => hops.extend(paths.iter().map(read_path)),
                _ => {}
            }
        }
        let table = match table {
            LOCAL => Table::Local,
            main if main == u32::from(RouteHeader::RT_TABLE_MAIN) => Table::Main,
            _ => return None,
        };
        if hops.is_empty() {
            hops.push(single);
        }
        let prefix = ipnet::IpNet::new(address, route.header.destination_prefix_length).ok()?;
        Some(Self {
            prefix,
            rank: Precedence { table, metric },
            hops,
        })
    }
}

fn read_path(path: &netlink_packet_route::route::RouteNextHop) -> (u32, Option<IpAddr>) {
    let gateway = path
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
            _ => None,
        });
    (path.interface_index, gateway)
}

fn neighbour_message(hop: Hop) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = hop.interface;
    message.header.state = NeighbourState::None;
    let address = NeighbourAddress::from(hop.address);
    message.attributes = vec![NeighbourAttribute::Destination(address)];
    message
}

/// A neighbour, and what the kernel knows of it.
fn read_neighbour(message: &NeighbourMessage) -> Option<(Hop, Neighbour)> {
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(*v4),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    let hop = Hop {
        interface: message.header.ifindex,
        address: IpAddr::V4(address?),
    };
    let neighbour = match (message.header.state, mac) {
        (NeighbourState::Failed, _) => Neighbour::Silent,
        (NeighbourState::Incomplete | NeighbourState::None, _) | (_, None) => Neighbour::Sought,
        (_, Some(mac)) => Neighbour::At(mac),
    };
    Some((hop, neighbour))
}
