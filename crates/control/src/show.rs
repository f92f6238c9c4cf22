//! Answers to an operator, a page a turn.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use dataplane::change::Encapsulation;
use dataplane::id::{InboundSa, PathId, SessionSlot, Slot};
use l2tp::TunnelEnd;
use ppp::DownReason;

use crate::admin::{
    Clear, Filter, PoolRow, Request, Response, SaRow, SessionRow, Table, Totals, TunnelRow, Usage,
};
use crate::counters::Counter;
use crate::peer::{Pair, Peer, phase1_text, suite_text};
use crate::pool::verification::{Stage, Verification};
use crate::slots::Cursor;
use crate::subscriber::Subscriber;
use crate::tunnel::TunnelKey;
use crate::{Control, Output};

/// A request that has not been answered to the end.
#[derive(Debug)]
pub(crate) struct Pending {
    request: u64,
    query: Request,
    cursor: Cursor,
    verification: Option<Verification>,
    matched: usize,
}

/// Requests under way, each in turn.
pub(crate) type Requests = VecDeque<Pending>;

impl Control {
    pub(crate) fn ask(&mut self, request: u64, query: Request) {
        if self.requests.len() >= self.settings.limits.admin_requests {
            self.counters.add(Counter::AdminBusy);
            let response = Response::Refused("too many requests under way".to_owned());
            return self.reply(request, response, true);
        }
        if let Request::Clear { filter, .. } = &query
            && filter.is_empty()
        {
            let response = Response::Refused("clear needs a filter".to_owned());
            return self.reply(request, response, true);
        }
        self.requests.push_back(Pending {
            request,
            query,
            cursor: Cursor::default(),
            verification: None,
            matched: 0,
        });
    }

    fn reply(&mut self, request: u64, response: Response, last: bool) {
        self.outbox.push(Output::Reply {
            request,
            response,
            last,
        });
    }

    /// One page of one request.
    pub(crate) fn answer(&mut self, now: Instant) {
        let Some(mut pending) = self.requests.pop_front() else {
            return;
        };
        let next = match pending.query.clone() {
            Request::Show { table, filter } => self.show(now, &mut pending, table, &filter),
            Request::Clear { what, filter } => self.clear(now, &mut pending, what, &filter),
            Request::VerifyPools => self.verify(&mut pending),
            Request::Counters => {
                let counters = self
                    .counters()
                    .map(|(name, count)| (name.to_owned(), count));
                let response = Response::Counters(counters.collect());
                self.reply(pending.request, response, true);
                None
            }
        };
        if let Some(cursor) = next {
            pending.cursor = cursor;
            self.requests.push_back(pending);
        }
    }

    fn show(
        &mut self,
        now: Instant,
        pending: &mut Pending,
        table: Table,
        filter: &Filter,
    ) -> Option<Cursor> {
        let visits = self.settings.limits.rows_per_turn;
        let (response, matched, next) = match table {
            Table::Sessions => {
                let (slots, next) = self.subscribers.page(pending.cursor, visits);
                let rows = slots
                    .into_iter()
                    .filter_map(|slot| self.session_row(now, slot, filter));
                let rows: Vec<SessionRow> = rows.collect();
                let matched = rows.len();
                (Response::Sessions(rows), matched, next)
            }
            Table::Tunnels => {
                let (rows, next) = self.per_peer(pending.cursor, visits, |path, peer| {
                    self.tunnel_rows(now, path, peer, filter)
                });
                let matched = rows.len();
                (Response::Tunnels(rows), matched, next)
            }
            Table::Sas => {
                let (rows, next) = self.per_peer(pending.cursor, visits, |path, peer| {
                    self.sa_rows(now, path, peer, filter)
                });
                let matched = rows.len();
                (Response::Sas(rows), matched, next)
            }
            Table::Pools => {
                let rows = self.pool_rows(now, filter);
                let matched = rows.len();
                (Response::Pools(rows), matched, None)
            }
        };
        pending.matched += matched;
        self.reply(pending.request, response, false);
        if next.is_none() {
            let totals = self.totals(pending.matched);
            self.reply(pending.request, Response::Totals(totals), true);
        }
        next
    }

