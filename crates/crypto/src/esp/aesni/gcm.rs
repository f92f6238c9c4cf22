//! AES-GCM with a 16-octet ICV (RFC 4106), in one pass over the packet.
//!
//! ```text
//!   packet         │ SPI SEQ │ IV  │  C1  │  C2  │ … │  Cn  │  ICV  │
//!   cipher stream                  │ E(2) │ E(3) │ … │      │ E(J0) │
//!   GHASH          │ SPI SEQ │     │  C1  │  C2  │ … │ Cn 0 │ lengths
//! ```
//!
//! GHASH multiplies reversed blocks by powers of H·x, which turns the field's reflected bits into
//! plain products (RFC 8452 appendix A). Eight blocks are multiplied by eight powers and reduced
//! once.

use super::aes::{self, Schedule};
use super::width::{Block, Width};
use crate::esp::{EspJob, HEADER_LEN, Verdict};

/// Powers of H, and blocks in a group.
pub(super) const POWERS: usize = 8;

/// Octets of a block, and of the ICV.
const BLOCK_LEN: usize = size_of::<Block>();

/// x¹²⁷ + x¹²⁶ + x¹²¹ + 1: what the field's polynomial leaves of x¹²⁸.
const POLYNOMIAL: u64 = 0xc200_0000_0000_0000;

/// What GCM needs of a slot.
#[derive(Clone, Copy)]
pub(super) struct Key<'k> {
    pub(super) schedule: &'k Schedule,
    /// H⁸ … H¹, times x.
    pub(super) powers: &'k [Block; POWERS],
    pub(super) salt: [u8; 4],
}

/// Verifies and decrypts a packet of legal length; the body of a forged one is zeros afterwards.
#[inline(always)]
pub(super) fn open<W: Width, const R: usize, const N: usize>(
    width: W,
    key: Key<'_>,
    job: &mut EspJob<'_>,
) -> Verdict {
    let tag = Walk::<W, R, N>::over::<false>(width, key, job);
    let (before, icv) = job.packet.split_at_mut(job.packet.len() - BLOCK_LEN);
    let mut sent = tag;
    sent.copy_from_slice(icv);
    // One comparison of 128 bits: its time tells nothing of where they differ.
    if u128::from_ne_bytes(tag) ^ u128::from_ne_bytes(sent) == 0 {
        return Verdict::Ok;
    }
    before[BLOCK_LEN..].fill(0);
    Verdict::BadIcv
}

/// Encrypts and signs a packet of legal length.
#[inline(always)]
pub(super) fn seal<W: Width, const R: usize, const N: usize>(
    width: W,
    key: Key<'_>,
    job: &mut EspJob<'_>,
) -> Verdict {
    // RFC 4106 §3.1: an IV must not repeat under a key, which a counter makes sure of.
    let iv = job.counter().to_be_bytes();
    job.packet[HEADER_LEN..BLOCK_LEN].copy_from_slice(&iv);
    let tag = Walk::<W, R, N>::over::<true>(width, key, job);
    let icv_at = job.packet.len() - BLOCK_LEN;
    job.packet[icv_at..].copy_from_slice(&tag);
    Verdict::Ok
}

/// H⁸ … H¹, times x, from the key.
pub(super) fn powers<W: Width, const R: usize>(width: W, schedule: &Schedule) -> [Block; POWERS] {
    let [h] = aes::encrypt::<W, R, 1>(width, schedule, [width.first(&[0; 16])]);
    let h = u128::from_be_bytes(width.store_first(h));
    // Times x: what is shifted out comes back as the polynomial.
    let carry = (h >> 127) * (u128::from(POLYNOMIAL) << 64 | 1);
    let h = ((h << 1) ^ carry).to_le_bytes();
    let mut powers = [h; POWERS];
    for i in (0..POWERS - 1).rev() {
        let (power, h) = (width.first(&powers[i + 1]), width.first(&h));
        powers[i] = width.store_first(Product::of(width, power, h).reduced(width));
    }
    powers
}

/// The way over one packet. R is the number of round keys, N of vectors in a group.
struct Walk<'k, W: Width, const R: usize, const N: usize> {
    width: W,
    key: Key<'k>,
    /// The next counters, reversed, so that they can be added to.
    counters: W::Vector,
    /// GHASH so far, reversed: in each place what is to be multiplied by the power of H that a
    /// last block in this place is multiplied by.
    hash: W::Vector,
}

