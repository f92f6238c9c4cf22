//! Main mode, quick mode and informational from end to end.

use std::sync::Arc;
use std::time::Duration;

use crypto::dh::Group;
use crypto::esp::Suite;

use super::world::{CLIENT, Faults, GATEWAY, World, address, policy_with, psk, toy_policy};
use crate::message::{Chain, Exchange, HEADER_LEN, Padding, kind, peek};
use crate::output::{ChildEnd, DownReason};
use crate::policy::{Natt, Policy};
use crate::v1::Sa;
use crate::v1::core::Core;
use crate::{Cookies, Identity, Output, Refusal};

#[test]
fn two_ends_agree_on_keys() {
    let world = World::up(1, toy_policy(), toy_policy());
    let child = world.ends[1].children.values().next().unwrap();
    assert_eq!(child.suite, Suite::AesGcm16 { key_bits: 256 });
    assert_eq!((child.remote.port, child.local.port), (1701, 1701));
    assert!(!child.encapsulated && !child.initiator);
    let isakmp = world.ends[1].sa.isakmp();
    assert_eq!(isakmp.keys.suite().to_string(), "AES256/SHA1/TOY");
    assert_eq!(isakmp.identity, "192.0.2.10".parse::<Identity>().unwrap());
    assert!(isakmp.dpd);
}

// conformance: 2409-12 2409-19 2409-20 2409-21 2409-39 2409-40 2409-41
#[test]
fn two_ends_agree_in_every_group() {
    for group in [
        Group::Modp1024,
        Group::Modp1536,
        Group::Modp2048,
        Group::Modp3072,
        Group::Modp4096,
        Group::Ecp256,
        Group::Ecp384,
    ] {
        World::up(2, policy_with(group), policy_with(group));
    }
}

#[test]
fn every_policy_agrees_with_itself() {
    for policy in [Policy::modern(), Policy::compat(), Policy::strict()] {
        let policy = Policy {
            psks: vec![psk(b"x")],
            ..policy
        };
        World::up(3, policy.clone(), policy);
    }
}

// conformance: 2408-25
#[test]
fn a_bad_wire_delays_and_does_not_break() {
    let mut with_children = 0;
    for seed in 0..200 {
        let mut policy = toy_policy();
        policy.setup_limit = Duration::from_secs(60);
        let mut world = World::new(seed, policy.clone(), policy);
        world.faults = Faults {
            loss: 20,
            copies: 30,
            jitter: 200,
        };
        world.run(Duration::from_secs(60));
        if !world.ends.iter().all(|end| end.sa.is_established()) {
            continue;
        }
        world.create_child(0);
        world.run(Duration::from_secs(60));
        // Either end may have lost patience; then the other end was told, if that was not lost too.
        if world.ends.iter().all(|end| !end.children.is_empty()) {
            world.check_children();
            with_children += 1;
        }
    }
    assert!(with_children >= 190, "{with_children} of 200");
}

