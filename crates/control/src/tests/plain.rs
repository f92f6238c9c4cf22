//! Stories of plain L2TP.

use std::time::Duration;

use ppp::{Method, UserSecret};

use super::world::{World, plain_settings, pool};
use crate::admin::{Clear, Filter, Request, Response, Table};
use crate::settings::{Beyond, SessionLimit};

/// Long enough for a closed tunnel to have answered the last repeat.
const AFTERWARDS: Duration = Duration::from_secs(60);
const A_SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_client_dials_in_and_its_address_leads_to_it() {
    let mut world = World::new(plain_settings(1), 1);
    world.dial(0);
    let inner = world.inner(0).unwrap();
    assert_eq!(inner.to_string(), "10.64.0.2");
    let (prefix, session) = world.fast.attached.first_key_value().unwrap();
    assert_eq!(prefix.addr(), inner);
    assert_eq!(world.fast.networks[session].mtu, 1400);
    let up = world.lines.with("session up");
    assert_eq!(up.len(), 1);
    for part in [
        "INFO",
        "user=user0",
        "address=10.64.0.2",
        "peer=198.51.0.1:1701",
        "mru=1400",
    ] {
        assert!(up[0].contains(part), "{part} in {up:?}");
    }
}

#[test]
fn hanging_up_gives_everything_back_and_leaves_one_summary_line() {
    let mut world = World::new(plain_settings(1), 1);
    world.dial(0);
    world.run(Duration::from_secs(100));
    let now = world.now;
    world.clients[0].hang_up(now);
    world.run(AFTERWARDS);
    world.assert_empty();
    let summary = world.lines.with("session ended");
    assert_eq!(summary.len(), 1);
    for part in [
        "INFO",
        "user=user0",
        "address=10.64.0.2",
        "suite=none",
        "mru=1400",
        "seconds=100",
        "up_bytes=1000",
        "reason=peer hung up: loss of carrier",
    ] {
        assert!(summary[0].contains(part), "{part} in {summary:?}");
    }
}

#[test]
fn a_client_that_closes_the_tunnel_right_after_its_lcp_goodbye_has_hung_up() {
    let mut world = World::new(plain_settings(1), 1);
    world.dial(0);
    let now = world.now;
    world.clients[0].hang_up_at_once(now);
    world.settle();
    let summary = world.lines.with("session ended");
    assert!(
        summary[0].contains("reason=the peer hung up"),
        "{summary:?}"
    );
}

#[test]
fn the_reason_of_a_session_whose_tunnel_the_peer_closes_says_so() {
    let mut world = World::new(plain_settings(1), 1);
    world.dial(0);
    let now = world.now;
    world.clients[0].close_tunnel(now);
    world.settle();
    let summary = world.lines.with("session ended");
    let reason = "reason=the tunnel ended: peer closed it: general request to clear (1)";
    assert!(summary[0].contains(reason), "{summary:?}");
}

#[test]
fn a_client_that_redials_gets_the_same_address() {
    let mut world = World::new(plain_settings(2), 2);
    world.dial(0);
    let first = world.inner(0);
    let now = world.now;
    world.clients[0].hang_up(now);
    world.run(A_SECOND);
    world.dial(1);
    assert_ne!(world.inner(1), first);
    world.dial(0);
    assert_eq!(world.inner(0), first);
}

#[test]
fn every_line_about_a_subscriber_carries_its_correlation_id() {
    let mut world = World::new(plain_settings(1), 1);
    world.dial(0);
    let now = world.now;
    world.clients[0].hang_up(now);
    world.run(AFTERWARDS);
    let summary = world.lines.with("session ended");
    let id = summary[0]
        .split(" id=")
        .nth(1)
        .unwrap()
        .split('.')
        .next()
        .unwrap();
    for line in world.lines.all() {
        assert!(line.contains(id), "{line}");
    }
}

