//! What a subscriber costs the generator: memory while it is idle, and time to set it up.
//!
//! Memory is gated here; time is only printed. A hundredth of the subscribers is tried unless all
//! are asked for, which takes minutes and gigabytes and wants a quiet machine:
//!
//! ```text
//! ADIT_SCALE=whole cargo test --release -p lab --test scale -- --nocapture --test-threads=1
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "all of this is test"
)]
#![allow(dead_code, reason = "of the world, only the server is of use here")]

mod world;

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::client::Settings;
use lab::clock;
use lab::driver::Silence;
use lab::fleet::{Arrival, Errand, Event, Fleet, Outside};
use lab::memory::{self, Stage};
use lab::wire;
use packet::header::{Ipv4, Udp};
use world::server::{ADDRESS, Server};
use world::{plain, secured};

/// What an idle subscriber may take, in octets.
const OCTETS_MAX: f64 = 8192.0;
/// What it may take of the heap: a tenth of all is for whoever keeps the heap.
const HEAP_MAX: f64 = OCTETS_MAX * 0.9;
/// Clients that dial at the same time.
const CROWD: usize = 64;
/// The same where each that comes up makes room for the next.
const UNDER_WAY: usize = 256;

#[test]
fn an_idle_subscriber_takes_no_more_than_eight_kibibytes_with_a_tenth_to_spare() {
    for (name, settings, count) in [
        ("plain", plain(), 512),
        ("IPsec", secured("aes128gcm16"), 2048),
    ] {
        let mut crowd = Crowd::new(settings);
        crowd.set_up(count);
        let octets = crowd.octets_of_fleet() / count as f64;
        println!("{name}: {octets:.0} octets of the heap for each subscriber");
        assert!(octets <= HEAP_MAX, "{name}: {octets}");
        assert!(octets > 500.0, "{name}: {octets} is what was counted");
    }
}

#[test]
fn a_hundred_thousand_plain_and_twenty_thousand_secured_subscribers_are_held_idle() {
    let mut held = Vec::new();
    for (name, settings, count) in [
        ("plain", plain(), of(100_000)),
        ("IPsec", secured("aes128gcm16"), of(20_000)),
    ] {
        let mut crowd = Crowd::new(settings);
        crowd.set_up(CROWD);
        let before = resident();
        crowd.set_up(count);
        let octets = (resident() - before) / count as f64;
        println!(
            "{count} {name} subscribers: {octets:.0} octets of resident memory each; set up at \
             {:.0}/s, or {:.0}/s of the generator's own time",
            count as f64 / crowd.took.as_secs_f64(),
            count as f64 / crowd.own.as_secs_f64()
        );
        // Of a few, what the process has beside is most of it.
        assert!(!is_whole() || octets <= OCTETS_MAX, "{name}: {octets}");
        held.push(crowd);
    }
    held.iter().for_each(Crowd::expect_all_held);
}

#[test]
fn set_ups_against_a_gateway_in_the_same_process_all_succeed() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/memory.toml");
    for (name, settings, count) in [
        ("plain", plain(), of(40_000)),
        ("MODP-2048", modp2048(), of(4_000)),
    ] {
        let mut stage = Stage::open(std::path::Path::new(file)).unwrap();
        let settings = Arc::new(of_the_shipped_gateway(settings));
        let fleet = Fleet::new(stage.address().unwrap(), [1; 32]);
        let mut driver = stage.driver(fleet).unwrap();
        let mut addresses = memory::addresses(count).into_iter();
        let (mut dialled, mut up, mut down) = (0_usize, 0, 0);
        let begin = clock::now();
        while up + down < count {
            let under_way = dialled.saturating_sub(up + down);
            for address in addresses.by_ref().take(UNDER_WAY - under_way) {
                let (settings, outside) = (Arc::clone(&settings), Outside::host(address));
                let id = driver.fleet.add(settings, address, outside, clock::now());
                dialled += usize::from(id.is_some());
            }
            let until = clock::now() + Duration::from_millis(20);
            driver.turn(&mut Silence, until).unwrap();
            for event in driver.fleet.take_events() {
                match event {
                    Event::Up(..) => up += 1,
                    Event::Down(..) => down += 1,
                }
            }
        }
        let took = (clock::now() - begin).as_secs_f64();
        println!("{name}: {up} of {count} up, {:.0}/s", up as f64 / took);
        assert_eq!((up, down), (count, 0), "{name}");
        drop(driver);
        stage.close().unwrap();
    }
}

fn is_whole() -> bool {
    std::env::var("ADIT_SCALE").is_ok_and(|scale| scale == "whole")
}

/// So many, or a hundredth.
fn of(count: usize) -> usize {
    if is_whole() { count } else { count / 100 }
}