    fn per_peer<R>(
        &self,
        cursor: Cursor,
        visits: usize,
        rows_of: impl Fn(PathId, &Peer) -> Vec<R>,
    ) -> (Vec<R>, Option<Cursor>) {
        let (slots, next) = self.peers.slots.page(cursor, visits);
        let rows = slots.into_iter().filter_map(|slot| {
            let peer = self.peers.slots.get(slot)?;
            Some(rows_of(PathId(slot), peer))
        });
        (rows.flatten().collect(), next)
    }

    fn session_row(&self, now: Instant, slot: Slot, filter: &Filter) -> Option<SessionRow> {
        let subscriber = self.subscribers.get(slot)?;
        let peer = self.peers.slots.get(subscriber.session.path.0)?;
        let matches = is_wanted(filter.user.as_deref(), &*subscriber.user)
            && (filter.address.is_none() || filter.address == subscriber.address)
            && is_wanted(filter.peer.as_ref(), &peer.remote.address())
            && is_wanted(filter.tunnel.as_ref(), &subscriber.session.tunnel)
            && is_wanted(filter.session.as_ref(), &subscriber.session.session);
        if !matches {
            return None;
        }
        let traffic = self.activity.session_traffic(SessionSlot(slot));
        Some(SessionRow {
            id: subscriber.correlation.to_string(),
            user: subscriber.user.to_string(),
            address: subscriber.address,
            peer: peer.shown().to_string(),
            listener: self.settings.listeners[peer.listener].name.clone(),
            tunnel: subscriber.session.tunnel,
            session: subscriber.session.session,
            state: subscriber.state().to_owned(),
            suite: suite_text(peer.suite()),
            mru: subscriber.mru,
            seconds: seconds_since(now, subscriber.since),
            up_packets: traffic.up.packets,
            up_bytes: traffic.up.bytes,
            down_packets: traffic.down.packets,
            down_bytes: traffic.down.bytes,
            shard: slot.shard().index() as u8,
            worker: self.outbox.owner(slot.shard()).0,
        })
    }

    fn tunnel_rows(
        &self,
        now: Instant,
        path: PathId,
        peer: &Peer,
        filter: &Filter,
    ) -> Vec<TunnelRow> {
        let row = |&id: &u16| {
            let tunnel = self.tunnels.by_key.get(&TunnelKey { path, id })?;
            let matches = is_wanted(filter.tunnel.as_ref(), &id)
                && is_wanted(filter.peer.as_ref(), &peer.remote.address())
                && self.has_session(tunnel.sessions.values(), filter);
            let state = match (tunnel.is_over(), tunnel.machine.is_established()) {
                (true, _) => "ending",
                (false, true) => "up",
                (false, false) => "setting up",
            };
            matches.then(|| TunnelRow {
                tunnel: id,
                peer_tunnel: tunnel.machine.peer_id().0,
                host_name: tunnel.machine.peer_host_name().to_owned(),
                peer: peer.shown().to_string(),
                listener: self.settings.listeners[peer.listener].name.clone(),
                state: state.to_owned(),
                secured: peer.ike.is_some(),
                sessions: tunnel.sessions.len(),
                seconds: seconds_since(now, tunnel.since),
                shard: path.0.shard().index() as u8,
            })
        };
        peer.tunnels.keys().filter_map(row).collect()
    }

