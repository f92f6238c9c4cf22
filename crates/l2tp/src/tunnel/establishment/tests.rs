use std::sync::Arc;

use crypto::{Secret, chap};

use crate::avp::{Attribute, Attributes, Writer};
use crate::message::MessageType;
use crate::testing::{
    APPLE_SCCRQ, HIDDEN_SCCRQ, MTPD_SCCRQ, OURS, Peer, THEIRS, WINDOWS_SCCRQ, XL2TPD_SCCRQ, bare,
    bytes, events, greet, iccn, icrq, result_of, sccrp, sccrq, secret, sent, start, type_of, types,
};
use crate::{
    Output, Refusal, SessionId, Settings, Tie, Tunnel, TunnelEnd, TunnelId, peek, peek_opening,
};

const SCCRP: u16 = MessageType::Sccrp as u16;
const SCCCN: u16 = MessageType::Scccn as u16;
const STOPCCN: u16 = MessageType::StopCcn as u16;
const ZLB: u16 = 0;

fn with_secret() -> Settings {
    Settings {
        secret: Some(secret()),
        require_tunnel_auth: true,
        ..Settings::default()
    }
}

/// The only message of `out`, which must be of type `kind`.
fn only(out: &[Output], kind: u16) -> Vec<u8> {
    assert_eq!(types(out), [kind]);
    sent(out).remove(0)
}

fn value(message: &[u8], attribute: Attribute) -> Option<Vec<u8>> {
    let avps = Attributes::read(&message[12..], Some(&secret())).unwrap();
    avps.bytes(attribute).map(<[u8]>::to_vec)
}

fn challenge_of(message: &[u8]) -> Vec<u8> {
    value(message, Attribute::Challenge).expect("a challenge")
}

fn scccn(response: Option<&[u8]>) -> Writer<'static> {
    let mut message = bare(MessageType::Scccn, 0);
    if let Some(response) = response {
        message.bytes(Attribute::ChallengeResponse, response);
    }
    message
}

#[test]
fn the_sccrq_of_each_client_is_answered_at_its_own_id() {
    let cases = [
        (XL2TPD_SCCRQ, 0x6b5e, "client"),
        (APPLE_SCCRQ, 7, "macbook"),
        (MTPD_SCCRQ, 0x7b3d, "anonymous"),
        (WINDOWS_SCCRQ, 1, "RWB-LAPTOP-DELL"),
    ];
    for (message, id, host) in cases {
        let mut peer = Peer::of_lns(Settings::default());
        let (taken, out) = peer.give(&bytes(message));
        assert_eq!(taken, Ok(()));
        let reply = only(&out, SCCRP);
        let header = peek(&reply).unwrap();
        assert_eq!(
            (header.tunnel, header.session),
            (TunnelId(id), SessionId(0))
        );
        assert_eq!(header.sequence, Some((0, 1)));
        assert_eq!(
            (peer.tunnel.peer_id(), peer.tunnel.peer_host_name()),
            (TunnelId(id), host)
        );
    }
}

#[test]
fn our_sccrq_and_sccrp_have_their_avps_in_the_documented_order() {
    let settings = Settings {
        firmware_revision: Some(0x0102),
        ..with_secret()
    };
    let (_, out) = Peer::of_lac(Settings {
        tie_breaker: true,
        ..settings.clone()
    });
    let request = only(&out, MessageType::Sccrq as u16);
    assert_eq!(order(&request), [0, 2, 7, 3, 9, 10, 11, 6, 8, 5]);
    let mut peer = Peer::of_lns(settings);
    let (_, out) = peer.give(&bytes(HIDDEN_SCCRQ));
    let reply = only(&out, SCCRP);
    assert_eq!(order(&reply), [0, 2, 7, 3, 9, 10, 13, 11, 6, 8]);
    // What mtpd insists on: flags, exact Length, Message Type first with M and nothing else.
    for message in [request, reply] {
        assert_eq!(message[..2], [0xc8, 0x02]);
        assert_eq!(
            usize::from(u16::from_be_bytes([message[2], message[3]])),
            message.len()
        );
        assert_eq!(message[12..18], [0x80, 0x08, 0, 0, 0, 0]);
    }
}

