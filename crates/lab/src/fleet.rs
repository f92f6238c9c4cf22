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
//! packets, so a fleet does not care how many sockets, or which, carry them. Clients may share the
//! tunnel of a LAC.

mod inbound;
mod lacs;
mod outbound;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

use crypto::Random;
use crypto::dh;
use crypto::esp::Backend;
use ike::Spi;
use packet::header::Udp;

use crate::client::{Client, Failure, Lease, Output, Settings, Turn, Wish};
use crate::discard::{Discard, Discards};
use crate::key_log::KeyLogFile;
use crate::sa::{PairId, Sas};
use crate::wire::{Checksum, NAT_KEEPALIVE, NON_ESP_MARKER};

pub use inbound::Arrival;
pub use lacs::LacId;
use lacs::Site;
pub use outbound::Outgoing;

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

/// Who is behind an address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Client(ClientId, Door),
    Lac(LacId),
}

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Client(ClientId),
    Lac(LacId),
}

/// What the owner of a fleet may want to know.
#[derive(Debug)]
pub enum Event {
    /// A client has its address.
    Up(ClientId, Lease),
    /// A client is over; `None` if it was asked to hang up.
    Down(ClientId, Option<Failure>),
}

/// What went over the wire: outer IP packets, of data and of control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCount {
    /// Packets to the gateway.
    pub up_packets: u64,
    /// Their octets.
    pub up_octets: u64,
    /// Packets from the gateway.
    pub down_packets: u64,
    /// Their octets.
    pub down_octets: u64,
}

impl WireCount {
    /// What came on top of an earlier count.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            up_packets: self.up_packets - earlier.up_packets,
            up_octets: self.up_octets - earlier.up_octets,
            down_packets: self.down_packets - earlier.down_packets,
            down_octets: self.down_octets - earlier.down_octets,
        }
    }
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

