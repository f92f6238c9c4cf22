//! The books about what the slow path told the workers, and what must be true of it.
//!
//! Every change and every event passes here on its way. A slot is held, closing, or free, and only
//! a free one is taken; what is told to a peer has been applied; every install has its retire; an
//! address leads to one session; no sequence number and no IV goes out twice under one key.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use crypto::esp::Suite;
use dataplane::change::{
    Change, Entry, Event, Inject, Kind, Network, Origin, Punt, Session, SharedChange, ToWorker,
};
use dataplane::id::{InboundSa, PathId, SessionSlot, ShardId, Slot, WorkerId};
use ipnet::IpNet;

use crate::wire::Stamp;

/// The place of a message in the ring of its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose ring.
    pub worker: usize,
    /// The how-manieth message, from 1.
    pub number: u64,
}

impl Mark {
    fn is_applied(self, stamp: Stamp) -> bool {
        stamp.0[self.worker] >= self.number
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Path,
    Inbound,
    Session,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Held,
    Closing,
}

/// The books.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Slots that are not free, and the generation of their holder.
    slots: BTreeMap<(Sort, ShardId, u32), (u8, Stage)>,
    inbound: BTreeMap<InboundSa, PathId>,
    outbound: BTreeMap<(PathId, u32), Suite>,
    tunnels: BTreeMap<(u16, u16), PathId>,
    sessions: BTreeMap<SessionSlot, Session>,
    networks: BTreeMap<SessionSlot, IpAddr>,
    attached: BTreeMap<IpNet, SessionSlot>,
    /// Shards on their way to another worker: the slow path holds back what is for them.
    moving: BTreeMap<ShardId, WorkerId>,
    /// What has ever been opened, and where in which ring.
    ever: Ever,
    /// Under each of the peers' SPIs: sequence numbers, and IVs where they must not repeat.
    numbers: HashSet<(u32, u32)>,
    ivs: HashSet<(u32, [u8; 8])>,
    counts: Counts,
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    pairs: u64,
    shards: u64,
    paths: u64,
}

#[derive(Debug, Default)]
struct Ever {
    /// Those that a peer has begun: it learns our SPI from message 2. Where we began, it has our SPI
    /// before there can be keys for it.
    inbound: BTreeMap<u32, Mark>,
    /// The SA of a shard that was installed last, until the message behind it has come by.
    latest: BTreeMap<ShardId, u32>,
    /// Quick modes that peers have begun, and that we have.
    heard: BTreeSet<QuickMode>,
    begun: BTreeSet<QuickMode>,
    outbound: BTreeMap<u32, Suite>,
    tunnels: BTreeMap<(u16, u16), Mark>,
    /// The last holder of each slot.
    generations: BTreeMap<(Sort, ShardId, u32), u8>,
    /// Our (tunnel id, session id) and the address of everybody who ever had one.
    networks: BTreeMap<(u16, u16, IpAddr), Mark>,
}

impl Ledger {
    /// The slow path sends a message to a worker.
    ///
    /// # Panics
    /// As every method here, if it breaks its word.
    pub fn to_worker(&mut self, message: &ToWorker, mark: Mark) {
        match message {
            ToWorker::Change(change) => self.change(change, mark),
            ToWorker::Inject(inject) => self.inject(inject),
        }
    }

    /// Behind the installation of a pair comes the quick mode message that made it final: whose
    /// exchange that is tells who had to learn the other's SPI first.
    fn inject(&mut self, inject: &Inject) {
        let Entry::Transmit {
            shard,
            kind: Kind::Ike,
            ..
        } = inject.entry
        else {
            return;
        };
        let Some(exchange) = quick_mode(&inject.bytes) else {
            return;
        };
        let is_ours = !self.ever.heard.contains(&exchange);
        if is_ours {
            self.ever.begun.insert(exchange);
        }
        if let Some(spi) = self.ever.latest.remove(&shard)
            && is_ours
        {
            self.ever.inbound.remove(&spi);
        }
    }

    /// The slow path gets a message.
    pub fn punt(&mut self, punt: &Punt) {
        if let Origin::Ike { .. } = punt.origin
            && let Some(exchange) = quick_mode(&punt.bytes)
            && !self.ever.begun.contains(&exchange)
        {
            self.ever.heard.insert(exchange);
        }
    }

