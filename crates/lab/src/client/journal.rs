//! What one client has sent and received, in clear and in order, for whoever tells the story.

use std::time::Instant;

use gateway::escaped;

use super::Client;

/// Messages that are kept; the rest of a long life is not told.
const ENTRIES_MAX: usize = 4096;

/// The story of one client.
#[derive(Debug, Default)]
pub struct Journal {
    /// Every message, in order.
    pub entries: Vec<Entry>,
    /// Keys of ISAKMP SAs.
    pub keys: Vec<ike::KeyLog>,
}

/// One message.
#[derive(Debug)]
pub struct Entry {
    /// When.
    pub at: Instant,
    /// Which way.
    pub way: Way,
    /// What carries it.
    pub medium: Medium,
    /// The message.
    pub octets: Vec<u8>,
    /// Why the client did not take it.
    pub refusal: Option<String>,
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Sent,
    /// To the client.
    Received,
}

/// What carries a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// UDP port 500.
    Ike,
    /// UDP port 4500.
    FloatedIke,
    /// L2TP, whatever is around it.
    L2tp,
}

impl Journal {
    pub(super) fn note(&mut self, at: Instant, way: Way, medium: Medium, octets: &[u8]) {
        if self.entries.len() < ENTRIES_MAX {
            self.entries.push(Entry {
                at,
                way,
                medium,
                octets: octets.to_vec(),
                refusal: None,
            });
        }
    }

    /// The message that came last was not taken.
    pub(super) fn refuse(&mut self, why: &str) {
        let mut entries = self.entries.iter_mut().rev();
        if let Some(last) = entries.find(|entry| entry.way == Way::Received) {
            last.refusal.get_or_insert_with(|| why.to_owned());
        }
    }
}

impl Client {
    /// Keeps a message, if there is a journal.
    pub(super) fn note(&mut self, now: Instant, way: Way, medium: Medium, message: &[u8]) {
        if let Some(journal) = &mut self.journal {
            journal.note(now, way, medium, message);
        }
    }

    /// Remembers why what came last was not taken.
    pub(super) fn refuse(&mut self, why: String) {
        if let Some(journal) = &mut self.journal {
            journal.refuse(&escaped(&why, None));
        }
        self.remark = Some(why);
    }
}
