use std::time::Duration;

use crate::avp::{Attribute, Attributes, Writer};
use crate::message::MessageType;
use crate::testing::{
    APPLE_CDN, Peer, WINDOWS_ICRQ, XL2TPD_ICCN, XL2TPD_ICRQ, bare, bytes, cdn, events, iccn, icrp,
    icrq, result_of, seconds, sent, types,
};
use crate::{
    Busy, CallEnd, CallParameters, CallRefusal, Output, Proxy, ProxyAuthentication, ProxyLcp,
    Refusal, SessionId, Settings, TunnelEnd, peek,
};

const ICRQ: u16 = MessageType::Icrq as u16;
const ICRP: u16 = MessageType::Icrp as u16;
const ICCN: u16 = MessageType::Iccn as u16;
const CDN: u16 = MessageType::Cdn as u16;
const STOPCCN: u16 = MessageType::StopCcn as u16;
const ZLB: u16 = 0;
const NOTHING: [u16; 0] = [];
const OURS: SessionId = SessionId(0x11);
const THEIRS: SessionId = SessionId(0x22);

fn lns(settings: Settings) -> Peer {
    let mut peer = Peer::established(settings, 100);
    peer.acknowledge();
    peer
}

fn accept(peer: &mut Peer, theirs: u16, ours: u16) -> Vec<Output> {
    peer.with(|tunnel, now, out| {
        tunnel.accept_call(now, SessionId(theirs), SessionId(ours), out);
    })
}

/// An LNS with a call in wait-connect.
fn half_open(settings: Settings) -> Peer {
    let mut peer = lns(settings);
    peer.say(icrq(THEIRS.0));
    assert_eq!(types(&accept(&mut peer, THEIRS.0, OURS.0)), [ICRP]);
    peer.acknowledge();
    peer
}

/// An LNS with an established call.
fn with_call() -> Peer {
    let mut peer = half_open(Settings::default());
    let out = peer.say(iccn(OURS.0));
    assert!(matches!(events(&out)[..], [Output::CallUp { .. }]));
    peer
}

/// A LAC with a call in wait-reply.
fn placed(settings: Settings) -> Peer {
    let mut peer = Peer::answered(settings);
    peer.acknowledge();
    let out = peer.with(|tunnel, now, out| {
        tunnel.place_call(now, OURS, CallParameters::default(), out);
    });
    assert_eq!(types(&out), [ICRQ]);
    peer.acknowledge();
    peer
}

fn down(end: CallEnd) -> Output {
    Output::CallDown { session: OURS, end }
}

fn misbehaved(refusal: Refusal) -> Output {
    down(CallEnd::PeerMisbehaved(refusal))
}

/// Both ids and the result of the only message, a CDN.
fn cdn_of(out: &[Output]) -> (SessionId, u16, (u16, Option<u16>)) {
    assert_eq!(types(out), [CDN]);
    let message = sent(out).remove(0);
    let avps = Attributes::read(&message[12..], None).unwrap();
    let own = avps.u16(Attribute::AssignedSessionId).unwrap();
    (peek(&message).unwrap().session, own, result_of(&message))
}

/// Hands over golden bytes with the numbers of now.
fn give(peer: &mut Peer, hex: &str) -> (Result<(), Refusal>, Vec<Output>) {
    let mut message = bytes(hex);
    message[8..10].copy_from_slice(&peer.ns.to_be_bytes());
    message[10..12].copy_from_slice(&peer.nr.to_be_bytes());
    peer.ns += 1;
    peer.give(&message)
}

