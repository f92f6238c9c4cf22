use super::*;

fn decoded(value: &[u8], scope: Scope) -> (u16, Option<u16>, String) {
    let ResultCode {
        result,
        error,
        message,
    } = ResultCode::decode(value, scope);
    (result, error, message)
}

#[test]
fn result_codes_of_every_length_are_read() {
    type Expected = (u16, Option<u16>, &'static str);
    let cases: [(&[u8], Scope, Expected); 8] = [
        (&[0, 1], Scope::Tunnel, (1, None, "")),
        (&[0, 2, 0, 8], Scope::Call, (2, Some(8), "")),
        // go-l2tp avp_test.go.
        (
            b"\0\x02\0\x03Invalid Argument",
            Scope::Call,
            (2, Some(3), "Invalid Argument"),
        ),
        // Apple: six in the order of its memory, six stale octets.
        (&[6, 0, 1, 2, 3, 4, 5, 6], Scope::Tunnel, (6, None, "")),
        (&[11, 0, 0, 0], Scope::Call, (11, None, "")),
        // Neither order is defined: taken as the RFC has it.
        (&[0, 12], Scope::Call, (12, None, "")),
        (&[8, 0], Scope::Tunnel, (0x0800, None, "")),
        (&[0, 1, 0], Scope::Tunnel, (1, None, "")),
    ];
    for (value, scope, expected) in cases {
        let (result, error, message) = expected;
        assert_eq!(
            decoded(value, scope),
            (result, error, message.to_owned()),
            "{value:?}"
        );
    }
}

#[test]
fn what_is_encoded_is_decoded() {
    let codes = [
        ResultCode::plain(6),
        ResultCode::general(ErrorCode::Resources, String::new()),
        ResultCode::general(
            ErrorCode::UnknownMandatoryAvp,
            "unknown mandatory AVP".into(),
        ),
        ResultCode::unsupported_version(),
    ];
    for code in codes {
        assert_eq!(ResultCode::decode(&code.encode(), Scope::Tunnel), code);
    }
}

#[test]
fn ends_are_told_in_words() {
    let stopped = TunnelEnd::PeerStopped(ResultCode::decode(&[0, 2, 0, 1], Scope::Tunnel));
    assert_eq!(
        stopped.to_string(),
        "peer closed it: general error (2), no control connection exists yet (1)"
    );
    let hung_up = CallEnd::PeerHungUp(ResultCode::plain(8));
    assert_eq!(hung_up.to_string(), "peer hung up: busy signal (8)");
    let undefined = CallEnd::PeerHungUp(ResultCode::plain(0));
    assert_eq!(undefined.to_string(), "peer hung up: undefined (0)");
}

#[test]
fn a_busy_lns_says_what_its_settings_say() {
    let general = CallRefusal::Busy.cdn(Busy::GeneralError);
    assert_eq!((general.result, general.error), (2, Some(4)));
    let temporary = CallRefusal::Busy.cdn(Busy::TemporaryLack);
    assert_eq!((temporary.result, temporary.error), (4, None));
}
