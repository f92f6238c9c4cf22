//! Triple DES in CBC mode (FIPS 46-3, RFC 2451), many blocks at a time, without a table in memory
//! that a secret chooses from: every look-up is an instruction on registers.
//!
//! The crates' DES takes 48 rounds of table look-ups for one block after the other. Here byte *n*
//! of a vector belongs to block *n*, and a half block is eight vectors, one for each S-box, that
//! hold its six input bits:
//!
//! ```text
//!   right half after E, eight vectors of six bits          left half, likewise
//!     ┌────┐┌────┐┌────┐ … ┌────┐                            ┌────┐┌────┐ … ┌────┐
//!     │ S1 ││ S2 ││ S3 │   │ S8 │                            │ 1  ││ 2  │   │ 8  │
//!     └─┬──┘└─┬──┘└─┬──┘   └─┬──┘                            └─┬──┘└─┬──┘   └─┬──┘
//!   ⊕ round key, look up in the S-box                          │     │        │
//!       └──┬──┴─────┴────────┘                                 │     │        │
//!          └─ each bit (AND) to the group that wants it ──────►⊕ ───►⊕ ──────►⊕
//! ```
//!
//! Both halves stay expanded through all 48 rounds: P and E are only ways between vectors. The
//! S-boxes give their bits in such places that no two of the same vector collide (`tables`).
//!
//! Decryption takes the blocks of one packet as lanes, encryption one block each of many packets,
//! because CBC chains them. [`Instructions`] says which vectors: AVX-512 VBMI looks up 64 bytes in
//! a table of 64 at once; AVX2 looks up 32 bytes in four tables of 16.

mod avx2;
mod tables;
mod vbmi;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use avx2::Avx2;
use tables::{Layout, ROUTES, Table, Tables};
use vbmi::Vbmi;

/// Octets in a block.
pub(super) const BLOCK_LEN: usize = 8;

/// Three times DES.
const ROUNDS: usize = 48;

/// The most blocks that are worked on at once.
const LANES_MAX: usize = 64;

/// What the kernel asks of a processor. A value proves that the processor has the instructions.
trait Instructions: Copy {
    /// Where in a byte the six bits of a group lie.
    const LAYOUT: Layout;
    const TABLES: Tables = Tables::new(Self::LAYOUT);

    /// One byte of every block.
    type Vector: Copy + Zeroize;
    /// Bytes in it.
    const LANES: usize = size_of::<Self::Vector>();