#[test]
fn a_call_of_xl2tpd_comes_up() {
    let mut peer = lns(Settings::default());
    let (taken, out) = give(&mut peer, XL2TPD_ICRQ);
    assert_eq!((taken, types(&out)), (Ok(()), vec![ZLB]));
    let [
        Output::CallOffered {
            peer_session: SessionId(0xabcd),
            serial: 1,
            ..
        },
    ] = events(&out)[..]
    else {
        panic!("{out:?}");
    };
    let reply = sent(&accept(&mut peer, 0xabcd, 0x5678)).remove(0);
    assert_eq!(peek(&reply).unwrap().session, SessionId(0xabcd));
    assert_eq!(peer.tunnel.calls().collect::<Vec<_>>(), [SessionId(0x5678)]);
    let (taken, out) = give(&mut peer, XL2TPD_ICCN);
    assert_eq!((taken, types(&out)), (Ok(()), vec![ZLB]));
    assert_eq!(
        events(&out),
        [Output::CallUp {
            session: SessionId(0x5678),
            peer_session: SessionId(0xabcd),
            tx_speed: 100_000_000,
            rx_speed: Some(100_000_000),
            private_group: None,
            proxy: None,
            sequencing_required: false,
        }]
    );
}

#[test]
fn the_offer_of_windows_carries_its_correlation_id() {
    let mut peer = lns(Settings::default());
    let (_, out) = give(&mut peer, WINDOWS_ICRQ);
    let [
        Output::CallOffered {
            correlation_id: Some(id),
            peer_session,
            ..
        },
    ] = &events(&out)[..]
    else {
        panic!("{out:?}");
    };
    assert_eq!((id[0], id[15], *peer_session), (0x10, 0x1f, SessionId(1)));
}

// conformance: 2661-50
#[test]
fn an_icrq_before_the_tunnel_is_established_is_refused_and_the_tunnel_goes_on() {
    let mut peer = Peer::of_lns(Settings::default());
    peer.say(crate::testing::sccrq(8));
    peer.acknowledge();
    let (taken, out) = peer.try_say(icrq(THEIRS.0));
    assert_eq!(taken, Err(Refusal::NoTunnelYet));
    let (to, _, result) = cdn_of(&out);
    assert_eq!((to, result), (THEIRS, (2, Some(1))));
    peer.say(bare(MessageType::Scccn, 0));
    assert!(peer.tunnel.is_established());
}

// conformance: 2661-82 2661-53
#[test]
fn an_icrq_that_lacks_a_required_avp_or_assigns_zero_gets_a_cdn() {
    let mut no_serial = bare(MessageType::Icrq, 0);
    no_serial.u16(Attribute::AssignedSessionId, THEIRS.0);
    let mut no_id = bare(MessageType::Icrq, 0);
    no_id.u32(Attribute::CallSerialNumber, 1);
    let cases = [
        (no_serial, THEIRS, Refusal::MissingAvp(15)),
        (no_id, SessionId(0), Refusal::MissingAvp(14)),
        (icrq(0), SessionId(0), Refusal::ZeroId),
    ];
    for (message, to, refusal) in cases {
        let mut peer = lns(Settings::default());
        let (taken, out) = peer.try_say(message);
        assert_eq!((taken, events(&out)), (Err(refusal), vec![]));
        let (header, own, result) = cdn_of(&out);
        assert_eq!((header, result), (to, (2, Some(3))));
        assert_ne!(own, 0);
        assert!(peer.tunnel.is_established());
    }
}

// conformance: 2661-84
#[test]
fn an_iccn_that_lacks_a_required_avp_gets_a_cdn() {
    let mut no_speed = bare(MessageType::Iccn, OURS.0);
    no_speed.u32(Attribute::FramingType, 1);
    let mut no_framing = bare(MessageType::Iccn, OURS.0);
    no_framing.u32(Attribute::TxConnectSpeed, 1);
    for (message, attribute) in [(no_speed, 24), (no_framing, 19)] {
        let mut peer = half_open(Settings::default());
        let (taken, out) = peer.try_say(message);
        let refusal = Refusal::MissingAvp(attribute);
        assert_eq!(
            (taken, events(&out)),
            (Err(refusal.clone()), vec![misbehaved(refusal)])
        );
        assert_eq!(cdn_of(&out), (THEIRS, OURS.0, (2, Some(3))));
    }
}

