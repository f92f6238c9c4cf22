//! An SA to receive on.

use std::mem::offset_of;

use super::directory::Entry;
use super::ledger::Counts;
use super::news::News;
use super::path::{Heard, Origin, Path, Usage};
use crate::change::InstallInbound;
use crate::esp::Shape;
use crate::id::PathId;
use crate::replay::Window;
use crate::shared::{Cell, Page, PathTally, SaTally, Tally};

/// An SA to receive on. What packets look at lies in two cache lines, with what they have to know of its
/// path.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Inbound {
    pub(crate) window: Window,
    /// How its frames come: as those of its path do.
    pub(crate) origin: Origin,
    pub(crate) path: PathId,
    /// What its last packet was for.
    pub(crate) likely: Option<Entry>,
    pub(crate) heard: Heard,
    pub(crate) shape: Shape,
    pub(crate) esn: bool,
    /// Whether an authentic packet has come.
    pub(crate) is_used: bool,
    pub(crate) news: News,
    pub(crate) usage: Usage,
    pub(crate) tally: Tally<SaTally>,
    /// Where its path's counters lie, and what they have been told of its peer.
    peers: Page<PathTally>,
    told: Heard,
}

/// What a slot puts in front of its holder.
const SLOT: usize = 8;
const _: () = assert!(SLOT + offset_of!(Inbound, path) == 64);
const _: () = assert!(SLOT + offset_of!(Inbound, usage) + Usage::HOT <= 128);
const _: () = assert!(SLOT + size_of::<Inbound>() <= 192);

impl Inbound {
    /// Cache lines that a packet looks at.
    pub(crate) const LINES: &[usize] = &[0, 1];

    pub(crate) fn new(install: &InstallInbound, path: &Path, tally: Tally<SaTally>) -> Self {
        Self {
            path: install.path,
            origin: path.origin,
            likely: None,
            heard: Heard::default(),
            shape: Shape::of(install.suite),
            esn: install.esn,
            window: Window::new(install.window, install.esn),
            usage: Usage::new(install.limits),
            is_used: false,
            news: News::default(),
            tally,
            peers: path.tally.page(),
            told: Heard::default(),
        }
    }
}

impl Inbound {
    /// The counters of its path, if they have to be told of the peer.
    fn peer(&self) -> Option<&Cell<PathTally>> {
        (self.told != self.heard).then(|| &self.peers[self.path.0.place()])
    }
}

impl Counts for Inbound {
    fn approach(&self) {
        self.tally.prefetch();
        if let Some(cell) = self.peer() {
            cell.prefetch();
        }
    }

    /// An authentic frame shows that the peer of the path is alive.
    fn publish(&mut self, now_ms: u64) {
        self.tally.received.set(self.usage.traffic());
        self.tally.sequence.set(self.window.top());
        if let Some(counters) = self.peer().and_then(|cell| cell.of(self.path.0)) {
            counters.last_authentic.set(now_ms);
        }
        self.told = self.heard;
    }
}
