use std::time::Duration;

use crate::avp::{Attribute, Attributes, Writer};
use crate::message::{MessageType, Opening, no_room, peek_opening, unknown_tunnel};
use crate::result::ErrorCode;
use crate::testing::{
    APPLE_STOPCCN, GO_L2TP_ZLB, OPENL2TP_V3_SCCRQ, OURS, Peer, THEIRS, XL2TPD_ICCN, XL2TPD_SCCRQ,
    bare, bytes, events, iccn, icrq, result_of, sccrq, seconds, sent, stop_ccn, types,
};
use crate::{CallEnd, Output, Refusal, ResultCode, SessionId, Settings, TunnelEnd, TunnelId, peek};

const STOPCCN: u16 = MessageType::StopCcn as u16;
const HELLO: u16 = MessageType::Hello as u16;
const ZLB: u16 = 0;
const NOTHING: [u16; 0] = [];
const MILLISECOND: Duration = Duration::from_millis(1);

/// An established tunnel with one call of ours numbered 0x11, the peer's 0x22.
fn with_call() -> Peer {
    let mut peer = Peer::established(Settings::default(), 4);
    peer.say(icrq(0x22));
    peer.with(|tunnel, now, out| {
        tunnel.accept_call(now, SessionId(0x22), SessionId(0x11), out);
    });
    peer.say(iccn(0x11));
    peer.acknowledge();
    peer
}

fn call_down() -> Output {
    Output::CallDown {
        session: SessionId(0x11),
        end: CallEnd::TunnelDown,
    }
}

/// A message with one AVP that nobody knows.
fn unknown_avp(kind: MessageType, session: u16, flags: u16) -> Vec<u8> {
    let mut message = bare(kind, session).finish();
    for word in [flags | 8, 0, 0x0707, 0xaaaa] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    let length = message.len() as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message
}

/// Puts the peer's numbers into raw bytes.
fn numbered(peer: &mut Peer, mut message: Vec<u8>) -> Vec<u8> {
    message[4..6].copy_from_slice(&peer.to.0.to_be_bytes());
    message[8..10].copy_from_slice(&peer.ns.to_be_bytes());
    message[10..12].copy_from_slice(&peer.nr.to_be_bytes());
    peer.ns += 1;
    message
}

// conformance: 2661-58
#[test]
fn a_hello_goes_out_only_after_a_whole_interval_without_any_traffic() {
    let mut peer = with_call();
    assert_eq!(types(&peer.wait(seconds(60) - MILLISECOND)), NOTHING);
    assert_eq!(types(&peer.wait(MILLISECOND)), [HELLO]);
    assert_eq!(types(&peer.acknowledge()), NOTHING);

    // Data pushes it back, as long as there is some.
    for _ in 0..100 {
        assert_eq!(types(&peer.wait(seconds(59))), NOTHING);
        let now = peer.now;
        peer.tunnel.saw_traffic(now);
    }
    // So does a control message.
    peer.wait(seconds(59));
    peer.say(bare(MessageType::Hello, 0));
    assert_eq!(types(&peer.wait(seconds(60) - MILLISECOND)), NOTHING);
    assert_eq!(types(&peer.wait(MILLISECOND)), [HELLO]);
}

#[test]
fn no_hello_goes_out_while_a_message_is_unacknowledged() {
    let settings = Settings {
        hello_interval: Some(seconds(2)),
        retransmit_first: seconds(8),
        ..Settings::default()
    };
    let mut peer = Peer::established(settings, 1);
    peer.acknowledge();
    peer.say(icrq(5));
    peer.with(|tunnel, now, out| {
        tunnel.accept_call(now, SessionId(5), SessionId(6), out);
    });
    assert_eq!(types(&peer.wait(seconds(7))), NOTHING);
    peer.acknowledge();
    assert_eq!(types(&peer.wait(seconds(2))), [HELLO]);
}

#[test]
fn a_hello_interval_of_none_sends_none() {
    let mut peer = Peer::established(
        Settings {
            hello_interval: None,
            ..Settings::default()
        },
        4,
    );
    peer.acknowledge();
    assert_eq!(peer.tunnel.poll_timeout(), None);
}

