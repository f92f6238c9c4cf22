//! An SA to receive on.

use crypto::esp::Suite;

use super::news::News;
use super::path::Usage;
use crate::change::InstallInbound;
use crate::id::{InboundSa, PathId};
use crate::replay::Window;
use crate::shared::{SaTally, Tally};

/// An SA to receive on.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) id: InboundSa,
    pub(crate) path: PathId,
    pub(crate) suite: Suite,
    pub(crate) esn: bool,
    pub(crate) window: Window,
    pub(crate) usage: Usage,
    /// Whether an authentic packet has come.
    pub(crate) is_used: bool,
    pub(crate) news: News,
    pub(crate) tally: Tally<SaTally>,
}

impl Inbound {
    pub(crate) fn new(install: &InstallInbound, tally: Tally<SaTally>) -> Self {
        Self {
            id: install.sa,
            path: install.path,
            suite: install.suite,
            esn: install.esn,
            window: Window::new(install.window, install.esn),
            usage: Usage::new(install.limits),
            is_used: false,
            news: News::default(),
            tally,
        }
    }
}
