//! ISAKMP SAs: the half-open ones, which anybody can make us start, and those of peers.
//!
//! Our cookie names the slot: `MAC 32 · generation 8 · slot 18 · shard 6`. The MAC binds it to the
//! peer's address, so that a guessed cookie is told from a known one; the other half is an index.
//!
//! ```text
//!   MM1 ──limits──► half-open ──Established──► of a peer ──Down, no children left──► gone
//!                       └───────Down, set-up limit──────────────────────────────────►
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crypto::Random;
use dataplane::change::{Entry, Kind};
use dataplane::cookie::CookieKey;
use dataplane::id::{PathId, ShardId, Slot, WorkerId};
use ike::policy::Phase1Proposal;
use ike::v1::Sa;
use ike::{Cookie, Cookies, DownReason, Refusal, Refused, Spi};
use l2tp::Few;
use packet::Endpoint;

use crate::compute::Computations;
use crate::counters::Counter;
use crate::half_open::{Full, HalfOpen, Rate, Unproven, source_of};
use crate::log::Correlation;
use crate::settings::Limits;
use crate::slots::Slots;
use crate::timers::{Place, Timer};
use crate::{Control, KeyLog, Output, log};

/// What is longer came in fragments by way of the host, past the buckets of the workers.
const LONG: usize = 1500;
/// How many such messages of strangers are read.
const LONG_PER_SECOND: usize = 64;
const LONG_PER_SECOND_AND_SOURCE: usize = 8;

/// Refused messages after which a main mode under way is given up: each message 5 costs a key
/// derivation and a decryption for every key, and whoever sends it need not know any.
const REFUSED_MAX: u8 = 32;

/// Names an ISAKMP SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IkeId(pub(crate) Slot);

/// An ISAKMP SA and what it belongs to.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) sa: Sa,
    place: Place,
    /// Ours, in whichever half of the pair.
    cookie: Cookie,
    pub(crate) correlation: Correlation,
    pub(crate) listener: usize,
    /// Where the last message came to and from.
    pub(crate) local: Endpoint,
    pub(crate) remote: Endpoint,
    /// While it counts as half-open: under which source.
    half_open: Option<IpAddr>,
    /// The source and initiator cookie under which a repeated first message finds it.
    first: Option<(IpAddr, Cookie)>,
    /// Whose it is, once established.
    pub(crate) peer: Option<PathId>,
    /// The peer for whom we started it.
    pub(crate) renews: Option<PathId>,
    /// The peer has said INITIAL-CONTACT before it was known whose SA this is.
    pub(crate) is_initial_contact: bool,
    /// A quick mode is wanted as soon as it is established.
    pub(crate) wants_child: bool,
    /// SPIs drawn for quick modes that are under way.
    pub(crate) reserved: Few<u32, ()>,
    /// What was negotiated, once established.
    pub(crate) suite: Option<Phase1Proposal>,
    has_told_wrong_key: bool,
    /// Messages refused while it was half-open.
    refused: u8,
}

impl Exchange {
    /// The shard in which its changes and messages are ordered.
    fn shard(&self, id: IkeId) -> ShardId {
        match self.peer.or(self.renews) {
            Some(path) => path.0.shard(),
            None => id.0.shard(),
        }
    }
}

/// All ISAKMP SAs.
#[derive(Debug)]
pub(crate) struct Exchanges {
    pub(crate) slots: Slots<Exchange>,
    pub(crate) half_open: HalfOpen<IpAddr>,
    /// Those of which only the first message has come.
    unproven: Unproven<IpAddr, IkeId>,
    long: Rate<IpAddr>,
    firsts: BTreeMap<(IpAddr, Cookie), IkeId>,
    pub(crate) computations: Computations,
    pub(crate) key: CookieKey,
}

impl Exchanges {
    pub(crate) fn new(limits: &Limits, random: &mut Random) -> Self {
        Self {
            slots: Slots::new(limits.slots_per_shard.saturating_mul(2), random),
            half_open: HalfOpen::new(limits.half_open_ike, limits.half_open_ike_per_source),
            unproven: Unproven::new(),
            long: Rate::new(LONG_PER_SECOND, LONG_PER_SECOND_AND_SOURCE),
            firsts: BTreeMap::new(),
            computations: Computations::default(),
            key: CookieKey::new(random.array()),
        }
    }