/// The attribute types of a message, in order.
fn order(message: &[u8]) -> Vec<u16> {
    let mut rest = &message[12..];
    let mut order = Vec::new();
    while !rest.is_empty() {
        order.push(u16::from_be_bytes([rest[4], rest[5]]));
        rest = &rest[usize::from(u16::from_be_bytes([rest[0], rest[1]]) & 0x3ff)..];
    }
    order
}

// conformance: 2661-76
#[test]
fn an_sccrq_that_lacks_a_required_avp_is_refused() {
    let mut without = 0;
    for left_out in 0..4 {
        let mut message = bare(MessageType::Sccrq, 0);
        for (index, (attribute, value)) in required().into_iter().enumerate() {
            if index != left_out {
                message.bytes(attribute, &value);
            } else {
                without = attribute as u16;
            }
        }
        let mut peer = Peer::of_lns(Settings::default());
        let (taken, out) = peer.try_say(message);
        assert_eq!(taken, Err(Refusal::MissingAvp(without)));
        let stop = only(&out, STOPCCN);
        assert_eq!(result_of(&stop), (2, Some(3)));
        let end = TunnelEnd::PeerMisbehaved(Refusal::MissingAvp(without));
        assert_eq!(events(&out), [Output::TunnelDown { end }]);
        let known = if without == 9 { TunnelId(0) } else { THEIRS };
        assert_eq!(peek(&stop).unwrap().tunnel, known);
        assert_eq!(
            value(&stop, Attribute::AssignedTunnelId).unwrap(),
            OURS.0.to_be_bytes()
        );
    }
}

fn required() -> [(Attribute, Vec<u8>); 4] {
    [
        (Attribute::ProtocolVersion, vec![1, 0]),
        (Attribute::HostName, b"peer".to_vec()),
        (Attribute::FramingCapabilities, vec![0, 0, 0, 3]),
        (Attribute::AssignedTunnelId, THEIRS.0.to_be_bytes().to_vec()),
    ]
}

/// An SCCRQ in which one value differs.
fn sccrq_with(attribute: Attribute, value: &[u8]) -> Writer<'static> {
    let mut message = bare(MessageType::Sccrq, 0);
    // Of two the first counts.
    message.bytes(attribute, value);
    greet(&mut message);
    message
}

// conformance: 2661-30 2661-40 2661-53
#[test]
fn values_that_cannot_be_are_refused_with_a_fitting_code() {
    type Told = (u16, Option<u16>);
    let cases: [(Attribute, &[u8], Refusal, Told); 4] = [
        (
            Attribute::ProtocolVersion,
            &[2, 0],
            Refusal::ProtocolVersion(2),
            (5, Some(1)),
        ),
        (
            Attribute::AssignedTunnelId,
            &[0, 0],
            Refusal::ZeroId,
            (2, Some(3)),
        ),
        (
            Attribute::ReceiveWindowSize,
            &[0, 0],
            Refusal::ZeroWindow,
            (2, Some(3)),
        ),
        (Attribute::Challenge, &[7; 16], Refusal::NoSecret, (4, None)),
    ];
    for (attribute, value, refusal, result) in cases {
        let mut peer = Peer::of_lns(Settings::default());
        let (taken, out) = peer.try_say(sccrq_with(attribute, value));
        assert_eq!(taken, Err(refusal));
        assert_eq!(result_of(&only(&out, STOPCCN)), result);
    }
}

#[test]
fn a_peer_that_insists_on_l2tpv3_is_told_our_version_and_one_that_offers_it_is_answered() {
    // RFC 3931: Assigned Control Connection ID is 61.
    for (flags, is_taken) in [(0x8000, false), (0x0000, true)] {
        let mut message = sccrq(4).finish();
        for word in [flags | 10_u16, 0, 61, 0x2846, 0xf181] {
            message.extend_from_slice(&word.to_be_bytes());
        }
        let length = message.len() as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
        let mut peer = Peer::of_lns(Settings::default());
        let (taken, out) = peer.give(&message);
        if is_taken {
            assert_eq!((taken, types(&out)), (Ok(()), vec![SCCRP]));
        } else {
            assert_eq!(taken, Err(Refusal::NeedsVersionThree));
            assert_eq!(result_of(&only(&out, STOPCCN)), (5, Some(1)));
        }
    }
}

