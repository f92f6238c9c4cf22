//! Two ends, a wire between them, and time that jumps to the next thing that happens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::cipher::Algorithm;
use crypto::dh::{Group, Outcome};
use crypto::hash::Hash;
use crypto::{Random, Secret};

use crate::policy::{Phase1Proposal, Psk};
use crate::v1::Sa;
use crate::{Child, Cookie, Environment, Output, Policy, Refusal, Spi};

/// What the wire does to a message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// In a hundred.
    pub(super) loss: u32,
    /// In a hundred.
    pub(super) copies: u32,
    /// Milliseconds on top of the delay, at random.
    pub(super) jitter: u32,
}

/// Random bytes and SPIs of one end.
pub(super) struct Env {
    pub(super) random: Random,
    pub(super) next_spi: u32,
    pub(super) spis_left: usize,
}

impl Environment for Env {
    fn random(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }

    fn allocate_spi(&mut self) -> Option<Spi> {
        self.spis_left = self.spis_left.checked_sub(1)?;
        self.next_spi += 1;
        Some(Spi(self.next_spi))
    }
}

/// One machine and what it has said so far.
pub(super) struct End {
    pub(super) sa: Sa,
    pub(super) env: Env,
    pub(super) events: Vec<Output>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) children: BTreeMap<Spi, Child>,
    pub(super) sent: Vec<Vec<u8>>,
}

#[derive(Debug)]
enum Arrival {
    Message {
        to: usize,
        from: SocketAddr,
        at: SocketAddr,
        bytes: Vec<u8>,
    },
    Computed {
        to: usize,
        token: u64,
        outcome: Box<Outcome>,
    },
}

/// Initiator (0) and responder (1).
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) ends: [End; 2],
    pub(super) faults: Faults,
    pub(super) nat: Option<Nat>,
    /// Before the message of this number arrives, this happens to its receiver.
    pub(super) ambush: Option<(usize, Box<Ambush>)>,
    /// The message of this number is changed on its way.
    pub(super) edit_number: Option<(usize, Edit)>,
    pub(super) arrived: usize,
    random: Random,
    wire: BTreeMap<(Instant, u64), Arrival>,
    count: u64,
}

/// Changes a message.
pub(super) type Edit = fn(&mut Vec<u8>);

/// Gets the end, its clock, where the message arrives and comes from, and the message.
pub(super) type Ambush =
    dyn FnMut(&mut End, Instant, (SocketAddr, SocketAddr), &[u8]) -> Vec<Output>;

/// A NAT in front of the initiator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nat {
    pub(super) public: std::net::IpAddr,
    /// Added to the source port.
    pub(super) shift: u16,
}

pub(super) const CLIENT: &str = "192.0.2.10:500";
pub(super) const GATEWAY: &str = "198.51.100.1:500";

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// One suite over the group that costs nothing, and one key for all.
pub(super) fn toy_policy() -> Policy {
    policy_with(Group::Toy)
}

pub(super) fn policy_with(group: Group) -> Policy {
    let mut policy = Policy::compat();
    policy.phase1 = vec![Phase1Proposal {
        cipher: Algorithm::Aes256Cbc,
        hash: Hash::Sha1,
        group,
    }];
    policy.psks = vec![psk(b"open sesame")];
    policy
}

pub(super) fn psk(key: &[u8]) -> Psk {
    Psk {
        peer: None,
        identity: None,
        key: Secret::new(key),
    }
}

impl World {
    pub(super) fn new(seed: u64, client: Policy, gateway: Policy) -> Self {
        Self::behind(None, seed, client, gateway)
    }

    /// A world whose initiator is behind a NAT.
    pub(super) fn behind(nat: Option<Nat>, seed: u64, client: Policy, gateway: Policy) -> Self {
        // The clock is only read for a starting point, and all that follows is relative to it.
        #[expect(clippy::disallowed_methods)]
        let now = Instant::now();
        let mut seed_bytes = [0; 32];
        seed_bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut random = Random::from_seed(seed_bytes);
        let mut env = |base| Env {
            random: random.fork(),
            next_spi: base,
            spis_left: 10_000,
        };
        let (mut env_i, env_r) = (env(0x1000_0000), env(0x2000_0000));
        let (local, remote) = (address(CLIENT), address(GATEWAY));
        let mut out = Vec::new();
        let cookie = Cookie(env_i.random.array());
        let sa_i = Sa::initiate(
            Arc::new(client),
            cookie,
            now,
            local,
            remote,
            &mut env_i,
            &mut out,
        );
        let cookie = Cookie(random.array());
        let sa_r = Sa::respond(Arc::new(gateway), cookie, now, remote, local);
        let end = |sa, env| End {
            sa,
            env,
            events: Vec::new(),
            refusals: Vec::new(),
            children: BTreeMap::new(),
            sent: Vec::new(),
        };
        let mut world = Self {
            now,
            ends: [end(sa_i, env_i), end(sa_r, env_r)],
            faults: Faults::default(),
            nat,
            ambush: None,
            edit_number: None,
            arrived: 0,
            random,
            wire: BTreeMap::new(),
            count: 0,
        };
        world.carry_out(0, out);
        world
    }

