//! What a subscriber gets, and how the machine behaves as a whole.

use std::time::Duration;

use dataplane::change::Rate;
use dataplane::id::{ShardId, WorkerId};
use l2tp::{CallParameters, SessionId, TunnelId};
use packet::Endpoint;

use super::secured::{secured, secured_settings, secured_with};
use super::world::{GATEWAY, World, plain_settings};
use crate::Input;
use crate::admin::{Request, Response};

const A_SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_user_with_a_fixed_address_and_prefixes_gets_them() {
    let mut settings = plain_settings(1);
    settings.users[0].address = Some("192.0.2.77".parse().unwrap());
    settings.users[0].prefixes = vec!["192.168.5.0/24".parse().unwrap()];
    let mut world = World::new(settings, 1);
    world.dial(0);
    assert_eq!(world.inner(0).unwrap().to_string(), "192.0.2.77");
    let attached: Vec<String> = world
        .fast
        .attached
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(attached, ["192.0.2.77/32", "192.168.5.0/24"]);
    let now = world.now;
    world.clients[0].hang_up(now);
    world.run(Duration::from_secs(60));
    world.assert_empty();
}

#[test]
fn a_user_without_a_rate_has_the_profiles_and_without_either_no_policer_is_set() {
    let rate = |kbit: u64| Rate {
        bits_per_second: kbit * 1000,
        burst: 1500,
    };
    for (of_profile, of_user, expected) in [
        (None, None, None),
        (Some(rate(8)), None, Some(rate(8))),
        (Some(rate(8)), Some(rate(9)), Some(rate(9))),
    ] {
        let mut settings = plain_settings(1);
        (settings.profiles[0].up, settings.users[0].up) = (of_profile, of_user);
        let mut world = World::new(settings, 1);
        world.dial(0);
        assert!(world.inner(0).is_some());
        let policers: Vec<_> = world.fast.policers.values().copied().collect();
        let expected: Vec<_> = expected.map(|up| (Some(up), None)).into_iter().collect();
        assert_eq!(policers, expected);
    }
}

#[test]
fn sessions_end_when_their_time_is_up_or_when_they_are_idle() {
    for (session, idle, seconds, reason) in [
        (Some(100), None, 100, "session time-out"),
        (Some(900), Some(50), 50, "idle time-out"),
    ] {
        let mut settings = plain_settings(1);
        settings.profiles[0].session_timeout = session.map(Duration::from_secs);
        settings.profiles[0].idle_timeout = idle.map(Duration::from_secs);
        let mut world = World::new(settings, 1);
        world.dial(0);
        world.run(Duration::from_secs(seconds) - A_SECOND);
        assert!(world.inner(0).is_some());
        world.run(A_SECOND);
        assert_eq!(world.inner(0), None);
        let ended = world.lines.with("session ended");
        assert!(ended[0].contains(reason), "{ended:?}");
    }
}

#[test]
fn keys_are_handed_out_only_when_asked_for() {
    for (key_log, is_some) in [(false, false), (true, true)] {
        let mut settings = secured_settings(1);
        settings.key_log = key_log;
        let mut world = secured_with(settings, 1);
        world.dial(0);
        assert_eq!(world.key_logs > 0, is_some);
    }
}

#[test]
fn shards_move_while_clients_dial_and_nothing_is_lost() {
    const CLIENTS: usize = 40;
    let mut world = secured(CLIENTS as u32);
    for n in 0..CLIENTS {
        world.dial(n);
        let to = WorkerId(n as u8 % 2);
        for shard in ShardId::all() {
            let now = world.now;
            world
                .control
                .handle_input(now, Input::GiveShard { shard, to });
        }
        world.settle();
    }
    assert!(world.fast.shards_given > 64);
    assert!((0..CLIENTS).all(|n| world.inner(n).is_some()));
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = || {
        let mut world = secured(10);
        (0..10).for_each(|n| world.dial(n));
        world.run(Duration::from_secs(4000));
        let spis: Vec<u32> = world.fast.inbound.keys().copied().collect();
        (world.lines.all(), world.fast.history, spis)
    };
    assert_eq!(run(), run());
}

#[test]
fn nobody_is_asked_who_he_is_where_no_method_is_set() {
    let mut settings = plain_settings(0);
    settings.listeners[0].ppp.auth = Vec::new();
    let mut world = World::new(settings, 2);
    world.dial(0);
    world.dial(1);
    let [first, second] = [0, 1].map(|n| world.inner(n).unwrap());
    assert_ne!(first, second);
}

#[test]
fn the_books_of_the_pools_can_be_held_against_the_sessions() {
    let mut world = World::new(plain_settings(5), 5);
    (0..5).for_each(|n| world.dial(n));
    world.run(A_SECOND);
    let verified = world.ask(Request::VerifyPools);
    assert_eq!(verified, [Response::Verified(Vec::new())]);
}

#[test]
fn the_calls_of_a_fat_tunnel_are_spread_over_the_shards() {
    const CALLS: u16 = 400;
    let mut world = World::new(plain_settings(0), 0);
    let mut random = crypto::Random::from_seed([1; 32]);
    let settings = std::sync::Arc::new(l2tp::Settings::default());
    let mut out = Vec::new();
    let now = world.now;
    let mut lac = l2tp::Tunnel::dial(settings, TunnelId(1), now, &mut random, &mut out);
    for call in 1..=CALLS {
        lac.place_call(now, SessionId(call), CallParameters::default(), &mut out);
    }
    let [local, remote] =
        [GATEWAY, [198, 51, 100, 9].into()].map(|ip| Endpoint::new(ip.into(), 1701));
    while !out.is_empty() {
        for output in std::mem::take(&mut out) {
            if let l2tp::Output::Send(message) = output {
                let punt = world.fast.plain_l2tp(local, remote, message);
                world.control.handle_input(now, Input::Punt(punt));
            }
        }
        for message in world.drain_plain_l2tp() {
            let _ = lac.handle_input(now, &message, &mut random, &mut out);
        }
    }
    assert_eq!(world.fast.sessions.len(), usize::from(CALLS));
    let mut shards: Vec<ShardId> = world
        .fast
        .sessions
        .keys()
        .map(|slot| slot.0.shard())
        .collect();
    shards.sort();
    shards.dedup();
    assert_eq!(shards.len(), 64);
    for (slot, session) in &world.fast.sessions {
        assert_eq!(ShardId::of(session.session.into()), slot.0.shard());
    }
}
