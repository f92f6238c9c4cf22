use super::*;

/// Every event, in the order of the columns below.
const EVENTS: [Event; 11] = [
    Event::LocalOpen,
    Event::NewCall,
    Event::AdminClose,
    Event::Sccrq(Good),
    Event::Sccrq(Bad),
    Event::LostTie,
    Event::Sccrp(Good),
    Event::Sccrp(Bad),
    Event::Scccn(Good),
    Event::Scccn(Bad),
    Event::StopCcn,
];

fn cell(state: State, event: Event) -> String {
    let (actions, next) = transition(state, event);
    let letters: String = actions
        .iter()
        .map(|action| match action {
            SendSccrq => 'q',
            SendSccrp => 'p',
            SendScccn => 'n',
            SendStopCcn => 's',
            TunnelOpen => 'o',
            CleanUp => 'c',
        })
        .collect();
    let next = match next {
        Idle => "idle",
        WaitCtlReply => "reply",
        WaitCtlConn => "conn",
        Established => "up",
    };
    if letters.is_empty() {
        "-".into()
    } else {
        format!("{letters}/{next}")
    }
}

/// RFC 2661 §7.2.1 written the other way round: s = send StopCCN, c = clean up, o = tunnel-open event.
// conformance: 2661-90 2661-91 2661-93
#[test]
#[rustfmt::skip]
fn in_each_state_each_event_does_what_the_rfc_says() {
    let matrix: [(State, [&str; 11]); 4] = [
        //             open      call    close      SCCRQ                 tie       SCCRP                 SCCCN                 StopCCN
        (Idle,         ["q/reply", "-",    "c/idle",  "p/conn", "sc/idle",  "-",      "sc/idle", "sc/idle", "c/idle", "c/idle",   "c/idle"]),
        (WaitCtlReply, ["-",       "-",    "sc/idle", "sc/idle", "sc/idle", "c/idle", "no/up", "sc/idle",   "sc/idle", "sc/idle", "c/idle"]),
        (WaitCtlConn,  ["-",       "-",    "sc/idle", "sc/idle", "sc/idle", "-",      "sc/idle", "sc/idle", "o/up", "sc/idle",    "c/idle"]),
        (Established,  ["-",       "o/up", "sc/idle", "sc/idle", "sc/idle", "-",      "sc/idle", "sc/idle", "sc/idle", "sc/idle", "c/idle"]),
    ];
    for (state, row) in matrix {
        for (event, expected) in EVENTS.into_iter().zip(row) {
            assert_eq!(cell(state, event), expected, "{state:?} {event:?}");
        }
    }
}

#[test]
fn every_way_back_to_idle_cleans_up() {
    for (states, events, actions, next) in TABLE {
        assert_eq!(
            actions.contains(&CleanUp),
            *next == Idle,
            "{states:?} {events:?}"
        );
    }
}
