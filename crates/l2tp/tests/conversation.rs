//! A LAC and an LNS of ours talk over a wire that loses, doubles and reorders, drawn from a seed.

mod wire;

use std::sync::Arc;
use std::time::Duration;

use crypto::Secret;
use l2tp::{CallEnd, Settings, TunnelEnd};
use wire::{Faults, Host, World};

/// Seeds for whole tunnels with calls on a bad wire.
const TUNNEL_SEEDS: u64 = 600;

const CLEAN: Faults = Faults {
    loss: 0,
    duplication: 0,
    delay_ms: 5,
};
const BAD: Faults = Faults {
    loss: 30,
    duplication: 10,
    delay_ms: 400,
};

fn plain() -> Arc<Settings> {
    Arc::new(Settings::default())
}

fn with_secret() -> Arc<Settings> {
    Arc::new(Settings {
        secret: Some(Secret::new(*b"a shared secret")),
        require_tunnel_auth: true,
        hide_avps: true,
        ..Settings::default()
    })
}

// conformance: 2661-36 2661-50 2661-62
#[test]
fn a_tunnel_with_three_calls_comes_up_on_a_clean_wire() {
    let mut world = World::new(1, CLEAN, plain(), plain());
    world.place_calls(3);
    world.run_for(Duration::from_secs(2));
    for host in [Host::Lac, Host::Lns] {
        assert!(world.side(host).tunnel.is_established());
        assert_eq!(world.side(host).calls_up, 3);
    }
    // SCCRQ, SCCCN, three ICRQ, three ICCN and at most an acknowledgement for each message of the LNS.
    assert!(
        world.side(Host::Lac).sent <= 8 + 4,
        "sent {}",
        world.side(Host::Lac).sent
    );
}

// conformance: 2661-41 2661-18 2661-19
#[test]
fn a_tunnel_with_authentication_and_hidden_avps_comes_up() {
    let mut world = World::new(2, CLEAN, with_secret(), with_secret());
    world.place_calls(2);
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.side(Host::Lns).calls_up, 2);
    assert_eq!(world.side(Host::Lac).calls_up, 2);
}

// conformance: 2661-52
#[test]
fn different_secrets_end_the_set_up_on_both_sides() {
    let other = Arc::new(Settings {
        secret: Some(Secret::new(*b"another secret")),
        require_tunnel_auth: true,
        ..Settings::default()
    });
    let mut world = World::new(3, CLEAN, with_secret(), other);
    world.place_calls(1);
    world.run_for(Duration::from_secs(2));
    for host in [Host::Lac, Host::Lns] {
        assert!(world.side(host).tunnel_end.is_some(), "{host:?}");
        assert_eq!(world.side(host).calls_up, 0);
    }
}

#[test]
fn a_closed_tunnel_is_forgotten_after_one_retransmission_cycle() {
    let mut world = World::new(4, CLEAN, plain(), plain());
    world.place_calls(2);
    world.run_for(Duration::from_secs(2));
    world.close(Host::Lac, TunnelEnd::ShuttingDown);
    world.run_for(Duration::from_secs(1));
    assert_eq!(
        world.side(Host::Lns).calls_down,
        vec![CallEnd::TunnelDown; 2]
    );
    assert!(matches!(
        world.side(Host::Lns).tunnel_end,
        Some(TunnelEnd::PeerStopped(_))
    ));
    assert!(!world.side(Host::Lns).tunnel.is_finished());
    world.run_for(plain().retransmission_cycle());
    assert!(world.side(Host::Lns).tunnel.is_finished());
    assert!(world.side(Host::Lac).tunnel.is_finished());
}

/// Eventually up, or down exactly once: `World` checks the order of events, the windows and the deadlines at each step.
// conformance: 2661-64 2661-66 2661-67 2661-73
#[test]
fn on_a_bad_wire_tunnels_come_up_with_their_calls_or_end_once() {
    let mut up = 0;
    for seed in 0..TUNNEL_SEEDS {
        let settings = if seed % 3 == 0 {
            with_secret()
        } else {
            plain()
        };
        let mut world = World::new(seed, BAD, Arc::clone(&settings), settings);
        world.place_calls(3);
        world.run_for(Duration::from_secs(60));
        let ended = [Host::Lac, Host::Lns].map(|host| world.side(host).tunnel_end.is_some());
        if ended == [false, false] {
            up += 1;
            for host in [Host::Lac, Host::Lns] {
                assert!(
                    world.side(host).tunnel.is_established(),
                    "seed {seed} {host:?}"
                );
                assert_eq!(world.side(host).calls_up, 3, "seed {seed} {host:?}");
            }
        }
        // Hang up one call, then close: both sides end, whatever the wire does.
        world.hang_up_first(Host::Lns);
        world.run_for(Duration::from_secs(30));
        world.close(
            if seed % 2 == 0 { Host::Lac } else { Host::Lns },
            TunnelEnd::Administrative,
        );
        world.run_for(Duration::from_secs(200));
        for host in [Host::Lac, Host::Lns] {
            let side = world.side(host);
            assert!(
                side.tunnel_end.is_some(),
                "seed {seed} {host:?} never ended"
            );
            assert!(side.tunnel.is_finished(), "seed {seed} {host:?} stays");
            assert!(side.tunnel.poll_timeout().is_none(), "seed {seed} {host:?}");
            assert_eq!(
                side.calls_down.len(),
                side.calls_known,
                "seed {seed} {host:?}"
            );
        }
    }
    assert!(
        up > TUNNEL_SEEDS * 9 / 10,
        "only {up} of {TUNNEL_SEEDS} came up"
    );
}

#[test]
fn the_same_seed_is_the_same_conversation() {
    let trace = |seed| {
        let mut world = World::new(seed, BAD, with_secret(), with_secret());
        world.place_calls(3);
        world.run_for(Duration::from_secs(90));
        world.trace
    };
    assert_eq!(trace(77), trace(77));
    assert_ne!(trace(77), trace(78));
}

// conformance: 2661-69
#[test]
fn a_peer_that_goes_silent_is_noticed_by_hello_and_its_calls_end() {
    let mut world = World::new(5, CLEAN, plain(), plain());
    world.place_calls(2);
    world.run_for(Duration::from_secs(2));
    world.faults = Faults { loss: 100, ..CLEAN };
    // Up to 60 s of silence until the HELLO, then 31 s of trying.
    world.run_for(Duration::from_secs(60 + 31 + 1));
    for host in [Host::Lac, Host::Lns] {
        assert_eq!(world.side(host).tunnel_end, Some(TunnelEnd::PeerSilent));
        assert_eq!(world.side(host).calls_down, vec![CallEnd::TunnelDown; 2]);
    }
}