#[test]
fn a_wrong_password_is_refused_and_said_so() {
    let mut world = World::new(plain_settings(1), 1);
    world.clients[0].password = "guess".to_owned();
    world.dial(0);
    world.run(AFTERWARDS * 2);
    assert_eq!(world.inner(0), None);
    let refused = world.lines.with("subscriber refused");
    assert_eq!(refused.len(), 1);
    assert!(refused[0].contains("user=user0"), "{refused:?}");
    assert!(refused[0].contains("why=wrong password"), "{refused:?}");
    let summary = world.lines.with("session ended");
    assert!(summary[0].contains("user=user0"), "{summary:?}");
    assert!(
        summary[0].contains("reason=refused: wrong password"),
        "{summary:?}"
    );
    assert_eq!(call_ends(&world, 0), ["administrative reasons (3)"]);
    let verified = world.ask(Request::VerifyPools);
    assert_eq!(verified, [Response::Verified(Vec::new())]);
}

#[test]
fn an_exhausted_pool_is_a_lack_for_the_moment() {
    let mut settings = plain_settings(2);
    settings.pools = vec![pool("10.64.0.2/32")];
    let mut world = World::new(settings, 2);
    world.dial(0);
    world.dial(1);
    world.run(AFTERWARDS);
    assert!(world.inner(0).is_some());
    assert_eq!(world.inner(1), None);
    assert_eq!(call_ends(&world, 1), ["lack of facilities, temporary (4)"]);
}

#[test]
fn a_user_of_whom_only_a_hash_is_known_cannot_use_chap_md5_and_that_is_the_reason() {
    let mut settings = plain_settings(1);
    settings.users[0].secret = UserSecret::NtHash(crypto::mschap::nt_password_hash("secret"));
    settings.listeners[0].ppp.auth = vec![Method::ChapMd5];
    let mut world = World::new(settings, 1);
    world.dial(0);
    assert_eq!(world.inner(0), None);
    let refused = world.lines.with("subscriber refused");
    let why = "why=only an NT hash is known, CHAP-MD5 needs the password";
    assert!(refused[0].contains(why), "{refused:?}");
    assert_eq!(world.count("authentication: wrong passwords"), 0);
}

#[test]
fn an_unknown_user_is_refused_and_names_can_be_hidden() {
    let mut settings = plain_settings(0);
    settings.redact = true;
    let mut world = World::new(settings, 1);
    world.dial(0);
    world.run(A_SECOND);
    assert_eq!(world.inner(0), None);
    let refused = world.lines.with("no such user");
    assert!(!refused.is_empty());
    for line in world.lines.all() {
        let hides = !line.contains("user0") && !line.contains("198.51") && !line.contains("10.64");
        assert!(hides || line.starts_with("DEBUG"), "{line}");
    }
}

#[test]
fn an_exhausted_pool_refuses_and_a_hang_up_makes_room_after_quarantine() {
    let mut settings = plain_settings(3);
    settings.pools = vec![pool("10.64.0.0/30")];
    let mut world = World::new(settings, 3);
    world.dial(0);
    world.dial(1);
    world.run(A_SECOND);
    assert_eq!((world.inner(0).is_some(), world.inner(1)), (true, None));
    assert_eq!(world.lines.with("no address left in the pool").len(), 2);
    let now = world.now;
    world.clients[0].hang_up(now);
    world.run(Duration::from_secs(61));
    world.dial(2);
    assert!(world.inner(2).is_some());
}

#[test]
fn a_user_who_comes_again_replaces_the_old_session_and_keeps_the_address() {
    let mut world = World::new(plain_settings(1), 2);
    world.clients[1].user = "user0".to_owned();
    world.dial(0);
    let address = world.inner(0);
    world.dial(1);
    world.run(A_SECOND);
    assert_eq!(world.inner(0), None);
    assert_eq!(world.inner(1), address);
    assert_eq!(world.fast.attached.len(), 1);
    assert_eq!(world.lines.with("replaced by a new session").len(), 1);
}

#[test]
fn a_user_at_a_hard_limit_is_refused_and_the_old_session_stays() {
    let mut settings = plain_settings(1);
    settings.profiles[0].sessions = SessionLimit {
        max: 1,
        beyond: Beyond::Deny,
    };
    let mut world = World::new(settings, 2);
    world.clients[1].user = "user0".to_owned();
    world.dial(0);
    world.dial(1);
    world.run(A_SECOND);
    assert!(world.inner(0).is_some());
    assert_eq!(world.inner(1), None);
    assert!(
        !world
            .lines
            .with("too many sessions of this user")
            .is_empty()
    );
}

