//! The tables of FIPS 46-3, and what the kernel makes of them when it is compiled.
//!
//! Bits are counted as the standard does it, from 1 and from the left.

/// The round function's last step: where each bit of its result comes from.
#[rustfmt::skip]
const P: [u8; 32] = [
    16,  7, 20, 21, 29, 12, 28, 17,  1, 15, 23, 26,  5, 18, 31, 10,
     2,  8, 24, 14, 32, 27,  3,  9, 19, 13, 30,  6, 22, 11,  4, 25,
];

/// The S-boxes: four rows, chosen by the outer two of six bits, of 16 columns.
#[rustfmt::skip]
const S: [[[u8; 16]; 4]; 8] = [
    [
        [14,  4, 13,  1,  2, 15, 11,  8,  3, 10,  6, 12,  5,  9,  0,  7],
        [ 0, 15,  7,  4, 14,  2, 13,  1, 10,  6, 12, 11,  9,  5,  3,  8],
        [ 4,  1, 14,  8, 13,  6,  2, 11, 15, 12,  9,  7,  3, 10,  5,  0],
        [15, 12,  8,  2,  4,  9,  1,  7,  5, 11,  3, 14, 10,  0,  6, 13],
    ],
    [
        [15,  1,  8, 14,  6, 11,  3,  4,  9,  7,  2, 13, 12,  0,  5, 10],
        [ 3, 13,  4,  7, 15,  2,  8, 14, 12,  0,  1, 10,  6,  9, 11,  5],
        [ 0, 14,  7, 11, 10,  4, 13,  1,  5,  8, 12,  6,  9,  3,  2, 15],
        [13,  8, 10,  1,  3, 15,  4,  2, 11,  6,  7, 12,  0,  5, 14,  9],
    ],
    [
        [10,  0,  9, 14,  6,  3, 15,  5,  1, 13, 12,  7, 11,  4,  2,  8],
        [13,  7,  0,  9,  3,  4,  6, 10,  2,  8,  5, 14, 12, 11, 15,  1],
        [13,  6,  4,  9,  8, 15,  3,  0, 11,  1,  2, 12,  5, 10, 14,  7],
        [ 1, 10, 13,  0,  6,  9,  8,  7,  4, 15, 14,  3, 11,  5,  2, 12],
    ],
    [
        [ 7, 13, 14,  3,  0,  6,  9, 10,  1,  2,  8,  5, 11, 12,  4, 15],
        [13,  8, 11,  5,  6, 15,  0,  3,  4,  7,  2, 12,  1, 10, 14,  9],
        [10,  6,  9,  0, 12, 11,  7, 13, 15,  1,  3, 14,  5,  2,  8,  4],
        [ 3, 15,  0,  6, 10,  1, 13,  8,  9,  4,  5, 11, 12,  7,  2, 14],
    ],
    [
        [ 2, 12,  4,  1,  7, 10, 11,  6,  8,  5,  3, 15, 13,  0, 14,  9],
        [14, 11,  2, 12,  4,  7, 13,  1,  5,  0, 15, 10,  3,  9,  8,  6],
        [ 4,  2,  1, 11, 10, 13,  7,  8, 15,  9, 12,  5,  6,  3,  0, 14],
        [11,  8, 12,  7,  1, 14,  2, 13,  6, 15,  0,  9, 10,  4,  5,  3],
    ],
    [
        [12,  1, 10, 15,  9,  2,  6,  8,  0, 13,  3,  4, 14,  7,  5, 11],
        [10, 15,  4,  2,  7, 12,  9,  5,  6,  1, 13, 14,  0, 11,  3,  8],
        [ 9, 14, 15,  5,  2,  8, 12,  3,  7,  0,  4, 10,  1, 13, 11,  6],
        [ 4,  3,  2, 12,  9,  5, 15, 10, 11, 14,  1,  7,  6,  0,  8, 13],
    ],
    [
        [ 4, 11,  2, 14, 15,  0,  8, 13,  3, 12,  9,  7,  5, 10,  6,  1],
        [13,  0, 11,  7,  4,  9,  1, 10, 14,  3,  5, 12,  2, 15,  8,  6],
        [ 1,  4, 11, 13, 12,  3,  7, 14, 10, 15,  6,  8,  0,  5,  9,  2],
        [ 6, 11, 13,  8,  1,  4, 10,  7,  9,  5,  0, 15, 14,  2,  3, 12],
    ],
    [
        [13,  2,  8,  4,  6, 15, 11,  1, 10,  9,  3, 14,  5,  0, 12,  7],
        [ 1, 15, 13,  8, 10,  3,  7,  4, 12,  5,  6, 11,  0, 14,  9,  2],
        [ 7, 11,  4,  1,  9, 12, 14,  2,  0,  6, 10, 13, 15,  3,  5,  8],
        [ 2,  1, 14,  7,  4, 10,  8, 13, 15, 12,  9,  0,  3,  5,  6, 11],
    ],
];

/// The key schedule: which 56 bits of the key are used …
#[rustfmt::skip]
const PC_1: [u8; 56] = [
    57, 49, 41, 33, 25, 17,  9,  1, 58, 50, 42, 34, 26, 18, 10,  2, 59, 51, 43, 35, 27, 19, 11,  3, 60, 52, 44, 36,
    63, 55, 47, 39, 31, 23, 15,  7, 62, 54, 46, 38, 30, 22, 14,  6, 61, 53, 45, 37, 29, 21, 13,  5, 28, 20, 12,  4,
];

