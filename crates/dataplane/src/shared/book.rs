//! The writer's side of the shared tables: who claims which prefix, and what follows from it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use ipnet::IpNet;

use super::trie::Gardener;
use super::{Shared, Snapshot, Target, key, lock};
use crate::change::{Listener, RouteTarget, SharedChange};
use crate::id::SessionSlot;

/// Everything that was said of every prefix. The trie holds only what follows from it.
#[derive(Debug, Default)]
pub(super) struct Book {
    claims: BTreeMap<(u16, IpNet), Claims>,
    gardener: Gardener,
    refused: u64,
}

/// What is said of one prefix; the first claim that exists decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Claims {
    endpoint: bool,
    local: bool,
    session: Option<SessionSlot>,
    pool: bool,
    route: Option<RouteTarget>,
}

impl Claims {
    /// The pool's own kernel route leads to the host, so a pool comes before a route: else a
    /// packet for a free address would run in circles between us and the kernel.
    fn target(&self) -> Target {
        let session = self.session.map(Target::Session);
        let route = self.route.map(|route| match route {
            RouteTarget::Via(adjacency) => Target::Via(adjacency),
            RouteTarget::Host => Target::Host,
            RouteTarget::Blackhole => Target::Blackhole,
            RouteTarget::Unreachable => Target::Unreachable,
        });
        let claimed = |is: bool, target| is.then_some(target);
        [
            claimed(self.endpoint, Target::Endpoint),
            claimed(self.local, Target::Local),
            session,
            claimed(self.pool, Target::Pool),
            route,
        ]
        .into_iter()
        .flatten()
        .next()
        .unwrap_or(Target::None)
    }
}

