//! AES in CBC mode (RFC 3602). A packet is a row of blocks here, of which the first is the IV.
//!
//! Decryption takes many blocks of one packet at once, since they do not depend on each other.
//! Encryption takes one block each of several packets, since a packet's do.

use super::aes::{self, NO_KEY, Schedule};
use super::width::{Block, Narrow, Width};

/// Vectors decrypted at once: AES takes four cycles and starts twice in each.
const GROUP: usize = 8;

/// Packets encrypted at once, for the same reason.
const LANES: usize = 8;

/// Decrypts from the last block to the second, so that the one before is always as it came.
#[inline(always)]
pub(super) fn decrypt<W: Width, const R: usize>(
    width: W,
    schedule: &Schedule,
    blocks: &mut [Block],
) {
    let mut end = blocks.len();
    while end > GROUP * W::BLOCKS {
        let begin = end - GROUP * W::BLOCKS;
        decrypt_group::<W, R, GROUP>(width, schedule, &mut blocks[begin - 1..end]);
        end = begin;
    }
    while end > W::BLOCKS {
        let begin = end - W::BLOCKS;
        decrypt_group::<W, R, 1>(width, schedule, &mut blocks[begin - 1..end]);
        end = begin;
    }
    if end > 1 {
        decrypt_group::<Narrow, R, 1>(width.narrow(), schedule, &mut blocks[..2]);
    }
}

/// N vectors, and one block before them.
#[inline(always)]
fn decrypt_group<W: Width, const R: usize, const N: usize>(
    width: W,
    schedule: &Schedule,
    blocks: &mut [Block],
) {
    let mut sealed = [width.broadcast(&blocks[0]); N];
    let mut before = sealed;
    for (n, (sealed, before)) in sealed.iter_mut().zip(&mut before).enumerate() {
        *before = width.load(&blocks[n * W::BLOCKS..][..W::BLOCKS]);
        *sealed = width.load(&blocks[n * W::BLOCKS + 1..][..W::BLOCKS]);
    }
    let clear = aes::decrypt::<W, R, N>(width, schedule, sealed);
    let vectors = blocks[1..].chunks_exact_mut(W::BLOCKS);
    for ((clear, before), octets) in clear.into_iter().zip(before).zip(vectors) {
        width.store(width.xor(clear, before), octets);
    }
}

/// Encrypts packets, each with its own key. Lanes take as many blocks as the one that ends next;
/// then it takes another packet.
#[inline(always)]
pub(super) fn encrypt<'a, const R: usize>(
    narrow: Narrow,
    mut packets: impl Iterator<Item = (&'a Schedule, &'a mut [Block])>,
) {
    let mut lanes: [Lane<'a>; LANES] = std::array::from_fn(|_| Lane::default());
    // The ones at work come first.
    let mut lanes = lanes.each_mut();
    let mut active = 0;
    loop {
        while active < LANES
            && let Some((schedule, blocks)) = packets.next()
        {
            lanes[active].start(schedule, blocks);
            active += usize::from(!lanes[active].body.is_empty());
        }
        let steps = lanes[..active].iter().map(|lane| lane.body.len()).min();
        let Some(steps) = steps else {
            return;
        };
        let (eights, rest) = lanes[..active].as_chunks_mut::<8>();
        let (fours, rest) = rest.as_chunks_mut::<4>();
        let (twos, ones) = rest.as_chunks_mut::<2>();
        let (ones, _) = ones.as_chunks_mut::<1>();
        eights
            .iter_mut()
            .for_each(|lanes| advance::<R, 8>(narrow, lanes, steps));
        fours
            .iter_mut()
            .for_each(|lanes| advance::<R, 4>(narrow, lanes, steps));
        twos.iter_mut()
            .for_each(|lanes| advance::<R, 2>(narrow, lanes, steps));
        ones.iter_mut()
            .for_each(|lanes| advance::<R, 1>(narrow, lanes, steps));
        for at in (0..active).rev() {
            if lanes[at].body.is_empty() {
                active -= 1;
                lanes.swap(at, active);
            }
        }
    }
}

/// One packet at work.
struct Lane<'a> {
    schedule: &'a Schedule,
    /// The block before.
    chain: Block,
    body: &'a mut [Block],
}

impl Default for Lane<'_> {
    fn default() -> Self {
        Self {
            schedule: &NO_KEY,
            chain: Block::default(),
            body: &mut [],
        }
    }
}

impl<'a> Lane<'a> {
    /// The first block is the IV.
    #[inline(always)]
    fn start(&mut self, schedule: &'a Schedule, blocks: &'a mut [Block]) {
        if let Some((iv, body)) = blocks.split_first_mut() {
            (self.schedule, self.chain, self.body) = (schedule, *iv, body);
        }
    }
}

/// N lanes, so many blocks each.
#[inline(always)]
fn advance<const R: usize, const N: usize>(
    narrow: Narrow,
    lanes: &mut [&mut Lane<'_>; N],
    steps: usize,
) {
    let mut state = [narrow.first(&lanes[0].chain); N];
    for (state, lane) in state.iter_mut().zip(&*lanes) {
        *state = narrow.first(&lane.chain);
    }
    for step in 0..steps {
        for (state, lane) in state.iter_mut().zip(&*lanes) {
            let clear = narrow.xor(narrow.first(&lane.body[step]), *state);
            *state = narrow.xor(clear, narrow.first(&lane.schedule.0[0]));
        }
        for round in 1..R - 1 {
            for (state, lane) in state.iter_mut().zip(&*lanes) {
                *state = narrow.encrypt(*state, narrow.first(&lane.schedule.0[round]));
            }
        }
        for (state, lane) in state.iter_mut().zip(&mut *lanes) {
            *state = narrow.encrypt_last(*state, narrow.first(&lane.schedule.0[R - 1]));
            lane.body[step] = narrow.store_first(*state);
        }
    }
    for (state, lane) in state.into_iter().zip(lanes) {
        lane.chain = narrow.store_first(state);
        lane.body = &mut std::mem::take(&mut lane.body)[steps..];
    }
}
