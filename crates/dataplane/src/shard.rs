//! Everything about the subscribers of a worker's shards, as a value.
//!
//! A shard is owned by one worker and moves whole between workers, so that no counter, window or
//! nonce can ever have two writers. Its state is the fold of the [`Change`]s it was given. The shards of
//! a worker lie together, so that the way to a slot is short and the same for all; [`moving`] is how
//! one of them leaves.
//!
//! ```text
//!   SPI ───────────► inbound SA ──┐                 ┌─ directory ─► session ─► network
//!   (listener, tunnel id) ────────┴──► path ────────┤
//!                                                   └─ outbound SA, those that wait
//! ```

pub(crate) mod directory;
pub(crate) mod inbound;
mod ledger;
pub(crate) mod moving;
pub(crate) mod news;
mod pages;
pub(crate) mod path;
pub(crate) mod session;
pub(crate) mod slots;
pub(crate) mod tunnels;

use crypto::esp::{Backend, Compartment, Direction, KeySlot, Keys};

use crate::batch::{Exit, Room};
use crate::change::{self, Activation, Change, Event, InstallInbound, InstallOutbound};
use crate::discard::Discard;
use crate::id::{InboundSa, PathId, SessionSlot, ShardId, Slot};
use crate::police::Policer;
use crate::shared::Shared;
use inbound::Inbound;
use ledger::{Counts, Round};
use news::{Item, Subject, Untold};
use path::{Outbound, Path, WAITING_SAS};
use session::{Network, Session};
use slots::Slots;
use tunnels::{Tunnel, Tunnels, tunnel_slot};

/// The keys of all shards of a worker, so that one call of a cipher serves packets of any of them. A
/// shard that moves takes its compartments along.
#[derive(Debug)]
pub(crate) struct KeyRings {
    pub(crate) opening: Keys,
    pub(crate) sealing: Keys,
}

impl KeyRings {
    pub(crate) fn new(backend: Backend) -> Self {
        Self {
            opening: Keys::new(backend),
            sealing: Keys::new(backend),
        }
    }

    /// Takes the keys of a shard that leaves.
    pub(crate) fn take(&mut self, shard: ShardId) -> [Compartment; 2] {
        let id = shard.index() as u8;
        [self.opening.take(id), self.sealing.take(id)]
    }

    /// Puts in the keys of a shard that came.
    pub(crate) fn put(&mut self, shard: ShardId, [opening, sealing]: [Compartment; 2]) {
        let id = shard.index() as u8;
        self.opening.put(id, opening);
        self.sealing.put(id, sealing);
    }
}

/// The shards that are at home at a worker.
#[derive(Debug)]
pub(crate) struct Shards {
    pub(crate) paths: Slots<Path>,
    pub(crate) inbound: Slots<Inbound>,
    pub(crate) sessions: Slots<Session>,
    pub(crate) tunnels: Tunnels,
    /// Those that are here, a bit each. Nothing is found in one that is elsewhere.
    here: u64,
    pub(crate) untold: Untold,
    /// Through the marks of what has counted.
    round: Round,
}

/// Where the key of an inbound SA, or of a path, lies among a worker's.
#[inline(always)]
pub(crate) fn key_slot(slot: Slot) -> KeySlot {
    KeySlot(slot.place_in_all())
}

impl Shards {
    pub(crate) fn new(is_here: impl Fn(ShardId) -> bool) -> Self {
        let bit = |shard: ShardId| u64::from(is_here(shard)) << shard.index();
        Self {
            paths: Slots::default(),
            inbound: Slots::default(),
            sessions: Slots::default(),
            tunnels: Tunnels::default(),
            here: ShardId::all().map(bit).sum(),
            untold: Untold::default(),
            round: Round::default(),
        }
    }

    /// Whether a shard is here.
    #[inline(always)]
    pub(crate) fn has(&self, shard: ShardId) -> bool {
        self.here >> shard.index() & 1 != 0
    }

    /// These shards, if that is among them in which `room` looks `slot` up; a frame whose shard is
    /// elsewhere moves there.
    #[inline]
    pub(crate) fn at(&mut self, room: Room, slot: Slot) -> Result<&mut Self, Exit> {
        match self.has(slot.shard()) {
            true => Ok(self),
            false => Err(Exit::Move(room.stop(slot))),
        }
    }

