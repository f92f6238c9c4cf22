//! Many clients behind one wire: whose a datagram is, what goes around a packet, who is due next.
//!
//! ```text
//!   receive ─► by address and port ─► IKE ──────────────► Client ─► Event
//!              by SPI ─► Sas::open ─► L2TP, PPP control ─►   │
//!                                     a packet ─► sink       ▼
//!   outbox ◄───────────── Sas::seal ◄─ queue ◄── load ◄── Output
//! ```
//!
//! It stands for the hosts and for the NATs in front of them: a client knows only the address it
//! has inside and the well-known ports, the world sees its [`Outside`]. What goes out are whole IP
//! packets, so a fleet does not care how many sockets, or which, carry them.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

use crypto::Random;
use crypto::dh;
use crypto::esp::Backend;
use ike::Spi;
use packet::header::{Ipv4, Udp};

use crate::client::{Client, Failure, Lease, Output, Settings, Turn};
use crate::discard::{Discard, Discards};
use crate::key_log::KeyLogFile;
use crate::sa::{EspFault, HEADER, Opened, PairId, Sas, Sealed, Unsealed};
use crate::wire::{self, Checksum, NAT_KEEPALIVE, NON_ESP_MARKER};

/// Names a client of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u32);

/// What the world sees of a client: its own address and ports, or those a NAT gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The address.
    pub address: Ipv4Addr,
    /// Stands for port 500.
    pub ike: u16,
    /// Stands for port 4500.
    pub natt: u16,
    /// Stands for port 1701 where there is no IPsec.
    pub l2tp: u16,
}

impl Outside {
    /// A host that uses the well-known ports.
    #[must_use]
    pub fn host(address: Ipv4Addr) -> Self {
        Self {
            address,
            ike: Udp::IKE,
            natt: Udp::NAT_T,
            l2tp: Udp::L2TP,
        }
    }
}

/// What a UDP port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Ike,
    NatT,
    L2tp,
}

/// What came in.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Who sent it.
    pub from: SocketAddrV4,
    /// Where it was sent; port 0 is raw ESP.
    pub to: SocketAddrV4,
    /// What is behind the UDP header, or the ESP packet.
    pub bytes: &'a mut [u8],
}

/// What the owner of a fleet may want to know.
#[derive(Debug)]
pub enum Event {
    /// A client has its address.
    Up(ClientId, Lease),
    /// A client is over; `None` if it was asked to hang up.
    Down(ClientId, Option<Failure>),
}

/// Public-key work for somebody who has time.
#[derive(Debug)]
pub struct Errand {
    /// For whom.
    pub client: ClientId,
    /// Names the answer.
    pub token: u64,
    /// The work.
    pub job: dh::Job,
}

/// An IP packet on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// The whole packet.
    pub packet: Vec<u8>,
    /// Where its ESP header is, and under which pair it is sealed.
    esp: Option<(usize, PairId)>,
}

/// One client and its surroundings.
struct Member {
    client: Client,
    outside: Outside,
    begin: Instant,
    /// Oldest first.
    pairs: Vec<Pair>,
    /// Index into `pairs` of the one we send on.
    current: Option<PairId>,
    /// Of its data, while it is up.
    header: Option<Vec<u8>>,
    deadline: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Pair {
    spi: Spi,
    id: PairId,
}

/// All clients.
pub struct Fleet {
    server: Ipv4Addr,
    random: Random,
    members: Vec<Member>,
    doors: HashMap<SocketAddrV4, (ClientId, Door)>,
    sas: Sas,
    deadlines: BTreeSet<(Instant, ClientId)>,
    queue: Vec<Outgoing>,
    spare: Vec<Vec<u8>>,
    events: Vec<Event>,
    errands: Vec<Errand>,
    discards: Discards,
    key_log: Option<KeyLogFile>,
}

/// Buffers that are kept for the next burst.
const SPARE_MAX: usize = 256;

impl Fleet {
    /// A fleet without clients that will dial this address.
    #[must_use]
    pub fn new(server: Ipv4Addr, seed: [u8; 32]) -> Self {
        let mut random = Random::from_seed(seed);
        let sas = Sas::new(random.fork());
        Self {
            server,
            random,
            members: Vec::new(),
            doors: HashMap::new(),
            sas,
            deadlines: BTreeSet::new(),
            queue: Vec::new(),
            spare: Vec::new(),
            events: Vec::new(),
            errands: Vec::new(),
            discards: Discards::default(),
            key_log: None,
        }
    }

