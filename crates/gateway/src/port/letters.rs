//! IKE messages that are longer than a chunk of packet memory.
//!
//! They come in fragments, so the kernel hands them to a socket in every mode. The line cannot
//! carry them, and need not: IKE goes to the slow path anyhow. They take a short cut there, as
//! strangers do, and only so many may be under way.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};
use dataplane::change::{Class, Origin, Punt};
use dataplane::id::WorkerId;
use packet::Endpoint;

/// Letters under way; what is beyond is sent again by its sender.
const LETTERS: usize = 16;
/// The longest datagram there is, octets.
pub(crate) const LONGEST: usize = 65_535;

/// Where letters are posted.
#[derive(Clone)]
pub(crate) struct LetterBox {
    post: Sender<Punt>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl LetterBox {
    /// A box, and the end where it is emptied; `wake` is called after each letter.
    pub(crate) fn new(wake: Arc<dyn Fn() + Send + Sync>) -> (Self, Receiver<Punt>) {
        let (post, letters) = bounded(LETTERS);
        (Self { post, wake }, letters)
    }

    /// Posts an ISAKMP message without its marker.
    pub(super) fn post(&self, worker: u8, [local, remote]: [Endpoint; 2], bytes: Vec<u8>) {
        let origin = Origin::Ike {
            worker: WorkerId(worker),
            local,
            remote,
        };
        let class = Class::Stranger;
        // A full box loses it, as a full socket would.
        if self
            .post
            .try_send(Punt {
                class,
                origin,
                bytes,
            })
            .is_ok()
        {
            (self.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_letters_fills_the_box_and_no_more() {
        let (letter_box, letters) = LetterBox::new(Arc::new(|| ()));
        for _ in 0..2 * LETTERS {
            letter_box.post(0, [Endpoint::default(); 2], vec![1; 3000]);
        }
        assert_eq!(letters.try_iter().count(), LETTERS);
    }
}
