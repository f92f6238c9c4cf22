#![expect(clippy::wildcard_enum_match_arm, reason = "all of this is test")]

use super::*;
use crate::clock;

/// A LAC and the LNS that it dials, with a wire between them on which message types are noted.
struct Pair {
    now: Instant,
    lac: Lac,
    lns: Tunnel,
    random: Random,
    /// Message types, of the LAC.
    said: Vec<u16>,
    news: Vec<(u32, &'static str)>,
    left: Vec<u32>,
    refused: Vec<(u32, Refusal)>,
}

/// RFC 2661 §3.2.
const SCCRQ: u16 = 1;
const SCCCN: u16 = 3;
const STOP_CCN: u16 = 4;
const ICRQ: u16 = 10;
const ICCN: u16 = 12;
const CDN: u16 = 14;

impl Pair {
    fn new() -> Self {
        let now = clock::now();
        Self {
            now,
            lac: Lac::new(&l2tp::Settings::default(), Random::from_seed([1; 32])),
            lns: lns(now),
            random: Random::from_seed([2; 32]),
            said: Vec::new(),
            news: Vec::new(),
            left: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Lets the LAC do something and delivers all that comes of it.
    fn run(&mut self, act: impl FnOnce(&mut Lac, Instant, &mut Vec<Output>)) {
        let mut out = Vec::new();
        act(&mut self.lac, self.now, &mut out);
        while !out.is_empty() {
            let mut next = Vec::new();
            for output in std::mem::take(&mut out) {
                match output {
                    Output::Send(message) => self.deliver(&message, &mut next),
                    Output::News(who, news) => self.hear(who, &news, &mut next),
                    Output::Refused(who, refusal) => self.refused.push((who, refusal)),
                    Output::Left(who) => self.left.push(who),
                }
            }
            out = next;
        }
    }

    /// A message for the LNS, which takes every call.
    fn deliver(&mut self, message: &[u8], out: &mut Vec<Output>) {
        let kind = message
            .get(18..20)
            .map_or(0, |kind| u16::from_be_bytes([kind[0], kind[1]]));
        self.said.extend((kind != 0).then_some(kind));
        let mut events = Vec::new();
        // An SCCRQ after the end is for another LNS than this one.
        let _refused = self
            .lns
            .handle_input(self.now, message, &mut self.random, &mut events);
        while !events.is_empty() {
            for event in std::mem::take(&mut events) {
                match event {
                    l2tp::Output::Send(answer) => self.lac.handle_input(self.now, &answer, out),
                    l2tp::Output::CallOffered { peer_session, .. } => {
                        let own = SessionId(self.random.u16() | 1);
                        self.lns
                            .accept_call(self.now, peer_session, own, &mut events);
                    }
                    _ => {}
                }
            }
        }
    }

    fn hear(&mut self, who: u32, news: &l2tp::Output, out: &mut Vec<Output>) {
        self.news.push((
            who,
            match news {
                l2tp::Output::TunnelUp { .. } => "tunnel up",
                l2tp::Output::TunnelDown { .. } => "tunnel down",
                l2tp::Output::CallUp { .. } => "call up",
                l2tp::Output::CallDown { .. } => "call down",
                _ => "something else",
            },
        ));
        if matches!(news, l2tp::Output::TunnelUp { .. }) {
            let call = CallParameters::default();
            self.lac.place_call(self.now, who, call, out);
        }
    }

    fn enter(&mut self, who: u32) {
        self.run(|lac, now, out| lac.enter(now, who, out));
    }

    fn leave(&mut self, who: u32) {
        self.run(|lac, now, out| lac.leave(now, who, out));
    }

    fn take_said(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.said)
    }
}

fn lns(now: Instant) -> Tunnel {
    Tunnel::answer(Arc::default(), TunnelId(7), now)
}

#[test]
fn subscribers_share_one_tunnel_and_the_last_one_takes_it_along() {
    let mut pair = Pair::new();
    pair.enter(1);
    assert_eq!(pair.take_said(), [SCCRQ, SCCCN, ICRQ, ICCN]);
    pair.enter(2);
    assert_eq!(pair.take_said(), [ICRQ, ICCN], "the tunnel is there");
    let up = [
        (1, "tunnel up"),
        (1, "call up"),
        (2, "tunnel up"),
        (2, "call up"),
    ];
    assert_eq!(pair.news, up);
    assert_eq!(pair.lns.calls().count(), 2);
    pair.leave(1);
    assert_eq!((pair.take_said(), &pair.left[..]), (vec![CDN], &[1][..]));
    assert!(pair.lns.is_established());
    pair.leave(2);
    assert_eq!(
        (pair.take_said(), &pair.left[..]),
        (vec![CDN, STOP_CCN], &[1, 2][..])
    );
    pair.lns = lns(pair.now);
    pair.enter(1);
    assert_eq!(pair.take_said(), [SCCRQ, SCCCN, ICRQ, ICCN], "and again");
}

#[test]
fn data_is_of_whoever_has_the_session() {
    let mut pair = Pair::new();
    pair.enter(1);
    pair.enter(2);
    let tunnel = pair.lac.tunnel.as_ref().unwrap().id().0;
    let places = pair.lac.inside.iter();
    let sessions: Vec<(u16, u32)> = places.map(|(who, id)| (id.unwrap().0, *who)).collect();
    let whose = |lac: &Lac, tunnel: u16, session: u16| {
        let message = crate::wire::l2tp_header(tunnel, session);
        lac.whose(&l2tp::peek(&message).unwrap())
    };
    for (session, who) in &sessions {
        assert_eq!(whose(&pair.lac, tunnel, *session), Some(*who));
        assert_eq!(whose(&pair.lac, tunnel ^ 1, *session), None);
    }
    pair.leave(1);
    let (session, _) = sessions.iter().find(|(_, who)| *who == 1).unwrap();
    assert_eq!(whose(&pair.lac, tunnel, *session), None);
}

#[test]
fn who_comes_while_the_tunnel_ends_dials_when_the_end_is_acknowledged() {
    let mut pair = Pair::new();
    pair.enter(1);
    pair.said.clear();
    let mut held = Vec::new();
    pair.lac.leave(pair.now, 1, &mut held);
    pair.lac.enter(pair.now, 2, &mut held);
    assert!(pair.left.is_empty(), "nobody knows of the end yet");
    let stop: Vec<Output> = std::mem::take(&mut held);
    pair.run(|_, _, out| out.extend(stop));
    assert_eq!(pair.left, [1]);
    assert_eq!(pair.take_said()[..3], [CDN, STOP_CCN, SCCRQ]);
}

#[test]
fn a_tunnel_that_is_cut_says_so_once_or_not_at_all() {
    for is_silent in [false, true] {
        let mut pair = Pair::new();
        (1..=3).for_each(|who| pair.enter(who));
        pair.take_said();
        let mut all = Vec::new();
        pair.run(|lac, now, out| all = lac.cut(now, is_silent, out));
        assert_eq!(all, [1, 2, 3]);
        pair.run(|lac, now, out| all = lac.cut(now, is_silent, out));
        assert!(all.is_empty());
        let expected: &[u16] = if is_silent { &[] } else { &[STOP_CCN] };
        assert_eq!(pair.take_said(), expected);
    }
}

#[test]
fn everybody_hears_of_the_end_of_the_tunnel() {
    let mut pair = Pair::new();
    (1..=2).for_each(|who| pair.enter(who));
    pair.news.clear();
    let mut events = Vec::new();
    pair.lns
        .close(pair.now, TunnelEnd::Administrative, &mut events);
    for event in events {
        if let l2tp::Output::Send(message) = event {
            pair.run(|lac, now, out| lac.handle_input(now, &message, out));
        }
    }
    let mut news = pair.news.clone();
    news.sort_unstable();
    let each = |who| [(who, "call down"), (who, "tunnel down")];
    assert_eq!(news, [each(1), each(2)].concat());
    pair.leave(1);
    assert_eq!(pair.left, [1]);
}

#[test]
fn who_is_meant_by_a_message_that_is_refused_hears_of_it() {
    let mut pair = Pair::new();
    (1..=2).for_each(|who| pair.enter(who));
    let tunnel = pair.lac.tunnel.as_ref().unwrap();
    let (id, expected) = (tunnel.id(), tunnel.expected());
    let call = pair.lac.inside[&2].unwrap();
    let give = |pair: &mut Pair, message: &[u8]| {
        pair.run(|lac, now, out| lac.handle_input(now, message, out));
        std::mem::take(&mut pair.refused)
    };
    // Far outside the window, for the call of the second.
    let mut late = vec![0xc8, 2, 0, 20];
    for word in [id.0, call.0, expected + 999, 0] {
        late.extend_from_slice(&word.to_be_bytes());
    }
    late.extend_from_slice(&[0x80, 8, 0, 0, 0, 0, 0, 14]);
    assert_eq!(give(&mut pair, &late), [(2, Refusal::OutsideWindow)]);
    late[6..8].fill(0);
    let both = [(1, Refusal::OutsideWindow), (2, Refusal::OutsideWindow)];
    assert_eq!(give(&mut pair, &late), both);
    // Its length is that of another message.
    late[3] = 200;
    let both = [(1, Refusal::LengthPastEnd), (2, Refusal::LengthPastEnd)];
    assert_eq!(give(&mut pair, &late), both);
    // A repeat belongs to every conversation.
    late[3] = 20;
    late[8..10].fill(0);
    assert_eq!(give(&mut pair, &late), []);
}
