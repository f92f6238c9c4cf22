//! A fleet and a server, and a wire between them that may lose packets. Time jumps to whatever is
//! next.

pub(crate) mod server;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::{Random, Secret};
use ike::policy::{Natt, Phase2Proposal, Policy, Psk};
use lab::client::{Client, Failure, Settings};
use lab::clock;
use lab::fleet::{Arrival, ClientId, Errand, Event, Fleet, Outside};
use lab::wire;
use packet::header::{Ipv4, Udp};

use server::{ADDRESS, Server};

/// Turns of one conversation; more is a conversation without end.
const TURNS_MAX: usize = 20_000;

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) fleet: Fleet,
    pub(crate) server: Server,
    pub(crate) events: Vec<Event>,
    /// Packets that came through the tunnels.
    pub(crate) delivered: Vec<(ClientId, Vec<u8>)>,
    /// Packets of a hundred that the wire loses.
    pub(crate) loss: u32,
    pub(crate) is_cut: bool,
    dice: Random,
    /// The last packet to the clients, for whoever wants to send it again.
    pub(crate) last: Vec<u8>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now: clock::now(),
            fleet: Fleet::new(ADDRESS, [3; 32]),
            server: Server::new(),
            events: Vec::new(),
            delivered: Vec::new(),
            loss: 0,
            is_cut: false,
            dice: Random::from_seed([4; 32]),
            last: Vec::new(),
        }
    }

    /// Adds a client that is what the world sees.
    pub(crate) fn host(&mut self, settings: Settings) -> ClientId {
        let number = self.fleet.clients().count() as u8;
        let address = Ipv4Addr::new(10, 9, 1, 1 + number);
        let outside = Outside::host(address);
        self.fleet
            .add(Arc::new(settings), address, outside, self.now)
            .unwrap()
    }

    /// Adds a client behind a NAT that many share.
    pub(crate) fn at_home(&mut self, settings: Settings) -> ClientId {
        let number = self.fleet.clients().count() as u16;
        let outside = Outside {
            address: Ipv4Addr::new(10, 9, 2, 1),
            ike: 30000 + 2 * number,
            natt: 30001 + 2 * number,
            l2tp: 40000 + number,
        };
        let inside = Ipv4Addr::new(192, 168, 1, 100);
        self.fleet
            .add(Arc::new(settings), inside, outside, self.now)
            .unwrap()
    }

    /// Runs until nothing is under way, and then on to the deadlines of the next `time`.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..TURNS_MAX {
            if self.turn() {
                continue;
            }
            let next = [self.fleet.poll_timeout(), self.server.poll_timeout()];
            match next.into_iter().flatten().min().filter(|next| *next <= end) {
                Some(next) => self.now = self.now.max(next),
                None => {
                    self.now = end;
                    return;
                }
            }
            self.server.handle_timeout(self.now);
        }
        panic!("no end after {TURNS_MAX} turns");
    }

    /// Delivers what is under way; whether there was anything.
    fn turn(&mut self) -> bool {
        self.fleet.handle_timeout(self.now, 100);
        let errands = self.fleet.take_errands();
        let is_busy = !errands.is_empty();
        for Errand { client, token, job } in errands {
            self.fleet
                .handle_computed(self.now, client, token, job.run());
        }
        let up: Vec<Vec<u8>> = self
            .fleet
            .outbox()
            .iter()
            .map(|o| o.packet.clone())
            .collect();
        self.fleet.sent(up.len());
        for mut packet in up.clone() {
            if !self.is_lost() {
                self.server.receive(self.now, &mut packet);
            }
        }
        let down = std::mem::take(&mut self.server.out);
        for packet in down.clone() {
            if !self.is_lost() {
                self.deliver(&packet);
            }
        }
        self.events.extend(self.fleet.take_events());
        is_busy || !up.is_empty() || !down.is_empty()
    }

    fn is_lost(&mut self) -> bool {
        self.is_cut || self.dice.below(100) < self.loss
    }

    /// Hands one IP packet to the fleet.
    pub(crate) fn deliver(&mut self, packet: &[u8]) {
        self.last = packet.to_vec();
        let (source, destination, range) = wire::ip_payload(packet).unwrap();
        let mut bytes = packet[range].to_vec();
        let (mut from, mut to) = (0, 0);
        if packet[9] == Ipv4::UDP {
            from = u16::from_be_bytes([bytes[0], bytes[1]]);
            to = u16::from_be_bytes([bytes[2], bytes[3]]);
            bytes.drain(..Udp::LEN);
        }
        let mut arrivals = [Arrival {
            from: SocketAddrV4::new(source, from),
            to: SocketAddrV4::new(destination, to),
            bytes: &mut bytes,
        }];
        let delivered = &mut self.delivered;
        self.fleet
            .receive(self.now, &mut arrivals, &mut |id, packet| {
                delivered.push((id, packet.to_vec()));
            });
    }

    /// Delivers copies of a packet with the octets behind the ports changed at random.
    pub(crate) fn deliver_broken(&mut self, good: &[u8], count: usize) {
        let mut dice = Random::from_seed([5; 32]);
        let start = Ipv4::LEN + Udp::LEN;
        for _ in 0..count {
            let mut packet = good.to_vec();
            for _ in 0..=dice.below(4) {
                let at = start + dice.below((good.len() - start) as u32) as usize;
                packet[at] = dice.u16() as u8;
            }
            let len = start + dice.below((good.len() - start) as u32 * 4) as usize;
            packet.truncate(len);
            let total = packet.len() as u16;
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            self.deliver(&packet);
        }
        self.delivered.clear();
    }

    pub(crate) fn client(&self, id: ClientId) -> &Client {
        self.fleet.client(id)
    }

    /// Why a client failed.
    pub(crate) fn failure(&self, id: ClientId) -> &Failure {
        self.client(id).failure().expect("it has failed")
    }

    /// Sends a packet through a tunnel and wants it back.
    pub(crate) fn expect_echo(&mut self, id: ClientId, packet: &[u8]) {
        self.delivered.clear();
        let is_loaded = self.fleet.load(id, |room| room.extend_from_slice(packet));
        assert!(
            is_loaded,
            "{id:?} is not up: {:?}",
            self.client(id).failure()
        );
        self.run(Duration::ZERO);
        assert_eq!(self.delivered, [(id, packet.to_vec())]);
    }
}

/// Plain L2TP, the right password.
pub(crate) fn plain() -> Settings {
    let password = Secret::new(b"secret".to_vec());
    Settings {
        ipsec: None,
        l2tp: Arc::new(l2tp::Settings::default()),
        call: lab::cli::call(1),
        ppp: Arc::new(ppp::Settings::client("alice", password)),
        setup_limit: Duration::from_secs(60),
        habits: lab::client::Habits::default(),
    }
}

/// The same in ESP of one suite.
pub(crate) fn secured(suite: &str) -> Settings {
    let mut policy = Policy::modern();
    policy.phase1.truncate(4);
    policy.phase2 = vec![Phase2Proposal {
        suite: suite.parse().unwrap(),
    }];
    policy.natt = Natt::Detect;
    policy.setup_limit = Duration::from_secs(60);
    let key = Secret::new(b"words".to_vec());
    policy.psks = vec![Psk {
        peer: None,
        identity: None,
        key,
    }];
    Settings {
        ipsec: Some(Arc::new(policy)),
        ..plain()
    }
}
