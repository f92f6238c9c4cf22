//! What a real pppd said: Debian 12's pppd 2.4.9 under xl2tpd, both as client and as
//! server, from a capture and pppd's own debug log of a peer lab. The user is alice, the password
//! wonder-land.

#![allow(clippy::wildcard_enum_match_arm)] // Tests pick what they look for.

mod common;

use std::net::Ipv4Addr;

use common::*;
use crypto::Secret;
use ppp::{
    Credentials, DownReason, Grant, Method, Name, Output, Phase, Refusal, Settings, UserSecret,
    Verdict,
};

const LAB_PASSWORD: &[u8] = b"wonder-land";

fn lab_secret() -> UserSecret {
    UserSecret::Password(Secret::new(LAB_PASSWORD))
}

fn lab_grant() -> Grant {
    Grant {
        peer_address: Ipv4Addr::new(10, 77, 0, 10),
        own_address: Ipv4Addr::new(10, 77, 0, 1),
        dns: vec![DNS; 2],
        wins: vec![],
        authenticator_response: None,
    }
}

/// Two exchanges that ended in a tunnel that worked: challenge, response, proof.
#[test]
fn pppd_s_ms_chap_responses_are_accepted_and_its_proofs_are_ours() {
    for (id, challenge, response, proof) in [
        (
            0x3d,
            "71e1336cbea0912df2c244e3818b7af1",
            "ef8943159a60821c3bc790ac9b739814000000000000000045383c45e858a6a421656ac215bff59ccbc8659d8ef781c800",
            "S=2BB2B0DF21BF818EA090C5CDAB198EE4893B898E",
        ),
        (
            0xf1,
            "dc34c28cc058b238b37766b42745dd31",
            "b18ab0c2373128b69915920edfccb54b0000000000000000cf44a170b63c1c013a228d74a98ea04cdf928fc22d1c2cc000",
            "S=E8C97CC870AA5A2AD63614D7125FB4E1DB435975",
        ),
    ] {
        let response = hex(response);
        let credentials = Credentials::MsChapV2 {
            user: Name::from(USER),
            id,
            challenge: octets(challenge),
            peer_challenge: response[..16].try_into().expect("16 octets"),
            response: response[24..48].try_into().expect("24 octets"),
        };
        let accepted = credentials
            .check(&lab_secret())
            .expect("pppd knows the password");
        assert_eq!(accepted.authenticator_response.as_deref(), Some(proof));
    }
}

/// A challenge of 23 octets, and the response to which pppd said "Access granted".
// conformance: 1994-06
#[test]
fn pppd_s_md5_response_is_accepted() {
    let credentials = Credentials::ChapMd5 {
        user: Name::from(USER),
        id: 0x35,
        challenge: hex("16116fe8cc698c55e5c1b449f179a9a297f399844a4a6f"),
        response: octets("7df54f425098c56fd7ba970f471a3120"),
    };
    assert!(credentials.check(&lab_secret()).is_some());
}

/// The client dials in, asks for IPv6 too, and hangs up.
// conformance: 1661-28 1332-04 1877-01 1661-36
#[test]
fn a_pppd_client_is_served_as_a_pppd_server_would() {
    let mut end = End::new(server(&[]), 3);
    end.authorizes = false;
    end.open();
    end.sent();

    // LCP ConfReq <mru 1400> <asyncmap 0x0> <magic>; ours was lost, for pppd wasn't up.
    end.input(&hex(
        "ff03 c021 01 01 0014 0104 0578 0206 00000000 0506 09c9f36c",
    ));
    let sent = end.sent();
    assert_eq!(sent[0][2..5], [0xc0, 0x21, 1]);
    assert_eq!(
        sent[1],
        hex("ff03 c021 02 01 0014 0104 0578 0206 00000000 0506 09c9f36c")
    );
    let mut ack = sent[0].clone();
    ack[4] = 2;
    end.input(&ack);
    // LCP EchoReq id=0, at once and in the authentication phase.
    end.input(&hex("ff03 c021 09 00 0008 09c9f36c"));
    let reply = end.sent().remove(0);
    assert_eq!(reply[..8], hex("ff03 c021 0a 00 0008"));
    assert_eq!(end.link.phase(), Phase::Authenticate);
    end.authorize(Verdict::Accept(lab_grant()));
    assert_eq!(
        end.sent(),
        [hex("ff03 8021 01 01 000a 0306 0a4d0001")],
        "as pppd's IPCP ConfReq <addr 10.77.0.1>"
    );

    end.input(&hex(
        "ff03 8021 01 01 0016 0306 00000000 8106 00000000 8306 00000000",
    ));
    end.input(&hex("ff03 8057 01 01 000e 010a a4c8 0ce0 4d8a 9080"));
    end.input(&hex("ff03 8021 02 01 000a 0306 0a4d0001"));
    let sent = end.sent();
    assert_eq!(
        sent[1],
        hex("ff03 8021 03 01 0016 0306 0a4d000a 8106 c0000235 8306 c0000235"),
        "as pppd's IPCP ConfNak"
    );
    assert_eq!(sent[2][2..5], [0xc0, 0x21, 8], "no IPv6 here");
    end.input(&hex(
        "ff03 8021 01 02 0016 0306 0a4d000a 8106 c0000235 8306 c0000235",
    ));
    assert!(end.is_up());

    // LCP TermReq "User request", twice.
    end.sent();
    end.input(&hex("ff03 c021 05 02 0010 55736572207265717565 7374"));
    end.input(&hex("ff03 c021 05 03 0010 55736572207265717565 7374"));
    assert_eq!(
        end.sent(),
        [hex("ff03 c021 06 02 0004"), hex("ff03 c021 06 03 0004")]
    );
    end.pass(seconds(3));
    assert_eq!(
        end.down(),
        Some(&DownReason::PeerTerminated {
            message: "User request".to_owned()
        })
    );
}

