//! Every way out of a link and of a frame, each by its shortest path.

mod common;

use common::*;
use ppp::{DownReason, MAX_FRAME, Method, Output, Phase, Refusal, Settings};

/// A server with IPCP open.
fn up() -> End {
    let (mut end, _) = pair(server(&[Method::Pap]), client());
    assert!(end.is_up());
    end.sent();
    end
}

/// A server that waits for a PAP request.
fn asking() -> End {
    let mut end = End::opened(server(&[Method::Pap]), 7);
    let mut ack = end.sent().remove(0);
    ack[4] = 2;
    end.input(&ack);
    end.input(&hex("c021 01 01 0004"));
    assert_eq!(end.link.phase(), Phase::Authenticate);
    end
}

#[test]
fn each_refusal_has_its_frame() {
    let mut oversized = hex("c021 01 01 0004");
    oversized.resize(MAX_FRAME + 1, 0);
    for (mut end, frame, expected) in [
        (up(), hex("ff03"), Refusal::NoProtocol),
        (up(), hex("c020 00"), Refusal::NotAProtocol),
        (up(), oversized, Refusal::Oversized),
        (up(), hex("c021 01 01 0005"), Refusal::BadLength),
        (up(), hex("c021 01 01 0005 01"), Refusal::BadOptionLength),
        (up(), hex("c021 09 01 0007 000000"), Refusal::Malformed),
        (
            up(),
            hex("c021 0a 77 0008 0badcafe"),
            Refusal::StaleIdentifier,
        ),
        (up(), hex("21 45"), Refusal::WrongPhase(0x21)),
        (asking(), hex("c223 01 01 0004"), Refusal::OtherMethod),
        (
            asking(),
            hex("c023 04 01 0004"),
            Refusal::UnknownAuthCode(4),
        ),
        (asking(), hex("c023 01 01 0004"), Refusal::Malformed),
        (End::new(server(&[]), 1), hex("c021"), Refusal::LinkDown),
        (
            up(),
            hex("8057 01 01 0004"),
            Refusal::UnsupportedProtocol(0x8057),
        ),
        (up(), hex("c021 00 01 0004"), Refusal::UnknownCode(0)),
    ] {
        end.input(&frame);
        assert_eq!(end.last_refusal(), Some(expected));
        assert!(!expected.to_string().is_empty());
    }
}

#[test]
fn each_reason_has_its_end() {
    for (mut end, frame, wait, expected) in [
        (
            up(),
            "c021 08 01 0006 8021",
            6,
            DownReason::ProtocolRejected(0x8021),
        ),
        (up(), "c021 07 01 0005 05", 6, DownReason::CodeRejected(5)),
        (up(), "8021 05 01 0004", 9, DownReason::NetworkClosed),
        (
            asking(),
            "c023 01 01 0006 00 00",
            6,
            DownReason::AuthenticationFailed {
                message: "wrong password".to_owned(),
            },
        ),
        (
            up(),
            "c021 05 01 0007 627965",
            3,
            DownReason::PeerTerminated {
                message: "bye".to_owned(),
            },
        ),
        (asking(), "", 66, DownReason::NegotiationLimit),
        (End::opened(server(&[]), 1), "", 30, DownReason::NoAnswer),
        // Gives up while it negotiates: what it said is the reason.
        (
            End::opened(server(&[]), 1),
            "c021 05 01 0004",
            30,
            DownReason::PeerTerminated {
                message: String::new(),
            },
        ),
        (up(), "", 30 * 5 + 6, DownReason::EchoTimeout),
    ] {
        if !frame.is_empty() {
            end.input(&hex(frame));
        }
        end.pass(seconds(wait));
        assert_eq!(end.down(), Some(&expected));
        assert!(!expected.to_string().is_empty());
        assert_eq!(end.link.phase(), Phase::Dead);
        assert_eq!(end.link.poll_timeout(), None);
        end.check_order();
    }
}

#[test]
fn a_peer_without_ipcp_is_given_up() {
    let mut end = asking();
    end.authorizes = true;
    end.input(&hex(
        "c023 01 01 0017 05 616c696365 0b 6f70656e20736573616d65",
    ));
    assert_eq!(
        end.link.phase(),
        Phase::Authenticate,
        "the password has 11 letters"
    );
    end.input(&hex(
        "c023 01 02 0016 05 616c696365 0b 6f70656e20736573616d65",
    ));
    assert_eq!(end.link.phase(), Phase::Network);
    end.pass(seconds(36));
    assert_eq!(end.down(), Some(&DownReason::NoNetwork));
}

/// The peer hangs up, and so do we before the restart time is over: its reason stands.
#[test]
fn the_first_reason_stands() {
    let mut end = up();
    end.input(&hex("c021 05 01 0007 627965"));
    end.close(DownReason::Shutdown);
    end.pass(seconds(6));
    assert!(matches!(
        end.down(),
        Some(DownReason::PeerTerminated { .. })
    ));
}

/// Both sides of the negotiation limit.
#[test]
fn the_limit_is_met_to_the_millisecond() {
    let mut end = asking();
    let limit = Settings::server("lns").negotiation_limit;
    end.pass(limit - std::time::Duration::from_millis(1));
    assert_eq!(end.link.phase(), Phase::Authenticate);
    end.pass(std::time::Duration::from_millis(1));
    assert_eq!(end.link.phase(), Phase::Terminate);
}

#[test]
fn ipcp_alone_can_start_anew() {
    let mut end = up();
    end.input(&hex("8021 01 55 000a 03 06 0a400007"));
    let went_down = |output: &Output| matches!(output, Output::NetworkDown);
    assert!(end.said.iter().any(went_down));
    assert_eq!(end.link.phase(), Phase::Network);
    let mut ack = end.sent().remove(0);
    ack[4] = 2;
    end.input(&ack);
    assert!(end.is_up());
    end.check_order();
}

/// The peer acknowledges our request last: it may use its address as soon as it has our Ack.
#[test]
fn the_address_is_announced_before_the_first_ack_that_tells_it() {
    let mut end = asking();
    end.input(&hex(
        "c023 01 01 0016 05 616c696365 0b 6f70656e20736573616d65",
    ));
    end.sent();
    let before = end.said.len();
    end.input(&hex("8021 01 55 000a 03 06 0a400007"));
    let news = &end.said[before..];
    let is_ack =
        |output: &&Output| matches!(output, Output::Send(frame) if frame[2..5] == [0x80, 0x21, 2]);
    assert!(matches!(news[0], Output::Up(_)), "{news:?}");
    assert_eq!(news.iter().filter(is_ack).count(), 1, "{news:?}");
    // Said again, it is acknowledged again, and announced once.
    end.input(&hex("8021 01 55 000a 03 06 0a400007"));
    end.check_order();
}

#[test]
fn deadlines_say_what_they_are_for() {
    let why = |end: &End| end.link.poll_timeout().map(|(_, why)| why);
    assert_eq!(why(&End::new(server(&[]), 1)), None);
    assert_eq!(why(&End::opened(server(&[]), 1)), Some("LCP restart timer"));
    assert_eq!(why(&asking()), Some("LCP echo"));
    assert_eq!(why(&up()), Some("LCP echo"));
}

/// Called early, twice or late, a timer does no harm.
#[test]
fn a_timeout_that_is_not_due_does_nothing() {
    let mut end = up();
    let before = end.said.len();
    end.timeout();
    end.timeout();
    assert_eq!(end.said.len(), before);
}
