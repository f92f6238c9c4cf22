//! Forged, corrupted, foreign and malformed messages at every step.

use std::time::Duration;

use crypto::Random;

use super::world::{End, World, toy_policy};
use crate::message::{Envelope, Exchange, HEADER_LEN, Payloads, kind};
use crate::payload::delete::Delete;
use crate::payload::identification::{Identification, Identity};
use crate::payload::notification::{Notification, PROTO_ISAKMP, R_U_THERE, R_U_THERE_ACK};
use crate::proposal::phase2;
use crate::v1::isakmp::with_hash;
use crate::{Output, Policy, Refusal, Spi};

/// Six of main mode, three of quick mode.
const MESSAGES: usize = 9;
/// A lifetime to offer.
const HOUR: Duration = Duration::from_secs(3600);

/// Runs a whole set-up, with this happening before message `number` arrives.
fn ambushed(
    number: usize,
    mut ambush: impl FnMut(&[u8]) -> Vec<u8> + 'static,
    mut judge: impl FnMut(Result<(), Refusal>, bool) + 'static,
) -> World {
    let mut world = World::new(40, toy_policy(), toy_policy());
    let attack = move |end: &mut End, now, (at, from), bytes: &[u8]| {
        let before = end.sa.state();
        let mut out = Vec::new();
        let forged = ambush(bytes);
        let result = end
            .sa
            .handle_input(now, at, from, &forged, &mut end.env, &mut out);
        if result.is_err() {
            assert!(out.is_empty(), "message {number}: {out:?}");
            assert_eq!(before, end.sa.state(), "message {number}");
        }
        judge(result, !out.is_empty());
        out
    };
    world.ambush = Some((number, Box::new(attack)));
    world.run(Duration::from_secs(2));
    if world.ends[0].sa.is_established() {
        world.create_child(0);
        world.run(Duration::from_secs(8));
    }
    assert!(world.ambush.is_none(), "message {number} came");
    world
}

fn length(number: usize) -> usize {
    let world = World::up(40, toy_policy(), toy_policy());
    let sent: Vec<usize> = world.ends.iter().map(|end| end.sent.len()).collect();
    assert_eq!(sent, [5, 4]);
    world.ends[(number + 1) % 2].sent[(number - 1) / 2].len()
}

// conformance: 2409-35 2409-25
#[test]
fn a_corrupted_protected_message_changes_nothing_and_the_good_one_still_counts() {
    for number in 5..=MESSAGES {
        for at in HEADER_LEN..length(number) {
            let corrupt = move |good: &[u8]| {
                let mut bad = good.to_vec();
                bad[at] ^= 1 << (at % 8);
                bad
            };
            let is_padding = move |result: Result<(), Refusal>, _| {
                // The only bits that nothing covers are in the padding of the last block, and
                // a change there garbles the rest of the block.
                assert!(result.is_err(), "message {number}, byte {at}");
            };
            ambushed(number, corrupt, is_padding).check_children();
        }
    }
}

#[test]
fn a_forged_key_exchange_costs_an_attempt_and_not_the_main_mode() {
    for number in [3, 4] {
        for at in HEADER_LEN..length(number) {
            let corrupt = move |good: &[u8]| {
                let mut bad = good.to_vec();
                bad[at] ^= 1;
                bad
            };
            let world = ambushed(number, corrupt, |_, _| ());
            assert!(world.ends.iter().all(|end| end.sa.is_established()));
            // NAT-D is not covered by any HASH (RFC 3947 §8): whoever can change it on the way can
            // make the two ends differ about it.
            let after_nonce = HEADER_LEN + (4 + 8) + (4 + 32);
            if at < after_nonce && at != HEADER_LEN + 4 + 8 {
                world.check_children();
            }
        }
    }
}

