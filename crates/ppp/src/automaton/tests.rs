//! The table against the RFC's text, and what follows from it on every path.

use super::*;

const EVENTS: [(&str, Event); 16] = [
    ("Up", Event::Up),
    ("Down", Event::Down),
    ("Open", Event::Open),
    ("Close", Event::Close),
    ("TO+", Event::TimeoutPlus),
    ("TO-", Event::TimeoutMinus),
    ("RCR+", Event::RcrPlus),
    ("RCR-", Event::RcrMinus),
    ("RCA", Event::Rca),
    ("RCN", Event::Rcn),
    ("RTR", Event::Rtr),
    ("RTA", Event::Rta),
    ("RUC", Event::Ruc),
    ("RXJ+", Event::RxjPlus),
    ("RXJ-", Event::RxjMinus),
    ("RXR", Event::Rxr),
];

/// RFC 1661 §4.1, states 0 to 5, as printed.
const LEFT_HALF: &str = r#"
Events| Initial   Starting  Closed    Stopped   Closing   Stopping
------+-----------------------------------------------------------
 Up   |    2     irc,scr/6     -         -         -         -
 Down |    -         -         0       tls/1       0         1
 Open |  tls/1       1     irc,scr/6     3r        5r        5r
 Close|    0       tlf/0       2         2         4         4
      |
  TO+ |    -         -         -         -       str/4     str/5
  TO- |    -         -         -         -       tlf/2     tlf/3
      |
 RCR+ |    -         -       sta/2 irc,scr,sca/8   4         5
 RCR- |    -         -       sta/2 irc,scr,scn/6   4         5
 RCA  |    -         -       sta/2     sta/3       4         5
 RCN  |    -         -       sta/2     sta/3       4         5
      |
 RTR  |    -         -       sta/2     sta/3     sta/4     sta/5
 RTA  |    -         -         2         3       tlf/2     tlf/3
      |
 RUC  |    -         -       scj/2     scj/3     scj/4     scj/5
 RXJ+ |    -         -         2         3         4         5
 RXJ- |    -         -       tlf/2     tlf/3     tlf/2     tlf/3
      |
 RXR  |    -         -         2         3         4         5
"#;

/// RFC 1661 §4.1, states 6 to 9, as printed.
const RIGHT_HALF: &str = r#"
Events| Req-Sent  Ack-Rcvd  Ack-Sent    Opened
------+-----------------------------------------
 Up   |    -         -         -           -
 Down |    1         1         1         tld/1
 Open |    6         7         8           9r
 Close|irc,str/4 irc,str/4 irc,str/4 tld,irc,str/4
      |
  TO+ |  scr/6     scr/6     scr/8         -
  TO- |  tlf/3p    tlf/3p    tlf/3p        -
      |
 RCR+ |  sca/8   sca,tlu/9   sca/8   tld,scr,sca/8
 RCR- |  scn/6     scn/7     scn/6   tld,scr,scn/6
 RCA  |  irc/7     scr/6x  irc,tlu/9   tld,scr/6x
 RCN  |irc,scr/6   scr/6x  irc,scr/8   tld,scr/6x
      |
 RTR  |  sta/6     sta/6     sta/6   tld,zrc,sta/5
 RTA  |    6         6         8       tld,scr/6
      |
 RUC  |  scj/6     scj/7     scj/8       scj/9
 RXJ+ |    6         6         8           9
 RXJ- |  tlf/3     tlf/3     tlf/3   tld,irc,str/5
      |
 RXR  |    6         7         8         ser/9
"#;

// conformance: 1661-14 1661-12
#[test]
fn every_cell_is_the_rfc_s() {
    let mut compared = 0;
    for (text, first_state) in [(LEFT_HALF, 0), (RIGHT_HALF, 6)] {
        for row in text.lines().filter_map(|line| line.split_once('|')) {
            let Some(&(_, event)) = EVENTS.iter().find(|(name, _)| *name == row.0.trim()) else {
                continue;
            };
            for (cell, &state) in row.1.split_whitespace().zip(&STATES[first_state..]) {
                assert_eq!(ours(state, event), printed(cell), "{state:?} {event:?}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 160);
}

/// Our cell in the RFC's notation.
fn ours(state: State, event: Event) -> String {
    match step(state, event) {
        None => "-".to_owned(),
        Some(([], next)) => (next as u8).to_string(),
        Some((actions, next)) => {
            let names: Vec<_> = actions.iter().map(|action| format!("{action:?}")).collect();
            format!("{}/{}", names.join(","), next as u8)
        }
    }
}

/// The RFC's cell without its marks for options, which stand behind the number.
fn printed(cell: &str) -> String {
    cell.trim_end_matches(['r', 'p', 'x']).to_owned()
}

/// Whatever happens, the layer above hears "up" and "down" strictly in turn.
#[test]
fn up_and_down_alternate_along_every_path() {
    let mut reached = vec![(State::Initial, false)];
    let mut next = 0;
    while let Some(&(state, was_up)) = reached.get(next) {
        next += 1;
        for (_, event) in EVENTS {
            let Some((actions, to)) = step(state, event) else {
                continue;
            };
            let up = walk(actions, was_up);
            assert_eq!(up, to == State::Opened, "{state:?} {event:?}");
            if !reached.contains(&(to, up)) {
                reached.push((to, up));
            }
        }
    }
    assert_eq!(
        reached.len(),
        10,
        "every state is reached, each with one idea of up"
    );
}

fn walk(actions: &[Action], mut up: bool) -> bool {
    for action in actions {
        if matches!(action, Action::tlu | Action::tld) {
            assert_eq!(up, *action == Action::tld);
            up = !up;
        }
    }
    up
}

/// RFC 1661 §4.1: no state is timed whose entry leaves the timer unset for ever; from each of
/// them, time-outs alone lead to an end.
#[test]
fn silence_leads_every_timed_state_to_its_end() {
    for state in STATES.into_iter().filter(|state| state.is_timed()) {
        let (actions, end) = step(state, Event::TimeoutMinus).unwrap();
        assert_eq!(actions, [Action::tlf]);
        assert!(matches!(end, State::Closed | State::Stopped));
    }
}

/// A Restart timer is only ever needed where something was sent that starts it.
#[test]
fn a_way_into_a_timed_state_starts_the_timer_or_finds_it_running() {
    for from in STATES {
        for (_, event) in EVENTS {
            let Some((actions, to)) = step(from, event) else {
                continue;
            };
            let starts = [Action::scr, Action::str, Action::zrc]
                .iter()
                .any(|action| actions.contains(action));
            assert!(
                !to.is_timed() || from.is_timed() || starts,
                "{from:?} {event:?}"
            );
        }
    }
}