#[test]
fn a_client_that_lost_its_memory_comes_back_at_once_to_the_same_address() {
    let mut world = World::new(plain_settings(1), 1);
    world.dial(0);
    let address = world.inner(0);
    world.clients[0].crash();
    world.dial(0);
    assert_eq!(world.inner(0), address);
    assert_eq!(world.fast.sessions.len(), 1);
}

#[test]
fn many_subscribers_come_and_go_and_nothing_is_left() {
    const CLIENTS: usize = 300;
    let mut world = World::new(plain_settings(CLIENTS), CLIENTS as u32);
    for n in 0..CLIENTS {
        world.dial(n);
    }
    let mut addresses: Vec<_> = (0..CLIENTS).map(|n| world.inner(n).unwrap()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), CLIENTS);
    world.run(A_SECOND);
    for n in 0..CLIENTS {
        let now = world.now;
        world.clients[n].hang_up(now);
    }
    world.run(AFTERWARDS);
    world.assert_empty();
}

#[test]
fn sessions_beyond_the_limit_are_told_that_we_are_busy() {
    let mut settings = plain_settings(3);
    settings.limits.sessions = 2;
    let mut world = World::new(settings, 3);
    (0..3).for_each(|n| world.dial(n));
    assert_eq!(world.fast.sessions.len(), 2);
    assert_eq!(world.inner(2), None);
    assert!(
        world.clients[2].ends[0].starts_with("call:"),
        "{:?}",
        world.clients[2].ends
    );
}

#[test]
fn where_ipsec_is_required_plain_l2tp_gets_no_answer() {
    let mut settings = plain_settings(1);
    settings.listeners[0].ipsec_required = true;
    let mut world = World::new(settings, 1);
    world.dial(0);
    world.run(A_SECOND);
    assert!(world.fast.is_empty());
    assert!(world.count("IPsec is required") >= 1);
}

#[test]
fn an_operator_sees_and_clears_sessions() {
    let mut world = World::new(plain_settings(3), 3);
    (0..3).for_each(|n| world.dial(n));
    let filter = Filter {
        user: Some("user1".to_owned()),
        ..Filter::default()
    };
    let table = Table::Sessions;
    let show = Request::Show {
        table,
        filter: filter.clone(),
    };
    let [Response::Sessions(rows), Response::Totals(totals)] = &world.ask(show)[..] else {
        panic!("rows, then totals");
    };
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].user.as_str(), rows[0].state.as_str()),
        ("user1", "up")
    );
    assert_eq!((totals.matched, totals.sessions_up), (1, 3));

    let what = Clear::Session;
    let empty = Filter::default();
    let refused = world.ask(Request::Clear {
        what,
        filter: empty,
    });
    assert!(matches!(refused[..], [Response::Refused(_)]));
    let cleared = world.ask(Request::Clear { what, filter });
    assert_eq!(cleared, [Response::Cleared(1)]);
    world.run(A_SECOND);
    assert_eq!(world.inner(1), None);
    assert!(world.inner(0).is_some() && world.inner(2).is_some());
    assert_eq!(world.lines.with("reason=cleared by the operator").len(), 1);
}

#[test]
fn a_long_table_comes_in_pages() {
    let mut settings = plain_settings(20);
    settings.limits.rows_per_turn = 3;
    let mut world = World::new(settings, 20);
    (0..20).for_each(|n| world.dial(n));
    for table in [Table::Sessions, Table::Tunnels] {
        let filter = Filter::default();
        let answer = world.ask(Request::Show { table, filter });
        let rows: usize = answer
            .iter()
            .map(|response| match response {
                Response::Sessions(rows) => rows.len(),
                Response::Tunnels(rows) => rows.len(),
                Response::Sas(_)
                | Response::Pools(_)
                | Response::Totals(_)
                | Response::Cleared(_)
                | Response::Verified(_)
                | Response::Counters(_)
                | Response::Refused(_) => 0,
            })
            .inspect(|rows| assert!(*rows <= 3))
            .sum();
        assert_eq!(rows, 20);
        assert!(answer.len() > 7);
    }
}