#[test]
fn nearly_all_set_ups_survive_a_bad_wire() {
    let up = (0..200u64)
        .filter(|seed| {
            let mut world = World::new(*seed, toy_policy(), toy_policy());
            world.faults = Faults {
                loss: 10,
                copies: 10,
                jitter: 100,
            };
            world.run(Duration::from_secs(29));
            world.ends.iter().all(|end| end.sa.is_established())
        })
        .count();
    assert!(up >= 195, "{up} of 200");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let mut world = World::new(seed, toy_policy(), toy_policy());
        world.faults = Faults {
            loss: 20,
            copies: 20,
            jitter: 50,
        };
        world.run(Duration::from_secs(40));
        world.ends.map(|end| end.sent)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

// conformance: 2409-26
#[test]
fn perfect_forward_secrecy_is_taken_when_offered() {
    let mut client = toy_policy();
    client.pfs = Some(Group::Ecp256);
    let mut gateway = toy_policy();
    gateway.pfs_required = true;
    World::up(4, client, gateway);
}

// conformance: 2409-27
#[test]
fn perfect_forward_secrecy_can_be_required() {
    let mut gateway = toy_policy();
    gateway.pfs_required = true;
    let mut world = World::new(5, toy_policy(), gateway);
    world.establish();
    world.create_child(0);
    world.run(Duration::from_secs(5));
    assert!(world.ends[1].refusals.contains(&Refusal::PfsRequired));
    let failed = |output: &Output| {
        matches!(
            output,
            Output::ChildFailed {
                reason: ChildEnd::Refused,
                inbound: Some(_)
            }
        )
    };
    assert!(
        world.ends[0].events.iter().any(failed),
        "{:?}",
        world.ends[0].events
    );
}

#[test]
fn a_group_outside_the_policy_is_refused_for_forward_secrecy() {
    let mut client = toy_policy();
    client.pfs = Some(Group::Modp1024);
    let mut gateway = toy_policy();
    gateway.pfs_groups = Policy::modern().pfs_groups;
    let mut world = World::new(6, client, gateway);
    world.establish();
    world.create_child(0);
    world.run(Duration::from_secs(5));
    assert!(world.ends[1].children.is_empty());
    assert!(world.ends[1].refusals.contains(&Refusal::ProposalRefused));
}

// conformance: 2409-23
#[test]
fn one_of_several_keys_for_any_address_opens() {
    let mut gateway = toy_policy();
    gateway.psks = (0..15u8)
        .map(|n| psk(&[n]))
        .chain([psk(b"open sesame")])
        .collect();
    World::up(8, toy_policy(), gateway);
}

#[test]
fn a_key_beyond_the_limit_is_not_tried() {
    let mut gateway = toy_policy();
    gateway.psks = (0..16u8)
        .map(|n| psk(&[n]))
        .chain([psk(b"open sesame")])
        .collect();
    let mut world = World::new(9, toy_policy(), gateway);
    world.run(Duration::from_secs(2));
    assert!(world.ends[1].refusals.contains(&Refusal::WrongPreSharedKey));
}

#[test]
fn a_more_specific_key_comes_first() {
    let mut gateway = toy_policy();
    gateway.psks[0].peer = Some("192.0.2.0/24".parse().unwrap());
    gateway.psks.extend((0..20u8).map(|n| psk(&[n])));
    World::up(10, toy_policy(), gateway);
}

#[test]
fn a_wrong_key_fails_in_silence_and_says_so_to_the_operator() {
    let mut gateway = toy_policy();
    gateway.psks = vec![psk(b"another")];
    let mut world = World::new(11, toy_policy(), gateway);
    world.run(Duration::from_secs(40));
    assert!(world.ends[1].refusals.contains(&Refusal::WrongPreSharedKey));
    assert_eq!(
        world.ends[1].sent.len(),
        2,
        "messages 2 and 4, and nothing to message 5"
    );
    let down = |reason: &DownReason| matches!(reason, DownReason::SetupTimeout { waiting_for, .. } if waiting_for.starts_with("message "));
    for end in &world.ends {
        let last = end.events.last();
        assert!(
            matches!(last, Some(Output::Down { reason }) if down(reason)),
            "{last:?}"
        );
    }
}

#[test]
fn a_key_is_bound_to_an_identity() {
    let mut client = toy_policy();
    client.identity = Some("road@example.net".parse().unwrap());
    let mut gateway = toy_policy();
    gateway.psks[0].identity = Some("other@example.net".parse().unwrap());
    let mut world = World::new(12, client.clone(), gateway.clone());
    world.run(Duration::from_secs(2));
    assert!(world.ends[1].refusals.contains(&Refusal::IdentityRefused));
    gateway.psks[0].identity = client.identity.clone();
    World::up(12, client, gateway);
}

#[test]
fn without_a_key_for_the_address_nothing_is_answered() {
    let mut gateway = toy_policy();
    gateway.psks[0].peer = Some("203.0.113.0/24".parse().unwrap());
    let mut world = World::new(13, toy_policy(), gateway);
    world.run(Duration::from_secs(2));
    assert!(world.ends[1].sent.is_empty());
    assert!(world.ends[1].refusals.contains(&Refusal::NoPreSharedKey));
    let mut client = toy_policy();
    client.psks.clear();
    let world = World::new(13, client, toy_policy());
    let last = world.ends[0].events.last();
    assert!(
        matches!(
            last,
            Some(Output::Down {
                reason: DownReason::NoPreSharedKey
            })
        ),
        "{last:?}"
    );
}

// conformance: 2408-31
#[test]
fn nothing_acceptable_gets_one_notification_and_every_reason() {
    let mut client = toy_policy();
    client.phase1 = Policy::compat().phase1;
    client.phase1.retain(|suite| suite.group == Group::Modp1024);
    let mut world = World::new(
        14,
        client.clone(),
        Policy {
            psks: client.psks,
            ..Policy::modern()
        },
    );
    world.run(Duration::from_secs(40));
    assert!(world.ends[1].sa.is_down());
    let reasons = world.ends[1].events.iter().find_map(|event| match event {
        Output::ProposalRefused(reasons) => Some(reasons),
        _ => None,
    });
    let reasons = reasons.unwrap();
    assert_eq!(reasons.len(), 16);
    assert_eq!(
        reasons[0].to_string(),
        "1.1 AES256/SHA256/MODP1024: group not in the policy"
    );
    // The initiator cannot trust the notification, but an operator reads it in the end.
    let Some(Output::Down { reason }) = world.ends[0].events.last() else {
        panic!()
    };
    assert_eq!(
        reason.to_string(),
        "main mode took too long, waiting for message 2 (peer said NO-PROPOSAL-CHOSEN)"
    );
}

#[test]
fn initial_contact_is_reported_once() {
    let mut client = toy_policy();
    client.initial_contact = true;
    let world = World::up(15, client, toy_policy());
    let contact = |event: &&Output| matches!(event, Output::InitialContact);
    assert_eq!(world.ends[1].events.iter().filter(contact).count(), 1);
    assert_eq!(world.ends[0].events.iter().filter(contact).count(), 0);
}

#[test]
fn the_key_log_is_the_same_at_both_ends() {
    let world = World::up(16, toy_policy(), toy_policy());
    let log = |end: usize| {
        world.ends[end].events.iter().find_map(|event| match event {
            Output::KeysForLog(log) => Some(log.clone()),
            _ => None,
        })
    };
    let (ours, theirs) = (log(0).unwrap(), log(1).unwrap());
    assert_eq!(ours.initiator_cookie, theirs.initiator_cookie);
    assert_eq!(ours.key, theirs.key);
    assert_eq!(ours.key.len(), 32);
    assert_eq!(ours.skeyid_a, theirs.skeyid_a);
    assert!(format!("{ours:?}").ends_with("…)"));
}

// conformance: 2409-31
#[test]
fn several_quick_modes_run_at_once() {
    let mut world = World::up(17, toy_policy(), toy_policy());
    for _ in 0..3 {
        world.create_child(0);
        world.create_child(1);
    }
    world.run(Duration::from_secs(3));
    for end in &world.ends {
        assert_eq!(end.children.len(), 7);
    }
    world.check_children();
}

#[test]
fn the_inbound_half_is_up_before_the_answer_leaves() {
    let mut world = World::new(18, toy_policy(), toy_policy());
    world.establish();
    world.create_child(0);
    let message = world.ends[0].sent.last().unwrap().clone();
    let (at, from) = (
        super::world::address("198.51.100.1:500"),
        super::world::address("192.0.2.10:500"),
    );
    let mut out = Vec::new();
    let (now, end) = (world.now, &mut world.ends[1]);
    end.sa
        .handle_input(now, at, from, &message, &mut end.env, &mut out)
        .unwrap();
    assert!(
        matches!(&out[..], [Output::ChildUp(_), Output::Send { .. }]),
        "{out:?}"
    );
}

// conformance: 2408-13 2408-36 2408-37
#[test]
fn a_deleted_pair_goes_at_both_ends() {
    let mut world = World::up(19, toy_policy(), toy_policy());
    let inbound = *world.ends[0].children.keys().next().unwrap();
    world.act(0, |end, now, out| {
        end.sa.delete_child(now, inbound, &mut end.env, out)
    });
    world.run(Duration::from_secs(1));
    let reason = |end: usize| match world.ends[end].events.last() {
        Some(Output::ChildDown { reason, .. }) => *reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (reason(0), reason(1)),
        (ChildEnd::Closed, ChildEnd::PeerDeleted)
    );
    assert!(world.ends.iter().all(|end| end.sa.is_established()));
}

#[test]
fn closing_tells_the_peer_about_everything() {
    let mut world = World::up(20, toy_policy(), toy_policy());
    world.act(0, |end, now, out| end.sa.close(now, &mut end.env, out));
    world.run(Duration::from_secs(1));
    for (end, expected) in [(0, DownReason::Closed), (1, DownReason::PeerDeleted)] {
        let end = &world.ends[end];
        assert!(end.children.is_empty() && end.sa.is_finished());
        assert!(matches!(end.events.last(), Some(Output::Down { reason }) if *reason == expected));
    }
}

#[test]
fn ipsec_sas_outlast_a_deleted_isakmp_sa() {
    let mut gateway = toy_policy();
    gateway.phase1_lifetime = Duration::from_secs(10);
    let mut world = World::up(21, toy_policy(), gateway);
    world.run(Duration::from_secs(20));
    for end in &world.ends {
        assert!(end.sa.is_down() && !end.sa.is_finished());
        assert_eq!(end.children.len(), 1);
    }
    world.run(Duration::from_secs(3600));
    assert!(
        world
            .ends
            .iter()
            .all(|end| end.children.is_empty() && end.sa.is_finished())
    );
}

#[test]
fn a_successor_takes_the_children_over() {
    let mut old = World::up(22, toy_policy(), toy_policy());
    let mut new = World::new(23, toy_policy(), toy_policy());
    new.establish();
    new.now = new.now.max(old.now);
    for end in 0..2 {
        new.ends[end].env.next_spi += 100;
        let children = old.ends[end].sa.take_children();
        assert_eq!(children.inbound().count(), 1);
        new.ends[end].sa.adopt_children(children);
        new.ends[end].children = std::mem::take(&mut old.ends[end].children);
    }
    assert!(old.ends.iter().all(|end| end.sa.children().is_empty()));
    new.create_child(0);
    new.run(Duration::from_secs(3));
    new.check_children();
    new.run(Duration::from_secs(20));
    assert_eq!(
        new.ends[1].children.len(),
        1,
        "the adopted pair was replaced"
    );
    let replaced = new.ends[1].children.values().next().unwrap().replaces;
    assert!(replaced.is_some());
}

// conformance: 3947-03 3947-14 2409-04
#[test]
fn the_responder_renews_on_the_same_path_with_what_the_peer_has_accepted() {
    let mut gateway = toy_policy();
    // The key of this client is not the first that fits its address.
    gateway.psks.insert(0, psk(b"of another client"));
    let nat = super::world::Nat {
        public: "203.0.113.7".parse().unwrap(),
        shift: 1000,
    };
    let mut world = World::behind(Some(nat), 29, toy_policy(), gateway);
    world.establish();
    world.create_child(0);
    world.run(Duration::from_secs(2));
    let path = world.ends[1].sa.path();
    world.renew_from_responder();
    world.establish();
    assert_eq!(world.ends[1].sa.path(), path);
    // Quick modes from both ends under the new SA, and the adopted pair is replaced.
    world.create_child(0);
    world.run(Duration::from_secs(2));
    world.create_child(1);
    world.run(Duration::from_secs(20));
    world.check_children();
    let child = world.ends[1].children.values().next().unwrap();
    assert!(child.encapsulated && child.initiator);
    assert_eq!((child.local.port, child.remote.port), (1701, 1701));
}

#[test]
fn too_many_children_push_out_the_replaced_and_then_are_refused() {
    let mut policy = toy_policy();
    policy.max_children = 2;
    policy.overlap = Duration::from_secs(1000);
    let mut gateway = policy.clone();
    gateway.max_children = 3;
    let mut world = World::up(24, policy, gateway);
    for _ in 0..5 {
        world.create_child(0);
        world.run(Duration::from_secs(1));
        assert!(world.ends[0].children.len() <= 2);
        assert!(world.ends[1].children.len() <= 3);
    }
    world.check_children();
}

#[test]
fn without_an_spi_there_is_no_pair() {
    let mut world = World::new(25, toy_policy(), toy_policy());
    world.establish();
    world.ends[1].env.spis_left = 0;
    world.create_child(0);
    world.run(Duration::from_secs(60));
    assert!(world.ends[1].refusals.contains(&Refusal::NoSpiLeft));
    assert!(world.ends.iter().all(|end| end.children.is_empty()));
    world.ends[0].env.spis_left = 0;
    world.create_child(0);
    let last = world.ends[0].events.last();
    assert!(
        matches!(last, Some(Output::ChildFailed { inbound: None, .. })),
        "{last:?}"
    );
}

// conformance: 2408-07 2409-03
#[test]
fn message_ids_are_zero_in_phase_one_and_only_there() {
    let world = World::up(26, toy_policy(), toy_policy());
    for message in world.ends.iter().flat_map(|end| &end.sent) {
        let header = peek(message).unwrap();
        assert_eq!(
            header.message_id == 0,
            header.exchange == Exchange::MainMode
        );
        assert_eq!(header.flags & !1, 0, "no flag but encryption");
    }
}

// conformance: 2409-08
#[test]
fn aggressive_mode_is_refused() {
    let mut world = World::new(27, toy_policy(), toy_policy());
    let mut message = world.ends[0].sent[0].clone();
    message[18] = Exchange::Aggressive.number();
    let (now, end) = (world.now, &mut world.ends[1]);
    let (at, from) = (
        super::world::address("198.51.100.1:500"),
        super::world::address("192.0.2.10:500"),
    );
    let mut out = Vec::new();
    let result = end
        .sa
        .handle_input(now, at, from, &message, &mut end.env, &mut out);
    assert_eq!(result, Err(Refusal::AggressiveMode));
    assert!(out.is_empty());
}

// conformance: 3947-05
#[test]
fn without_nat_traversal_no_nat_d_is_sent() {
    let mut client = toy_policy();
    client.natt = Natt::Off;
    let world = World::up(28, client, toy_policy());
    assert_eq!(world.ends[1].sa.isakmp().nat.method, None);
    // KE and nonce, and nothing behind the nonce.
    let message3 = &world.ends[0].sent[1];
    assert_eq!(message3.len(), 28 + (4 + 8) + (4 + 32));
}

// conformance: 3947-17 3947-09
#[test]
fn our_own_identity_has_no_port_and_nat_d_comes_with_the_keys() {
    let world = World::up(30, toy_policy(), toy_policy());
    for end in &world.ends {
        let message = &end.sent[1];
        let header = peek(message).unwrap();
        let chain = Chain::parse(header.next_payload, &message[HEADER_LEN..], Padding::None);
        assert_eq!(chain.unwrap().all(kind::NAT_D).count(), 2);
    }
    let core = Core::new(
        Arc::new(toy_policy()),
        Cookies::default(),
        true,
        (address(CLIENT), address(GATEWAY)),
        world.now,
    );
    let id = core.own_id(address(CLIENT));
    assert_eq!((id.protocol, id.port), (0, 0));
}

// conformance: 3193-25
#[test]
fn keys_are_never_printed() {
    let world = World::up(31, toy_policy(), toy_policy());
    let secret = "open sesame";
    for end in &world.ends {
        let text = format!("{:?} {:?}", end.sa, end.events);
        assert!(!text.contains(secret) && !text.contains("111, 112, 101, 110"));
    }
    assert!(!format!("{:?}", toy_policy()).contains(secret));
}

/// Half-open SAs are what a stranger can make many of.
#[test]
fn what_waits_for_message_three_is_small() {
    assert!(size_of::<Sa>() <= 1200, "{}", size_of::<Sa>());
}
