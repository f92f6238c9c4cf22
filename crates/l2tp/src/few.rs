//! A map of which there are very many, nearly always with one entry.
//!
//! A client's peer has one tunnel with one session in it, a LAC's tunnel has thousands. The first
//! node of a tree has room for eleven entries, so the only one is kept in place; a tree begins with
//! the second.

use std::collections::BTreeMap;

/// One entry in place, or a tree.
#[derive(Clone, Debug)]
pub struct Few<K, V>(Entries<K, V>);

#[derive(Clone, Debug)]
#[expect(
    clippy::box_collection,
    reason = "a pointer is a third of a tree, and most have no tree"
)]
enum Entries<K, V> {
    None,
    One(K, V),
    Many(Box<BTreeMap<K, V>>),
}

use Entries::{Many, None as Nothing, One};

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(Nothing)
    }
}

impl<K: Ord + Copy, V> Few<K, V> {
    /// With one entry.
    pub fn of(key: K, value: V) -> Self {
        Self(One(key, value))
    }

    /// What was there under the key comes back.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match &mut self.0 {
            One(only, old) if *only == key => Some(std::mem::replace(old, value)),
            Many(map) => map.insert(key, value),
            Nothing | One(..) => {
                self.0 = match std::mem::replace(&mut self.0, Nothing) {
                    One(first, old) => Many(Box::new([(first, old), (key, value)].into())),
                    Nothing | Many(_) => One(key, value),
                };
                None
            }
        }
    }

    /// What was there under the key.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let removed = match &mut self.0 {
            One(only, _) if only == key => return self.take_only(),
            Nothing | One(..) => return None,
            Many(map) => map.remove(key),
        };
        if self.is_empty() {
            self.0 = Nothing;
        }
        removed
    }

    fn take_only(&mut self) -> Option<V> {
        match std::mem::replace(&mut self.0, Nothing) {
            One(_, value) => Some(value),
            Nothing | Many(_) => None,
        }
    }

    /// What is there under the key.
    pub fn get(&self, key: &K) -> Option<&V> {
        match &self.0 {
            One(only, value) if only == key => Some(value),
            Nothing | One(..) => None,
            Many(map) => map.get(key),
        }
    }

    /// As [`Few::get`].
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match &mut self.0 {
            One(only, value) if only == key => Some(value),
            Nothing | One(..) => None,
            Many(map) => map.get_mut(key),
        }
    }

    /// Whether there is anything under the key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Nothing => 0,
            One(..) => 1,
            Many(map) => map.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries, in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let (one, many) = match &self.0 {
            Nothing => (None, None),
            One(key, value) => (Some((key, value)), None),
            Many(map) => (None, Some(map.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, in order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// As [`Few::values`].
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let (one, many) = match &mut self.0 {
            Nothing => (None, None),
            One(_, value) => (Some(value), None),
            Many(map) => (None, Some(map.values_mut())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_entry_takes_no_more_than_a_pointer_and_itself() {
        assert_eq!(size_of::<Few<u16, u16>>(), 16);
        assert_eq!(size_of::<Few<u16, [u32; 2]>>(), 16);
    }

    proptest! {
        #[test]
        fn it_says_what_a_tree_says(steps in prop::collection::vec((0_u8..4, any::<bool>()), 0..40)) {
            let (mut few, mut tree) = (Few::default(), BTreeMap::new());
            for (step, (key, is_in)) in steps.into_iter().enumerate() {
                match is_in {
                    true => prop_assert_eq!(few.insert(key, step), tree.insert(key, step)),
                    false => prop_assert_eq!(few.remove(&key), tree.remove(&key)),
                }
                prop_assert!(few.iter().eq(tree.iter()));
                prop_assert_eq!(few.len(), tree.len());
                for key in 0..4 {
                    prop_assert_eq!(few.get(&key), tree.get(&key));
                    prop_assert_eq!(few.get_mut(&key), tree.get_mut(&key));
                }
                prop_assert!(few.values_mut().eq(tree.values_mut()));
            }
        }
    }
}
