//! NATs between the two ends, real and pretended.

use std::net::SocketAddr;
use std::time::Duration;

use super::world::{CLIENT, GATEWAY, Nat, World, address, toy_policy};
use crate::message::{Padding, kind};
use crate::nat::{VID_DRAFT_02_NEWLINE, VID_DRAFT_03, VID_RFC3947};
use crate::policy::Natt;
use crate::{NatSituation, Output, Refusal};

const NAT: Nat = Nat {
    public: std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7)),
    shift: 1000,
};

fn up_behind_nat(seed: u64) -> World {
    let mut world = World::behind(Some(NAT), seed, toy_policy(), toy_policy());
    world.establish();
    world.create_child(0);
    world.run(Duration::from_secs(2));
    world.check_children();
    world
}

fn situation(world: &World, end: usize) -> NatSituation {
    world.ends[end].sa.isakmp().nat
}

// conformance: 3947-01 3947-02 3947-07 3947-08 3947-13 3947-19
#[test]
fn a_nat_before_the_client_is_found_and_the_path_moves_to_4500() {
    let world = up_behind_nat(1);
    let (client, gateway) = (situation(&world, 0), situation(&world, 1));
    assert!(client.local_behind && !client.remote_behind);
    assert!(gateway.remote_behind && !gateway.local_behind);
    assert!(
        world.ends[1]
            .children
            .values()
            .all(|child| child.encapsulated)
    );
    let path: (SocketAddr, SocketAddr) =
        (address("198.51.100.1:4500"), address("203.0.113.7:5500"));
    assert_eq!(world.ends[1].sa.path(), path);
    let moved = |event: &&Output| matches!(event, Output::RemoteMoved { local, remote } if (*local, *remote) == path);
    assert_eq!(world.ends[1].events.iter().filter(moved).count(), 1);
    assert_eq!(world.ends[0].sa.path().1, address("198.51.100.1:4500"));
}

// conformance: 3947-21 3193-18
#[test]
fn nat_oa_says_what_each_end_believes() {
    let world = up_behind_nat(2);
    let [client, gateway] = [0, 1].map(|end| world.ends[end].children.values().next().unwrap());
    assert_eq!(gateway.remote_original, Some(address(CLIENT).ip()));
    assert_eq!(gateway.local_original, Some(address(GATEWAY).ip()));
    assert_eq!(client.local_original, Some(NAT.public));
    assert_eq!(client.remote_original, Some(address(GATEWAY).ip()));
    assert_eq!(
        gateway.remote.identity.host(),
        Some(address(CLIENT).ip()),
        "its private address"
    );
}

// conformance: 3947-19 3947-22
#[test]
fn without_a_nat_nothing_moves_and_nothing_is_wrapped() {
    let world = World::up(3, toy_policy(), toy_policy());
    assert_eq!(world.ends[0].sa.path().0.port(), 500);
    let child = world.ends[1].children.values().next().unwrap();
    assert!(!child.encapsulated && child.remote_original.is_none());
}

#[test]
fn either_end_can_force_encapsulation() {
    for forcing in [0, 1] {
        let mut policies = [toy_policy(), toy_policy()];
        policies[forcing].natt = Natt::Force;
        let [client, gateway] = policies;
        let world = World::up(4, client, gateway);
        assert!(
            world
                .ends
                .iter()
                .all(|end| end.children.values().all(|child| child.encapsulated))
        );
        assert_eq!(world.ends[1].sa.path().1, address("192.0.2.10:4500"));
        assert!(situation(&world, forcing).forced);
        assert!(
            situation(&world, 1 - forcing).remote_behind,
            "the other end believes it"
        );
        assert!(!situation(&world, forcing).local_behind);
    }
}

