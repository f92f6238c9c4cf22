//! What the rooms of one worker look things up in.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Index;
use std::sync::Arc;

use packet::Endpoint;
use packet::header::Ethernet;
use zerocopy::byteorder::network_endian::U16;

use crate::bucket::{Bucket, Rate};
use crate::change::{AdjacencyId, Change, Listener};
use crate::compat::Ceiling;
use crate::counters::WorkerCounters;
use crate::id::{ShardId, Slot, WorkerId};
use crate::shard::moving::Shard;
use crate::shard::{KeyRings, Shards, key_slot};
use crate::shared::{Shared, Snapshot};
use crate::stages::Stopwatch;
use crate::supply::{SlotPages, Supply};
use crate::wire::Interface;
use crate::worker::Settings;

/// Buckets over which source addresses are spread.
const SOURCE_BUCKETS: usize = 4096;

/// How often one address may send messages of exchanges in progress: many clients may share it.
const IN_PROGRESS: Rate = Rate {
    per_second: 1000,
    burst: 2000,
};

/// A worker's view: its shards, what all share, and how often it may speak.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) id: WorkerId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) snapshot: Arc<Snapshot>,
    /// The listeners of the snapshot, those that serve one address first.
    listeners: Vec<(Endpoint, Listener)>,
    /// The same in IPv4, for data in the clear of which no checksum is looked at.
    plain: Vec<PlainListener>,
    version: u64,
    pub(crate) shards: Shards,
    pub(crate) keys: KeyRings,
    pub(crate) watch: Stopwatch,
    pub(crate) compat: Ceiling,
    /// The time of this turn, milliseconds since the epoch of `shared`.
    pub(crate) now_ms: u64,
    /// Errors and answers of ours.
    pub(crate) icmp: Limiter,
    /// "Fragmentation needed" among them, without which a path is a black hole (RFC 1191 §2):
    /// nobody's scan or loop may use it up.
    pub(crate) too_big: Limiter,
    pub(crate) strangers: Strangers,
    /// Those whose address is known to be their own, but no more.
    pub(crate) in_progress: Sources,
    /// The port to peers of whom nothing was heard.
    pub(crate) tunnel_port: u8,
    /// The interface of each port that gives and takes whole frames.
    pub(crate) interfaces: Vec<Option<Interface>>,
    pub(crate) hops: Hops,
}

/// The next hops that this turn has found.
#[derive(Debug)]
pub(crate) struct Hops {
    turn: u64,
    known: [Hop; HOPS],
}

/// How many are remembered.
const HOPS: usize = 16;

/// A next hop for whole frames, as a turn has found it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    turn: u64,
    id: AdjacencyId,
    /// Octets of the largest IP packet; 0 if it is not resolved, or not behind an interface.
    pub(crate) mtu: u16,
    pub(crate) port: u8,
    pub(crate) ethernet: Ethernet,
}

impl Hop {
    const NONE: Self = Self {
        turn: 0,
        id: AdjacencyId(0),
        mtu: 0,
        port: 0,
        ethernet: Ethernet {
            destination: [0; 6],
            source: [0; 6],
            ethertype: U16::new(Ethernet::IPV4),
        },
    };
}

impl Default for Hops {
    fn default() -> Self {
        Self {
            turn: 0,
            known: [Hop::NONE; HOPS],
        }
    }
}

impl Hops {
    /// Where a next hop is, as it was when this turn first asked: then `find` says.
    #[inline(always)]
    pub(crate) fn place(&mut self, id: AdjacencyId, find: impl FnOnce() -> Hop) -> usize {
        let place = usize::from(id.0) % HOPS;
        let known = &self.known[place];
        if known.turn != self.turn || known.id != id {
            self.known[place] = Hop {
                turn: self.turn,
                ..find()
            };
        }
        place
    }
}

impl Index<usize> for Hops {
    type Output = Hop;

    #[inline(always)]
    fn index(&self, place: usize) -> &Hop {
        &self.known[place]
    }
}

impl Hop {
    /// What is known of a next hop.
    #[cold]
    #[inline(never)]
    pub(crate) fn find(id: AdjacencyId, shared: &Shared, interfaces: &[Option<Interface>]) -> Self {
        let hop = Self { id, ..Self::NONE };
        let adjacency = shared.adjacency(id).filter(|hop| hop.is_resolved);
        let behind = adjacency.and_then(|adjacency| {
            let [destination, source] = adjacency.rewrite?;
            let interface = interfaces.get(usize::from(adjacency.port))?.as_ref()?;
            let ethertype = Ethernet::IPV4.into();
            Some(Self {
                mtu: interface.mtu.min(adjacency.mtu),
                port: adjacency.port,
                ethernet: Ethernet {
                    destination,
                    source,
                    ethertype,
                },
                ..hop
            })
        });
        behind.unwrap_or(hop)
    }
}

