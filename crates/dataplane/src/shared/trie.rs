//! Longest-prefix match over words that change in place.
//!
//! ```text
//!   root, 16 bits        node, 8 bits         node, 8 bits: a page of 256 addresses
//!   ┌──────────┐         ┌──────────┐         ┌──────────┐
//!   │ leaf     │     ┌──►│ leaf     │     ┌──►│ leaf     │      leaf = kind 4 · prefix length 12
//!   │ node ────┼─────┘   │ node ────┼─────┘   │ leaf     │             · 16 unused · value 32
//!   └──────────┘         └──────────┘         └──────────┘
//! ```
//!
//! Each word holds the answer for all the addresses under it, with the length of the prefix that
//! gave it. A look-up in IPv4 is at most three loads. A writer (one at a time) overwrites leaves by
//! single stores; a new node is filled before it is linked. A node that says nothing of its own any
//! more is cut off, and is used again only after every worker has ended the turn it was in, so a
//! reader never sees a node change under its feet.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::Turns;
use crypto::cpu;

/// Bits that a node looks at.
const NODE_BITS: usize = 8;
/// Words in a node.
const NODE_WORDS: usize = 1 << NODE_BITS;
/// Bits that a root looks at.
const ROOT_BITS: usize = 16;
/// Nodes that come into being together.
const PAGE_NODES: usize = 64;

/// What a look-up finds: kind and value mean something to the caller, except kind [`Word::NODE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Word(u64);

impl Word {
    /// The kind that is the trie's own.
    const NODE: u8 = 15;

    pub(crate) fn new(kind: u8, value: u32) -> Self {
        assert!(
            kind < Self::NODE,
            "four bits, one value of which is the trie's own"
        );
        Self(u64::from(kind) << 60 | u64::from(value))
    }

    #[inline]
    pub(crate) fn kind(self) -> u8 {
        (self.0 >> 60) as u8
    }

    #[inline]
    pub(crate) fn value(self) -> u32 {
        self.0 as u32
    }

    fn node(index: u32) -> Self {
        Self(u64::from(Self::NODE) << 60 | u64::from(index))
    }

    #[inline]
    fn is_node(self) -> bool {
        self.kind() == Self::NODE
    }

    fn with_len(self, len: usize) -> Self {
        Self(self.0 | (len as u64) << 48)
    }

    fn len(self) -> usize {
        (self.0 >> 48 & 0xfff) as usize
    }
}

type Node = [AtomicU64; NODE_WORDS];
type Root = [AtomicU64; 1 << ROOT_BITS];
type Page = [Node; PAGE_NODES];

/// One trie per routing instance and family, over one arena of nodes.
#[derive(Debug)]
pub(crate) struct Trie {
    roots: Box<[OnceLock<Box<Root>>]>,
    pages: Box<[OnceLock<Box<Page>>]>,
    nodes_max: u32,
}

/// The writer's part: which nodes are free.
#[derive(Debug, Default)]
pub(crate) struct Gardener {
    fresh: u32,
    free: Vec<u32>,
    cut: VecDeque<(u32, Vec<u64>)>,
}

impl Trie {
    pub(crate) fn new(roots: usize, nodes_max: u32) -> Self {
        let pages = (nodes_max as usize).div_ceil(PAGE_NODES);
        Self {
            roots: (0..roots).map(|_| OnceLock::new()).collect(),
            pages: (0..pages).map(|_| OnceLock::new()).collect(),
            nodes_max,
        }
    }

    /// The word of the longest prefix that `key` lies in.
    #[inline]
    pub(crate) fn lookup(&self, root: usize, key: &[u8]) -> Word {
        let Some((words, [a, b, rest @ ..])) = self.root(root).zip(Some(key)) else {
            return Word::default();
        };
        let mut word = Word(words[usize::from(u16::from_be_bytes([*a, *b]))].load(Acquire));
        let mut rest = rest.iter();
        while word.is_node() {
            let (Some(node), Some(octet)) = (self.node(word.value()), rest.next()) else {
                return Word::default();
            };
            word = Word(node[usize::from(*octet)].load(Acquire));
        }
        word
    }

    /// The same for a key of four octets, as nearly all are.
    #[inline(always)]
    pub(crate) fn lookup_v4(&self, root: usize, key: [u8; 4]) -> Word {
        let Some(last) = self.last_word(root, key) else {
            return Word::default();
        };
        Word(last.load(Acquire))
    }

    /// Brings the last word near that a look-up will read: the nodes above are few and stay near.
    #[inline(always)]
    pub(crate) fn prefetch(&self, root: usize, key: [u8; 4]) {
        if let Some(last) = self.last_word(root, key) {
            cpu::prefetch(last);
        }
    }

    /// Where the word lies at which a look-up ends.
    #[cfg(test)]
    pub(crate) fn memory_of(&self, root: usize, key: [u8; 4]) -> Option<std::ops::Range<usize>> {
        let start = std::ptr::from_ref(self.last_word(root, key)?).addr();
        Some(start..start + size_of::<AtomicU64>())
    }

