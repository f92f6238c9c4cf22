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
const PLACE_BITS: u32 = 8;

/// Neighbouring slots of a shard that come into being together, in a page. A quarter of them would save
/// no memory worth it, and the list of pages would be four times as long: look-ups among 100 000
/// sessions felt that.
pub(crate) const PAGE_SLOTS: usize = 1 << PLACE_BITS;

/// In each shard's pages the first slot is elsewhere, by so many places: pages begin at round
/// addresses, and all first slots would fall into the same few sets of a cache.
const SKEW: u32 = (PAGE_SLOTS / SHARDS) as u32;

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
/// One word, in which a look-up finds what it wants by a shift or a mask: generation 8 · page 10 ·
/// shard 6 · place 8. On the wire, where others steer by the low bits, it is [`Slot::word`].
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
        let generation = (generation as u32) << (SHARD_BITS + INDEX_BITS);
        Self::from_word(generation | index << SHARD_BITS | shard.0 as u32)
    }

    /// The slot that `word` names.
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        let shard = word & Self::SHARD;
        let place = Self::place_at(word >> SHARD_BITS, shard);
        Self(word & Self::ABOVE | shard << PLACE_BITS | place)
    }

    /// Generation 8 · index 18 · shard 6: the layout of our SPIs.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0 & Self::ABOVE | self.low_index() << SHARD_BITS | self.shard().0 as u32
    }

    /// The word as it is kept, for who keeps it and makes a slot of it again.
    #[inline(always)]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// The slot that was kept.
    #[inline(always)]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Generation and page, which are where they are in both words.
    const ABOVE: u32 = !0 << (SHARD_BITS + PLACE_BITS);
    const SHARD: u32 = SHARDS as u32 - 1;
    const PLACE: u32 = PAGE_SLOTS as u32 - 1;

    const fn place_at(index: u32, shard: u32) -> u32 {
        index.wrapping_add(shard * SKEW) & Self::PLACE
    }

    /// The bits of the index that are not those of the page.
    const fn low_index(self) -> u32 {
        let shard = self.shard().0 as u32;
        self.0.wrapping_sub(shard * SKEW) & Self::PLACE
    }

    /// The shard that holds it.
    #[inline(always)]
    pub const fn shard(self) -> ShardId {
        ShardId::new((self.0 >> PLACE_BITS) as u8)
    }

    /// Index in the shard, below [`Slot::LIMIT`].
    #[inline(always)]
    pub const fn index(self) -> u32 {
        let page = self.0 >> (SHARD_BITS + PLACE_BITS) & (Self::LIMIT / PAGE_SLOTS as u32 - 1);
        page << PLACE_BITS | self.low_index()
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

    /// Which page it is in: the first pages of all shards come before their second ones, so that the way
    /// to all slots that are in use lies in a few cache lines.
    #[inline(always)]
    pub(crate) const fn page(self) -> usize {
        (self.0 >> PLACE_BITS) as u16 as usize
    }

    /// Where in its page it is.
    #[inline(always)]
    pub(crate) const fn place(self) -> usize {
        self.0 as u8 as usize
    }

    /// The same without the generation, for who needs one word for all holders.
    #[inline(always)]
    pub(crate) const fn place_in_all(self) -> u32 {
        self.0 & (!0 >> 8)
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
        assert_eq!(slot.word(), 0xffff_ffc5, "generation, index, shard");
        assert_eq!(Slot::from_bits(slot.bits()), slot);
    }

    #[test]
    fn every_slot_of_all_shards_has_a_place_of_its_own() {
        let mut places = std::collections::HashSet::new();
        for shard in ShardId::all() {
            for index in 0..2 * PAGE_SLOTS as u32 {
                let slot = Slot::new(shard, index, 3);
                assert!(places.insert((slot.page(), slot.place())));
            }
        }
        let pages = places.iter().map(|(page, _)| *page).max();
        assert_eq!(pages, Some(2 * SHARDS - 1), "no page is left out");
    }
}