    /// Writes all keys to a file from here on.
    pub fn log_keys(&mut self, file: KeyLogFile) {
        self.key_log = Some(file);
    }

    /// Adds a client that will dial at `begin`. `None` if another client has its address and ports.
    pub fn add(
        &mut self,
        settings: Arc<Settings>,
        inside: Ipv4Addr,
        outside: Outside,
        begin: Instant,
    ) -> Option<ClientId> {
        let id = ClientId(self.members.len() as u32);
        let doors: &[(u16, Door)] = match settings.ipsec {
            Some(_) => &[(outside.ike, Door::Ike), (outside.natt, Door::NatT)],
            None => &[(outside.l2tp, Door::L2tp)],
        };
        let place = |port| SocketAddrV4::new(outside.address, port);
        if doors
            .iter()
            .any(|(port, _)| self.doors.contains_key(&place(*port)))
        {
            return None;
        }
        self.doors
            .extend(doors.iter().map(|(port, door)| (place(*port), (id, *door))));
        let (inside, server) = (IpAddr::V4(inside), IpAddr::V4(self.server));
        self.members.push(Member {
            client: Client::new(settings, inside, server, self.random.fork()),
            outside,
            begin,
            pairs: Vec::new(),
            current: None,
            header: None,
            deadline: Some(begin),
        });
        self.deadlines.insert((begin, id));
        Some(id)
    }

    /// Takes a burst. Packets for subscribers go to `sink`.
    pub fn receive(
        &mut self,
        now: Instant,
        arrivals: &mut [Arrival<'_>],
        sink: &mut dyn FnMut(ClientId, &[u8]),
    ) {
        let mut sealed = Vec::with_capacity(arrivals.len());
        let mut places = Vec::with_capacity(arrivals.len());
        for arrival in arrivals.iter_mut() {
            if self.is_esp(arrival) {
                places.push(arrival.to);
                sealed.push(Sealed {
                    packet: &mut *arrival.bytes,
                    result: Err(EspFault::Truncated),
                });
            } else {
                self.receive_clear(now, arrival, sink);
            }
        }
        if !sealed.is_empty() {
            self.sas.open(&mut sealed);
        }
        for (sealed, to) in sealed.iter().zip(places) {
            match sealed.result {
                Ok(opened) => self.receive_opened(now, opened, to, sealed.packet, sink),
                Err(fault) => self.discards.count(fault.into()),
            }
        }
    }

    /// Takes the outcome of an errand.
    pub fn handle_computed(
        &mut self,
        now: Instant,
        id: ClientId,
        token: u64,
        outcome: dh::Outcome,
    ) {
        self.touch(now, id, |client, turn| {
            client.handle_computed(token, outcome, turn)
        });
    }

    /// Does what is due, for at most `most` clients, so that a storm of deadlines does not hold up
    /// what comes in.
    pub fn handle_timeout(&mut self, now: Instant, most: usize) {
        for _ in 0..most {
            let Some((at, id)) = self.deadlines.first().copied() else {
                return;
            };
            if at > now {
                return;
            }
            self.deadlines.pop_first();
            self.members[id.0 as usize].deadline = None;
            self.touch(now, id, |client, turn| {
                // The first deadline is the time to begin; later calls do nothing.
                client.dial(turn);
                client.handle_timeout(turn);
            });
        }
    }

    /// When [`Self::handle_timeout`] is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Lets a client hang up.
    pub fn hang_up(&mut self, now: Instant, id: ClientId) {
        self.touch(now, id, |client, turn| client.hang_up(turn));
    }

    /// Puts a packet of a subscriber into the queue: `fill` appends it. `false` if the client is not
    /// up, or its SA has no sequence number left.
    pub fn load(&mut self, id: ClientId, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        let member = &mut self.members[id.0 as usize];
        let Some(header) = member.header.take() else {
            return false;
        };
        let is_loaded = self.enclose(id, Checksum::None, |packet| {
            packet.extend_from_slice(&header);
            fill(packet);
        });
        self.members[id.0 as usize].header = Some(header);
        is_loaded
    }

    /// Seals what waits; all of it may then be sent.
    pub fn outbox(&mut self) -> &[Outgoing] {
        let mut unsealed: Vec<Unsealed<'_>> = self
            .queue
            .iter_mut()
            .filter_map(|outgoing| {
                let (start, pair) = outgoing.esp.take()?;
                Some(Unsealed {
                    packet: &mut outgoing.packet,
                    start,
                    pair,
                })
            })
            .collect();
        if !unsealed.is_empty() {
            self.sas.seal(&mut unsealed);
        }
        &self.queue
    }

    /// Forgets the first `count` packets of the outbox: they have been sent.
    pub fn sent(&mut self, count: usize) {
        for outgoing in self.queue.drain(..count) {
            if self.spare.len() < SPARE_MAX {
                self.spare.push(outgoing.packet);
            }
        }
    }

    /// What has happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// What has to be computed since the last call.
    pub fn take_errands(&mut self) -> Vec<Errand> {
        std::mem::take(&mut self.errands)
    }

    /// Every client and what the world sees of it.
    pub fn clients(&self) -> impl Iterator<Item = (ClientId, &Client, Outside)> {
        let numbered = self.members.iter().zip(0..);
        numbered.map(|(member, id)| (ClientId(id), &member.client, member.outside))
    }

    /// One client.
    #[must_use]
    pub fn client(&self, id: ClientId) -> &Client {
        &self.members[id.0 as usize].client
    }

    /// What was not taken, and why.
    #[must_use]
    pub fn discards(&self) -> &Discards {
        &self.discards
    }

    /// Notes that something was lost on our side.
    pub fn count(&mut self, reason: Discard) {
        self.discards.count(reason);
    }

    /// Who does the cryptography.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.sas.backend()
    }

