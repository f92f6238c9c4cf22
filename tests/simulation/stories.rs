//! Single stories, without chance but for what the protocols draw.

use std::time::Duration;

use tests::dice::Dice;
use tests::plan::Act;
use tests::tuning::{Steering, Tuning};
use tests::world::{Summary, World};

/// Two of each kind: plain L2TP, raw ESP, ESP in UDP.
const SUBSCRIBERS: usize = 6;
/// Everybody is up by then.
const UP: Duration = Duration::from_secs(5);

/// A calm network with so many workers, in which everybody is up.
fn everybody_is_up(workers: u8, steering: Steering) -> World {
    let mut dice = Dice::new(u64::from(workers));
    let tuning = Tuning {
        workers,
        steering,
        ..Tuning::draw(0, &mut dice)
    };
    let mut world = World::empty(tuning, SUBSCRIBERS, dice, None);
    world.save();
    for subscriber in 0..SUBSCRIBERS {
        world.plan(Duration::ZERO, Act::Dial(subscriber));
    }
    world.run_until(UP);
    assert_eq!(world.up(), SUBSCRIBERS);
    world
}

/// Everybody writes to everybody else and to the server, and all of it arrives.
fn everybody_writes(mut world: World, at: Duration) -> Summary {
    for from in 0..SUBSCRIBERS {
        let (letters, is_due) = (3, true);
        world.plan(
            at,
            Act::Write {
                from,
                letters,
                is_due,
            },
        );
        for to in (0..SUBSCRIBERS).filter(|to| *to != from) {
            let gossip = Act::Gossip {
                from,
                to,
                letters,
                is_due,
            };
            world.plan(at, gossip);
        }
    }
    let end = at + Duration::from_secs(2);
    world.plan(end, Act::Collect);
    world.run_until(end);
    world.summary()
}

#[test]
fn subscribers_of_every_kind_reach_each_other_on_one_worker_and_on_more() {
    for workers in 1..=3 {
        let world = everybody_is_up(workers, Steering::Flow);
        let summary = everybody_writes(world, UP + Duration::from_secs(1));
        assert_eq!(summary.count("frames handed over") > 0, workers > 1);
    }
}

/// Every shard that somebody lives in goes to the next worker every 10 ms, under a thousand packets
/// a second each way: none is lost, and no number or IV is used twice.
#[test]
fn shards_that_move_every_ten_milliseconds_lose_nothing_and_repeat_nothing() {
    const SECONDS: u64 = 10;
    for workers in [2, 3] {
        let mut world = everybody_is_up(workers, Steering::Flow);
        let begin = UP.as_millis() as u64;
        for ms in begin..begin + SECONDS * 1000 {
            let at = Duration::from_millis(ms);
            let from = (ms % SUBSCRIBERS as u64) as usize;
            let (letters, is_due) = (1, true);
            world.plan(
                at,
                Act::Write {
                    from,
                    letters,
                    is_due,
                },
            );
            if ms % 10 == 0 {
                world.plan(at, Act::MoveEverybody);
            }
        }
        let end = UP + Duration::from_secs(SECONDS + 2);
        world.plan(end, Act::Collect);
        world.run_until(end);
        let summary = world.summary();
        assert_eq!(summary.count("letters sent"), 2 * SECONDS * 1000);
        assert_eq!(summary.count("letters arrived"), 2 * SECONDS * 1000);
        assert!(summary.count("frames handed over") > SECONDS * 1000);
    }
}

/// State is the fold of its changes: written down on one gateway, it runs on another, whatever the
/// number of workers.
#[test]
fn the_same_saved_state_runs_with_one_worker_and_with_two() {
    for (before, after) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let mut world = everybody_is_up(before, Steering::Flow);
        world.restart(after);
        let summary = everybody_writes(world, UP + Duration::from_secs(1));
        assert_eq!(summary.count("frames handed over") > 0, after > 1);
    }
}