// conformance: 2661-41 2661-42
#[test]
fn a_challenge_is_answered_with_the_response_that_hashlib_computes() {
    let mut peer = Peer::of_lns(with_secret());
    let (taken, out) = peer.give(&bytes(HIDDEN_SCCRQ));
    assert_eq!(taken, Ok(()));
    let reply = only(&out, SCCRP);
    assert_eq!(
        value(&reply, Attribute::ChallengeResponse).unwrap(),
        bytes("fe37600f31b8442f6f7756311f8be882")
    );

    let (mut peer, _) = Peer::of_lac(Settings {
        secret: Some(secret()),
        ..Settings::default()
    });
    let mut message = sccrp();
    let challenge: Vec<u8> = (0x40..0x60).collect();
    message.bytes(Attribute::Challenge, &challenge);
    let connected = only(&peer.say(message), SCCCN);
    assert_eq!(
        value(&connected, Attribute::ChallengeResponse).unwrap(),
        bytes("c0be4078e49bc13d7553101430b63e75")
    );
}

// conformance: 2661-52
#[test]
fn an_lns_that_challenges_takes_only_the_right_response() {
    for case in ["right", "wrong", "of the other message", "missing"] {
        let mut peer = Peer::of_lns(with_secret());
        let out = peer.say(sccrq(4));
        let challenge = challenge_of(&only(&out, SCCRP));
        let right = chap::response(3, secret().expose(), &challenge);
        let other = chap::response(2, secret().expose(), &challenge);
        let response: Option<&[u8]> = match case {
            "right" => Some(&right),
            "wrong" => Some(&[0; 16]),
            "of the other message" => Some(&other),
            _ => None,
        };
        let (taken, out) = peer.try_say(scccn(response));
        if case == "right" {
            assert_eq!((taken, types(&out)), (Ok(()), vec![ZLB]));
            assert!(peer.tunnel.is_established());
        } else {
            assert_eq!(taken, Err(Refusal::NotAuthentic), "{case}");
            assert_eq!(result_of(&only(&out, STOPCCN)), (4, None));
        }
    }
}

// conformance: 2661-52
#[test]
fn a_lac_that_challenges_takes_only_the_right_response() {
    for is_right in [true, false] {
        let (mut peer, out) = Peer::of_lac(with_secret());
        let challenge = challenge_of(&only(&out, MessageType::Sccrq as u16));
        let key = if is_right {
            secret()
        } else {
            Secret::new(*b"another")
        };
        let mut message = sccrp();
        message.bytes(
            Attribute::ChallengeResponse,
            &chap::response(2, key.expose(), &challenge),
        );
        let (taken, out) = peer.try_say(message);
        if is_right {
            assert_eq!((taken, types(&out)), (Ok(()), vec![SCCCN]));
        } else {
            assert_eq!(taken, Err(Refusal::NotAuthentic));
            let stop = only(&out, STOPCCN);
            assert_eq!(
                (result_of(&stop), peek(&stop).unwrap().tunnel),
                ((4, None), THEIRS)
            );
        }
    }
    let (mut peer, _) = Peer::of_lac(with_secret());
    assert_eq!(peer.try_say(sccrp()).0, Err(Refusal::NotAuthentic));
}

#[test]
fn authentication_without_a_secret_lets_nobody_in() {
    let settings = Settings {
        require_tunnel_auth: true,
        ..Settings::default()
    };
    let mut peer = Peer::of_lns(settings.clone());
    assert_eq!(peer.try_say(sccrq(4)).0, Err(Refusal::NoSecret));
    let (mut peer, _) = Peer::of_lac(settings);
    assert_eq!(peer.try_say(sccrp()).0, Err(Refusal::NoSecret));
}