/// The capture of a call to a pppd server, its frames as they were. Our answers differ from those
/// captured (an independent client in Python) in identifiers and magic number only.
#[test]
fn a_pppd_server_lets_us_in() {
    let mut end = End::opened(
        Settings {
            password: Secret::new(LAB_PASSWORD),
            request_dns: false,
            ..client()
        },
        3,
    );
    let request = end.sent().remove(0);

    end.input(&hex(
        "ff03 c021 01 01 0019 01040578 020600000000 0305c22305 0506f2ed4c5b",
    ));
    assert_eq!(
        end.sent()[1],
        hex("ff03 c021 02 01 0019 01040578 020600000000 0305c22305 0506f2ed4c5b")
    );
    let mut ack = request;
    ack[4] = 2;
    end.input(&ack);
    end.input(&hex("ff03 c021 09 00 0008 f2ed4c5b"));
    assert_eq!(end.sent()[0][4..6], [0x0a, 0x00]);

    end.input(&hex(
        "ff03 c223 01 35 001f 17 16116fe8cc698c55e5c1b449f179a9a297f399844a4a6f 6c6e73",
    ));
    assert_eq!(
        end.sent(),
        [hex(
            "ff03 c223 02 35 001a 10 7df54f425098c56fd7ba970f471a3120 616c696365"
        )]
    );
    end.input(&hex("ff03 c223 03 35 0012 416363657373206772616e746564"));
    assert_eq!(
        end.sent(),
        [hex("ff03 8021 01 01 000a 0306 00000000")],
        "as captured, but for the identifier"
    );

    end.input(&hex("ff03 8021 01 01 000a 0306 0a4d0001"));
    let sent = end.sent();
    assert_eq!(sent[1], hex("ff03 8021 02 01 000a 0306 0a4d0001"));
    end.input(&hex("ff03 8057 01 01 000e 010a 140ae2c14378fdf1"));
    let reject = end.sent().remove(0);
    assert_eq!(
        reject[6..],
        hex("0014 8057 01 01 000e 010a 140ae2c14378fdf1")
    );
    assert_eq!(
        end.last_refusal(),
        Some(Refusal::UnsupportedProtocol(0x8057))
    );
    end.input(&hex("ff03 8021 03 01 000a 0306 0a4d000a"));
    assert_eq!(end.sent(), [hex("ff03 8021 01 02 000a 0306 0a4d000a")]);
    end.input(&hex("ff03 8021 02 02 000a 0306 0a4d000a"));
    let up = end.up().expect("IPCP is open");
    assert_eq!(up.own, lab_grant().peer_address);
    assert_eq!(up.peer, lab_grant().own_address);
    let authenticates = |output: &Output| matches!(output, Output::Authenticate(_));
    assert!(!end.said.iter().any(authenticates), "clients judge nobody");
    let negotiated = end.said.iter().find_map(|output| match output {
        Output::LcpUp(negotiated) => negotiated.auth,
        _ => None,
    });
    assert_eq!(negotiated, Some(Method::ChapMd5));
}
