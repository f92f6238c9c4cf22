//! Stories of L2TP inside IPsec.

use std::sync::Arc;
use std::time::Duration;

use crypto::Secret;
use crypto::cipher::Algorithm;
use crypto::dh::Group;
use crypto::esp::Suite;
use crypto::hash::Hash;
use dataplane::change::{Encapsulation, Event};
use ike::Policy;
use ike::policy::{Natt, Phase1Proposal, Phase2Proposal, Psk};

use super::fast_path::Esp;
use super::world::{World, plain_settings};
use crate::Settings;
use crate::admin::{Filter, Request, Response, Table};

const A_SECOND: Duration = Duration::from_secs(1);
const AFTERWARDS: Duration = Duration::from_secs(120);

#[test]
fn a_client_dials_in_through_ipsec() {
    let mut world = secured(1);
    world.dial(0);
    assert_eq!(world.inner(0).unwrap().to_string(), "10.64.0.2");
    assert_eq!(world.fast.paths.len(), 1);
    let path = world.fast.paths.values().next().unwrap();
    assert_eq!(
        (path.encapsulation, path.remote.port()),
        (Encapsulation::Esp, 0)
    );
    assert_eq!(world.lines.with("IKE peer authenticated").len(), 1);
    let up = world.lines.with("session up");
    assert!(up[0].contains("suite=aes128gcm16"), "{up:?}");
}

#[test]
fn an_ordinary_dial_refuses_nothing() {
    let mut world = secured(1);
    world.dial(0);
    assert!(world.inner(0).is_some());
    // The tunnel's first message overtakes message 3 of quick mode.
    assert_eq!(world.count("ike: messages refused"), 0);
    // The client answers both copies of our Configure-Request.
    assert!(!world.lines.with("second answer to one request").is_empty());
    assert_eq!(world.count("ppp: frames discarded"), 0);
}

#[test]
fn inbound_is_installed_before_the_peer_can_know_its_spi() {
    let mut world = secured(1);
    world.dial(0);
    let order: Vec<&str> = world.fast.history.iter().map(String::as_str).collect();
    let expected = [
        "OpenPath",
        "InstallInbound",
        "InstallOutbound",
        "OpenSession",
        "OpenNetwork",
    ];
    assert_eq!(order, expected);
}

// conformance: 3193-08
#[test]
fn with_nat_traversal_esp_goes_in_udp_and_the_mru_fits() {
    let mut settings = secured_settings(1);
    let policy = Policy {
        natt: Natt::Force,
        ..policy()
    };
    settings.listeners[0].ike = Some(Arc::new(policy));
    settings.listeners[0].ppp.mru = 1500;
    let mut world = secured_with(settings, 1);
    world.dial(0);
    let path = world.fast.paths.values().next().unwrap();
    assert_eq!(
        (path.encapsulation, path.remote.port()),
        (Encapsulation::EspInUdp, 4500)
    );
    let network = world.fast.networks.values().next().unwrap();
    // The client's MRU is 1400; ours is what AES-GCM in UDP leaves of 1500.
    assert_eq!((network.mtu, world.clients[0].mtu), (1400, Some(1418)));
}

#[test]
fn hanging_up_gives_everything_back() {
    let mut world = secured(1);
    world.dial(0);
    world.run(A_SECOND);
    let now = world.now;
    world.clients[0].hang_up(now);
    world.settle();
    world.clients[0].hang_up_ike(now);
    world.run(AFTERWARDS);
    world.assert_empty();
    assert_eq!(world.lines.with("session ended").len(), 1);
}

#[test]
fn a_peer_that_hangs_up_and_deletes_its_sas_is_gone_at_once() {
    let mut world = secured(1);
    world.dial(0);
    world.run(A_SECOND);
    let now = world.now;
    world.clients[0].hang_up(now);
    world.settle();
    world.clients[0].hang_up_ike(now);
    world.settle();
    let gone = world.lines.with("peer gone");
    assert_eq!(gone.len(), 1, "{:?}", world.lines.all());
    assert!(gone[0].contains("why=the peer hung up"), "{gone:?}");
    world.assert_empty();
}

#[test]
fn a_client_that_dies_is_noticed_and_leaves_nothing() {
    let mut world = secured(1);
    world.dial(0);
    world.run(A_SECOND);
    world.clients[0].crash();
    world.run(Duration::from_secs(600));
    world.assert_empty();
    let unreachable = world.lines.with("unreachable");
    assert!(!unreachable.is_empty());
}

