//! PAP, CHAP and MS-CHAPv2 against vectors, on the wire, and when things go wrong.

#![allow(clippy::wildcard_enum_match_arm)] // Tests pick what they look for.

mod common;

use common::*;
use crypto::Secret;
use crypto::mschap::NtHash;
use ppp::{
    Credentials, DownReason, Grant, Method, Name, Output, Phase, Refusal, Settings, UserSecret,
    Verdict,
};

/// RFC 2759 §9.2.
fn rfc_2759_credentials(user: &str) -> Credentials {
    Credentials::MsChapV2 {
        user: Name::from(user),
        id: 1,
        challenge: octets("5B5D7C7D7B3F2F3E3C2C602132262628"),
        peer_challenge: octets("21402324255E262A28295F2B3A337C7E"),
        response: octets("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF"),
    }
}

// conformance: 2759-03 2759-05
#[test]
fn the_example_of_rfc_2759_is_accepted_with_its_authenticator_response() {
    let password = UserSecret::Password(Secret::new(&b"clientPass"[..]));
    let hash = NtHash::from_hex("44EBBA8D5312B8D611474411F56989AE").unwrap();
    for user in ["User", "DOMAIN\\User"] {
        for secret in [&password, &UserSecret::NtHash(hash.clone())] {
            let credentials = rfc_2759_credentials(user);
            assert_eq!(credentials.user(), user);
            assert_eq!(
                credentials.check(secret).unwrap().authenticator_response,
                Some("S=407A5589115FD0D6209F510FE9C04566932CDA56".to_owned())
            );
        }
    }
    assert!(rfc_2759_credentials("Other").check(&password).is_none());
    let wrong = UserSecret::Password(Secret::new(&b"clientpass"[..]));
    assert!(rfc_2759_credentials("User").check(&wrong).is_none());
}

/// The response as Python's hashlib computes it.
// conformance: 1994-06
#[test]
fn chap_is_md5_over_identifier_secret_and_challenge() {
    let credentials = Credentials::ChapMd5 {
        user: Name::from("alice"),
        id: 7,
        challenge: (0..16).collect(),
        response: octets("821643665b430359e52ac524d29c8f95"),
    };
    let check = |secret: &[u8]| credentials.check(&UserSecret::Password(Secret::new(secret)));
    assert!(check(b"secret").is_some());
    assert!(check(b"Secret").is_none());
    let hash = NtHash::new([0; 16]);
    assert!(credentials.check(&UserSecret::NtHash(hash)).is_none());
}

#[test]
fn pap_is_checked_against_a_password_or_its_hash() {
    let show = |password: &[u8]| Credentials::Pap {
        user: Name::from("alice"),
        password: Secret::new(password),
    };
    let hash = NtHash::from_hex("44EBBA8D5312B8D611474411F56989AE").unwrap();
    for secret in [
        UserSecret::Password(Secret::new(&b"clientPass"[..])),
        UserSecret::NtHash(hash),
    ] {
        assert!(show(b"clientPass").check(&secret).is_some());
        assert!(show(b"clientPas").check(&secret).is_none());
        assert!(show(b"\xff\xfe").check(&secret).is_none());
    }
}

#[test]
fn a_name_keeps_its_octets_and_has_a_text() {
    let latin_1 = Name::new(b"J\xfcrgen");
    assert_eq!(
        (latin_1.text(), latin_1.wire()),
        ("Jürgen", &b"J\xfcrgen"[..])
    );
    assert_eq!(Name::new("Jürgen".as_bytes()).text(), "Jürgen");
}

/// A server whose LCP is open, which has not been shown anything.
fn asking(settings: Settings) -> End {
    let mut end = End::new(settings, 7);
    end.authorizes = false;
    end.open();
    let mut ack = end.sent().remove(0);
    ack[4] = 2;
    end.input(&ack);
    end.input(&hex("c021 01 01 0004"));
    assert_eq!(end.link.phase(), Phase::Authenticate);
    end
}

