use std::collections::BTreeMap;
use std::time::Duration;

use crypto::Random;

use super::*;
use crate::testing::{seconds, sent, start};

/// Seeds of 30 % loss.
const LOSSY_SEEDS: u64 = 2000;
/// Messages each side sends in such a run.
const LOSSY_MESSAGES: u16 = 40;

fn channel(settings: Settings) -> Channel {
    let mut channel = Channel::new(Arc::new(settings));
    channel.peer = TunnelId(9);
    channel
}

/// A message whose body is a HELLO, which is as good as any.
fn message() -> Vec<u8> {
    crate::message::hello()
}

fn numbers(message: &[u8]) -> (u16, u16) {
    crate::peek(message).unwrap().sequence.unwrap()
}

fn flushed(channel: &mut Channel, now: Instant) -> Vec<(u16, u16)> {
    let mut out = Vec::new();
    channel.flush(now, &mut out);
    sent(&out).iter().map(|message| numbers(message)).collect()
}

/// Sends `count` messages and has each acknowledged at once.
fn open_window(channel: &mut Channel, now: Instant, count: u16) {
    for _ in 0..count {
        channel.send(message());
        flushed(channel, now);
        let next = channel.unacknowledged.wrapping_add(1);
        channel.acknowledge(now, next);
    }
}

// conformance: 2661-62 2661-63
#[test]
fn numbers_start_at_zero_and_a_zlb_takes_none() {
    let now = start();
    let mut channel = channel(Settings::default());
    channel.send(message());
    assert_eq!(flushed(&mut channel, now), [(0, 0)]);
    channel.acknowledge(now, 1);
    assert_eq!(channel.arrive(0, SessionId(0), b"x"), Arrival::InOrder);
    assert_eq!(
        flushed(&mut channel, now),
        [(1, 1)],
        "the ZLB names the next Ns"
    );
    channel.send(message());
    assert_eq!(
        flushed(&mut channel, now),
        [(1, 1)],
        "the message still gets it"
    );
}

#[test]
fn an_acknowledgement_rides_on_what_is_sent_anyway() {
    let now = start();
    let mut channel = channel(Settings::default());
    channel.arrive(0, SessionId(0), b"x");
    channel.send(message());
    assert_eq!(flushed(&mut channel, now), [(0, 1)]);
    assert_eq!(flushed(&mut channel, now), []);
    // The window is shut: the acknowledgement goes alone, and does not wait.
    channel.arrive(1, SessionId(0), b"x");
    channel.send(message());
    assert_eq!(flushed(&mut channel, now), [(1, 2)]);
}

// conformance: 2661-64
#[test]
fn a_duplicate_is_not_taken_again_and_is_acknowledged() {
    let now = start();
    let mut channel = channel(Settings::default());
    assert_eq!(channel.arrive(0, SessionId(0), b"x"), Arrival::InOrder);
    flushed(&mut channel, now);
    assert_eq!(channel.arrive(0, SessionId(0), b"x"), Arrival::Duplicate);
    assert_eq!(flushed(&mut channel, now), [(0, 1)]);
}

// conformance: 2661-64 2661-65
#[test]
fn duplicates_are_the_last_received_and_the_32767_before_it() {
    // RFC 2661 §5.8's own example: last received 15, then 0 to 15 and 32784 to 65535 are duplicates.
    let mut channel = channel(Settings::default());
    channel.expected = 16;
    for ns in [0, 1, 15, 32784, 65535] {
        assert_eq!(
            channel.arrive(ns, SessionId(0), b"x"),
            Arrival::Duplicate,
            "{ns}"
        );
    }
    for ns in [32783, 40, 16 + 16] {
        assert_eq!(
            channel.arrive(ns, SessionId(0), b"x"),
            Arrival::Outside,
            "{ns}"
        );
    }
    channel.expected = 0;
    assert_eq!(
        channel.arrive(65535, SessionId(0), b"x"),
        Arrival::Duplicate
    );
    channel.expected = 65535;
    assert_eq!(channel.arrive(0, SessionId(0), b"second"), Arrival::Kept);
    assert_eq!(
        channel.arrive(65535, SessionId(0), b"first"),
        Arrival::InOrder
    );
    assert_eq!(channel.take_next().unwrap().body, b"second");
    assert_eq!(channel.expected(), 1);
}

// conformance: 2661-66
#[test]
fn what_comes_too_early_waits_for_what_is_missing() {
    let mut channel = channel(Settings::default());
    assert_eq!(channel.arrive(2, SessionId(3), b"two"), Arrival::Kept);
    assert_eq!(channel.arrive(1, SessionId(0), b"one"), Arrival::Kept);
    assert_eq!(channel.take_next(), None);
    assert_eq!(channel.arrive(0, SessionId(0), b"zero"), Arrival::InOrder);
    assert_eq!(channel.take_next().unwrap().body, b"one");
    let two = channel.take_next().unwrap();
    assert_eq!((two.session, &two.body[..]), (SessionId(3), &b"two"[..]));
    assert_eq!(channel.take_next(), None);
}

