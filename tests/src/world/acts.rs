//! What happens in the world besides protocols doing their work.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use control::Input;
use control::admin::{Clear, Filter, Request};
use crypto::Random;
use dataplane::id::{ShardId, WorkerId};
use ike::{Cookie, Spi};
use l2tp::TunnelId;
use lab::wire::{self, Checksum};
use packet::header::{Esp, Ipv4, Udp};
use zerocopy::IntoBytes;

use super::World;
use crate::gateway::SHUTDOWN_MAX;
use crate::gateway::settings::{PLAIN, SECURE, SERVER, policy, user};
use crate::letters::{Letter, Party};
use crate::nat;
use crate::plan::{Act, PATIENCE};
use crate::wire::{Datagram, Faults, NETWORK_DELAY};

/// Octets of a letter's text.
const TEXT: std::ops::Range<u32> = 1..700;

impl World {
    pub(super) fn perform(&mut self, act: Act) {
        match act {
            Act::Dial(who) => self.dial(who),
            Act::HangUp(who) => self.hang_up(who),
            Act::Crash(who) => self.end_line(who),
            Act::Return(who) if self.model.wishes(who) => self.begin(who),
            Act::Return(_) => {}
            Act::Rebind(who) => self.rebind(who),
            Act::Cut(who) => self.subscribers[who].is_cut = true,
            Act::Mend(who) => self.subscribers[who].is_cut = false,
            Act::Write {
                from,
                letters,
                is_due,
            } => self.write(from, letters, is_due),
            Act::Gossip {
                from,
                to,
                letters,
                is_due,
            } => self.gossip(from, to, letters, is_due),
            Act::Push { to, letters } => self.push(to, letters),
            Act::Forge(who) => self.forge(who),
            Act::Replay(count) => (0..count).for_each(|_| self.replay()),
            Act::Strangers(count) => (0..count).for_each(|_| self.stranger()),
            Act::Garbage(count) => (0..count).for_each(|_| self.garbage()),
            Act::GiveShards(count) => (0..count).for_each(|_| self.give_shard()),
            Act::MoveEverybody => self.move_everybody(),
            Act::Jump(time) => self.now += time,
            Act::Stall(time) => self.gateway.stall(self.now + time),
            Act::ClearSession(who) => self.clear_session(who),
            Act::ClearPeer(who) => self.clear_peer(who),
            Act::Calm => self.calm(),
            Act::Storm => self.storm(),
            Act::Check => self.patience = Some(self.now + PATIENCE),
            Act::Collect => self.letters.assert_all_due_arrived(),
            Act::Goodbye => self.goodbye(),
            Act::End => self.end(),
        }
    }

    fn dial(&mut self, who: usize) {
        self.model.wish(who, true);
        self.begin(who);
    }

    fn hang_up(&mut self, who: usize) {
        self.model.wish(who, false);
        let subscriber = &self.subscribers[who];
        if let Some(line) = subscriber.line {
            let fleet = subscriber.fleet();
            self.fleets[fleet].hang_up(self.now, line.id);
            self.collect(fleet);
        }
    }

    /// Another port; no other host of the household has it.
    fn rebind(&mut self, who: usize) {
        let before = self.subscribers[who].place;
        self.subscribers[who].rebind(&mut self.dice);
        let place = self.subscribers[who].place;
        let takes_anothers = self
            .subscribers
            .iter()
            .enumerate()
            .any(|(other, subscriber)| {
                let ports = [Udp::IKE, Udp::NAT_T, Udp::L2TP].map(|port| place.outside(port));
                let is_taken = |port| subscriber.place.inside(place.public, port).is_some();
                other != who && ports.into_iter().any(is_taken)
            });
        if takes_anothers {
            self.subscribers[who].place = before;
        }
    }

    pub(super) fn write(&mut self, from: usize, letters: usize, is_due: bool) {
        let Some(lease) = self.subscribers[from].lease.clone() else {
            return;
        };
        for _ in 0..letters {
            let copies = self.subscribers[from].copies();
            let letter = Letter::new(self.time(), Party::Subscriber(from), Party::Server, copies);
            let letter = letter.due_if(is_due);
            self.post(from, lease.address, SERVER, letter);
        }
    }