    fn change(&mut self, change: &Change, mark: Mark) {
        let is_moving = shard_of(change).is_some_and(|shard| self.moving.contains_key(&shard));
        assert!(!is_moving, "a change for a shard on its way: {change:?}");
        match change {
            Change::OpenPath(path) => self.hold(Sort::Path, path.id.0),
            Change::MovePath { path, .. } => self.assert_held(Sort::Path, path.0),
            Change::ClosePath(path) => self.close_path(*path),
            Change::InstallInbound(install) => {
                self.assert_held(Sort::Path, install.path.0);
                self.counts.pairs += 1;
                self.hold(Sort::Inbound, install.sa.0);
                self.inbound.insert(install.sa, install.path);
                self.ever.inbound.insert(install.sa.spi(), mark);
                self.ever
                    .latest
                    .insert(install.sa.0.shard(), install.sa.spi());
            }
            Change::RetireInbound(sa) => {
                let path = self.inbound.remove(sa);
                assert!(path.is_some(), "{sa:?} is retired but not installed");
                self.close(Sort::Inbound, sa.0);
            }
            Change::InstallOutbound(install) => {
                self.assert_held(Sort::Path, install.path.0);
                let before = self
                    .outbound
                    .insert((install.path, install.spi), install.suite);
                assert_eq!(before, None, "outbound SA {:08x} twice", install.spi);
                self.ever.outbound.insert(install.spi, install.suite);
            }
            Change::ActivateOutbound { path, .. } => self.assert_held(Sort::Path, path.0),
            Change::RetireOutbound { path, spi } => {
                let suite = self.outbound.remove(&(*path, *spi));
                assert!(suite.is_some(), "outbound SA {spi:08x} was not installed");
            }
            Change::OpenTunnel {
                listener,
                tunnel,
                path,
            } => {
                let before = self.tunnels.insert((*listener, *tunnel), *path);
                assert_eq!(before, None, "tunnel {tunnel} is open");
                self.ever.tunnels.insert((*listener, *tunnel), mark);
            }
            Change::CloseTunnel { listener, tunnel } => {
                let path = self.tunnels.remove(&(*listener, *tunnel));
                assert!(path.is_some(), "tunnel {tunnel} is not open");
            }
            Change::OpenSession(session) => self.open_session(*session),
            Change::OpenNetwork(network) => self.open_network(network, mark),
            Change::SetPolicers { session, .. } => {
                let is_open = self.sessions.contains_key(session);
                assert!(is_open, "{session:?} has no limits while it is not open");
            }
            // The size of packets is nobody's state but the worker's.
            Change::ResizeNetwork { .. } => {}
            Change::CloseSession(slot) => self.close_session(*slot),
            Change::GiveShard { shard, to } => {
                let before = self.moving.insert(*shard, *to);
                assert_eq!(before, None, "{shard:?} is on its way already");
            }
        }
    }

    fn close_path(&mut self, path: PathId) {
        self.close(Sort::Path, path.0);
        assert!(
            self.inbound.values().all(|of| *of != path),
            "{path:?} has SAs"
        );
        let mut left = self.outbound.keys();
        assert!(left.all(|(of, _)| *of != path), "{path:?} has outbound SAs");
        let mut left = self.sessions.values();
        assert!(
            left.all(|session| session.path != path),
            "{path:?} has sessions"
        );
        assert!(
            self.tunnels.values().all(|of| *of != path),
            "{path:?} has a tunnel"
        );
    }

    fn open_session(&mut self, session: Session) {
        self.assert_held(Sort::Path, session.path.0);
        if let Some(before) = self.sessions.insert(session.id, session) {
            let ids = |session: Session| (session.path, session.tunnel, session.session);
            assert_eq!(ids(before), ids(session), "{:?} is another's", session.id);
            return;
        }
        let mut others = self.sessions.values().filter(|s| s.id != session.id);
        let is_same = |s: &Session| {
            (s.path, s.tunnel, s.session) == (session.path, session.tunnel, session.session)
        };
        assert!(!others.any(is_same), "session id {} twice", session.session);
        self.hold(Sort::Session, session.id.0);
    }

    fn open_network(&mut self, network: &Network, mark: Mark) {
        let slot = network.session;
        self.assert_held(Sort::Session, slot.0);
        let mut others = self.networks.iter().filter(|(other, _)| **other != slot);
        let twice = others.find(|(_, address)| **address == network.address);
        assert_eq!(twice, None, "{} is leased twice", network.address);
        self.networks.insert(slot, network.address);
        let attached = self.attached.get(&IpNet::from(network.address));
        assert_eq!(attached, Some(&slot), "the address leads elsewhere");
        let session = self.sessions[&slot];
        let ids = (session.tunnel, session.session, network.address);
        // The first time counts: a network that is negotiated anew has been told before.
        self.ever.networks.entry(ids).or_insert(mark);
    }

