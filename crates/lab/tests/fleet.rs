//! Clients against a server in memory: they come up, carry packets, fail in so many words, leave.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "all of this is test, and picks what it looks for"
)]

mod profiles;
mod world;

use std::sync::Arc;
use std::time::Duration;

use crypto::Secret;
use ike::policy::{Natt, Policy};
use lab::cli::{ClientArguments, Encapsulation};
use lab::client::{Settings, Stage};
use lab::discard::Discard;
use lab::fleet::Event;
use packet::header::Ipv4;
use world::{World, plain, secured};

/// Datagrams that are broken in as many ways.
const BROKEN: usize = 50_000;
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_plain_client_comes_up_and_its_packets_come_back() {
    let mut world = World::new();
    let id = world.host(plain());
    world.run(Duration::ZERO);
    assert_eq!(
        world.client(id).lease().unwrap().address.octets(),
        [10, 77, 0, 10]
    );
    assert_eq!(world.client(id).stages().took(Stage::Phase1), None);
    assert!(world.client(id).stages().total().is_some());
    world.expect_echo(id, b"a packet of the subscriber");
}

#[test]
fn every_suite_carries_packets_raw_and_behind_one_nat() {
    let mut world = World::new();
    let mut clients = Vec::new();
    for suite in [
        "aes128gcm16",
        "aes256gcm16",
        "aes128-sha1",
        "aes256-sha256",
        "aes192-sha512",
    ] {
        clients.push((world.host(secured(suite)), suite, false));
        clients.push((world.at_home(secured(suite)), suite, true));
    }
    world.run(SECOND);
    for (id, suite, is_at_home) in clients {
        let agreed = world.client(id).agreed();
        assert_eq!(agreed.suite.unwrap().to_string(), suite);
        assert_eq!(agreed.is_encapsulated, is_at_home, "{suite}");
        for len in [1, 40, 1400] {
            world.expect_echo(id, &vec![0x45; len]);
        }
    }
    assert_eq!(world.fleet.discards().occurred().count(), 0);
}

#[test]
fn everybody_comes_up_though_one_packet_in_ten_is_lost() {
    let mut world = World::new();
    world.loss = 10;
    for number in 0..12 {
        match number % 3 {
            0 => world.host(plain()),
            1 => world.host(secured("aes128gcm16")),
            _ => world.at_home(secured("aes128-sha1")),
        };
    }
    world.run(60 * SECOND);
    world.loss = 0;
    let ids: Vec<_> = world.fleet.clients().map(|(id, ..)| id).collect();
    for id in ids {
        world.expect_echo(id, b"still there");
    }
}

#[test]
fn a_client_that_hangs_up_leaves_nothing_behind() {
    for settings in [plain(), secured("aes128gcm16")] {
        let mut world = World::new();
        let has_ipsec = settings.ipsec.is_some();
        let id = world.host(settings);
        world.run(Duration::ZERO);
        world.fleet.hang_up(world.now, id);
        world.run(Duration::ZERO);
        assert!(world.client(id).is_over());
        assert!(matches!(
            world.events[..],
            [Event::Up(..), Event::Down(_, None)]
        ));
        assert_eq!(world.server.tunnels_down, 1);
        assert_eq!(world.server.isakmp_down, usize::from(has_ipsec));
        assert!(
            !world.fleet.load(id, |_| ()),
            "nothing can be sent any more"
        );
        assert_eq!(world.fleet.poll_timeout(), None);
    }
}

#[test]
fn a_client_that_is_thrown_out_says_so() {
    let mut world = World::new();
    let id = world.host(secured("aes128gcm16"));
    world.run(Duration::ZERO);
    world.server.hang_up(world.now);
    world.run(10 * SECOND);
    assert_eq!(world.failure(id).stage, None);
    let text = world.failure(id).to_string();
    assert!(
        text.starts_with("after it was up: PPP: the peer hung up"),
        "{text}"
    );
    assert!(world.client(id).is_over());
}

#[test]
fn a_server_that_does_not_answer_is_named_with_the_message_that_is_missing() {
    for (settings, expected) in [
        (secured("aes128gcm16"), "IKE phase 1: no answer"),
        (plain(), "L2TP tunnel: tunnel: peer does not answer"),
    ] {
        let mut world = World::new();
        world.is_cut = true;
        let id = world.host(settings);
        world.run(90 * SECOND);
        let text = world.failure(id).to_string();
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.ends_with("messages to 10.9.0.2 since the last one from there"),
            "{text}"
        );
    }
}