/// Android asleep: data flows, nobody answers the HELLO (xl2tpd issue 32: dead after 2.1 minutes).
#[test]
fn a_client_that_never_acknowledges_hello_but_sends_data_stays_up() {
    let mut peer = with_call();
    // The HELLO goes out in a minute of silence; then there is data for an hour.
    assert_eq!(types(&peer.wait(seconds(60))), [HELLO]);
    let mut hellos = 0;
    for _ in 0..360 {
        let out = peer.wait(seconds(10));
        assert_eq!(events(&out), []);
        hellos += types(&out).len();
        let now = peer.now;
        peer.tunnel.saw_traffic(now);
    }
    assert!(peer.tunnel.is_established());
    assert!(
        hellos <= 3600 / 8 + 5,
        "never faster than the cap: {hellos}"
    );
    // When the data ends too, so does the tunnel.
    let out = peer.wait(seconds(31 + 48));
    assert_eq!(
        events(&out),
        [
            call_down(),
            Output::TunnelDown {
                end: TunnelEnd::PeerSilent
            }
        ]
    );
    assert!(peer.tunnel.is_finished());
}

// conformance: 2661-69 2661-79
#[test]
fn a_peer_without_any_sign_of_life_ends_after_one_retransmission_cycle() {
    let mut peer = with_call();
    assert_eq!(types(&peer.wait(seconds(60))), [HELLO]);
    let out = peer.wait(seconds(31) - MILLISECOND);
    assert_eq!((types(&out), events(&out)), (vec![HELLO; 5], vec![]));
    let out = peer.wait(MILLISECOND);
    assert_eq!(
        events(&out),
        [
            call_down(),
            Output::TunnelDown {
                end: TunnelEnd::PeerSilent
            }
        ]
    );
    assert_eq!(types(&out), NOTHING);
}

// conformance: 2661-60 2661-93
#[test]
fn a_stopccn_is_acknowledged_and_so_are_its_repeats_for_a_whole_cycle() {
    let mut peer = with_call();
    let stop = peer.seal(stop_ccn());
    let out = peer.say(stop_ccn());
    assert_eq!(types(&out), [ZLB]);
    let [
        down,
        Output::TunnelDown {
            end: TunnelEnd::PeerStopped(result),
        },
    ] = &events(&out)[..]
    else {
        panic!("{out:?}");
    };
    assert_eq!((down, result.result), (&call_down(), 6));
    for _ in 0..6 {
        peer.wait(seconds(5));
        let (taken, out) = peer.give(&stop);
        assert_eq!(taken, Err(Refusal::Duplicate));
        assert_eq!((types(&out), events(&out)), (vec![ZLB], vec![]));
    }
    peer.wait(seconds(1) - MILLISECOND);
    assert!(!peer.tunnel.is_finished());
    peer.wait(MILLISECOND);
    assert!(peer.tunnel.is_finished());
    assert_eq!(peer.give(&stop), (Err(Refusal::TunnelOver), vec![]));
}

#[test]
fn apples_stopccn_is_understood() {
    let mut peer = Peer::established(Settings::default(), 4);
    let mut message = bytes(APPLE_STOPCCN);
    message[8..10].copy_from_slice(&peer.ns.to_be_bytes());
    let (taken, out) = peer.give(&message);
    assert_eq!(taken, Ok(()));
    let [
        Output::TunnelDown {
            end: TunnelEnd::PeerStopped(result),
        },
    ] = &events(&out)[..]
    else {
        panic!("{out:?}");
    };
    assert_eq!(
        (result.result, result.error, result.message.as_str()),
        (6, None, "")
    );
}

