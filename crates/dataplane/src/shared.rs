//! What all workers read and only the slow path changes.
//!
//! | table | shape | changed by |
//! |---|---|---|
//! | which worker runs a shard | 64 octets | the worker that gives the shard away |
//! | addresses and prefixes | [trie] of atomic words | [`Shared::apply`] |
//! | next hops | [cells] of two words | [`Shared::apply`] |
//! | listeners, own addresses, cookie key | one [`Snapshot`], replaced whole | [`Shared::apply`] |
//! | counters | [pages], one writer each | the worker that owns the slot |
//!
//! [trie]: trie::Trie
//! [cells]: adjacency::Adjacencies
//! [pages]: pages::Pages

mod adjacency;
mod book;
pub(crate) mod pages;
mod trie;
mod view;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use packet::Endpoint;

use crate::change::{Adjacency, AdjacencyId, Listener, SharedChange};
use crate::cookie::CookieKey;
use crate::counters::WorkerCounters;
use crate::id::{SHARDS, SessionSlot, ShardId, Slot, WorkerId};
use adjacency::Adjacencies;
use book::Book;
pub(crate) use pages::{Cell, Page, Pages, PathTally, SaTally, SessionTally, Tally};
use trie::{Trie, Word};
pub use view::{PathView, SaView, SessionView};

/// How large the shared tables may grow. Memory is taken as it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Workers, at least 1.
    pub workers: u8,
    /// Routing instances.
    pub vrfs: u16,
    /// Next hops.
    pub adjacencies: u16,
    /// Nodes of 256 words (2 KiB) in the trie of addresses and prefixes.
    pub trie_nodes: u32,
    /// Paths, and sessions, and inbound SAs, of each shard.
    pub slots_per_shard: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workers: 1,
            vrfs: 16,
            adjacencies: 4096,
            trie_nodes: 1 << 16,
            slots_per_shard: Slot::LIMIT,
        }
    }
}

/// Where a look-up leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// No route.
    None,
    /// To a subscriber.
    Session(SessionSlot),
    /// To us: an address inside the tunnels.
    Local,
    /// An outer address of ours.
    Endpoint,
    /// A pool address that belongs to no session.
    Pool,
    /// To a next hop.
    Via(AdjacencyId),
    /// To the host.
    Host,
    /// Discarded in silence.
    Blackhole,
    /// Discarded with ICMP "unreachable".
    Unreachable,
}

impl Target {
    fn word(self) -> Word {
        match self {
            Self::None => Word::default(),
            Self::Session(slot) => Word::new(1, slot.0.bits()),
            Self::Local => Word::new(2, 0),
            Self::Endpoint => Word::new(3, 0),
            Self::Pool => Word::new(4, 0),
            Self::Via(adjacency) => Word::new(5, u32::from(adjacency.0)),
            Self::Host => Word::new(6, 0),
            Self::Blackhole => Word::new(7, 0),
            Self::Unreachable => Word::new(8, 0),
        }
    }

    #[inline(always)]
    fn from_word(word: Word) -> Self {
        match word.kind() {
            1 => Self::Session(SessionSlot(Slot::from_bits(word.value()))),
            2 => Self::Local,
            3 => Self::Endpoint,
            4 => Self::Pool,
            5 => Self::Via(AdjacencyId(word.value() as u16)),
            6 => Self::Host,
            7 => Self::Blackhole,
            8 => Self::Unreachable,
            _ => Self::None,
        }
    }
}

/// The tables that all workers read.
#[derive(Debug)]
pub struct Shared {
    epoch: Instant,
    owners: [AtomicU8; SHARDS],
    workers: Box<[WorkerCounters]>,
    pub(crate) turns: Turns,
    trie: Trie,
    adjacencies: Adjacencies,
    version: AtomicU64,
    /// Counts what may change the next hop towards a peer.
    ways: AtomicU32,
    serves_all: AtomicBool,
    checks_data: AtomicBool,
    snapshot: Mutex<Arc<Snapshot>>,
    book: Mutex<Book>,
    pub(crate) sessions: Pages<SessionTally>,
    pub(crate) paths: Pages<PathTally>,
    pub(crate) inbound: Pages<SaTally>,
}

