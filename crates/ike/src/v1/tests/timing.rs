//! Time: renewal, expiry, dead peers, patience.

use std::time::Duration;

use super::world::{Faults, World, toy_policy};
use crate::output::{ChildEnd, DownReason};
use crate::policy::Policy;
use crate::proposal::WhyRefused;
use crate::{Output, Refusal};

const LIFE: Duration = Duration::from_secs(600);

fn short_lived() -> Policy {
    Policy {
        phase2_lifetime: LIFE,
        dpd: None,
        ..toy_policy()
    }
}

fn count(world: &World, end: usize, is: impl Fn(&Output) -> bool) -> usize {
    world.ends[end]
        .events
        .iter()
        .filter(|event| is(event))
        .count()
}

fn ups(world: &World, end: usize) -> usize {
    count(world, end, |event| matches!(event, Output::ChildUp(_)))
}

#[test]
fn the_initiator_renews_make_before_break() {
    let mut world = World::up(1, short_lived(), short_lived());
    let mut fewest = usize::MAX;
    for _ in 0..3600 {
        world.run(Duration::from_secs(1));
        fewest = fewest
            .min(world.ends[0].children.len())
            .min(world.ends[1].children.len());
    }
    assert!(fewest >= 1, "never without a pair");
    assert!((7..=9).contains(&ups(&world, 0)), "{}", ups(&world, 0));
    let expired = |event: &Output| {
        matches!(
            event,
            Output::ChildDown {
                reason: ChildEnd::Expired,
                ..
            }
        )
    };
    assert_eq!(count(&world, 0, expired) + count(&world, 1, expired), 0);
    let superseded = |event: &Output| {
        matches!(
            event,
            Output::ChildDown {
                reason: ChildEnd::Superseded,
                ..
            }
        )
    };
    assert_eq!(
        count(&world, 0, superseded),
        ups(&world, 0) - world.ends[0].children.len()
    );
}

/// Else what was sent on the old pair just before the delete could arrive behind it.
#[test]
fn what_replaces_a_pair_is_in_use_before_the_pair_is_deleted() {
    let mut world = World::up(1, short_lived(), short_lived());
    world.run(Duration::from_secs(3600));
    let (mut in_use, mut deleted) = (0, 0);
    for event in &world.ends[0].events {
        in_use += usize::from(matches!(event, Output::ChildConfirmed { .. }));
        deleted += usize::from(matches!(event, Output::ChildDown { .. }));
        assert!(in_use >= deleted, "{event:?}");
    }
    assert!(deleted > 5);
}

#[test]
fn the_responder_renews_when_the_initiator_does_not() {
    let client = Policy {
        rekey: false,
        ..short_lived()
    };
    let mut world = World::up(2, client, short_lived());
    world.run(Duration::from_secs(3600));
    assert!(ups(&world, 1) >= 6, "{}", ups(&world, 1));
    world.check_children();
}

/// The initiator does not renew, and its lifetime is the shorter one: what the responder renews has
/// to be renewed again before the initiator ends it.
#[test]
fn a_successor_lives_no_longer_than_the_pair_before_it() {
    let client = Policy {
        rekey: false,
        ..short_lived()
    };
    let gateway = Policy {
        phase2_lifetime: 6 * LIFE,
        ..short_lived()
    };
    let mut world = World::up(2, client, gateway);
    for _ in 0..3600 {
        world.run(Duration::from_secs(1));
        assert!(world.ends.iter().all(|end| !end.children.is_empty()));
    }
    world.check_children();
}

/// The last pair may be gone when the next is asked for: what the peer agreed to is not.
#[test]
fn a_pair_after_the_last_one_lives_no_longer_either() {
    let client = Policy {
        rekey: false,
        ..short_lived()
    };
    let gateway = Policy {
        phase2_lifetime: 6 * LIFE,
        ..short_lived()
    };
    let mut world = World::up(2, client, gateway);
    let [last] = world.ends[0].sa.children()[..] else {
        panic!("one pair");
    };
    world.act(0, |end, now, out| {
        end.sa.delete_child(now, last, &mut end.env, out)
    });
    world.run(Duration::from_secs(1));
    assert!(world.ends.iter().all(|end| end.children.is_empty()));
    world.create_child(1);
    for _ in 0..3600 {
        world.run(Duration::from_secs(1));
        assert!(world.ends.iter().all(|end| !end.children.is_empty()));
    }
}