// conformance: 3948-13 3947-28
#[test]
fn only_the_end_behind_the_nat_sends_keepalives() {
    let mut world = up_behind_nat(5);
    let keepalives = |world: &World, end: usize| {
        let is = |event: &&Output| matches!(event, Output::Keepalive { .. });
        world.ends[end].events.iter().filter(is).count()
    };
    assert_eq!(keepalives(&world, 0), 0);
    // DPD speaks every 30 seconds, so that some keepalives are not needed.
    world.run(Duration::from_secs(200));
    assert!(
        (6..=10).contains(&keepalives(&world, 0)),
        "{}",
        keepalives(&world, 0)
    );
    assert_eq!(keepalives(&world, 1), 0);
}

// conformance: 3947-26
#[test]
fn a_new_mapping_is_followed_from_fresh_authentic_messages_only() {
    let mut world = up_behind_nat(6);
    let before = world.ends[1].sa.path();
    // A copy of an old message from elsewhere moves nothing, though it is authentic.
    let old = world.ends[0].sent.clone();
    for message in old {
        let from = address("203.0.113.99:7777");
        world.act(1, |end, now, out| {
            let _ = end
                .sa
                .handle_input(now, before.0, from, &message, &mut end.env, out);
            out.clear();
        });
    }
    assert_eq!(world.ends[1].sa.path(), before);
    world.nat = Some(Nat { shift: 2000, ..NAT });
    world.create_child(0);
    world.run(Duration::from_secs(5));
    assert_eq!(world.ends[1].sa.path().1, address("203.0.113.7:6500"));
    world.check_children();
}

// conformance: 3947-16
#[test]
fn main_mode_on_port_500_is_old_after_the_move() {
    let mut world = up_behind_nat(7);
    let first = world.ends[0].sent[0].clone();
    let (at, from) = (address(GATEWAY), address("203.0.113.7:1500"));
    world.act(1, |end, now, out| {
        let result = end
            .sa
            .handle_input(now, at, from, &first, &mut end.env, out);
        assert_eq!(result, Err(Refusal::OldPort));
        assert!(out.is_empty());
    });
}

// conformance: 3947-06 3947-30
#[test]
fn drafts_are_spoken_with_those_who_know_no_better() {
    for (keep, draft_kind) in [
        (VID_DRAFT_03, kind::NAT_D_DRAFT),
        (VID_DRAFT_02_NEWLINE, kind::NAT_D_DRAFT),
    ] {
        let mut world = World::behind(Some(NAT), 8, toy_policy(), toy_policy());
        world.edit_first(|message| {
            // What the client does not want to be known by is replaced with something unknown.
            for vid in [
                VID_RFC3947,
                VID_DRAFT_03,
                VID_DRAFT_02_NEWLINE,
                crate::nat::VID_DRAFT_02,
            ] {
                let at = message
                    .windows(16)
                    .position(|window| window == vid)
                    .unwrap();
                if vid != keep {
                    message[at] ^= 0xFF;
                }
            }
        });
        world.establish();
        world.create_child(0);
        world.run(Duration::from_secs(2));
        world.check_children();
        let child = world.ends[1].children.values().next().unwrap();
        assert!(child.encapsulated);
        assert_eq!(child.remote_original, Some(address(CLIENT).ip()));
        assert_eq!(child.local_original, None, "drafts have one NAT-OA");
        let message3 = &world.ends[0].sent[1];
        let header = crate::peek(message3).unwrap();
        let chain =
            crate::message::Chain::parse(header.next_payload, &message3[28..], Padding::None);
        assert_eq!(chain.unwrap().all(draft_kind).count(), 2);
    }
}

// conformance: 3947-15
#[test]
fn a_main_mode_may_begin_on_port_4500() {
    let mut world = World::new(9, toy_policy(), toy_policy());
    world.on_4500();
    world.establish();
    assert_eq!(
        world.ends[1].sa.path(),
        (address("198.51.100.1:4500"), address("192.0.2.10:4500"))
    );
    world.create_child(0);
    world.run(Duration::from_secs(2));
    world.check_children();
}
