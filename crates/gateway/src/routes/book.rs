//! The kernel's routes as a book: what is in it, and what a new line means for the workers.
//!
//! Nothing here talks to the kernel; a line goes in, [`Step`]s come out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::ops::Bound;

use dataplane::change::{Adjacency, AdjacencyId, RouteTarget, SharedChange};
use ipnet::IpNet;

use super::Outlet;

/// The adjacency of `adit0`: the host, and with sockets everything behind it.
pub(super) const HOST: AdjacencyId = AdjacencyId(0);
/// A route to one neighbour: any host route of the kernel's is better.
const NEIGHBOUR: Precedence = Precedence {
    table: Table::Main,
    metric: u32::MAX,
};
/// Adjacencies there can be; further neighbours are reached through the host.
const ADJACENCIES: u16 = 4096;
/// Neighbours that are looked for at the same time: whoever scans a network gets no more.
const SOUGHT: usize = 256;

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hop {
    pub(super) interface: u32,
    pub(super) address: IpAddr,
}

/// The kernel's tables that are followed, in the order in which it asks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Local,
    Main,
}

/// Which of several routes to a prefix holds: the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence {
    pub(super) table: Table,
    pub(super) metric: u32,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Via(Hop),
    /// The destination is a neighbour on this interface.
    OnLink(u32),
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
    /// In the kernel: it need not be asked for any more.
    Forget(Hop),
}

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbour {
    At([u8; 6]),
    /// The kernel is asking for it.
    Sought,
    /// It did not answer.
    Silent,
    /// The kernel has forgotten it.
    Gone,
}

/// The routes and neighbours that matter.
pub(super) struct Book {
    outlets: Vec<Outlet>,
    adit0: u32,
    routes: BTreeMap<IpNet, BTreeMap<Precedence, Way>>,
    adjacencies: BTreeMap<Hop, AdjacencyId>,
    /// Slots of adjacencies that are no more, the one that has rested longest in front.
    free: VecDeque<AdjacencyId>,
    /// Slots that were ever used, beside the host's.
    used: u16,
    neighbours: BTreeMap<Hop, [u8; 6]>,
    managed: BTreeSet<Hop>,
    /// While everything is read anew: what the workers had before.
    before: Option<Before>,
}

struct Before {
    ways: BTreeMap<IpNet, Way>,
    neighbours: BTreeSet<Hop>,
}