// conformance: 2409-12 2409-13
#[test]
fn a_public_value_that_is_none_costs_an_attempt_at_most() {
    for number in [3, 4] {
        for value in [0, 0xFF] {
            let edit = move |good: &[u8]| {
                let mut bad = good.to_vec();
                bad[HEADER_LEN + 4..HEADER_LEN + 4 + 8].fill(value);
                bad
            };
            ambushed(number, edit, |_, _| ()).check_children();
        }
        let shorter = |good: &[u8]| {
            let mut bad = good.to_vec();
            bad.remove(HEADER_LEN + 4);
            let len = u32::try_from(bad.len()).unwrap();
            bad[24..28].copy_from_slice(&len.to_be_bytes());
            bad[HEADER_LEN + 3] -= 1;
            bad
        };
        ambushed(number, shorter, |result, _| {
            assert_eq!(result, Err(Refusal::BadKeyLength));
        })
        .check_children();
    }
}

#[test]
fn key_exchanges_beyond_the_limit_are_refused() {
    let mut world = World::new(41, toy_policy(), toy_policy());
    let attack = |end: &mut End, now, (at, from), good: &[u8]| {
        let mut out = Vec::new();
        for n in 0..10u8 {
            let mut bad = good.to_vec();
            // Another nonce each time.
            let nonce = HEADER_LEN + 4 + 8 + 4;
            bad[nonce] ^= n + 1;
            let result = end
                .sa
                .handle_input(now, at, from, &bad, &mut end.env, &mut out);
            let expected = if n < 3 {
                Ok(())
            } else {
                Err(Refusal::TooManyAttempts)
            };
            assert_eq!(result, expected);
        }
        assert_eq!(out.len(), 3);
        out
    };
    world.ambush = Some((3, Box::new(attack)));
    world.run(Duration::from_secs(60));
    assert!(world.ends.iter().all(|end| end.sa.is_finished()));
}