    pub(super) fn gossip(&mut self, from: usize, to: usize, letters: usize, is_due: bool) {
        let leases = [from, to].map(|who| self.subscribers[who].lease.clone());
        let [Some(source), Some(destination)] = leases else {
            return;
        };
        let copies = self.subscribers[from].copies() * self.subscribers[to].copies();
        let parties = (Party::Subscriber(from), Party::Subscriber(to));
        for _ in 0..letters {
            let letter = Letter::new(self.time(), parties.0, parties.1, copies).due_if(is_due);
            self.post(from, source.address, destination.address, letter);
        }
    }

    /// Under an address that is not the sender's: it must not arrive.
    fn forge(&mut self, who: usize) {
        let Some(lease) = self.subscribers[who].lease.clone() else {
            return;
        };
        let source = Ipv4Addr::from_bits(lease.address.to_bits() ^ (1 << self.dice.index(8)));
        let letter = Letter::new(self.time(), Party::Subscriber(who), Party::Nobody, 0);
        self.post(who, source, SERVER, letter);
    }

    /// A subscriber sends a letter through its tunnel.
    fn post(&mut self, from: usize, source: Ipv4Addr, destination: Ipv4Addr, letter: Letter) {
        let len = self.dice.within(TEXT) as usize;
        let packet = self.letters.write(source, destination, len, letter);
        let subscriber = &self.subscribers[from];
        let Some(line) = subscriber.line else {
            return;
        };
        let fleet = subscriber.fleet();
        let _is_up = self.fleets[fleet].load(line.id, |frame| frame.extend_from_slice(&packet));
        self.collect(fleet);
    }

    /// The server writes to a subscriber who need not be there.
    fn push(&mut self, to: usize, letters: usize) {
        let Some(address) = self.model.address(to) else {
            return;
        };
        for _ in 0..letters {
            let copies = self.subscribers[to].copies();
            let letter = Letter::new(self.time(), Party::Server, Party::Subscriber(to), copies);
            let len = self.dice.within(TEXT) as usize;
            let packet = self.letters.write(SERVER, address, len, letter);
            let at = self.now + NETWORK_DELAY;
            self.wire.put(at, Datagram::Inward(packet));
        }
    }

    fn stranger_address(&mut self) -> Ipv4Addr {
        Ipv4Addr::new(198, 51, 200, self.dice.within(1..6) as u8)
    }

    fn arrive_from(&mut self, packet: Vec<u8>) {
        let delay = self.dice.ms(1..200);
        self.wire.put(self.now + delay, Datagram::Up(packet));
    }

    /// Somebody sends again what was seen on the wire, and it may have changed on the way.
    fn replay(&mut self) {
        if self.captured.is_empty() {
            return;
        }
        let which = self.dice.index(self.captured.len());
        let mut packet = self.captured[which].clone();
        if self.dice.permille(300) {
            let at = nat::payload_start(&packet) + 8;
            let at = at + self.dice.index(packet.len().saturating_sub(at).max(1));
            let bit = 1 << self.dice.index(8);
            if let Some(octet) = packet.get_mut(at) {
                *octet ^= bit;
            }
        }
        if let Some((from, to)) = nat::ends(&packet)
            && self.dice.permille(700)
        {
            let port = match from.port() {
                0 => 0,
                _ => self.dice.within(1024..65_000) as u16,
            };
            let elsewhere = SocketAddrV4::new(self.stranger_address(), port);
            nat::readdress(&mut packet, elsewhere, to);
        }
        self.arrive_from(packet);
    }

    /// A first message, and never a second.
    fn stranger(&mut self) {
        let address = self.stranger_address();
        let port = self.dice.within(1024..65_000) as u16;
        let from = SocketAddrV4::new(address, port);
        let (to, message) = if self.dice.permille(500) {
            let to = SocketAddrV4::new(SECURE, Udp::IKE);
            (to, self.first_of_main_mode(from, to))
        } else {
            (SocketAddrV4::new(PLAIN, Udp::L2TP), self.first_of_tunnel())
        };
        if let Some(message) = message {
            let packet = wire::udp(from, to, &message, Checksum::Full);
            self.arrive_from(packet);
        }
    }

