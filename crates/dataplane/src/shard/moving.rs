//! How a shard moves between workers: whole, with its keys and its news.

use crypto::esp::Compartment;

use super::inbound::Inbound;
use super::news::Subject;
use super::pages::Leaving;
use super::path::Path;
use super::session::Session;
use super::tunnels::TunnelPage;
use super::{KeyRings, Shards, slots};
use crate::id::ShardId;

/// A shard on its way.
#[derive(Debug)]
pub(crate) struct Shard {
    id: ShardId,
    paths: Leaving<slots::Page<Path>>,
    inbound: Leaving<slots::Page<Inbound>>,
    sessions: Leaving<slots::Page<Session>>,
    tunnels: Leaving<TunnelPage>,
    untold: Vec<Subject>,
    keys: [Compartment; 2],
}

impl Shard {
    /// Which one.
    pub(crate) fn id(&self) -> ShardId {
        self.id
    }
}

impl Shards {
    /// Lets a shard go, if it is here.
    pub(crate) fn take(&mut self, id: ShardId, keys: &mut KeyRings, now_ms: u64) -> Option<Shard> {
        let is_here = self.has(id);
        self.here &= !(1 << id.index());
        is_here.then(|| Shard {
            id,
            paths: self.paths.take(id, now_ms),
            inbound: self.inbound.take(id, now_ms),
            sessions: self.sessions.take(id, now_ms),
            tunnels: self.tunnels.pages.take(id),
            untold: self.untold.take(id),
            keys: keys.take(id),
        })
    }

    /// Takes a shard in.
    pub(crate) fn put(&mut self, shard: Shard, keys: &mut KeyRings) {
        let id = shard.id;
        assert!(!self.has(id), "every shard has exactly one owner");
        self.here |= 1 << id.index();
        self.paths.put(id, shard.paths);
        self.inbound.put(id, shard.inbound);
        self.sessions.put(id, shard.sessions);
        self.tunnels.pages.put(id, shard.tunnels);
        self.untold.put(shard.untold);
        keys.put(id, shard.keys);
    }
}
