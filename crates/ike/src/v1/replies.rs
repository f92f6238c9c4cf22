//! What was answered already: a copy of a request gets the same reply again, and nothing else
//! happens (RFC 2408 §5.1).
//!
//! Copies are known by a hash of the whole message, because message IDs may be small integers that
//! tell nothing. Replies are kept for a minute, the hashes until newer ones push them out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crypto::hash::Hash;

use crate::Refusal;

/// The most messages remembered: what one client says in a working day.
const SEEN_MAX: usize = 256;
/// The most copies of one message that are answered: an old message is no amplifier.
const COPIES_MAX: u8 = 16;
/// No sender repeats a message for longer.
const REPLY_LIFE: Duration = Duration::from_secs(60);

/// Stands for a whole message.
pub(super) type MessageDigest = [u8; 16];

/// The digest of a message.
pub(super) fn digest(message: &[u8]) -> MessageDigest {
    let full = Hash::Sha256.digest(&[message]);
    let mut digest = [0; 16];
    digest.copy_from_slice(&full[..16]);
    digest
}

/// The messages that were taken, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Replies {
    seen: VecDeque<Seen>,
}

#[derive(Debug)]
struct Seen {
    digest: MessageDigest,
    reply: Option<Vec<u8>>,
    copies: u8,
    until: Instant,
}

impl Replies {
    /// What to do with a message: `Ok(None)` if it is new, `Ok(Some)` to say the same again.
    pub(super) fn recall(&mut self, digest: MessageDigest) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(seen) = self.seen.iter_mut().find(|seen| seen.digest == digest) else {
            return Ok(None);
        };
        let reply = seen.reply.as_ref().ok_or(Refusal::Duplicate)?;
        if seen.copies == COPIES_MAX {
            return Err(Refusal::TooManyCopies);
        }
        seen.copies += 1;
        Ok(Some(reply.clone()))
    }

    /// Remembers a message that was taken.
    pub(super) fn note(&mut self, now: Instant, digest: MessageDigest) {
        self.entry(now, digest);
    }

    /// Remembers a message that was taken, and what was said to it.
    pub(super) fn answer(&mut self, now: Instant, digest: MessageDigest, reply: Vec<u8>) {
        self.entry(now, digest).reply = Some(reply);
    }

    fn entry(&mut self, now: Instant, digest: MessageDigest) -> &mut Seen {
        let index = self.seen.iter().position(|seen| seen.digest == digest);
        let index = index.unwrap_or_else(|| {
            if self.seen.len() == SEEN_MAX {
                self.seen.pop_front();
            }
            let until = now + REPLY_LIFE;
            self.seen.push_back(Seen {
                digest,
                reply: None,
                copies: 0,
                until,
            });
            self.seen.len() - 1
        });
        &mut self.seen[index]
    }

    /// Drops the reply to a message whose sender has shown that it has it.
    pub(super) fn settle(&mut self, digest: MessageDigest) {
        if let Some(seen) = self.seen.iter_mut().find(|seen| seen.digest == digest) {
            seen.reply = None;
        }
    }

    /// Drops replies that nobody asks for any more.
    pub(super) fn expire(&mut self, now: Instant) {
        for seen in self.seen.iter_mut().filter(|seen| seen.until <= now) {
            seen.reply = None;
        }
    }

    /// When the next reply may go.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.seen
            .iter()
            .find(|seen| seen.reply.is_some())
            .map(|seen| seen.until)
    }
}
