//! The IP side of a session: what leads to it, how long it may last, and what it gives back.

use std::net::IpAddr;
use std::time::Instant;

use dataplane::change::{Change, Entry, Network, Rate, SharedChange};
use dataplane::id::SessionSlot;
use ipnet::IpNet;
use ppp::{DownReason, Link};

use crate::counters::Counter;
use crate::mtu::{L2TP_HEADER, L2TP_HEADER_SEQUENCED, PPP_HEADER};
use crate::peer::Peer;
use crate::pool::Lease;
use crate::settings::{Profile, Settings, User};
use crate::subscriber::Subscriber;
use crate::timers::Timer;
use crate::{Control, log};

impl Control {
    /// A frame of PPP's for the peer. Before a Configure-Ack of IPCP, by which the peer learns that
    /// it has its address, the address leads to the session: even if IPCP is not open yet at our
    /// end, it is at the peer's when the Ack arrives.
    pub(crate) fn send_ppp(&mut self, slot: SessionSlot, frame: Vec<u8>) {
        if is_ipcp_ack(&frame) {
            self.attach(slot);
        }
        self.outbox
            .inject(slot.0.shard(), Entry::Session(slot), frame);
    }

    /// IPCP is open.
    pub(crate) fn network_up(&mut self, now: Instant, slot: SessionSlot) {
        self.attach(slot);
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        if subscriber.up_since.is_none() {
            subscriber.up_since = Some(now);
            self.sessions_up += 1;
            self.counters.add(Counter::SessionsUp);
            log::session_up(&self.log, subscriber);
        }
        self.set_session_limits(now, slot);
    }

    /// The subscriber's address and prefixes lead to the session, and data flows.
    fn attach(&mut self, slot: SessionSlot) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        let Some(peer) = self.peers.slots.get(subscriber.session.path.0) else {
            return;
        };
        let Some(address) = subscriber.lease.as_ref().map(Lease::address) else {
            return;
        };
        if !subscriber.attached.is_empty() {
            return;
        }
        let user = self.users.find(&subscriber.user);
        let prefixes = user.map_or(&[][..], |user| &user.prefixes);
        let network = network(&self.settings, subscriber, peer, address, prefixes);
        subscriber.attached = [prefixes, &[IpNet::from(address)]].concat().into();
        for &prefix in &subscriber.attached {
            self.outbox.shared(SharedChange::Attach {
                vrf: peer.vrf,
                prefix,
                session: slot,
            });
        }
        let profile = self.settings.profiles.get(subscriber.profile);
        let rate = |of_user: fn(&User) -> Option<Rate>,
                    of_profile: fn(&Profile) -> Option<Rate>| {
            user.and_then(of_user)
                .or_else(|| profile.and_then(of_profile))
        };
        let up = rate(|user| user.up, |profile| profile.up);
        let down = rate(|user| user.down, |profile| profile.down);
        self.outbox
            .change(slot.0.shard(), Change::OpenNetwork(network));
        if up.is_some() || down.is_some() {
            let session = slot;
            self.outbox
                .change(slot.0.shard(), Change::SetPolicers { session, up, down });
        }
    }

    /// Nothing leads to the session any more.
    pub(crate) fn detach(&mut self, slot: SessionSlot) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        let vrf = self
            .peers
            .slots
            .get(subscriber.session.path.0)
            .map_or(0, |peer| peer.vrf);
        for prefix in std::mem::take(&mut subscriber.attached) {
            let session = slot;
            self.outbox.shared(SharedChange::Detach {
                vrf,
                prefix,
                session,
            });
        }
    }

    /// User and address are free again.
    pub(crate) fn release(&mut self, now: Instant, slot: SessionSlot) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        if let Some(lease) = subscriber.lease.take() {
            self.pools.release(now, lease);
            self.users.leave(&subscriber.user, slot);
        }
    }

    /// The session and idle time-outs of the profile, whichever comes first.
    fn set_session_limits(&mut self, now: Instant, slot: SessionSlot) {
        let Some(subscriber) = self.subscribers.get(slot.0) else {
            return;
        };
        let Some(profile) = self.settings.profiles.get(subscriber.profile) else {
            return;
        };
        let up_since = subscriber.up_since.unwrap_or(now);
        let session = profile
            .session_timeout
            .map(|limit| (up_since + limit, "session time-out"));
        let last_seen = self
            .activity
            .session_last_seen(slot)
            .unwrap_or(up_since)
            .max(up_since);
        let idle = profile
            .idle_timeout
            .map(|limit| (last_seen + limit, "idle time-out"));
        let first = [session, idle]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at);
        self.timers.set(Timer::Session(slot), first);
    }

    pub(crate) fn session_timeout(&mut self, now: Instant, slot: SessionSlot) {
        self.set_session_limits(now, slot);
        match self.timers.of(Timer::Session(slot)) {
            Some((at, "session time-out")) if at <= now => {
                self.terminate(now, slot, DownReason::SessionTimeout, "session time-out");
            }
            Some((at, _)) if at <= now => {
                self.terminate(now, slot, DownReason::IdleTimeout, "idle time-out");
            }
            Some(_) | None => {}
        }
    }
}

/// What the fast path needs to carry IP for the subscriber.
fn network(
    settings: &Settings,
    subscriber: &Subscriber,
    peer: &Peer,
    address: IpAddr,
    prefixes: &[IpNet],
) -> Network {
    let profile = settings.profiles.get(subscriber.profile);
    let negotiated = subscriber.link().and_then(Link::negotiated);
    Network {
        session: subscriber.session.id,
        address,
        prefixes: prefixes.to_vec(),
        mtu: network_mtu(settings, subscriber, peer),
        pfc: negotiated.is_some_and(|negotiated| negotiated.pfc),
        acfc: negotiated.is_some_and(|negotiated| negotiated.acfc),
        clamp_mss: profile.is_none_or(|profile| profile.clamp_mss),
        isolate: profile.is_some_and(|profile| profile.isolate),
    }
}

/// The largest IP packet towards the subscriber: the lesser of its MRU and what fits.
pub(crate) fn network_mtu(settings: &Settings, subscriber: &Subscriber, peer: &Peer) -> u16 {
    let l2tp_header = match subscriber.session.sequencing {
        true => L2TP_HEADER_SEQUENCED,
        false => L2TP_HEADER,
    };
    let carriage = peer.carriage(settings.path_mtu);
    let largest = carriage.largest_inner(l2tp_header, PPP_HEADER);
    let negotiated = subscriber.link().and_then(Link::negotiated);
    negotiated.map_or(largest, |negotiated| negotiated.peer_mru.min(largest))
}

/// Whether a frame as the link makes it is a Configure-Ack (RFC 1661 §5.2) of IPCP (RFC 1332 §3).
fn is_ipcp_ack(frame: &[u8]) -> bool {
    const CONFIGURE_ACK: u8 = 2;
    matches!(frame, [0xff, 0x03, 0x80, 0x21, CONFIGURE_ACK, ..])
}