// conformance: 2661-71 2661-78 2661-37
#[test]
fn our_stopccn_is_repeated_until_acknowledged_and_the_channel_stays_for_a_cycle() {
    let mut peer = with_call();
    let out = peer.with(|tunnel, now, out| tunnel.close(now, TunnelEnd::ShuttingDown, out));
    assert_eq!(
        events(&out),
        [
            call_down(),
            Output::TunnelDown {
                end: TunnelEnd::ShuttingDown
            }
        ]
    );
    assert_eq!(types(&out), [STOPCCN]);
    let stop = sent(&out).remove(0);
    assert_eq!(
        (result_of(&stop), peek(&stop).unwrap().tunnel),
        ((6, None), THEIRS)
    );
    let avps = Attributes::read(&stop[12..], None).unwrap();
    assert_eq!(avps.u16(Attribute::AssignedTunnelId), Some(OURS.0));

    assert_eq!(types(&peer.wait(seconds(1))), [STOPCCN]);
    assert_eq!(types(&peer.acknowledge()), NOTHING);
    // What the peer still sends is acknowledged and leads to nothing.
    let (taken, out) = peer.try_say(icrq(3));
    assert_eq!((taken, types(&out)), (Err(Refusal::TunnelOver), vec![ZLB]));
    assert_eq!(events(&out), []);
    let out = peer.wait(seconds(30) - MILLISECOND);
    assert_eq!((out, peer.tunnel.is_finished()), (vec![], false));
    peer.wait(MILLISECOND);
    assert!(peer.tunnel.is_finished());
    // A second close changes nothing.
    assert_eq!(
        peer.with(|tunnel, now, out| tunnel.close(now, TunnelEnd::Administrative, out)),
        []
    );
}

#[test]
fn two_sides_that_close_at_once_do_not_wait_for_each_other() {
    let mut peer = Peer::established(Settings::default(), 4);
    peer.acknowledge();
    peer.with(|tunnel, now, out| tunnel.close(now, TunnelEnd::Administrative, out));
    // The peer's own StopCCN doesn't acknowledge ours.
    peer.nr -= 1;
    let (taken, out) = peer.try_say(stop_ccn());
    assert_eq!((taken, types(&out)), (Ok(()), vec![ZLB]));
    assert_eq!(types(&peer.wait(seconds(40))), NOTHING);
    assert!(peer.tunnel.is_finished());
}

// conformance: 2661-36
#[test]
fn closing_while_dialling_says_so_without_knowing_the_peers_id() {
    let (mut peer, _) = Peer::of_lac(Settings::default());
    let out = peer.with(|tunnel, now, out| tunnel.close(now, TunnelEnd::Administrative, out));
    assert_eq!(types(&out), [STOPCCN]);
    let stop = sent(&out).remove(0);
    let header = peek(&stop).unwrap();
    assert_eq!(
        (header.tunnel, header.sequence),
        (TunnelId(0), Some((1, 0)))
    );
    assert_eq!(result_of(&stop), (1, None));
    // An SCCRP that was under way tells where the repeats belong.
    peer.nr = 1;
    let (taken, _) = peer.try_say(crate::testing::sccrp());
    assert_eq!(taken, Err(Refusal::TunnelOver));
    let again = sent(&peer.wait(seconds(2)));
    assert_eq!(peek(&again[0]).unwrap().tunnel, THEIRS);
}

// conformance: 2661-38
#[test]
fn a_stopccn_with_tunnel_id_zero_is_matched_by_the_assigned_id() {
    let mut peer = with_call();
    peer.to = TunnelId(0);
    let mut wrong = bare(MessageType::StopCcn, 0);
    wrong
        .u16(Attribute::AssignedTunnelId, THEIRS.0 + 1)
        .bytes(Attribute::ResultCode, &[0, 1]);
    let wrong = peer.seal(wrong);
    assert_eq!(peer.give(&wrong), (Err(Refusal::WrongTunnel), vec![]));
    let (taken, out) = peer.try_say(stop_ccn());
    assert_eq!(
        (taken, types(&out), events(&out).len()),
        (Ok(()), vec![ZLB], 2)
    );
}

#[test]
fn a_peer_that_lost_its_state_is_believed_whatever_its_ns() {
    let mut peer = with_call();
    peer.to = TunnelId(0);
    peer.ns = 0;
    let (taken, out) = peer.try_say(stop_ccn());
    assert_eq!((taken, events(&out).len()), (Ok(()), 2));
    let zlb = sent(&out).remove(0);
    assert_eq!(peek(&zlb).unwrap().sequence.map(|(_, nr)| nr), Some(1));
}