    /// The word at which a look-up ends.
    #[inline(always)]
    fn last_word(&self, root: usize, [a, b, c, d]: [u8; 4]) -> Option<&AtomicU64> {
        let mut word = &self.root(root)?[usize::from(u16::from_be_bytes([a, b]))];
        if let Some(node) = self.under(word) {
            word = &node[usize::from(c)];
            if let Some(node) = self.under(word) {
                word = &node[usize::from(d)];
            }
        }
        Some(word)
    }

    /// The node that a word leads to.
    #[inline(always)]
    fn under(&self, word: &AtomicU64) -> Option<&Node> {
        let word = Word(word.load(Acquire));
        if word.is_node() {
            self.node(word.value())
        } else {
            None
        }
    }

    /// Gives the prefix of `len` bits of `key` the word `leaf`, which a prefix of `leaf_len` bits
    /// says: its own, or when it is taken away, the next longer one around it. `false`: no node is
    /// left, and part of the prefix keeps what it had.
    pub(crate) fn set(
        &self,
        gardener: &mut Gardener,
        turns: &Turns,
        root: usize,
        (key, len): (&[u8], usize),
        (leaf, leaf_len): (Word, usize),
    ) -> bool {
        gardener.reclaim(turns);
        let Some(words) = self
            .roots
            .get(root)
            .map(|root| root.get_or_init(|| boxed(|| AtomicU64::new(0))))
        else {
            return false;
        };
        let mut brush = Brush {
            trie: self,
            gardener,
            turns,
            key,
            len,
            leaf: leaf.with_len(leaf_len),
        };
        brush.paint(&words[..], 0, ROOT_BITS)
    }

    #[inline(always)]
    fn root(&self, root: usize) -> Option<&Root> {
        self.roots.get(root)?.get().map(|words| &**words)
    }

    #[inline(always)]
    fn node(&self, index: u32) -> Option<&Node> {
        let page = self.pages.get(index as usize / PAGE_NODES)?.get()?;
        page.get(index as usize % PAGE_NODES)
    }

    /// A node in which every word is `leaf`.
    fn grow(&self, gardener: &mut Gardener, leaf: Word) -> Option<u32> {
        let index = gardener.take(self.nodes_max)?;
        let page = self.pages[index as usize / PAGE_NODES]
            .get_or_init(|| boxed(|| [const { AtomicU64::new(0) }; NODE_WORDS]));
        for word in &page[index as usize % PAGE_NODES] {
            word.store(leaf.0, Relaxed);
        }
        Some(index)
    }
}

/// An array that is too large for the stack.
fn boxed<T: std::fmt::Debug, const N: usize>(mut make: impl FnMut() -> T) -> Box<[T; N]> {
    let all: Vec<T> = std::iter::repeat_with(&mut make).take(N).collect();
    all.try_into().expect("N were made")
}

/// One change on its way through the trie.
struct Brush<'t> {
    trie: &'t Trie,
    gardener: &'t mut Gardener,
    turns: &'t Turns,
    key: &'t [u8],
    len: usize,
    leaf: Word,
}

impl Brush<'_> {
    /// Paints what the prefix covers of `words`, which look at `bits` bits from `start` on.
    fn paint(&mut self, words: &[AtomicU64], start: usize, bits: usize) -> bool {
        let end = start + bits;
        if self.len <= end {
            let first = self.bits_at(start, bits) >> (end - self.len) << (end - self.len);
            let covered = &words[first..first + (1 << (end - self.len))];
            covered.iter().for_each(|word| self.cover(word));
            return true;
        }
        let word = &words[self.bits_at(start, bits)];
        let (next, is_new) = match Word(word.load(Relaxed)) {
            node if node.is_node() => (node.value(), false),
            leaf => match self.trie.grow(self.gardener, leaf) {
                Some(node) => (node, true),
                None => return false,
            },
        };
        let node = self.trie.node(next).expect("it is linked, so it exists");
        let done = self.paint(node, end, NODE_BITS);
        if is_new {
            word.store(Word::node(next).0, Release);
        }
        self.prune(word, next, end);
        done
    }

    /// Paints one word and all that lies under it, where no longer prefix speaks.
    fn cover(&mut self, word: &AtomicU64) {
        let was = Word(word.load(Relaxed));
        if was.is_node() {
            let node = self
                .trie
                .node(was.value())
                .expect("it is linked, so it exists");
            node.iter().for_each(|word| self.cover(word));
        } else if was.len() <= self.len {
            word.store(self.leaf.0, Release);
        }
    }

    /// Cuts a node off that only repeats what a prefix of at most `start` bits says.
    fn prune(&mut self, word: &AtomicU64, index: u32, start: usize) {
        let node = self.trie.node(index).expect("it is linked, so it exists");
        let first = Word(node[0].load(Relaxed));
        let says_nothing = !first.is_node()
            && first.len() <= start
            && node.iter().all(|word| word.load(Relaxed) == first.0);
        if says_nothing {
            word.store(first.0, Release);
            self.gardener.cut.push_back((index, self.turns.now()));
        }
    }

    fn bits_at(&self, start: usize, bits: usize) -> usize {
        let octets = &self.key[start / 8..(start + bits) / 8];
        octets
            .iter()
            .fold(0, |all, octet| all << 8 | usize::from(*octet))
    }
}

