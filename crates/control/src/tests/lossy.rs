//! A wire that loses and repeats: everybody gets in in the end, and nothing is left when all have
//! gone, however they went.

use std::time::Duration;

use crypto::Random;

use super::secured::{secured_settings, secured_with};
use super::world::{Weather, World, plain_settings};

const SEEDS: u8 = 12;
const CLIENTS: usize = 12;
/// A client that is not in after this long starts anew, as people do.
const PATIENCE: Duration = Duration::from_secs(60);
const TRIES: usize = 10;

#[test]
fn plain_clients_get_in_through_loss_and_leave_nothing() {
    for seed in 0..SEEDS {
        through(World::new(plain_settings(CLIENTS), CLIENTS as u32), seed);
    }
}

#[test]
fn secured_clients_get_in_through_loss_and_leave_nothing() {
    for seed in 0..SEEDS {
        through(
            secured_with(secured_settings(CLIENTS), CLIENTS as u32),
            seed,
        );
    }
}

fn through(mut world: World, seed: u8) {
    world.weather = Some(Weather {
        random: Random::from_seed([seed; 32]),
        lost_percent: 20,
        repeated_percent: 5,
    });
    for _ in 0..TRIES {
        for n in 0..CLIENTS {
            if world.inner(n).is_none() {
                world.clients[n].crash();
                world.dial(n);
            }
        }
        world.run(PATIENCE);
    }
    for client in &world.clients {
        assert!(
            client.dialled_in > 0,
            "seed {seed}: {} never got in",
            client.user
        );
    }
    assert_eq!(world.control.verify_pools(), Vec::<String>::new());
    // A third hangs up, a third hangs up in part, a third dies.
    for n in 0..CLIENTS {
        let now = world.now;
        if n % 3 < 2 {
            world.clients[n].hang_up(now);
        }
        world.settle();
        if n % 3 == 0 {
            world.clients[n].hang_up_ike(now);
        } else {
            world.clients[n].crash();
        }
    }
    world.run(Duration::from_secs(2 * 3600));
    world.assert_empty();
}
