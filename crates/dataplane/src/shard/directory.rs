//! Which session a (tunnel id, session id) of a peer names.
//!
//! Nearly every peer has one session, which lies in the path itself. Of a peer with more the others
//! are apart: a few are compared one by one, many (a LAC's) are in an array for each of its tunnels, in
//! pages of 256.

use std::num::NonZeroU32;

use crypto::cpu;

use crate::id::SessionSlot;

/// Sessions beside the first that are looked up by comparing.
const FEW: usize = 3;

const PAGE: usize = 256;
type Page = Box<[Option<SessionSlot>; PAGE]>;

/// The sessions of one peer.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Directory {
    /// Of nearly every peer the only one, in the path's first cache line.
    first: Option<Entry>,
    others: Option<Box<Others>>,
}

/// All but the first.
#[derive(Debug, Default)]
struct Others {
    few: [Option<Entry>; FEW],
    many: Vec<Tunnel>,
}

/// A session by its ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// That of the tunnel first. RFC 2661 §3.1: data has none that is zero.
    ids: NonZeroU32,
    pub(crate) slot: SessionSlot,
}

/// The ids of tunnel and session, both as the peer sends them, in one word.
#[inline(always)]
fn ids_of(tunnel: u16, session: u16) -> u32 {
    u32::from(tunnel) << 16 | u32::from(session)
}

#[derive(Debug)]
struct Tunnel {
    id: u16,
    pages: Box<[Option<Page>; PAGE]>,
}

impl Directory {
    /// Octets up to the end of the first entry.
    pub(crate) const FIRST: usize = size_of::<Option<Entry>>();

    /// The session of these ids, both as the peer sends them.
    #[inline]
    pub(crate) fn find(&self, tunnel: u16, session: u16) -> Option<SessionSlot> {
        self.find_ids(ids_of(tunnel, session))
    }

    /// The same for ids in one word, that of the tunnel first.
    #[inline(always)]
    pub(crate) fn find_ids(&self, ids: u32) -> Option<SessionSlot> {
        match self.first {
            Some(first) if first.is_of(ids) => Some(first.slot),
            _ => self.others.as_ref()?.find(ids),
        }
    }

    /// The session of a peer that has but one, as nearly all have.
    #[inline]
    pub(crate) fn likely(&self) -> Option<SessionSlot> {
        self.first.map(|entry| entry.slot)
    }

    /// Asks for what [`Directory::find`] will look at of a peer that has several.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if let Some(others) = &self.others {
            cpu::prefetch(&**others);
        }
    }

    /// The session of a peer that has no other.
    pub(crate) fn only(&self) -> Option<SessionSlot> {
        self.first
            .filter(|_| self.others.is_none())
            .map(|entry| entry.slot)
    }

    /// Whether a tunnel has a session.
    pub(crate) fn has_tunnel(&self, tunnel: u16) -> bool {
        let has = |others: &Others| others.has_tunnel(tunnel);
        self.first.is_some_and(|entry| entry.tunnel() == tunnel)
            || self.others.as_deref().is_some_and(has)
    }

    pub(crate) fn insert(&mut self, tunnel: u16, session: u16, slot: SessionSlot) {
        let ids = ids_of(tunnel, session);
        let Some(entry) = Entry::new(ids, slot) else {
            return;
        };
        let is_first = match &self.first {
            Some(first) => first.is_of(ids),
            None => self.find_ids(ids).is_none(),
        };
        match is_first {
            true => self.first = Some(entry),
            false => self.others.get_or_insert_default().insert(entry),
        }
    }

    /// Takes a session out, unless its ids name another by now.
    pub(crate) fn remove(&mut self, tunnel: u16, session: u16, slot: SessionSlot) {
        let ids = ids_of(tunnel, session);
        self.first
            .take_if(|first| first.is_of(ids) && first.slot == slot);
        if let Some(others) = &mut self.others {
            others.remove(ids, slot);
            self.others.take_if(|others| others.is_empty());
        }
    }

    /// All sessions.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = SessionSlot> {
        let first = self.first.iter().map(|entry| entry.slot);
        first.chain(self.others.iter().flat_map(|others| others.sessions()))
    }
}

impl Entry {
    /// Of ids in one word, that of the tunnel first.
    pub(crate) fn new(ids: u32, slot: SessionSlot) -> Option<Self> {
        let ids = NonZeroU32::new(ids)?;
        Some(Self { ids, slot })
    }

    /// Whether it has these ids.
    #[inline(always)]
    pub(crate) fn is_of(&self, ids: u32) -> bool {
        self.ids.get() == ids
    }

    fn tunnel(&self) -> u16 {
        (self.ids.get() >> 16) as u16
    }

    /// The two octets of the session's id.
    fn session(&self) -> [usize; 2] {
        octets(self.ids.get())
    }
}