fn asked(end: &End) -> Vec<&Credentials> {
    let shown = end.said.iter().filter_map(|output| match output {
        Output::Authenticate(credentials) => Some(credentials),
        _ => None,
    });
    shown.collect()
}

fn reject() -> Verdict {
    Verdict::Reject {
        message: "no".to_owned(),
    }
}

/// alice, open
const PAP_REQUEST: &str = "c023 01 09 000f 05 616c696365 04 6f70656e";

// conformance: 1334-02 1334-03
#[test]
fn pap_asks_once_and_answers_every_request_alike() {
    let mut end = asking(server(&[Method::Pap]));
    assert_eq!(end.sent().len(), 1, "PAP servers wait");
    end.input(&hex(PAP_REQUEST));
    end.input(&hex(&PAP_REQUEST.replace("01 09", "01 0a")));
    assert_eq!(asked(&end).len(), 1);
    assert_eq!(asked(&end)[0].user(), "alice");
    end.authorize(Verdict::Accept(grant()));
    // The answer is for the last request, and IPCP begins.
    let sent = end.sent();
    assert_eq!(sent[0], hex("ff03 c023 02 0a 0005 00"));
    assert_eq!(sent[1][..5], hex("ff03 8021 01"));
    end.input(&hex(&PAP_REQUEST.replace("01 09", "01 0b")));
    assert_eq!(end.sent(), [hex("ff03 c023 02 0b 0005 00")]);
    assert_eq!(asked(&end).len(), 1);
    assert_eq!(end.link.phase(), Phase::Network);
}

#[test]
fn pap_says_no_with_a_message_and_hangs_up() {
    let mut end = asking(server(&[Method::Pap]));
    end.sent();
    end.input(&hex(PAP_REQUEST));
    end.authorize(reject());
    let sent = end.sent();
    assert_eq!(sent[0], hex("ff03 c023 03 09 0007 02 6e6f"));
    assert_eq!(sent[1][..5], hex("ff03 c021 05"));
}

/// The challenge that a server has out: identifier and value.
fn challenge(end: &mut End) -> (u8, Vec<u8>) {
    let frame = end
        .sent()
        .into_iter()
        .rfind(|frame| frame[2..5] == [0xc2, 0x23, 1])
        .expect("a challenge is out");
    assert_eq!(frame[8], 16);
    assert_eq!(&frame[25..], b"lns");
    (frame[5], frame[9..25].to_vec())
}

fn response(id: u8, value: &[u8]) -> Vec<u8> {
    let mut frame = hex("ff03 c223 02");
    frame.push(id);
    frame.extend_from_slice(&(10 + value.len() as u16).to_be_bytes());
    frame.push(value.len() as u8);
    frame.extend_from_slice(value);
    frame.extend_from_slice(b"alice");
    frame
}

// conformance: 1994-01 1994-02 1661-08
#[test]
fn a_challenge_is_repeated_and_each_link_has_its_own() {
    let mut end = asking(server(&[Method::ChapMd5]));
    let first = challenge(&mut end);
    end.pass(seconds(3));
    assert_eq!(challenge(&mut end), first);
    let mut other = End::opened(server(&[Method::ChapMd5]), 8);
    let mut ack = other.sent().remove(0);
    ack[4] = 2;
    other.input(&ack);
    other.input(&hex("c021 01 01 0004"));
    assert_ne!(challenge(&mut other).1, first.1);
    end.pass(seconds(33));
    assert_eq!(end.down(), Some(&DownReason::AuthenticationTimeout));
}