#[test]
fn what_is_kept_is_bounded_in_number_and_length() {
    let mut channel = channel(Settings {
        receive_window: 4,
        ..Settings::default()
    });
    assert_eq!(channel.arrive(3, SessionId(0), b"x"), Arrival::Kept);
    assert_eq!(channel.arrive(4, SessionId(0), b"x"), Arrival::Outside);
    assert_eq!(
        channel.arrive(1, SessionId(0), &[0; AHEAD_OCTETS_MAX]),
        Arrival::Kept
    );
    assert_eq!(
        channel.arrive(2, SessionId(0), &[0; AHEAD_OCTETS_MAX + 1]),
        Arrival::Outside
    );

    let mut channel = self::channel(Settings {
        receive_window: 60_000,
        ..Settings::default()
    });
    let kept = (1..100).filter(|ns| channel.arrive(*ns, SessionId(0), b"x") == Arrival::Kept);
    assert_eq!(kept.count(), AHEAD_MAX);
}

// conformance: 2661-67 2661-68 2661-69
#[test]
fn retransmissions_follow_the_ladder_keep_ns_and_carry_the_nr_of_now() {
    let begin = start();
    let mut channel = channel(Settings::default());
    channel.send(message());
    assert_eq!(flushed(&mut channel, begin), [(0, 0)]);
    channel.arrive(0, SessionId(0), b"x");
    flushed(&mut channel, begin);
    // 1, 2, 4, 8 seconds after each other, then the cap.
    for at in [1, 3, 7, 15, 23] {
        assert_eq!(channel.poll_timeout(), Some(begin + seconds(at)));
        let mut out = Vec::new();
        let early = begin + seconds(at) - Duration::from_millis(1);
        assert_eq!(channel.handle_timeout(early, &mut out), Patience::Left);
        assert_eq!(out, []);
        assert_eq!(
            channel.handle_timeout(begin + seconds(at), &mut out),
            Patience::Left
        );
        let again = sent(&out);
        assert_eq!(
            again
                .iter()
                .map(|message| numbers(message))
                .collect::<Vec<_>>(),
            [(0, 1)]
        );
    }
    assert_eq!(channel.poll_timeout(), Some(begin + seconds(31)));
    let mut out = Vec::new();
    assert_eq!(
        channel.handle_timeout(begin + seconds(31), &mut out),
        Patience::Exhausted
    );
    assert_eq!(out, []);
    assert_eq!(Settings::default().retransmission_cycle(), seconds(31));
}

// conformance: 2661-68
#[test]
fn the_cap_on_the_interval_is_never_below_eight_seconds() {
    let low = Settings {
        retransmit_cap: seconds(3),
        ..Settings::default()
    };
    assert_eq!(low.retransmit_interval(9), seconds(8));
    let high = Settings {
        retransmit_cap: seconds(20),
        ..Settings::default()
    };
    assert_eq!(
        (high.retransmit_interval(4), high.retransmit_interval(5)),
        (seconds(16), seconds(20))
    );
}

#[test]
fn an_acknowledgement_starts_the_ladder_anew() {
    let begin = start();
    let mut channel = channel(Settings::default());
    channel.send(message());
    flushed(&mut channel, begin);
    let mut out = Vec::new();
    channel.handle_timeout(begin + seconds(1), &mut out);
    channel.acknowledge(begin + seconds(2), 1);
    assert_eq!(channel.poll_timeout(), None);
    channel.send(message());
    flushed(&mut channel, begin + seconds(2));
    assert_eq!(channel.poll_timeout(), Some(begin + seconds(3)));
}

#[test]
fn an_nr_that_is_old_or_beyond_everything_sent_acknowledges_nothing() {
    let now = start();
    let mut channel = channel(Settings::default());
    open_window(&mut channel, now, 3);
    channel.send(message());
    flushed(&mut channel, now);
    for nr in [0, 3, 5, 6, 40_000, 65_535] {
        channel.acknowledge(now, nr);
        assert_eq!(channel.sent, 1, "{nr}");
    }
    channel.acknowledge(now, 4);
    assert!(channel.is_idle());
}

// conformance: 2661-74
#[test]
fn the_window_opens_from_one_and_a_retransmission_shuts_it() {
    let begin = start();
    let mut channel = channel(Settings::default());
    channel.set_peer_window(8);
    for _ in 0..40 {
        channel.send(message());
    }
    // Slow start: one more for each acknowledgement.
    assert_eq!(flushed(&mut channel, begin).len(), 1);
    channel.acknowledge(begin, 1);
    assert_eq!(flushed(&mut channel, begin).len(), 2);
    channel.acknowledge(begin, 2);
    assert_eq!(flushed(&mut channel, begin).len(), 2);
    channel.acknowledge(begin, 3);
    assert_eq!(flushed(&mut channel, begin).len(), 2);
    assert_eq!(channel.congestion.window(), 4);

    // Loss: half of four is the new threshold, and one message goes at a time again.
    let mut out = Vec::new();
    channel.handle_timeout(begin + seconds(1), &mut out);
    assert_eq!(
        sent(&out)
            .iter()
            .map(|message| numbers(message).0)
            .collect::<Vec<_>>(),
        [3]
    );
    assert_eq!(flushed(&mut channel, begin), []);
    // The peer had the rest: 3 to 6 are acknowledged at once, and the window grows to two, the threshold.
    channel.acknowledge(begin, 7);
    assert_eq!(channel.congestion.window(), 2);
    assert_eq!(flushed(&mut channel, begin).len(), 2);
    // Congestion avoidance: one more after two acknowledgements.
    channel.acknowledge(begin, 8);
    assert_eq!(channel.congestion.window(), 2);
    channel.acknowledge(begin, 9);
    assert_eq!(channel.congestion.window(), 3);
}