/// Somebody would have to renew them again and again.
#[test]
fn lifetimes_that_are_too_short_are_refused_by_name() {
    let client = |phase1, phase2, kilobytes| Policy {
        phase1_lifetime: Duration::from_secs(phase1),
        phase2_lifetime: Duration::from_secs(phase2),
        phase2_kilobytes: Some(kilobytes),
        ..toy_policy()
    };
    for (policy, is_up) in [
        (client(10, 10, 1000), true),
        (client(9, 10, 1000), false),
        (client(10, 9, 1000), false),
        (client(10, 10, 999), false),
    ] {
        let mut world = World::new(1, policy, toy_policy());
        world.run(Duration::from_secs(1));
        if world.ends[0].sa.is_established() {
            world.create_child(0);
            world.run(Duration::from_secs(1));
        }
        assert_eq!(!world.ends[1].children.is_empty(), is_up);
        let is_told = |event: &Output| {
            matches!(event, Output::ProposalRefused(refused)
                if refused.iter().any(|one| one.why == WhyRefused::LifeShort))
        };
        assert_eq!(count(&world, 1, is_told) > 0, !is_up);
    }
}

#[test]
fn nobody_renews_when_nobody_may() {
    let policy = Policy {
        rekey: false,
        ..short_lived()
    };
    let mut world = World::up(3, policy.clone(), policy);
    world.run(LIFE - Duration::from_secs(5));
    assert_eq!(world.ends[0].children.len(), 1);
    world.run(Duration::from_secs(10));
    assert!(
        world
            .ends
            .iter()
            .all(|end| end.children.is_empty() && end.sa.is_established())
    );
}

#[test]
fn both_renewing_at_once_does_not_multiply_pairs() {
    let mut world = World::up(4, short_lived(), short_lived());
    for _ in 0..50 {
        world.create_child(0);
        world.create_child(1);
        world.run(Duration::from_secs(60));
        assert!(
            world.ends[0].children.len() <= 2,
            "{}",
            world.ends[0].children.len()
        );
    }
    world.run(Duration::from_secs(7200));
    assert!(world.ends[0].children.len() <= 3);
    world.check_children();
}

#[test]
fn renewal_survives_a_bad_wire() {
    for seed in 0..20 {
        let mut world = World::up(seed, short_lived(), short_lived());
        world.faults = Faults {
            loss: 15,
            copies: 15,
            jitter: 300,
        };
        for _ in 0..120 {
            world.run(Duration::from_secs(60));
            assert!(
                world.ends.iter().all(|end| !end.children.is_empty()),
                "seed {seed}"
            );
            assert!(
                world.ends.iter().all(|end| end.children.len() < 10),
                "seed {seed}"
            );
        }
    }
}

// conformance: 2407-13
#[test]
fn the_shorter_lifetime_counts() {
    let long = Policy {
        phase2_kilobytes: Some(250_000),
        ..toy_policy()
    };
    let world = World::up(5, long, short_lived());
    for end in &world.ends {
        let lifetime = end.children.values().next().unwrap().lifetime;
        assert_eq!(lifetime.kilobytes, Some(250_000));
    }
    let seconds = |end: usize| {
        world.ends[end]
            .children
            .values()
            .next()
            .unwrap()
            .lifetime
            .seconds
    };
    assert_eq!((seconds(0), seconds(1)), (3600, 600));
}

