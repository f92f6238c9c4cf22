use super::*;

/// Every event, in the order of the columns below.
const EVENTS: [Event; 10] = [
    Event::LocalOpen,
    Event::TunnelOpen,
    Event::Icrq(Good),
    Event::Icrq(Bad),
    Event::Icrp(Good),
    Event::Icrp(Bad),
    Event::Iccn(Good),
    Event::Iccn(Bad),
    Event::Cdn,
    Event::LocalClose,
];

/// What a row of the matrix says in words.
fn cell(side: Side, state: State, event: Event) -> String {
    let (actions, next) = transition(side, state, event);
    let letters: String = actions
        .iter()
        .map(|action| match action {
            OpenTunnel => 'o',
            SendIcrq => 'q',
            SendIcrp => 'p',
            SendIccn => 'n',
            SendCdn => 'd',
            CleanUp => 'c',
            Prepare => 'u',
        })
        .collect();
    let next = match next {
        Idle => "idle",
        WaitTunnel => "tunnel",
        WaitReply => "reply",
        WaitConnect => "connect",
        Established => "up",
    };
    if letters.is_empty() {
        "-".into()
    } else {
        format!("{letters}/{next}")
    }
}

fn check(side: Side, matrix: &[(State, [&str; 10])]) {
    for (state, row) in matrix {
        for (event, expected) in EVENTS.into_iter().zip(row) {
            assert_eq!(
                &cell(side, *state, event),
                expected,
                "{side:?} {state:?} {event:?}"
            );
        }
    }
}

/// RFC 2661 §7.4.1 written the other way round: d = send CDN, c = clean up.
// conformance: 2661-94
#[test]
#[rustfmt::skip]
fn the_lac_does_in_each_state_what_the_rfc_says() {
    check(Side::Lac, &[
        //            open        tunnel     ICRQ               ICRP                 ICCN                CDN       close
        (Idle,        ["o/tunnel", "-",       "-", "-",           "c/idle", "c/idle",  "c/idle", "c/idle", "c/idle", "-"]),
        (WaitTunnel,  ["-",        "q/reply", "-", "-",           "-", "-",            "-", "-",           "-",      "c/idle"]),
        (WaitReply,   ["-",        "-",       "dc/idle", "dc/idle", "nu/up", "dc/idle", "c/idle", "c/idle", "c/idle", "dc/idle"]),
        (Established, ["-",        "-",       "dc/idle", "dc/idle", "dc/idle", "dc/idle", "dc/idle", "dc/idle", "c/idle", "dc/idle"]),
    ]);
}

/// RFC 2661 §7.4.2 written the other way round.
// conformance: 2661-94
#[test]
#[rustfmt::skip]
fn the_lns_does_in_each_state_what_the_rfc_says() {
    check(Side::Lns, &[
        //            open tunnel ICRQ                 ICRP                 ICCN                CDN       close
        (Idle,        ["-", "-", "p/connect", "dc/idle", "dc/idle", "dc/idle", "c/idle", "c/idle", "c/idle", "-"]),
        (WaitConnect, ["-", "-", "dc/idle", "dc/idle",   "dc/idle", "dc/idle", "u/up", "dc/idle",  "c/idle", "dc/idle"]),
        (Established, ["-", "-", "dc/idle", "dc/idle",   "dc/idle", "dc/idle", "dc/idle", "dc/idle", "c/idle", "dc/idle"]),
    ]);
}

#[test]
fn every_way_back_to_idle_cleans_up() {
    for (side, table) in [(Side::Lac, LAC), (Side::Lns, LNS)] {
        for (states, events, actions, next) in table {
            let cleans = actions.contains(&CleanUp);
            assert_eq!(cleans, *next == Idle, "{side:?} {states:?} {events:?}");
        }
    }
}
