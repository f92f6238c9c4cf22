//! The lines of the subscribers: what their clients send and receive, through their NATs.

use std::net::{IpAddr, SocketAddrV4};

use dataplane::id::ShardId;
use lab::client::Lease;
use lab::fleet::{Arrival, ClientId, Event, Outside};
use packet::header::{Ethernet, Ipv4, L2tp, Udp};
use zerocopy::{FromBytes, IntoBytes};

use super::{CAPTURED_MAX, Errand, World};
use crate::gateway::seat::{NETWORK, TUNNEL};
use crate::gateway::settings::{PLAIN, PLAIN_LISTENER, SECURE, SERVER};
use crate::letters::{Letter, Party};
use crate::nat;
use crate::plan::Act;
use crate::subscriber::{Credentials, Line};
use crate::tuning::Steering;
use crate::wire::{Datagram, Faults, NETWORK_DELAY, Stamp};

/// Deadlines that a fleet serves in one go.
const DEADLINES: usize = 10_000;
/// How long public-key work takes a client, milliseconds.
const COMPUTE_MS: std::ops::Range<u32> = 1..100;

impl World {
    /// Everything that has arrived by now.
    pub(super) fn deliver(&mut self) {
        while let Some(datagram) = self.wire.arrived(self.now) {
            match datagram {
                Datagram::Up(packet) => {
                    let worker = self.steer(&packet);
                    self.gateway.arrive(worker, TUNNEL, ethernet(&packet));
                }
                Datagram::Down(packet, stamp) => self.deliver_on_line(packet, stamp),
                Datagram::Inward(packet) => {
                    let worker = self.steer(&packet);
                    self.gateway.arrive(worker, NETWORK, ethernet(&packet));
                }
                Datagram::Outward(packet) => self.deliver_to_server(&packet),
            }
        }
    }

    /// Which worker's queue a packet lands in.
    fn steer(&mut self, packet: &[u8]) -> usize {
        let workers = self.gateway.workers();
        let esp = esp(packet);
        match (self.tuning.steering, esp) {
            (Steering::Chance, _) => self.dice.index(workers),
            (Steering::Shard, Some(esp)) if esp.len() >= 4 => {
                let spi = u32::from_be_bytes([esp[0], esp[1], esp[2], esp[3]]);
                self.gateway.owner(ShardId::of(spi))
            }
            (Steering::Shard | Steering::Flow, _) => {
                let ends = nat::ends(packet);
                let sum = ends.map_or(0, |(from, to)| {
                    let ips = u64::from(from.ip().to_bits()) + u64::from(to.ip().to_bits());
                    ips + u64::from(from.port())
                });
                (sum % 251) as usize % workers
            }
        }
    }

    /// A packet has come to somebody's line.
    fn deliver_on_line(&mut self, mut packet: Vec<u8>, stamp: Stamp) {
        let Some((from, to)) = nat::ends(&packet) else {
            panic!("the gateway has sent what is no IP packet");
        };
        let found = self.subscribers.iter().position(|subscriber| {
            let has_line = subscriber.line.is_some();
            has_line && subscriber.place.inside(*to.ip(), to.port()).is_some()
        });
        let Some(index) = found else {
            return;
        };
        let subscriber = &mut self.subscribers[index];
        let (Some(line), Some(port)) = (
            subscriber.line,
            subscriber.place.inside(*to.ip(), to.port()),
        ) else {
            return;
        };
        subscriber.seen = subscriber.seen.latest(stamp);
        let fleet = subscriber.fleet();
        let start = nat::payload_start(&packet);
        let arrival = Arrival {
            from,
            to: SocketAddrV4::new(line.token, port),
            bytes: &mut packet[start..],
        };
        let mut inner = Vec::new();
        self.fleets[fleet].receive(self.now, &mut [arrival], &mut |id, packet| {
            inner.push((id, packet.to_vec()));
        });
        for (id, packet) in inner {
            let receiver = self.owners[fleet][id.0 as usize];
            assert_eq!(receiver, index, "a packet for another's client");
            self.deliver_to_subscriber(index, &packet);
        }
        self.collect(fleet);
    }

    fn deliver_to_subscriber(&mut self, index: usize, packet: &[u8]) {
        self.trace.note(self.now, packet, || {
            format!("s{index} gets {} octets", packet.len())
        });
        self.letters.deliver(packet, Party::Subscriber(index));
    }

