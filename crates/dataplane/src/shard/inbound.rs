//! An SA to receive on.

use std::mem::offset_of;

use super::news::News;
use super::path::Usage;
use crate::change::InstallInbound;
use crate::esp::Shape;
use crate::id::{PathId, SessionSlot};
use crate::replay::Window;
use crate::shared::{SaTally, Tally};

/// An SA to receive on. What packets look at lies in two cache lines.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Inbound {
    pub(crate) tally: Tally<SaTally>,
    pub(crate) window: Window,
    pub(crate) path: PathId,
    /// The session that its last packet was for.
    pub(crate) likely: Option<SessionSlot>,
    pub(crate) shape: Shape,
    pub(crate) esn: bool,
    /// Whether an authentic packet has come.
    pub(crate) is_used: bool,
    pub(crate) news: News,
    pub(crate) usage: Usage,
}

/// What a slot puts in front of its holder.
const SLOT: usize = 8;
const _: () = assert!(SLOT + offset_of!(Inbound, usage) + Usage::HOT <= 128);
const _: () = assert!(SLOT + size_of::<Inbound>() <= 192);

impl Inbound {
    /// Cache lines that a packet looks at.
    pub(crate) const LINES: &[usize] = &[0, 1];

    pub(crate) fn new(install: &InstallInbound, tally: Tally<SaTally>) -> Self {
        Self {
            path: install.path,
            likely: None,
            shape: Shape::of(install.suite),
            esn: install.esn,
            window: Window::new(install.window, install.esn),
            usage: Usage::new(install.limits),
            is_used: false,
            news: News::default(),
            tally,
        }
    }
}
