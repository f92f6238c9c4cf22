//! What peers send may be anything; a session beside it goes on.

use std::time::Duration;

use crypto::Random;
use dataplane::change::Punt;

use super::secured::secured;
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