impl Shared {
    /// Empty tables; shard *s* belongs to worker *s* mod `limits.workers`. Stamps count from
    /// `epoch`.
    pub fn new(limits: Limits, epoch: Instant) -> Arc<Self> {
        assert!(limits.workers > 0, "somebody has to own the shards");
        assert!(
            limits.slots_per_shard <= Slot::LIMIT,
            "an id has 18 bits for its slot"
        );
        Arc::new(Self {
            epoch,
            owners: std::array::from_fn(|shard| AtomicU8::new(shard as u8 % limits.workers)),
            workers: (0..limits.workers)
                .map(|_| WorkerCounters::default())
                .collect(),
            turns: Turns::new(limits.workers),
            trie: Trie::new(2 * usize::from(limits.vrfs), limits.trie_nodes),
            adjacencies: Adjacencies::new(limits.adjacencies),
            version: AtomicU64::new(1),
            ways: AtomicU32::new(1),
            serves_all: AtomicBool::new(false),
            checks_data: AtomicBool::new(false),
            snapshot: Mutex::default(),
            book: Mutex::default(),
            sessions: Pages::new(limits.slots_per_shard),
            paths: Pages::new(limits.slots_per_shard),
            inbound: Pages::new(limits.slots_per_shard),
        })
    }

    /// Applies a change; the slow path only. All workers see it at once, listeners and own
    /// addresses with their next turn. A change that finds no room left is counted by
    /// [`Shared::refused`].
    pub fn apply(&self, change: SharedChange) {
        lock(&self.book).apply(self, change);
    }

    /// Changes for which a table had no room.
    pub fn refused(&self) -> u64 {
        lock(&self.book).refused()
    }

    /// The worker that runs a shard.
    #[inline]
    pub fn owner(&self, shard: ShardId) -> WorkerId {
        WorkerId(self.owners[shard.index()].load(Acquire))
    }

    pub(crate) fn set_owner(&self, shard: ShardId, owner: WorkerId) {
        self.owners[shard.index()].store(owner.0, Release);
    }

    /// How many workers there are.
    pub fn workers(&self) -> u8 {
        self.workers.len() as u8
    }

    /// What a worker counts.
    ///
    /// # Panics
    /// If there is no such worker.
    #[inline]
    pub fn worker(&self, id: WorkerId) -> &WorkerCounters {
        &self.workers[usize::from(id.0)]
    }

    /// The listener that serves an address of ours.
    pub fn listener(&self, local: IpAddr) -> Option<Listener> {
        self.snapshot().listener(local)
    }

    /// Whether a listener serves every address of the host.
    #[inline]
    pub(crate) fn serves_all(&self) -> bool {
        self.serves_all.load(Relaxed)
    }

    /// Whether a listener wants the checksum of plain L2TP data looked at.
    #[inline]
    pub(crate) fn checks_data(&self) -> bool {
        self.checks_data.load(Relaxed)
    }

    /// Where packets for `address` go.
    pub fn lookup(&self, vrf: u16, address: IpAddr) -> Target {
        match address {
            IpAddr::V4(v4) => self.lookup_v4(vrf, v4),
            IpAddr::V6(v6) => Target::from_word(self.trie.lookup(root(vrf, false), &v6.octets())),
        }
    }

    /// The same for the family that nearly all packets are of.
    #[inline(always)]
    pub(crate) fn lookup_v4(&self, vrf: u16, address: Ipv4Addr) -> Target {
        Target::from_word(self.trie.lookup_v4(root(vrf, true), address.octets()))
    }

    /// Asks for the word that a look-up will find to be brought near.
    #[inline]
    pub(crate) fn prefetch(&self, vrf: u16, address: Ipv4Addr) {
        self.trie.prefetch(root(vrf, true), address.octets());
    }

    /// Where the word lies that a look-up finds.
    #[cfg(test)]
    pub(crate) fn memory_of_route(
        &self,
        vrf: u16,
        address: Ipv4Addr,
    ) -> Option<std::ops::Range<usize>> {
        self.trie.memory_of(root(vrf, true), address.octets())
    }