    fn find(&self, cookies: &Cookies) -> Option<IkeId> {
        // Either end of the main mode that made the SA may have been the initiator.
        [cookies.responder, cookies.initiator]
            .into_iter()
            .find_map(|cookie| {
                let id = IkeId(slot_of(cookie));
                (self.slots.get(id.0)?.cookie == cookie).then_some(id)
            })
    }
}

fn slot_of(cookie: Cookie) -> Slot {
    let [.., a, b, c, d] = cookie.0;
    Slot::from_word(u32::from_be_bytes([a, b, c, d]))
}

/// What an ISAKMP SA asks of its owner.
struct Environment<'a> {
    random: &'a mut Random,
    spis: &'a mut Slots<Option<PathId>>,
    reserved: &'a mut Few<u32, ()>,
    shard: ShardId,
}

impl ike::Environment for Environment<'_> {
    fn random(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }

    fn allocate_spi(&mut self) -> Option<Spi> {
        let spi = self.spis.insert(self.shard, None)?.word();
        self.reserved.insert(spi, ());
        Some(Spi(spi))
    }
}

impl Control {
    /// An ISAKMP message has come.
    pub(crate) fn on_ike(
        &mut self,
        now: Instant,
        worker: WorkerId,
        (local, remote): (Endpoint, Endpoint),
        message: &[u8],
    ) {
        let Ok(header) = ike::peek(message) else {
            return self.counters.add(Counter::IkeMalformed);
        };
        let first = (remote.address(), header.cookies.initiator);
        let found = match header.is_first() {
            true => self.ike.firsts.get(&first).copied(),
            false => self.ike.find(&header.cookies),
        };
        // The cookie of ours in it, which carries a MAC, is what a stranger does not have.
        let is_strangers = header.is_first() || found.is_none();
        if is_strangers && message.len() > LONG {
            let source = source_of(remote.address());
            if self.ike.long.enter(now, source).is_err() {
                return self.counters.add(Counter::IkeLongLimit);
            }
        }
        let (id, is_new) = match found {
            Some(id) => (id, false),
            None if !header.is_first() => return self.counters.add(Counter::IkeUnknownCookie),
            None if header.exchange != ike::message::Exchange::MainMode => {
                return self.counters.add(Counter::IkeNotMainMode);
            }
            None => match self.answer_exchange(now, worker, (local, remote), first.1) {
                Some(id) => (id, true),
                None => return,
            },
        };
        if !is_strangers {
            self.ike.unproven.remove(id);
        }
        if let Some(exchange) = self.ike.slots.get_mut(id.0) {
            (exchange.local, exchange.remote) = (local, remote);
        }
        let taken = self.with_sa(now, id, |sa, env, out| {
            sa.handle_input(now, local.into(), remote.into(), message, env, out)
        });
        if let Some(Err(refusal)) = taken {
            self.ike_refused(now, id, refusal);
            if is_new || self.is_hopeless(id) {
                self.remove_exchange(now, id);
            }
        }
    }

    /// Counts a refused message of a main mode under way; whether that was one too many.
    fn is_hopeless(&mut self, id: IkeId) -> bool {
        let exchange = self.ike.slots.get_mut(id.0);
        let Some(exchange) = exchange.filter(|exchange| exchange.half_open.is_some()) else {
            return false;
        };
        exchange.refused = exchange.refused.saturating_add(1);
        let is_hopeless = exchange.refused > REFUSED_MAX;
        if is_hopeless {
            self.counters.add(Counter::IkeHopeless);
        }
        is_hopeless
    }