impl Tables {
    pub(crate) fn new(id: WorkerId, shared: Arc<Shared>, settings: &Settings) -> Self {
        let shards = Shards::new(|shard| shared.owner(shard) == id);
        Self {
            id,
            snapshot: shared.snapshot(),
            listeners: Vec::new(),
            plain: Vec::new(),
            version: 0,
            shards,
            keys: KeyRings::new(settings.backend),
            watch: Stopwatch::default(),
            compat: Ceiling::new(settings.compat_max_share),
            now_ms: 0,
            icmp: Limiter::new(settings.icmp_per_second),
            too_big: Limiter::new(settings.icmp_per_second),
            strangers: Strangers::new(settings),
            in_progress: Sources::new(IN_PROGRESS, settings.salt),
            tunnel_port: settings.tunnel_port,
            interfaces: Vec::new(),
            hops: Hops::default(),
            shared,
        }
    }

    /// Looks at the clock and the listeners, once a turn.
    pub(crate) fn refresh(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.hops.turn += 1;
        self.compat.fill();
        let version = self.shared.version();
        if version != self.version {
            self.snapshot = self.shared.snapshot();
            self.listeners = by_endpoint(&self.snapshot);
            self.plain = plain(&self.listeners);
            self.version = version;
        }
    }

    /// Where among [`Tables::hops`] a next hop is.
    #[inline]
    pub(crate) fn hop(&mut self, id: AdjacencyId) -> usize {
        let find = || Hop::find(id, &self.shared, &self.interfaces);
        self.hops.place(id, find)
    }

    /// The interface of a port that gives whole frames.
    #[inline]
    pub(crate) fn interface(&self, port: u8) -> Option<Interface> {
        *self.interfaces.get(usize::from(port))?
    }

    /// The routing instance of what comes whole by a port.
    #[inline]
    pub(crate) fn vrf(&self, port: u8) -> u16 {
        self.interface(port).map_or(0, |interface| interface.vrf)
    }

    /// The listener that serves an endpoint of ours: the one that names it, or one that serves all.
    #[inline]
    pub(crate) fn listener(&self, local: &Endpoint) -> Option<&Listener> {
        let serves =
            |(at, one): &&(Endpoint, Listener)| at.is_at(local) || one.address.is_unspecified();
        self.listeners.iter().find(serves).map(|(_, one)| one)
    }

    /// The listener at an address of ours, if data in the clear is welcome there as it is.
    #[inline]
    pub(crate) fn plain_listener(&self, local: [u8; 4]) -> Option<u16> {
        let serves = |one: &&PlainListener| one.is_any || one.address == local;
        self.plain.iter().find(serves)?.index
    }

    /// Whether plain L2TP data from this endpoint of ours goes with a checksum.
    #[inline]
    pub(crate) fn makes_checksum(&self, local: &Endpoint) -> bool {
        self.shared.checks_data()
            && self
                .listener(local)
                .is_some_and(|listener| listener.data_checksum)
    }

    #[inline]
    pub(crate) fn counters(&self) -> &WorkerCounters {
        self.shared.worker(self.id)
    }

    /// Applies a change.
    ///
    /// # Panics
    /// If no shard is here that it is about: the slow path sends a change to the shard's owner.
    pub(crate) fn apply(&mut self, change: Change) {
        let is_ours = homes(&change).iter().any(|shard| self.shards.has(*shard));
        assert!(is_ours, "a change is sent to the shard's owner");
        self.shards.apply(change, &self.shared, &mut self.keys);
    }

    /// Puts pages in their places.
    pub(crate) fn take_supply(&mut self, supply: Supply) {
        let (slot, shards) = (supply.slot, &mut self.shards);
        if !shards.has(slot.shard()) {
            return;
        }
        match supply.slots {
            Some(SlotPages::Paths(slots, counters)) => {
                shards.paths.supply(slot, slots);
                self.shared.paths.supply(slot, counters);
            }
            Some(SlotPages::Inbound(slots, counters)) => {
                shards.inbound.supply(slot, slots);
                self.shared.inbound.supply(slot, counters);
            }
            Some(SlotPages::Sessions(slots, counters)) => {
                shards.sessions.supply(slot, slots);
                self.shared.sessions.supply(slot, counters);
            }
            Some(SlotPages::Tunnels(tunnels)) => shards.tunnels.supply(slot, tunnels),
            None => {}
        }
        if let Some(page) = supply.opening {
            self.keys.opening.supply(key_slot(slot), page);
        }
        if let Some(page) = supply.sealing {
            self.keys.sealing.supply(key_slot(slot), page);
        }
    }

    /// Lets a shard go, with its keys.
    pub(crate) fn take_shard(&mut self, id: ShardId) -> Option<Shard> {
        self.shards.take(id, &mut self.keys, self.now_ms)
    }

