//! Bounded rings between threads, and the bell that wakes a sleeper.
//!
//! A receiver that finds nothing to do may sleep. Before it does, it [arms](Bell::arm) its bell and
//! looks at every ring once more; whoever puts something into a ring [rings](Bell::ring), which
//! costs one load unless the sleeper is armed. All rings of one receiver share its bell.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst, fence};
use std::sync::{Arc, OnceLock};

use crossbeam::queue::ArrayQueue;

/// How to wake a thread that waits outside the rings, as in poll(2) on an eventfd.
pub trait Wake: Send + Sync {
    /// Makes its wait end, or the next one if it does not wait yet.
    fn wake(&self);
}

/// Wakes one receiver, if it sleeps.
#[derive(Default)]
pub struct Bell {
    armed: AtomicBool,
    wake: OnceLock<Arc<dyn Wake>>,
}

impl Bell {
    /// Says how the receiver is woken; once. A receiver that never sleeps needs none.
    pub fn set_wake(&self, wake: Arc<dyn Wake>) {
        assert!(self.wake.set(wake).is_ok(), "a bell has one sleeper");
    }

    /// The receiver is about to sleep: from here on ringing wakes it. It has to look at its rings
    /// once more before it sleeps.
    pub fn arm(&self) {
        self.armed.store(true, SeqCst);
        // Pairs with the fence in `ring`: either the receiver sees what was sent, or the sender
        // sees that the receiver is armed.
        fence(SeqCst);
    }

    /// The receiver is awake.
    pub fn disarm(&self) {
        self.armed.store(false, SeqCst);
    }

    /// Wakes the receiver if it is armed.
    #[inline]
    pub fn ring(&self) {
        fence(SeqCst);
        if self.armed.load(SeqCst)
            && self.armed.swap(false, SeqCst)
            && let Some(wake) = self.wake.get()
        {
            wake.wake();
        }
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").field("armed", &self.armed).finish()
    }
}

/// A ring of `capacity`, whose receiver hears `bell`.
pub fn ring<T>(capacity: usize, bell: &Arc<Bell>) -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(ArrayQueue::new(capacity));
    let sender = Sender {
        queue: Arc::clone(&queue),
        bell: Arc::clone(bell),
    };
    (sender, Receiver { queue })
}

/// The end that fills a ring.
pub struct Sender<T> {
    queue: Arc<ArrayQueue<T>>,
    bell: Arc<Bell>,
}

impl<T> Sender<T> {
    /// Sends, or gives the value back if the ring is full.
    #[inline]
    pub fn send(&self, value: T) -> Result<(), T> {
        self.queue.push(value)?;
        self.bell.ring();
        Ok(())
    }

    /// Whether the receiver has taken everything.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether no more than half of it is free.
    pub(crate) fn is_half_full(&self) -> bool {
        self.queue.len() * 2 >= self.queue.capacity()
    }

    /// How many more would fit just now.
    pub fn room(&self) -> usize {
        self.queue.capacity() - self.queue.len()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            queue: Arc::clone(&self.queue),
            bell: Arc::clone(&self.bell),
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({}/{})", self.queue.len(), self.queue.capacity())
    }
}

/// The end that empties a ring.
pub struct Receiver<T> {
    queue: Arc<ArrayQueue<T>>,
}

impl<T> Receiver<T> {
    /// The oldest value, if there is one.
    #[inline]
    pub fn receive(&self) -> Option<T> {
        self.queue.pop()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Receiver({}/{})",
            self.queue.len(),
            self.queue.capacity()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(&self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_full_ring_gives_the_value_back() {
        let (sender, receiver) = ring(2, &Arc::default());
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(sender.send(2), Ok(()));
        assert_eq!(sender.send(3), Err(3));
        assert_eq!(receiver.receive(), Some(1));
        assert_eq!(sender.send(3), Ok(()));
    }

    #[test]
    fn the_bell_wakes_a_sleeper_once_and_nobody_else() {
        let (bell, count) = (Arc::new(Bell::default()), Arc::new(Count::default()));
        bell.set_wake(count.clone());
        let (sender, _receiver) = ring(8, &bell);
        sender.send(1).unwrap();
        assert_eq!(count.0.load(SeqCst), 0, "awake");
        bell.arm();
        sender.send(2).unwrap();
        sender.send(3).unwrap();
        assert_eq!(count.0.load(SeqCst), 1, "woken by the first");
        bell.arm();
        bell.disarm();
        sender.send(4).unwrap();
        assert_eq!(count.0.load(SeqCst), 1, "awake again by itself");
    }
}