    /// The next hop towards an outer endpoint.
    #[inline]
    ///
    /// An adjacency that needs no rewrite leads to the host, which cannot be given a frame that
    /// has yet to get its outer headers: there is none then.
    pub fn next_hop(&self, remote: Endpoint) -> Option<AdjacencyId> {
        match self.lookup(0, remote.address()) {
            Target::Via(id) => {
                let adjacency = self.adjacency(id)?;
                (adjacency.rewrite.is_some() || !adjacency.is_resolved).then_some(id)
            }
            Target::None
            | Target::Session(_)
            | Target::Local
            | Target::Endpoint
            | Target::Pool
            | Target::Host
            | Target::Blackhole
            | Target::Unreachable => None,
        }
    }

    /// Counts every change of what [`Shared::next_hop`] says: an answer of another count is stale.
    #[inline]
    pub(crate) fn ways(&self) -> u32 {
        self.ways.load(Acquire)
    }

    /// A next hop.
    #[inline(always)]
    pub fn adjacency(&self, id: AdjacencyId) -> Option<Adjacency> {
        self.adjacencies.at(id)
    }

    /// Counts every change of listeners, own addresses and the cookie key: a [`Snapshot`] taken at
    /// another version is stale.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// Listeners, own addresses and the cookie key as they are now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&lock(&self.snapshot))
    }

    /// Milliseconds since the epoch.
    #[inline]
    pub(crate) fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_millis() as u64
    }

    fn instant(&self, ms: u64) -> Instant {
        self.epoch + Duration::from_millis(ms)
    }
}

/// What changes so rarely that a worker keeps it for a whole turn.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Where peers are served.
    pub listeners: Vec<Listener>,
    /// Our addresses inside the tunnels, by routing instance.
    pub locals: Vec<(u16, IpAddr)>,
    /// Tells cookies of ours from others.
    pub cookie_key: Option<CookieKey>,
}

impl Snapshot {
    /// The listener that serves an address of ours: the one that names it, or one that serves all.
    #[inline]
    pub fn listener(&self, local: IpAddr) -> Option<Listener> {
        let at = |address: IpAddr| self.listeners.iter().find(|l| l.address == address);
        let any = || self.listeners.iter().find(|l| l.address.is_unspecified());
        at(local).or_else(any).copied()
    }

    /// The address with which we speak inside the tunnels of a routing instance.
    pub(crate) fn own_address(&self, vrf: u16) -> Option<IpAddr> {
        let own = |(of, address): &(u16, IpAddr)| (*of == vrf).then_some(*address);
        self.locals.iter().find_map(own)
    }
}

/// In which turn every worker is: the epochs after which a trie node may be used again.
#[derive(Debug)]
pub(crate) struct Turns(Box<[AtomicU64]>);

impl Turns {
    fn new(workers: u8) -> Self {
        Self((0..workers).map(|_| AtomicU64::new(0)).collect())
    }

    /// A worker begins a turn: odd numbers.
    pub(crate) fn begin(&self, worker: usize) {
        let turn = &self.0[worker];
        turn.store(turn.load(Acquire) + 1, SeqCst);
        // Pairs with the fence in `now`: a worker that the writer does not see in a turn sees
        // what the writer has stored before.
        fence(SeqCst);
    }

    /// A worker ends a turn: even numbers.
    pub(crate) fn end(&self, worker: usize) {
        let turn = &self.0[worker];
        turn.store(turn.load(Acquire) + 1, Release);
    }

    fn now(&self) -> Vec<u64> {
        fence(SeqCst);
        self.0.iter().map(|turn| turn.load(SeqCst)).collect()
    }

    fn all_ended(&self, since: &[u64]) -> bool {
        let ended = |(turn, since): (&AtomicU64, &u64)| {
            since.is_multiple_of(2) || turn.load(Acquire) != *since
        };
        self.0.iter().zip(since).all(ended)
    }
}

#[inline(always)]
fn root(vrf: u16, is_v4: bool) -> usize {
    usize::from(vrf) * 2 + usize::from(!is_v4)
}

/// The bits and length of a prefix, and the root it belongs under.
fn key(vrf: u16, prefix: IpNet) -> (usize, Vec<u8>, usize) {
    let len = usize::from(prefix.prefix_len());
    match prefix.network() {
        IpAddr::V4(v4) => (root(vrf, true), v4.octets().to_vec(), len),
        IpAddr::V6(v6) => (root(vrf, false), v6.octets().to_vec(), len),
    }
}

/// No code that could panic runs under these locks, so what they guard is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