/// We forgot the tunnel, and answer for it; the peer is another tunnel of ours.
#[test]
fn the_answer_for_an_unknown_tunnel_ends_it_at_the_other_side() {
    let mut lac = Peer::answered(Settings::default());
    lac.acknowledge();
    let out = lac.wait(seconds(60));
    assert_eq!(types(&out), [HELLO]);
    let answer = unknown_tunnel(&sent(&out)[0]).unwrap();
    let header = peek(&answer).unwrap();
    assert_eq!((header.tunnel, header.session), (TunnelId(0), SessionId(0)));
    assert_eq!(result_of(&answer), (2, Some(1)));
    let avps = Attributes::read(&answer[12..], None).unwrap();
    assert_eq!(avps.u16(Attribute::AssignedTunnelId), Some(THEIRS.0));

    let (taken, out) = lac.give(&answer);
    assert_eq!(taken, Ok(()));
    assert!(matches!(
        events(&out)[..],
        [Output::TunnelDown {
            end: TunnelEnd::PeerStopped(_)
        }]
    ));
}

/// A gateway without room answers our SCCRQ and keeps nothing of it.
// conformance: 2661-78
#[test]
fn a_refusal_for_want_of_room_ends_the_tunnel_that_was_being_dialled() {
    let (mut lns, dialled) = Peer::of_lac(Settings::default());
    let opening = peek_opening(&sent(&dialled)[0], None).unwrap();
    let nobody = TunnelId(u16::MAX);
    let answer = no_room(&opening, nobody, "full").unwrap();
    let header = peek(&answer).unwrap();
    assert_eq!((header.tunnel, header.session), (OURS, SessionId(0)));
    assert_eq!(header.sequence, Some((0, 1)));
    assert_eq!(result_of(&answer), (2, Some(4)));
    let avps = Attributes::read(&answer[12..], None).unwrap();
    assert_eq!(avps.u16(Attribute::AssignedTunnelId), Some(nobody.0));

    let (taken, out) = lns.give(&answer);
    assert_eq!(taken, Ok(()));
    let result = ResultCode::general(ErrorCode::Resources, "full".to_owned());
    let end = TunnelEnd::PeerStopped(result);
    assert_eq!(events(&out), [Output::TunnelDown { end }]);
}

#[test]
fn want_of_room_is_told_only_to_who_has_said_his_id() {
    let of = |message| peek_opening(&bytes(message), None).unwrap();
    let nameless = Opening {
        assigned_tunnel: TunnelId(0),
        ..of(XL2TPD_SCCRQ)
    };
    for opening in [nameless, of(APPLE_STOPCCN), of(XL2TPD_ICCN)] {
        assert_eq!(no_room(&opening, TunnelId(1), ""), None, "{opening:?}");
    }
    assert!(no_room(&of(XL2TPD_SCCRQ), TunnelId(1), "").is_some());
}

#[test]
fn nothing_else_is_answered_for_an_unknown_tunnel() {
    let mut data = bytes(XL2TPD_ICCN);
    data[0] &= 0x7f;
    let mut broken = bytes(XL2TPD_ICCN);
    broken[17] = 9;
    let unanswered = [
        ("ZLB", bytes(GO_L2TP_ZLB)),
        ("StopCCN", bytes(APPLE_STOPCCN)),
        ("tunnel id 0", bytes(XL2TPD_SCCRQ)),
        ("L2TPv3", bytes(OPENL2TP_V3_SCCRQ)),
        ("data", data),
        ("no message type", broken),
    ];
    for (what, message) in unanswered {
        assert_eq!(unknown_tunnel(&message), None, "{what}");
    }
    assert!(unknown_tunnel(&bytes(XL2TPD_ICCN)).is_some());
}

// conformance: 2661-14
#[test]
fn an_unknown_mandatory_avp_in_a_tunnel_message_ends_the_tunnel() {
    let mut peer = with_call();
    let message = numbered(&mut peer, unknown_avp(MessageType::Hello, 0, 0x8000));
    let (taken, out) = peer.give(&message);
    let refusal = Refusal::UnknownMandatoryAvp {
        vendor: 0,
        attribute: 0x0707,
    };
    assert_eq!(taken, Err(refusal.clone()));
    let end = TunnelEnd::PeerMisbehaved(refusal);
    assert_eq!(events(&out), [call_down(), Output::TunnelDown { end }]);
    assert_eq!(types(&out), [STOPCCN]);
    assert_eq!(result_of(&sent(&out)[0]), (2, Some(8)));
    let text = String::from_utf8_lossy(&sent(&out)[0]).into_owned();
    assert!(
        text.contains("attribute 1799"),
        "the offending attribute is named"
    );
}