#[test]
fn a_framing_type_that_was_not_advertised_is_refused() {
    // (advertised, asked for, taken)
    for (capabilities, framing, is_taken) in [
        (3, 1, true),
        (1, 1, true),
        (1, 3, true),
        (1, 0, true),
        (1, 2, false),
        (2, 1, false),
    ] {
        let settings = Settings {
            framing_capabilities: capabilities,
            ..Settings::default()
        };
        let mut peer = half_open(settings);
        let mut message = bare(MessageType::Iccn, OURS.0);
        message
            .u32(Attribute::TxConnectSpeed, 1)
            .u32(Attribute::FramingType, framing);
        let (taken, _) = peer.try_say(message);
        assert_eq!(taken.is_ok(), is_taken, "{capabilities} {framing}");
    }
}

// conformance: 2661-13
#[test]
fn an_unknown_mandatory_avp_in_a_call_message_ends_the_call_only() {
    let unknown = Refusal::UnknownMandatoryAvp {
        vendor: 9,
        attribute: 1,
    };
    for kind in [MessageType::Iccn, MessageType::Sli, MessageType::Wen] {
        let mut peer = half_open(Settings::default());
        if kind != MessageType::Iccn {
            peer.say(iccn(OURS.0));
        }
        let message = peer.seal(bare(kind, OURS.0));
        let (taken, out) = peer.give(&with_vendor_avp(message));
        assert_eq!(taken, Err(unknown.clone()), "{kind:?}");
        assert_eq!(events(&out), [misbehaved(unknown.clone())]);
        assert_eq!(cdn_of(&out), (THEIRS, OURS.0, (2, Some(8))));
        assert!(peer.tunnel.is_established());
    }
    let mut peer = lns(Settings::default());
    let message = peer.seal(icrq(THEIRS.0));
    let (taken, out) = peer.give(&with_vendor_avp(message));
    assert_eq!((taken, events(&out)), (Err(unknown), vec![]));
    let (to, _, result) = cdn_of(&out);
    assert_eq!((to, result), (THEIRS, (2, Some(8))));
}

/// Adds a mandatory AVP of Cisco's.
fn with_vendor_avp(mut message: Vec<u8>) -> Vec<u8> {
    message.extend_from_slice(&[0x80, 8, 0, 9, 0, 1, 0, 0]);
    let length = message.len() as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message
}

// conformance: 2661-85 2661-44
#[test]
fn a_cdn_ends_the_call_and_is_acknowledged_and_no_more() {
    // By our id, and by the peer's where the header says 0.
    for header in [OURS.0, 0] {
        let mut peer = with_call();
        let out = peer.say(cdn(header, THEIRS.0));
        assert_eq!(types(&out), [ZLB]);
        let [
            Output::CallDown {
                session: OURS,
                end: CallEnd::PeerHungUp(result),
            },
        ] = &events(&out)[..]
        else {
            panic!("{out:?}");
        };
        assert_eq!(result.result, 3);
        assert_eq!(peer.tunnel.calls().count(), 0);
        // Another one finds nothing.
        let (taken, out) = peer.try_say(cdn(header, THEIRS.0));
        assert_eq!(
            (taken, types(&out)),
            (Err(Refusal::UnknownSession(header)), vec![ZLB])
        );
    }
}

#[test]
fn apples_cdn_is_understood() {
    let mut peer = lns(Settings::default());
    peer.say(icrq(0x0321));
    accept(&mut peer, 0x0321, 0x5678);
    let (taken, out) = give(&mut peer, APPLE_CDN);
    assert_eq!(taken, Ok(()));
    let [
        Output::CallDown {
            end: CallEnd::PeerHungUp(result),
            ..
        },
    ] = &events(&out)[..]
    else {
        panic!("{out:?}");
    };
    assert_eq!((result.result, result.error), (3, None));
}

