//! Who may come in, and with which address: the answer to what PPP has authenticated.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use dataplane::id::SessionSlot;
use l2tp::CallEnd;
use ppp::{Credentials, DownReason, Grant, Verdict};

use crate::counters::Counter;
use crate::pool::{Lease, NoLease};
use crate::settings::Beyond;
use crate::subscriber::End;
use crate::users::{Service, Stranger, ipv4};
use crate::{Control, log};

/// Why somebody may not come in: in words, and as the CDN says it.
struct Denial {
    why: String,
    end: CallEnd,
}

impl From<&str> for Denial {
    fn from(why: &str) -> Self {
        Self {
            why: why.to_owned(),
            end: CallEnd::Administrative,
        }
    }
}

impl Control {
    /// Who is it, and what does he get?
    pub(crate) fn authenticate(
        &mut self,
        now: Instant,
        slot: SessionSlot,
        credentials: &Credentials,
    ) {
        let verdict = match self.admit(now, slot, credentials) {
            Ok(grant) => Verdict::Accept(grant),
            Err(denial) => {
                self.deny(slot, credentials.user(), denial);
                let message = String::new();
                Verdict::Reject { message }
            }
        };
        self.with_link(now, slot, |link, random, out| {
            link.authorize(now, verdict, random, out)
        });
    }

    fn deny(&mut self, slot: SessionSlot, user: &str, denial: Denial) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        let Denial { why, end } = denial;
        log::refused(&self.log, subscriber, subscriber.remote, user, &why);
        let why = format!("refused: {why}");
        let ending = subscriber.end.get_or_insert_with(|| End::of(&why));
        ending.denied = Some((user.to_owned(), end));
    }

    fn admit(
        &mut self,
        now: Instant,
        slot: SessionSlot,
        credentials: &Credentials,
    ) -> Result<Grant, Denial> {
        let settings = Arc::clone(&self.settings);
        let listener = self
            .listener_of_session(slot)
            .ok_or("the session is gone")?;
        let default_profile = &settings.listeners[listener].profile;
        let known = self
            .users
            .authenticate(credentials, default_profile, &settings.profiles);
        let service = known.map_err(|stranger| {
            let (counter, why) = match stranger {
                Stranger::UnknownUser => (Counter::AuthUnknownUser, "no such user"),
                Stranger::WrongSecret => (Counter::AuthWrongSecret, "wrong password"),
                Stranger::HashOnly => (
                    Counter::AuthHashOnly,
                    "only an NT hash is known, CHAP-MD5 needs the password",
                ),
            };
            self.counters.add(counter);
            Denial::from(why)
        })?;
        self.forget_previous_user(now, slot, &service.user);
        self.make_room_for(now, slot, &service)?;
        let lease = self.lease_for(now, slot, listener, &service)?;
        Ok(self.grant(now, slot, lease, service))
    }

    fn listener_of_session(&self, slot: SessionSlot) -> Option<usize> {
        let path = self.subscribers.get(slot.0)?.session.path;
        Some(self.peers.slots.get(path.0)?.listener)
    }

    /// LCP may start anew, and somebody else authenticate.
    fn forget_previous_user(&mut self, now: Instant, slot: SessionSlot, user: &str) {
        let Some(subscriber) = self.subscribers.get(slot.0) else {
            return;
        };
        if subscriber.lease.is_some() && *subscriber.user != *user {
            self.detach(slot);
            self.release(now, slot);
        }
    }

    /// Holds a dial-in against the user's session limit.
    fn make_room_for(
        &mut self,
        now: Instant,
        slot: SessionSlot,
        service: &Service,
    ) -> Result<(), Denial> {
        let limit = service.sessions;
        if limit.max == 0 || service.user.is_empty() {
            return Ok(());
        }
        let others = self.users.connected(&service.user).iter().copied();
        let others: Vec<SessionSlot> = others.filter(|&other| other != slot).collect();
        let surplus = (others.len() + 1).saturating_sub(limit.max as usize);
        if surplus > 0 && limit.beyond == Beyond::Deny {
            self.counters.add(Counter::AuthTooManySessions);
            return Err("too many sessions of this user".into());
        }
        for &oldest in others.iter().take(surplus) {
            self.counters.add(Counter::AuthReplaced);
            let why = "replaced by a new session of the same user";
            self.terminate(now, oldest, DownReason::Cleared, why);
        }
        Ok(())
    }

    fn lease_for(
        &mut self,
        now: Instant,
        slot: SessionSlot,
        listener: usize,
        service: &Service,
    ) -> Result<Lease, Denial> {
        let subscriber = self
            .subscribers
            .get_mut(slot.0)
            .ok_or("the session is gone")?;
        if let Some(lease) = subscriber.lease.take() {
            return Ok(lease);
        }
        let fixed = self.users.find(&service.user).and_then(|user| user.address);
        let leased = match fixed {
            Some(address) => {
                let vrf = self.settings.listeners[listener].vrf;
                self.pools.lease_fixed(vrf, address)
            }
            None if service.user.is_empty() => {
                let nobody = subscriber.correlation.to_string();
                self.pools.lease(now, &nobody, &service.pools)
            }
            None => self.pools.lease(now, &service.user, &service.pools),
        };
        leased.map_err(|why| {
            self.counters.add(Counter::AuthNoAddress);
            let why = match why {
                NoLease::Exhausted => "no address left in the pool".to_owned(),
                NoLease::InUse(address) => format!("the fixed address {address} is in use"),
                NoLease::NoPool => return "no pool is configured for this user".into(),
            };
            let end = CallEnd::NoFacilities;
            Denial { why, end }
        })
    }

    fn grant(&mut self, now: Instant, slot: SessionSlot, lease: Lease, service: Service) -> Grant {
        let settings = Arc::clone(&self.settings);
        let pool = lease.pool().or_else(|| service.pools.first().copied());
        let pool = pool.and_then(|pool| settings.pools.get(pool));
        let profile = settings.profiles.get(service.profile);
        let of_pool = |list: fn(&crate::settings::Pool) -> &Vec<IpAddr>| {
            pool.map(list).map(Vec::as_slice).unwrap_or_default()
        };
        let dns = profile
            .map(|profile| &profile.dns[..])
            .filter(|dns| !dns.is_empty());
        let wins = profile
            .map(|profile| &profile.wins[..])
            .filter(|wins| !wins.is_empty());
        let first = |address| ipv4(&[address]).first().copied();
        let grant = Grant {
            peer_address: first(lease.address()).unwrap_or(Ipv4Addr::UNSPECIFIED),
            own_address: pool
                .and_then(|pool| first(pool.gateway))
                .unwrap_or(Ipv4Addr::UNSPECIFIED),
            dns: ipv4(dns.unwrap_or_else(|| of_pool(|pool| &pool.dns))),
            wins: ipv4(wins.unwrap_or_else(|| of_pool(|pool| &pool.wins))),
            authenticator_response: service.authenticator_response,
        };
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            self.pools.release(now, lease);
            return grant;
        };
        let is_new = *subscriber.user != *service.user || subscriber.address.is_none();
        subscriber.address = Some(lease.address());
        subscriber.lease = Some(lease);
        subscriber.profile = service.profile;
        subscriber.user = service.user.as_str().into();
        subscriber.end = None;
        if is_new && !service.user.is_empty() {
            self.users.enter(&service.user, slot);
        }
        grant
    }
}