impl<'k, W: Width, const R: usize, const N: usize> Walk<'k, W, R, N> {
    /// Encrypts or decrypts, and returns the tag.
    #[inline(always)]
    fn over<const SEAL: bool>(width: W, key: Key<'k>, job: &mut EspJob<'_>) -> Block {
        let (header, _) = job.packet.as_chunks::<BLOCK_LEN>();
        let counter = first_counter(key.salt, &header[0]);
        let associated = associated_data(&header[0], job.esn_high);
        let lengths = lengths(job);
        let mut walk = Self {
            width,
            key,
            counters: width.count(&(counter + 1).to_le_bytes()),
            hash: width.last(&associated.to_le_bytes()),
        };
        let mask = width.first(&counter.to_be_bytes());
        let [mask] = aes::encrypt::<W, R, 1>(width, key.schedule, [mask]);

        let body_end = job.packet.len() - BLOCK_LEN;
        let body = &mut job.packet[BLOCK_LEN..body_end];
        let (blocks, _) = body.as_chunks_mut::<BLOCK_LEN>();
        let (groups, _) = blocks.as_chunks_mut::<POWERS>();
        let done = groups.as_flattened().as_flattened().len();
        walk.groups::<SEAL>(groups);
        walk.rest::<SEAL>(&mut body[done..], lengths);
        width.store_first(width.xor(width.reverse(walk.hash), mask))
    }

    /// All that is whole groups.
    #[inline(always)]
    fn groups<const SEAL: bool>(&mut self, groups: &mut [[Block; POWERS]]) {
        for i in 0..groups.len() {
            if !SEAL {
                self.absorb(&groups[i]);
            }
            self.crypt_group(&mut groups[i]);
            // One group late, so that it does not have to wait for the encryption.
            if SEAL && i > 0 {
                self.absorb(&groups[i - 1]);
            }
        }
        if SEAL && let Some(last) = groups.last() {
            self.absorb(last);
        }
    }

    /// What is left, less than eight blocks, and the block of lengths.
    #[inline(always)]
    fn rest<const SEAL: bool>(&mut self, octets: &mut [u8], lengths: Block) {
        // The hash so far stands before it, as if it were blocks.
        let mut blocks = [Block::default(); POWERS + 4];
        let hash = self.width.reverse(self.hash);
        self.width.store(hash, &mut blocks[..W::BLOCKS]);
        let used = octets.len().div_ceil(BLOCK_LEN);
        let body = &mut blocks[W::BLOCKS..];
        body.as_flattened_mut()[..octets.len()].copy_from_slice(octets);
        if SEAL {
            self.crypt(&mut body[..used.next_multiple_of(W::BLOCKS)]);
            octets.copy_from_slice(&body.as_flattened()[..octets.len()]);
            body.as_flattened_mut()[octets.len()..].fill(0);
        }
        body[used] = lengths;
        self.absorb_all(&blocks[..W::BLOCKS + used + 1]);
        if !SEAL {
            let body = &mut blocks[W::BLOCKS..];
            self.crypt(&mut body[..used.next_multiple_of(W::BLOCKS)]);
            octets.copy_from_slice(&body.as_flattened()[..octets.len()]);
        }
    }

    #[inline(always)]
    fn crypt_group(&mut self, blocks: &mut [Block; POWERS]) {
        let stream = self.stream::<N>();
        for (octets, stream) in blocks.chunks_exact_mut(W::BLOCKS).zip(stream) {
            let crypted = self.width.xor(self.width.load(octets), stream);
            self.width.store(crypted, octets);
        }
    }

    #[inline(always)]
    fn crypt(&mut self, blocks: &mut [Block]) {
        for octets in blocks.chunks_exact_mut(W::BLOCKS) {
            let [stream] = self.stream::<1>();
            let crypted = self.width.xor(self.width.load(octets), stream);
            self.width.store(crypted, octets);
        }
    }

    /// The next so many vectors of the cipher stream.
    #[inline(always)]
    fn stream<const M: usize>(&mut self) -> [W::Vector; M] {
        let mut counters = [self.counters; M];
        for counters in &mut counters {
            *counters = self.width.reverse(self.counters);
            self.counters = self.width.next(self.counters);
        }
        aes::encrypt::<W, R, M>(self.width, self.key.schedule, counters)
    }

    /// GHASH of a group: the hash so far and all vectors but the last move on by as many blocks
    /// as there are behind them.
    #[inline(always)]
    fn absorb(&mut self, group: &[Block; POWERS]) {
        let width = self.width;
        let (moving, last) = group.split_at(POWERS - W::BLOCKS);
        let powers = self.key.powers[W::BLOCKS..].chunks_exact(W::BLOCKS);
        let mut sum = Product::none(width);
        for (blocks, powers) in moving.chunks_exact(W::BLOCKS).zip(powers) {
            let vector = width.reverse(width.load(blocks));
            let product = Product::of(width, vector, width.broadcast(&powers[0]));
            sum = sum.plus(width, product);
        }
        // What the next group waits for comes last.
        let power = width.broadcast(&self.key.powers[0]);
        sum = sum.plus(width, Product::of(width, self.hash, power));
        let last = width.reverse(width.load(last));
        self.hash = width.xor(sum.reduced(width), last);
    }