// conformance: 2408-23 2408-24
#[test]
fn a_request_backs_off_and_ends() {
    let mut world = World::new(6, toy_policy(), toy_policy());
    world.faults.loss = 100;
    world.edit_first(|message| message.truncate(10));
    let start = world.now;
    let mut times = vec![Duration::ZERO];
    while !world.ends[0].sa.is_down() {
        let before = world.ends[0].sent.len();
        world.step();
        if world.ends[0].sent.len() > before {
            times.push(world.now - start);
        }
    }
    assert_eq!(times, [0, 1, 3, 7, 15].map(Duration::from_secs));
    assert!(matches!(
        world.ends[0].events[..],
        [Output::Down {
            reason: DownReason::SetupTimeout {
                waiting_for: "message 2",
                complaint: None,
                refused: None
            }
        }]
    ));
    assert_eq!(world.now - start, Duration::from_secs(30));
}

#[test]
fn a_responder_sends_nothing_by_itself_before_the_peer_is_authentic() {
    let mut world = World::new(7, toy_policy(), toy_policy());
    while world.ends[1].sent.is_empty() {
        world.step();
    }
    world.faults.loss = 100;
    world.run(Duration::from_secs(60));
    assert_eq!(world.ends[1].sent.len(), 1);
    assert!(world.ends[1].sa.is_finished());
}

#[test]
fn a_lost_message_three_is_asked_for() {
    let mut world = World::new(8, toy_policy(), toy_policy());
    world.establish();
    world.create_child(0);
    while world.ends[0].children.is_empty() {
        world.step();
    }
    world.faults.loss = 100;
    world.lose_everything();
    world.run(Duration::from_millis(500));
    world.faults.loss = 0;
    let confirmed = |world: &World| {
        count(world, 1, |event| {
            matches!(event, Output::ChildConfirmed { .. })
        })
    };
    assert_eq!(confirmed(&world), 0);
    world.run(Duration::from_secs(2));
    assert_eq!(confirmed(&world), 1);
}

#[test]
fn traffic_over_a_pair_stands_in_for_message_three() {
    let mut world = World::new(9, toy_policy(), toy_policy());
    world.establish();
    world.create_child(0);
    while world.ends[0].children.is_empty() {
        world.step();
    }
    world.lose_everything();
    let inbound = *world.ends[1].children.keys().next().unwrap();
    world.act(1, |end, now, out| {
        end.sa.saw_child_traffic(now, inbound, out)
    });
    assert_eq!(
        count(&world, 1, |event| matches!(
            event,
            Output::ChildConfirmed { .. }
        )),
        1
    );
    let sent = world.ends[1].sent.len();
    world.run(Duration::from_secs(20));
    assert_eq!(
        world.ends[1].sent.len(),
        sent,
        "nothing is asked for any more"
    );
}

#[test]
fn message_three_may_be_overtaken_by_the_traffic_that_it_announces() {
    let mut world = World::new(9, toy_policy(), toy_policy());
    world.establish();
    world.create_child(0);
    while world.ends[0].children.is_empty() {
        world.step();
    }
    let inbound = *world.ends[1].children.keys().next().unwrap();
    world.act(1, |end, now, out| {
        end.sa.saw_child_traffic(now, inbound, out)
    });
    world.run(Duration::from_secs(20));
    assert_eq!(world.ends[1].refusals, []);
    assert_eq!(world.ends[1].children.len(), 1);
    let is_confirmed = |event: &Output| matches!(event, Output::ChildConfirmed { .. });
    assert_eq!(count(&world, 1, is_confirmed), 1);
}

#[test]
fn a_pair_that_traffic_has_confirmed_outlives_its_isakmp_sa() {
    let mut world = World::new(9, toy_policy(), toy_policy());
    world.establish();
    world.create_child(0);
    while world.ends[0].children.is_empty() {
        world.step();
    }
    world.lose_everything();
    let inbound = *world.ends[1].children.keys().next().unwrap();
    world.act(1, |end, now, out| {
        end.sa.saw_child_traffic(now, inbound, out)
    });
    // The peer deletes the ISAKMP SA, as Windows does, and not the pair.
    world.act(0, |end, now, out| {
        let _kept = end.sa.take_children();
        end.sa.close(now, &mut end.env, out);
    });
    world.run(Duration::from_millis(100));
    assert!(world.ends[1].sa.is_down());
    assert_eq!(world.ends[1].children.len(), 1);
}