    /// The session that `room` looks up.
    #[inline]
    pub(crate) fn session(&mut self, room: Room, slot: Slot) -> Result<&mut Session, Exit> {
        let session = self.at(room, slot)?.sessions.at_mut(slot);
        session.ok_or(Exit::Discard(Discard::NoSession))
    }

    /// The path of a plain tunnel.
    #[inline]
    pub(crate) fn tunnel(&mut self, slot: Slot) -> Option<&mut Path> {
        let path = self.tunnels.at(slot)?.path?;
        self.paths.at_mut(path.0)
    }

    /// Applies a change. One that names what is gone changes nothing.
    ///
    /// # Panics
    /// If the slow path broke its word: a slot used again before it was reported free, more than fits.
    pub(crate) fn apply(&mut self, change: Change, shared: &Shared, keys: &mut KeyRings) {
        match change {
            Change::OpenPath(path) => self.open_path(&path, shared),
            Change::MovePath {
                path,
                remote,
                encapsulation,
            } => {
                if let Some(path) = self.paths.at_mut(path.0) {
                    path.go_to(path.local, remote);
                    path.origin.encapsulation = encapsulation;
                }
                self.tell_origin(path);
            }
            Change::ClosePath(path) => self.close_path(path, keys),
            Change::InstallInbound(install) => self.install_inbound(&install, shared, keys),
            Change::RetireInbound(sa) => self.retire_inbound(sa, keys),
            Change::InstallOutbound(install) => self.install_outbound(install, keys),
            Change::ActivateOutbound { path, spi } => {
                self.activate(path, keys, |waiting| waiting.spi == spi);
            }
            Change::RetireOutbound { path, spi } => self.retire_outbound(path, spi, keys),
            Change::OpenTunnel {
                listener,
                tunnel,
                path,
            } => self.set_tunnel(listener, tunnel, Some(path)),
            Change::CloseTunnel { listener, tunnel } => self.set_tunnel(listener, tunnel, None),
            Change::OpenSession(session) => self.open_session(&session, shared),
            Change::OpenNetwork(network) => {
                if let Some(session) = self.sessions.at_mut(network.session.0) {
                    session.network = Some(Network::new(&network));
                }
            }
            Change::SetPolicers { session, up, down } => {
                if let Some(session) = self.sessions.at_mut(session.0) {
                    let policer = |rate| Policer::new(rate, 0);
                    (session.up, session.down) = (up.map(policer), down.map(policer));
                }
            }
            Change::ResizeNetwork { session, mtu } => {
                let session = self.sessions.at_mut(session.0);
                if let Some(network) = session.and_then(|session| session.network.as_mut()) {
                    network.resize(mtu);
                }
            }
            Change::CloseSession(session) => self.close_session(session),
            Change::GiveShard { .. } => unreachable!("the worker keeps this one to itself"),
        }
    }

    fn open_path(&mut self, path: &change::Path, shared: &Shared) {
        let slot = path.id.0;
        let tally = shared
            .paths
            .open(slot)
            .expect("the slow path keeps to the limit of slots");
        self.paths.hold(slot, Path::new(path, tally));
    }

    fn close_path(&mut self, id: PathId, keys: &mut KeyRings) {
        let Some(path) = self.paths.at_mut(id.0) else {
            return;
        };
        let inbound = std::mem::take(&mut path.inbound);
        // Those of other shards are closed there.
        let is_here = |session: &SessionSlot| session.0.shard() == id.0.shard();
        let sessions: Vec<_> = path.directory.sessions().filter(is_here).collect();
        for sa in inbound {
            self.retire_inbound(sa, keys);
        }
        for session in sessions {
            self.close_session(session);
        }
        keys.sealing.remove(key_slot(id.0));
        if let Some(path) = self.paths.retire(id.0) {
            path.waiting.clear();
            path.news
                .note(Item::Retired, Subject::Path(id), &mut self.untold);
        }
    }

