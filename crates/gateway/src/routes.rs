//! Where the network side leads.
//!
//! With sockets the kernel routes: everything leaves by `adit0`.


use dataplane::Shared;
use dataplane::change::{Adjacency, AdjacencyId, RouteTarget, SharedChange};

use crate::port::TUN;

/// The adjacency of `adit0`: the host, and with sockets everything behind it.
const HOST: AdjacencyId = AdjacencyId(0);

/// Sends everything to `adit0`, as is right where the kernel routes.
pub(crate) fn leave_by_the_host(shared: &Shared, mtu: u16) {
    let adjacency = Adjacency { port: TUN, mtu, rewrite: None, is_resolved: true };
    shared.apply(SharedChange::SetAdjacency(HOST, adjacency));
    let prefix = ipnet::IpNet::V4(ipnet::Ipv4Net::default());
    shared.apply(SharedChange::SetRoute { vrf: 0, prefix, target: RouteTarget::Via(HOST) });
}