    /// A stranger starts a main mode.
    fn answer_exchange(
        &mut self,
        now: Instant,
        worker: WorkerId,
        (local, remote): (Endpoint, Endpoint),
        initiator: Cookie,
    ) -> Option<IkeId> {
        let settings = Arc::clone(&self.settings);
        let listener = self.listener_at(local.address());
        let policy = listener.and_then(|listener| settings.listeners[listener].ike.as_ref());
        let (Some(listener), Some(policy), None) = (listener, policy, &self.shutdown) else {
            self.counters.add(Counter::IkeNotServed);
            return None;
        };
        let (address, source) = (remote.address(), source_of(remote.address()));
        if let Err(full) = self.enter_half_open(now, source) {
            self.counters.add(match full {
                Full::InAll => Counter::IkeHalfOpenLimit,
                Full::Source => Counter::IkeHalfOpenSourceLimit,
            });
            return None;
        }
        let shard = self.outbox.choose_shard(worker);
        let correlation = Correlation::new(&mut self.random);
        let Some(slot) = self.ike.slots.vacant(shard) else {
            self.ike.half_open.leave(&source);
            self.counters.add(Counter::IkeNoSlot);
            return None;
        };
        let cookie = Cookie(self.ike.key.cookie(slot, address));
        let policy = Arc::clone(policy);
        let sa = Sa::respond(policy, cookie, now, local.into(), remote.into());
        let exchange = Exchange {
            half_open: Some(source),
            first: Some((address, initiator)),
            ..Exchange::new(sa, cookie, correlation, listener, (local, remote))
        };
        let inserted = self.ike.slots.insert(shard, exchange);
        debug_assert_eq!(inserted, Some(slot), "the cookie names the slot");
        self.ike.firsts.insert((address, initiator), IkeId(slot));
        self.ike.unproven.add(source, IkeId(slot));
        Some(IkeId(slot))
    }

    /// A place among the half-open, if need be that of one that has not answered.
    fn enter_half_open(&mut self, now: Instant, source: IpAddr) -> Result<(), Full> {
        while let Err(full) = self.ike.half_open.enter(source) {
            let oldest = self.ike.unproven.oldest(full, source).ok_or(full)?;
            self.counters.add(Counter::IkeHalfOpenEvicted);
            self.remove_exchange(now, oldest);
        }
        Ok(())
    }

    /// Starts a main mode with a peer that we know, to take its SAs over.
    pub(crate) fn start_exchange(&mut self, now: Instant, path: PathId, wants_child: bool) {
        let Some((peer, ike)) = self.ike_peer(path) else {
            return;
        };
        if ike.renewal.is_some() || self.shutdown.is_some() {
            return;
        }
        let (listener, ends) = (peer.listener, (ike.name.local, ike.name.remote));
        let correlation = peer.correlation;
        let Some(slot) = self.ike.slots.vacant(path.0.shard()) else {
            return self.counters.add(Counter::IkeNoSlot);
        };
        let cookie = Cookie(self.ike.key.cookie(slot, ends.1.address()));
        let (mut out, mut reserved) = (Vec::new(), Few::default());
        let Some(sa) = self.initiate(now, path, cookie, &mut reserved, &mut out) else {
            return;
        };
        let exchange = Exchange {
            renews: Some(path),
            wants_child,
            reserved,
            ..Exchange::new(sa, cookie, correlation, listener, ends)
        };
        let inserted = self.ike.slots.insert(path.0.shard(), exchange);
        debug_assert_eq!(inserted, Some(slot), "the cookie names the slot");
        if let Some((_, ike)) = self.ike_peer_mut(path) {
            ike.renewal = Some(IkeId(slot));
        }
        self.take_ike_outputs(now, IkeId(slot), out);
        self.touch_exchange(now, IkeId(slot));
    }

    /// The first message of a main mode: with what the peer has accepted before, as long as we
    /// know, and else with all that the listener offers.
    fn initiate(
        &mut self,
        now: Instant,
        path: PathId,
        cookie: Cookie,
        reserved: &mut Few<u32, ()>,
        out: &mut Vec<ike::Output>,
    ) -> Option<Sa> {
        let established = self.established(path);
        let (peer, ike) = self.ike_peer(path)?;
        let (local, remote) = (ike.name.local.into(), ike.name.remote.into());
        let policy = self.settings.listeners[peer.listener].ike.clone()?;
        let mut env = Environment {
            random: &mut self.random,
            spis: &mut self.inbound,
            reserved,
            shard: path.0.shard(),
        };
        let living = established.and_then(|id| self.ike.slots.get(id.0));
        let renewed = living.and_then(|exchange| exchange.sa.renew(cookie, now, &mut env, out));
        let initiated = || Sa::initiate(policy, cookie, now, local, remote, &mut env, out);
        Some(renewed.unwrap_or_else(initiated))
    }