#[test]
fn an_offer_that_the_peer_withdraws_can_no_longer_be_accepted() {
    let mut peer = lns(Settings::default());
    peer.say(icrq(THEIRS.0));
    let out = peer.say(cdn(0, THEIRS.0));
    assert!(matches!(
        events(&out)[..],
        [Output::OfferWithdrawn {
            peer_session: THEIRS,
            ..
        }]
    ));
    let out = accept(&mut peer, THEIRS.0, OURS.0);
    assert_eq!(out, [down(CallEnd::OfferGone)]);
    let out = peer.with(|tunnel, now, out| tunnel.reject_call(now, THEIRS, CallRefusal::Busy, out));
    assert_eq!(out, []);
}

#[test]
fn a_rejected_offer_gets_the_code_that_fits() {
    let cases = [
        (CallRefusal::Busy, (2, Some(4))),
        (CallRefusal::Administrative, (3, None)),
        (CallRefusal::NoFacilities, (5, None)),
        (CallRefusal::InvalidDestination, (6, None)),
        (CallRefusal::TryAnother, (2, Some(7))),
    ];
    for (why, result) in cases {
        let mut peer = lns(Settings::default());
        peer.say(icrq(THEIRS.0));
        let out = peer.with(|tunnel, now, out| tunnel.reject_call(now, THEIRS, why, out));
        let (to, own, told) = cdn_of(&out);
        assert_eq!((to, told), (THEIRS, result), "{why:?}");
        assert_ne!(own, 0);
    }
}

#[test]
fn the_limit_of_calls_is_kept_on_both_sides_of_it() {
    for (busy, result) in [
        (Busy::GeneralError, (2, Some(4))),
        (Busy::TemporaryLack, (4, None)),
    ] {
        let mut peer = lns(Settings {
            max_sessions: 2,
            busy,
            ..Settings::default()
        });
        peer.say(icrq(1));
        accept(&mut peer, 1, 0x11);
        // An offer counts as well as a call.
        peer.say(icrq(2));
        let (taken, out) = peer.try_say(icrq(3));
        assert_eq!((taken, events(&out)), (Err(Refusal::TooManyCalls), vec![]));
        assert_eq!(cdn_of(&out).2, result);
        peer.with(|tunnel, now, out| tunnel.hang_up(now, OURS, CallEnd::LostCarrier, out));
        peer.say(icrq(4));
    }
    let mut peer = placed(Settings {
        max_sessions: 1,
        ..Settings::default()
    });
    let out = peer.with(|tunnel, now, out| {
        tunnel.place_call(now, SessionId(0x12), CallParameters::default(), out);
    });
    let end = CallEnd::NoResources;
    assert_eq!(
        out,
        [Output::CallDown {
            session: SessionId(0x12),
            end
        }]
    );
}

#[test]
fn half_open_calls_and_unanswered_offers_end_at_their_limit() {
    let settings = || Settings {
        setup_limit: seconds(10),
        ..Settings::default()
    };
    let almost = seconds(10) - Duration::from_millis(1);
    let rest = Duration::from_millis(1);

    let mut peer = half_open(settings());
    assert_eq!(peer.wait(almost), []);
    let out = peer.wait(rest);
    assert_eq!(events(&out), [down(CallEnd::SetupTimedOut)]);
    assert_eq!(cdn_of(&out), (THEIRS, OURS.0, (10, None)));

    let mut peer = placed(settings());
    assert_eq!(peer.wait(almost), []);
    let out = peer.wait(rest);
    assert_eq!(events(&out), [down(CallEnd::SetupTimedOut)]);
    assert_eq!(cdn_of(&out), (SessionId(0), OURS.0, (10, None)));

    let mut peer = lns(settings());
    peer.say(icrq(THEIRS.0));
    assert_eq!(peer.wait(almost), []);
    let out = peer.wait(rest);
    let end = CallEnd::SetupTimedOut;
    assert_eq!(
        events(&out),
        [Output::OfferWithdrawn {
            peer_session: THEIRS,
            end
        }]
    );
    assert_eq!(cdn_of(&out).2, (2, Some(4)));

    // An established call has no limit.
    let mut peer = half_open(settings());
    peer.say(iccn(OURS.0));
    assert_eq!(events(&peer.wait(seconds(30))), []);
}

