//! Every limit has a name, and a test that reaches it.

use std::net::Ipv4Addr;
use std::time::Duration;

use dataplane::change::{Class, Origin, Punt};

use super::secured::{secured, secured_settings, secured_with};
use super::world::{World, plain_settings};
use crate::admin::{Request, Response};
use crate::{Input, ids};

const AFTERWARDS: Duration = Duration::from_secs(180);

/// Client 0 sends a first message from this address, and is gone.
fn knock(world: &mut World, address: [u8; 4]) {
    knock_of(world, 0, address);
}

fn knock_of(world: &mut World, client: usize, address: [u8; 4]) {
    let now = world.now;
    let client = &mut world.clients[client];
    client.crash();
    client.address = Ipv4Addr::from(address);
    client.dial(now);
    client.sas.clear();
    client.tunnel = None;
    world.settle();
}

#[test]
fn half_open_exchanges_are_limited_per_source() {
    let mut settings = secured_settings(1);
    settings.limits.half_open_ike_per_source = 2;
    let mut world = secured_with(settings, 1);
    (0..5).for_each(|_| knock(&mut world, [198, 51, 100, 1]));
    assert_eq!(world.control.ike.half_open.len(), 2);
    assert_eq!(world.count("half-open exchanges that never answered"), 3);
    world.run(AFTERWARDS);
    world.assert_empty();
}

#[test]
fn half_open_exchanges_are_limited_in_all() {
    let mut settings = secured_settings(1);
    settings.limits.half_open_ike = 3;
    let mut world = secured_with(settings, 1);
    (0..5).for_each(|n| knock(&mut world, [198, 51, 100, n]));
    assert_eq!(world.control.ike.half_open.len(), 3);
    assert_eq!(world.count("half-open exchanges that never answered"), 2);
    world.run(AFTERWARDS);
    world.assert_empty();
}

#[test]
fn who_answers_is_not_kept_out_by_first_messages_of_many_addresses() {
    let mut settings = secured_settings(2);
    settings.limits.half_open_ike = 3;
    let mut world = secured_with(settings, 2);
    (0..50).for_each(|n| knock(&mut world, [198, 51, 100, n]));
    world.dial(1);
    assert!(world.inner(1).is_some());
}

#[test]
fn an_exchange_whose_peer_has_answered_does_not_make_room() {
    let mut settings = secured_settings(3);
    settings.limits.half_open_ike = 2;
    settings.limits.half_open_ike_per_source = 1;
    let mut world = secured_with(settings, 3);
    // The gateway does not get on with its public-key work: they have sent message 3.
    world.jobs = Some(Vec::new());
    world.dial(0);
    knock_of(&mut world, 2, [198, 51, 0, 1]);
    assert_eq!(world.count("half-open exchanges of one source"), 1);
    world.dial(1);
    knock_of(&mut world, 2, [198, 51, 100, 99]);
    assert_eq!(world.count("half-open exchanges at their limit"), 1);
    assert_eq!(world.count("never answered"), 0);
    for (token, job) in world.jobs.take().unwrap_or_default() {
        world.computed(token, job);
    }
    world.run(Duration::from_secs(1));
    assert!(world.inner(0).is_some() && world.inner(1).is_some());
}

#[test]
fn long_messages_of_strangers_are_limited_in_all_and_per_source() {
    let mut world = secured(1);
    // A main mode that is never answered: its first message, with a long tail.
    let mut message = vec![7; 2000];
    message[8..16].fill(0);
    message[16..20].copy_from_slice(&[1, 0x10, 2, 0]);
    message[20..24].fill(0);
    message[24..28].copy_from_slice(&2000_u32.to_be_bytes());
    let mut post = |from: [u8; 4]| {
        let [local, remote] = [[192, 0, 2, 1], from]
            .map(|address| packet::Endpoint::new(Ipv4Addr::from(address).into(), 500));
        let worker = dataplane::id::WorkerId(0);
        let punt = Punt {
            class: Class::Stranger,
            origin: Origin::Ike {
                worker,
                local,
                remote,
            },
            bytes: message.clone(),
        };
        let now = world.now;
        world.control.handle_input(now, Input::Punt(punt));
        world.settle();
        world.count("long messages of strangers")
    };
    assert_eq!((0..8).map(|_| post([198, 51, 100, 1])).max(), Some(0));
    assert_eq!(post([198, 51, 100, 1]), 1);
    assert_eq!((0..56).map(|n| post([198, 51, 101, n])).max(), Some(1));
    assert_eq!(post([198, 51, 102, 1]), 2);
    world.run(Duration::from_secs(1));
    world.dial(0);
    assert!(world.inner(0).is_some());
}