    fn close_session(&mut self, slot: SessionSlot) {
        let session = self.sessions.remove(&slot);
        assert!(session.is_some(), "{slot:?} is not open");
        self.networks.remove(&slot);
        let leads = self.attached.iter().find(|(_, session)| **session == slot);
        assert_eq!(leads, None, "something leads to a session that is closed");
        self.close(Sort::Session, slot.0);
    }

    /// The slow path changes what all workers read.
    pub fn shared(&mut self, change: &SharedChange) {
        match change {
            SharedChange::Attach {
                prefix, session, ..
            } => {
                self.assert_held(Sort::Session, session.0);
                let before = self.attached.insert(*prefix, *session);
                let is_free = before.is_none_or(|before| before == *session);
                assert!(is_free, "{prefix} leads to {before:?} and to {session:?}");
            }
            SharedChange::Detach {
                prefix, session, ..
            } => {
                let before = self.attached.remove(prefix);
                assert_eq!(before, Some(*session), "{prefix}");
            }
            SharedChange::SetListener(_)
            | SharedChange::RemoveListener(_)
            | SharedChange::AddLocal { .. }
            | SharedChange::AddPool { .. }
            | SharedChange::SetRoute { .. }
            | SharedChange::RemoveRoute { .. }
            | SharedChange::SetCookieKey(_)
            | SharedChange::SetAdjacency(..) => {}
        }
    }

    /// A worker tells the slow path.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::PathRetired(path) => self.free(Sort::Path, path.0),
            Event::InboundRetired(sa, _) => self.free(Sort::Inbound, sa.0),
            Event::SessionRetired(session, _) => self.free(Sort::Session, session.0),
            Event::PathMoved { .. } => self.counts.paths += 1,
            Event::FirstInbound(_) | Event::SoftLimit(_) | Event::HardLimit(_) => {}
            Event::ShardArrived(shard, worker) => {
                self.counts.shards += 1;
                let expected = self.moving.remove(shard);
                assert_eq!(expected, Some(*worker), "{shard:?} has arrived elsewhere");
            }
        }
    }

    fn hold(&mut self, sort: Sort, slot: Slot) {
        let key = (sort, slot.shard(), slot.index());
        let before = self.slots.insert(key, (slot.generation(), Stage::Held));
        assert_eq!(before, None, "{sort:?} {slot:?} is used before it is free");
        let before = self.ever.generations.insert(key, slot.generation());
        assert_ne!(
            before,
            Some(slot.generation()),
            "a stale id would name {slot:?}"
        );
    }

    fn close(&mut self, sort: Sort, slot: Slot) {
        self.assert_held(sort, slot);
        let key = (sort, slot.shard(), slot.index());
        self.slots.insert(key, (slot.generation(), Stage::Closing));
    }

    fn free(&mut self, sort: Sort, slot: Slot) {
        let before = self.slots.remove(&(sort, slot.shard(), slot.index()));
        let expected = Some((slot.generation(), Stage::Closing));
        assert_eq!(before, expected, "{sort:?} {slot:?} is reported free");
    }

    fn assert_held(&self, sort: Sort, slot: Slot) {
        let state = self.slots.get(&(sort, slot.shard(), slot.index()));
        let expected = (slot.generation(), Stage::Held);
        assert_eq!(state, Some(&expected), "{sort:?} {slot:?}");
    }

    /// The gateway has sent an ESP packet; from the SPI on.
    pub fn sent_esp(&mut self, esp: &[u8]) {
        let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| esp[at + i]));
        let (spi, sequence) = (word(0), word(4));
        let suite = self.ever.outbound.get(&spi);
        let suite = suite.expect("nothing is sent under an SPI that was not installed");
        assert!(sequence > 0, "RFC 4303 §2.2: the first number is 1");
        let is_new = self.numbers.insert((spi, sequence));
        assert!(is_new, "{spi:08x}: number {sequence} was sent twice");
        if let Suite::AesGcm16 { .. } = suite {
            let iv = std::array::from_fn(|i| esp[8 + i]);
            let is_new = self.ivs.insert((spi, iv));
            assert!(is_new, "{spi:08x}: IV {iv:02x?} twice under one key");
        }
    }

    /// A subscriber uses an SPI of ours. `seen` is what had been applied when the latest datagram
    /// that it has received left the gateway.
    pub fn used_spi(&self, spi: u32, seen: Stamp) {
        let mark = self.ever.inbound.get(&spi);
        let is_known = mark.is_none_or(|mark| mark.is_applied(seen));
        assert!(
            is_known,
            "SPI {spi:08x} ({mark:?}) was told before it was applied: {seen:?}"
        );
    }

    /// A subscriber uses an id of a plain tunnel.
    pub fn used_tunnel(&self, listener: u16, tunnel: u16, seen: Stamp) {
        let mark = self.ever.tunnels.get(&(listener, tunnel));
        let is_known = mark.is_some_and(|mark| mark.is_applied(seen));
        assert!(
            is_known,
            "tunnel {tunnel} ({mark:?}) was told before it was applied: {seen:?}"
        );
    }

    /// A subscriber has an address, in a session of these ids.
    pub fn used_address(&self, tunnel: u16, session: u16, address: IpAddr, seen: Stamp) {
        let mark = self.ever.networks.get(&(tunnel, session, address));
        let is_known = mark.is_some_and(|mark| mark.is_applied(seen));
        assert!(
            is_known,
            "{address} ({mark:?}) was told before it was applied: {seen:?}"
        );
    }

    /// How often what happened.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Counts {
            pairs,
            shards,
            paths,
        } = self.counts;
        let counts = [
            ("IPsec SA pairs installed", pairs),
            ("shards moved", shards),
            ("paths moved by authentic frames", paths),
        ];
        counts.into_iter()
    }

    /// The shards that somebody lives in.
    #[must_use]
    pub fn shards(&self) -> BTreeSet<ShardId> {
        self.slots.keys().map(|(_, shard, _)| *shard).collect()
    }

    /// What was sent under which key is not forgotten by a gateway that begins anew.
    pub fn remember(&mut self, before: Self) {
        self.numbers.extend(before.numbers);
        self.ivs.extend(before.ivs);
    }

    /// Whether a shard is on its way.
    #[must_use]
    pub fn has_shards_moving(&self) -> bool {
        !self.moving.is_empty()
    }

    /// Our SPIs that are installed.
    #[must_use]
    pub fn inbound(&self) -> Vec<u32> {
        let mut spis: Vec<u32> = self.inbound.keys().map(|sa| sa.spi()).collect();
        spis.sort_unstable();
        spis
    }

    /// The address of every session that has one.
    pub fn networks(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.networks.values().copied()
    }

    /// Whether an address leads to a session.
    #[must_use]
    pub fn leads(&self, address: IpAddr) -> bool {
        self.attached.contains_key(&IpNet::from(address))
    }

    /// # Panics
    /// If anything is left of anybody.
    pub fn assert_empty(&self) {
        assert!(self.slots.is_empty(), "slots left: {:?}", self.slots);
        assert!(self.inbound.is_empty(), "SAs left: {:?}", self.inbound);
        assert!(self.outbound.is_empty(), "SAs left: {:?}", self.outbound);
        assert!(self.tunnels.is_empty(), "left: {:?}", self.tunnels);
        assert!(self.sessions.is_empty(), "left: {:?}", self.sessions);
        assert!(self.networks.is_empty(), "left: {:?}", self.networks);
        assert!(self.attached.is_empty(), "left: {:?}", self.attached);
        assert!(self.moving.is_empty(), "never arrived: {:?}", self.moving);
    }
}

