//! Server and client dial each other, on good wires and bad ones.

mod common;

use std::time::Duration;

use common::*;
use crypto::Secret;
use ppp::{Credentials, DownReason, Method, Output, Phase, Settings};

const ALL: [Method; 3] = [Method::MsChapV2, Method::ChapMd5, Method::Pap];

// conformance: 1661-04 1661-05 1332-01
#[test]
fn a_client_gets_in_by_every_method() {
    for method in ALL {
        let (server, client) = pair(server(&[method]), client());
        assert_eq!(client.up().unwrap().own, PEER_ADDRESS, "{method}");
        assert_eq!(client.up().unwrap().peer, OWN_ADDRESS);
        assert_eq!(client.up().unwrap().dns, [DNS]);
        assert_eq!(server.up().unwrap().peer, PEER_ADDRESS);
        assert_eq!(server.link.phase(), Phase::Network);
        server.check_order();
        client.check_order();
    }
}

#[test]
fn a_server_that_asks_nobody_still_waits_for_the_verdict() {
    let mut server = End::new(server(&[]), 1);
    server.authorizes = false;
    server.open();
    let mut client = End::opened(client(), 2);
    talk(&mut server, &mut client);
    let asks = |output: &Output| matches!(output, Output::Authenticate(Credentials::None));
    assert_eq!(server.said.iter().filter(|output| asks(output)).count(), 1);
    assert_eq!(server.link.phase(), Phase::Authenticate);
    server.authorize(judge(&Credentials::None));
    talk(&mut server, &mut client);
    assert!(server.is_up() && client.is_up());
}

// conformance: 1661-50 1334-01
#[test]
fn the_server_goes_down_its_list_as_the_client_refuses() {
    for (accepted, expected) in [
        (&ALL[..], Some(Method::MsChapV2)),
        (&[Method::ChapMd5, Method::Pap], Some(Method::ChapMd5)),
        (&[Method::Pap], Some(Method::Pap)),
        (&[], None),
    ] {
        let client = Settings {
            auth: accepted.to_vec(),
            ..client()
        };
        let (server, _) = pair(server(&ALL), client);
        assert_eq!(server.is_up(), expected.is_some(), "{accepted:?}");
        if expected.is_none() {
            assert_eq!(server.down(), Some(&DownReason::NoCommonMethod));
        }
    }
}

// conformance: 1661-50 1661-04
#[test]
fn a_method_that_is_not_allowed_is_never_taken() {
    let client = Settings {
        auth: vec![Method::Pap],
        ..client()
    };
    let (server, client) = pair(server(&[Method::MsChapV2, Method::ChapMd5]), client);
    assert_eq!(server.down(), Some(&DownReason::NoCommonMethod));
    assert!(!client.is_up());
}

// conformance: 1334-01
#[test]
fn pap_is_off_until_the_operator_allows_it() {
    let settings = Settings::server("lns");
    assert_eq!(settings.auth, [Method::MsChapV2, Method::ChapMd5]);
    assert!(!settings.auth.contains(&Method::Pap));
}

/// Whatever was agreed on: control frames are rare, and every peer understands this form.
// conformance: 1661-55 1661-57
#[test]
fn control_frames_are_sent_uncompressed() {
    for method in ALL {
        let (server, client) = pair(server(&[method]), client());
        for output in server.said.iter().chain(&client.said) {
            if let Output::Send(frame) = output {
                assert!(frame.starts_with(&[0xff, 0x03]) && frame[2] >= 0x80);
            }
        }
    }
}

// conformance: 1661-07 1994-07 1334-02
#[test]
fn a_wrong_password_ends_the_link_on_both_sides() {
    for method in ALL {
        let client = Settings {
            password: Secret::new(&b"guess"[..]),
            ..client()
        };
        let (mut server, mut client) = pair(server(&[method]), client);
        server.pass(seconds(10));
        client.pass(seconds(10));
        for end in [&server, &client] {
            assert!(
                matches!(end.down(), Some(DownReason::AuthenticationFailed { .. })),
                "{method} {:?}",
                end.down()
            );
            assert!(end.said.iter().any(|output| matches!(
                output,
                Output::AuthRefused { user, .. } if user.text() == USER
            )));
            end.check_order();
        }
    }
}