    /// The server answers letters of subscribers.
    fn deliver_to_server(&mut self, packet: &[u8]) {
        self.trace.note(self.now, packet, || {
            format!("the server gets {} octets", packet.len())
        });
        let Some(letter) = self.letters.deliver(packet, Party::Server) else {
            return;
        };
        let Some((from, _)) = nat::ends(packet) else {
            return;
        };
        let Party::Subscriber(to) = letter.from else {
            panic!("the server gets no letters but from subscribers");
        };
        let copies = letter.copies * self.subscribers[to].copies();
        let answer = Letter::new(self.time(), Party::Server, letter.from, copies);
        let answer = answer.due_if(letter.is_due);
        let len = packet.len() - 32;
        let packet = self.letters.write(SERVER, *from.ip(), len, answer);
        self.wire
            .put(self.now + NETWORK_DELAY, Datagram::Inward(packet));
    }

    /// What is due at the clients.
    pub(super) fn clients_work(&mut self) {
        while let Some(entry) = self.errands.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let errand = entry.remove();
            let (fleet, client) = (errand.fleet, errand.client);
            self.fleets[fleet].handle_computed(self.now, client, errand.token, errand.outcome);
            self.collect(fleet);
        }
        for fleet in 0..self.fleets.len() {
            self.fleets[fleet].handle_timeout(self.now, DEADLINES);
            self.collect(fleet);
            let next = self.fleets[fleet].poll_timeout();
            let is_later = next.is_none_or(|at| at > self.now);
            assert!(
                is_later,
                "a client's deadline is in the past and stays there"
            );
        }
    }

    /// Takes what a fleet has to say.
    pub(super) fn collect(&mut self, fleet: usize) {
        let outbox = self.fleets[fleet].outbox();
        let packets: Vec<Vec<u8>> = outbox.iter().map(|out| out.packet.clone()).collect();
        self.fleets[fleet].sent(packets.len());
        for packet in packets {
            self.sent_on_line(packet);
        }
        for errand in self.fleets[fleet].take_errands() {
            self.errands_begun += 1;
            let at = self.now + self.dice.ms(COMPUTE_MS);
            let errand = Errand {
                fleet,
                client: errand.client,
                token: errand.token,
                outcome: errand.job.run(),
            };
            self.errands.insert((at, self.errands_begun), errand);
        }
        for event in self.fleets[fleet].take_events() {
            match event {
                Event::Up(id, lease) => self.came_up(fleet, id, lease),
                Event::Down(id, failure) => {
                    let why = failure.map_or_else(|| "asked to".to_owned(), |f| f.to_string());
                    self.went_down(fleet, id, &why);
                }
            }
        }
    }

    /// A client sends a packet; one that has died meanwhile does not.
    fn sent_on_line(&mut self, mut packet: Vec<u8>) {
        let ends = nat::ends(&packet);
        let Some((from, to)) = ends else {
            panic!("a client has sent what is no IP packet");
        };
        let Some(&index) = self.by_token.get(from.ip()) else {
            return;
        };
        let place = self.subscribers[index].place;
        let outside = SocketAddrV4::new(place.public, place.outside(from.port()));
        nat::readdress(&mut packet, outside, to);
        self.check_use(index, &packet);
        self.trace.note(self.now, &packet, || {
            format!("s{index} sends {} octets to {to}", packet.len())
        });
        if plain_tunnel(&packet).is_none() {
            self.captured.push_back(packet.clone());
            if self.captured.len() > CAPTURED_MAX {
                self.captured.pop_front();
            }
        }
        self.carry(index, Datagram::Up(packet));
    }

    /// Ids that a client uses have been told to it, and so have been applied.
    fn check_use(&self, index: usize, packet: &[u8]) {
        let seen = self.subscribers[index].seen;
        if let Some(esp) = esp(packet) {
            let spi = u32::from_be_bytes([esp[0], esp[1], esp[2], esp[3]]);
            self.gateway.ledger().used_spi(spi, seen);
        } else if let Some(tunnel) = plain_tunnel(packet).filter(|tunnel| *tunnel != 0) {
            let listener = PLAIN_LISTENER;
            self.gateway.ledger().used_tunnel(listener, tunnel, seen);
        }
    }

    /// Through the subscriber's line, if it is not cut.
    fn carry(&mut self, index: usize, datagram: Datagram) {
        if self.subscribers[index].is_cut {
            return;
        }
        let calm = Faults::none();
        let faults = if self.is_calm { &calm } else { &self.faults };
        self.wire.carry(self.now, datagram, faults, &mut self.dice);
    }

    /// Lets the gateway work, and sees what it sends.
    pub(super) fn gateway_works(&mut self) {
        let leaving = self.gateway.work(self.now, &mut self.dice, &mut self.trace);
        for leaving in leaving {
            let packet = leaving.frame[size_of::<Ethernet>()..].to_vec();
            if leaving.port == NETWORK {
                let at = self.now + NETWORK_DELAY;
                self.wire.put(at, Datagram::Outward(packet));
                continue;
            }
            if let Some(esp) = esp(&packet) {
                self.gateway.ledger_mut().sent_esp(esp);
            }
            let Some((_, to)) = nat::ends(&packet) else {
                panic!("the gateway has sent what is no IP packet");
            };
            let towards = |subscriber: &crate::subscriber::Subscriber| {
                subscriber.place.inside(*to.ip(), to.port()).is_some()
            };
            if let Some(index) = self.subscribers.iter().position(towards) {
                self.carry(index, Datagram::Down(packet, leaving.stamp));
            }
        }
    }

    /// A new client for a subscriber.
    pub(super) fn begin(&mut self, index: usize) {
        if self.subscribers[index].line.is_some() {
            return;
        }
        self.tokens += 1;
        let token = std::net::Ipv4Addr::from_bits(0x6440_0000 + self.tokens);
        let subscriber = &mut self.subscribers[index];
        let fleet = subscriber.fleet();
        let settings = subscriber.settings.clone();
        let inside = subscriber.place.inside;
        let id = self.fleets[fleet].add(settings, inside, Outside::host(token), self.now);
        let id = id.expect("each incarnation has a token of its own");
        subscriber.line = Some(Line { id, token });
        let text = format!("s{index} begins at {:?}", subscriber.place);
        subscriber.seen = Stamp::default();
        self.owners[fleet].push(index);
        self.by_token.insert(token, index);
        self.trace.say(self.now, &text);
    }

    /// A subscriber's client is no more; the next one comes soon if it is wished.
    pub(super) fn end_line(&mut self, index: usize) {
        let subscriber = &mut self.subscribers[index];
        if let Some(line) = subscriber.line.take() {
            self.by_token.remove(&line.token);
        }
        subscriber.lease = None;
    }

    fn current(&self, fleet: usize, id: ClientId) -> Option<usize> {
        let index = self.owners[fleet][id.0 as usize];
        let line = self.subscribers[index].line?;
        (line.id == id).then_some(index)
    }

    fn came_up(&mut self, fleet: usize, id: ClientId, lease: Lease) {
        let Some(index) = self.current(fleet, id) else {
            return;
        };
        self.trace
            .say(self.now, &format!("s{index} is up with {}", lease.address));
        let header = self.fleets[fleet].client(id).session_header();
        let header = header.expect("who is up has a session");
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        self.gateway.ledger().used_address(
            word(2),
            word(4),
            IpAddr::V4(lease.address),
            self.subscribers[index].seen,
        );
        self.model.was_given(index, lease.address);
        self.subscribers[index].lease = Some(lease);
    }

    fn went_down(&mut self, fleet: usize, id: ClientId, why: &str) {
        let Some(index) = self.current(fleet, id) else {
            return;
        };
        self.trace
            .say(self.now, &format!("s{index} is down: {why}"));
        let is_welcome = self.subscribers[index].credentials == Credentials::Right;
        let has_reason = !(self.is_settled && is_welcome);
        assert!(has_reason, "{index} goes down in a calm: {why}");
        self.end_line(index);
        if self.model.wishes(index) {
            let patience = match self.subscribers[index].credentials {
                Credentials::Right => self.dice.ms(500..6000),
                Credentials::WrongPassword | Credentials::WrongKey => self.dice.seconds(20..60),
            };
            self.later(patience, Act::Return(index));
        }
    }
}