    /// Whether one of the sessions is what the filter says about sessions.
    fn has_session<'a>(
        &self,
        mut sessions: impl Iterator<Item = &'a SessionSlot>,
        filter: &Filter,
    ) -> bool {
        let asks = filter.user.is_some() || filter.address.is_some() || filter.session.is_some();
        !asks
            || sessions.any(|slot| {
                self.subscribers.get(slot.0).is_some_and(|subscriber| {
                    is_wanted(filter.user.as_deref(), &*subscriber.user)
                        && (filter.address.is_none() || filter.address == subscriber.address)
                        && is_wanted(filter.session.as_ref(), &subscriber.session.session)
                })
            })
    }

    fn is_wanted_peer(&self, path: PathId, peer: &Peer, filter: &Filter) -> bool {
        let tunnels = peer
            .tunnels
            .keys()
            .filter_map(|&id| self.tunnels.by_key.get(&TunnelKey { path, id }));
        is_wanted(filter.peer.as_ref(), &peer.remote.address())
            && filter
                .tunnel
                .is_none_or(|id| peer.tunnels.contains_key(&id))
            && self.has_session(tunnels.flat_map(|tunnel| tunnel.sessions.values()), filter)
    }

    fn sa_rows(&self, now: Instant, path: PathId, peer: &Peer, filter: &Filter) -> Vec<SaRow> {
        let Some(ike) = &peer.ike else {
            return Vec::new();
        };
        if !self.is_wanted_peer(path, peer, filter) {
            return Vec::new();
        }
        let phase1 = ike.exchanges.last().and_then(|id| self.ike.slots.get(id.0));
        let latest = ike.children.values().map(|pair| pair.since).max();
        let row = |spi: u32, pair: &Pair| {
            let received = self.activity.inbound_traffic(InboundSa::from_spi(spi));
            let state = match (pair.is_active, Some(pair.since) == latest) {
                (false, _) => "waiting",
                (true, true) => "current",
                (true, false) => "lingering",
            };
            SaRow {
                identity: ike.name.identity.to_string(),
                peer: ike.name.remote.to_string(),
                phase1: phase1_text(phase1.and_then(|exchange| exchange.suite)),
                inbound_spi: format!("{spi:08x}"),
                outbound_spi: format!("{:08x}", pair.outbound),
                suite: pair.suite.to_string(),
                encapsulation: match peer.encapsulation {
                    Encapsulation::EspInUdp => "esp-in-udp".to_owned(),
                    Encapsulation::Esp | Encapsulation::Plain => "esp".to_owned(),
                },
                state: state.to_owned(),
                packets: received.packets,
                bytes: received.bytes,
                seconds: seconds_since(now, pair.since),
                lifetime: pair.lifetime.as_secs(),
                shard: path.0.shard().index() as u8,
            }
        };
        let pairs = ike.children.iter();
        pairs.map(|(&spi, pair)| row(spi, pair)).collect()
    }

    fn pool_rows(&mut self, now: Instant, filter: &Filter) -> Vec<PoolRow> {
        let address: Option<IpAddr> = filter.address;
        let rows = self.pools.rows(now).into_iter().enumerate();
        let wanted = rows
            .filter(|(pool, _)| address.is_none_or(|address| self.pools.contains(*pool, address)));
        wanted.map(|(_, row)| row).collect()
    }

    fn totals(&self, matched: usize) -> Totals {
        let limits = &self.settings.limits;
        let usage = |now, limit| Usage { now, limit };
        Totals {
            matched,
            sessions_up: self.sessions_up,
            sessions: usage(self.subscribers.len(), limits.sessions),
            tunnels: usage(self.tunnels.by_key.len(), limits.tunnels),
            peers: usage(self.peers.by_name.len(), limits.peers),
            half_open_ike: usage(self.ike.half_open.len(), limits.half_open_ike),
            half_open_l2tp: usage(self.tunnels.half_open.len(), limits.half_open_l2tp),
        }
    }

    fn clear(
        &mut self,
        now: Instant,
        pending: &mut Pending,
        what: Clear,
        filter: &Filter,
    ) -> Option<Cursor> {
        const WHY: &str = "cleared by the operator";
        let visits = self.settings.limits.rows_per_turn;
        let next = match what {
            Clear::Session => {
                let (slots, next) = self.subscribers.page(pending.cursor, visits);
                for slot in slots {
                    if self.session_row(now, slot, filter).is_some() {
                        pending.matched += 1;
                        self.terminate(now, SessionSlot(slot), DownReason::Cleared, WHY);
                    }
                }
                next
            }
            Clear::Tunnel => {
                let (rows, next) = self.per_peer(pending.cursor, visits, |path, peer| {
                    let rows = self.tunnel_rows(now, path, peer, filter);
                    rows.into_iter()
                        .map(|row| TunnelKey {
                            path,
                            id: row.tunnel,
                        })
                        .collect()
                });
                pending.matched += rows.len();
                rows.into_iter()
                    .for_each(|key| self.clear_tunnel(now, key, WHY));
                next
            }
            Clear::Peer => {
                let (paths, next) = self.per_peer(pending.cursor, visits, |path, peer| {
                    let is_wanted = self.is_wanted_peer(path, peer, filter);
                    is_wanted.then_some(path).into_iter().collect()
                });
                pending.matched += paths.len();
                paths
                    .into_iter()
                    .for_each(|path| self.clear_peer(now, path, WHY));
                next
            }
        };
        if next.is_none() {
            self.reply(pending.request, Response::Cleared(pending.matched), true);
        }
        next
    }

    fn clear_tunnel(&mut self, now: Instant, key: TunnelKey, why: &str) {
        let tunnel = self.tunnels.by_key.get(&key);
        let sessions = tunnel.map(|tunnel| tunnel.sessions.clone());
        for &slot in sessions.unwrap_or_default().values() {
            self.terminate(now, slot, DownReason::Cleared, why);
        }
        self.with_tunnel(now, key, |tunnel, _, out| {
            tunnel.close(now, TunnelEnd::Administrative, out);
        });
    }

    fn clear_peer(&mut self, now: Instant, path: PathId, why: &str) {
        for key in self.peers.tunnels_of(path) {
            self.clear_tunnel(now, key, why);
        }
        self.end_peer(now, path, why);
    }

    fn verify(&mut self, pending: &mut Pending) -> Option<Cursor> {
        let verification = pending.verification.take();
        let mut verification = verification.unwrap_or_else(|| self.pools.begin_verification());
        self.verify_page(&mut verification);
        if let Stage::Done = verification.stage {
            let response = Response::Verified(verification.faults);
            self.reply(pending.request, response, true);
            return None;
        }
        pending.verification = Some(verification);
        Some(pending.cursor)
    }

    /// The next page of the books of the pools against the sessions.
    fn verify_page(&self, verification: &mut Verification) {
        let visits = self.settings.limits.rows_per_turn;
        verification.stage = match verification.stage {
            Stage::Sessions(cursor) => {
                let (slots, next) = self.subscribers.page(cursor, visits);
                let sessions = slots
                    .into_iter()
                    .filter_map(|slot| self.subscribers.get(slot));
                for lease in sessions.filter_map(Subscriber::lease) {
                    self.pools.verify_lease(lease, verification);
                }
                next.map_or(Stage::Books(0, 0), Stage::Sessions)
            }
            Stage::Books(pool, index) => {
                let at = (pool, index);
                self.pools.verify_books(at, visits, verification)
            }
            Stage::Done => Stage::Done,
        };
    }

    /// All of it at once.
    #[cfg(test)]
    pub(crate) fn verify_pools(&self) -> Vec<String> {
        let mut verification = self.pools.begin_verification();
        while !matches!(verification.stage, Stage::Done) {
            self.verify_page(&mut verification);
        }
        verification.faults
    }
}

fn is_wanted<T: PartialEq + ?Sized>(wanted: Option<&T>, value: &T) -> bool {
    wanted.is_none_or(|wanted| wanted == value)
}

fn seconds_since(now: Instant, then: Instant) -> u64 {
    now.saturating_duration_since(then).as_secs()
}