#[test]
fn hanging_up_sends_a_cdn_with_a_fitting_code() {
    let cases = [
        (CallEnd::LostCarrier, (1, None)),
        (CallEnd::Administrative, (3, None)),
        (CallEnd::NoResources, (2, Some(4))),
        (CallEnd::NoFacilities, (4, None)),
    ];
    for (end, result) in cases {
        let mut peer = with_call();
        let out = peer.with(|tunnel, now, out| tunnel.hang_up(now, OURS, end.clone(), out));
        assert_eq!(
            (events(&out), cdn_of(&out)),
            (vec![down(end.clone())], (THEIRS, OURS.0, result))
        );
        // Twice is once.
        assert_eq!(
            peer.with(|tunnel, now, out| tunnel.hang_up(now, OURS, end, out)),
            []
        );
    }
}

// conformance: 2661-94
#[test]
fn set_up_messages_for_a_call_that_is_set_up_end_it() {
    let unexpected = |kind: u16| Refusal::UnexpectedMessage(kind);
    let cases = [
        (with_call(), icrp(OURS.0, 0x99), unexpected(ICRP)),
        (with_call(), iccn(OURS.0), unexpected(ICCN)),
        (with_call(), icrq(THEIRS.0), Refusal::SessionIdInUse),
        (
            half_open(Settings::default()),
            icrp(OURS.0, 0x99),
            unexpected(ICRP),
        ),
        (
            half_open(Settings::default()),
            icrq(THEIRS.0),
            Refusal::SessionIdInUse,
        ),
    ];
    for (mut peer, message, refusal) in cases {
        let (taken, out) = peer.try_say(message);
        assert_eq!(
            (taken, events(&out)),
            (Err(refusal.clone()), vec![misbehaved(refusal)])
        );
        assert_eq!(cdn_of(&out), (THEIRS, OURS.0, (2, Some(5))));
    }
    // wait-reply, Receive ICCN: clean up without a word.
    let mut peer = placed(Settings::default());
    let (_, out) = peer.try_say(iccn(OURS.0));
    assert_eq!((types(&out), events(&out).len()), (vec![ZLB], 1));
}

#[test]
fn an_offer_asked_for_twice_is_taken_back() {
    let mut peer = lns(Settings::default());
    peer.say(icrq(THEIRS.0));
    let (taken, out) = peer.try_say(icrq(THEIRS.0));
    assert_eq!(taken, Err(Refusal::SessionIdInUse));
    assert!(matches!(
        events(&out)[..],
        [Output::OfferWithdrawn {
            peer_session: THEIRS,
            ..
        }]
    ));
    assert_eq!(cdn_of(&out).0, THEIRS);
}

#[test]
fn replies_for_no_call_are_answered_with_cdn_and_connects_with_nothing() {
    let mut peer = lns(Settings::default());
    let (taken, out) = peer.try_say(icrp(0x4444, THEIRS.0));
    assert_eq!(taken, Err(Refusal::UnknownSession(0x4444)));
    let (to, _, result) = cdn_of(&out);
    assert_eq!((to, result), (THEIRS, (2, Some(5))));
    let (taken, out) = peer.try_say(iccn(0x4444));
    assert_eq!(
        (taken, types(&out)),
        (Err(Refusal::UnknownSession(0x4444)), vec![ZLB])
    );
}

