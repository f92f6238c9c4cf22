//! What a suite makes of a packet, in the few octets that an SA keeps of it.

use crypto::esp::Suite;
use packet::header::Esp;

/// The lengths of a suite, which every packet of an SA is measured by, and the suite by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Its place in [`Suite::ALL`].
    rank: u8,
    iv: u8,
    icv: u8,
    block: u8,
    /// Whether it costs a hundred times what the others do.
    pub(crate) is_dear: bool,
}

impl Shape {
    pub(crate) fn of(suite: Suite) -> Self {
        let rank = Suite::ALL.iter().position(|each| *each == suite);
        let rank = rank.expect("Suite::ALL has every suite");
        Self {
            rank: rank as u8,
            iv: suite.iv_len() as u8,
            icv: suite.icv_len() as u8,
            block: suite.block_len() as u8,
            is_dear: is_dear(suite),
        }
    }

    /// A number that no other suite has.
    #[inline(always)]
    pub(crate) fn rank(self) -> u8 {
        self.rank
    }

    /// The suite of a rank.
    #[inline(always)]
    pub(crate) fn suite_of(rank: u8) -> Suite {
        Suite::ALL[usize::from(rank) % Suite::ALL.len()]
    }

    /// Octets of ESP header and IV.
    #[inline(always)]
    pub(crate) fn front(self) -> usize {
        size_of::<Esp>() + self.iv_len()
    }

    /// Octets of the IV.
    #[inline(always)]
    pub(crate) fn iv_len(self) -> usize {
        usize::from(self.iv)
    }

    /// Octets of the ICV.
    #[inline(always)]
    pub(crate) fn icv_len(self) -> usize {
        usize::from(self.icv)
    }

    /// So many octets and what fills up the block, whose length is a power of two.
    #[inline(always)]
    pub(crate) fn padded(self, len: usize) -> usize {
        let over = usize::from(self.block) - 1;
        (len + over) & !over
    }

    /// As [`Suite::is_packet_len`] says.
    #[inline(always)]
    pub(crate) fn is_packet_len(self, len: usize) -> bool {
        let around = self.front() + self.icv_len();
        len > around && self.padded(len - around) == len - around
    }
}

/// Whether a suite costs a hundred times what the others do.
#[inline]
pub(crate) fn is_dear(suite: Suite) -> bool {
    matches!(suite, Suite::TripleDesCbc { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::esp::Integrity;

    #[test]
    fn a_shape_says_what_its_suite_says() {
        for suite in Suite::ALL {
            let shape = Shape::of(suite);
            assert_eq!(Shape::suite_of(shape.rank()), suite);
            let says = |len| shape.is_packet_len(len) == suite.is_packet_len(len);
            let pads = |len: usize| shape.padded(len) == len.next_multiple_of(suite.block_len());
            assert!((0..300).all(says) && (0..300).all(pads), "{suite}");
        }
        let dear = Suite::ALL
            .map(Shape::of)
            .iter()
            .filter(|s| s.is_dear)
            .count();
        assert_eq!(dear, Integrity::ALL.len(), "3DES, with every integrity");
    }
}
