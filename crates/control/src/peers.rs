//! All peers: by name, so that a main mode finds whom it belongs to, and by source, so that nobody
//! is very many, and what a router says of a path finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crypto::Random;
use dataplane::id::{PathId, Slot};

use crate::half_open::source_of;
use crate::peer::{Peer, PeerName};
use crate::slots::Slots;
use crate::tunnel::TunnelKey;

/// All peers.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) slots: Slots<Peer>,
    pub(crate) by_name: BTreeMap<Arc<PeerName>, PathId>,
    /// Where data goes to, by source.
    by_source: BTreeSet<(IpAddr, PathId)>,
    sources: BTreeMap<PathId, IpAddr>,
}

impl Peers {
    pub(crate) fn new(per_shard: u32, random: &mut Random) -> Self {
        Self {
            slots: Slots::new(per_shard, random),
            by_name: BTreeMap::new(),
            by_source: BTreeSet::new(),
            sources: BTreeMap::new(),
        }
    }

    /// The peer is at this address from now on.
    pub(crate) fn place(&mut self, path: PathId, address: IpAddr) {
        self.displace(path);
        let source = source_of(address);
        self.sources.insert(path, source);
        self.by_source.insert((source, path));
    }

    /// The peer is gone.
    pub(crate) fn displace(&mut self, path: PathId) {
        if let Some(source) = self.sources.remove(&path) {
            self.by_source.remove(&(source, path));
        }
    }

    /// All peers of one source.
    pub(crate) fn at(&self, address: IpAddr) -> impl Iterator<Item = (PathId, &Peer)> {
        let source = source_of(address);
        let from = (source, PathId(Slot::from_word(0)));
        let of_source = self.by_source.range(from..);
        let paths = of_source.take_while(move |(other, _)| *other == source);
        paths.filter_map(|&(_, path)| Some((path, self.slots.get(path.0)?)))
    }

    /// The tunnels on a path.
    pub(crate) fn tunnels_of(&self, path: PathId) -> Vec<TunnelKey> {
        let ids = self.slots.get(path.0).map(|peer| peer.tunnels.keys());
        let key = |&id| TunnelKey { path, id };
        ids.into_iter().flatten().map(key).collect()
    }
}