#[test]
fn a_shutdown_says_goodbye_and_finishes_in_time() {
    let mut world = World::new(plain_settings(2), 2);
    (0..2).for_each(|n| world.dial(n));
    let now = world.now;
    world
        .control
        .handle_input(now, crate::Input::Shutdown { hurry: false });
    world.run(Duration::from_millis(10));
    for client in &world.clients {
        let ends = client.ends.join(", ");
        assert!(ends.contains("call: peer hung up"), "{ends}");
        assert!(
            ends.contains("tunnel: peer closed it: being shut down"),
            "{ends}"
        );
    }
    assert_eq!(world.fast.terminate_requests, 2);
    assert!(world.fast.attached.is_empty());
    world.dial(0);
    assert_eq!(world.inner(0), None);
    world.run(Duration::from_millis(90));
    assert!(world.is_finished);
}

#[test]
fn a_shutdown_repeats_itself_once_for_peers_that_are_silent_and_does_not_wait_for_them() {
    let mut world = World::new(plain_settings(2), 2);
    (0..2).for_each(|n| world.dial(n));
    world.clients[0].crash();
    let now = world.now;
    world
        .control
        .handle_input(now, crate::Input::Shutdown { hurry: false });
    world.run(Duration::from_millis(1500));
    assert!(!world.is_finished);
    world.run(Duration::from_millis(1500));
    assert!(world.is_finished);
}

#[test]
fn a_second_order_to_shut_down_finishes_at_once() {
    let mut world = World::new(plain_settings(1), 1);
    world.dial(0);
    let now = world.now;
    for hurry in [false, true] {
        assert!(!world.is_finished);
        world
            .control
            .handle_input(now, crate::Input::Shutdown { hurry });
        world.settle();
    }
    assert!(world.is_finished);
}

/// What the gateway's CDNs said to a client.
fn call_ends(world: &World, n: usize) -> Vec<&str> {
    let ends = world.clients[n].ends.iter();
    ends.filter_map(|end| end.strip_prefix("call: peer hung up: "))
        .collect()
}

/// A control message without tunnel id: Message Type and Assigned Tunnel ID, then what else it needs.
fn nameless(message_type: u8, ns: u16, assigned: u16, more: &[u8]) -> Vec<u8> {
    let [high, low] = assigned.to_be_bytes();
    let avps = [
        &[
            0x80,
            8,
            0,
            0,
            0,
            0,
            0,
            message_type,
            0x80,
            8,
            0,
            0,
            0,
            9,
            high,
            low,
        ][..],
        more,
    ]
    .concat();
    let [len_high, len_low] = (12 + avps.len() as u16).to_be_bytes();
    let [ns_high, ns_low] = ns.to_be_bytes();
    let header = [
        0xc8, 2, len_high, len_low, 0, 0, 0, 0, ns_high, ns_low, 0, 0,
    ];
    [&header[..], &avps].concat()
}

#[test]
fn a_tunnel_in_the_clear_is_not_hung_up_by_messages_in_its_peers_name() {
    let mut world = World::new(plain_settings(1), 1);
    world.dial(0);
    world.run(A_SECOND);
    let tunnel = world.clients[0].tunnel.as_ref().unwrap();
    let id = tunnel.id().0;
    let remote = world.clients[0].outer(1701);
    let local = packet::Endpoint::new(super::world::GATEWAY.into(), 1701);
    // Result code 1: general request to clear.
    let result = [0x80, 8, 0, 0, 0, 1, 0, 1];
    for ns in [0, 1, 0x7fff, 0x8000, 0xffff] {
        for message in [nameless(1, ns, id, &[]), nameless(4, ns, id, &result)] {
            let punt = world.fast.plain_l2tp(local, remote, message);
            world
                .control
                .handle_input(world.now, crate::Input::Punt(punt));
            world.settle();
            assert!(world.inner(0).is_some(), "Ns {ns}");
        }
    }
    world.run(A_SECOND * 300);
    assert!(world.inner(0).is_some());
    assert_eq!(world.fast.sessions.len(), 1);
    assert_eq!(world.count("replaced by a new dial-in"), 0);
}
