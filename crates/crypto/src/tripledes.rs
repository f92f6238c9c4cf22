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
const BLOCK_LEN: usize = 8;

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
    type Vector: Copy;
    /// Bytes in it.
    const LANES: usize = size_of::<Self::Vector>();

    fn load(self, from: &[u8]) -> Self::Vector;
    fn store(self, vector: Self::Vector, to: &mut [u8]);
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
    /// Runs [`crypt`] in a function that may use the instructions.
    fn crypt(self, keys: &LaneKeys<Self>, blocks: &mut [u64; LANES_MAX]);
}