/// RFC 2759 §5: the client must not believe a server that cannot prove itself.
#[test]
fn a_server_without_the_password_is_no_server() {
    let mut server = End::new(server(&[Method::MsChapV2]), 1);
    server.authorizes = false;
    server.open();
    let mut client = End::opened(client(), 2);
    talk(&mut server, &mut client);
    let mut verdict = grant();
    verdict.authenticator_response = Some(format!("S={:040X}", 0xbad));
    server.authorize(ppp::Verdict::Accept(verdict));
    talk(&mut server, &mut client);
    assert_eq!(client.down(), Some(&DownReason::ServerNotAuthentic));
}

// conformance: 1661-12 1661-36
#[test]
fn hanging_up_is_heard_on_the_other_side() {
    let (mut server, mut client) = pair(server(&ALL), client());
    client.close(DownReason::Cleared);
    talk(&mut server, &mut client);
    assert_eq!(client.down(), Some(&DownReason::Cleared));
    // The receiver stays for one restart time, in case its Ack was lost.
    server.pass(seconds(3) - Duration::from_millis(1));
    assert_eq!(server.down(), None);
    assert!(!server.is_up());
    server.pass(Duration::from_millis(1));
    assert!(matches!(
        server.down(),
        Some(DownReason::PeerTerminated { .. })
    ));
    server.check_order();
}

#[test]
fn a_close_that_nobody_hears_ends_too() {
    let (mut server, _) = pair(server(&ALL), client());
    server.close(DownReason::Shutdown);
    server.close(DownReason::Cleared);
    assert_eq!(server.link.phase(), Phase::Terminate);
    server.pass(seconds(6));
    assert_eq!(server.down(), Some(&DownReason::Shutdown));
    assert_eq!(server.link.poll_timeout(), None);
}

#[test]
fn without_a_lower_layer_there_is_nobody_to_tell() {
    let (mut server, _) = pair(server(&ALL), client());
    let before = server.said.len();
    server.close(DownReason::LowerLayerDown);
    assert!(matches!(
        server.said[before..],
        [
            Output::NetworkDown,
            Output::Down(DownReason::LowerLayerDown)
        ]
    ));
}

#[test]
fn a_link_that_was_never_opened_is_down_at_once() {
    let mut end = End::new(server(&ALL), 1);
    end.close(DownReason::Cleared);
    assert_eq!(end.down(), Some(&DownReason::Cleared));
    end.open();
    end.input(&hex("ff03 c021 09 01 0004"));
    end.check_order();
}

/// Each chance in percent.
struct Weather {
    loss: u32,
    copy: u32,
    delay_ms_max: u32,
}

/// Both ends on one wire until both are up or down, or the time is over.
fn through(weather: &Weather, method: Method, seed: u64) -> (End, End, Duration) {
    let mut dice = random(seed ^ 0x77);
    let mut ends = [
        End::new(server(&[method]), seed),
        End::new(client(), seed + 1_000_000),
    ];
    let mut wire: Vec<(std::time::Instant, u64, usize, Vec<u8>)> = Vec::new();
    let mut serial = 0;
    let mut now = epoch();
    ends[0].open();
    let mut client_starts = Some(now + Duration::from_millis(dice.below(1500).into()));
    loop {
        for (to, from) in [(1, 0), (0, 1)] {
            for frame in ends[from].sent() {
                let copies = 1 + u64::from(dice.below(100) < weather.copy);
                for _ in 0..copies {
                    if dice.below(100) < weather.loss {
                        continue;
                    }
                    let delay = Duration::from_millis(dice.below(weather.delay_ms_max).into());
                    serial += 1;
                    wire.push((now + delay, serial, to, frame.clone()));
                }
            }
        }
        let is_settled = |end: &End| end.is_up() || end.down().is_some();
        if wire.is_empty() && ends.iter().all(is_settled) {
            break;
        }
        let arrival = wire.iter().map(|(at, ..)| *at).min();
        let deadlines = ends.iter().filter_map(|end| end.link.poll_timeout());
        let next = deadlines
            .map(|(at, _)| at)
            .chain(arrival)
            .chain(client_starts)
            .min()
            .expect("a link that is neither up nor down waits for something");
        now = next.max(now);
        assert!(now < epoch() + seconds(300), "seed {seed} does not settle");
        for end in &mut ends {
            end.now = now;
            end.timeout();
        }
        if client_starts.is_some_and(|at| at <= now) {
            client_starts = None;
            ends[1].open();
        }
        wire.sort();
        while wire.first().is_some_and(|(at, ..)| *at <= now) {
            let (_, _, to, frame) = wire.remove(0);
            ends[to].input(&frame);
        }
    }
    let [server, client] = ends;
    (server, client, now - epoch())
}