#[test]
fn who_has_little_patience_is_told_what_was_missing_all_the_same() {
    let arguments = ClientArguments {
        psk: "other".into(),
        timeout: 3 * SECOND,
        ..ClientArguments::default()
    };
    let mut refused = arguments.clone();
    refused.phase1 = vec!["3des-sha1-modp1024".parse().unwrap()];
    let silent = "IKE phase 1: no answer to main mode message 1 from 10.9.0.2:500";
    for (arguments, is_cut, expected) in [
        (&arguments, true, silent),
        (
            &arguments,
            false,
            "a server that has another pre-shared key",
        ),
        (
            &refused,
            false,
            "NO-PROPOSAL-CHOSEN; offered 3DES/SHA1/MODP1024",
        ),
    ] {
        let mut world = World::new();
        world.is_cut = is_cut;
        let id = world.host(arguments.settings(1, Encapsulation::Esp));
        world.run(4 * SECOND);
        let text = world.failure(id).to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_wrong_password_is_told_in_the_servers_words() {
    let mut world = World::new();
    let mut settings = plain();
    settings.ppp = Arc::new(ppp::Settings::client(
        "alice",
        Secret::new(b"wrong".to_vec()),
    ));
    let id = world.host(settings);
    world.run(10 * SECOND);
    let text = world.failure(id).to_string();
    assert_eq!(world.failure(id).stage, Some(Stage::Authentication));
    assert!(text.contains("nobody of that name"), "{text}");
}

#[test]
fn a_wrong_key_and_a_refused_proposal_end_in_phase_1_and_say_why() {
    let mut wrong_key = secured("aes128gcm16");
    change(&mut wrong_key, |policy| {
        policy.psks[0].key = Secret::new(b"other".to_vec())
    });
    let mut refused = secured("aes128gcm16");
    change(&mut refused, |policy| {
        policy.phase1 = Policy::compat().phase1.split_off(80)
    });
    let mut refused_later = secured("aes128gcm16");
    change(&mut refused_later, |policy| {
        policy.phase2[0].suite = "3des-sha1".parse().unwrap()
    });
    for (settings, stage, expected) in [
        (
            wrong_key,
            Stage::Phase1,
            "a server that has another pre-shared key",
        ),
        (refused, Stage::Phase1, "NO-PROPOSAL-CHOSEN"),
        (
            refused_later,
            Stage::Phase2,
            "peer refused the proposal; offered 3des-sha1",
        ),
    ] {
        let mut world = World::new();
        let id = world.host(settings);
        world.run(90 * SECOND);
        let text = world.failure(id).to_string();
        assert_eq!(world.failure(id).stage, Some(stage), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_pair_that_the_server_renews_is_used_from_then_on() {
    let mut world = World::new();
    let id = world.host(secured("aes128gcm16"));
    let other = world.at_home(secured("aes128-sha1"));
    world.run(Duration::ZERO);
    for _ in 0..5 {
        world.server.rekey(world.now);
        world.run(10 * SECOND);
        world.expect_echo(id, b"under the new pair");
        world.expect_echo(other, b"under the other new pair");
    }
    assert_eq!(world.fleet.discards().occurred().count(), 0);
}

#[test]
fn a_client_that_renews_its_pairs_loses_nothing() {
    let mut settings = secured("aes128gcm16");
    change(&mut settings, |policy| policy.phase2_lifetime = 20 * SECOND);
    let mut world = World::new();
    let id = world.host(settings);
    world.run(Duration::ZERO);
    for _ in 0..60 {
        world.run(SECOND);
        world.expect_echo(id, b"a packet every second");
    }
}

#[test]
fn a_client_that_renews_its_isakmp_sa_loses_nothing_and_says_goodbye_in_both() {
    let mut settings = secured("aes128gcm16");
    change(&mut settings, |policy| {
        policy.phase1_lifetime = 300 * SECOND;
        policy.phase2_lifetime = 200 * SECOND;
    });
    let mut world = World::new();
    let id = world.host(settings);
    for _ in 0..1500 {
        world.run(SECOND);
        world.expect_echo(id, b"a packet every second");
    }
    let ended = world.server.isakmp_down;
    assert!((4..=6).contains(&ended), "{ended} have ended of one more");
    let stood = world.server.isakmp_up;
    while world.server.isakmp_up == stood {
        world.run(SECOND);
    }
    world.fleet.hang_up(world.now, id);
    world.run(Duration::ZERO);
    assert!(world.client(id).is_over());
    assert_eq!(world.server.isakmp_down, world.server.isakmp_up);
    assert_eq!(world.fleet.poll_timeout(), None);
}

#[test]
fn copies_strangers_and_packets_for_others_are_refused_by_name() {
    let mut world = World::new();
    let id = world.host(secured("aes128gcm16"));
    world.run(Duration::ZERO);
    world.expect_echo(id, b"something");
    let true_one = world.last.clone();
    world.deliver(&true_one.clone());
    let readdressed = |at: usize, octet: u8| {
        let mut packet = true_one.clone();
        packet[at] = octet;
        packet[24..28].copy_from_slice(&0xffff_ff00u32.to_be_bytes());
        packet
    };
    world.deliver(&readdressed(19, 77));
    let mut forged = readdressed(40, 0);
    forged[24..28].copy_from_slice(&u32::MAX.to_be_bytes());
    world.deliver(&forged);
    forged[20..24].copy_from_slice(&7u32.to_be_bytes());
    world.deliver(&forged);
    let told: Vec<_> = world.fleet.discards().occurred().collect();
    assert_eq!(
        told,
        [
            (Discard::UnknownSpi, 1),
            (Discard::Replayed, 1),
            (Discard::NotAuthentic, 2)
        ]
    );
    assert_eq!(true_one[9], Ipv4::ESP);
    world.expect_echo(id, b"undisturbed");
}

#[test]
fn a_hundred_thousand_broken_datagrams_disturb_nobody() {
    let mut world = World::new();
    let ids = [world.host(plain()), world.at_home(secured("aes128-sha1"))];
    world.run(Duration::ZERO);
    for id in ids {
        world.expect_echo(id, &[0x45; 100]);
        let good = world.last.clone();
        world.deliver_broken(&good, BROKEN);
        world.expect_echo(id, b"undisturbed");
    }
}

/// Settings with another policy.
fn change(settings: &mut Settings, change: impl FnOnce(&mut Policy)) {
    let mut policy = (**settings.ipsec.as_ref().unwrap()).clone();
    policy.natt = Natt::Detect;
    change(&mut policy);
    settings.ipsec = Some(Arc::new(policy));
}
