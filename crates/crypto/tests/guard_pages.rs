//! No back end reads or writes outside a packet: each packet ends where a page begins that nobody
//! may touch, or begins where one ends. An access outside would end the process.

#![allow(clippy::unwrap_used)]

mod common;
mod guarded;

use common::back_ends;
use crypto::Random;
use crypto::esp::{Backend, Direction, EspJob, KeySlot, Keymat, Keys, Suite, Verdict};
use guarded::Guarded;

const OPEN: KeySlot = KeySlot(0);
const SEAL: KeySlot = KeySlot(64);

/// Every length up to here, where tails and whole vectors meet in all ways.
const EVERY_LEN_UP_TO: usize = 700;

/// Beyond, some lengths up to that of a jumbo frame.
const LEN_MAX: usize = 9000;
const LONG_ONES: usize = 40;

/// Enough for every lane and some that take the next packet.
const BURST: usize = 37;

#[test]
fn nothing_outside_a_packet_is_touched() {
    let mut random = Random::from_seed([8; 32]);
    let mut memory: Vec<_> = (0..BURST).map(|_| Guarded::new(LEN_MAX)).collect();
    for backend in back_ends() {
        for suite in Suite::ALL {
            let keys = keys(backend, suite, &mut random);
            let mut lens: Vec<_> = (0..EVERY_LEN_UP_TO).collect();
            if !matches!(suite, Suite::TripleDesCbc { .. }) {
                lens.extend((0..LONG_ONES).map(|_| random.below(LEN_MAX as u32) as usize));
            }
            for len in &mut lens {
                // One in eight has no packet's length.
                while *len % 8 != 7 && !suite.is_packet_len(*len) {
                    *len += 1;
                }
            }
            for is_last in [true, false] {
                for lens in lens.chunks(1 + random.below(BURST as u32) as usize) {
                    there_and_back(&keys, suite, lens, is_last, &mut memory);
                }
            }
        }
    }
}

fn keys(backend: Backend, suite: Suite, random: &mut Random) -> Keys {
    let mut octets = vec![0; suite.keymat_len()];
    random.fill(&mut octets);
    let keymat = Keymat::new(suite, &octets).unwrap();
    let mut keys = Keys::new(backend);
    keys.install(OPEN, suite, Direction::Open, &keymat, &random.array());
    keys.install(SEAL, suite, Direction::Seal, &keymat, &random.array());
    keys
}

fn there_and_back(
    keys: &Keys,
    suite: Suite,
    lens: &[usize],
    is_last: bool,
    memory: &mut [Guarded],
) {
    for slot in [SEAL, OPEN] {
        let packets = memory.iter_mut().zip(lens).map(|(memory, len)| {
            if is_last {
                memory.last(*len)
            } else {
                memory.first(*len)
            }
        });
        let mut jobs: Vec<_> = packets
            .map(|packet| EspJob {
                packet,
                slot,
                esn_high: None,
                verdict: Verdict::Pending,
            })
            .collect();
        if slot == SEAL {
            keys.seal(suite, &mut jobs);
        } else {
            keys.open(suite, &mut jobs);
        }
        for (job, len) in jobs.iter().zip(lens) {
            let expected = if suite.is_packet_len(*len) {
                Verdict::Ok
            } else {
                Verdict::BadLength
            };
            assert_eq!(job.verdict, expected, "{suite}, {len} octets");
        }
    }
}
