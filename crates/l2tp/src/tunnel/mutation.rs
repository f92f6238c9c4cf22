//! Messages of other implementations, damaged at random: nothing panics, nothing grows, no end is told twice.

use crypto::Random;

use super::Tunnel;
use crate::avp::Attributes;
use crate::message::{peek_opening, unknown_tunnel};
use crate::testing::{ALL, OURS, Peer, bytes, iccn, icrq, secret};
use crate::{Output, SessionId, Settings, peek};

/// Damaged messages for the codec.
const CODEC_INPUTS: u32 = 1_000_000;
/// Damaged messages for tunnels in each of four states.
const TUNNEL_INPUTS: u32 = 400_000;
/// What one datagram may bring about at most in these set-ups.
const OUTPUTS_MAX: usize = 64;

fn originals() -> Vec<Vec<u8>> {
    ALL.into_iter().map(bytes).collect()
}

/// One to four changes: a flipped bit, a new octet, a shorter or longer message, a piece of another one.
fn damage(originals: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| &originals[random.below(originals.len() as u32) as usize];
    let mut message = pick(random).clone();
    for _ in 0..1 + random.below(4) {
        let at = random.below(message.len() as u32) as usize;
        match random.below(8) {
            0..3 => message[at] ^= 1 << random.below(8),
            3..5 => message[at] = random.u16() as u8,
            5 => message.truncate(at.max(1)),
            6 => message.extend_from_slice(&random.array::<7>()),
            _ => {
                let other = pick(random);
                let from = random.below(other.len() as u32) as usize;
                message.extend_from_slice(&other[from..]);
            }
        }
    }
    // Three of four have a Length that fits, so that more than the header is looked at.
    if random.below(4) > 0 && message.len() >= 4 {
        let length = message.len() as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
    }
    message
}

#[test]
fn a_million_damaged_messages_are_read_without_a_panic() {
    let (originals, secret) = (originals(), secret());
    let mut random = Random::from_seed([0x61; 32]);
    let mut readable = 0;
    for _ in 0..CODEC_INPUTS {
        let message = damage(&originals, &mut random);
        let Ok(header) = peek(&message) else {
            continue;
        };
        if let Ok(avps) = Attributes::read(&message[header.payload], Some(&secret)) {
            readable += u32::from(avps.fault.is_none());
        }
        let _ = (
            peek_opening(&message, Some(&secret)),
            unknown_tunnel(&message),
        );
    }
    assert!(
        readable > CODEC_INPUTS / 10,
        "the damage is not so great that nothing is reached"
    );
}

/// A tunnel in one of four states, the numbers the peer should use next, and whether its end was told.
fn subject(state: u32) -> Peer {
    let settings = Settings {
        secret: Some(secret()),
        max_sessions: 4,
        ..Settings::default()
    };
    match state {
        0 => Peer::of_lns(settings),
        1 => Peer::of_lac(settings).0,
        2 => Peer::answered(settings),
        _ => {
            let mut peer = Peer::established(settings, 4);
            peer.say(icrq(0xabcd));
            peer.with(|tunnel, now, out| {
                tunnel.accept_call(now, SessionId(0xabcd), SessionId(0x5678), out);
            });
            peer.say(iccn(0x5678));
            peer
        }
    }
}

#[test]
fn damaged_messages_leave_tunnels_in_order() {
    let originals = originals();
    let mut random = Random::from_seed([0x62; 32]);
    let mut subjects: Vec<Peer> = (0..4).map(subject).collect();
    let mut ends = 0;
    for round in 0..TUNNEL_INPUTS {
        let state = round % 4;
        let peer = &mut subjects[state as usize];
        let mut message = damage(&originals, &mut random);
        aim(&mut message, &peer.tunnel, &mut random);
        let mut out = Vec::new();
        let _ = peer
            .tunnel
            .handle_input(peer.now, &message, &mut random, &mut out);
        assert!(out.len() < OUTPUTS_MAX, "{out:?}");
        let told = out
            .iter()
            .filter(|output| matches!(output, Output::TunnelDown { .. }))
            .count();
        assert!(told <= 1);
        assert!(peer.tunnel.calls.count() <= 4 && peer.tunnel.channel.backlog() < 300);
        // A tunnel that has ended is given a few more messages before it is replaced.
        ends += told;
        if peer.tunnel.end != super::End::Open && random.below(4) == 0 {
            *peer = subject(state);
        }
    }
    assert!(ends > 1000, "{ends}");
}

/// Mostly gives a message the id and the Ns that get it past the first doors.
fn aim(message: &mut [u8], tunnel: &Tunnel, random: &mut Random) {
    if message.len() < 12 || random.below(8) == 0 {
        return;
    }
    let id = if random.below(8) == 0 { 0 } else { OURS.0 };
    message[4..6].copy_from_slice(&id.to_be_bytes());
    message[8..10].copy_from_slice(&tunnel.channel.expected().to_be_bytes());
}