/// The two octets of the session's id.
fn octets(ids: u32) -> [usize; 2] {
    (ids as u16).to_be_bytes().map(usize::from)
}

impl Others {
    fn find(&self, ids: u32) -> Option<SessionSlot> {
        if !self.many.is_empty() {
            return self.find_among_many(ids);
        }
        let mut few = self.few.iter().flatten();
        few.find(|entry| entry.is_of(ids)).map(|entry| entry.slot)
    }

    fn is_empty(&self) -> bool {
        self.many.is_empty() && self.few.iter().all(Option::is_none)
    }

    fn has_tunnel(&self, tunnel: u16) -> bool {
        let mut few = self.few.iter().flatten();
        few.any(|entry| entry.tunnel() == tunnel)
            || self.many.iter().any(|t| t.id == tunnel && !t.is_empty())
    }

    fn insert(&mut self, entry: Entry) {
        if self.many.is_empty() {
            let same = |e: &Entry| e.ids == entry.ids;
            let place = self.few.iter().position(|e| e.as_ref().is_some_and(same));
            let place = place.or_else(|| self.few.iter().position(Option::is_none));
            if let Some(place) = place {
                self.few[place] = Some(entry);
                return;
            }
            for entry in std::mem::take(&mut self.few).into_iter().flatten() {
                self.insert_among_many(entry);
            }
        }
        self.insert_among_many(entry);
    }

    fn remove(&mut self, ids: u32, slot: SessionSlot) {
        for place in &mut self.few {
            place.take_if(|e| e.is_of(ids) && e.slot == slot);
        }
        let [high, low] = octets(ids);
        let mut many = self.many.iter_mut();
        let tunnel = many.find(|tunnel| u32::from(tunnel.id) == ids >> 16);
        if let Some(place) = tunnel.map(|tunnel| &mut tunnel.pages[high])
            && let Some(page) = place
        {
            page[low] = page[low].filter(|present| *present != slot);
            if page.iter().all(Option::is_none) {
                *place = None;
            }
        }
        self.many.retain(|tunnel| !tunnel.is_empty());
    }

    fn sessions(&self) -> impl Iterator<Item = SessionSlot> {
        let few = self.few.iter().flatten().map(|entry| entry.slot);
        few.chain(self.many.iter().flat_map(Tunnel::sessions))
    }

    fn find_among_many(&self, ids: u32) -> Option<SessionSlot> {
        let [high, low] = octets(ids);
        let mut many = self.many.iter();
        let tunnel = many.find(|tunnel| u32::from(tunnel.id) == ids >> 16)?;
        tunnel.pages[high].as_ref()?[low]
    }

    fn insert_among_many(&mut self, entry: Entry) {
        let at = self.many.iter().position(|t| t.id == entry.tunnel());
        let at = at.unwrap_or_else(|| {
            self.many.push(Tunnel {
                id: entry.tunnel(),
                pages: Box::new([const { None }; PAGE]),
            });
            self.many.len() - 1
        });
        let [high, low] = entry.session();
        let page = self.many[at].pages[high].get_or_insert_with(|| Box::new([None; PAGE]));
        page[low] = Some(entry.slot);
    }
}

impl Tunnel {
    fn is_empty(&self) -> bool {
        self.pages.iter().all(Option::is_none)
    }

    fn sessions(&self) -> impl Iterator<Item = SessionSlot> {
        self.pages
            .iter()
            .flatten()
            .flat_map(|page| page.iter().copied().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ShardId, Slot};
    use std::collections::BTreeMap;

    #[test]
    fn it_agrees_with_a_map_while_it_grows_and_shrinks() {
        let (mut directory, mut model) = (Directory::default(), BTreeMap::new());
        let ids: Vec<_> = (0..300_u16)
            .map(|i| (1 + i % 3, i.wrapping_mul(7919)))
            .collect();
        for (i, (tunnel, session)) in ids.iter().enumerate() {
            directory.insert(*tunnel, *session, slot(i as u32));
            model.insert((*tunnel, *session), slot(i as u32));
            check(&directory, &model);
        }
        for (i, (tunnel, session)) in ids.iter().enumerate() {
            directory.remove(*tunnel, *session, slot(9999));
            check(&directory, &model);
            directory.remove(*tunnel, *session, slot(i as u32));
            model.remove(&(*tunnel, *session));
            check(&directory, &model);
        }
        assert!(directory.others.is_none());
    }

    fn check(directory: &Directory, model: &BTreeMap<(u16, u16), SessionSlot>) {
        for ((tunnel, session), slot) in model {
            assert_eq!(directory.find(*tunnel, *session), Some(*slot));
            assert!(directory.has_tunnel(*tunnel));
        }
        assert_eq!(directory.sessions().count(), model.len());
        assert_eq!(directory.find(5, 0), None);
    }

    fn slot(index: u32) -> SessionSlot {
        SessionSlot(Slot::new(ShardId::new(2), index, 0))
    }
}