// conformance: 2408-22 2408-26 2409-10
#[test]
fn a_corrupted_header_changes_nothing() {
    for number in 1..=MESSAGES {
        for at in 0..HEADER_LEN {
            // A first message with another cookie or first payload is another peer's first message.
            if number == 1 && at < 8 || number == 2 && (8..16).contains(&at) {
                continue;
            }
            let corrupt = move |good: &[u8]| {
                let mut bad = good.to_vec();
                bad[at] ^= 0x40;
                bad
            };
            let world = ambushed(number, corrupt, move |result, _| {
                // In an encrypted message the type of the first payload is all that is not covered
                // by the cipher, and a wrong one does not parse.
                assert!(result.is_err(), "message {number}, byte {at}");
            });
            world.check_children();
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for number in 1..=MESSAGES {
        for len in 0..length(number) {
            let cut = move |good: &[u8]| {
                let mut bad = good[..len].to_vec();
                if len >= HEADER_LEN {
                    let len = u32::try_from(len).unwrap();
                    bad[24..28].copy_from_slice(&len.to_be_bytes());
                }
                bad
            };
            let world = ambushed(number, cut, move |result, _| {
                assert!(result.is_err(), "message {number} cut to {len}");
            });
            world.check_children();
        }
    }
}

#[test]
fn another_peers_messages_are_refused() {
    let foreign = World::up(99, toy_policy(), toy_policy());
    for number in 2..=MESSAGES {
        let message = foreign.ends[(number + 1) % 2].sent[(number - 1) / 2].clone();
        let world = ambushed(
            number,
            move |_| message.clone(),
            |result, _| {
                assert_eq!(result, Err(Refusal::ForeignCookies));
            },
        );
        world.check_children();
    }
}

// conformance: 2408-05 2408-04
#[test]
fn versions_and_flags_are_checked() {
    for (at, value, expected) in [
        (17, 0x20, Refusal::UnknownVersion),
        (17, 0x11, Refusal::UnknownVersion),
        (19, 0x08, Refusal::UndefinedFlags),
        (19, 0x80, Refusal::UndefinedFlags),
        (18, 77, Refusal::UnknownExchange),
    ] {
        let edit = move |good: &[u8]| {
            let mut bad = good.to_vec();
            bad[at] = value;
            bad
        };
        ambushed(3, edit, move |result, _| assert_eq!(result, Err(expected)));
    }
}

// conformance: 2408-27
#[test]
fn a_first_message_with_a_responder_cookie_makes_no_state() {
    let edit = |good: &[u8]| {
        let mut bad = good.to_vec();
        bad[9] = 1;
        bad
    };
    ambushed(1, edit, |result, _| {
        assert_eq!(result, Err(Refusal::ResponderCookieSet))
    });
}

// conformance: 2408-06
#[test]
fn the_commit_bit_is_tolerated() {
    for number in 7..=MESSAGES {
        let mut world = World::new(42, toy_policy(), toy_policy());
        world.edit_number = Some((number, |message: &mut Vec<u8>| message[19] |= 2));
        world.establish();
        world.create_child(0);
        world.run(Duration::from_secs(2));
        world.check_children();
    }
}

// conformance: 2409-02
#[test]
fn clear_messages_are_refused_once_there_are_keys() {
    for number in 5..=MESSAGES {
        let clear = |good: &[u8]| {
            let mut bad = good.to_vec();
            bad[19] &= !1;
            bad
        };
        ambushed(number, clear, |result, _| assert!(result.is_err())).check_children();
    }
}

/// A message under the initiator's keys.
fn forge(world: &World, exchange: Exchange, message_id: u32, rest: &Payloads) -> Vec<u8> {
    let sa = &world.ends[0].sa;
    let isakmp = sa.isakmp();
    let payloads = with_hash(&isakmp.keys.hash_1(message_id, rest.bytes()), rest);
    let envelope = Envelope {
        cookies: sa.cookies(),
        exchange,
        message_id,
    };
    envelope.seal(
        &payloads,
        &isakmp.keys.cipher(),
        &mut isakmp.first_iv(message_id),
    )
}

/// Hands a message to the responder.
fn receive(world: &mut World, message: &[u8]) -> (Result<(), Refusal>, Vec<Output>) {
    let (at, from) = world.ends[1].sa.path();
    let (now, end) = (world.now, &mut world.ends[1]);
    let mut out = Vec::new();
    let result = end
        .sa
        .handle_input(now, at, from, message, &mut end.env, &mut out);
    (result, out)
}

fn request(policy: &Policy, world: &World) -> Payloads {
    let id = |address: &str, protocol, port| {
        Identification {
            identity: address.parse::<Identity>().unwrap(),
            protocol,
            port,
        }
        .to_bytes()
    };
    let nat = world.ends[0].sa.isakmp().nat;
    Payloads::new()
        .with(
            kind::SA,
            &phase2::offer(policy, policy.phase2_lifetime, &nat, Spi(0x0102_0304)),
        )
        .with(kind::NONCE, &[7; 16])
        .with(kind::IDENTIFICATION, &id("192.0.2.10", 17, 0))
        .with(kind::IDENTIFICATION, &id("198.51.100.1", 17, 1701))
}

fn request_with_ids(world: &World, ids: [(&str, u8, u16); 2]) -> Payloads {
    let mut payloads = Payloads::new()
        .with(
            kind::SA,
            &phase2::offer(&toy_policy(), HOUR, &Default::default(), Spi(0x0102_0304)),
        )
        .with(kind::NONCE, &[7; 16]);
    let _ = world;
    for (address, protocol, port) in ids {
        let identity = address.parse::<Identity>().unwrap();
        payloads.add(
            kind::IDENTIFICATION,
            &Identification {
                identity,
                protocol,
                port,
            }
            .to_bytes(),
        );
    }
    payloads
}

// conformance: 3193-18 2409-29
#[test]
fn quick_mode_ids_may_name_any_client_port_and_our_own_only() {
    let (client, gateway) = ("192.0.2.10", "198.51.100.1");
    for (ids, is_good) in [
        ([(client, 17, 1701), (gateway, 17, 1701)], true),
        ([(client, 17, 0), (gateway, 17, 1701)], true),
        ([(client, 17, 56322), (gateway, 17, 1701)], true),
        ([(client, 17, 1701), (gateway, 17, 0)], true),
        ([(client, 0, 0), (gateway, 0, 0)], true),
        ([(client, 17, 0), (gateway, 17, 22)], false),
        ([(client, 6, 0), (gateway, 6, 1701)], false),
        ([("192.0.2.11", 17, 0), (gateway, 17, 1701)], false),
        ([(client, 17, 0), ("198.51.100.2", 17, 1701)], false),
        ([("client.example", 17, 0), (gateway, 17, 1701)], false),
    ] {
        let mut world = World::new(43, toy_policy(), toy_policy());
        world.establish();
        let message = forge(
            &world,
            Exchange::QuickMode,
            1,
            &request_with_ids(&world, ids),
        );
        let (result, out) = receive(&mut world, &message);
        if is_good {
            assert_eq!(result, Ok(()), "{ids:?}");
        } else {
            assert_eq!(result, Err(Refusal::IdRefused), "{ids:?}");
            assert!(
                matches!(out[..], [Output::Send { .. }]),
                "INVALID-ID-INFORMATION"
            );
            // The peer asks again: it gets the same notification, and it counts for nothing else.
            let (again, out) = receive(&mut world, &message);
            assert_eq!((again, out.len()), (Ok(()), 1));
        }
    }
}

#[test]
fn small_message_ids_are_as_good_as_any() {
    let mut world = World::new(44, toy_policy(), toy_policy());
    world.establish();
    for id in [1, 2, 3] {
        let message = forge(
            &world,
            Exchange::QuickMode,
            id,
            &request(&toy_policy(), &world),
        );
        let (result, out) = receive(&mut world, &message);
        assert_eq!(result, Ok(()));
        assert!(matches!(out[..], [Output::ChildUp(_), Output::Send { .. }]));
        let (again, out) = receive(&mut world, &message);
        assert_eq!(again, Ok(()));
        assert!(
            matches!(out[..], [Output::Send { .. }]),
            "a copy gets the stored answer"
        );
    }
}

// conformance: 2409-24
#[test]
fn the_order_of_quick_mode_payloads_is_checked() {
    let mut world = World::new(45, toy_policy(), toy_policy());
    world.establish();
    let sa = phase2::offer(&toy_policy(), HOUR, &Default::default(), Spi(0x0102_0304));
    let late = Payloads::new()
        .with(kind::NONCE, &[7; 16])
        .with(kind::SA, &sa);
    let message = forge(&world, Exchange::QuickMode, 1, &late);
    assert_eq!(receive(&mut world, &message).0, Err(Refusal::PayloadOrder));
    let twice = Payloads::new()
        .with(kind::SA, &sa)
        .with(kind::SA, &sa)
        .with(kind::NONCE, &[7; 16]);
    let message = forge(&world, Exchange::QuickMode, 2, &twice);
    assert_eq!(
        receive(&mut world, &message).0,
        Err(Refusal::PayloadRepeated)
    );
}

// conformance: 2409-14
#[test]
fn nonces_of_strange_length_are_refused() {
    for (len, is_good) in [(7, false), (8, true), (256, true), (257, false)] {
        let mut world = World::new(46, toy_policy(), toy_policy());
        world.establish();
        let sa = phase2::offer(&toy_policy(), HOUR, &Default::default(), Spi(0x0102_0304));
        let rest = Payloads::new()
            .with(kind::SA, &sa)
            .with(kind::NONCE, &vec![7; len]);
        let message = forge(&world, Exchange::QuickMode, 1, &rest);
        let expected = if is_good {
            Ok(())
        } else {
            Err(Refusal::NonceLength)
        };
        assert_eq!(receive(&mut world, &message).0, expected);
    }
}

#[test]
fn exchanges_beyond_the_limit_are_refused() {
    let mut world = World::new(47, toy_policy(), toy_policy());
    world.establish();
    for id in 1..=20 {
        let message = forge(
            &world,
            Exchange::QuickMode,
            id,
            &request(&toy_policy(), &world),
        );
        let expected = if id <= 8 {
            Ok(())
        } else {
            Err(Refusal::TooManyExchanges)
        };
        assert_eq!(receive(&mut world, &message).0, expected);
    }
}

fn notification(world: &World, notify: u16, sequence: u32, foreign: bool) -> Payloads {
    let cookies = world.ends[0].sa.cookies();
    let mut spi = [cookies.initiator.0, cookies.responder.0].concat();
    if foreign {
        spi[3] ^= 1;
    }
    let content = sequence.to_be_bytes();
    let body = Notification {
        protocol: PROTO_ISAKMP,
        kind: notify,
        spi: &spi,
        content: &content,
    };
    Payloads::new().with(kind::NOTIFICATION, &body.to_bytes())
}

// conformance: 3706-03 3706-04 3706-09 3706-10
#[test]
fn dpd_is_answered_under_protection_and_believed_only_when_it_fits() {
    let mut world = World::up(48, toy_policy(), toy_policy());
    let query = notification(&world, R_U_THERE, 77, false);
    let message = forge(&world, Exchange::Informational, 5, &query);
    let (result, out) = receive(&mut world, &message);
    assert_eq!(result, Ok(()));
    assert!(matches!(out[..], [Output::Send { .. }]));
    let foreign = notification(&world, R_U_THERE, 78, true);
    let message = forge(&world, Exchange::Informational, 6, &foreign);
    assert_eq!(receive(&mut world, &message).0, Err(Refusal::UnknownSpi));
    let unasked = notification(&world, R_U_THERE_ACK, 1, false);
    let message = forge(&world, Exchange::Informational, 7, &unasked);
    assert_eq!(receive(&mut world, &message).0, Err(Refusal::WrongSequence));
    let cookies = world.ends[0].sa.cookies();
    let envelope = Envelope {
        cookies,
        exchange: Exchange::Informational,
        message_id: 8,
    };
    let clear = envelope.clear(&query);
    let (result, out) = receive(&mut world, &clear);
    assert_eq!(result, Err(Refusal::UnauthenticatedNotification));
    assert!(out.is_empty());
}

// conformance: 2408-36 2409-33 2407-17
#[test]
fn clear_deletes_and_notifications_change_nothing() {
    let mut world = World::up(49, toy_policy(), toy_policy());
    let cookies = world.ends[0].sa.cookies();
    let before = format!("{:?}", world.ends[1].sa);
    let delete = Delete::Isakmp(vec![cookies]).to_bytes();
    let envelope = Envelope {
        cookies,
        exchange: Exchange::Informational,
        message_id: 9,
    };
    let message = envelope.clear(&Payloads::new().with(kind::DELETE, &delete));
    let (result, out) = receive(&mut world, &message);
    assert_eq!(result, Err(Refusal::UnauthenticatedNotification));
    assert!(out.is_empty());
    assert_eq!(before, format!("{:?}", world.ends[1].sa));
}

// conformance: 2409-32
#[test]
fn informational_messages_have_a_message_id() {
    let mut world = World::up(50, toy_policy(), toy_policy());
    let query = notification(&world, R_U_THERE, 77, false);
    let message = forge(&world, Exchange::Informational, 0, &query);
    assert_eq!(
        receive(&mut world, &message).0,
        Err(Refusal::MessageIdMissing)
    );
}

// conformance: 2408-13
#[test]
fn one_delete_may_name_several_pairs() {
    let mut world = World::up(51, toy_policy(), toy_policy());
    world.create_child(0);
    world.run(Duration::from_secs(1));
    let spis: Vec<Spi> = world.ends[0].children.keys().copied().collect();
    assert_eq!(spis.len(), 2);
    let delete = Payloads::new().with(kind::DELETE, &Delete::Esp(spis).to_bytes());
    let message = forge(&world, Exchange::Informational, 9, &delete);
    let (result, out) = receive(&mut world, &message);
    assert_eq!(result, Ok(()));
    assert_eq!(out.len(), 2);
    let unknown = Delete::Esp(vec![Spi(0xDEAD_BEEF)]).to_bytes();
    let unknown = Payloads::new().with(kind::DELETE, &unknown);
    let message = forge(&world, Exchange::Informational, 10, &unknown);
    assert_eq!(receive(&mut world, &message).0, Err(Refusal::UnknownSpi));
}

/// How many authentic messages with mutated content are tried.
const AUTHENTIC_MUTATIONS: usize = 150_000;

/// The worst peer is one that has the keys.
#[test]
fn authentic_nonsense_never_panics() {
    let mut random = Random::from_seed([3; 32]);
    let mut taken = 0;
    for round in 0..AUTHENTIC_MUTATIONS / 500 {
        let mut world = World::up(52, toy_policy(), toy_policy());
        let spis: Vec<Spi> = world.ends[0].children.keys().copied().collect();
        let delete = Payloads::new().with(kind::DELETE, &Delete::Esp(spis).to_bytes());
        let seeds = [
            (Exchange::QuickMode, request(&toy_policy(), &world)),
            (Exchange::QuickMode, request(&toy_policy(), &world)),
            (
                Exchange::Informational,
                notification(&world, R_U_THERE, 77, false),
            ),
            (Exchange::Informational, delete),
        ];
        for index in 0..500u32 {
            let (exchange, payloads) = &seeds[random.below(4) as usize];
            let mut payloads = payloads.clone();
            payloads.mutate(&mut random);
            let id = index + 1 + 500 * u32::try_from(round).unwrap();
            let message = forge(&world, *exchange, id, &payloads);
            let (result, out) = receive(&mut world, &message);
            taken += usize::from(result.is_ok());
            assert!(out.len() < 10);
        }
    }
    assert!(taken > AUTHENTIC_MUTATIONS / 100, "{taken}");
}

/// How many mutated messages are thrown at a main mode in each of its states.
const CLEAR_MUTATIONS: usize = 400_000;

#[test]
fn clear_nonsense_never_panics() {
    let mut random = Random::from_seed([4; 32]);
    for number in 1..=MESSAGES {
        let mut random = random.fork();
        let mut world = World::new(53, toy_policy(), toy_policy());
        let attack = move |end: &mut End, now, (at, from), good: &[u8]| {
            let mut out = Vec::new();
            for _ in 0..CLEAR_MUTATIONS / MESSAGES {
                let mut bad = good.to_vec();
                mutate(&mut bad, &mut random);
                let _ = end
                    .sa
                    .handle_input(now, at, from, &bad, &mut end.env, &mut out);
                out.clear();
            }
            out
        };
        world.ambush = Some((number, Box::new(attack)));
        world.run(Duration::from_secs(1));
        if world.ends[0].sa.is_established() {
            world.create_child(0);
            world.run(Duration::from_secs(1));
        }
    }
}

/// A few bytes changed, often to extremes; sometimes cut or grown, with the length made to fit.
fn mutate(message: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at =
            HEADER_LEN + random.below(u32::try_from(message.len() - HEADER_LEN).unwrap()) as usize;
        message[at] = match random.below(4) {
            0 => 0,
            1 => 0xFF,
            2 => message[at] ^ (1 << random.below(8)),
            _ => random.u32() as u8,
        };
    }
    if random.below(8) == 0 {
        let len = HEADER_LEN + 1 + random.below(500) as usize;
        message.resize(len, 0);
    }
    let len = u32::try_from(message.len()).unwrap();
    message[24..28].copy_from_slice(&len.to_be_bytes());
}

impl Payloads {
    /// A few bytes changed.
    fn mutate(&mut self, random: &mut Random) {
        for _ in 0..=random.below(2) {
            let len = u32::try_from(self.bytes().len()).unwrap();
            let at = random.below(len) as usize;
            let value = match random.below(3) {
                0 => 0,
                1 => 0xFF,
                _ => random.u32() as u8,
            };
            self.set_byte(at, value);
        }
    }
}