const SEEDS: u64 = 300;

/// The default negotiation limit, and Max-Terminate runs of the Restart timer.
const LIMIT: Duration = Duration::from_secs(60);
const FAREWELL: Duration = Duration::from_secs(6);

// conformance: 1661-08 1661-18 1661-27 1994-02 1994-04 1334-03
#[test]
fn a_bad_wire_delays_and_does_not_confuse() {
    let weather = Weather {
        loss: 20,
        copy: 10,
        delay_ms_max: 80,
    };
    let mut both_up = 0;
    for seed in 0..SEEDS {
        let method = ALL[seed as usize % 3];
        let (server, client, took) = through(&weather, method, seed);
        server.check_order();
        client.check_order();
        assert!(took <= LIMIT + 2 * FAREWELL, "seed {seed} took {took:?}");
        let ups = [server.is_up(), client.is_up()];
        if ups == [true, true] {
            both_up += 1;
            assert_eq!(client.up().unwrap().own, PEER_ADDRESS);
        } else {
            assert!(server.down().is_some() || client.down().is_some(), "{seed}");
        }
    }
    assert!(both_up * 100 >= SEEDS * 97, "{both_up} of {SEEDS}");
}

/// Half the frames lost: whatever comes of it, it ends in time.
// conformance: 1661-18
#[test]
fn a_hopeless_wire_ends_within_the_limit() {
    let weather = Weather {
        loss: 60,
        copy: 0,
        delay_ms_max: 500,
    };
    for seed in 0..SEEDS {
        let (server, client, took) = through(&weather, Method::MsChapV2, seed);
        server.check_order();
        client.check_order();
        // One whole attempt, and one more of an end that was up when the other gave up.
        assert!(took <= 2 * (LIMIT + FAREWELL), "seed {seed} took {took:?}");
    }
}

#[test]
fn a_good_wire_takes_no_timer() {
    let weather = Weather {
        loss: 0,
        copy: 0,
        delay_ms_max: 1,
    };
    for seed in 0..20 {
        let (server, client, took) = through(&weather, Method::MsChapV2, seed);
        assert!(server.is_up() && client.is_up());
        // The client starts within the first 1.5 s; the rest is a few round trips.
        assert!(took < Duration::from_millis(1600), "{took:?}");
    }
}

/// The peer begins to listen late, as pppd does: our first request is lost, and no timer is waited
/// for all the same.
#[test]
fn a_request_lost_on_a_late_peer_is_repeated_when_the_peer_speaks() {
    let mut server = End::opened(server(&ALL), 1);
    let lost = server.sent();
    assert_eq!(lost.len(), 1);
    server.pass(Duration::from_millis(700));
    let mut client = End::opened(client(), 2);
    client.now = server.now;
    talk(&mut server, &mut client);
    assert!(server.is_up() && client.is_up());
}

#[test]
fn a_request_is_repeated_but_once_per_run_of_the_timer() {
    let mut server = End::opened(server(&ALL), 1);
    let first = server.sent();
    // MRU 64 is Nak'd, so that the server remains in Req-Sent.
    let request = |id: u8| hex(&format!("ff03 c021 01 {id:02x} 0008 01 04 0040"));
    server.input(&request(1));
    let sent = server.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], first[0]);
    assert_eq!(sent[1], hex("ff03 c021 03 01 0008 01 04 0080"));
    server.input(&request(2));
    assert_eq!(server.sent().len(), 1);
    server.pass(seconds(3));
    assert_eq!(server.sent(), first);
    server.input(&request(3));
    assert_eq!(server.sent().len(), 2);
}