// conformance: 1994-03 1994-04 1994-07
#[test]
fn a_response_is_answered_alike_each_time_and_a_stale_one_never() {
    let mut end = asking(server(&[Method::ChapMd5]));
    let (id, _) = challenge(&mut end);
    end.input(&response(id.wrapping_add(1), &[0; 16]));
    assert_eq!(end.last_refusal(), Some(Refusal::StaleIdentifier));
    end.input(&response(id, &[0; 16]));
    end.input(&response(id, &[0; 16]));
    assert_eq!(asked(&end).len(), 1);
    end.authorize(Verdict::Accept(grant()));
    let mut success = hex("ff03 c223 03 00 0004");
    success[5] = id;
    assert_eq!(end.sent()[0], success);
    end.input(&response(id, &[0; 16]));
    assert_eq!(end.sent(), [success]);
    assert_eq!(end.link.phase(), Phase::Network);
}

// conformance: 1994-06 2759-03
#[test]
fn a_response_of_another_length_fails_without_asking_anybody() {
    for (method, length) in [
        (Method::ChapMd5, 15),
        (Method::ChapMd5, 17),
        (Method::MsChapV2, 48),
        (Method::MsChapV2, 50),
    ] {
        let mut end = asking(server(&[method]));
        let (id, _) = challenge(&mut end);
        end.input(&response(id, &vec![0; length]));
        assert!(asked(&end).is_empty());
        assert_eq!(end.sent()[0][2..5], [0xc2, 0x23, 4]);
        end.pass(seconds(6));
        assert!(matches!(
            end.down(),
            Some(DownReason::AuthenticationFailed { .. })
        ));
    }
}

/// The message of a CHAP Success or Failure.
fn message(frame: &[u8]) -> String {
    String::from_utf8_lossy(&frame[8..]).into_owned()
}

// conformance: 2759-01 2759-06
#[test]
fn ms_chap_success_carries_the_proof() {
    let mut end = asking(server(&[Method::MsChapV2]));
    let request = end.said.iter().find_map(|output| match output {
        Output::Send(frame) => Some(frame.clone()),
        _ => None,
    });
    assert_eq!(request.unwrap()[12..17], [3, 5, 0xc2, 0x23, 0x81]);
    let (id, _) = challenge(&mut end);
    end.input(&response(id, &[0; 49]));
    end.authorize(Verdict::Accept(Grant {
        authenticator_response: Some("S=407A5589115FD0D6209F510FE9C04566932CDA56".to_owned()),
        ..grant()
    }));
    let success = end.sent().remove(0);
    assert_eq!(success[4..6], [3, id]);
    assert_eq!(
        message(&success),
        "S=407A5589115FD0D6209F510FE9C04566932CDA56 M=Access granted"
    );
}

// conformance: 2759-07
#[test]
fn ms_chap_failure_says_that_it_is_final() {
    let mut end = asking(server(&[Method::MsChapV2]));
    let (id, value) = challenge(&mut end);
    end.input(&response(id, &[0; 49]));
    end.authorize(reject());
    let failure = end.sent().remove(0);
    assert_eq!(failure[4..6], [4, id]);
    let digits: String = value.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(message(&failure), format!("E=691 R=0 C={digits} V=3 M=no"));
    assert_eq!(end.link.phase(), Phase::Terminate);
}

// conformance: 2759-08
#[test]
fn ms_chap_lets_a_peer_try_again_against_the_new_challenge() {
    let mut end = asking(Settings {
        auth_retries: 1,
        ..server(&[Method::MsChapV2])
    });
    let (id, first) = challenge(&mut end);
    end.input(&response(id, &[0; 49]));
    end.authorize(reject());
    let failure = end.sent().remove(0);
    assert!(message(&failure).starts_with("E=691 R=1 C="));
    assert_eq!(end.link.phase(), Phase::Authenticate);
    // Our Failure was lost: the same response gets it again.
    end.input(&response(id, &[0; 49]));
    assert_eq!(end.sent(), [failure]);
    end.input(&response(id.wrapping_add(1), &[1; 49]));
    let shown = asked(&end);
    assert_eq!(shown.len(), 2);
    assert!(
        matches!(shown[1], Credentials::MsChapV2 { challenge, .. } if challenge[..] != first[..])
    );
    end.authorize(reject());
    assert!(message(&end.sent()[0]).starts_with("E=691 R=0 C="));
    assert_eq!(end.link.phase(), Phase::Terminate);
}