impl Book {
    pub(super) fn apply(&mut self, shared: &Shared, change: SharedChange) {
        match change {
            SharedChange::SetListener(listener) => {
                self.remove_listener(shared, listener.index);
                replace(shared, |snapshot| snapshot.listeners.push(listener));
                self.claim_endpoint(shared, listener.vrf, listener.address, true);
            }
            SharedChange::RemoveListener(index) => self.remove_listener(shared, index),
            SharedChange::SetCookieKey(key) => {
                replace(shared, |snapshot| snapshot.cookie_key = Some(key));
            }
            SharedChange::AddLocal { vrf, address } => {
                replace(shared, |snapshot| snapshot.locals.push((vrf, address)));
                self.claim(shared, vrf, address.into(), |claims| claims.local = true);
            }
            SharedChange::AddPool { vrf, prefix } => {
                self.claim(shared, vrf, prefix, |claims| claims.pool = true);
            }
            SharedChange::Attach {
                vrf,
                prefix,
                session,
            } => self.claim(shared, vrf, prefix, |claims| claims.session = Some(session)),
            SharedChange::Detach {
                vrf,
                prefix,
                session,
            } => self.claim(shared, vrf, prefix, |claims| {
                claims.session = claims.session.filter(|present| *present != session);
            }),
            SharedChange::SetRoute {
                vrf,
                prefix,
                target,
            } => self.claim(shared, vrf, prefix, |claims| claims.route = Some(target)),
            SharedChange::RemoveRoute { vrf, prefix } => {
                self.claim(shared, vrf, prefix, |claims| claims.route = None);
            }
            SharedChange::SetAdjacency(id, adjacency) => {
                self.refused += u64::from(!shared.adjacencies.set(id, &adjacency));
                shared.ways.fetch_add(1, Release);
            }
        }
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn remove_listener(&mut self, shared: &Shared, index: u16) {
        let mut removed = Vec::new();
        replace(shared, |snapshot| {
            let (gone, stay) = snapshot.listeners.iter().partition(|l| l.index == index);
            (removed, snapshot.listeners) = (gone, stay);
        });
        for listener in removed {
            self.claim_endpoint(shared, listener.vrf, listener.address, false);
        }
    }

    /// An outer address lies in the default instance; inside its subscribers' own it is claimed so
    /// that none of them can send to it through the tunnel.
    fn claim_endpoint(&mut self, shared: &Shared, vrf: u16, address: IpAddr, is_ours: bool) {
        if address.is_unspecified() {
            return;
        }
        for vrf in [0, vrf] {
            self.claim(shared, vrf, address.into(), |claims| {
                claims.endpoint = is_ours
            });
        }
    }

    /// Changes what is said of a prefix, and the trie if something else follows from it.
    fn claim(
        &mut self,
        shared: &Shared,
        vrf: u16,
        prefix: IpNet,
        change: impl FnOnce(&mut Claims),
    ) {
        let prefix = prefix.trunc();
        let claims = self.claims.entry((vrf, prefix)).or_default();
        let before = claims.target();
        change(claims);
        let after = claims.target();
        if *claims == Claims::default() {
            self.claims.remove(&(vrf, prefix));
        }
        if before != after {
            self.paint(shared, vrf, prefix);
            // A subscriber's address that comes or goes is no way to a peer.
            let is_way = |target| !matches!(target, Target::Session(_) | Target::Pool);
            if is_way(before) || is_way(after) {
                shared.ways.fetch_add(1, Release);
            }
        }
    }

    fn paint(&mut self, shared: &Shared, vrf: u16, prefix: IpNet) {
        let (target, len) = self.around(vrf, prefix);
        let (root, bits, prefix_len) = key(vrf, prefix);
        let done = shared.trie.set(
            &mut self.gardener,
            &shared.turns,
            root,
            (&bits, prefix_len),
            (target.word(), len),
        );
        self.refused += u64::from(!done);
    }

    /// What the longest prefix that holds all of `prefix` says, and its length.
    fn around(&self, vrf: u16, prefix: IpNet) -> (Target, usize) {
        let mut next = Some(prefix);
        while let Some(prefix) = next {
            if let Some(claims) = self.claims.get(&(vrf, prefix)) {
                return (claims.target(), usize::from(prefix.prefix_len()));
            }
            next = prefix.supernet();
        }
        (Target::None, 0)
    }
}

fn replace(shared: &Shared, change: impl FnOnce(&mut Snapshot)) {
    let mut snapshot = lock(&shared.snapshot);
    change(Arc::make_mut(&mut snapshot));
    let any = |is: fn(&Listener) -> bool| snapshot.listeners.iter().any(is);
    shared
        .serves_all
        .store(any(|l| l.address.is_unspecified()), Relaxed);
    shared.checks_data.store(any(|l| l.data_checksum), Relaxed);
    shared.version.fetch_add(1, Release);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::AdjacencyId;
    use crate::id::{ShardId, Slot};
    use crate::shared::Limits;
    use std::time::Instant;

    #[test]
    fn each_address_leads_where_the_strongest_claim_of_the_longest_prefix_says() {
        let shared = tables();
        let pool: IpNet = "10.64.0.0/16".parse().unwrap();
        for change in [
            SharedChange::AddPool {
                vrf: 0,
                prefix: pool,
            },
            route("10.64.0.0/16", RouteTarget::Host),
            route("0.0.0.0/0", RouteTarget::Via(AdjacencyId(7))),
            SharedChange::AddLocal {
                vrf: 0,
                address: ip("10.64.0.1"),
            },
            attach("10.64.3.4/32", 1),
            attach("192.168.7.0/24", 2),
            SharedChange::SetListener(listener("192.0.2.1")),
        ] {
            shared.apply(change);
        }
        let table = [
            ("10.64.0.1", Target::Local),
            ("10.64.3.4", Target::Session(slot(1))),
            ("10.64.3.5", Target::Pool),
            ("192.168.7.200", Target::Session(slot(2))),
            ("192.0.2.1", Target::Endpoint),
            ("198.51.100.1", Target::Via(AdjacencyId(7))),
        ];
        for (address, target) in table {
            assert_eq!(shared.lookup(0, ip(address)), target, "{address}");
            assert_eq!(
                shared.lookup(1, ip(address)),
                Target::None,
                "another instance"
            );
        }
        assert_eq!(shared.refused(), 0);
    }

    #[test]
    fn who_detaches_late_does_not_take_the_address_from_its_next_holder() {
        let shared = tables();
        shared.apply(attach("10.64.3.4/32", 1));
        shared.apply(attach("10.64.3.4/32", 2));
        shared.apply(detach("10.64.3.4/32", 1));
        assert_eq!(shared.lookup(0, ip("10.64.3.4")), Target::Session(slot(2)));
        shared.apply(detach("10.64.3.4/32", 2));
        assert_eq!(shared.lookup(0, ip("10.64.3.4")), Target::None);
    }

    #[test]
    fn a_listener_that_names_the_address_comes_before_one_that_serves_all() {
        let shared = tables();
        let any = Listener {
            index: 2,
            ..listener("0.0.0.0")
        };
        shared.apply(SharedChange::SetListener(any));
        shared.apply(SharedChange::SetListener(listener("192.0.2.1")));
        assert_eq!(shared.listener(ip("192.0.2.1")).unwrap().index, 1);
        assert_eq!(shared.listener(ip("192.0.2.2")).unwrap().index, 2);
        shared.apply(SharedChange::RemoveListener(2));
        assert_eq!(shared.listener(ip("192.0.2.2")), None);
        shared.apply(SharedChange::RemoveListener(1));
        assert_eq!(shared.lookup(0, ip("192.0.2.1")), Target::None);
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let shared = tables();
        let vrf = Limits::default().vrfs;
        let prefix = "10.0.0.0/8".parse().unwrap();
        shared.apply(SharedChange::AddPool {
            vrf: vrf - 1,
            prefix,
        });
        assert_eq!(shared.refused(), 0);
        shared.apply(SharedChange::AddPool { vrf, prefix });
        assert_eq!(shared.refused(), 1);
    }

    fn tables() -> Arc<Shared> {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        Shared::new(Limits::default(), Instant::now())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn slot(index: u32) -> SessionSlot {
        SessionSlot(Slot::new(ShardId::new(5), index, 1))
    }

    fn attach(prefix: &str, session: u32) -> SharedChange {
        SharedChange::Attach {
            vrf: 0,
            prefix: prefix.parse().unwrap(),
            session: slot(session),
        }
    }

    fn detach(prefix: &str, session: u32) -> SharedChange {
        SharedChange::Detach {
            vrf: 0,
            prefix: prefix.parse().unwrap(),
            session: slot(session),
        }
    }

    fn route(prefix: &str, target: RouteTarget) -> SharedChange {
        SharedChange::SetRoute {
            vrf: 0,
            prefix: prefix.parse().unwrap(),
            target,
        }
    }

    fn listener(address: &str) -> Listener {
        Listener {
            index: 1,
            address: ip(address),
            ipsec_required: true,
            data_checksum: false,
            vrf: 0,
        }
    }
}