    fn install_inbound(&mut self, install: &InstallInbound, shared: &Shared, keys: &mut KeyRings) {
        let slot = install.sa.0;
        // RFC 4303 §2.1: zero means no SA, and 1 to 255 are reserved.
        assert!(install.sa.spi() > 255, "an SPI that is none");
        let Some(path) = self.paths.at_mut(install.path.0) else {
            return;
        };
        path.inbound.push(install.sa);
        let tally = shared
            .inbound
            .open(slot)
            .expect("the slow path keeps to the limit of slots");
        self.inbound.hold(slot, Inbound::new(install, path, tally));
        let (key, no_iv) = (key_slot(slot), [0; 16]);
        keys.opening
            .install(key, install.suite, Direction::Open, &install.keys, &no_iv);
    }

    /// The frames of a path come from elsewhere: its SAs know how.
    pub(crate) fn tell_origin(&mut self, path: PathId) {
        let Some(path) = self.paths.at(path.0) else {
            return;
        };
        for sa in &path.inbound {
            if let Some(sa) = self.inbound.at_mut(sa.0) {
                sa.origin = path.origin;
            }
        }
    }

    /// A peer comes by another port than an SA of its path knew: the path hears it, and so do all SAs.
    #[cold]
    pub(crate) fn hear(&mut self, path: Slot, port: u8, now_ms: u64) {
        let Some(path) = self.paths.at_mut(path) else {
            return;
        };
        path.heard_by(port, now_ms);
        for sa in &path.inbound {
            if let Some(sa) = self.inbound.at_mut(sa.0) {
                sa.heard = path.heard;
            }
        }
    }

    fn retire_inbound(&mut self, id: InboundSa, keys: &mut KeyRings) {
        let Some(sa) = self.inbound.retire(id.0) else {
            return;
        };
        sa.news
            .note(Item::Retired, Subject::Inbound(id), &mut self.untold);
        keys.opening.remove(key_slot(id.0));
        if let Some(path) = self.paths.at_mut(sa.path.0) {
            path.inbound.retain(|other| *other != id);
        }
    }

    fn install_outbound(&mut self, install: InstallOutbound, keys: &mut KeyRings) {
        let Some(path) = self.paths.at_mut(install.path.0) else {
            return;
        };
        let has_one = path.outbound.as_ref().is_some_and(Outbound::is_usable);
        let (id, spi, activation) = (install.path, install.spi, install.activation);
        // A peer that begins pair after pair and uses none does without the oldest.
        if path.waiting.len() == WAITING_SAS {
            path.waiting.remove(0);
        }
        // Hardly ever does more than one wait.
        path.waiting.reserve_exact(1);
        path.waiting.push(install);
        if activation == Activation::Now || !has_one {
            self.activate(id, keys, |waiting| waiting.spi == spi);
        }
    }

    /// Puts the newest waiting SA that is meant in the place of the current one.
    pub(crate) fn activate(
        &mut self,
        id: PathId,
        keys: &mut KeyRings,
        is_meant: impl Fn(&InstallOutbound) -> bool,
    ) {
        let Some(path) = self.paths.at_mut(id.0) else {
            return;
        };
        let Some(newest) = path.waiting.iter().rposition(is_meant) else {
            return;
        };
        let install = path.waiting.remove(newest);
        let (suite, keymat) = (install.suite, &install.keys);
        keys.sealing.install(
            key_slot(id.0),
            suite,
            Direction::Seal,
            keymat,
            &install.iv_key,
        );
        path.outbound = Some(Outbound::new(&install));
        // What was installed before it has been overtaken.
        path.waiting.drain(..newest);
    }

    fn retire_outbound(&mut self, id: PathId, spi: u32, keys: &mut KeyRings) {
        let Some(path) = self.paths.at_mut(id.0) else {
            return;
        };
        path.waiting.retain(|waiting| waiting.spi != spi);
        if path.outbound.as_ref().is_some_and(|sa| sa.spi == spi) {
            path.outbound = None;
            keys.sealing.remove(key_slot(id.0));
            self.activate(id, keys, |_| true);
        }
    }

    fn set_tunnel(&mut self, listener: u16, tunnel: u16, path: Option<PathId>) {
        let slot = tunnel_slot(listener, tunnel).expect("the slow path keeps to 256 listeners");
        self.tunnels.set(slot, Tunnel { path, only: None });
        if let Some(path) = path {
            self.expect_session(path, tunnel);
        }
    }