    /// Calls an ISAKMP SA and does what it asks for.
    pub(crate) fn with_sa<R>(
        &mut self,
        now: Instant,
        id: IkeId,
        act: impl FnOnce(&mut Sa, &mut dyn ike::Environment, &mut Vec<ike::Output>) -> R,
    ) -> Option<R> {
        let exchange = self.ike.slots.get_mut(id.0)?;
        let shard = exchange.shard(id);
        let mut out = Vec::new();
        let mut env = Environment {
            random: &mut self.random,
            spis: &mut self.inbound,
            reserved: &mut exchange.reserved,
            shard,
        };
        let result = act(&mut exchange.sa, &mut env, &mut out);
        self.take_ike_outputs(now, id, out);
        self.touch_exchange(now, id);
        Some(result)
    }

    fn take_ike_outputs(&mut self, now: Instant, id: IkeId, out: Vec<ike::Output>) {
        for output in out {
            self.take_ike_output(now, id, output);
        }
    }

    fn take_ike_output(&mut self, now: Instant, id: IkeId, output: ike::Output) {
        match output {
            ike::Output::Send {
                local,
                remote,
                message,
            } => self.send_ike(id, Kind::Ike, local.into(), remote.into(), message),
            ike::Output::Keepalive { local, remote } => {
                self.send_ike(id, Kind::Keepalive, local.into(), remote.into(), vec![0xff]);
            }
            ike::Output::Compute { token, job } => self.compute(id, token, job),
            ike::Output::Established(established) => {
                self.exchange_established(now, id, *established)
            }
            ike::Output::ChildUp(child) => self.child_up(now, id, *child),
            ike::Output::ChildConfirmed { inbound } => self.child_confirmed(id, inbound),
            ike::Output::ChildFailed { inbound, reason } => self.child_failed(id, inbound, reason),
            ike::Output::ChildDown { inbound, reason } => self.child_down(now, id, inbound, reason),
            ike::Output::RemoteMoved { local, remote } => {
                self.remote_moved(id, local.into(), remote.into());
            }
            ike::Output::InitialContact => self.initial_contact(now, id),
            ike::Output::ProposalRefused(refused) => self.proposal_refused(now, id, &refused),
            ike::Output::RenewalDue => self.renewal_due(now, id),
            ike::Output::KeysForLog(keys) => {
                if self.settings.key_log {
                    self.outbox.push(Output::KeyLog(KeyLog::Ike(keys)));
                }
            }
            ike::Output::Down { reason } => self.exchange_down(now, id, reason),
        }
    }

    /// Time for a new main mode, unless the peer has begun one since.
    fn renewal_due(&mut self, now: Instant, id: IkeId) {
        let path = self.ike.slots.get(id.0).and_then(|exchange| exchange.peer);
        let peer = path.and_then(|path| self.ike_peer(path));
        if let Some(path) = path
            && peer.is_some_and(|(_, ike)| ike.exchanges.last() == Some(&id))
        {
            self.start_exchange(now, path, false);
        }
    }

    fn send_ike(
        &mut self,
        id: IkeId,
        kind: Kind,
        local: Endpoint,
        remote: Endpoint,
        bytes: Vec<u8>,
    ) {
        let Some(exchange) = self.ike.slots.get(id.0) else {
            return;
        };
        let shard = exchange.shard(id);
        let entry = Entry::Transmit {
            shard,
            kind,
            local,
            remote,
        };
        self.outbox.inject(shard, entry, bytes);
    }

    pub(crate) fn ike_timeout(&mut self, now: Instant, id: IkeId) {
        let path = self.ike.slots.get(id.0).and_then(|exchange| exchange.peer);
        let last_seen = path.and_then(|path| self.activity.path_last_seen(path));
        self.with_sa(now, id, |sa, env, out| {
            if let Some(at) = last_seen {
                sa.saw_traffic(at);
            }
            sa.handle_timeout(now, env, out);
        });
    }