/// From the SPI on, if a packet is ESP, raw or in UDP.
pub(super) fn esp(packet: &[u8]) -> Option<&[u8]> {
    let (from, to) = nat::ends(packet)?;
    let payload = &packet[nat::payload_start(packet)..];
    let is_raw = packet[9] == Ipv4::ESP;
    let is_from_us = [SECURE, PLAIN].contains(from.ip());
    let ours = if is_from_us { from } else { to };
    let is_in_udp = ours.port() == Udp::NAT_T && !payload.starts_with(&[0; 4]) && payload.len() > 8;
    (is_raw || is_in_udp).then_some(payload)
}

/// The tunnel id in a packet of L2TP in the clear.
fn plain_tunnel(packet: &[u8]) -> Option<u16> {
    let (_, to) = nat::ends(packet)?;
    let (header, _) = L2tp::read_from_prefix(&packet[nat::payload_start(packet)..]).ok()?;
    // RFC 2661 §3.1: with L set, the length stands before the ids.
    let has_length = header.flags.get() & L2tp::LENGTH != 0;
    let id = if has_length {
        header.session
    } else {
        header.tunnel
    };
    (to.port() == Udp::L2TP).then_some(id.get())
}

/// An Ethernet frame around an IP packet.
pub(super) fn ethernet(packet: &[u8]) -> Vec<u8> {
    let header = Ethernet {
        destination: [2; 6],
        source: [4; 6],
        ethertype: Ethernet::IPV4.into(),
    };
    [header.as_bytes(), packet].concat()
}
