//! Clients dial a gateway in the same process: its own configuration, threads and packet memory, and
//! nothing of the kernel's in between.

#![expect(clippy::unwrap_used, reason = "all of this is test")]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use lab::cli::{Arguments, Command, Dial, Encapsulation};
use lab::clock;
use lab::driver::{Driver, Silence, Traffic};
use lab::fleet::{ClientId, Event, Fleet, Outside};
use lab::memory::{self, Network, Stage};
use lab::ping::Ping;
use lab::wire::{self, Checksum};
use packet::header::Ipv4;

/// Whatever happens, no test takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// A host of the Internet.
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/memory.toml");
const KINDS: [Encapsulation; 3] = [
    Encapsulation::Plain,
    Encapsulation::Esp,
    Encapsulation::Natt,
];

#[test]
fn clients_of_every_kind_dial_ping_hang_up_and_every_chunk_is_back() {
    let mut stage = Stage::open(Path::new(SHIPPED)).unwrap();
    let mut driver = stage.driver(fleet(&stage, 6)).unwrap();
    let up = set_up(&mut driver, 6);
    let mut ping = Ping::new(HOST, up, 3, Duration::from_millis(5), clock::now());
    let limit = clock::now() + PATIENCE;
    while !ping.is_done(clock::now()) && clock::now() < limit {
        driver.turn(&mut ping, soon()).unwrap();
    }
    assert_eq!((ping.tally().sent, ping.tally().answered), (18, 18));
    hang_up(&mut driver);
    assert_eq!(driver.fleet.discards().occurred().count(), 0);
    assert_eq!(stage.discards(), []);
    drop(driver);
    stage.close().unwrap();
}

#[test]
fn the_network_side_counts_what_came_and_sends_what_is_to_come_by_two_workers() {
    let text = std::fs::read_to_string(SHIPPED).unwrap();
    let text = text.replace("count = 1 ", "count = 2 ");
    let file = std::env::temp_dir().join(format!("adit-lab-memory-{}.toml", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let stage = Stage::open(&file);
    std::fs::remove_file(&file).unwrap();
    let mut stage = stage.unwrap();
    assert_eq!(stage.cycles().len(), 2);
    let network = stage.network();
    let mut driver = stage.driver(fleet(&stage, 6)).unwrap();
    let up = set_up(&mut driver, 6);
    let mut both = Both {
        network,
        up,
        rounds: 0,
        heard: 0,
        came: 0,
    };
    let limit = clock::now() + PATIENCE;
    while (both.heard, both.came) != (600, 600) && clock::now() < limit {
        driver.turn(&mut both, soon()).unwrap();
    }
    assert_eq!((both.heard, both.came), (600, 600));
    hang_up(&mut driver);
    drop(driver);
    stage.close().unwrap();
}

/// Each client sends 100 packets, and so does the host to each.
struct Both {
    network: Network,
    up: Vec<(ClientId, Ipv4Addr)>,
    rounds: usize,
    /// By the host.
    heard: usize,
    /// To the clients.
    came: usize,
}

impl Traffic for Both {
    fn handle_packet(&mut self, _: Instant, to: ClientId, packet: &[u8]) {
        let (from, address, _) = wire::ip_payload(packet).unwrap();
        assert_eq!(from, HOST);
        assert!(self.up.contains(&(to, address)), "it is somebody else's");
        self.came += 1;
    }

    fn load(&mut self, _: Instant, fleet: &mut Fleet) {
        let (heard, up) = (&mut self.heard, &self.up);
        self.network.receive(&mut |packet| {
            let (from, to, _) = wire::ip_payload(packet).unwrap();
            assert_eq!((to, packet[9]), (HOST, Ipv4::UDP));
            assert!(up.iter().any(|(_, address)| *address == from));
            *heard += 1;
        });
        if self.rounds == 100 {
            return;
        }
        self.rounds += 1;
        for (id, address) in self.up.clone() {
            let [inside, host] = [address, HOST].map(|a| SocketAddrV4::new(a, 7));
            let packet = wire::udp(inside, host, b"up", Checksum::Full);
            assert!(fleet.load(id, |room| room.extend_from_slice(&packet)));
            let packet = wire::udp(host, inside, b"down", Checksum::Full);
            assert!(self.network.send(&packet));
        }
        self.network.flush();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (self.rounds < 100).then(clock::now)
    }
}

fn dial() -> Box<Dial> {
    let line = [
        "adit-lab",
        "dial",
        "--target",
        "memory:configs/memory.toml",
        "--psk=memory-psk",
        "--user=lab",
        "--password=memory-password",
    ];
    let Command::Dial(dial) = Arguments::try_parse_from(line).unwrap().command else {
        panic!("another command")
    };
    dial
}

/// Clients of all kinds, each at an address of its own.
fn fleet(stage: &Stage, count: usize) -> Fleet {
    let mut fleet = Fleet::new(stage.address().unwrap(), [7; 32]);
    let dial = dial();
    for (number, address) in memory::addresses(count).into_iter().enumerate() {
        let kind = KINDS[number % KINDS.len()];
        let outside = match kind {
            Encapsulation::Natt => Outside {
                ike: 10_500,
                natt: 14_500,
                ..Outside::host(address)
            },
            Encapsulation::Auto | Encapsulation::Esp | Encapsulation::Plain => {
                Outside::host(address)
            }
        };
        let settings = Arc::new(dial.client.settings(number + 1, kind));
        let added = fleet.add(settings, address, outside, clock::now());
        assert!(added.is_some());
    }
    fleet
}

fn set_up(driver: &mut Driver, count: usize) -> Vec<(ClientId, Ipv4Addr)> {
    let mut up = Vec::new();
    let limit = clock::now() + PATIENCE;
    while up.len() < count && clock::now() < limit {
        driver.turn(&mut Silence, soon()).unwrap();
        for event in driver.fleet.take_events() {
            match event {
                Event::Up(id, lease) => up.push((id, lease.address)),
                Event::Down(id, why) => panic!("{id:?} is down: {why:?}"),
            }
        }
    }
    assert_eq!(up.len(), count, "come up in time");
    up
}

fn hang_up(driver: &mut Driver) {
    let ids: Vec<ClientId> = driver.fleet.clients().map(|(id, ..)| id).collect();
    for id in ids {
        driver.fleet.hang_up(clock::now(), id);
    }
    let limit = clock::now() + PATIENCE;
    let is_left = |driver: &Driver| {
        driver
            .fleet
            .clients()
            .any(|(_, client, _)| !client.is_over())
    };
    while is_left(driver) && clock::now() < limit {
        driver.turn(&mut Silence, soon()).unwrap();
    }
    assert!(!is_left(driver), "everybody is home in time");
}

fn soon() -> Instant {
    clock::now() + Duration::from_millis(20)
}