impl Book {
    pub(super) fn new(outlets: Vec<Outlet>, adit0: u32) -> Self {
        Self {
            outlets,
            adit0,
            routes: BTreeMap::new(),
            adjacencies: BTreeMap::new(),
            free: VecDeque::new(),
            used: 0,
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
            None if is_ours => Way::OnLink(interface),
            _ => Way::Host,
        })
    }

    /// Everything is going to be read anew: nothing is forgotten until [`Book::end_anew`].
    pub(super) fn begin_anew(&mut self) {
        let best = |(prefix, ways): (IpNet, BTreeMap<Precedence, Way>)| {
            ways.into_values().next().map(|way| (prefix, way))
        };
        let routes = std::mem::take(&mut self.routes);
        self.before = Some(Before {
            ways: routes.into_iter().filter_map(best).collect(),
            neighbours: self.neighbours.keys().copied().collect(),
        });
    }

    /// What was not read again is gone.
    pub(super) fn end_anew(&mut self) -> Vec<Step> {
        let Some(before) = self.before.take() else {
            return Vec::new();
        };
        let gone = before
            .ways
            .into_keys()
            .filter(|prefix| !self.routes.contains_key(prefix));
        let mut steps: Vec<Step> = gone
            .map(|prefix| Step::Apply(SharedChange::RemoveRoute { vrf: 0, prefix }))
            .collect();
        for hop in before.neighbours {
            steps.extend(self.neighbour(hop, Neighbour::Gone));
        }
        steps
    }

    /// A route appears, or another takes its place.
    pub(super) fn add(&mut self, prefix: IpNet, rank: Precedence, way: Way) -> Vec<Step> {
        let best_before = self.best(prefix);
        self.routes.entry(prefix).or_default().insert(rank, way);
        let best = self.best(prefix);
        if best == best_before && self.before.is_none() {
            Vec::new()
        } else {
            self.lead(prefix)
        }
    }

    /// A route disappears.
    pub(super) fn remove(&mut self, prefix: IpNet, rank: Precedence) -> Vec<Step> {
        let best_before = self.best(prefix);
        if let Entry::Occupied(mut ways) = self.routes.entry(prefix) {
            ways.get_mut().remove(&rank);
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
    pub(super) fn neighbour(&mut self, hop: Hop, neighbour: Neighbour) -> Vec<Step> {
        if self.outlet(hop.interface).is_none() {
            return Vec::new();
        }
        if let Some(before) = &mut self.before {
            before.neighbours.remove(&hop);
        }
        match neighbour {
            Neighbour::At(mac) => {
                self.neighbours.insert(hop, mac);
                self.lead_to_neighbour(hop)
            }
            Neighbour::Silent | Neighbour::Gone if self.is_mere_neighbour(hop) => {
                let mut steps = self.forget(hop);
                // Only of what is still there: whatever we have removed is news to us again.
                if neighbour == Neighbour::Silent {
                    steps.push(Step::Forget(hop));
                }
                steps
            }
            Neighbour::Sought | Neighbour::Silent | Neighbour::Gone => {
                if neighbour == Neighbour::Gone {
                    // A next hop that somebody has removed is managed anew.
                    self.managed.remove(&hop);
                }
                self.neighbours.remove(&hop);
                let known = self.adjacencies.contains_key(&hop);
                known
                    .then(|| self.adjacency(hop))
                    .flatten()
                    .map_or_else(Vec::new, |(_, s)| s)
            }
        }
    }

    /// Somebody sends to `address`, and no neighbour of that address is known: if it is on-link,
    /// the kernel is to look for it, and the workers wait for it. Nothing if it is not, or if too
    /// many are being looked for.
    pub(super) fn seek(&mut self, address: IpAddr) -> Vec<Step> {
        let Some(Way::OnLink(interface)) = self.way_to(address) else {
            return Vec::new();
        };
        if self.adjacencies.len() >= self.neighbours.len() + SOUGHT {
            return Vec::new();
        }
        self.lead_to_neighbour(Hop { interface, address })
    }

    /// Whether somebody waits for a neighbour.
    pub(super) fn misses_neighbours(&self) -> bool {
        let mut hops = self.adjacencies.keys();
        hops.any(|hop| !self.neighbours.contains_key(hop))
    }

    /// Neighbours that the kernel keeps fresh for us.
    pub(super) fn managed(&self) -> Vec<Hop> {
        self.managed.iter().copied().collect()
    }

    /// Whether there are any.
    pub(super) fn manages_any(&self) -> bool {
        !self.managed.is_empty()
    }

    /// Some of them, behind `last`.
    pub(super) fn managed_after(&self, last: Option<Hop>, most: usize) -> Vec<Hop> {
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.managed.range((start, Bound::Unbounded));
        rest.take(most).copied().collect()
    }

    /// A route of its own to a neighbour.
    fn lead_to_neighbour(&mut self, hop: Hop) -> Vec<Step> {
        let Some((_, mut steps)) = self.adjacency(hop) else {
            return Vec::new();
        };
        steps.extend(self.add(IpNet::from(hop.address), NEIGHBOUR, Way::Via(hop)));
        steps
    }

    /// A neighbour that nobody needs.
    fn forget(&mut self, hop: Hop) -> Vec<Step> {
        self.neighbours.remove(&hop);
        self.managed.remove(&hop);
        self.free.extend(self.adjacencies.remove(&hop));
        self.remove(IpNet::from(hop.address), NEIGHBOUR)
    }

    /// Whether it is known, and no route of the kernel's leads by it.
    fn is_mere_neighbour(&self, hop: Hop) -> bool {
        let mut ways = self.routes.values().flatten();
        self.adjacencies.contains_key(&hop)
            && !ways.any(|(rank, way)| *way == Way::Via(hop) && *rank != NEIGHBOUR)
    }

    /// The way to an address, by the longest prefix.
    fn way_to(&self, address: IpAddr) -> Option<Way> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (0..=longest).rev().find_map(|length| {
            let prefix = IpNet::new(address, length).ok()?.trunc();
            self.best(prefix)
        })
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
            // The slow path looks for the neighbour.
            Way::OnLink(_) => RouteTarget::Host,
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
        let id = match self.adjacencies.get(&hop) {
            Some(known) => *known,
            None => self.free_slot()?,
        };
        self.adjacencies.insert(hop, id);
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

    /// A slot that was never used; only when there is none, one that has rested.
    fn free_slot(&mut self) -> Option<AdjacencyId> {
        if self.used + 1 < ADJACENCIES {
            self.used += 1;
            return Some(AdjacencyId(self.used));
        }
        self.free.pop_front()
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
        let steps = book.add(net("0.0.0.0/0"), metric(0), way);
        assert!(
            matches!(steps[0], Step::Apply(SharedChange::SetAdjacency(_, a)) if !a.is_resolved)
        );
        assert!(matches!(steps[1], Step::Manage(managed) if managed == hop()));
        assert_eq!(
            route(&steps[2]),
            Some((net("0.0.0.0/0"), RouteTarget::Via(AdjacencyId(1))))
        );

        let steps = book.neighbour(hop(), Neighbour::At(MAC));
        let Step::Apply(SharedChange::SetAdjacency(AdjacencyId(1), adjacency)) = &steps[0] else {
            panic!("{steps:?}")
        };
        assert_eq!(adjacency.rewrite, Some([MAC, OUTLET.mac]));
    }

    #[test]
    fn an_on_link_neighbour_is_sought_and_gets_a_route_of_its_own() {
        let mut book = Book::new(vec![OUTLET], 9);
        let way = book.way((7, None)).unwrap();
        let steps = book.add(net("192.0.2.0/24"), metric(0), way);
        let to_slow_path = (net("192.0.2.0/24"), RouteTarget::Host);
        assert_eq!(route(&steps[0]), Some(to_slow_path));
        assert!(book.seek("198.51.100.1".parse().unwrap()).is_empty());

        let steps = book.seek(hop().address);
        assert!(
            steps
                .iter()
                .any(|step| matches!(step, Step::Manage(managed) if *managed == hop()))
        );
        let own = (net("192.0.2.9/32"), RouteTarget::Via(AdjacencyId(1)));
        assert_eq!(steps.iter().filter_map(route).collect::<Vec<_>>(), [own]);

        let steps = book.neighbour(hop(), Neighbour::At(MAC));
        let resolved = |step: &Step| matches!(step, Step::Apply(SharedChange::SetAdjacency(AdjacencyId(1), a)) if a.is_resolved);
        assert!(steps.iter().any(resolved));
    }

    #[test]
    fn a_neighbour_that_does_not_answer_is_forgotten_and_a_next_hop_is_not() {
        let mut book = Book::new(vec![OUTLET], 9);
        book.add(net("192.0.2.0/24"), metric(0), Way::OnLink(7));
        book.seek(hop().address);
        assert!(
            book.neighbour(hop(), Neighbour::Sought)
                .iter()
                .all(|step| route(step).is_none())
        );
        let steps = book.neighbour(hop(), Neighbour::Silent);
        assert!(
            steps
                .iter()
                .any(|step| matches!(step, Step::Forget(gone) if *gone == hop()))
        );
        let removed = |step: &Step| matches!(step, Step::Apply(SharedChange::RemoveRoute { prefix, .. }) if *prefix == net("192.0.2.9/32"));
        assert!(steps.iter().any(removed));
        assert!(book.neighbour(hop(), Neighbour::Gone).is_empty());

        book.add(net("0.0.0.0/0"), metric(0), Way::Via(hop()));
        let steps = book.neighbour(hop(), Neighbour::Gone);
        assert!(matches!(
            &steps[..],
            [Step::Apply(SharedChange::SetAdjacency(_, a)), Step::Manage(_)] if !a.is_resolved
        ));
    }

    #[test]
    fn whoever_scans_a_network_has_only_so_many_neighbours_sought() {
        let mut book = Book::new(vec![OUTLET], 9);
        book.add(net("10.0.0.0/8"), metric(0), Way::OnLink(7));
        let sought = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let answered = (0..2 * SOUGHT as u32).filter(|n| !book.seek(sought(*n)).is_empty());
        assert_eq!(answered.count(), SOUGHT);
        for n in 0..SOUGHT as u32 {
            let hop = Hop {
                interface: 7,
                address: sought(n),
            };
            book.neighbour(hop, Neighbour::Gone);
        }
        assert!(!book.seek(sought(5)).is_empty());
    }

    #[test]
    fn the_least_metric_holds() {
        let mut book = Book::new(vec![OUTLET], 9);
        assert_eq!(
            book.add(net("10.0.0.0/8"), metric(10), Way::Blackhole)
                .len(),
            1
        );
        assert!(
            book.add(net("10.0.0.0/8"), metric(20), Way::Host)
                .is_empty()
        );
        let steps = book.remove(net("10.0.0.0/8"), metric(10));
        assert_eq!(
            route(&steps[0]),
            Some((net("10.0.0.0/8"), RouteTarget::Via(HOST)))
        );
        let steps = book.remove(net("10.0.0.0/8"), metric(20));
        assert!(matches!(
            steps[..],
            [Step::Apply(SharedChange::RemoveRoute { .. })]
        ));
    }

    #[test]
    fn an_address_of_the_hosts_own_is_local_whatever_else_leads_to_it() {
        let mut book = Book::new(vec![OUTLET], 9);
        let address = net("192.0.2.1/32");
        let local = Precedence {
            table: Table::Local,
            metric: 0,
        };
        let host = (address, RouteTarget::Via(HOST));
        assert_eq!(route(&book.add(address, local, Way::Host)[0]), Some(host));
        assert!(book.add(address, metric(0), Way::Blackhole).is_empty());
        let steps = book.remove(address, local);
        assert_eq!(route(&steps[0]), Some((address, RouteTarget::Blackhole)));
        assert_eq!(route(&book.add(address, local, Way::Host)[0]), Some(host));
        assert!(book.remove(address, metric(0)).is_empty());
    }

    #[test]
    fn our_own_routes_to_the_pools_are_not_taken_for_the_networks() {
        let book = Book::new(vec![OUTLET], 9);
        assert_eq!(book.way((9, None)), None);
    }

    #[test]
    fn what_is_not_read_again_is_gone() {
        let mut book = Book::new(vec![OUTLET], 9);
        book.add(net("10.0.0.0/8"), metric(0), Way::Host);
        book.add(net("11.0.0.0/8"), metric(0), Way::Host);
        book.neighbour(hop(), Neighbour::At(MAC));
        book.begin_anew();
        book.add(net("10.0.0.0/8"), metric(0), Way::Host);
        let steps = book.end_anew();
        let removed = |step: &Step| match step {
            Step::Apply(SharedChange::RemoveRoute { prefix, .. }) => Some(*prefix),
            _ => None,
        };
        let removed: BTreeSet<IpNet> = steps.iter().filter_map(removed).collect();
        assert!(removed.contains(&net("11.0.0.0/8")) && removed.contains(&net("192.0.2.9/32")));
        assert!(!removed.contains(&net("10.0.0.0/8")));
    }

    fn hop() -> Hop {
        Hop {
            interface: 7,
            address: "192.0.2.9".parse().unwrap(),
        }
    }

    fn metric(metric: u32) -> Precedence {
        Precedence {
            table: Table::Main,
            metric,
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