// conformance: 2661-15
#[test]
fn an_unknown_optional_avp_changes_nothing() {
    let mut peer = with_call();
    let message = numbered(&mut peer, unknown_avp(MessageType::Hello, 0, 0));
    let (taken, out) = peer.give(&message);
    assert_eq!(
        (taken, types(&out), events(&out)),
        (Ok(()), vec![ZLB], vec![])
    );
}

// conformance: 2661-24
#[test]
fn an_unknown_message_ends_the_tunnel_if_it_is_mandatory_and_is_ignored_otherwise() {
    let unknown = || Writer::new(99, SessionId(0), None);
    let mut peer = with_call();
    let mut optional = peer.seal(unknown());
    optional[12] &= 0x7f;
    peer.ns += 1;
    let (taken, out) = peer.give(&optional);
    assert_eq!(
        (taken, types(&out), events(&out)),
        (Ok(()), vec![ZLB], vec![])
    );

    let (taken, out) = peer.try_say(unknown());
    assert_eq!(taken, Err(Refusal::UnknownMandatoryMessage(99)));
    assert_eq!(
        (types(&out), result_of(&sent(&out)[0])),
        (vec![STOPCCN], (2, Some(3)))
    );
}

// conformance: 2661-23
#[test]
fn a_message_without_a_type_in_front_ends_the_tunnel() {
    let mut peer = with_call();
    let mut message = peer.seal(bare(MessageType::Hello, 0));
    message[17] = 9;
    let (taken, out) = peer.give(&message);
    assert_eq!(
        (taken, types(&out)),
        (Err(Refusal::NoMessageType), vec![STOPCCN])
    );
}

// conformance: 2661-88
#[test]
fn a_malformed_header_or_a_foreign_id_is_dropped_without_a_word() {
    let mut peer = with_call();
    let good = peer.seal(bare(MessageType::Hello, 0));
    let mut foreign = good.clone();
    foreign[5] ^= 1;
    let mut data = good.clone();
    data[0] &= 0x7f;
    let cases = [
        (good[..11].to_vec(), Refusal::LengthPastEnd),
        (foreign, Refusal::WrongTunnel),
        (data, Refusal::NotControl),
    ];
    for (message, refusal) in cases {
        assert_eq!(peer.give(&message), (Err(refusal), vec![]));
    }
    assert_eq!(peer.give(&good).0, Ok(()));
}

#[test]
fn a_half_open_tunnel_ends_at_its_limit() {
    let settings = Settings {
        setup_limit: seconds(10),
        ..Settings::default()
    };
    let mut peer = Peer::of_lns(settings.clone());
    peer.say(sccrq(4));
    peer.acknowledge();
    assert_eq!(events(&peer.wait(seconds(10) - MILLISECOND)), []);
    let out = peer.wait(MILLISECOND);
    assert_eq!(
        events(&out),
        [Output::TunnelDown {
            end: TunnelEnd::SetupTimedOut
        }]
    );
    assert_eq!(
        (types(&out), result_of(&sent(&out)[0])),
        (vec![STOPCCN], (1, None))
    );

    // Nothing came at all: nothing is left, nothing is sent.
    let mut peer = Peer::of_lns(settings);
    let out = peer.wait(seconds(10));
    assert_eq!(
        out,
        [Output::TunnelDown {
            end: TunnelEnd::SetupTimedOut
        }]
    );
    assert!(peer.tunnel.is_finished());
}

#[test]
fn every_deadline_says_why() {
    let mut peer = Peer::of_lns(Settings::default());
    assert_eq!(peer.tunnel.poll_timeout().unwrap().1, "tunnel set-up limit");
    peer.say(sccrq(4));
    assert_eq!(peer.tunnel.poll_timeout().unwrap().1, "retransmission");
    let mut peer = Peer::established(Settings::default(), 4);
    peer.acknowledge();
    assert_eq!(peer.tunnel.poll_timeout().unwrap().1, "hello");
    peer.say(icrq(4));
    assert_eq!(peer.tunnel.poll_timeout().unwrap().1, "hello");
    peer.say(stop_ccn());
    assert_eq!(
        peer.tunnel.poll_timeout().unwrap().1,
        "last repeats of a closed tunnel"
    );
}