/// One client and its surroundings.
struct Member {
    client: Client,
    settings: Arc<Settings>,
    inside: Ipv4Addr,
    outside: Outside,
    /// In whose tunnel its call is, if that is not its own.
    lac: Option<LacId>,
    /// When it dials; `None` if nobody has said.
    begin: Option<Instant>,
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
    lacs: Vec<Site>,
    doors: HashMap<SocketAddrV4, Owner>,
    sas: Sas,
    deadlines: BTreeSet<(Instant, Due)>,
    queue: Vec<Outgoing>,
    spare: Vec<Vec<u8>>,
    events: Vec<Event>,
    errands: Vec<Errand>,
    discards: Discards,
    wire: WireCount,
    key_log: Option<KeyLogFile>,
}

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
            lacs: Vec::new(),
            doors: HashMap::new(),
            sas,
            deadlines: BTreeSet::new(),
            queue: Vec::new(),
            spare: Vec::new(),
            events: Vec::new(),
            errands: Vec::new(),
            discards: Discards::default(),
            wire: WireCount::default(),
            key_log: None,
        }
    }

    /// Whom everybody dials.
    #[must_use]
    pub fn server(&self) -> Ipv4Addr {
        self.server
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
        let id = self.next_id();
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
        let owner = |door| Owner::Client(id, door);
        let doors = doors
            .iter()
            .map(|(port, door)| (place(*port), owner(*door)));
        self.doors.extend(doors);
        self.join(settings, (inside, outside), None, begin);
        Some(id)
    }

    fn next_id(&self) -> ClientId {
        ClientId(self.members.len() as u32)
    }

    fn join(
        &mut self,
        settings: Arc<Settings>,
        (inside, outside): (Ipv4Addr, Outside),
        lac: Option<LacId>,
        begin: Instant,
    ) {
        let id = self.next_id();
        let client = self.newcomer(&settings, inside, lac);
        self.members.push(Member {
            client,
            settings,
            inside,
            outside,
            lac,
            begin: Some(begin),
            pairs: Vec::new(),
            current: None,
            header: None,
            deadline: Some(begin),
        });
        self.deadlines.insert((begin, Due::Client(id)));
    }

    /// Every address and port that something may be sent to.
    pub fn places(&self) -> impl Iterator<Item = SocketAddrV4> + '_ {
        let own = self.members.iter().filter(|member| member.lac.is_none());
        let own = own.flat_map(|member| {
            let outside = member.outside;
            let ports = match member.client.is_plain() {
                true => vec![outside.l2tp],
                false => vec![outside.ike, outside.natt],
            };
            let place = move |port| SocketAddrV4::new(outside.address, port);
            ports.into_iter().map(place)
        });
        own.chain(self.lacs.iter().map(Site::place))
    }

    /// A client that is over dials again at `begin`, as if it had never been there.
    pub fn redial(&mut self, id: ClientId, begin: Instant) {
        self.vanish(id);
        self.schedule(id, begin);
    }

    /// A client that has not dialled does so at `begin`.
    pub fn schedule(&mut self, id: ClientId, begin: Instant) {
        self.members[id.0 as usize].begin = Some(begin);
        self.renew_deadline(id);
    }

    /// A client is no more, as when its power fails: no goodbye, and no event.
    pub fn vanish(&mut self, id: ClientId) {
        self.remove_pairs(id);
        self.forget_call(id);
        let member = &self.members[id.0 as usize];
        let (settings, inside, lac) = (Arc::clone(&member.settings), member.inside, member.lac);
        let client = self.newcomer(&settings, inside, lac);
        let member = &mut self.members[id.0 as usize];
        (member.client, member.header, member.begin) = (client, None, None);
        self.renew_deadline(id);
    }

    fn newcomer(
        &mut self,
        settings: &Arc<Settings>,
        inside: Ipv4Addr,
        lac: Option<LacId>,
    ) -> Client {
        let (inside, server) = (IpAddr::V4(inside), IpAddr::V4(self.server));
        let client = Client::new(Arc::clone(settings), inside, server, self.random.fork());
        match lac {
            Some(_) => client.sharing_a_tunnel(),
            None => client,
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
            let Some((at, due)) = self.deadlines.first().copied() else {
                return;
            };
            if at > now {
                return;
            }
            self.deadlines.pop_first();
            match due {
                Due::Client(id) => {
                    self.members[id.0 as usize].deadline = None;
                    self.touch(now, id, |client, turn| {
                        // The first deadline is the time to begin; later calls do nothing.
                        client.dial(turn);
                        client.handle_timeout(turn);
                    });
                }
                Due::Lac(id) => self.lac_timeout(now, id),
            }
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

    /// Lets everybody hang up.
    pub fn hang_up_all(&mut self, now: Instant) {
        for number in 0..self.members.len() as u32 {
            self.hang_up(now, ClientId(number));
        }
    }

    /// Nothing more comes from anybody.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.members.iter().all(|member| member.client.is_over())
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

    /// What went over the wire so far.
    #[must_use]
    pub fn wire(&self) -> WireCount {
        self.wire
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
            self.carry_out(now, id, output);
        }
        let member = &mut self.members[id.0 as usize];
        member.header = member.client.session_header();
        self.renew_deadline(id);
    }

    fn carry_out(&mut self, now: Instant, id: ClientId, output: Output) {
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
            Output::Lac(wish) => self.wish(now, id, wish),
            Output::Keys(keys) => self.log_isakmp(&keys),
            Output::SaUp(child) => self.install(id, &child),
            Output::SaConfirmed(spi) => self.use_pair(id, spi),
            Output::SaDown(spi) => self.remove_pair(id, spi),
            Output::Up(lease) => self.events.push(Event::Up(id, lease)),
            Output::Down(failure) => self.retire(now, id, failure),
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

    fn retire(&mut self, now: Instant, id: ClientId, failure: Option<Failure>) {
        self.remove_pairs(id);
        self.wish(now, id, Wish::Leave);
        self.events.push(Event::Down(id, failure));
    }

    fn remove_pairs(&mut self, id: ClientId) {
        let pairs: Vec<Spi> = self.members[id.0 as usize]
            .pairs
            .iter()
            .map(|pair| pair.spi)
            .collect();
        for spi in pairs {
            self.remove_pair(id, spi);
        }
    }

    fn renew_deadline(&mut self, id: ClientId) {
        let member = &mut self.members[id.0 as usize];
        let wanted = match member.client.stages().begun() {
            None if !member.client.is_over() => member.begin,
            _ => member.client.poll_timeout().map(|(at, _)| at),
        };
        if wanted == member.deadline {
            return;
        }
        let due = Due::Client(id);
        if let Some(old) = member.deadline {
            self.deadlines.remove(&(old, due));
        }
        member.deadline = wanted;
        self.deadlines.extend(wanted.map(|at| (at, due)));
    }
}
