//! What real clients send, octet for octet, and what they are to get.
//!
//! The frames are those of the implementations named with each test: option order and values as
//! pppd 2.4.9 (`lcp.c`, `ipcp.c`), Apple's and Android's pppd and Windows build them, magic
//! numbers and names made up.

#![allow(clippy::wildcard_enum_match_arm)] // Tests pick what they look for.

mod common;

use std::net::Ipv4Addr;

use common::*;
use ppp::{DownReason, Method, Output, Phase, Refusal, Settings};

/// A server just opened, its own Configure-Request acknowledged.
fn acknowledged(settings: Settings) -> End {
    let mut end = End::opened(settings, 7);
    acknowledge(&mut end);
    end
}

/// Sends back the last Configure-Request as a Configure-Ack.
fn acknowledge(end: &mut End) {
    let mut request = end
        .sent()
        .into_iter()
        .rfind(|frame| frame[4] == 1)
        .expect("a request is pending");
    request[4] = 2;
    end.input(&request);
}

/// A server in the network phase, IPCP pending.
fn in_network_phase() -> End {
    let mut end = End::new(server(&[]), 7);
    end.authorizes = false;
    end.open();
    acknowledge(&mut end);
    end.input(&hex("ff03 c021 01 01 000a 05 06 0badcafe"));
    assert_eq!(end.link.phase(), Phase::Authenticate);
    end.sent();
    end.authorize(ppp::Verdict::Accept(grant()));
    assert_eq!(end.link.phase(), Phase::Network);
    end
}

/// Linux: pppd 2.4.9 under xl2tpd, `mtu 1400 mru 1400`.
// conformance: 1661-28 1662-01 1661-57
#[test]
fn pppd_gets_its_options_acknowledged_bit_for_bit() {
    let mut end = acknowledged(server(&[Method::MsChapV2]));
    end.input(&hex(
        "ff03 c021 01 01 0018 01 04 0578 02 06 00000000 05 06 3f1a2b4c 07 02 08 02",
    ));
    assert_eq!(
        end.sent()[0],
        hex("ff03 c021 02 01 0018 01 04 0578 02 06 00000000 05 06 3f1a2b4c 07 02 08 02")
    );
    let Some(Output::LcpUp(negotiated)) = end.said.iter().find(|o| matches!(o, Output::LcpUp(_)))
    else {
        panic!("LCP is up")
    };
    assert_eq!(negotiated.peer_mru, 1400);
    assert!(negotiated.pfc && negotiated.acfc);
}

/// Linux: IPCP of pppd with `usepeerdns` and VJ compression.
// conformance: 1332-03 1332-04 1877-01 1661-30
#[test]
fn pppd_is_led_to_its_address() {
    let mut end = in_network_phase();
    acknowledge(&mut end);
    end.input(&hex(
        "ff03 8021 01 01 001c 02 06 002d 0f 01 03 06 00000000 81 06 00000000 83 06 00000000",
    ));
    // VJ and the second name server, which there is none of, are rejected before anything is Nak'd.
    assert_eq!(
        end.sent(),
        [hex("ff03 8021 04 01 0010 02 06 002d 0f 01 83 06 00000000")]
    );
    end.input(&hex("ff03 8021 01 02 0010 03 06 00000000 81 06 00000000"));
    assert_eq!(
        end.sent(),
        [hex("ff03 8021 03 02 0010 03 06 0a400007 81 06 c0000235")]
    );
    end.input(&hex("ff03 8021 01 03 0010 03 06 0a400007 81 06 c0000235"));
    let news = end.heard();
    assert!(
        matches!(&news[..], [Output::Up(addresses), Output::Send(ack)]
            if addresses.peer == PEER_ADDRESS
            && *ack == hex("ff03 8021 02 03 0010 03 06 0a400007 81 06 c0000235")),
        "{news:?}"
    );
}