impl Gardener {
    fn take(&mut self, nodes_max: u32) -> Option<u32> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        let index = self.fresh;
        (index < nodes_max).then(|| {
            self.fresh += 1;
            index
        })
    }

    fn reclaim(&mut self, turns: &Turns) {
        while let Some((index, since)) = self.cut.pop_front() {
            if !turns.all_ended(&since) {
                self.cut.push_front((index, since));
                return;
            }
            self.free.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_longest_prefix_wins_and_gives_way_again() {
        let mut table = Table::new(1024);
        table.set([10, 0, 0, 0], 8, 1);
        table.set([10, 1, 2, 0], 24, 2);
        table.set([10, 1, 2, 3], 32, 3);
        table.set([0, 0, 0, 0], 0, 9);
        assert_eq!(table.at([10, 1, 2, 3]), 3);
        assert_eq!(table.at([10, 1, 2, 4]), 2);
        assert_eq!(table.at([10, 1, 3, 3]), 1);
        assert_eq!(table.at([11, 1, 2, 3]), 9);
        table.remove([10, 1, 2, 0], 24);
        assert_eq!(table.at([10, 1, 2, 4]), 1);
        assert_eq!(table.at([10, 1, 2, 3]), 3);
        table.remove([10, 1, 2, 3], 32);
        table.remove([0, 0, 0, 0], 0);
        assert_eq!(table.at([10, 1, 2, 3]), 1);
        assert_eq!(table.at([11, 1, 2, 3]), 0);
    }

    #[test]
    fn a_node_is_used_again_only_after_every_worker_has_ended_its_turn() {
        let mut table = Table::new(2);
        table.turns.begin(0);
        table.set([10, 0, 0, 1], 32, 1);
        table.remove([10, 0, 0, 1], 32);
        assert!(
            !table.set([10, 0, 0, 1], 32, 2),
            "both nodes may still be seen"
        );
        table.turns.end(0);
        assert!(table.set([10, 0, 0, 1], 32, 3));
        assert_eq!(table.at([10, 0, 0, 1]), 3);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_of_prefixes(
            steps in prop::collection::vec((any::<bool>(), 0u8..4, any::<u8>(), 0usize..=32, 1u32..9), 1..60),
            probes in prop::collection::vec((0u8..4, any::<u8>()), 20),
        ) {
            let mut table = Table::new(1024);
            for (add, a, d, len, value) in steps {
                if add { table.set([10, a, a, d], len, value); } else { table.remove([10, a, a, d], len); }
            }
            for (a, d) in probes {
                let key = [10, a, a, d];
                prop_assert_eq!(table.at(key), table.expected(key));
            }
        }
    }

    struct Table {
        trie: Trie,
        gardener: Gardener,
        turns: Turns,
        model: BTreeMap<(usize, u32), u32>,
    }

    impl Table {
        fn new(nodes: u32) -> Self {
            Self {
                trie: Trie::new(1, nodes),
                gardener: Gardener::default(),
                turns: Turns::new(1),
                model: BTreeMap::new(),
            }
        }

        fn set(&mut self, key: [u8; 4], len: usize, value: u32) -> bool {
            let key = masked(key, len);
            self.model.insert((len, key), value);
            self.paint(key, len)
        }

        fn remove(&mut self, key: [u8; 4], len: usize) {
            let key = masked(key, len);
            self.model.remove(&(len, key));
            self.paint(key, len);
        }

        fn paint(&mut self, key: u32, len: usize) -> bool {
            let (leaf_len, value) = self.around(key, len);
            let leaf = if value == 0 {
                Word::default()
            } else {
                Word::new(1, value)
            };
            let Self {
                trie,
                gardener,
                turns,
                ..
            } = self;
            trie.set(
                gardener,
                turns,
                0,
                (&key.to_be_bytes(), len),
                (leaf, leaf_len),
            )
        }

        fn around(&self, key: u32, len: usize) -> (usize, u32) {
            (0..=len)
                .rev()
                .find_map(|len| {
                    let key = masked(key.to_be_bytes(), len);
                    self.model.get(&(len, key)).map(|value| (len, *value))
                })
                .unwrap_or_default()
        }

        fn expected(&self, key: [u8; 4]) -> u32 {
            self.around(u32::from_be_bytes(key), 32).1
        }

        fn at(&self, key: [u8; 4]) -> u32 {
            self.trie.lookup(0, &key).value()
        }
    }

    fn masked(key: [u8; 4], len: usize) -> u32 {
        u32::from_be_bytes(key) & u32::MAX.checked_shl(32 - len as u32).unwrap_or(0)
    }
}