// conformance: 2661-73 2661-39
#[test]
fn never_more_is_outstanding_than_the_peers_window() {
    let now = start();
    // (window that the peer names, what is outstanding at most)
    for (window, outstanding) in [(None, 4), (Some(1), 1), (Some(2), 2), (Some(9), 9)] {
        let mut channel = channel(Settings::default());
        if let Some(window) = window {
            channel.set_peer_window(window);
        }
        open_window(&mut channel, now, 200);
        for _ in 0..50 {
            channel.send(message());
        }
        assert_eq!(flushed(&mut channel, now).len(), outstanding);
        channel.send_last(now, message(), &mut Vec::new());
        assert!(channel.sent <= outstanding);
    }
}

#[test]
fn the_last_message_overtakes_the_queue_but_not_the_peers_window() {
    let now = start();
    let mut channel = channel(Settings::default());
    channel.set_peer_window(2);
    channel.send(message());
    channel.send(message());
    assert_eq!(flushed(&mut channel, now), [(0, 0)]);
    let mut out = Vec::new();
    channel.send_last(now, message(), &mut out);
    assert_eq!(
        sent(&out).len(),
        1,
        "the congestion window of one does not hold it back"
    );
    assert_eq!(channel.backlog(), 0, "what had not been sent is dropped");
}

/// One side of a lossy conversation.
struct End {
    channel: Channel,
    delivered: Vec<u16>,
    failed: bool,
}

// conformance: 2661-62 2661-64 2661-66
#[test]
fn with_thirty_percent_loss_everything_arrives_once_and_in_order_or_the_end_fails() {
    let mut failures = 0;
    for seed in 0..LOSSY_SEEDS {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let ends = lossy_run(&mut Random::from_seed(bytes));
        for end in ends {
            let expected: Vec<u16> = (0..LOSSY_MESSAGES).collect();
            if end.failed {
                failures += 1;
            } else {
                assert_eq!(end.delivered, expected, "seed {seed}");
            }
            assert!(expected.starts_with(&end.delivered), "seed {seed}");
        }
    }
    // Thirteen transmissions in a row must lose the message or its acknowledgement.
    assert!(failures < LOSSY_SEEDS / 100, "{failures}");
}

/// Both sides send their messages from the beginning and run until nothing is left to do.
fn lossy_run(random: &mut Random) -> [End; 2] {
    let settings = Settings {
        retransmissions: 12,
        ..Settings::default()
    };
    let mut ends = [0, 1].map(|_| End {
        channel: channel(settings.clone()),
        delivered: Vec::new(),
        failed: false,
    });
    let mut now = start();
    let mut wire: BTreeMap<(Instant, u32), (usize, Vec<u8>)> = BTreeMap::new();
    let mut order = 0;
    for end in &mut ends {
        for _ in 0..LOSSY_MESSAGES {
            end.channel.send(message());
        }
    }
    loop {
        for (side, end) in ends.iter_mut().enumerate() {
            let mut out = Vec::new();
            if end.channel.handle_timeout(now, &mut out) == Patience::Exhausted {
                end.failed = true;
                end.channel.abandon();
            }
            end.channel.flush(now, &mut out);
            for message in sent(&out) {
                for _ in 0..1 + u32::from(random.below(10) == 0) {
                    if random.below(100) >= 30 {
                        let delay = Duration::from_millis(1 + u64::from(random.below(500)));
                        order += 1;
                        wire.insert((now + delay, order), (1 - side, message.clone()));
                    }
                }
            }
        }
        let arrival = wire.keys().next().map(|(at, _)| *at);
        let deadlines = ends.iter().filter_map(|end| end.channel.poll_timeout());
        let Some(next) = deadlines.chain(arrival).min() else {
            return ends;
        };
        now = next;
        while let Some(entry) = wire.first_entry().filter(|entry| entry.key().0 <= now) {
            let (side, message) = entry.remove();
            ends[side].receive(now, &message);
        }
    }
}

impl End {
    fn receive(&mut self, now: Instant, message: &[u8]) {
        let header = crate::peek(message).unwrap();
        let (ns, nr) = header.sequence.unwrap();
        self.channel.acknowledge(now, nr);
        if header.is_zlb() {
            return;
        }
        let body = &message[header.payload];
        if self.channel.arrive(ns, header.session, body) == Arrival::InOrder {
            self.delivered.push(ns);
            while self.channel.take_next().is_some() {
                self.delivered.push(self.channel.expected().wrapping_sub(1));
            }
        }
    }
}