#[test]
fn a_placed_call_goes_up_with_its_parameters() {
    let mut peer = Peer::answered(Settings::default());
    peer.acknowledge();
    let call = CallParameters {
        serial: 77,
        bearer_type: Some(0),
        calling_number: Some("12345".into()),
        called_number: Some("67890".into()),
        sub_address: Some("x".into()),
        tx_speed: 1000,
        rx_speed: Some(2000),
        framing_type: 1,
        sequencing_required: true,
        ..CallParameters::default()
    };
    let out = peer.with(|tunnel, now, out| tunnel.place_call(now, OURS, call, out));
    let request = sent(&out).remove(0);
    let avps = Attributes::read(&request[12..], None).unwrap();
    assert_eq!(avps.u32(Attribute::CallSerialNumber), Some(77));
    assert_eq!(
        avps.text(Attribute::CallingNumber).as_deref(),
        Some("12345")
    );
    let out = peer.say(icrp(OURS.0, THEIRS.0));
    assert_eq!(types(&out), [ICCN]);
    assert_eq!(peek(&sent(&out)[0]).unwrap().session, THEIRS);
    assert!(matches!(
        events(&out)[..],
        [Output::CallUp {
            session: OURS,
            peer_session: THEIRS,
            sequencing_required: true,
            ..
        }]
    ));
}

// conformance: 2661-18
#[test]
fn nothing_is_hidden_without_a_secret() {
    for (secret, is_hidden) in [(None, false), (Some(crate::testing::secret()), true)] {
        let mut peer = Peer::answered(Settings {
            hide_avps: true,
            secret,
            ..Settings::default()
        });
        let call = CallParameters::default();
        let out = peer.with(|tunnel, now, out| tunnel.place_call(now, OURS, call, out));
        peer.acknowledge();
        let request = sent(&out).pop().unwrap();
        let random_vector = [0x80, 22, 0, 0, 0, 36];
        assert_eq!(request[20..26] == random_vector, is_hidden);
        let second_last = if is_hidden { 42 } else { 20 };
        assert_eq!(request[second_last] & 0x40 != 0, is_hidden);
    }
}

#[test]
fn an_icrp_that_cannot_be_used_is_answered_at_the_id_it_names() {
    let mut peer = placed(Settings::default());
    let message = peer.seal(icrp(OURS.0, THEIRS.0));
    let (_, out) = peer.give(&with_vendor_avp(message));
    assert_eq!(cdn_of(&out), (THEIRS, OURS.0, (2, Some(8))));
    let mut peer = placed(Settings::default());
    let (taken, out) = peer.try_say(icrp(OURS.0, 0));
    assert_eq!(taken, Err(Refusal::ZeroId));
    assert_eq!(cdn_of(&out), (SessionId(0), OURS.0, (2, Some(3))));
}

#[test]
fn calls_placed_while_dialling_wait_for_the_tunnel_and_end_with_it() {
    let place = |peer: &mut Peer, id: u16| {
        peer.with(|tunnel, now, out| {
            tunnel.place_call(now, SessionId(id), CallParameters::default(), out);
        })
    };
    let (mut peer, _) = Peer::of_lac(Settings::default());
    assert_eq!(place(&mut peer, OURS.0), []);
    assert_eq!(place(&mut peer, 0x12), []);
    // One is given up before the tunnel is there: the peer never hears of it.
    let out = peer.with(|tunnel, now, out| {
        tunnel.hang_up(now, SessionId(0x12), CallEnd::Administrative, out);
    });
    assert_eq!(types(&out), NOTHING);
    let out = peer.say(crate::testing::sccrp());
    assert_eq!(types(&out), [MessageType::Scccn as u16, ICRQ]);

    let (mut peer, _) = Peer::of_lac(Settings::default());
    place(&mut peer, OURS.0);
    let out = peer.with(|tunnel, now, out| tunnel.close(now, TunnelEnd::Administrative, out));
    assert_eq!(events(&out)[0], down(CallEnd::TunnelDown));
    assert_eq!(place(&mut peer, OURS.0), [down(CallEnd::TunnelDown)]);
}