    /// Takes a shard in, with its keys.
    pub(crate) fn put_shard(&mut self, shard: Shard) {
        self.shards.put(shard, &mut self.keys);
    }
}

/// The listeners, those that serve every address behind those that serve one.
fn by_endpoint(snapshot: &Snapshot) -> Vec<(Endpoint, Listener)> {
    let with_endpoint = |listener: &Listener| (Endpoint::new(listener.address, 0), *listener);
    let mut listeners: Vec<_> = snapshot.listeners.iter().map(with_endpoint).collect();
    listeners.sort_by_key(|(_, listener)| listener.address.is_unspecified());
    listeners
}

/// Where L2TP in the clear arrives.
#[derive(Debug)]
struct PlainListener {
    address: [u8; 4],
    /// It serves every address.
    is_any: bool,
    /// `None` if what is in the clear is refused there, or has its checksum looked at.
    index: Option<u16>,
}

/// The listeners of IPv4, in the same order.
fn plain(listeners: &[(Endpoint, Listener)]) -> Vec<PlainListener> {
    let looks = listeners.iter().any(|(_, one)| one.data_checksum);
    let plain = listeners.iter().filter_map(|(at, one)| {
        let is_any = one.address.is_unspecified();
        let address = at
            .as_v4()
            .or_else(|| is_any.then_some(Ipv4Addr::UNSPECIFIED))?;
        Some(PlainListener {
            address: address.octets(),
            is_any,
            index: (!looks && !one.ipsec_required).then_some(one.index),
        })
    });
    plain.collect()
}

/// The shards a change is about; two only for a session that lives apart from its path.
fn homes(change: &Change) -> [ShardId; 2] {
    let one = |slot: Slot| [slot.shard(); 2];
    match change {
        Change::OpenPath(path) => one(path.id.0),
        Change::MovePath { path, .. }
        | Change::ClosePath(path)
        | Change::ActivateOutbound { path, .. }
        | Change::RetireOutbound { path, .. } => one(path.0),
        Change::InstallInbound(install) => one(install.sa.0),
        Change::RetireInbound(sa) => one(sa.0),
        Change::InstallOutbound(install) => one(install.path.0),
        Change::OpenTunnel { tunnel, .. } | Change::CloseTunnel { tunnel, .. } => {
            [ShardId::of(u32::from(*tunnel)); 2]
        }
        Change::OpenSession(session) => [session.id.0.shard(), session.path.0.shard()],
        Change::OpenNetwork(network) => one(network.session.0),
        Change::CloseSession(session)
        | Change::ResizeNetwork { session, .. }
        | Change::SetPolicers { session, .. } => one(session.0),
        Change::GiveShard { shard, .. } => [*shard; 2],
    }
}

/// How often something may happen at this worker.
#[derive(Debug)]
pub(crate) struct Limiter {
    bucket: Bucket,
    rate: Rate,
}

impl Limiter {
    fn new(per_second: u32) -> Self {
        let rate = Rate {
            per_second,
            burst: per_second,
        };
        Self {
            bucket: Bucket::full(rate),
            rate,
        }
    }

    pub(crate) fn take(&mut self, now_ms: u64) -> bool {
        self.bucket.take(self.rate, now_ms)
    }
}

/// How often those may speak whom nobody knows: each address, and all together.
#[derive(Debug)]
pub(crate) struct Strangers {
    all: Limiter,
    each: Sources,
}

impl Strangers {
    fn new(settings: &Settings) -> Self {
        Self {
            all: Limiter::new(settings.strangers_per_second),
            each: Sources::new(
                Rate {
                    per_second: settings.stranger_per_second,
                    burst: settings.stranger_per_second.saturating_mul(2),
                },
                settings.salt,
            ),
        }
    }

    pub(crate) fn take(&mut self, address: IpAddr, now_ms: u64) -> bool {
        self.each.take(address, now_ms) && self.all.take(now_ms)
    }
}

/// How often each address may speak. Addresses that fall into one bucket share it; which ones do,
/// nobody knows who does not know the salt.
#[derive(Debug)]
pub(crate) struct Sources {
    buckets: Box<[Bucket]>,
    rate: Rate,
    salt: u64,
}

impl Sources {
    fn new(rate: Rate, salt: u64) -> Self {
        Self {
            buckets: vec![Bucket::full(rate); SOURCE_BUCKETS].into(),
            rate,
            salt,
        }
    }

    pub(crate) fn take(&mut self, address: IpAddr, now_ms: u64) -> bool {
        let mut hasher = DefaultHasher::new();
        (self.salt, address).hash(&mut hasher);
        let bucket = hasher.finish() as usize % self.buckets.len();
        self.buckets[bucket].take(self.rate, now_ms)
    }
}