    /// The sessions of a path have changed, one of this tunnel.
    fn expect_session(&mut self, path: PathId, tunnel: u16) {
        if let Some(holder) = self.paths.at(path.0) {
            self.tunnels.expect(path, tunnel, holder.directory.only());
        }
    }

    /// A session lives in one shard and stands in the directory of its path, perhaps in another, and
    /// perhaps at another worker.
    fn open_session(&mut self, session: &change::Session, shared: &Shared) {
        if let Some(path) = self.paths.at_mut(session.path.0) {
            path.directory
                .insert(session.tunnel, session.session, session.id);
            self.expect_session(session.path, session.tunnel);
        }
        let slot = session.id.0;
        if !self.has(slot.shard()) {
            return;
        }
        if let Some(open) = self.sessions.at_mut(slot) {
            // RFC 2661 §5.4: the peer may ask for sequence numbers when the call is connected.
            open.sequencing |= session.sequencing;
        } else {
            let tally = shared
                .sessions
                .open(slot)
                .expect("the slow path keeps to the limit");
            self.sessions.hold(slot, Session::new(session, tally));
        }
    }

    fn close_session(&mut self, id: SessionSlot) {
        let Some(session) = self.sessions.retire(id.0) else {
            return;
        };
        session
            .news
            .note(Item::Retired, Subject::Session(id), &mut self.untold);
        let (path, tunnel, number) = (session.path, session.tunnel, session.session);
        if let Some(holder) = self.paths.at_mut(path.0) {
            holder.directory.remove(tunnel, number, id);
            self.expect_session(path, tunnel);
        }
    }

    /// Tells what there is to tell, until `send` gives an event back.
    pub(crate) fn tell(&mut self, now_ms: u64, mut send: impl FnMut(Event) -> Result<(), Event>) {
        while let Some(subject) = self.untold.next() {
            match self.news_of(subject, now_ms) {
                Some((item, event)) => {
                    if send(event).is_err() {
                        return;
                    }
                    self.told(subject, item);
                }
                None => self.untold.done(),
            }
        }
    }

    fn news_of(&mut self, subject: Subject, now_ms: u64) -> Option<(Item, Event)> {
        match subject {
            Subject::Path(id) => {
                let path = self.paths.told_of(id.0)?;
                let item = path.news.next()?;
                let event = match item {
                    Item::First | Item::Moved => Event::PathMoved {
                        path: id,
                        remote: path.remote,
                    },
                    Item::Soft => Event::SoftLimit(id),
                    Item::Hard => Event::HardLimit(id),
                    Item::Retired => Event::PathRetired(id),
                };
                Some((item, event))
            }
            Subject::Inbound(id) => {
                let sa = self.inbound.told_of(id.0)?;
                sa.publish(now_ms);
                let item = sa.news.next()?;
                let event = match item {
                    Item::Retired => Event::InboundRetired(id, sa.tally.received.value()),
                    Item::First | Item::Moved | Item::Soft | Item::Hard => Event::FirstInbound(id),
                };
                Some((item, event))
            }
            Subject::Session(id) => {
                let session = self.sessions.told_of(id.0)?;
                session.publish(now_ms);
                let event = Event::SessionRetired(id, session.tally.traffic());
                Some((session.news.next()?, event))
            }
        }
    }

    fn told(&mut self, subject: Subject, item: Item) {
        let news = match subject {
            Subject::Path(id) => self.paths.told_of(id.0).map(|path| &mut path.news),
            Subject::Inbound(id) => self.inbound.told_of(id.0).map(|sa| &mut sa.news),
            Subject::Session(id) => self.sessions.told_of(id.0).map(|session| &mut session.news),
        };
        if let Some(news) = news {
            news.told(item);
        }
        if item == Item::Retired {
            match subject {
                Subject::Path(id) => self.paths.vacate(id.0),
                Subject::Inbound(id) => self.inbound.vacate(id.0),
                Subject::Session(id) => self.sessions.vacate(id.0),
            }
        }
    }
}