    /// Its half-open time is over, for better or worse.
    pub(crate) fn leave_half_open(&mut self, id: IkeId) {
        let source = self
            .ike
            .slots
            .get_mut(id.0)
            .and_then(|exchange| exchange.half_open.take());
        if let Some(source) = source {
            self.ike.half_open.leave(&source);
        }
    }

    fn exchange_down(&mut self, now: Instant, id: IkeId, reason: DownReason) {
        self.leave_half_open(id);
        let Some(exchange) = self.ike.slots.get(id.0) else {
            return;
        };
        let path = exchange.peer;
        if path.is_none() {
            self.counters.add(Counter::IkeDown);
        }
        let known = path.or(exchange.renews);
        let is_heard = known.is_some() || self.may_log(now);
        if let Some(exchange) = self.ike.slots.get(id.0).filter(|_| is_heard) {
            log::exchange_down(&self.log, exchange, &reason);
        }
        if let Some(path) = known {
            self.peer_lost_exchange(now, path, id, reason);
        }
    }

    /// Re-reads its deadline; an SA that has ended and holds no children goes.
    fn touch_exchange(&mut self, now: Instant, id: IkeId) {
        let Some(exchange) = self.ike.slots.get_mut(id.0) else {
            return;
        };
        let deadline = exchange.sa.poll_timeout().map(|(at, _)| at);
        self.timers
            .put(Timer::Ike(id), &mut exchange.place, deadline);
        if exchange.sa.is_down() && !self.has_children(id) {
            self.remove_exchange(now, id);
        }
    }

    pub(crate) fn remove_exchange(&mut self, now: Instant, id: IkeId) {
        self.leave_half_open(id);
        self.ike.unproven.remove(id);
        let Some(mut exchange) = self.ike.slots.release(id.0) else {
            return;
        };
        self.timers.put(Timer::Ike(id), &mut exchange.place, None);
        if let Some(first) = exchange.first {
            self.ike.firsts.remove(&first);
        }
        for &spi in exchange.reserved.keys() {
            self.inbound.release(Slot::from_word(spi));
        }
        if let Some(path) = exchange.peer.or(exchange.renews) {
            self.peer_without_exchange(now, path, id);
        }
    }

    fn proposal_refused(&mut self, now: Instant, id: IkeId, refused: &[Refused]) {
        self.counters.add(Counter::IkeProposalRefused);
        let is_heard = self.may_log(now);
        if let Some(exchange) = self.ike.slots.get(id.0).filter(|_| is_heard) {
            log::proposal_refused(&self.log, exchange, refused);
        }
    }

    fn ike_refused(&mut self, now: Instant, id: IkeId, refusal: Refusal) {
        self.counters.add(Counter::IkeRefused);
        let Some(exchange) = self.ike.slots.get_mut(id.0) else {
            return;
        };
        let is_wrong_key = matches!(
            refusal,
            Refusal::WrongPreSharedKey | Refusal::IdentityRefused | Refusal::NoPreSharedKey
        );
        // Once for each exchange: the peer repeats its message.
        if !is_wrong_key || std::mem::replace(&mut exchange.has_told_wrong_key, true) {
            return log::ike_refused(&self.log, exchange, refusal);
        }
        self.counters.add(Counter::IkeWrongKey);
        let is_heard = self.may_log(now);
        if let Some(exchange) = self.ike.slots.get(id.0).filter(|_| is_heard) {
            log::wrong_key(&self.log, exchange, refusal);
        }
    }
}

impl Exchange {
    fn new(
        sa: Sa,
        cookie: Cookie,
        correlation: Correlation,
        listener: usize,
        (local, remote): (Endpoint, Endpoint),
    ) -> Self {
        Self {
            sa,
            place: Place::default(),
            cookie,
            correlation,
            listener,
            local,
            remote,
            half_open: None,
            first: None,
            peer: None,
            renews: None,
            is_initial_contact: false,
            wants_child: false,
            reserved: Few::default(),
            suite: None,
            has_told_wrong_key: false,
            refused: 0,
        }
    }
}