#[test]
fn half_open_tunnels_are_limited_in_all_and_per_source() {
    let mut settings = plain_settings(1);
    settings.limits.half_open_l2tp = 3;
    settings.limits.half_open_l2tp_per_source = 2;
    let mut world = World::new(settings, 1);
    for n in 0..4 {
        world.clients[0].port = 5000 + n;
        knock(&mut world, [198, 51, 100, 1]);
    }
    (2..5).for_each(|n| knock(&mut world, [198, 51, 100, n]));
    assert_eq!(world.control.tunnels.half_open.len(), 3);
    assert_eq!(world.fast.plain.len(), 3);
    assert_eq!(world.count("half-open tunnels that never answered"), 4);
    world.run(AFTERWARDS);
    world.assert_empty();
}

#[test]
fn a_lac_that_answers_is_not_kept_out_by_sccrqs_of_many_addresses() {
    let mut settings = plain_settings(2);
    settings.limits.half_open_l2tp = 3;
    let mut world = World::new(settings, 2);
    (0..50).for_each(|n| knock(&mut world, [198, 51, 100, n]));
    world.dial(1);
    assert!(world.inner(1).is_some());
    // Ids of tunnels that never were do not rest.
    let ids = &world.control.tunnels.ids[&0];
    assert_eq!(ids.at_rest(), 0);
}

#[test]
fn peers_are_limited() {
    let mut settings = secured_settings(3);
    settings.limits.peers = 2;
    let mut world = secured_with(settings, 3);
    (0..3).for_each(|n| world.dial(n));
    assert_eq!(world.fast.paths.len(), 2);
    assert_eq!(world.inner(2), None);
    assert_eq!(world.count("peers at their limit"), 1);
    assert_eq!(world.lines.with("a limit is reached").len(), 1);
}

#[test]
fn peers_of_one_source_are_limited() {
    let mut settings = secured_settings(5);
    settings.limits.peers_per_source = 2;
    let world = dial_from_one_address(settings);
    assert_eq!(world.fast.paths.len(), 3);
    assert!(world.count("ike: peers of one source") >= 2);
    assert!(!world.lines.with("IKE peers of one source").is_empty());
}

#[test]
fn tunnels_are_limited() {
    let mut settings = plain_settings(3);
    settings.limits.tunnels = 2;
    let mut world = World::new(settings, 3);
    (0..3).for_each(|n| world.dial(n));
    assert_eq!(world.fast.plain.len(), 2);
    assert!(world.count("l2tp: tunnels at their limit") >= 1);
}

/// Clients 0 to 3 dial from behind one NAT, client 4 from elsewhere.
fn dial_from_one_address(settings: crate::Settings) -> World {
    let mut world = match settings.listeners[0].ipsec_required {
        true => secured_with(settings, 5),
        false => World::new(settings, 5),
    };
    for n in 0..4 {
        world.clients[n].address = Ipv4Addr::new(198, 51, 100, 1);
        let port = 5000 + 10 * n as u16;
        world.clients[n].nat = Some((Ipv4Addr::new(10, 0, 0, 1), [port, port + 1]));
    }
    (0..5).for_each(|n| world.dial(n));
    assert!(world.inner(4).is_some());
    world
}

#[test]
fn tunnels_in_the_clear_are_limited_per_source() {
    let mut settings = plain_settings(5);
    settings.limits.tunnels_per_source = 2;
    let mut world = dial_from_one_address(settings);
    assert_eq!(world.fast.plain.len(), 3);
    assert!(world.count("l2tp: tunnels of one source") >= 2);
    let now = world.now;
    world.clients[0].hang_up(now);
    // Until the closed tunnel has answered the last repeat.
    world.run(Duration::from_secs(60));
    world.dial(3);
    assert!(world.inner(3).is_some());
}