/// mtpd takes a message only if its Ns is exactly the next, and goes on only when its own last message is acknowledged.
#[test]
fn a_peer_with_a_window_of_one_is_led_through_step_by_step() {
    let mut peer = Peer::of_lns(Settings::default());
    let (_, out) = peer.give(&bytes(MTPD_SCCRQ));
    peer.ns = 1;
    assert_eq!(types(&out), [SCCRP]);
    // SCCCN is acknowledged at once, with the Ns that mtpd expects next.
    let out = peer.say(scccn(None));
    let zlb = only(&out, ZLB);
    assert_eq!(peek(&zlb).unwrap().sequence, Some((1, 2)));
    let out = peer.say(icrq(0x5151));
    assert_eq!(types(&out), [ZLB]);
    let out = peer.with(|tunnel, now, out| {
        tunnel.accept_call(now, SessionId(0x5151), SessionId(0x1111), out);
    });
    assert_eq!(types(&out), [MessageType::Icrp as u16]);
    let out = peer.say(iccn(0x1111));
    assert_eq!(types(&out), [ZLB], "ICCN is acknowledged at once");
    assert!(matches!(events(&out)[..], [Output::CallUp { .. }]));

    // One message at a time: the next waits until the one before it is acknowledged.
    let mut peer = Peer::established(Settings::default(), 1);
    peer.acknowledge();
    let nr = peer.nr;
    for id in [1, 2, 3] {
        peer.nr = nr;
        peer.say(icrq(id));
        let out = peer.with(|tunnel, now, out| {
            tunnel.accept_call(now, SessionId(id), SessionId(id), out);
        });
        let expected = if id == 1 {
            vec![MessageType::Icrp as u16]
        } else {
            vec![]
        };
        assert_eq!(types(&out), expected);
    }
    peer.nr = nr + 1;
    for _ in 0..2 {
        assert_eq!(types(&peer.acknowledge()), [MessageType::Icrp as u16]);
    }
    assert_eq!(types(&peer.acknowledge()), [0_u16; 0]);
}

/// Apple sends SCCCN and ICRQ back to back.
#[test]
fn an_icrq_right_behind_the_scccn_is_taken_in_order_whichever_comes_first() {
    for is_swapped in [false, true] {
        let mut peer = Peer::of_lns(Settings::default());
        peer.say(sccrq(4));
        let first = peer.seal(scccn(None));
        peer.ns += 1;
        let second = peer.seal(icrq(9));
        let mut both = [first, second];
        if is_swapped {
            both.reverse();
        }
        let mut out = Vec::new();
        for message in both {
            let (taken, more) = peer.give(&message);
            assert_eq!(taken, Ok(()));
            assert!(types(&more).contains(&ZLB), "each is acknowledged at once");
            out.extend(more);
        }
        assert!(matches!(
            events(&out)[..],
            [
                Output::TunnelUp { .. },
                Output::CallOffered {
                    peer_session: SessionId(9),
                    ..
                }
            ]
        ));
    }
}

#[test]
fn a_repeated_sccrq_is_acknowledged_again_and_belongs_to_the_same_tunnel() {
    let mut peer = Peer::of_lns(Settings::default());
    let message = bytes(WINDOWS_SCCRQ);
    let opening = peek_opening(&message, None).unwrap();
    assert!(!peer.tunnel.expects(&opening));
    peer.give(&message).0.unwrap();
    assert!(peer.tunnel.expects(&opening));
    let (taken, out) = peer.give(&message);
    assert_eq!((taken, types(&out)), (Err(Refusal::Duplicate), vec![ZLB]));
    // Once established, an SCCRQ with the same id is a client that has started anew.
    peer.ns = 1;
    peer.say(scccn(None));
    assert!(!peer.tunnel.expects(&opening));
    assert_eq!(peer.give(&message), (Err(Refusal::WrongTunnel), vec![]));
}

// conformance: 2661-90
#[test]
fn a_first_message_that_is_no_sccrq_makes_no_tunnel() {
    // (type, what is sent)
    let cases = [
        (MessageType::Sccrp, vec![STOPCCN]),
        (MessageType::Scccn, vec![]),
        (MessageType::Hello, vec![]),
        (MessageType::Icrq, vec![]),
    ];
    for (kind, answer) in cases {
        let mut peer = Peer::of_lns(Settings::default());
        let mut message = bare(kind, 0);
        if kind == MessageType::Sccrp {
            greet(&mut message);
        }
        let (taken, out) = peer.try_say(message);
        assert_eq!(taken, Err(Refusal::UnexpectedMessage(kind as u16)));
        assert_eq!(types(&out), answer, "{kind:?}");
        assert!(matches!(events(&out)[..], [Output::TunnelDown { .. }]));
        assert_eq!(peer.tunnel.is_finished(), answer.is_empty());
    }
    let mut peer = Peer::of_lns(Settings::default());
    peer.ns = 1;
    assert_eq!(
        peer.try_say(sccrq(4)),
        (Err(Refusal::OutsideWindow), vec![])
    );
}