    fn first_of_main_mode(&mut self, from: SocketAddrV4, to: SocketAddrV4) -> Option<Vec<u8>> {
        let policy = Arc::new(policy(&self.tuning));
        let cookie = Cookie(self.dice.random().array());
        let mut out = Vec::new();
        let mut env = Env(self.dice.random());
        ike::v1::Sa::initiate(
            policy,
            cookie,
            self.now,
            from.into(),
            to.into(),
            &mut env,
            &mut out,
        );
        out.into_iter().find_map(|output| {
            let ike::Output::Send { message, .. } = output else {
                return None;
            };
            Some(message)
        })
    }

    fn first_of_tunnel(&mut self) -> Option<Vec<u8>> {
        let id = TunnelId(self.dice.within(1..60_000) as u16);
        let mut out = Vec::new();
        let settings = Arc::default();
        l2tp::Tunnel::dial(settings, id, self.now, self.dice.random(), &mut out);
        out.into_iter().find_map(|output| {
            let l2tp::Output::Send(message) = output else {
                return None;
            };
            Some(message)
        })
    }

    /// Octets without meaning, at every door.
    fn garbage(&mut self) {
        let address = self.stranger_address();
        let len = self.dice.within(0..200) as usize;
        let mut octets = vec![0; len];
        self.dice.random().fill(&mut octets);
        let to = self.dice.one_of(&[SECURE, PLAIN]);
        let packet = match self.dice.one_of(&[0, Udp::IKE, Udp::NAT_T, Udp::L2TP]) {
            0 => {
                let header = Ipv4::new(address, to, Ipv4::ESP, (len + size_of::<Esp>()) as u16);
                [header.as_bytes(), &[9; size_of::<Esp>()], &octets].concat()
            }
            port => {
                let from = SocketAddrV4::new(address, port);
                wire::udp(from, SocketAddrV4::new(to, port), &octets, Checksum::Full)
            }
        };
        self.arrive_from(packet);
    }

    fn give_shard(&mut self) {
        let shard = ShardId::new(self.dice.index(64) as u8);
        let to = WorkerId(self.dice.index(self.gateway.workers()) as u8);
        self.gateway.give_shard(self.now, shard, to);
    }

    fn move_everybody(&mut self) {
        for shard in self.gateway.ledger().shards() {
            let next = (self.gateway.owner(shard) + 1) % self.gateway.workers();
            self.gateway
                .give_shard(self.now, shard, WorkerId(next as u8));
        }
    }

    fn clear_session(&mut self, who: usize) {
        let filter = Filter {
            user: Some(user(who)),
            ..Filter::default()
        };
        let what = Clear::Session;
        self.ask(Request::Clear { what, filter });
    }

    fn clear_peer(&mut self, who: usize) {
        let filter = Filter {
            peer: Some(IpAddr::V4(self.subscribers[who].place.public)),
            ..Filter::default()
        };
        let what = Clear::Peer;
        self.ask(Request::Clear { what, filter });
    }

    /// Everybody has a working line.
    fn calm(&mut self) {
        self.is_calm = true;
        self.subscribers.iter_mut().for_each(|s| s.is_cut = false);
    }

    fn storm(&mut self) {
        assert_eq!(self.patience, None, "the check before is not over");
        self.is_calm = false;
        self.is_settled = false;
        self.faults = Faults::draw(&mut self.dice);
    }

    fn goodbye(&mut self) {
        self.is_settled = false;
        if self.tuning.ends_by_shutdown {
            for who in 0..self.subscribers.len() {
                self.model.wish(who, false);
            }
            self.gateway
                .input(self.now, Input::Shutdown { hurry: false });
            self.shutdown_until = Some(self.now + SHUTDOWN_MAX);
            return;
        }
        for who in 0..self.subscribers.len() {
            self.hang_up(who);
        }
    }
}

/// What a stranger needs to begin a main mode.
struct Env<'a>(&'a mut Random);

impl ike::Environment for Env<'_> {
    fn random(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn allocate_spi(&mut self) -> Option<Spi> {
        None
    }
}