#[test]
fn sessions_in_the_clear_are_limited_per_source() {
    let mut settings = plain_settings(5);
    settings.limits.sessions_per_source = 3;
    let mut world = dial_from_one_address(settings);
    assert_eq!(world.fast.sessions.len(), 4);
    assert_eq!(world.count("sessions of one source"), 1);
    assert!(world.clients[3].ends[0].starts_with("call:"));
    let now = world.now;
    world.clients[0].hang_up(now);
    world.run(Duration::from_secs(60));
    world.dial(3);
    assert!(world.inner(3).is_some());
}

#[test]
fn tunnels_of_one_peer_are_limited() {
    let mut settings = secured_settings(1);
    settings.limits.tunnels_per_peer = 2;
    let mut world = secured_with(settings, 1);
    world.dial(0);
    for _ in 0..3 {
        let now = world.now;
        world.clients[0].dial_l2tp(now);
        world.settle();
    }
    assert_eq!(world.control.tunnels.by_key.len(), 2);
    assert!(world.count("tunnels of one peer") >= 2);
}

#[test]
fn slots_of_a_shard_are_limited_and_their_end_is_survived() {
    let mut settings = plain_settings(200);
    settings.limits.slots_per_shard = 1;
    settings.limits.half_open_l2tp_per_source = 1000;
    let mut world = World::new(settings, 200);
    (0..200).for_each(|n| world.dial(n));
    assert_eq!(world.fast.plain.len(), 64);
    assert!(world.count("no tunnel id left") >= 1);
}

/// A peer that finds no tunnel id left hears it, and nothing of it stays here.
#[test]
fn a_listener_that_is_out_of_tunnel_ids_says_so_to_the_peer() {
    let mut world = World::new(plain_settings(2), 2);
    let ids = world.control.tunnels.ids.entry(0).or_default();
    (1..ids::NOBODY).for_each(|id| ids.give_back(world.now, id));
    world.dial(0);
    let said = "tunnel: peer closed it: general error (2), insufficient resources (4): at their \
                limit: L2TP tunnel ids of one listener or peer";
    assert_eq!(world.clients[0].ends, [said]);
    assert_eq!(world.count("no tunnel id left"), 1);
    assert_eq!(world.count("no room for answered"), 1);
    let limit = world.lines.with("a limit is reached");
    assert!(limit.iter().any(|line| line.contains("tunnel ids")));
    assert!(world.control.tunnels.by_key.is_empty() && world.fast.plain.is_empty());
    // Nor is its acknowledgement of the refusal answered.
    assert_eq!(world.count("unknown tunnels answered"), 0);
}

#[test]
fn tunnels_without_room_are_answered_so_many_times_a_second() {
    let mut settings = plain_settings(1);
    (
        settings.limits.tunnels,
        settings.limits.refused_tunnel_answers,
    ) = (0, 5);
    let mut world = World::new(settings, 1);
    (0..50).for_each(|n| knock(&mut world, [198, 51, 100, n]));
    assert_eq!(world.count("l2tp: tunnels at their limit"), 50);
    assert_eq!(world.count("no room for answered"), 5);
}

/// Silence makes a LAC repeat its SCCRQ, and by then there is room; a StopCCN would make it give up.
#[test]
fn half_open_tunnels_at_their_limit_are_passed_over_in_silence() {
    let mut settings = plain_settings(1);
    settings.limits.half_open_l2tp = 0;
    let mut world = World::new(settings, 1);
    world.dial(0);
    assert_eq!(world.count("half-open tunnels at their limit"), 1);
    assert_eq!(world.count("no room for answered"), 0);
    assert!(world.clients[0].ends.is_empty());
}

#[test]
fn unknown_tunnels_are_answered_so_many_times_a_second() {
    let mut settings = plain_settings(1);
    settings.limits.unknown_tunnel_answers = 5;
    let mut world = World::new(settings, 1);
    let hello = vec![
        0xc8, 0x02, 0, 20, 0x12, 0x34, 0, 0, 0, 0, 0, 0, 0x80, 8, 0, 0, 0, 0, 0, 6,
    ];
    let [local, remote] = [[192, 0, 2, 1], [198, 51, 100, 9]]
        .map(|address| packet::Endpoint::new(Ipv4Addr::from(address).into(), 1701));
    for _ in 0..50 {
        let punt = world.fast.plain_l2tp(local, remote, hello.clone());
        let now = world.now;
        world.control.handle_input(now, Input::Punt(punt));
        world.settle();
    }
    assert_eq!(world.count("messages for an unknown tunnel"), 50);
    assert_eq!(world.count("unknown tunnels answered"), 5);
}