/// Windows 10 and 11: callback (CBCP) asked for, three Identifications, WINS asked for.
// conformance: 1661-34 1332-02
#[test]
fn windows_loses_its_callback_and_tells_its_name() {
    let mut end = acknowledged(server(&[Method::MsChapV2]));
    end.input(&hex(
        "ff03 c021 01 00 0015 01 04 0578 05 06 61e54ab9 07 02 08 02 0d 03 06",
    ));
    assert_eq!(end.sent(), [hex("ff03 c021 04 00 0007 0d 03 06")]);
    end.input(&hex(
        "ff03 c021 01 01 0012 01 04 0578 05 06 61e54ab9 07 02 08 02",
    ));
    end.input(&hex("ff03 c021 0c 02 0012 61e54ab9 4d535241535635 2e3230"));
    end.input(&hex(
        "ff03 c021 0c 03 0018 61e54ab9 4d535241532d302d4445534b544f5041",
    ));
    end.input(&hex(
        "ff03 c021 0c 04 0018 61e54ab9 f3c22bd90f6a1c42 9d0ea0d27ac81c13",
    ));
    let idents: Vec<_> = end
        .said
        .iter()
        .filter_map(|output| match output {
            Output::Ident(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(idents[..2], ["MSRASV5.20", "MSRAS-0-DESKTOPA"]);
    assert_eq!(idents.len(), 3);
}

// conformance: 1877-01
#[test]
fn name_servers_that_there_are_none_of_are_rejected_and_not_nakd_with_zero() {
    let mut end = in_network_phase();
    end.sent();
    end.input(&hex(
        "ff03 8021 01 05 0022 03 06 00000000 81 06 00000000 82 06 00000000 83 06 00000000 84 06 00000000",
    ));
    // Our own request, unanswered, is repeated first.
    assert_eq!(
        end.sent()[1],
        hex("ff03 8021 04 05 0016 82 06 00000000 83 06 00000000 84 06 00000000")
    );
}

/// macOS and iOS: ACSCP asked for beside IPCP, which goes on undisturbed.
// conformance: 1661-10
#[test]
fn apple_s_acscp_is_rejected_at_once() {
    let mut end = in_network_phase();
    end.sent();
    end.input(&hex("ff03 8235 01 01 000a 01 06 00000001"));
    assert_eq!(
        end.sent(),
        [hex("ff03 c021 08 02 0010 8235 01 01 000a 01 06 00000001")]
    );
    assert_eq!(
        end.last_refusal(),
        Some(Refusal::UnsupportedProtocol(0x8235))
    );
}

/// MikroTik: CCP's request, and IPCP's without waiting for the answer; without `FF 03`.
// conformance: 1661-10 1661-58
#[test]
fn mikrotik_s_pipelined_protocols_are_answered_one_by_one() {
    let mut end = in_network_phase();
    acknowledge(&mut end);
    end.input(&hex("80fd 01 01 000a 12 06 01000040"));
    end.input(&hex("8021 01 01 000a 03 06 00000000"));
    assert_eq!(
        end.sent(),
        [
            hex("ff03 c021 08 02 0010 80fd 01 01 000a 12 06 01000040"),
            hex("ff03 8021 03 01 000a 03 06 0a400007"),
        ]
    );
    end.input(&hex("8021 01 02 000a 03 06 0a400007"));
    assert!(end.is_up());
}

#[test]
fn protocol_rejects_are_limited_in_rate() {
    let mut end = in_network_phase();
    end.sent();
    for _ in 0..100 {
        end.input(&hex("8281 01 01 0004"));
    }
    assert_eq!(end.sent().len(), 16);
    assert_eq!(end.last_refusal(), Some(Refusal::TooManyRejects(0x8281)));
    end.pass(seconds(1));
    end.sent();
    end.input(&hex("8281 01 01 0004"));
    assert_eq!(end.sent().len(), 1);
}

/// SoftEther #1102: a challenge before the client's LCP is open is lost or worse.
// conformance: 1661-05
#[test]
fn no_challenge_before_both_acks() {
    let mut end = End::opened(server(&[Method::MsChapV2]), 7);
    let challenges = |end: &mut End| {
        let sent = end.sent();
        sent.iter().filter(|f| f[2..4] == [0xc2, 0x23]).count()
    };
    end.input(&hex("c021 01 01 0008 01 04 0578"));
    end.pass(seconds(2));
    assert_eq!(challenges(&mut end), 0);
    end.pass(seconds(1));
    acknowledge(&mut end);
    let sent = end.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0][2..5], [0xc2, 0x23, 1]);

    let mut end = acknowledged(server(&[Method::MsChapV2]));
    assert_eq!(challenges(&mut end), 0);
    end.input(&hex("c021 01 01 0008 01 04 0578"));
    let sent = end.sent();
    assert_eq!(sent[0][2..5], [0xc0, 0x21, 2], "the Ack goes first");
    assert_eq!(sent[1][2..5], [0xc2, 0x23, 1]);
}

/// A router that speaks CHAP only: `Nak(CHAP-MD5)`, then EAP from one that speaks nothing of ours.
// conformance: 1661-50
#[test]
fn a_nak_leads_to_the_proposed_method_or_to_the_next() {
    let mut end = End::opened(server(&[Method::MsChapV2, Method::ChapMd5, Method::Pap]), 7);
    assert_eq!(end.sent()[0][12..17], [3, 5, 0xc2, 0x23, 0x81]);
    end.input(&hex("c021 03 01 0008 03 04 c023"));
    assert_eq!(end.sent()[0][12..16], [3, 4, 0xc0, 0x23]);
    end.input(&hex("c021 03 02 0008 03 04 c227"));
    assert_eq!(end.sent()[0][12..17], [3, 5, 0xc2, 0x23, 0x05]);
    end.input(&hex("c021 03 03 0008 03 04 c227"));
    end.pass(seconds(6));
    assert_eq!(end.down(), Some(&DownReason::NoCommonMethod));
}

// conformance: 1661-04
#[test]
fn a_peer_that_rejects_authentication_is_not_let_in() {
    let mut end = End::opened(server(&[Method::MsChapV2, Method::Pap]), 7);
    end.input(&hex("c021 04 01 0009 03 05 c22381"));
    end.pass(seconds(6));
    assert_eq!(end.down(), Some(&DownReason::NoCommonMethod));
}

// conformance: 1661-45 1661-31
#[test]
fn bad_lengths_get_a_nak_with_a_good_one_or_a_reject() {
    let mut end = acknowledged(server(&[]));
    end.input(&hex("c021 01 01 0010 01 03 05 02 03 00 05 06 00000000"));
    let sent = end.sent();
    assert_eq!(
        sent[0][..18],
        hex("ff03 c021 03 01 0014 01 04 05dc 02 06 00000000")
    );
    assert_eq!(sent[0][18..20], [5, 6]);
    assert_ne!(sent[0][20..24], [0; 4]);
    end.input(&hex("c021 01 02 000a 07 03 01 08 03 00"));
    assert_eq!(end.sent(), [hex("ff03 c021 04 02 000a 07 03 01 08 03 00")]);
}

// conformance: 1661-46
#[test]
fn an_unreadable_list_gets_no_answer() {
    let mut end = acknowledged(server(&[]));
    for text in ["c021 01 01 0009 01 04 0578 05", "c021 01 01 0006 01 00"] {
        end.input(&hex(text));
        assert_eq!(end.sent(), Vec::<Vec<u8>>::new());
        assert_eq!(end.last_refusal(), Some(Refusal::BadOptionLength));
    }
}

#[test]
fn a_small_mru_is_taken_down_to_the_minimum() {
    let mut end = acknowledged(server(&[]));
    end.input(&hex("c021 01 01 0008 01 04 007f"));
    assert_eq!(end.sent(), [hex("ff03 c021 03 01 0008 01 04 0080")]);
    end.input(&hex("c021 01 02 0008 01 04 0080"));
    assert_eq!(end.sent()[0], hex("ff03 c021 02 02 0008 01 04 0080"));
}

// conformance: 1661-22 1661-26
#[test]
fn a_peer_that_does_not_learn_is_rejected_after_max_failure() {
    let mut end = acknowledged(server(&[]));
    for id in 1..=6 {
        end.input(&hex(&format!("c021 01 {id:02x} 0008 01 04 0040")));
        let code = end.sent()[0][4];
        assert_eq!(code, if id <= 5 { 3 } else { 4 }, "id {id}");
    }
}

// conformance: 1661-29 1661-33 1661-35
#[test]
fn answers_count_only_for_the_last_request_and_only_once() {
    let mut end = End::opened(server(&[Method::Pap]), 7);
    let request = end.sent().remove(0);
    let mut wrong_id = request.clone();
    (wrong_id[4], wrong_id[5]) = (2, 9);
    end.input(&wrong_id);
    assert_eq!(end.last_refusal(), Some(Refusal::StaleIdentifier));
    let mut wrong_options = request.clone();
    (wrong_options[4], wrong_options[11]) = (2, 0);
    end.input(&wrong_options);
    assert_eq!(end.last_refusal(), Some(Refusal::NotOurOptions));
    end.input(&hex("c021 04 01 0008 01 04 0111"));
    assert_eq!(end.last_refusal(), Some(Refusal::NotOurOptions));
    // The MRU is rejected: it is not asked for again, and the Identifier is a new one.
    end.input(&hex("c021 04 01 0008 01 04 0578"));
    assert_eq!(end.last_refusal(), None);
    end.input(&hex("c021 04 01 0008 01 04 0578"));
    assert_eq!(end.last_refusal(), Some(Refusal::StaleIdentifier));
    let renewed = end.sent().remove(0);
    assert_eq!(renewed[4..6], [1, 2]);
    assert_eq!(renewed[8..12], [3, 4, 0xc0, 0x23]);
}

#[test]
fn a_second_answer_to_one_request_is_dropped_and_no_fault() {
    let mut end = End::opened(server(&[Method::Pap]), 7);
    let mut ack = end.sent().remove(0);
    ack[4] = 2;
    end.input(&ack);
    assert_eq!(end.last_refusal(), None);
    end.input(&ack);
    assert_eq!(end.last_refusal(), Some(Refusal::SecondAnswer));
    assert!(!Refusal::SecondAnswer.is_fault() && Refusal::StaleIdentifier.is_fault());
}

// conformance: 1661-32
#[test]
fn a_nak_of_what_we_did_not_ask_is_survived() {
    let mut end = End::opened(server(&[Method::Pap]), 7);
    end.sent();
    end.input(&hex("c021 03 01 0012 01 03 05 11 04 05dc 17 07 0102030405"));
    let renewed = end.sent().remove(0);
    assert_eq!(renewed[8..12], [1, 4, 5, 0x78]);
}

// conformance: 1661-37
#[test]
fn an_unknown_code_is_rejected_and_cut_to_the_peer_s_mru() {
    let mut end = acknowledged(server(&[]));
    end.input(&hex("c021 01 01 0008 01 04 0080"));
    end.sent();
    let mut frame = hex("c021 2a 05 0100");
    frame.resize(2 + 0x100, 0xaa);
    end.input(&frame);
    let reject = end.sent().remove(0);
    assert_eq!(reject[..12], hex("ff03 c021 07 02 0080 2a 05 0100"));
    assert_eq!(reject.len(), 4 + 128);
    assert_eq!(end.last_refusal(), Some(Refusal::UnknownCode(0x2a)));
    // RFC 1332 §2: IPCP's codes end at 7.
    let mut end = in_network_phase();
    end.sent();
    end.input(&hex("8021 09 01 0008 00000000"));
    assert_eq!(
        end.sent(),
        [hex("ff03 8021 07 02 000c 09 01 0008 00000000")]
    );
}

// conformance: 1661-41 1661-54
#[test]
fn an_echo_comes_back_with_our_magic_number() {
    let mut end = End::opened(server(&[]), 7);
    let request = end.sent().remove(0);
    let magic = request[14..18].to_vec();
    end.input(&hex("c021 09 33 000a 0badcafe 4142"));
    assert_eq!(end.sent(), Vec::<Vec<u8>>::new(), "not before LCP is open");
    let mut ack = request;
    ack[4] = 2;
    end.input(&ack);
    end.input(&hex("c021 01 01 0004"));
    end.sent();
    end.input(&hex("c021 09 33 000a 0badcafe 4142"));
    let mut expected = hex("ff03 c021 0a 33 000a");
    expected.extend_from_slice(&magic);
    expected.extend_from_slice(b"AB");
    assert_eq!(end.sent(), [expected]);
    let mut looped = hex("c021 09 33 0008");
    looped.extend_from_slice(&magic);
    end.input(&looped);
    assert_eq!(end.last_refusal(), Some(Refusal::OwnMagic));
}

// conformance: 1661-43
#[test]
fn a_silent_link_is_probed_and_ended() {
    let mut end = in_network_phase();
    acknowledge(&mut end);
    end.input(&hex("8021 01 02 000a 03 06 0a400007"));
    end.sent();
    end.pass(seconds(20));
    end.link.saw_traffic(end.now);
    end.pass(seconds(29));
    assert_eq!(end.sent(), Vec::<Vec<u8>>::new());
    end.pass(seconds(1));
    let echo = end.sent().remove(0);
    assert_eq!(echo[..5], hex("ff03 c021 09"));
    end.pass(seconds(2));
    end.input(&[&hex("c021 0a")[..], &echo[5..6], &hex("0008 0badcafe")].concat());
    assert!(matches!(end.said.last(), Some(Output::EchoRtt(took)) if *took == seconds(2)));
    end.pass(seconds(30 * 5 + 6));
    assert_eq!(end.down(), Some(&DownReason::EchoTimeout));
    assert_eq!(end.sent().len(), 4 + 2);
    end.check_order();
}

// conformance: 1661-51
#[test]
fn a_looped_line_is_noticed() {
    let mut end = End::opened(server(&[]), 7);
    for _ in 0..100 {
        for frame in end.sent() {
            end.input(&frame);
        }
    }
    end.pass(seconds(6));
    assert_eq!(end.down(), Some(&DownReason::Loopback));
}

// conformance: 1661-15
#[test]
fn a_new_request_in_opened_starts_all_over() {
    let (mut end, _) = pair(server(&[Method::Pap]), client());
    assert!(end.is_up());
    end.sent();
    end.input(&hex("c021 01 77 000a 05 06 11223344"));
    let news = end.heard();
    let is_send =
        |output: &Output, start: &[u8]| matches!(output, Output::Send(f) if f.starts_with(start));
    assert!(is_send(news[0], &hex("ff03 c021 01")));
    assert!(is_send(news[1], &hex("ff03 c021 02 77")));
    assert!(matches!(news[2], Output::NetworkDown));
    assert_eq!(end.link.phase(), Phase::Establish);
    end.pass(seconds(66));
    assert!(end.down().is_some());
    end.check_order();
}

/// A datagram that the network doubled, or a retransmission because our Ack was late.
#[test]
fn a_copy_of_the_last_request_in_opened_gets_the_same_ack() {
    let mut end = in_network_phase();
    let request = hex("c021 01 01 000a 05 06 0badcafe");
    end.sent();
    for _ in 0..3 {
        end.input(&request);
        assert_eq!(end.sent(), [hex("ff03 c021 02 01 000a 05 06 0badcafe")]);
        assert_eq!(end.link.phase(), Phase::Network);
    }
    end.input(&request);
    assert_eq!(end.link.phase(), Phase::Establish);
}

#[test]
fn renegotiation_has_an_end() {
    let mut end = in_network_phase();
    for id in 2..40 {
        end.input(&hex(&format!("c021 01 {id:02x} 000a 05 06 0badcafe")));
        acknowledge_if_asked(&mut end);
    }
    end.pass(seconds(6));
    assert_eq!(end.down(), Some(&DownReason::TooManyRenegotiations));
}

fn acknowledge_if_asked(end: &mut End) {
    if end.said[end.read..]
        .iter()
        .any(|output| matches!(output, Output::Send(frame) if frame[2..5] == [0xc0, 0x21, 1]))
    {
        acknowledge(end);
    }
}

// conformance: 1661-38 1661-16
#[test]
fn rejects_that_matter_end_the_link_and_others_do_not() {
    for (text, expected) in [
        ("c021 08 01 000a 8235 01 01 0004", None),
        ("c021 07 01 0008 09 01 0004", None),
        (
            "c021 08 01 000a 8021 01 01 0004",
            Some(DownReason::ProtocolRejected(0x8021)),
        ),
        (
            "c021 08 01 000a c021 01 01 0004",
            Some(DownReason::ProtocolRejected(0xc021)),
        ),
        (
            "c021 07 01 0008 01 01 0004",
            Some(DownReason::CodeRejected(1)),
        ),
    ] {
        let mut end = in_network_phase();
        end.input(&hex(text));
        end.pass(seconds(6));
        match expected {
            None => assert_eq!(end.link.phase(), Phase::Network, "{text}"),
            Some(reason) => assert_eq!(end.down(), Some(&reason), "{text}"),
        }
    }
}

// conformance: 1661-03 1661-09 1661-13 1332-01
#[test]
fn each_phase_hears_its_own_protocols_only() {
    let network = [
        "0021 45000014",
        "21 45000014",
        "8021 01 01 0004",
        "80fd 01 01 0004",
    ];
    let auth = ["c023 01 01 0006 00 00", "c223 02 01 0005 00"];
    let mut establish = End::opened(server(&[Method::Pap]), 7);
    let mut authenticate = acknowledged(server(&[Method::Pap]));
    authenticate.input(&hex("c021 01 01 0004"));
    assert_eq!(authenticate.link.phase(), Phase::Authenticate);
    let mut terminate = in_network_phase();
    terminate.close(DownReason::Cleared);
    for (end, texts) in [
        (&mut establish, [&network[..], &auth].concat()),
        (&mut authenticate, network.to_vec()),
        (&mut terminate, [&network[..], &auth].concat()),
    ] {
        end.sent();
        for text in texts {
            end.input(&hex(text));
            assert!(
                matches!(end.last_refusal(), Some(Refusal::WrongPhase(_))),
                "{text}"
            );
            assert_eq!(end.sent(), Vec::<Vec<u8>>::new());
        }
    }
}

#[test]
fn identifications_and_time_remaining_are_passed_on_within_limits() {
    let mut end = in_network_phase();
    for id in 0..20 {
        end.input(&hex(&format!("c021 0c {id:02x} 000a 00000000 6869")));
    }
    let idents = end.said.iter().filter(|o| matches!(o, Output::Ident(_)));
    assert_eq!(idents.count(), ppp::MAX_IDENTS as usize);
    assert_eq!(end.last_refusal(), Some(Refusal::TooManyIdents));
    end.input(&hex("c021 0d 01 000e 00000000 0000003c 6279"));
    assert!(matches!(
        end.said.last(),
        Some(Output::TimeRemaining { remaining: Some(left), message })
            if *left == seconds(60) && message == "by"
    ));
    end.input(&hex("c021 0d 01 000c 00000000 ffffffff"));
    assert!(matches!(
        end.said.last(),
        Some(Output::TimeRemaining {
            remaining: None,
            ..
        })
    ));
}

// conformance: 1661-19
#[test]
fn nobody_there_ends_after_max_configure() {
    let mut end = End::opened(server(&[]), 7);
    end.pass(seconds(30));
    assert_eq!(end.down(), Some(&DownReason::NoAnswer));
    assert_eq!(end.sent().len(), 10);
}

#[test]
fn a_verdict_that_does_not_come_ends_by_the_limit() {
    let mut end = End::new(server(&[]), 7);
    end.authorizes = false;
    end.open();
    acknowledge(&mut end);
    end.input(&hex("c021 01 01 0004"));
    end.pass(seconds(66));
    assert_eq!(end.down(), Some(&DownReason::NegotiationLimit));
    end.authorize(ppp::Verdict::Accept(grant()));
    end.check_order();
}

/// RFC 1332 §3.3.
// conformance: 1332-05
#[test]
fn a_peer_that_names_no_address_is_asked_to() {
    let mut end = in_network_phase();
    acknowledge(&mut end);
    end.input(&hex("8021 01 01 0004"));
    assert_eq!(end.sent(), [hex("ff03 8021 03 01 000a 03 06 0a400007")]);
}

#[test]
fn a_client_without_an_address_does_not_come_up() {
    let mut end = End::opened(client(), 7);
    acknowledge(&mut end);
    end.input(&hex("c021 01 01 0004"));
    acknowledge(&mut end);
    end.input(&hex("8021 01 01 000a 03 06 0a400001"));
    assert!(end.up().is_none());
    end.pass(seconds(6));
    assert_eq!(end.down(), Some(&DownReason::NoAddress));
}

#[test]
fn a_client_takes_what_it_is_given() {
    let mut end = End::opened(client(), 7);
    acknowledge(&mut end);
    end.input(&hex("c021 01 01 0004"));
    end.sent();
    end.input(&hex("8021 04 01 000a 83 06 00000000"));
    end.input(&hex("8021 03 02 0010 03 06 0a400007 81 06 c0000235"));
    acknowledge(&mut end);
    end.input(&hex("8021 01 01 000a 03 06 0a400001"));
    let up = end.up().unwrap();
    assert_eq!((up.own, up.peer), (PEER_ADDRESS, OWN_ADDRESS));
    assert_eq!(up.dns, [Ipv4Addr::new(192, 0, 2, 53)]);
}
