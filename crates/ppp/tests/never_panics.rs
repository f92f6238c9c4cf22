//! Whatever comes, a link drops it or answers it, and grows by nothing.

mod common;

use common::*;
use crypto::Random;
use ppp::{Method, Output, Phase, Refusal, Settings};

/// Frames fed to links in every state, all in all.
const INPUTS: u32 = 1_200_000;

/// After so many frames a link is replaced by another, unless it ends earlier.
const INPUTS_PER_LINK: u32 = 400;

/// A frame draws at most this many outputs: a repeated request, an answer, and the news of a phase.
const OUTPUTS_PER_INPUT: usize = 8;

#[test]
fn a_million_mutated_frames_are_dropped_or_answered() {
    let mut dice = random(0xf022);
    let corpus = corpus();
    let (mut inputs, mut answers, mut links) = (0, 0, 0);
    let mut refusals = std::collections::BTreeSet::new();
    while inputs < INPUTS {
        links += 1;
        let mut end = link_in_some_state(links, &mut dice);
        for _ in 0..INPUTS_PER_LINK {
            let frame = mutated(&corpus, &mut dice);
            end.said.clear();
            end.input(&frame);
            inputs += 1;
            assert!(
                end.said.len() <= OUTPUTS_PER_INPUT,
                "{frame:02x?} {:?}",
                end.said
            );
            let is_send = |output: &&Output| matches!(output, Output::Send(_));
            answers += end.said.iter().filter(is_send).count();
            refusals.extend(end.last_refusal().map(Refusal::text));
            if dice.below(64) == 0 {
                end.pass(std::time::Duration::from_millis(dice.below(4000).into()));
            }
            let is_leaving = end.link.phase() == Phase::Terminate;
            if end.link.phase() == Phase::Dead || is_leaving && dice.below(8) == 0 {
                break;
            }
        }
    }
    assert!(refusals.len() >= 13, "{refusals:?}");
    assert!(
        answers > INPUTS as usize / 10,
        "{answers} answers: the frames meet living links"
    );
}

fn link_in_some_state(seed: u32, dice: &mut Random) -> End {
    let method = [Method::MsChapV2, Method::ChapMd5, Method::Pap][dice.below(3) as usize];
    let settings = Settings {
        auth_retries: dice.below(2),
        ..server(&[method])
    };
    let (server, client) = match dice.below(2) {
        0 => (End::opened(settings, seed.into()), End::opened(client(), 2)),
        _ => pair(settings, client()),
    };
    match dice.below(2) {
        0 => server,
        _ => client,
    }
}

/// Everything a server and a client say to each other, and some of what others say.
fn corpus() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for method in [Method::MsChapV2, Method::ChapMd5, Method::Pap] {
        let (mut server, mut client) = pair(server(&[method]), client());
        for end in [&mut server, &mut client] {
            end.pass(seconds(40));
            end.close(ppp::DownReason::Cleared);
            end.read = 0;
            frames.extend(end.sent());
        }
    }
    for text in [
        "ff03 c021 01 02 0017 01 04 0578 02 06 00000000 05 06 a1b2c3d4 07 02 08 02 0d 03 06",
        "ff03 c021 03 01 0009 03 05 c223 05",
        "ff03 c021 04 01 0009 03 05 c223 81",
        "ff03 c021 07 09 0008 09 01 0004",
        "ff03 c021 08 01 000a 8021 01 01 0004",
        "ff03 c021 09 01 0008 12345678",
        "ff03 c021 0b 01 0008 12345678",
        "ff03 c021 0c 02 0012 00000000 4d535241535635 2e3230",
        "ff03 c021 0d 02 0010 00000000 0000003c 62796521",
        "8235 01 01 0004",
        "8021 01 01 0022 03 06 00000000 81 06 00000000 82 06 00000000 83 06 00000000 84 06 00000000",
        "8021 05 01 0004",
        "c021 05 01 0004",
        "21 45 00 00 14",
    ] {
        frames.push(hex(text));
    }
    frames
}

/// A frame of the corpus with a few octets changed, cut off, doubled or put in.
fn mutated(corpus: &[Vec<u8>], dice: &mut Random) -> Vec<u8> {
    let mut frame = corpus[dice.below(corpus.len() as u32) as usize].clone();
    for _ in 0..dice.below(4) {
        let at = dice.below(frame.len().max(1) as u32) as usize;
        match dice.below(6) {
            _ if frame.is_empty() => frame.push(dice.u16() as u8),
            0 => frame.truncate(at),
            1 => frame.insert(at, dice.u16() as u8),
            2 => frame.extend_from_within(at..),
            3 => frame[at] = frame[at].wrapping_add(1),
            4 => frame[at] ^= 1 << dice.below(8),
            _ => frame[at] = dice.u16() as u8,
        }
    }
    frame
}