// conformance: 2661-91
#[test]
fn set_up_messages_on_an_established_tunnel_close_it() {
    for kind in [MessageType::Sccrq, MessageType::Sccrp, MessageType::Scccn] {
        let mut peer = Peer::established(Settings::default(), 4);
        let mut message = bare(kind, 0);
        greet(&mut message);
        let (taken, out) = peer.try_say(message);
        assert_eq!(taken, Err(Refusal::UnexpectedMessage(kind as u16)));
        assert_eq!(result_of(&only(&out, STOPCCN)), (7, None));
    }
}

#[test]
fn when_both_dial_the_lower_tie_breaker_wins() {
    let meet = |own: bool, theirs: Option<u64>| {
        let settings = Arc::new(Settings {
            tie_breaker: own,
            ..Settings::default()
        });
        let mut random = crypto::Random::from_seed([1; 32]);
        let mut out = Vec::new();
        let mut tunnel = Tunnel::dial(settings, OURS, start(), &mut random, &mut out);
        let mut opening = peek_opening(&bytes(XL2TPD_SCCRQ), None).unwrap();
        let value = value(&sent(&out)[0], Attribute::TieBreaker);
        let value = value.map(|value| u64::from_be_bytes(value.try_into().unwrap()));
        // A distance from our own, so that either side can be the lower.
        opening.tie_breaker = theirs.map(|theirs| value.unwrap_or(5).wrapping_add(theirs));
        out.clear();
        let tie = tunnel.meet(start(), &opening, &mut out);
        (tie, tunnel.is_finished(), out.len())
    };
    assert_eq!(meet(false, None), (Tie::Both, false, 0));
    assert_eq!(meet(true, None), (Tie::Won, false, 0));
    assert_eq!(meet(true, Some(1)), (Tie::Won, false, 0));
    // The loser goes in silence: only its owner hears of it.
    assert_eq!(meet(false, Some(1)), (Tie::Lost, true, 1));
    assert_eq!(meet(true, Some(u64::MAX)), (Tie::Lost, true, 1));
    assert_eq!(meet(true, Some(0)), (Tie::Neither, true, 1));
}

#[test]
fn an_established_tunnel_has_no_tie_to_break() {
    let mut peer = Peer::answered(Settings {
        tie_breaker: true,
        ..Settings::default()
    });
    let mut opening = peek_opening(&bytes(XL2TPD_SCCRQ), None).unwrap();
    opening.tie_breaker = Some(0);
    let mut out = Vec::new();
    assert_eq!(peer.tunnel.meet(start(), &opening, &mut out), Tie::Both);
    assert!(peer.tunnel.is_established());
}

#[test]
fn a_dialling_tunnel_hears_the_refusal_of_a_peer_that_could_not_read_it() {
    let (mut peer, _) = Peer::of_lac(Settings::default());
    peer.to = TunnelId(0);
    let mut message = bare(MessageType::StopCcn, 0);
    message
        .u16(Attribute::AssignedTunnelId, 0x5555)
        .bytes(Attribute::ResultCode, &[0, 4]);
    let out = peer.say(message);
    assert!(matches!(
        events(&out)[..],
        [Output::TunnelDown {
            end: TunnelEnd::PeerStopped(_)
        }]
    ));
    assert_eq!(type_of(&sent(&out)[0]), ZLB);
}

#[test]
fn the_peer_hears_its_own_host_name_back_without_the_nul() {
    let opening = peek_opening(&bytes(APPLE_SCCRQ), None).unwrap();
    assert_eq!(
        (opening.host_name.as_str(), opening.assigned_tunnel),
        ("macbook", TunnelId(7))
    );
    assert_eq!((opening.message_type, opening.tie_breaker), (1, None));
}