/// A fleet and a responder, with nothing between them. Nobody's time passes by itself.
struct Crowd {
    settings: Arc<Settings>,
    fleet: Fleet,
    server: Server,
    now: Instant,
    up: usize,
    /// All in all, and in the fleet.
    took: Duration,
    own: Duration,
}

impl Crowd {
    fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            fleet: Fleet::new(ADDRESS, [3; 32]),
            server: Server::new(),
            now: clock::now(),
            up: 0,
            took: Duration::ZERO,
            own: Duration::ZERO,
        }
    }

    /// So many more clients.
    fn set_up(&mut self, count: usize) {
        let before = self.fleet.clients().count();
        let addresses = memory::addresses(before + count).split_off(before);
        self.own = Duration::ZERO;
        let begin = clock::now();
        for addresses in addresses.chunks(CROWD) {
            for address in addresses {
                let (settings, outside) = (Arc::clone(&self.settings), Outside::host(*address));
                let id = self.fleet.add(settings, *address, outside, self.now);
                assert!(id.is_some());
            }
            while self.turn() {}
            // Only the clients are to be held: nobody will ask this responder any more.
            self.server = Server::new();
        }
        self.took = clock::now() - begin;
        assert_eq!(self.up, before + count, "all come up");
    }

    fn expect_all_held(&self) {
        let mut clients = self.fleet.clients();
        assert!(clients.all(|(_, client, _)| client.lease().is_some()));
    }

    /// Delivers what is under way; whether there was anything.
    fn turn(&mut self) -> bool {
        let begin = clock::now();
        self.fleet.handle_timeout(self.now, CROWD);
        let errands = self.fleet.take_errands();
        let is_busy = !errands.is_empty();
        for Errand { client, token, job } in errands {
            let outcome = job.run();
            self.fleet.handle_computed(self.now, client, token, outcome);
        }
        let outbox = self.fleet.outbox().iter();
        let mut up: Vec<Vec<u8>> = outbox.map(|outgoing| outgoing.packet.clone()).collect();
        self.fleet.sent(up.len());
        self.own += clock::now() - begin;
        for packet in &mut up {
            self.server.receive(self.now, packet);
        }
        let mut down = std::mem::take(&mut self.server.out);
        let begin = clock::now();
        let mut arrivals: Vec<Arrival<'_>> = down.iter_mut().map(|p| arrival(p)).collect();
        self.fleet.receive(self.now, &mut arrivals, &mut |_, _| {});
        for event in self.fleet.take_events() {
            self.up += usize::from(matches!(event, Event::Up(..)));
        }
        self.own += clock::now() - begin;
        is_busy || !up.is_empty() || !down.is_empty()
    }

    /// What is given back to the heap when the fleet goes.
    fn octets_of_fleet(&mut self) -> f64 {
        let fleet = std::mem::replace(&mut self.fleet, Fleet::new(ADDRESS, [3; 32]));
        let freed = allocation_counter::measure(|| drop(fleet));
        -(freed.bytes_current as f64)
    }
}

fn arrival(packet: &mut [u8]) -> Arrival<'_> {
    let (from, to, range) = wire::ip_payload(packet).unwrap();
    let (mut ports, mut start) = ([0; 2], range.start);
    if packet[9] == Ipv4::UDP {
        ports = [0, 2].map(|at| u16::from_be_bytes([packet[start + at], packet[start + at + 1]]));
        start += Udp::LEN;
    }
    Arrival {
        from: SocketAddrV4::new(from, ports[0]),
        to: SocketAddrV4::new(to, ports[1]),
        bytes: &mut packet[start..range.end],
    }
}

fn modp2048() -> Settings {
    let settings = secured("aes128gcm16");
    let mut policy = (*settings.ipsec.unwrap()).clone();
    let all = ike::Policy::modern().phase1.into_iter();
    let is_it = |offer: &ike::policy::Phase1Proposal| offer.group == crypto::dh::Group::Modp2048;
    policy.phase1 = all.filter(is_it).take(1).collect();
    assert_eq!(policy.phase1.len(), 1);
    Settings {
        ipsec: Some(Arc::new(policy)),
        ..plain()
    }
}

/// With the secrets of configs/memory.toml.
fn of_the_shipped_gateway(settings: Settings) -> Settings {
    let password = crypto::Secret::new(b"memory-password".to_vec());
    let ipsec = settings.ipsec.map(|policy| {
        let mut policy = (*policy).clone();
        policy.psks[0].key = crypto::Secret::new(b"memory-psk".to_vec());
        Arc::new(policy)
    });
    Settings {
        ipsec,
        ppp: Arc::new(ppp::Settings::client("lab", password)),
        ..settings
    }
}

/// Octets of memory that this process has.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = statm.split(' ').nth(1).unwrap().parse::<f64>().unwrap();
    pages * 4096.0
}
