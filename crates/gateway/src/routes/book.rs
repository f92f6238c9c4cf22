//! The kernel's routes as a book: what is in it, and what a new line means for the workers.
//!
//! Nothing here talks to the kernel; a line goes in, [`Step`]s come out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dataplane::change::{Adjacency, AdjacencyId, RouteTarget, SharedChange};
use ipnet::IpNet;

use super::Outlet;

/// The adjacency of `adit0`: the host, and with sockets everything behind it.
pub(super) const HOST: AdjacencyId = AdjacencyId(0);
/// The metric of a route to one neighbour: any host route of the kernel's is better.
const NEIGHBOUR_METRIC: u32 = u32::MAX;
/// Adjacencies there can be; further neighbours are reached through the host.
const ADJACENCIES: u16 = 4096;

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hop {
    pub(super) interface: u32,
    pub(super) address: IpAddr,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Via(Hop),
    Host,
    Blackhole,
    Unreachable,
}

/// What has to be done.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// In the tables of the workers.
    Apply(SharedChange),
    /// In the kernel: make this a managed neighbour.
    Manage(Hop),
}

/// The routes and neighbours that matter.
pub(super) struct Book {
    outlets: Vec<Outlet>,
    adit0: u32,
    /// By prefix, by metric: the least metric holds.
    routes: BTreeMap<IpNet, BTreeMap<u32, Way>>,
    adjacencies: BTreeMap<Hop, AdjacencyId>,
    neighbours: BTreeMap<Hop, [u8; 6]>,
    managed: BTreeSet<Hop>,
    /// While everything is read anew: what the workers had before.
    before: Option<BTreeMap<IpNet, Way>>,
}

impl Book {
    pub(super) fn new(outlets: Vec<Outlet>, adit0: u32) -> Self {
        Self {
            outlets,
            adit0,
            routes: BTreeMap::new(),
            adjacencies: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            managed: BTreeSet::new(),
            before: None,
        }
    }

    /// Where a path of the kernel's leads; `None` for our own routes to `adit0`.
    pub(super) fn way(&self, (interface, gateway): (u32, Option<IpAddr>)) -> Option<Way> {
        if interface == self.adit0 {
            return None;
        }
        let is_ours = self.outlet(interface).is_some();
        Some(match gateway {
            Some(address) if is_ours => Way::Via(Hop { interface, address }),
            _ => Way::Host,
        })
    }

    /// Everything is going to be read anew: nothing is forgotten until [`Book::end_anew`].
    pub(super) fn begin_anew(&mut self) -> Vec<Step> {
        let best = |(prefix, ways): (IpNet, BTreeMap<u32, Way>)| {
            ways.into_values().next().map(|way| (prefix, way))
        };
        self.before = Some(
            std::mem::take(&mut self.routes)
                .into_iter()
                .filter_map(best)
                .collect(),
        );
        Vec::new()
    }

    /// What was not read again is gone.
    pub(super) fn end_anew(&mut self) -> Vec<Step> {
        let before = self.before.take().unwrap_or_default();
        let gone = before
            .into_keys()
            .filter(|prefix| !self.routes.contains_key(prefix));
        gone.map(|prefix| Step::Apply(SharedChange::RemoveRoute { vrf: 0, prefix }))
            .collect()
    }

    /// A route appears, or another takes its place.
    pub(super) fn add(&mut self, prefix: IpNet, metric: u32, way: Way) -> Vec<Step> {
        let best_before = self.best(prefix);
        self.routes.entry(prefix).or_default().insert(metric, way);
        let best = self.best(prefix);
        if best == best_before && self.before.is_none() {
            Vec::new()
        } else {
            self.lead(prefix)
        }
    }

    /// A route disappears.
    pub(super) fn remove(&mut self, prefix: IpNet, metric: u32) -> Vec<Step> {
        let best_before = self.best(prefix);
        if let Entry::Occupied(mut ways) = self.routes.entry(prefix) {
            ways.get_mut().remove(&metric);
            if ways.get().is_empty() {
                ways.remove();
            }
        }
        if self.best(prefix) == best_before {
            Vec::new()
        } else {
            self.lead(prefix)
        }
    }

    /// A neighbour is there, is elsewhere, or is not there.
    pub(super) fn neighbour(&mut self, hop: Hop, mac: Option<[u8; 6]>) -> Vec<Step> {
        if self.outlet(hop.interface).is_none() {
            return Vec::new();
        }
        match mac {
            Some(mac) => self.neighbours.insert(hop, mac),
            None => self.neighbours.remove(&hop),
        };
        let mut steps = self
            .adjacency(hop)
            .map_or_else(Vec::new, |(_, steps)| steps);
        if mac.is_some() && self.adjacencies.contains_key(&hop) {
            steps.extend(self.add(IpNet::from(hop.address), NEIGHBOUR_METRIC, Way::Via(hop)));
        }
        steps
    }

    fn outlet(&self, interface: u32) -> Option<Outlet> {
        self.outlets
            .iter()
            .find(|outlet| outlet.interface == interface)
            .copied()
    }

    fn best(&self, prefix: IpNet) -> Option<Way> {
        self.routes
            .get(&prefix)
            .and_then(|ways| ways.values().next())
            .copied()
    }