// conformance: 2661-53
#[test]
fn ids_that_are_zero_or_in_use_are_never_assigned() {
    let mut peer = with_call();
    for id in [0, OURS.0] {
        let session = SessionId(id);
        let out = peer.with(|tunnel, now, out| {
            tunnel.place_call(now, session, CallParameters::default(), out);
        });
        assert_eq!(
            out,
            [Output::CallDown {
                session,
                end: CallEnd::BadSessionId
            }]
        );
    }
    peer.say(icrq(0x33));
    let out = accept(&mut peer, 0x33, 0);
    assert_eq!(types(&out), [CDN]);
    assert_eq!(peer.tunnel.calls().collect::<Vec<_>>(), [OURS]);
}

#[test]
fn outgoing_calls_are_refused_as_the_rfc_says() {
    for (kind, is_answered) in [
        (MessageType::Ocrq, true),
        (MessageType::Ocrp, true),
        (MessageType::Occn, false),
    ] {
        let mut peer = lns(Settings::default());
        let mut message = bare(kind, 0);
        message.u16(Attribute::AssignedSessionId, THEIRS.0);
        let (taken, out) = peer.try_say(message);
        assert_eq!(taken, Err(Refusal::OutgoingCall));
        if is_answered {
            let (to, _, result) = cdn_of(&out);
            assert_eq!((to, result), (THEIRS, (5, None)));
        } else {
            assert_eq!(types(&out), [ZLB]);
        }
        assert!(peer.tunnel.is_established());
    }
    let mut peer = with_call();
    let (_, out) = peer.try_say(bare(MessageType::Occn, OURS.0));
    assert_eq!(cdn_of(&out), (THEIRS, OURS.0, (2, Some(5))));
}

#[test]
fn wen_and_sli_are_accepted_with_and_without_what_they_should_have() {
    let mut peer = with_call();
    let mut errors = bare(MessageType::Wen, OURS.0);
    errors.bytes(Attribute::CallErrors, &[0; 26]);
    let mut accm = bare(MessageType::Sli, OURS.0);
    accm.bytes(Attribute::Accm, &[0; 10]);
    let messages = [
        errors,
        accm,
        bare(MessageType::Wen, OURS.0),
        bare(MessageType::Sli, 0x7777),
    ];
    for message in messages {
        let out = peer.say(message);
        assert_eq!((types(&out), events(&out)), (vec![ZLB], vec![]));
    }
}

#[test]
fn a_peer_that_asks_and_never_acknowledges_loses_its_tunnel() {
    let settings = || Settings {
        max_sessions: 0,
        ..Settings::default()
    };
    let mut peer = Peer::established(settings(), 4);
    let mut refused = 0;
    let out = loop {
        // The peer's Nr stands still.
        let nr = peer.nr;
        let (taken, out) = peer.try_say(icrq(1 + refused));
        peer.nr = nr;
        refused += 1;
        if taken == Err(Refusal::NeverAcknowledges) {
            break out;
        }
        assert_eq!(taken, Err(Refusal::TooManyCalls));
    };
    // Two CDNs are under way, 256 may wait.
    assert_eq!(refused, 2 + 256 + 1);
    assert!(matches!(events(&out)[..], [Output::TunnelDown { .. }]));
    assert!(types(&out).contains(&STOPCCN));

    // One that acknowledges may ask for ever.
    let mut peer = Peer::established(settings(), 4);
    for id in 1..1000 {
        peer.acknowledge();
        assert_eq!(peer.try_say(icrq(id)).0, Err(Refusal::TooManyCalls));
    }
}

fn iccn_with(avps: &[(Attribute, &[u8])]) -> Writer<'static> {
    let mut message = iccn(OURS.0);
    for (attribute, value) in avps {
        message.bytes(*attribute, value);
    }
    message
}

