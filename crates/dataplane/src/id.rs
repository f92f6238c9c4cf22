//! The ids we choose, and how each carries the place of what it names.
//!
//! A look-up in the fast path is an index, never a hash: what a peer sends us back was chosen by us
//! and holds shard and slot. The low six bits are the shard everywhere, so that a NIC rule, the XDP
//! program or a socket filter steers with one AND.

use std::fmt;

/// How many shards there are, always.
pub const SHARDS: usize = 64;

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
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Slot {
    /// The shard that holds it.
    pub shard: ShardId,
    /// Index in the shard's array, below 2^18.
    pub index: u32,
    /// Counts the holders of the slot, modulo 256.
    pub generation: u8,
}

impl Slot {
    /// Slots a shard can have of one kind.
    pub const LIMIT: u32 = 1 << 18;

    /// The 32-bit word: generation 8 · slot 18 · shard 6. It is the layout of our SPIs.
    #[inline]
    pub const fn word(self) -> u32 {
        (self.generation as u32) << 24 | self.index << 6 | self.shard.0 as u32
    }

    /// The slot that `word` names.
    #[inline]
    pub const fn from_word(word: u32) -> Self {
        Self {
            shard: ShardId::of(word),
            index: word >> 6 & (Self::LIMIT - 1),
            generation: (word >> 24) as u8,
        }
    }
}

/// A slot or none, in eight octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Perhaps(u64);

impl Perhaps {
    /// Beside the word of a slot.
    const IS: u64 = 1 << 32;

    pub(crate) fn of(slot: Option<Slot>) -> Self {
        Self(slot.map_or(0, |slot| Self::IS | u64::from(slot.word())))
    }

    #[inline(always)]
    pub(crate) fn slot(self) -> Option<Slot> {
        (self.0 != 0).then(|| Slot::from_word(self.0 as u32))
    }
}

macro_rules! slots {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Slot);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Slot { shard, index, generation } = self.0;
                write!(f, "{}({}.{index}#{generation})", stringify!($name), shard.0)
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
        let slot = Slot {
            shard: ShardId::new(5),
            index: Slot::LIMIT - 1,
            generation: 255,
        };
        assert_eq!(Slot::from_word(slot.word()), slot);
        assert_eq!(ShardId::of(slot.word()), slot.shard);
    }
}
