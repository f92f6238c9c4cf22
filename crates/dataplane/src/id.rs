//! The ids we choose, and how each carries the place of what it names.
//!
//! A look-up in the fast path is an index, never a hash: what a peer sends us back was chosen by us
//! and holds shard and slot. The low six bits are the shard everywhere, so that a NIC rule, the XDP
//! program or a socket filter steers with one AND.

use std::cmp::Ordering;
use std::fmt;

/// How many shards there are, always.
pub const SHARDS: usize = 1 << SHARD_BITS;

const SHARD_BITS: u32 = 6;
const INDEX_BITS: u32 = 18;

/// One of the 64 shards: the unit that a worker owns and that moves whole between workers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct ShardId(u8);

impl ShardId {
    /// Shard `index` modulo [`SHARDS`].
    pub const fn new(index: u8) -> Self {
        Self(index % SHARDS as u8)
    }

    /// The shard in the low six bits of an id we chose.
    #[inline]
    pub const fn of(id: u32) -> Self {
        Self((id % SHARDS as u32) as u8)
    }

    /// 0..64.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize % SHARDS
    }

    /// All shards, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS as u8).map(Self)
    }
}

/// A worker, 0..N.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct WorkerId(pub u8);

/// A slot of a shard, with the generation that tells its present holder from the one before.
///
/// One word, from an SPI on the wire to a look-up: generation 8 · index 18 · shard 6.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot(u32);

impl Slot {
    /// Slots a shard can have of one kind.
    pub const LIMIT: u32 = 1 << INDEX_BITS;

    /// Slot `index` of a shard; `generation` counts its holders, modulo 256.
    ///
    /// # Panics
    /// If the index is not below [`Slot::LIMIT`].
    #[inline]
    pub const fn new(shard: ShardId, index: u32, generation: u8) -> Self {
        assert!(index < Self::LIMIT, "a slot index has 18 bits");
        Self(
            (generation as u32) << (SHARD_BITS + INDEX_BITS) | index << SHARD_BITS | shard.0 as u32,
        )
    }

    /// The slot that `word` names.
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// The word. It is the layout of our SPIs.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The shard that holds it.
    #[inline(always)]
    pub const fn shard(self) -> ShardId {
        ShardId::of(self.0)
    }

    /// Index in the shard, below [`Slot::LIMIT`].
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0 >> SHARD_BITS & (Self::LIMIT - 1)
    }

    /// Counts the holders of the slot, modulo 256.
    #[inline(always)]
    pub const fn generation(self) -> u8 {
        (self.0 >> (SHARD_BITS + INDEX_BITS)) as u8
    }

    /// The slot of the same index and generation in another shard.
    #[must_use]
    pub const fn with_shard(self, shard: ShardId) -> Self {
        Self::new(shard, self.index(), self.generation())
    }

    /// Another slot of the same shard.
    #[must_use]
    pub const fn with_index(self, index: u32) -> Self {
        Self::new(self.shard(), index, self.generation())
    }

    /// The same slot in the hands of another holder.
    #[must_use]
    pub const fn with_generation(self, generation: u8) -> Self {
        Self::new(self.shard(), self.index(), generation)
    }

    /// Which page it is in, where pages hold `N` slots of one shard: the first pages of all shards come
    /// before their second ones, so that the way to all slots that are in use lies in a few cache lines.
    #[inline(always)]
    pub(crate) const fn page<const N: usize>(self) -> usize {
        const { assert!(N.is_power_of_two() && N >= SHARDS) }
        self.index() as usize / N * SHARDS + self.shard().index()
    }

    /// Where in its page it is. In each shard's pages the first slot is elsewhere: pages begin at round
    /// addresses, and all first slots would fall into the same few sets of a cache.
    #[inline(always)]
    pub(crate) const fn place<const N: usize>(self) -> usize {
        (self.index() as usize + self.shard().index() * (N / SHARDS)) % N
    }
}

/// By shard, then by index and generation.
impl Ord for Slot {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |slot: &Self| (slot.shard(), slot.index(), slot.generation());
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shard, index, generation) = (self.shard().0, self.index(), self.generation());
        write!(f, "{shard}.{index}#{generation}")
    }
}

macro_rules! slots {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Slot);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.0)
            }
        }
    )*};
}

slots! {
    /// A peer's path: its inbound SAs, its current outbound SA and the outer header towards it.
    PathId,
    /// An L2TP session as the fast path sees it.
    SessionSlot,
    /// An inbound SA; its [`Slot::word`] is the SPI that we give the peer.
    InboundSa,
}

impl InboundSa {
    /// The SPI that the peer writes into its packets.
    pub const fn spi(self) -> u32 {
        self.0.word()
    }

    /// The SA that a received SPI names, if there is one.
    pub const fn from_spi(spi: u32) -> Self {
        Self(Slot::from_word(spi))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_survives_the_way_through_its_word() {
        for word in [0, 1, 63, 64, 0xffff_ffff, 0x8000_0040, 0x00ff_ffc1] {
            assert_eq!(Slot::from_word(word).word(), word);
        }
        let slot = Slot::new(ShardId::new(5), Slot::LIMIT - 1, 255);
        let parts = (slot.shard().index(), slot.index(), slot.generation());
        assert_eq!(parts, (5, Slot::LIMIT - 1, 255));
        assert_eq!(Slot::from_word(slot.word()), slot);
        assert_eq!(ShardId::of(slot.word()), slot.shard());
    }

    #[test]
    fn every_slot_of_all_shards_has_a_place_of_its_own() {
        const N: usize = 128;
        let mut places = std::collections::HashSet::new();
        for shard in ShardId::all() {
            for index in 0..2 * N as u32 {
                let slot = Slot::new(shard, index, 3);
                assert!(places.insert((slot.page::<N>(), slot.place::<N>())));
            }
        }
        let pages = places.iter().map(|(page, _)| *page).max();
        assert_eq!(pages, Some(2 * SHARDS - 1), "no page is left out");
    }
}