    fn is_esp(&self, arrival: &Arrival<'_>) -> bool {
        arrival.to.port() == 0
            || matches!(self.doors.get(&arrival.to), Some((_, Door::NatT)))
                && !arrival.bytes.starts_with(&NON_ESP_MARKER)
                && *arrival.bytes != NAT_KEEPALIVE
    }

    /// IKE, and L2TP that nobody sealed.
    fn receive_clear(
        &mut self,
        now: Instant,
        arrival: &Arrival<'_>,
        sink: &mut dyn FnMut(ClientId, &[u8]),
    ) {
        if *arrival.from.ip() != self.server {
            return self.discards.count(Discard::Stranger);
        }
        let Some((id, door)) = self.doors.get(&arrival.to).copied() else {
            return self.discards.count(Discard::NobodyThere);
        };
        let bytes = &*arrival.bytes;
        match door {
            Door::Ike => self.touch(now, id, |client, turn| {
                client.handle_ike(false, bytes, turn)
            }),
            Door::NatT if *bytes == NAT_KEEPALIVE => {}
            Door::NatT => self.touch(now, id, |client, turn| {
                client.handle_ike(true, &bytes[NON_ESP_MARKER.len()..], turn);
            }),
            Door::L2tp => self.receive_l2tp(now, id, bytes, sink),
        }
    }

    fn receive_opened(
        &mut self,
        now: Instant,
        opened: Opened,
        to: SocketAddrV4,
        packet: &[u8],
        sink: &mut dyn FnMut(ClientId, &[u8]),
    ) {
        let id = ClientId(opened.owner);
        let outside = self.members[opened.owner as usize].outside;
        // An SA belongs to one endpoint: what comes to another was sent astray.
        if outside.address != *to.ip() || (to.port() != 0 && to.port() != outside.natt) {
            return self.discards.count(Discard::Astray);
        }
        let plain = &packet[opened.head..packet.len() - opened.tail];
        let Some(range) = wire::l2tp_in_esp(plain) else {
            return self.discards.count(Discard::NotL2tp);
        };
        self.confirm(now, id, opened.spi);
        self.receive_l2tp(now, id, &plain[range], sink);
    }