/// Cookies and message id.
type QuickMode = [u8; 20];

/// Which quick mode an ISAKMP message belongs to, if to any.
fn quick_mode(message: &[u8]) -> Option<QuickMode> {
    /// RFC 2409 §5.5.
    const QUICK_MODE: u8 = 32;
    let header = message.first_chunk::<28>()?;
    let mut exchange = [0; 20];
    exchange[..16].copy_from_slice(&header[..16]);
    exchange[16..].copy_from_slice(&header[20..24]);
    (header[18] == QUICK_MODE).then_some(exchange)
}

/// The shard whose owner a change is for; `None` for one that is for several.
fn shard_of(change: &Change) -> Option<ShardId> {
    Some(match change {
        Change::OpenPath(path) => path.id.0.shard(),
        Change::MovePath { path, .. }
        | Change::ClosePath(path)
        | Change::ActivateOutbound { path, .. }
        | Change::RetireOutbound { path, .. }
        | Change::OpenTunnel { path, .. } => path.0.shard(),
        Change::InstallInbound(install) => install.sa.0.shard(),
        Change::RetireInbound(sa) => sa.0.shard(),
        Change::InstallOutbound(install) => install.path.0.shard(),
        Change::CloseTunnel { tunnel, .. } => ShardId::of(u32::from(*tunnel)),
        Change::OpenNetwork(network) => network.session.0.shard(),
        Change::CloseSession(session)
        | Change::ResizeNetwork { session, .. }
        | Change::SetPolicers { session, .. } => session.0.shard(),
        Change::OpenSession(_) => return None,
        Change::GiveShard { shard, .. } => *shard,
    })
}