    /// Tells the workers where `prefix` leads by now.
    fn lead(&mut self, prefix: IpNet) -> Vec<Step> {
        let Some(way) = self.best(prefix) else {
            return vec![Step::Apply(SharedChange::RemoveRoute { vrf: 0, prefix })];
        };
        let mut steps = Vec::new();
        let target = match way {
            Way::Host => RouteTarget::Via(HOST),
            Way::Blackhole => RouteTarget::Blackhole,
            Way::Unreachable => RouteTarget::Unreachable,
            Way::Via(hop) => match self.adjacency(hop) {
                Some((id, before)) => {
                    steps = before;
                    RouteTarget::Via(id)
                }
                None => RouteTarget::Via(HOST),
            },
        };
        steps.push(Step::Apply(SharedChange::SetRoute {
            vrf: 0,
            prefix,
            target,
        }));
        steps
    }

    /// The adjacency of a next hop, as it is known by now, and what makes the workers know it.
    fn adjacency(&mut self, hop: Hop) -> Option<(AdjacencyId, Vec<Step>)> {
        let Outlet { port, mac, mtu, .. } = self.outlet(hop.interface)?;
        let next = self.adjacencies.len() as u16 + 1;
        let id = match self.adjacencies.entry(hop) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(_) if next >= ADJACENCIES => return None,
            Entry::Vacant(free) => *free.insert(AdjacencyId(next)),
        };
        let rewrite = self.neighbours.get(&hop).map(|neighbour| [*neighbour, mac]);
        let is_resolved = rewrite.is_some();
        let adjacency = Adjacency {
            port,
            mtu,
            rewrite,
            is_resolved,
        };
        let mut steps = vec![Step::Apply(SharedChange::SetAdjacency(id, adjacency))];
        if self.managed.insert(hop) {
            steps.push(Step::Manage(hop));
        }
        Some((id, steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTLET: Outlet = Outlet {
        interface: 7,
        port: 2,
        mac: [2; 6],
        mtu: 1500,
    };
    const MAC: [u8; 6] = [6; 6];

    #[test]
    fn a_route_leads_to_an_adjacency_that_is_resolved_when_the_neighbour_is() {
        let mut book = Book::new(vec![OUTLET], 9);
        let way = book.way((7, Some(hop().address))).unwrap();
        let steps = book.add(net("0.0.0.0/0"), 0, way);
        assert!(
            matches!(steps[0], Step::Apply(SharedChange::SetAdjacency(_, a)) if !a.is_resolved)
        );
        assert!(matches!(steps[1], Step::Manage(managed) if managed == hop()));
        assert_eq!(
            route(&steps[2]),
            Some((net("0.0.0.0/0"), RouteTarget::Via(AdjacencyId(1))))
        );

        let steps = book.neighbour(hop(), Some(MAC));
        let Step::Apply(SharedChange::SetAdjacency(AdjacencyId(1), adjacency)) = &steps[0] else {
            panic!("{steps:?}")
        };
        assert_eq!(adjacency.rewrite, Some([MAC, OUTLET.mac]));
    }

    #[test]
    fn an_on_link_neighbour_gets_a_route_of_its_own() {
        let mut book = Book::new(vec![OUTLET], 9);
        let way = book.way((7, None)).unwrap();
        assert_eq!(
            way,
            Way::Host,
            "as long as nobody knows the neighbour, the host asks for it"
        );
        book.add(net("192.0.2.0/24"), 0, way);
        let steps = book.neighbour(hop(), Some(MAC));
        let routes: Vec<_> = steps.iter().filter_map(route).collect();
        assert_eq!(
            routes,
            [(net("192.0.2.9/32"), RouteTarget::Via(AdjacencyId(1)))]
        );
    }

    #[test]
    fn the_least_metric_holds() {
        let mut book = Book::new(vec![OUTLET], 9);
        assert_eq!(book.add(net("10.0.0.0/8"), 10, Way::Blackhole).len(), 1);
        assert!(book.add(net("10.0.0.0/8"), 20, Way::Host).is_empty());
        let steps = book.remove(net("10.0.0.0/8"), 10);
        assert_eq!(
            route(&steps[0]),
            Some((net("10.0.0.0/8"), RouteTarget::Via(HOST)))
        );
        let steps = book.remove(net("10.0.0.0/8"), 20);
        assert!(matches!(
            steps[..],
            [Step::Apply(SharedChange::RemoveRoute { .. })]
        ));
    }

    #[test]
    fn our_own_routes_to_the_pools_are_not_taken_for_the_networks() {
        let book = Book::new(vec![OUTLET], 9);
        assert_eq!(book.way((9, None)), None);
    }

    #[test]
    fn what_is_not_read_again_is_gone() {
        let mut book = Book::new(vec![OUTLET], 9);
        book.add(net("10.0.0.0/8"), 0, Way::Host);
        book.add(net("11.0.0.0/8"), 0, Way::Host);
        book.begin_anew();
        book.add(net("10.0.0.0/8"), 0, Way::Host);
        let steps = book.end_anew();
        let [Step::Apply(SharedChange::RemoveRoute { prefix, .. })] = &steps[..] else {
            panic!("{steps:?}")
        };
        assert_eq!(*prefix, net("11.0.0.0/8"));
    }

    fn hop() -> Hop {
        Hop {
            interface: 7,
            address: "192.0.2.9".parse().unwrap(),
        }
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn route(step: &Step) -> Option<(IpNet, RouteTarget)> {
        match step {
            Step::Apply(SharedChange::SetRoute { prefix, target, .. }) => Some((*prefix, *target)),
            _ => None,
        }
    }
}