/// What a RADIUS server says in MS-CHAP-Error keeps its code and text; the challenge is ours.
// conformance: 2759-09
#[test]
fn a_radius_server_s_error_code_is_passed_on() {
    let mut end = asking(server(&[Method::MsChapV2]));
    let (id, value) = challenge(&mut end);
    end.input(&response(id, &[0; 49]));
    end.authorize(Verdict::Reject {
        message: "E=648 R=1 C=00112233445566778899AABBCCDDEEFF V=3 M=Password expired".to_owned(),
    });
    let digits: String = value.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(
        message(&end.sent()[0]),
        format!("E=648 R=0 C={digits} V=3 M=Password expired")
    );
}

#[test]
fn another_method_s_packets_are_dropped() {
    let mut end = asking(server(&[Method::ChapMd5]));
    end.input(&hex(PAP_REQUEST));
    assert_eq!(end.last_refusal(), Some(Refusal::OtherMethod));
    end.input(&hex("c223 09 01 0004"));
    assert_eq!(end.last_refusal(), Some(Refusal::UnknownAuthCode(9)));
    end.input(&hex("c223 02 01 0006 10 00"));
    assert_eq!(end.last_refusal(), Some(Refusal::Malformed));
}

#[test]
fn a_verdict_that_nobody_waits_for_changes_nothing() {
    let mut end = asking(server(&[Method::ChapMd5]));
    end.sent();
    end.authorize(Verdict::Accept(grant()));
    end.authorize(reject());
    assert_eq!(end.sent(), Vec::<Vec<u8>>::new());
    assert_eq!(end.link.phase(), Phase::Authenticate);
}

/// Success was lost, and the client says nothing, as pppd does: it is told again.
#[test]
fn a_lost_success_is_repeated_with_the_next_ipcp_request() {
    let mut end = asking(server(&[Method::ChapMd5]));
    let (id, _) = challenge(&mut end);
    end.input(&response(id, &[0; 16]));
    end.authorize(Verdict::Accept(grant()));
    let first = end.sent();
    end.pass(seconds(3));
    assert_eq!(end.sent(), first);
    end.input(&hex("80fd 01 01 0004"));
    end.sent();
    end.pass(seconds(3));
    assert_eq!(end.sent(), first[1..], "the client has followed");
}

// conformance: 1994-08
#[test]
fn a_client_answers_a_new_challenge_while_traffic_flows() {
    let (_, mut client) = pair(server(&[Method::ChapMd5]), client());
    assert!(client.is_up());
    client.sent();
    client.input(&hex("c223 01 42 000e 08 0102030405060708 78"));
    let sent = client.sent();
    assert_eq!(sent[0][2..6], [0xc2, 0x23, 2, 0x42]);
    assert_eq!(client.link.phase(), Phase::Network);
    client.input(&hex("c223 03 42 0004"));
    assert!(client.is_up());
    client.input(&hex("c223 01 43 000e 08 0102030405060708 78"));
    client.input(&hex("c223 04 43 0004"));
    client.pass(seconds(6));
    assert!(matches!(
        client.down(),
        Some(DownReason::AuthenticationFailed { .. })
    ));
    client.check_order();
}

/// Whoever demands nothing gets nothing; whoever demands what we lack is told what we have.
#[test]
fn a_client_offers_its_own_method_instead_of_an_unknown_one() {
    let mut end = End::opened(client(), 7);
    end.sent();
    end.input(&hex("c021 01 01 0008 03 04 c227"));
    assert_eq!(end.sent()[1], hex("ff03 c021 03 01 0009 03 05 c223 81"));
    let mut server = End::opened(server(&[Method::Pap]), 7);
    server.sent();
    server.input(&hex("c021 01 01 0008 03 04 c023"));
    assert_eq!(server.sent()[1], hex("ff03 c021 04 01 0008 03 04 c023"));
}
