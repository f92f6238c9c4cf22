//! One way through a cable in memory.
//!
//! ```text
//!   Filling ── full ──► Emptying        bursts, each in one buffer
//!      ▲                   │
//!      └────── spent ◄─────┘            the buffers, to be filled again
//! ```
//!
//! A burst crosses from one thread to the other in one step, however many frames it has, and no
//! frame has memory of its own: a generator and a gateway that each take a hundred nanoseconds for a
//! packet have none to spare for the cable between them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::queue::ArrayQueue;

/// Frames after which a burst leaves by itself.
const BURST: usize = 64;
/// Buffers that wait to be filled again, at most: as many as a way that is full of full bursts has,
/// and some more. Those beyond are freed.
const SPENT: usize = 96;

/// Frames, one behind the other.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<u32>,
}

impl Frames {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Each of them, to work on where it lies.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let (mut rest, mut begin) = (&mut self.bytes[..], 0);
        self.ends.iter().map(move |end| {
            let (frame, behind) = std::mem::take(&mut rest).split_at_mut((end - begin) as usize);
            (rest, begin) = (behind, *end);
            frame
        })
    }

    fn push(&mut self, parts: [&[u8]; 2]) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len() as u32);
    }

    fn frame(&self, nth: usize) -> &[u8] {
        let begin = nth.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[begin as usize..self.ends[nth] as usize]
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// What both ends share.
struct Way {
    full: ArrayQueue<Frames>,
    spent: ArrayQueue<Frames>,
    /// Frames that it holds at most.
    capacity: usize,
    /// Frames that have left the one end and not the other.
    inside: AtomicUsize,
}

/// The end that frames are put into.
pub(super) struct Filling {
    way: Arc<Way>,
    open: Frames,
    /// Frames that fit for certain; there may be more room by now.
    room: usize,
}

/// The end where they come out.
pub(super) struct Emptying {
    way: Arc<Way>,
    burst: Frames,
    /// How many of the burst have been taken.
    taken: usize,
}

/// Tells, from anywhere, whether something is to come out.
#[derive(Clone)]
pub struct Watch(Arc<Way>);

/// A way that holds so many frames.
#[must_use]
pub(super) fn way(capacity: usize) -> (Filling, Emptying) {
    let way = Arc::new(Way {
        // Each burst has a frame at least.
        full: ArrayQueue::new(capacity),
        spent: ArrayQueue::new(SPENT),
        capacity,
        inside: AtomicUsize::new(0),
    });
    let filling = Filling {
        way: Arc::clone(&way),
        open: Frames::default(),
        room: capacity,
    };
    let emptying = Emptying {
        way,
        burst: Frames::default(),
        taken: 0,
    };
    (filling, emptying)
}

impl Filling {
    /// Whether no frame fits just now.
    pub(super) fn is_full(&mut self) -> bool {
        if self.room == 0 {
            let inside = self.way.inside.load(Ordering::Acquire) + self.open.len();
            self.room = self.way.capacity - inside;
        }
        self.room == 0
    }

    /// Puts in a frame, of which this is the beginning and the rest; `false` if it does not fit. It
    /// may come out no sooner than [`Self::flush`].
    #[must_use]
    pub(super) fn push(&mut self, parts: [&[u8]; 2]) -> bool {
        if self.is_full() {
            return false;
        }
        self.room -= 1;
        self.open.push(parts);
        if self.open.len() == BURST {
            self.flush();
        }
        true
    }

    /// Lets everything out that was put in.
    pub(super) fn flush(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let next = self.way.spent.pop().unwrap_or_default();
        let burst = std::mem::replace(&mut self.open, next);
        self.way.inside.fetch_add(burst.len(), Ordering::AcqRel);
        let pushed = self.way.full.push(burst);
        debug_assert!(pushed.is_ok(), "there are no more bursts than frames");
    }
}

impl Emptying {
    /// Whether something is to come out.
    #[must_use]
    pub(super) fn is_ready(&self) -> bool {
        self.taken < self.burst.len() || !self.way.full.is_empty()
    }

    /// To be told of it elsewhere. It knows of whole bursts only.
    #[must_use]
    pub(super) fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.way))
    }

    /// Takes the next frame.
    pub(super) fn frame<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        if self.taken == self.burst.len() {
            (self.burst, self.taken) = (self.way.full.pop()?, 0);
        }
        self.taken += 1;
        let taken = take(self.burst.frame(self.taken - 1));
        if self.taken == self.burst.len() {
            self.give_back();
        }
        Some(taken)
    }

    /// Takes the next burst, whole; what was left of the last one is gone. Says how many frames it had.
    pub(super) fn burst(&mut self, take: impl FnOnce(&mut Frames)) -> Option<usize> {
        self.give_back();
        self.burst = self.way.full.pop()?;
        let count = self.burst.len();
        take(&mut self.burst);
        self.give_back();
        Some(count)
    }

    fn give_back(&mut self) {
        if self.burst.is_empty() {
            return;
        }
        let mut burst = std::mem::take(&mut self.burst);
        self.way.inside.fetch_sub(burst.len(), Ordering::AcqRel);
        burst.clear();
        // With enough of them there it is freed.
        let _ = self.way.spent.push(burst);
        self.taken = 0;
    }
}