#[test]
fn a_rekey_by_the_client_keeps_the_session() {
    let mut world = secured(1);
    world.dial(0);
    let address = world.inner(0);
    let old = world.clients[0].pairs[0];
    let now = world.now;
    world.clients[0].with_ike(now, |sa, env, out, now| sa.create_child(now, env, out));
    world.settle();
    assert_eq!(world.clients[0].pairs.len(), 2);
    assert_eq!(world.fast.inbound.len(), 2);
    world.clients[0].with_ike(now, |sa, env, out, now| {
        sa.delete_child(now, ike::Spi(old.inbound), env, out);
    });
    world.settle();
    assert_eq!(world.fast.inbound.len(), 1);
    let (current, waiting) = world.fast.outbound.values().next().unwrap();
    assert_eq!(*current, Some(world.clients[0].pairs[0].inbound));
    assert!(waiting.is_empty());
    // Echoes go to and fro over the new pair.
    world.run(Duration::from_secs(300));
    assert_eq!(world.inner(0), address);
    assert!(world.lines.with("session ended").is_empty());
}

#[test]
fn a_soft_limit_brings_a_rekey_by_the_gateway() {
    let mut world = secured(1);
    world.dial(0);
    let address = world.inner(0);
    let path = *world.fast.paths.keys().next().unwrap();
    world.fast.events.push_back(Event::SoftLimit(path));
    world.run(Duration::from_secs(300));
    assert_eq!(world.clients[0].pairs.len(), 1);
    assert_eq!(world.fast.inbound.len(), 1);
    assert_eq!(world.inner(0), address);
}

#[test]
fn a_pair_that_the_gateway_began_is_sent_on_when_the_peer_sends_or_the_old_one_goes() {
    let mut world = secured(1);
    world.dial(0);
    let path = *world.fast.paths.keys().next().unwrap();
    let old = world.fast.outbound[&path].0;
    world.fast.events.push_back(Event::SoftLimit(path));
    world.settle();
    let (current, waiting) = &world.fast.outbound[&path];
    assert_eq!((*current, waiting.len()), (old, 1));
    let new = waiting[0].spi;

    world.run(policy().overlap + A_SECOND);
    let (current, waiting) = &world.fast.outbound[&path];
    assert_eq!((*current, waiting.len()), (Some(new), 0));
}

#[test]
fn sas_are_renewed_by_time_for_hours_and_the_session_stays() {
    let mut world = secured(1);
    world.dial(0);
    let address = world.inner(0);
    for _ in 0..12 {
        world.run(Duration::from_secs(3600));
        assert_eq!(world.inner(0), address);
    }
    assert!(world.fast.inbound.len() <= 2);
    assert!(world.lines.with("session ended").is_empty());
}

#[test]
fn the_gateway_authenticates_a_client_anew_that_never_does() {
    let mut world = secured(1);
    let passive = Policy {
        rekey: false,
        ..policy()
    };
    world.clients[0].policy = Some(Arc::new(passive));
    world.dial(0);
    let address = world.inner(0);
    for _ in 0..20 {
        world.run(Duration::from_secs(3600));
        assert_eq!(world.inner(0), address);
    }
    assert!(world.lines.with("authenticated anew").len() >= 2);
    assert!(world.fast.inbound.len() <= 2);
    assert!(world.lines.with("session ended").is_empty());
}

/// The ISAKMP SA under which the client said how long its pairs live ends before the first pair.
#[test]
fn how_long_a_peers_pairs_live_is_not_forgotten_with_the_isakmp_sa() {
    let mut world = secured(1);
    let passive = Policy {
        rekey: false,
        phase1_lifetime: Duration::from_secs(400),
        phase2_lifetime: Duration::from_secs(600),
        ..policy()
    };
    world.clients[0].policy = Some(Arc::new(passive));
    world.dial(0);
    let address = world.inner(0);
    for _ in 0..180 {
        world.run(Duration::from_secs(60));
        assert_eq!(world.inner(0), address);
    }
    assert!(world.lines.with("authenticated anew").len() >= 2);
    assert!(world.lines.with("session ended").is_empty());
}

#[test]
fn a_peer_that_authenticates_anew_keeps_its_session() {
    let mut world = secured(1);
    world.dial(0);
    let address = world.inner(0);
    let now = world.now;
    // A new main mode beside the old one, which the client then forgets.
    world.clients[0].dial_ike(now);
    world.settle();
    assert_eq!(world.lines.with("authenticated anew").len(), 1);
    assert_eq!(world.fast.paths.len(), 1);
    world.run(Duration::from_secs(60));
    assert_eq!(world.inner(0), address);
    assert!(world.lines.with("session ended").is_empty());
}