#[test]
fn computations_under_way_are_limited_and_the_rest_waits() {
    let mut settings = secured_settings(8);
    settings.limits.computations = 2;
    let mut world = secured_with(settings, 8);
    world.jobs = Some(Vec::new());
    (0..8).for_each(|n| world.dial(n));
    let mut most = 0;
    while let Some((token, job)) = world.jobs.as_mut().unwrap().pop() {
        most = most.max(world.jobs.as_ref().unwrap().len() + 1);
        world.computed(token, job);
        world.settle();
    }
    assert_eq!(most, 2);
    assert!((0..8).all(|n| world.inner(n).is_some()));
    assert!(world.count("computations that had to wait") >= 6);
}

#[test]
fn a_stale_computation_is_dropped() {
    let mut world = secured(1);
    world.jobs = Some(Vec::new());
    knock(&mut world, [198, 51, 100, 1]);
    world.control.handle_input(
        world.now,
        Input::Computed {
            token: 12345,
            outcome: crypto::dh::Outcome::BadPublicValue,
        },
    );
    assert_eq!(world.count("answered too late"), 1);
}

#[test]
fn an_operator_may_ask_so_many_things_at_once() {
    let mut settings = plain_settings(1);
    settings.limits.admin_requests = 2;
    let mut world = World::new(settings, 1);
    for request in 0..3 {
        let query = Request::Counters;
        let now = world.now;
        world
            .control
            .handle_input(now, Input::Admin { request, query });
    }
    world.settle();
    let refused = |reply: &&(u64, Response, bool)| matches!(reply.1, Response::Refused(_));
    assert_eq!(world.replies.iter().filter(refused).count(), 1);
    assert_eq!(world.replies.len(), 3);
}

#[test]
fn a_reconnect_storm_keeps_its_backlog_bounded_and_converges() {
    const CLIENTS: usize = 200;
    let mut settings = plain_settings(CLIENTS);
    settings.limits.backlog = 50;
    let mut world = World::new(settings, CLIENTS as u32);
    let now = world.now;
    for client in &mut world.clients {
        client.dial(now);
    }
    world.settle();
    assert!(world.count("strangers dropped: backlog full") > 0);
    world.run(Duration::from_secs(60));
    assert!((0..CLIENTS).all(|n| world.inner(n).is_some()));
}

#[test]
fn lines_about_strangers_are_limited() {
    let mut world = secured(1);
    let mut policy = super::secured::policy();
    policy.phase1[0].cipher = crypto::cipher::Algorithm::TripleDesCbc;
    world.clients[0].policy = Some(std::sync::Arc::new(policy));
    (0..100).for_each(|n| knock(&mut world, [198, 51, 100, n]));
    assert_eq!(world.count("proposals refused"), 100);
    assert!(world.lines.with("INFO").len() <= 20);
    assert!(world.count("lines about strangers held back") >= 80);
}

#[test]
fn keys_are_not_tried_for_ever_on_one_main_mode() {
    let mut world = secured(1);
    // It stays half-open: the answer to message 3 is never computed.
    world.jobs = Some(Vec::new());
    world.dial(0);
    let cookies = world.clients[0].sas[0].cookies();
    let mut message = vec![0; 28 + 64];
    message[..8].copy_from_slice(&cookies.initiator.0);
    message[8..16].copy_from_slice(&cookies.responder.0);
    // An encrypted identification, of which nothing can be read.
    message[16..20].copy_from_slice(&[5, 0x10, 2, 1]);
    message[24..28].copy_from_slice(&92_u32.to_be_bytes());
    let [local, remote] = [
        packet::Endpoint::new(super::world::GATEWAY.into(), 500),
        world.clients[0].outer(500),
    ];
    for n in 0..40 {
        message[91] = n;
        let origin = Origin::Ike {
            worker: dataplane::id::WorkerId(0),
            local,
            remote,
        };
        let punt = Punt {
            class: Class::InProgress,
            origin,
            bytes: message.clone(),
        };
        world.control.handle_input(world.now, Input::Punt(punt));
        world.settle();
    }
    assert_eq!(world.count("given up after too many refused"), 1);
    assert_eq!(world.control.ike.half_open.len(), 0);
}