    /// The peer uses a pair on which we do not send yet: then it has it.
    fn confirm(&mut self, now: Instant, id: ClientId, spi: Spi) {
        let member = &self.members[id.0 as usize];
        let newest = member.pairs.last().copied();
        if newest.is_some_and(|pair| pair.spi == spi && member.current != Some(pair.id)) {
            self.use_pair(id, spi);
            self.touch(now, id, |client, turn| client.saw_pair(spi, turn));
        }
    }

    fn receive_l2tp(
        &mut self,
        now: Instant,
        id: ClientId,
        message: &[u8],
        sink: &mut dyn FnMut(ClientId, &[u8]),
    ) {
        let mut packet = None;
        self.touch(now, id, |client, turn| {
            packet = client.handle_l2tp(message, turn)
        });
        if let Some(range) = packet {
            sink(id, &message[range]);
        }
    }

    /// Lets a client do something and carries out what comes of it.
    fn touch(&mut self, now: Instant, id: ClientId, act: impl FnOnce(&mut Client, &mut Turn<'_>)) {
        let mut out = Vec::new();
        let (sas, member) = (&mut self.sas, &mut self.members[id.0 as usize]);
        let mut spis = || sas.reserve(id.0);
        let mut turn = Turn {
            now,
            spis: &mut spis,
            out: &mut out,
        };
        act(&mut member.client, &mut turn);
        for output in out {
            self.carry_out(id, output);
        }
        let member = &mut self.members[id.0 as usize];
        member.header = member.client.session_header();
        self.renew_deadline(id);
    }

    fn carry_out(&mut self, id: ClientId, output: Output) {
        match output {
            Output::Ike {
                is_floated: false,
                message,
            } => self.send_udp(id, Door::Ike, &message),
            Output::Ike {
                is_floated: true,
                message,
            } => self.send_udp(id, Door::NatT, &[&NON_ESP_MARKER[..], &message].concat()),
            Output::Keepalive => self.send_udp(id, Door::NatT, &NAT_KEEPALIVE),
            Output::L2tp(message) => {
                let is_sent = self.enclose(id, Checksum::Full, |packet| {
                    packet.extend_from_slice(&message);
                });
                if !is_sent {
                    self.discards.count(Discard::NoSa);
                }
            }
            Output::Compute { token, job } => self.errands.push(Errand {
                client: id,
                token,
                job,
            }),
            Output::Keys(keys) => self.log_isakmp(&keys),
            Output::SaUp(child) => self.install(id, &child),
            Output::SaConfirmed(spi) => self.use_pair(id, spi),
            Output::SaDown(spi) => self.remove_pair(id, spi),
            Output::Up(lease) => self.events.push(Event::Up(id, lease)),
            Output::Down(failure) => self.retire(id, failure),
        }
    }

    fn install(&mut self, id: ClientId, child: &ike::Child) {
        let Some(pair) = self.sas.install(child) else {
            return;
        };
        let own = self.members[id.0 as usize].outside.address;
        if let Some(log) = &mut self.key_log
            && log.write_pair(child, own, self.server).is_err()
        {
            self.discards.count(Discard::KeyNotLogged);
        }
        let member = &mut self.members[id.0 as usize];
        member.pairs.push(Pair {
            spi: child.inbound,
            id: pair,
        });
        // The initiator of a quick mode has it from the peer that the pair is there; a responder
        // waits until the peer uses it.
        if child.initiator {
            member.current = Some(pair);
        }
    }

    fn log_isakmp(&mut self, keys: &ike::KeyLog) {
        if let Some(log) = &mut self.key_log
            && log.write_isakmp(keys).is_err()
        {
            self.discards.count(Discard::KeyNotLogged);
        }
    }

    fn use_pair(&mut self, id: ClientId, spi: Spi) {
        let member = &mut self.members[id.0 as usize];
        if let Some(pair) = member.pairs.iter().find(|pair| pair.spi == spi) {
            member.current = Some(pair.id);
        }
    }

    fn remove_pair(&mut self, id: ClientId, spi: Spi) {
        // What waits is sealed while there is a key.
        self.outbox();
        let member = &mut self.members[id.0 as usize];
        if let Some(index) = member.pairs.iter().position(|pair| pair.spi == spi) {
            let pair = member.pairs.remove(index);
            if member.current == Some(pair.id) {
                member.current = member.pairs.last().map(|pair| pair.id);
            }
        }
        self.sas.remove(spi);
    }

    fn retire(&mut self, id: ClientId, failure: Option<Failure>) {
        let pairs: Vec<Spi> = self.members[id.0 as usize]
            .pairs
            .iter()
            .map(|pair| pair.spi)
            .collect();
        for spi in pairs {
            self.remove_pair(id, spi);
        }
        self.events.push(Event::Down(id, failure));
    }

    fn send_udp(&mut self, id: ClientId, door: Door, payload: &[u8]) {
        let outside = self.members[id.0 as usize].outside;
        let (from, to) = match door {
            Door::Ike => (outside.ike, Udp::IKE),
            Door::NatT => (outside.natt, Udp::NAT_T),
            Door::L2tp => (outside.l2tp, Udp::L2TP),
        };
        let from = SocketAddrV4::new(outside.address, from);
        let to = SocketAddrV4::new(self.server, to);
        self.queue.push(Outgoing {
            packet: wire::udp(from, to, payload, Checksum::Full),
            esp: None,
        });
    }

    /// Puts an L2TP message, which `fill` appends, into what the client travels in.
    fn enclose(&mut self, id: ClientId, sum: Checksum, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut packet = self.spare.pop().unwrap_or_default();
        packet.clear();
        let member = &self.members[id.0 as usize];
        let (outside, current) = (member.outside, member.current);
        let esp = if member.client.is_plain() {
            packet.resize(Ipv4::LEN + Udp::LEN, 0);
            fill(&mut packet);
            let from = SocketAddrV4::new(outside.address, outside.l2tp);
            wire::finish_udp(
                &mut packet,
                from,
                SocketAddrV4::new(self.server, Udp::L2TP),
                sum,
            );
            None
        } else {
            let Some((pair, start)) =
                current.and_then(|pair| Some((pair, self.wrap(pair, outside, &mut packet, fill)?)))
            else {
                return false;
            };
            Some((start, pair))
        };
        self.queue.push(Outgoing { packet, esp });
        true
    }

    /// Writes everything of an ESP packet but what sealing writes; where the ESP header is.
    fn wrap(
        &mut self,
        pair: PairId,
        outside: Outside,
        packet: &mut Vec<u8>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Option<usize> {
        let envelope = self.sas.envelope(pair)?;
        let is_encapsulated = self.sas.is_encapsulated(pair);
        let outer = if is_encapsulated { Udp::LEN } else { 0 };
        let start = Ipv4::LEN + outer;
        let inner = start + HEADER + envelope.suite.iv_len();
        packet.resize(inner + Udp::LEN, 0);
        fill(packet);
        wire::write_udp(&mut packet[inner..], Udp::L2TP, Udp::L2TP);
        let (block, icv) = (envelope.suite.block_len(), envelope.suite.icv_len());
        wire::pad_esp(packet, inner, block, icv);
        wire::write_esp(&mut packet[start..], envelope.spi, envelope.sequence);
        if is_encapsulated {
            let from = SocketAddrV4::new(outside.address, outside.natt);
            let to = SocketAddrV4::new(self.server, Udp::NAT_T);
            wire::finish_udp(packet, from, to, Checksum::None);
        } else {
            wire::finish_ip(packet, outside.address, self.server, Ipv4::ESP);
        }
        Some(start)
    }

    fn renew_deadline(&mut self, id: ClientId) {
        let member = &mut self.members[id.0 as usize];
        let wanted = match member.client.stages().begun() {
            None if !member.client.is_over() => Some(member.begin),
            _ => member.client.poll_timeout().map(|(at, _)| at),
        };
        if wanted == member.deadline {
            return;
        }
        if let Some(old) = member.deadline {
            self.deadlines.remove(&(old, id));
        }
        member.deadline = wanted;
        self.deadlines.extend(wanted.map(|at| (at, id)));
    }
}
