//! What readers see of the slots that workers count. Under full load it is what was so a second ago at
//! most; what is told of a slot that was retired is exact.

use std::time::Instant;

use super::Shared;
use crate::change::{SessionTraffic, Traffic};
use crate::id::{InboundSa, PathId, SessionSlot};

/// What a session moved so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Packets and octets.
    pub traffic: SessionTraffic,
    /// When the subscriber was last heard.
    pub last_seen_up: Option<Instant>,
    /// When something was last sent to the subscriber.
    pub last_seen_down: Option<Instant>,
}

/// A path so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathView {
    /// When an authentic frame (a plain tunnel's: any frame of its endpoint) was last received.
    pub last_authentic: Option<Instant>,
    /// When something was last sent.
    pub last_sent: Option<Instant>,
    /// What was sent on the current outbound SA (plain: in all).
    pub sent: Traffic,
    /// The sequence number of the last packet sent.
    pub sequence: u64,
}

/// An inbound SA so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaView {
    /// What was received, authentic.
    pub received: Traffic,
    /// The highest authentic sequence number.
    pub sequence: u64,
    /// Frames refused as replayed.
    pub replayed: u64,
    /// Frames refused as not authentic.
    pub forged: u64,
}

impl Shared {
    /// A session so far; `None` if the slot has another holder.
    pub fn session(&self, slot: SessionSlot) -> Option<SessionView> {
        self.sessions.read(slot.0, |tally| SessionView {
            traffic: tally.traffic(),
            last_seen_up: tally.last_up.ms().map(|ms| self.instant(ms)),
            last_seen_down: tally.last_down.ms().map(|ms| self.instant(ms)),
        })
    }

    /// A path so far.
    pub fn path(&self, id: PathId) -> Option<PathView> {
        self.paths.read(id.0, |tally| PathView {
            last_authentic: tally.last_authentic.ms().map(|ms| self.instant(ms)),
            last_sent: tally.last_sent.ms().map(|ms| self.instant(ms)),
            sent: tally.sent.value(),
            sequence: tally.sequence.value(),
        })
    }

    /// An inbound SA so far.
    pub fn inbound(&self, sa: InboundSa) -> Option<SaView> {
        self.inbound.read(sa.0, |tally| SaView {
            received: tally.received.value(),
            sequence: tally.sequence.value(),
            replayed: tally.replayed.value(),
            forged: tally.forged.value(),
        })
    }
}

impl super::SessionTally {
    pub(crate) fn traffic(&self) -> SessionTraffic {
        SessionTraffic {
            up: self.up.value(),
            down: self.down.value(),
            discarded: self.discarded.value(),
        }
    }
}