/// … and which 48 of those a round takes.
#[rustfmt::skip]
const PC_2: [u8; 48] = [
    14, 17, 11, 24,  1,  5,  3, 28, 15,  6, 21, 10, 23, 19, 12,  4, 26,  8, 16,  7, 27, 20, 13,  2,
    41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];

/// How far both halves of the key have been rotated in each round.
const ROTATION: [u8; 16] = [1, 2, 4, 6, 8, 10, 12, 14, 15, 17, 19, 21, 23, 25, 27, 28];

/// For each of the eight groups the place of its six bits, in the order of E: the last of the
/// group before, four of its own, the first of the next.
///
/// Found by search: no two bits of one group have the same place, nor have any two of the six
/// that come out of one S-box ([`ROUTES`] does not compile otherwise). So an S-box can put each
/// bit where the next round wants it, and P and E together cost an AND and an XOR for each bit.
const PLACES: [[u8; 6]; 8] = [
    [0, 1, 2, 3, 4, 5],
    [0, 1, 2, 3, 4, 5],
    [0, 1, 2, 3, 4, 5],
    [1, 0, 2, 3, 5, 4],
    [0, 2, 1, 5, 3, 4],
    [0, 2, 5, 3, 4, 1],
    [1, 5, 4, 0, 3, 2],
    [4, 1, 3, 0, 2, 5],
];

/// For each group and place the S-box that the bit comes from.
pub(super) const ROUTES: [[usize; 6]; 8] = routes();

/// Which bit of a byte is used for each of the six places; the vector instructions differ in what
/// they can look up.
pub(super) type Layout = [u8; 6];

/// One S-box: the byte for each six places of a group.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Table(pub(super) [u8; 64]);

/// How a half block becomes eight groups, and back: tables of four and of six bits.
pub(super) struct Tables {
    /// S-box, P and E in one.
    pub(super) substitute: [Table; 8],
    /// The bits that a group takes from the group before it, from its own and from the next.
    pub(super) expand: [[[u8; 16]; 3]; 8],
    /// The four own bits of a group.
    pub(super) compress: [Table; 8],
}

impl Tables {
    pub(super) const fn new(layout: Layout) -> Self {
        let mut tables = Self {
            substitute: [Table([0; 64]); 8],
            expand: [[[0; 16]; 3]; 8],
            compress: [Table([0; 64]); 8],
        };
        let mut group = 0;
        while group < 8 {
            let mut places = 0;
            while places < 64 {
                let six = in_order_of_e(group, places as u8);
                let out = S[group][((six >> 4) & 2 | six & 1) as usize][(six >> 1 & 15) as usize];
                tables.substitute[group].0[places] = scatter(group, out, layout);
                tables.compress[group].0[places] = six >> 1 & 15;
                places += 1;
            }
            let mut own = 0;
            while own < 16 {
                let from_before = (own as u8 & 1) << 5;
                let from_next = own as u8 >> 3;
                tables.expand[group][0][own] = place(group, from_before, layout);
                tables.expand[group][1][own] = place(group, (own as u8) << 1, layout);
                tables.expand[group][2][own] = place(group, from_next, layout);
                own += 1;
            }
            group += 1;
        }
        tables
    }
}

/// The round keys of single DES in the order of encryption, each bit in its place.
pub(super) fn round_keys(key: &[u8; 8], layout: Layout) -> [[u8; 8]; 16] {
    let bit = |n: u8| key[usize::from(n - 1) / 8] >> (7 - (n - 1) % 8) & 1;
    ROTATION.map(|rotation| {
        std::array::from_fn(|group| {
            let six = (0..6).fold(0, |six, i| {
                let chosen = PC_2[6 * group + i] - 1;
                let half = chosen / 28 * 28;
                six << 1 | bit(PC_1[usize::from(half + (chosen - half + rotation) % 28)])
            });
            place(group, six, layout)
        })
    })
}

/// Puts six bits in the order of E into their places.
const fn place(group: usize, six: u8, layout: Layout) -> u8 {
    let mut byte = 0;
    let mut i = 0;
    while i < 6 {
        byte |= (six >> (5 - i) & 1) << layout[PLACES[group][i] as usize];
        i += 1;
    }
    byte
}

/// Six bits in the order of E, from the order of their places.
const fn in_order_of_e(group: usize, places: u8) -> u8 {
    let mut six = 0;
    let mut i = 0;
    while i < 6 {
        six |= (places >> PLACES[group][i] & 1) << (5 - i);
        i += 1;
    }
    six
}

/// Puts each of the four bits that an S-box gives where P and E want it.
const fn scatter(sbox: usize, out: u8, layout: Layout) -> u8 {
    let mut byte = 0;
    let mut group = 0;
    while group < 8 {
        let mut i = 0;
        while i < 6 {
            let from = P[(4 * group + 31 + i) % 32] - 1;
            if from as usize / 4 == sbox {
                byte |= (out >> (3 - from % 4) & 1) << layout[PLACES[group][i] as usize];
            }
            i += 1;
        }
        group += 1;
    }
    byte
}

const fn routes() -> [[usize; 6]; 8] {
    const NONE: usize = 8;
    let mut routes = [[NONE; 6]; 8];
    let mut used = [[false; 6]; 8];
    let mut group = 0;
    while group < 8 {
        let mut i = 0;
        while i < 6 {
            let sbox = (P[(4 * group + 31 + i) % 32] - 1) as usize / 4;
            let place = PLACES[group][i] as usize;
            assert!(routes[group][place] == NONE && !used[sbox][place]);
            routes[group][place] = sbox;
            used[sbox][place] = true;
            i += 1;
        }
        group += 1;
    }
    routes
}
