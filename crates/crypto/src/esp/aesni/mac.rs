//! HMAC-SHA1-96 and HMAC-SHA2-256-128 (RFC 2404, RFC 4868) of several packets at once.
//!
//! ```text
//!   a packet's message      │ block │ block │ … │ block │ rest, ESN, padding │     │ hash, padding │
//!   hashed into its state   ◄───── in the packet ──────►◄──── in the lane ───►     ◄─ in the lane ─►
//!                           from the inner state of the key                        from the outer
//! ```
//!
//! A few packets at a time are in lanes. All lanes take as many blocks as the lane that is next to
//! need attention has left; a lane that is done takes the next packet, and when there are no more
//! the remaining lanes go on without it.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::sha::{BLOCK_LEN, Hash};
use crate::esp::sha_ni::{Chunk, State};
use crate::esp::{EspJob, Suite};

/// Packets at once: measured, more gains nothing.
const LANES: usize = 4;

/// The longest ICV here: HMAC-SHA2-256-128.
pub(in crate::esp) const ICV_LEN_MAX: usize = 16;

/// An HMAC key, hashed in.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(in crate::esp) struct Mac {
    inner: State,
    outer: State,
}

impl Mac {
    /// RFC 2104 §2: the key, padded with zeros, is XORed with one octet inside and another outside.
    pub(in crate::esp) fn new(hash: Hash, key: &[u8]) -> Self {
        let state = |pad| {
            let mut block = [pad; BLOCK_LEN];
            for (octet, key) in block.iter_mut().zip(key) {
                *octet ^= key;
            }
            let mut states = [hash.initial()];
            hash.compress(&mut states, [&[block]]);
            block.zeroize();
            states[0]
        };
        Self {
            inner: state(0x36),
            outer: state(0x5c),
        }
    }
}

/// What is to be authenticated.
#[derive(Clone, Copy)]
pub(in crate::esp) struct Message<'a> {
    mac: &'a Mac,
    packet: &'a [u8],
    /// RFC 4303 §2.2.1: the upper half of an extended sequence number counts as if it came last.
    esn_high: Option<u32>,
}

impl<'a> Message<'a> {
    /// All of a packet that stands before its ICV.
    pub(in crate::esp) fn of(mac: &'a Mac, suite: Suite, job: &'a EspJob<'_>) -> Self {
        Self {
            mac,
            packet: &job.packet[..job.packet.len() - suite.icv_len()],
            esn_high: job.esn_high,
        }
    }
}

/// Computes the ICV of each message, which comes with the place that it goes to.
pub(in crate::esp) fn authenticate<'a>(
    hash: Hash,
    mut messages: impl Iterator<Item = (usize, Message<'a>)>,
    icvs: &mut [[u8; ICV_LEN_MAX]],
) {
    let mut lanes: [Option<Lane<'a>>; LANES] = [const { None }; LANES];
    let mut active = 0;
    loop {
        while active < LANES
            && let Some((index, message)) = messages.next()
        {
            lanes[active] = Some(Lane::new(index, message));
            active += 1;
        }
        match &mut lanes {
            [Some(a), Some(b), Some(c), Some(d)] => compress(hash, [a, b, c, d]),
            [Some(a), Some(b), Some(c), _] => compress(hash, [a, b, c]),
            [Some(a), Some(b), ..] => compress(hash, [a, b]),
            [Some(a), ..] => compress(hash, [a]),
            [None, ..] => return,
        }
        for at in (0..active).rev() {
            if let Some(lane) = &mut lanes[at]
                && lane.blocks().is_empty()
                && lane.next(hash) == Stage::Done
            {
                icvs[lane.index] = lane.icv();
                active -= 1;
                lanes.swap(at, active);
                lanes[active] = None;
            }
        }
    }
}

/// Hashes as many blocks as every lane has.
#[inline(always)]
fn compress<const N: usize>(hash: Hash, lanes: [&mut Lane<'_>; N]) {
    let steps = lanes.iter().map(|lane| lane.blocks().len()).min();
    let steps = steps.unwrap_or(0);
    let mut states = [[0; 8]; N];
    for (state, lane) in states.iter_mut().zip(&lanes) {
        *state = lane.state;
    }
    hash.compress(
        &mut states,
        lanes.each_ref().map(|lane| &lane.blocks()[..steps]),
    );
    for (state, lane) in states.into_iter().zip(lanes) {
        lane.state = state;
        lane.advance(steps);
    }
}

/// What a lane hashes, or has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Inner,
    Outer,
    Done,
}

/// One message at work. Nothing of the key is left in it once a block has been hashed.
struct Lane<'a> {
    /// Where the ICV goes.
    index: usize,
    mac: &'a Mac,
    state: State,
    stage: Stage,
    /// Blocks to hash where they lie.
    whole: &'a [Chunk],
    /// Blocks to hash after those, and which of them.
    rest: [Chunk; 2],
    rest_at: usize,
    rest_end: usize,
}