    fn load(self, from: &[u64]) -> Self::Vector;
    fn store(self, vector: Self::Vector, to: &mut [u64]);
    fn splat(self, byte: u8) -> Self::Vector;
    fn xor(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn and(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a ^ (b & mask)`
    fn xor_masked(self, a: Self::Vector, b: Self::Vector, mask: Self::Vector) -> Self::Vector;
    /// Shifts pairs of bytes, so that bits cross from one to the other.
    fn shift_left<const N: i32>(self, a: Self::Vector) -> Self::Vector;
    fn shift_right<const N: i32>(self, a: Self::Vector) -> Self::Vector;
    /// Bytes of `a` and `b` in turn, the lower and the upper half of each 16.
    fn interleave(self, a: Self::Vector, b: Self::Vector) -> [Self::Vector; 2];
    /// The byte of the table at each six bits.
    fn look_up(self, table: &Table, six: Self::Vector) -> Self::Vector;
    /// The byte of the table at each four bits.
    fn look_up_16(self, table: &[u8; 16], four: Self::Vector) -> Self::Vector;
    /// Runs [`decrypt`] in a function that may use the instructions.
    fn decrypt(self, key: &Schedule, iv: [u8; BLOCK_LEN], body: &mut [[u8; BLOCK_LEN]]);
    /// Runs [`encrypt`], likewise.
    fn encrypt<'a>(self, packets: impl Iterator<Item = Chain<'a>>);
}

/// A key as decryption or encryption uses it: the round keys of all three DES, expanded.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Schedule([[u8; 8]; ROUNDS]);

/// The key of nobody, for lanes without a packet.
static NO_KEY: Schedule = Schedule([[0; 8]; ROUNDS]);

/// One packet to encrypt.
pub(super) struct Chain<'a> {
    pub(super) key: &'a Schedule,
    pub(super) iv: [u8; BLOCK_LEN],
    pub(super) body: &'a mut [[u8; BLOCK_LEN]],
}

/// The instructions to use.
#[derive(Clone, Copy)]
pub(super) enum Cipher {
    Vbmi(Vbmi),
    Avx2(Avx2),
}

impl Cipher {
    /// The best this processor has; `None` if it has too little to beat plain DES.
    pub(super) fn detect() -> Option<Self> {
        Vbmi::detect()
            .map(Self::Vbmi)
            .or_else(|| Avx2::detect().map(Self::Avx2))
    }

    /// Every kernel that this processor can run.
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let vbmi = Vbmi::detect().map(Self::Vbmi);
        vbmi.into_iter().chain(Avx2::detect().map(Self::Avx2))
    }

    /// The round keys of three-key EDE in the order of encryption.
    pub(super) fn encryption(self, key: &[u8; 24]) -> Schedule {
        let keys = self.single_des(key);
        let [first, second, third] = &*keys;
        let second = second.iter().rev();
        Schedule::of(first.iter().chain(second).chain(third.iter()))
    }

    /// The round keys in the order of decryption.
    pub(super) fn decryption(self, key: &[u8; 24]) -> Schedule {
        let keys = self.single_des(key);
        let [first, second, third] = &*keys;
        let (third, first) = (third.iter().rev(), first.iter().rev());
        Schedule::of(third.chain(second.iter()).chain(first))
    }

    /// Decrypts whole blocks in place.
    pub(super) fn decrypt(self, key: &Schedule, iv: [u8; BLOCK_LEN], body: &mut [[u8; BLOCK_LEN]]) {
        match self {
            Self::Vbmi(isa) => isa.decrypt(key, iv, body),
            Self::Avx2(isa) => isa.decrypt(key, iv, body),
        }
    }

    /// Encrypts packets in place, each under its own key.
    pub(super) fn encrypt<'a>(self, packets: impl Iterator<Item = Chain<'a>>) {
        match self {
            Self::Vbmi(isa) => isa.encrypt(packets),
            Self::Avx2(isa) => isa.encrypt(packets),
        }
    }

    fn single_des(self, key: &[u8; 24]) -> Zeroizing<[[[u8; 8]; 16]; 3]> {
        let layout = match self {
            Self::Vbmi(_) => Vbmi::LAYOUT,
            Self::Avx2(_) => Avx2::LAYOUT,
        };
        let (keys, _) = key.as_chunks();
        Zeroizing::new(std::array::from_fn(|i| {
            tables::round_keys(&keys[i], layout)
        }))
    }
}

impl Schedule {
    fn of<'k>(round_keys: impl Iterator<Item = &'k [u8; 8]>) -> Self {
        let mut schedule = Self([[0; 8]; ROUNDS]);
        for (to, from) in schedule.0.iter_mut().zip(round_keys) {
            *to = *from;
        }
        schedule
    }
}

/// The round keys of every lane, byte *n* of a vector for lane *n* as in the blocks.
struct LaneKeys<I: Instructions>([[I::Vector; 8]; ROUNDS]);

impl<I: Instructions> Drop for LaneKeys<I> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<I: Instructions> LaneKeys<I> {
    /// The same key in every lane.
    #[inline(always)]
    fn splat(isa: I, key: &Schedule) -> Self {
        let mut keys = Self([[isa.splat(0); 8]; ROUNDS]);
        for (vectors, round) in keys.0.iter_mut().zip(&key.0) {
            for (vector, &byte) in vectors.iter_mut().zip(round) {
                *vector = isa.splat(byte);
            }
        }
        keys
    }

    /// A key for each lane.
    #[inline(always)]
    fn each(isa: I, schedules: &[&Schedule]) -> Self {
        let mut keys = Self([[isa.splat(0); 8]; ROUNDS]);
        let mut lanes = [0; LANES_MAX];
        for (round, vectors) in keys.0.iter_mut().enumerate() {
            for (lane, schedule) in lanes.iter_mut().zip(schedules) {
                *lane = u64::from_le_bytes(schedule.0[round]);
            }
            *vectors = bytes_apart(isa, load(isa, &lanes));
        }
        lanes.zeroize();
        keys
    }
}

/// CBC decryption, a vector of blocks at a time.
#[inline(always)]
fn decrypt<I: Instructions>(
    isa: I,
    key: &Schedule,
    iv: [u8; BLOCK_LEN],
    body: &mut [[u8; BLOCK_LEN]],
) {
    let keys = LaneKeys::splat(isa, key);
    let mut before = u64::from_le_bytes(iv);
    for chunk in body.chunks_mut(I::LANES) {
        let mut blocks = [0; LANES_MAX];
        for (block, sealed) in blocks.iter_mut().zip(&*chunk) {
            *block = u64::from_le_bytes(*sealed);
        }
        crypt(isa, &keys, &mut blocks);
        for (octets, block) in chunk.iter_mut().zip(blocks) {
            let sealed = u64::from_le_bytes(*octets);
            *octets = (block ^ before).to_le_bytes();
            before = sealed;
        }
    }
}

/// CBC encryption, one block of each packet at a time. A lane whose packet has ended goes on with
/// nothing until the longest has.
#[inline(always)]
fn encrypt<'a, I: Instructions>(isa: I, mut packets: impl Iterator<Item = Chain<'a>>) {
    loop {
        let mut blocks = [0; LANES_MAX];
        let mut schedules = [&NO_KEY; LANES_MAX];
        let mut bodies: [&mut [_]; LANES_MAX] = std::array::from_fn(|_| Default::default());
        let mut lanes = 0;
        while lanes < I::LANES
            && let Some(packet) = packets.next()
        {
            blocks[lanes] = u64::from_le_bytes(packet.iv);
            schedules[lanes] = packet.key;
            bodies[lanes] = packet.body;
            lanes += 1;
        }
        let bodies = &mut bodies[..lanes];
        let Some(longest) = bodies.iter().map(|body| body.len()).max() else {
            return;
        };
        let keys = LaneKeys::each(isa, &schedules[..lanes]);
        for at in 0..longest {
            for (block, body) in blocks.iter_mut().zip(&*bodies) {
                *block ^= body.get(at).map_or(0, |octets| u64::from_le_bytes(*octets));
            }
            crypt(isa, &keys, &mut blocks);
            for (block, body) in blocks.iter().zip(&mut *bodies) {
                if let Some(octets) = body.get_mut(at) {
                    *octets = block.to_le_bytes();
                }
            }
        }
    }
}

/// All rounds over a vector of blocks.
#[inline(always)]
fn crypt<I: Instructions>(isa: I, keys: &LaneKeys<I>, blocks: &mut [u64; LANES_MAX]) {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = bits_apart(isa, bytes_apart(isa, load(isa, blocks)));
    // The initial permutation is no more than this order: the even bits of all octets from bit 2
    // of the standard's count go left, the odd ones right.
    let mut left = expand(isa, [b6, b4, b2, b0]);
    let mut right = expand(isa, [b7, b5, b3, b1]);
    let places = I::LAYOUT.map(|bit| isa.splat(1 << bit));
    for des in keys.0.chunks_exact(16) {
        for pair in des.chunks_exact(2) {
            round(isa, &mut left, &right, &pair[0], &places);
            round(isa, &mut right, &left, &pair[1], &places);
        }
        // The last round of a DES does not swap; the final permutation of one and the initial
        // one of the next cancel.
        std::mem::swap(&mut left, &mut right);
    }
    let [b6, b4, b2, b0] = compress(isa, left);
    let [b7, b5, b3, b1] = compress(isa, right);
    let bytes = bits_apart(isa, [b0, b1, b2, b3, b4, b5, b6, b7]);
    store(isa, bytes_together(isa, bytes), blocks);
}

/// `left ^= f(right, key)`
#[inline(always)]
fn round<I: Instructions>(
    isa: I,
    left: &mut [I::Vector; 8],
    right: &[I::Vector; 8],
    key: &[I::Vector; 8],
    places: &[I::Vector; 6],
) {
    let mut out = *right;
    for i in 0..8 {
        out[i] = isa.look_up(&I::TABLES.substitute[i], isa.xor(right[i], key[i]));
    }
    for (group, routes) in left.iter_mut().zip(&ROUTES) {
        for (&sbox, &place) in routes.iter().zip(places) {
            *group = isa.xor_masked(*group, out[sbox], place);
        }
    }
}

/// Four octets of a half block to eight groups.
#[inline(always)]
fn expand<I: Instructions>(isa: I, half: [I::Vector; 4]) -> [I::Vector; 8] {
    let low = isa.splat(0x0f);
    let mut own = [low; 8];
    for (i, octet) in half.into_iter().enumerate() {
        own[2 * i] = isa.and(isa.shift_right::<4>(octet), low);
        own[2 * i + 1] = isa.and(octet, low);
    }
    let mut groups = own;
    for (i, [before, itself, next]) in I::TABLES.expand.iter().enumerate() {
        let around = isa.xor(
            isa.look_up_16(before, own[(i + 7) % 8]),
            isa.look_up_16(next, own[(i + 1) % 8]),
        );
        groups[i] = isa.xor(around, isa.look_up_16(itself, own[i]));
    }
    groups
}

/// Eight groups to the four octets that they came from.
#[inline(always)]
fn compress<I: Instructions>(isa: I, groups: [I::Vector; 8]) -> [I::Vector; 4] {
    let mut octets = [groups[0]; 4];
    for (i, octet) in octets.iter_mut().enumerate() {
        let high = isa.look_up(&I::TABLES.compress[2 * i], groups[2 * i]);
        let low = isa.look_up(&I::TABLES.compress[2 * i + 1], groups[2 * i + 1]);
        *octet = isa.xor(isa.shift_left::<4>(high), low);
    }
    octets
}

/// Exchanges bit *n* of byte *m* and bit *m* of byte *n* of every block.
#[inline(always)]
fn bits_apart<I: Instructions>(isa: I, mut rows: [I::Vector; 8]) -> [I::Vector; 8] {
    macro_rules! exchange {
        ($distance:literal, $mask:literal, $($row:literal)*) => {$({
            let (a, b) = (rows[$row], rows[$row + $distance]);
            let differ = isa.and(isa.xor(isa.shift_right::<$distance>(a), b), isa.splat($mask));
            rows[$row] = isa.xor(a, isa.shift_left::<$distance>(differ));
            rows[$row + $distance] = isa.xor(b, differ);
        })*};
    }
    exchange!(4, 0x0f, 0 1 2 3);
    exchange!(2, 0x33, 0 1 4 5);
    exchange!(1, 0x55, 0 2 4 6);
    rows
}

/// From vectors of blocks to vectors of equal octets. One [`shuffle`] rotates the seven bits that
/// number an octet (three for the vector, one for the block, three for its place in the block)
/// by one; four bring the last three to the front.
#[inline(always)]
fn bytes_apart<I: Instructions>(isa: I, rows: [I::Vector; 8]) -> [I::Vector; 8] {
    shuffle(isa, shuffle(isa, shuffle(isa, shuffle(isa, rows))))
}

/// The inverse: three more make seven.
#[inline(always)]
fn bytes_together<I: Instructions>(isa: I, rows: [I::Vector; 8]) -> [I::Vector; 8] {
    shuffle(isa, shuffle(isa, shuffle(isa, rows)))
}

#[inline(always)]
fn shuffle<I: Instructions>(isa: I, rows: [I::Vector; 8]) -> [I::Vector; 8] {
    let [a0, a1] = isa.interleave(rows[0], rows[4]);
    let [b0, b1] = isa.interleave(rows[1], rows[5]);
    let [c0, c1] = isa.interleave(rows[2], rows[6]);
    let [d0, d1] = isa.interleave(rows[3], rows[7]);
    [a0, a1, b0, b1, c0, c1, d0, d1]
}

#[inline(always)]
fn load<I: Instructions>(isa: I, blocks: &[u64; LANES_MAX]) -> [I::Vector; 8] {
    let mut rows = [isa.splat(0); 8];
    for (row, blocks) in rows.iter_mut().zip(blocks.chunks_exact(I::LANES / 8)) {
        *row = isa.load(blocks);
    }
    rows
}

#[inline(always)]
fn store<I: Instructions>(isa: I, rows: [I::Vector; 8], blocks: &mut [u64; LANES_MAX]) {
    for (row, blocks) in rows.into_iter().zip(blocks.chunks_exact_mut(I::LANES / 8)) {
        isa.store(row, blocks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;
    use crate::vectors::hex;
    use cbc::cipher::{BlockModeEncrypt, KeyIvInit};

    /// Key, IV, clear and sealed: the first and the fifth message of NIST's TCBCMMT3 with three
    /// different keys.
    const NIST: [[&str; 4]; 2] = [
        [
            "b5cb1504802326c73df186e3e352a20de643b0d63ee30e37",
            "43f791134c5647ba",
            "dcc153cef81d6f24",
            "92538bd8af18d3ba",
        ],
        [
            "ef6d3e54266d978ffb0b8ce6689d803e2cd34cc802fd0252",
            "38bae5bce06d0ad9",
            "c4f228b537223cd01c0debb5d9d4e12ba71656618d119b2f8f0af29d23efa3a9\
             e43c4c458a1b79a0",
            "9e3289fb18379f55aa4e45a7e0e6df160b33b75f8627ad0954f8fdcb78cee55a\
             4664caeda1000fe5",
        ],
    ];

    struct Packet {
        key: [u8; 24],
        iv: [u8; BLOCK_LEN],
        clear: Vec<[u8; BLOCK_LEN]>,
    }

    impl Packet {
        fn random(blocks: usize, random: &mut Random) -> Self {
            Self {
                key: random.array(),
                iv: random.array(),
                clear: (0..blocks).map(|_| random.array()).collect(),
            }
        }

        fn sealed_by_the_crate(&self) -> Vec<[u8; BLOCK_LEN]> {
            let mode = cbc::Encryptor::<des::TdesEde3>::new_from_slices(&self.key, &self.iv);
            let mut mode = mode.unwrap();
            let mut sealed = self.clear.clone();
            for block in &mut sealed {
                mode.encrypt_block(block.into());
            }
            sealed
        }
    }

    #[test]
    fn every_kernel_gives_the_answers_of_nist() {
        for cipher in Cipher::all() {
            for [key, iv, clear, sealed] in NIST.map(|case| case.map(hex)) {
                let key = key[..].try_into().unwrap();
                let iv = iv[..].try_into().unwrap();
                let mut blocks = clear.as_chunks().0.to_vec();
                let schedule = cipher.encryption(key);
                let body = &mut blocks[..];
                cipher.encrypt(std::iter::once(Chain {
                    key: &schedule,
                    iv,
                    body,
                }));
                assert_eq!(blocks.as_flattened(), sealed);
                cipher.decrypt(&cipher.decryption(key), iv, &mut blocks);
                assert_eq!(blocks.as_flattened(), clear);
            }
        }
    }

    /// Packets of 0 to 70 blocks under their own keys, more of them than there are lanes.
    #[test]
    fn packets_of_any_length_in_bursts_of_any_size_come_out_as_the_crate_has_them() {
        let mut random = Random::from_seed([8; 32]);
        for cipher in Cipher::all() {
            for burst in [0, 1, 2, 31, 32, 33, 63, 64, 65, 130] {
                let packets: Vec<_> = (0..burst)
                    .map(|_| Packet::random(random.below(71) as usize, &mut random))
                    .collect();
                let schedules: Vec<_> = packets
                    .iter()
                    .map(|packet| cipher.encryption(&packet.key))
                    .collect();
                let mut bodies: Vec<_> =
                    packets.iter().map(|packet| packet.clear.clone()).collect();
                let chains = packets.iter().zip(&schedules).zip(&mut bodies);
                cipher.encrypt(chains.map(|((packet, key), body)| Chain {
                    key,
                    iv: packet.iv,
                    body,
                }));
                for (packet, mut body) in packets.iter().zip(bodies) {
                    assert!(body == packet.sealed_by_the_crate());
                    cipher.decrypt(&cipher.decryption(&packet.key), packet.iv, &mut body);
                    assert!(body == packet.clear);
                }
            }
        }
    }
}
