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

/// The messages that were taken, and what was said to the last of them.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// The oldest first.
    seen: VecDeque<MessageDigest>,
    /// The oldest first; few, because they are kept for so short a time.
    replies: Vec<Reply>,
}

#[derive(Debug)]
struct Reply {
    to: MessageDigest,
    message: Vec<u8>,
    copies: u8,
    until: Instant,
}

impl Replies {
    /// What to do with a message: `Ok(None)` if it is new, `Ok(Some)` to say the same again.
    pub(super) fn recall(&mut self, digest: MessageDigest) -> Result<Option<Vec<u8>>, Refusal> {
        if !self.seen.contains(&digest) {
            return Ok(None);
        }
        let reply = self.replies.iter_mut().find(|reply| reply.to == digest);
        let reply = reply.ok_or(Refusal::Duplicate)?;
        if reply.copies == COPIES_MAX {
            return Err(Refusal::TooManyCopies);
        }
        reply.copies += 1;
        Ok(Some(reply.message.clone()))
    }

    /// Remembers a message that was taken.
    pub(super) fn note(&mut self, digest: MessageDigest) {
        if self.seen.contains(&digest) {
            return;
        }
        if self.seen.len() == SEEN_MAX
            && let Some(oldest) = self.seen.pop_front()
        {
            self.settle(oldest);
        }
        // There are three or four of them: a list that grows by itself has room for eight by then.
        self.seen.reserve_exact(1);
        self.seen.push_back(digest);
    }

    /// Remembers a message that was taken, and what was said to it.
    pub(super) fn answer(&mut self, now: Instant, digest: MessageDigest, message: Vec<u8>) {
        self.note(digest);
        self.settle(digest);
        self.replies.push(Reply {
            to: digest,
            message,
            copies: 0,
            until: now + REPLY_LIFE,
        });
    }

    /// Drops the reply to a message whose sender has shown that it has it.
    pub(super) fn settle(&mut self, digest: MessageDigest) {
        self.keep(|reply| reply.to != digest);
    }

    /// Drops replies that nobody asks for any more.
    pub(super) fn expire(&mut self, now: Instant) {
        self.keep(|reply| reply.until > now);
    }

    fn keep(&mut self, is_kept: impl Fn(&Reply) -> bool) {
        self.replies.retain(is_kept);
        if self.replies.is_empty() {
            // An idle SA keeps no room for replies.
            self.replies = Vec::new();
        }
    }

    /// When the next reply may go.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.replies.first().map(|reply| reply.until)
    }
}