// conformance: 3947-25
#[test]
fn initial_contact_sweeps_away_what_was_before() {
    let mut world = secured(1);
    let policy = Policy {
        initial_contact: true,
        ..policy()
    };
    world.clients[0].policy = Some(Arc::new(policy));
    world.dial(0);
    let address = world.inner(0);
    world.run(A_SECOND);
    world.clients[0].crash();
    world.dial(0);
    assert_eq!(world.inner(0), address);
    assert_eq!(
        (world.fast.sessions.len(), world.fast.inbound.len()),
        (1, 1)
    );
    world.run(Duration::from_secs(100));
    assert_eq!(world.inner(0), address);
    assert_eq!(world.lines.with("the peer has started anew").len(), 2);
}

// conformance: 3193-25
#[test]
fn a_wrong_pre_shared_key_is_said_so_and_leaves_nothing() {
    let mut world = secured(1);
    let mut policy = policy();
    policy.psks[0].key = Secret::new("guess");
    world.clients[0].policy = Some(Arc::new(policy));
    world.dial(0);
    world.run(AFTERWARDS);
    let lines = world.lines.with("another pre-shared key");
    assert_eq!(lines.len(), 1, "{:?}", world.lines.all());
    assert!(lines[0].contains("peer=198.51.0.1:500"), "{lines:?}");
    for line in world.lines.all() {
        assert!(
            !line.contains("guess") && !line.contains("between us"),
            "{line}"
        );
    }
    world.assert_empty();
}

#[test]
fn a_refused_proposal_lists_offers_and_reasons() {
    let mut world = secured(1);
    let mut policy = policy();
    policy.phase1[0].cipher = Algorithm::TripleDesCbc;
    world.clients[0].policy = Some(Arc::new(policy));
    world.dial(0);
    world.run(AFTERWARDS);
    let lines = world.lines.with("IKE proposal refused");
    assert!(!lines.is_empty());
    assert!(lines[0].contains("3DES"), "{lines:?}");
    world.assert_empty();
}

// conformance: 3193-11
#[test]
fn l2tp_through_one_sa_cannot_speak_for_another_peers_tunnel() {
    let mut world = secured(2);
    world.dial(0);
    world.dial(1);
    let victim = world.clients[0].tunnel.as_ref().unwrap().peer_id().0;
    let [high, low] = victim.to_be_bytes();
    // StopCCN's outer shape is enough: a header with the victim's tunnel id.
    let message = vec![0xc8, 0x02, 0, 12, high, low, 0, 0, 0, 2, 0, 2];
    let spi = world.clients[1].pairs[0].outbound;
    let now = world.now;
    let from = world.clients[1].outer(4500);
    let punt = world
        .fast
        .secured_l2tp(Esp { now, spi, from }, message)
        .unwrap();
    world.control.handle_input(now, crate::Input::Punt(punt));
    world.run(A_SECOND);
    assert!(world.inner(0).is_some() && world.inner(1).is_some());
}

// conformance: 3193-10
#[test]
fn a_clear_message_for_a_secured_tunnel_is_dropped_and_the_tunnel_lives() {
    let mut world = secured(1);
    world.dial(0);
    let id = world.clients[0].tunnel.as_ref().unwrap().peer_id().0;
    let [high, low] = id.to_be_bytes();
    let stop = vec![0xc8, 0x02, 0, 12, high, low, 0, 0, 0, 2, 0, 2];
    let local = packet::Endpoint::new(super::world::GATEWAY.into(), 1701);
    let remote = world.clients[0].outer(1701);
    let punt = world.fast.plain_l2tp(local, remote, stop);
    let now = world.now;
    world.control.handle_input(now, crate::Input::Punt(punt));
    world.run(A_SECOND);
    assert!(world.fast.sent.is_empty());
    assert_eq!(world.count("where IPsec is required"), 1);
    assert!(world.inner(0).is_some());
}

// conformance: 3193-05 3193-07
#[test]
fn when_the_tunnel_has_gone_its_sas_are_deleted_after_a_while() {
    let mut world = secured(1);
    world.dial(0);
    world.run(A_SECOND);
    let now = world.now;
    world.clients[0].hang_up(now);
    world.run(Duration::from_secs(10));
    // A client that dials again at once finds them.
    assert_eq!(world.fast.inbound.len(), 1);
    world.run(Duration::from_secs(600));
    assert!(world.clients[0].pairs.is_empty());
    world.assert_empty();
    assert!(!world.lines.with("no L2TP tunnel left").is_empty());
}