#[test]
fn a_pair_that_is_never_confirmed_ends() {
    let mut world = World::new(10, toy_policy(), toy_policy());
    world.establish();
    world.create_child(0);
    while world.ends[1].children.is_empty() {
        world.step();
    }
    world.faults.loss = 100;
    world.lose_everything();
    world.run(Duration::from_secs(40));
    let last = world.ends[1]
        .events
        .iter()
        .rev()
        .find(|event| matches!(event, Output::ChildDown { .. }));
    assert!(
        matches!(
            last,
            Some(Output::ChildDown {
                reason: ChildEnd::NotConfirmed,
                ..
            })
        ),
        "{last:?}"
    );
}

// conformance: 3706-01 3706-02 3706-08 3706-09
#[test]
fn a_dead_peer_is_found_and_takes_everything_with_it() {
    let mut world = World::up(
        11,
        Policy {
            dpd: None,
            ..toy_policy()
        },
        toy_policy(),
    );
    world.run(Duration::from_secs(300));
    assert!(world.ends[1].sa.is_established(), "the peer answers");
    world.faults.loss = 100;
    world.run(Duration::from_secs(29 + 30 + 5 * 5));
    assert!(world.ends[1].sa.is_finished());
    let [
        ..,
        Output::ChildDown {
            reason: ChildEnd::PeerDead,
            ..
        },
        Output::Down { reason },
    ] = &world.ends[1].events[..]
    else {
        panic!("{:?}", world.ends[1].events)
    };
    assert_eq!(*reason, DownReason::PeerDead);
}

// conformance: 3706-05
#[test]
fn traffic_keeps_the_question_away() {
    let mut world = World::up(
        12,
        Policy {
            dpd: None,
            ..toy_policy()
        },
        toy_policy(),
    );
    let sent = world.ends[1].sent.len();
    for _ in 0..100 {
        world.run(Duration::from_secs(20));
        world.act(1, |end, now, _| end.sa.saw_traffic(now));
    }
    assert_eq!(world.ends[1].sent.len(), sent);
}

#[test]
fn renewal_of_phase_one_is_asked_for_and_then_it_ends() {
    let policy = Policy {
        phase1_lifetime: Duration::from_secs(1000),
        ..toy_policy()
    };
    let mut world = World::up(13, policy.clone(), policy);
    world.run(Duration::from_secs(790));
    let due = |world: &World| count(world, 1, |event| matches!(event, Output::RenewalDue));
    assert_eq!(due(&world), 0);
    world.run(Duration::from_secs(115));
    assert_eq!(due(&world), 1);
    world.run(Duration::from_secs(100));
    assert!(
        world
            .ends
            .iter()
            .all(|end| end.sa.is_down() && end.children.len() == 1)
    );
}

// conformance: 2408-25
#[test]
fn old_messages_of_every_kind_are_only_copies() {
    let mut world = World::up(14, toy_policy(), toy_policy());
    world.run(Duration::from_secs(100));
    let state = format!("{:?}", world.ends[1].children);
    let (at, from) = world.ends[1].sa.path();
    for message in world.ends[0].sent.clone() {
        let mut out = Vec::new();
        let (now, end) = (world.now, &mut world.ends[1]);
        let result = end
            .sa
            .handle_input(now, at, from, &message, &mut end.env, &mut out);
        assert!(
            out.iter()
                .all(|output| matches!(output, Output::Send { .. })),
            "{out:?}"
        );
        assert!(
            matches!(result, Ok(()) | Err(Refusal::Duplicate)),
            "{result:?}"
        );
    }
    assert_eq!(format!("{:?}", world.ends[1].children), state);
}

#[test]
fn copies_are_not_answered_without_end() {
    let mut world = World::up(15, toy_policy(), toy_policy());
    let message = world.ends[0].sent[2].clone();
    let (at, from) = world.ends[1].sa.path();
    let mut answers = 0;
    for _ in 0..100 {
        let mut out = Vec::new();
        let (now, end) = (world.now, &mut world.ends[1]);
        let _ = end
            .sa
            .handle_input(now, at, from, &message, &mut end.env, &mut out);
        answers += out.len();
    }
    assert_eq!(answers, 16);
}