fn proxy_of(avps: &[(Attribute, &[u8])]) -> Option<Proxy> {
    let mut peer = half_open(Settings::default());
    let out = peer.say(iccn_with(avps));
    let [Output::CallUp { proxy, .. }] = &events(&out)[..] else {
        panic!("{out:?}");
    };
    proxy.as_deref().cloned()
}

// conformance: 2661-47
#[test]
fn proxy_lcp_is_there_only_if_all_three_requests_are() {
    use Attribute::{InitialReceivedConfreq, LastReceivedConfreq, LastSentConfreq};
    let all: [(Attribute, &[u8]); 3] = [
        (InitialReceivedConfreq, b"initial"),
        (LastSentConfreq, b"sent"),
        (LastReceivedConfreq, b"received"),
    ];
    let lcp = ProxyLcp {
        initial_received: b"initial".to_vec(),
        last_sent: b"sent".to_vec(),
        last_received: b"received".to_vec(),
    };
    assert_eq!(
        proxy_of(&all),
        Some(Proxy {
            lcp: Some(lcp),
            authentication: None
        })
    );
    for left_out in 0..3 {
        let two: Vec<_> = all
            .into_iter()
            .enumerate()
            .filter(|(i, _)| *i != left_out)
            .map(|(_, a)| a)
            .collect();
        assert_eq!(proxy_of(&two), None);
    }
}

// conformance: 2661-48
#[test]
fn proxy_authentication_is_there_only_if_everything_its_type_needs_is() {
    use Attribute::{
        ProxyAuthenChallenge, ProxyAuthenId, ProxyAuthenName, ProxyAuthenResponse, ProxyAuthenType,
    };
    let needed: [(u16, &[Attribute]); 5] = [
        (1, &[ProxyAuthenName, ProxyAuthenResponse]),
        (
            2,
            &[
                ProxyAuthenName,
                ProxyAuthenId,
                ProxyAuthenChallenge,
                ProxyAuthenResponse,
            ],
        ),
        (3, &[ProxyAuthenName, ProxyAuthenId, ProxyAuthenResponse]),
        (4, &[]),
        (
            5,
            &[
                ProxyAuthenName,
                ProxyAuthenId,
                ProxyAuthenChallenge,
                ProxyAuthenResponse,
            ],
        ),
    ];
    for (kind, attributes) in needed {
        let kind = kind.to_be_bytes();
        let mut avps: Vec<(Attribute, &[u8])> = vec![(ProxyAuthenType, &kind)];
        avps.extend(attributes.iter().map(|attribute| (*attribute, &[0, 7][..])));
        let whole = proxy_of(&avps).and_then(|proxy| proxy.authentication);
        assert!(whole.is_some(), "{kind:?}");
        for left_out in 0..avps.len() {
            let mut some = avps.clone();
            some.remove(left_out);
            assert_eq!(proxy_of(&some), None, "{kind:?} without {left_out}");
        }
    }
    assert_eq!(proxy_of(&[(ProxyAuthenType, &[0, 9])]), None);
    let none = Some(Proxy {
        lcp: None,
        authentication: Some(ProxyAuthentication::None),
    });
    assert_eq!(proxy_of(&[(ProxyAuthenType, &[0, 4])]), none);
}

// conformance: 2661-49
#[test]
fn sequencing_required_is_passed_on() {
    let mut peer = half_open(Settings::default());
    let out = peer.say(iccn_with(&[(Attribute::SequencingRequired, &[])]));
    assert!(matches!(
        events(&out)[..],
        [Output::CallUp {
            sequencing_required: true,
            ..
        }]
    ));
}

#[test]
fn proxy_secrets_are_not_printed() {
    let pap = ProxyAuthentication::Pap {
        name: b"n".to_vec(),
        id: 1,
        response: b"hunter2".to_vec(),
    };
    assert_eq!(format!("{pap:?}"), "Pap(…)");
}