// conformance: 3193-06
#[test]
fn when_only_the_ipsec_sas_are_deleted_the_tunnel_goes_after_a_grace_time() {
    let mut world = secured(1);
    world.dial(0);
    world.run(A_SECOND);
    let now = world.now;
    world.clients[0].delete_pairs(now);
    world.run(Duration::from_secs(29));
    assert_eq!(world.fast.sessions.len(), 1);
    world.run(A_SECOND * 2);
    assert_eq!(world.fast.sessions.len(), 0);
    let gone = world.lines.with("peer gone");
    assert!(gone[0].contains("why=no IPsec SA left"), "{gone:?}");
}

// conformance: 3193-06
#[test]
fn when_the_peer_deletes_all_its_sas_the_tunnel_goes_soon() {
    let mut world = secured(1);
    world.dial(0);
    world.run(A_SECOND);
    let now = world.now;
    world.clients[0].hang_up_ike(now);
    world.run(A_SECOND * 2);
    assert_eq!(world.fast.sessions.len(), 1);
    world.run(A_SECOND * 2);
    assert_eq!(world.fast.sessions.len(), 0);
    world.assert_empty();
    let gone = world.lines.with("peer gone");
    assert!(gone[0].contains("why=the peer deleted its SAs"), "{gone:?}");
}

#[test]
fn an_operator_sees_sas() {
    let mut world = secured(2);
    world.dial(0);
    world.dial(1);
    let filter = Filter {
        user: Some("user1".to_owned()),
        ..Filter::default()
    };
    let table = Table::Sas;
    let answer = world.ask(Request::Show { table, filter });
    let [Response::Sas(rows), Response::Totals(totals)] = &answer[..] else {
        panic!("rows, then totals: {answer:?}");
    };
    assert_eq!((rows.len(), totals.matched, totals.peers.now), (1, 1, 2));
    assert_eq!(rows[0].suite, "aes128gcm16");
    assert_eq!(rows[0].state, "current");
    assert_eq!(rows[0].identity, "198.51.0.2");
}

#[test]
fn many_secured_subscribers_come_and_go() {
    const CLIENTS: usize = 60;
    let mut world = secured(CLIENTS as u32);
    (0..CLIENTS).for_each(|n| world.dial(n));
    assert!((0..CLIENTS).all(|n| world.inner(n).is_some()));
    world.run(A_SECOND);
    let now = world.now;
    for client in &mut world.clients {
        client.hang_up(now);
    }
    world.settle();
    for client in &mut world.clients {
        client.hang_up_ike(now);
    }
    world.run(AFTERWARDS);
    world.assert_empty();
}

#[test]
fn a_shutdown_deletes_the_sas_too() {
    let mut world = secured(2);
    world.dial(0);
    world.dial(1);
    let now = world.now;
    world
        .control
        .handle_input(now, crate::Input::Shutdown { hurry: false });
    world.run(Duration::from_millis(100));
    assert!(world.is_finished);
    assert!(world.clients.iter().all(|client| client.pairs.is_empty()));
    assert!(world.fast.is_empty());
}

#[test]
fn a_shutdown_tells_the_peers_that_answer_even_if_others_are_silent() {
    let mut world = secured(2);
    world.dial(0);
    world.dial(1);
    world.clients[0].crash();
    let now = world.now;
    world
        .control
        .handle_input(now, crate::Input::Shutdown { hurry: false });
    world.run(crate::SHUTDOWN_LIMIT_MAX);
    assert!(world.is_finished);
    assert!(world.clients[1].pairs.is_empty());
    assert!(world.fast.is_empty());
}

pub(super) fn policy() -> Policy {
    let mut policy = Policy::modern();
    policy.phase1 = vec![Phase1Proposal {
        cipher: Algorithm::Aes256Cbc,
        hash: Hash::Sha256,
        group: Group::Toy,
    }];
    policy.phase2 = vec![Phase2Proposal {
        suite: Suite::AesGcm16 { key_bits: 128 },
    }];
    policy.psks = vec![Psk {
        peer: None,
        identity: None,
        key: Secret::new("between us"),
    }];
    policy
}

pub(super) fn secured_settings(users: usize) -> Settings {
    let mut settings = plain_settings(users);
    settings.listeners[0].ipsec_required = true;
    settings.listeners[0].ike = Some(Arc::new(policy()));
    settings
}

pub(super) fn secured(clients: u32) -> World {
    secured_with(secured_settings(clients as usize), clients)
}

pub(super) fn secured_with(settings: Settings, clients: u32) -> World {
    let mut world = World::new(settings, clients);
    for client in &mut world.clients {
        client.policy = Some(Arc::new(policy()));
    }
    world
}