impl<'a> Lane<'a> {
    fn new(index: usize, message: Message<'a>) -> Self {
        let (whole, over) = message.packet.as_chunks();
        let mut lane = Lane {
            index,
            mac: message.mac,
            state: message.mac.inner,
            stage: Stage::Inner,
            whole,
            rest: [[0; BLOCK_LEN]; 2],
            rest_at: 0,
            rest_end: 0,
        };
        let rest = lane.rest.as_flattened_mut();
        let mut len = over.len();
        rest[..len].copy_from_slice(over);
        if let Some(high) = message.esn_high {
            rest[len..len + 4].copy_from_slice(&high.to_be_bytes());
            len += 4;
        }
        lane.pad(len, whole.len() * BLOCK_LEN + len);
        lane
    }

    /// FIPS 180-4 §5.1.1 behind `len` octets of the rest: a bit, zeros, and the length in bits of
    /// everything, to which the block of the key belongs.
    fn pad(&mut self, len: usize, hashed: usize) {
        let rest = self.rest.as_flattened_mut();
        rest[len] = 0x80;
        self.rest_at = 0;
        self.rest_end = (len + 9).div_ceil(BLOCK_LEN);
        let bits = 8 * (BLOCK_LEN + hashed) as u64;
        rest[self.rest_end * BLOCK_LEN - 8..][..8].copy_from_slice(&bits.to_be_bytes());
    }

    #[inline(always)]
    fn blocks(&self) -> &[Chunk] {
        match self.whole {
            [] => &self.rest[self.rest_at..self.rest_end],
            whole => whole,
        }
    }

    #[inline(always)]
    fn advance(&mut self, steps: usize) {
        match self.whole {
            [] => self.rest_at += steps,
            whole => self.whole = &whole[steps..],
        }
    }

    /// From the inner hash to the outer, or to the end.
    fn next(&mut self, hash: Hash) -> Stage {
        self.stage = match self.stage {
            Stage::Inner => {
                let len = hash.output_len();
                self.rest[0] = [0; BLOCK_LEN];
                for (octets, word) in self.rest[0][..len].chunks_exact_mut(4).zip(self.state) {
                    octets.copy_from_slice(&word.to_be_bytes());
                }
                self.pad(len, len);
                self.state = self.mac.outer;
                Stage::Outer
            }
            Stage::Outer | Stage::Done => Stage::Done,
        };
        self.stage
    }

    fn icv(&self) -> [u8; ICV_LEN_MAX] {
        let mut icv = [0; ICV_LEN_MAX];
        for (octets, word) in icv.chunks_exact_mut(4).zip(self.state) {
            octets.copy_from_slice(&word.to_be_bytes());
        }
        icv
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;
    use hmac::{Hmac, KeyInit, Mac as _};
    use sha1::Sha1;
    use sha2::Sha256;

    fn of_the_crate<M: KeyInit + hmac::Mac>(key: &[u8], input: &[u8]) -> [u8; ICV_LEN_MAX] {
        let mut mac = <M as KeyInit>::new_from_slice(key).unwrap();
        mac.update(input);
        mac.finalize().into_bytes()[..ICV_LEN_MAX]
            .try_into()
            .unwrap()
    }

    #[test]
    fn every_length_in_every_company_gives_the_hmac_of_the_crate() {
        let mut random = Random::from_seed([6; 32]);
        for hash in [Hash::Sha1, Hash::Sha256] {
            for company in 1..=2 * LANES + 1 {
                for first_len in (0..=260).step_by(company) {
                    let key: [u8; 32] = random.array();
                    let key = &key[..hash.output_len()];
                    let mac = Mac::new(hash, key);
                    let inputs: Vec<_> = (first_len..first_len + company)
                        .map(|len| vec![random.u32() as u8; len])
                        .collect();
                    let esn_high = (random.below(2) == 0).then(|| random.u32());
                    let messages = inputs.iter().enumerate().map(|(i, packet)| {
                        let message = Message {
                            mac: &mac,
                            packet,
                            esn_high,
                        };
                        (i, message)
                    });
                    let mut icvs = vec![[0; ICV_LEN_MAX]; company];
                    authenticate(hash, messages, &mut icvs);
                    for (input, icv) in inputs.into_iter().zip(icvs) {
                        let high = esn_high.map(u32::to_be_bytes);
                        let input = [&input[..], high.as_ref().map_or(&[], |high| high)].concat();
                        let expected = match hash {
                            Hash::Sha1 => of_the_crate::<Hmac<Sha1>>(key, &input),
                            Hash::Sha256 => of_the_crate::<Hmac<Sha256>>(key, &input),
                        };
                        assert_eq!(icv, expected, "{hash:?}, {} octets", input.len());
                    }
                }
            }
        }
    }
}
