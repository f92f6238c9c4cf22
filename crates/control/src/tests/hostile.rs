//! What peers send may be anything; a session beside it goes on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::Random;
use dataplane::change::{Origin, Punt};
use ike::Policy;
use ike::policy::Natt;
use packet::Endpoint;

use super::secured::{policy, secured, secured_settings, secured_with};
use super::world::{World, plain_settings};
use crate::Input;

/// Mutated messages in each test.
const MUTATIONS: usize = 200_000;
/// As many for each time that the client dials in.
const PER_DIAL: usize = 2_000;
/// As many between two looks at the session beside.
const AT_ONCE: usize = 50;

#[test]
fn broken_messages_of_one_client_do_not_disturb_another() {
    storm(&mut World::new(plain_settings(2), 2), 1);
}

#[test]
fn broken_messages_of_one_secured_client_do_not_disturb_another() {
    storm(&mut secured(2), 2);
}

/// Neither a peer nor one on its way to be one is followed to where a message came from that it did
/// not send.
#[test]
fn nobody_is_followed_to_an_address_that_is_not_authentic() {
    for natt in [Natt::Off, Natt::Force] {
        for is_half_open in [false, true] {
            let mut settings = secured_settings(1);
            let policy = Policy { natt, ..policy() };
            settings.listeners[0].ike = Some(Arc::new(policy));
            let mut world = secured_with(settings, 1);
            world.jobs = is_half_open.then(Vec::new);
            world.dial(0);
            let spoofed = spoof(&mut world);
            for (token, job) in world.jobs.take().unwrap_or_default() {
                world.computed(token, job);
            }
            // Long enough for dead peer detection and a new pair.
            for _ in 0..80 {
                world.run(Duration::from_secs(60));
                assert!(world.inner(0).is_some());
            }
            let home = IpAddr::V4(world.clients[0].address);
            let mut paths = world.fast.paths.values();
            assert!(spoofed > 0 && paths.all(|path| path.remote.address() == home));
            let (_, peer) = world.control.peers.slots.iter().next().unwrap();
            assert_eq!(peer.shown().address(), home);
            assert!(world.lines.with("peer moved").is_empty() || natt == Natt::Force);
        }
    }
}

/// Everything that the client has sent comes again from elsewhere, as it was and with one bit
/// changed. How many messages that is.
fn spoof(world: &mut World) -> usize {
    let elsewhere = Endpoint::new(IpAddr::from([203, 0, 113, 66]), 4500);
    let recorded = world.punts.clone();
    for punt in &recorded {
        let Origin::Ike { worker, local, .. } = punt.origin else {
            continue;
        };
        for changed in [0, 1] {
            let mut punt = punt.clone();
            punt.origin = Origin::Ike {
                worker,
                local,
                remote: elsewhere,
            };
            *punt.bytes.last_mut().unwrap() ^= changed;
            let now = world.now;
            world.control.handle_input(now, Input::Punt(punt));
        }
        world.settle();
    }
    recorded.len()
}

/// Client 1 dials in again and again; what it sent comes again, broken, while client 0 stays
/// connected.
fn storm(world: &mut World, seed: u8) {
    let mut random = Random::from_seed([seed; 32]);
    world.dial(0);
    let address = world.inner(0);
    for _ in 0..MUTATIONS / PER_DIAL {
        world.clients[1].crash();
        // Until nothing is half-open any more that could be taken for the client's own.
        world.run(Duration::from_secs(100));
        world.punts.clear();
        world.dial(1);
        let recorded = world.punts.clone();
        for _ in 0..PER_DIAL / AT_ONCE {
            for _ in 0..AT_ONCE {
                let punt = &recorded[random.below(recorded.len() as u32) as usize];
                let broken = mutate(punt, &mut random);
                let now = world.now;
                world.control.handle_input(now, Input::Punt(broken));
            }
            world.run(Duration::from_millis(500));
            assert_eq!(world.inner(0), address);
        }
    }
    assert!(world.count("sessions that came up") > (MUTATIONS / PER_DIAL / 2) as u64);
    world.clients[1].crash();
    let now = world.now;
    world.clients[0].hang_up(now);
    world.settle();
    world.clients[0].hang_up_ike(now);
    world.run(Duration::from_secs(600));
    world.assert_empty();
}

fn mutate(punt: &Punt, random: &mut Random) -> Punt {
    let mut bytes = punt.bytes.clone();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len().max(1) as u32) as usize;
        match random.below(4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), random.u16() as u8),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ if at < bytes.len() => bytes[at] = random.u16() as u8,
            _ => {}
        }
    }
    Punt {
        bytes,
        ..punt.clone()
    }
}
