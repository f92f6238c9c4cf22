//! Stories of what fits on the way to a peer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::esp::{Integrity, Suite};
use dataplane::change::Path;
use ike::policy::Phase2Proposal;
use packet::checksum;

use super::secured::{policy, secured, secured_settings, secured_with};
use super::world::World;
use crate::Input;

/// AES-GCM-16 leaves so much of 1400 octets, and the client takes so much of what 1500 leave.
const OF_1400: u16 = 1326;
const OF_1500: u16 = 1400;

// conformance: 3193-09
#[test]
fn a_router_that_tells_of_a_smaller_link_makes_the_packets_smaller() {
    let mut world = secured(1);
    world.dial(0);
    assert_eq!(mtu(&world), OF_1500);
    tell(&mut world, 1400, |_, spi| spi);
    assert_eq!(mtu(&world), OF_1400);
    tell(&mut world, 1450, |_, spi| spi);
    assert_eq!(mtu(&world), OF_1400, "only smaller is news");
    tell(&mut world, 100, |_, spi| spi);
    assert_eq!(mtu(&world), 618, "nothing below 692 is believed");
}

// conformance: 4301-06
#[test]
fn what_a_router_told_is_forgotten_after_the_period_that_is_set() {
    for minutes in [10, 3] {
        let age = Duration::from_secs(60 * minutes);
        let mut settings = secured_settings(1);
        settings.path_mtu_age = age;
        let mut world = secured_with(settings, 1);
        world.dial(0);
        tell(&mut world, 1400, |_, spi| spi);
        let a_moment = Duration::from_millis(1);
        world.run(age - a_moment);
        assert_eq!(mtu(&world), OF_1400);
        world.run(2 * a_moment);
        assert_eq!(mtu(&world), OF_1500);
        tell(&mut world, 1400, |_, spi| spi);
        assert_eq!(mtu(&world), OF_1400, "it is told anew");
    }
}

#[test]
fn news_about_a_packet_that_we_never_sent_is_not_believed() {
    let mut world = secured(1);
    world.dial(0);
    tell(&mut world, 1400, |_, spi| spi ^ 1);
    let swap = |path: &mut Path, spi| {
        std::mem::swap(&mut path.local, &mut path.remote);
        spi
    };
    tell(&mut world, 1400, swap);
    assert_eq!(mtu(&world), OF_1500);
    assert_eq!(world.count("path mtu: news about no packet of ours"), 2);
}

#[test]
fn a_rekey_to_a_suite_with_more_around_makes_the_packets_smaller() {
    let larger = Suite::AesCbc {
        key_bits: 128,
        integrity: Integrity::HmacSha512_256,
    };
    let mut settings = secured_settings(1);
    let mut both = policy();
    both.phase2.push(Phase2Proposal { suite: larger });
    settings.listeners[0].ike = Some(Arc::new(both.clone()));
    settings.path_mtu = 1450;
    let mut world = secured_with(settings, 1);
    world.dial(0);
    assert_eq!(mtu(&world), 1374);
    both.phase2.remove(0);
    world.clients[0].policy = Some(Arc::new(both));
    // An ISAKMP SA keeps to its policy, so the other suite comes with the next.
    let now = world.now;
    world.clients[0].dial_ike(now);
    world.settle();
    world.clients[0].with_ike(now, |sa, env, out, now| sa.create_child(now, env, out));
    world.settle();
    assert_eq!(mtu(&world), 1338);
}

fn mtu(world: &World) -> u16 {
    world.fast.networks.values().next().unwrap().mtu
}

/// A router on the way says that an ESP packet of ours to the client was too long; `change` makes
/// it another packet.
fn tell(world: &mut World, mtu: u16, change: impl Fn(&mut Path, u32) -> u32) {
    let (id, mut path) = world
        .fast
        .paths
        .iter()
        .map(|(id, path)| (*id, *path))
        .next()
        .unwrap();
    let spi = change(&mut path, world.fast.outbound[&id].0.unwrap());
    let octets = |address| match address {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(_) => panic!("peers come by IPv4"),
    };
    let ends = [path.local, path.remote]
        .map(|end| octets(end.address()))
        .concat();
    let ip = |protocol, ends: &[u8]| {
        let head = [0x45, 0, 5, 0xdc, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        [&head[..], ends].concat()
    };
    let esp = [spi.to_be_bytes(), [0, 0, 0, 1]].concat();
    let head = [&[3, 4, 0, 0, 0, 0][..], &mtu.to_be_bytes()].concat();
    let mut icmp = [head, ip(50, &ends), esp].concat();
    let sum = checksum::checksum(&icmp).to_be_bytes();
    icmp[2..4].copy_from_slice(&sum);
    let packet = [ip(1, &[192, 0, 2, 254, 192, 0, 2, 1]), icmp].concat();
    let now = world.now;
    world.control.handle_input(now, Input::Icmp(packet));
    world.settle();
}