    /// Does what an end wants done.
    pub(super) fn carry_out(&mut self, end: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send {
                    local,
                    remote,
                    message,
                } => {
                    self.ends[end].sent.push(message.clone());
                    self.send(end, local, remote, message);
                }
                Output::Compute { token, job } => {
                    let outcome = Box::new(job.run());
                    let delay = Duration::from_micros(self.random.below(5_000).into());
                    self.schedule(
                        delay,
                        Arrival::Computed {
                            to: end,
                            token,
                            outcome,
                        },
                    );
                }
                Output::ChildUp(child) => {
                    self.ends[end]
                        .children
                        .insert(child.inbound, (*child).clone());
                    self.ends[end].events.push(Output::ChildUp(child));
                }
                Output::ChildDown { inbound, reason } => {
                    let known = self.ends[end].children.remove(&inbound);
                    assert!(known.is_some(), "ChildDown once for each ChildUp");
                    self.ends[end]
                        .events
                        .push(Output::ChildDown { inbound, reason });
                }
                other => self.ends[end].events.push(other),
            }
        }
    }

    fn schedule(&mut self, delay: Duration, arrival: Arrival) {
        self.count += 1;
        self.wire.insert((self.now + delay, self.count), arrival);
    }

    fn send(&mut self, end: usize, from: SocketAddr, at: SocketAddr, bytes: Vec<u8>) {
        let to = 1 - end;
        let (from, at) = self.translate(end, from, at);
        let copies = 1 + u32::from(self.random.below(100) < self.faults.copies);
        for _ in 0..copies {
            if self.random.below(100) < self.faults.loss {
                continue;
            }
            let jitter = self.random.below(self.faults.jitter + 1);
            let delay = Duration::from_millis(u64::from(10 + jitter));
            self.schedule(
                delay,
                Arrival::Message {
                    to,
                    from,
                    at,
                    bytes: bytes.clone(),
                },
            );
        }
    }

    fn translate(&self, end: usize, from: SocketAddr, at: SocketAddr) -> (SocketAddr, SocketAddr) {
        let Some(nat) = self.nat else {
            return (from, at);
        };
        match end {
            0 => (SocketAddr::new(nat.public, from.port() + nat.shift), at),
            _ => {
                let port = at.port().wrapping_sub(nat.shift);
                (from, SocketAddr::new(address(CLIENT).ip(), port))
            }
        }
    }

    /// Changes message 1 on the wire.
    pub(super) fn edit_first(&mut self, edit: impl FnOnce(&mut Vec<u8>)) {
        let Some(Arrival::Message { bytes, .. }) = self.wire.values_mut().next() else {
            panic!("message 1 is on the wire")
        };
        edit(bytes);
    }

    /// The responder starts the main mode that is to follow; a fresh machine answers it.
    pub(super) fn renew_from_responder(&mut self) {
        self.wire.clear();
        let cookies = [Cookie(self.random.array()), Cookie(self.random.array())];
        let (local, remote) = self.ends[0].sa.path();
        let client = Sa::respond(Arc::new(toy_policy()), cookies[0], self.now, local, remote);
        let mut out = Vec::new();
        let end = &mut self.ends[1];
        let new = end
            .sa
            .renew(cookies[1], self.now, &mut end.env, &mut out)
            .unwrap();
        for (end, mut new) in self.ends.iter_mut().zip([client, new]) {
            new.adopt_children(end.sa.take_children());
            end.sa = new;
            end.events.clear();
        }
        self.carry_out(1, out);
    }

    /// Starts over with both ends on port 4500.
    pub(super) fn on_4500(&mut self) {
        self.wire.clear();
        let policy = Arc::new(toy_policy());
        let [local, remote] = [CLIENT, GATEWAY].map(|end| {
            let mut end = address(end);
            end.set_port(4500);
            end
        });
        let cookie = Cookie(self.random.array());
        let mut out = Vec::new();
        let env = &mut self.ends[0].env;
        self.ends[0].sa = Sa::initiate(policy, cookie, self.now, local, remote, env, &mut out);
        self.carry_out(0, out);
    }

    /// Whatever is on the wire is lost.
    pub(super) fn lose_everything(&mut self) {
        self.wire
            .retain(|_, arrival| matches!(arrival, Arrival::Computed { .. }));
    }

    /// Lets an end do something, and carries out what comes of it.
    pub(super) fn act(
        &mut self,
        end: usize,
        act: impl FnOnce(&mut End, Instant, &mut Vec<Output>),
    ) {
        let mut out = Vec::new();
        act(&mut self.ends[end], self.now, &mut out);
        self.carry_out(end, out);
    }

    pub(super) fn create_child(&mut self, end: usize) {
        self.act(end, |end, now, out| {
            end.sa.create_child(now, &mut end.env, out)
        });
    }

    /// The next arrival or deadline; `false` if there is none.
    pub(super) fn step(&mut self) -> bool {
        let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
        let deadlines = [0, 1].map(|end| self.ends[end].sa.poll_timeout().map(|(at, _)| at));
        let deadline = deadlines.into_iter().flatten().min();
        let Some(next) = arrival.into_iter().chain(deadline).min() else {
            return false;
        };
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let (_, arrival) = self.wire.pop_first().unwrap();
            self.deliver(arrival);
        } else {
            let end = usize::from(deadlines[0] != Some(next));
            self.act(end, |end, now, out| {
                end.sa.handle_timeout(now, &mut end.env, out)
            });
            let again = self.ends[end].sa.poll_timeout();
            assert!(
                again.is_none_or(|(at, _)| at > self.now),
                "{again:?} does not move on"
            );
        }
        true
    }

    fn deliver(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Message {
                to,
                from,
                at,
                mut bytes,
            } => {
                self.arrived += 1;
                if let Some((_, edit)) = self.edit_number.filter(|row| row.0 == self.arrived) {
                    edit(&mut bytes);
                }
                if let Some((_, mut ambush)) =
                    self.ambush.take_if(|(number, _)| *number == self.arrived)
                {
                    let out = ambush(&mut self.ends[to], self.now, (at, from), &bytes);
                    self.carry_out(to, out);
                }
                self.act(to, |end, now, out| {
                    let result = end
                        .sa
                        .handle_input(now, at, from, &bytes, &mut end.env, out);
                    end.refusals.extend(result.err());
                });
            }
            Arrival::Computed { to, token, outcome } => self.act(to, |end, now, out| {
                end.sa
                    .handle_computed(now, token, *outcome, &mut end.env, out);
            }),
        }
    }

    /// Runs for a while.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..200_000 {
            let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
            let deadlines = [0, 1].map(|end| self.ends[end].sa.poll_timeout().map(|(at, _)| at));
            let next = arrival
                .into_iter()
                .chain(deadlines.into_iter().flatten())
                .min();
            if next.is_none_or(|next| next > until) {
                self.now = until;
                return;
            }
            self.step();
        }
        panic!("no end of events");
    }

    /// Runs until both ends are established and nothing is under way.
    pub(super) fn establish(&mut self) {
        self.run(Duration::from_secs(2));
        for end in &self.ends {
            assert!(
                end.sa.is_established(),
                "{:?} {:?}",
                end.events,
                end.refusals
            );
        }
    }

    /// A world with both ends established and one pair of SAs.
    pub(super) fn up(seed: u64, client: Policy, gateway: Policy) -> Self {
        let mut world = Self::new(seed, client, gateway);
        world.establish();
        world.create_child(0);
        world.run(Duration::from_secs(2));
        world.check_children();
        world
    }

    /// Both ends have the same pairs with the same keys.
    pub(super) fn check_children(&self) {
        let [client, gateway] = &self.ends;
        assert!(
            !client.children.is_empty(),
            "{:?} {:?}",
            gateway.refusals,
            gateway.events
        );
        assert_eq!(client.children.len(), gateway.children.len());
        for child in client.children.values() {
            let other = &gateway.children[&child.outbound];
            assert_eq!(other.outbound, child.inbound);
            assert_eq!(other.suite, child.suite);
            assert_eq!(other.inbound_keys, child.outbound_keys);
            assert_eq!(other.outbound_keys, child.inbound_keys);
            assert_eq!(other.encapsulated, child.encapsulated);
            assert_ne!(child.inbound_keys, child.outbound_keys);
        }
    }
}