    /// GHASH of nothing but these, at most twice eight blocks. It ends in the first place.
    #[inline(always)]
    fn absorb_all(&mut self, blocks: &[Block]) {
        let (before, blocks) = blocks.split_at(blocks.len().saturating_sub(POWERS));
        self.hash = self.width.first(&[0; BLOCK_LEN]);
        if !before.is_empty() {
            self.absorb_some(before);
        }
        self.absorb_some(blocks);
    }

    /// GHASH of at most eight blocks, the hash so far being in the first place.
    #[inline(always)]
    fn absorb_some(&mut self, blocks: &[Block]) {
        let width = self.width;
        let powers = &self.key.powers[POWERS - blocks.len()..];
        let (blocks, powers) = (blocks.chunks(W::BLOCKS), powers.chunks(W::BLOCKS));
        let mut sum = Product::none(width);
        for (blocks, powers) in blocks.zip(powers) {
            let (vector, powers) = match blocks.len() == W::BLOCKS {
                true => (width.load(blocks), width.load(powers)),
                false => (width.first(&blocks[0]), width.first(&powers[0])),
            };
            let vector = width.xor(width.reverse(vector), self.hash);
            self.hash = width.first(&[0; BLOCK_LEN]);
            sum = sum.plus(width, Product::of(width, vector, powers));
        }
        self.hash = width.sum(sum.reduced(width));
    }
}

/// A product before it is reduced: of the low halves, of the high halves, and of their sums.
#[derive(Clone, Copy)]
struct Product<V> {
    low: V,
    middle: V,
    high: V,
}

impl<V: Copy> Product<V> {
    #[inline(always)]
    fn none<W: Width<Vector = V>>(width: W) -> Self {
        let zero = width.first(&[0; BLOCK_LEN]);
        Self {
            low: zero,
            middle: zero,
            high: zero,
        }
    }

    /// Karatsuba: three multiplications instead of four.
    #[inline(always)]
    fn of<W: Width<Vector = V>>(width: W, a: V, b: V) -> Self {
        let sums = |v| width.xor(v, width.swap(v));
        Self {
            low: width.multiply::<0x00>(a, b),
            middle: width.multiply::<0x00>(sums(a), sums(b)),
            high: width.multiply::<0x11>(a, b),
        }
    }

    #[inline(always)]
    fn plus<W: Width<Vector = V>>(self, width: W, other: Self) -> Self {
        Self {
            low: width.xor(self.low, other.low),
            middle: width.xor(self.middle, other.middle),
            high: width.xor(self.high, other.high),
        }
    }

    /// Montgomery's way: the low quarter, times the polynomial, comes back two quarters higher,
    /// and once more.
    #[inline(always)]
    fn reduced<W: Width<Vector = V>>(self, width: W) -> V {
        let polynomial = width.broadcast(&(u128::from(POLYNOMIAL) << 64 | 1).to_le_bytes());
        let fold = |v| width.xor(width.swap(v), width.multiply::<0x10>(v, polynomial));
        let middle = width.xor(self.middle, width.xor(self.low, self.high));
        let middle = width.xor(middle, fold(self.low));
        width.xor(self.high, fold(middle))
    }
}

/// RFC 4106 §4: four octets of salt, then the IV; behind it the counter starts with 1.
#[inline(always)]
fn first_counter(salt: [u8; 4], header: &Block) -> u128 {
    let iv = u128::from_be_bytes(*header) << 64 >> 32;
    u128::from(u32::from_be_bytes(salt)) << 96 | iv | 1
}

/// RFC 4106 §5: SPI and sequence number, the latter in full if it is extended; then zeros.
#[inline(always)]
fn associated_data(header: &Block, esn_high: Option<u32>) -> u128 {
    let header = u128::from_be_bytes(*header);
    let (spi, sequence) = (header >> 96, header >> 64 & 0xffff_ffff);
    match esn_high {
        None => (spi << 96) | (sequence << 64),
        Some(high) => (spi << 96) | (u128::from(high) << 64) | (sequence << 32),
    }
}

/// Lengths in bits of associated data and ciphertext.
#[inline(always)]
fn lengths(job: &EspJob<'_>) -> Block {
    let associated = if job.esn_high.is_some() { 96 } else { 64 };
    let sealed = 8 * (job.packet.len() - 2 * BLOCK_LEN);
    (associated << 64 | sealed as u128).to_be_bytes()
}