impl Watch {
    /// Whether something is to come out.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.0.full.is_empty()
    }
}

impl fmt::Debug for Filling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filling({} open)", self.open.len())
    }
}

impl fmt::Debug for Emptying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = self.way.inside.load(Ordering::Relaxed);
        write!(f, "Emptying({inside}/{})", self.way.capacity)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_and_no_sooner_than_flushed() {
        let (mut filling, mut emptying) = way(8);
        assert!(filling.push([b"one", b""]) && filling.push([b"", b""]));
        assert!(!emptying.is_ready() && emptying.frame(<[u8]>::len).is_none());
        filling.flush();
        assert!(filling.push([b"th", b"ree"]));
        filling.flush();
        assert!(emptying.is_ready());
        assert_eq!(emptying.frame(<[u8]>::to_vec), Some(b"one".to_vec()));
        assert_eq!(emptying.frame(<[u8]>::to_vec), Some(Vec::new()));
        assert!(emptying.is_ready());
        let count = emptying.burst(|frames| {
            let frames: Vec<&mut [u8]> = frames.iter_mut().collect();
            assert_eq!(frames, [b"three"]);
        });
        assert_eq!(count, Some(1));
        assert!(!emptying.is_ready() && emptying.burst(|_| ()).is_none());
    }

    #[test]
    fn a_full_way_takes_no_more_until_a_burst_is_out() {
        let (mut filling, mut emptying) = way(100);
        let taken = (0..200).filter(|_| filling.push([b"x", b"y"])).count();
        assert_eq!(taken, 100);
        filling.flush();
        for _ in 1..BURST {
            assert!(emptying.frame(|_| ()).is_some());
        }
        assert!(!filling.push([b"z", b""]), "its buffer is still in use");
        assert!(emptying.frame(|_| ()).is_some());
        let taken = (0..200).filter(|_| filling.push([b"x", b"y"])).count();
        assert_eq!(taken, BURST);
    }

    #[test]
    fn nothing_is_lost_between_two_threads() {
        const COUNT: u32 = 200_000;
        let (mut filling, mut emptying) = way(256);
        let from = thread::spawn(move || {
            let mut number = 0u32;
            while number < COUNT {
                if filling.push([&number.to_be_bytes(), b"rest"]) {
                    number += 1;
                } else {
                    filling.flush();
                    thread::yield_now();
                }
            }
            filling.flush();
        });
        let mut expected = 0u32;
        while expected < COUNT {
            match emptying.frame(<[u8]>::to_vec) {
                Some(frame) => {
                    assert_eq!(frame, [&expected.to_be_bytes()[..], b"rest"].concat());
                    expected += 1;
                }
                None => thread::yield_now(),
            }
        }
        from.join().unwrap();
        assert!(!emptying.is_ready());
    }
}
