//! IKE fragments as Microsoft and Cisco send them (vendor ID `FRAGMENTATION`): payload type 132
//! behind an ISAKMP header, each with a piece of the whole message.
//!
//! Fragments carry no proof of who sent them, so little is kept: one message at a time.

use crate::Refusal;
use crate::message::{Chain, MESSAGE_LEN_MAX, Padding, kind};

/// The most fragments of one message.
const FRAGMENTS_MAX: u8 = 16;
/// Set in the last fragment.
const FLAG_LAST: u8 = 1;

/// The pieces of one message.
#[derive(Debug, Default)]
pub struct Fragments {
    id: u16,
    pieces: Vec<Option<Vec<u8>>>,
    last: Option<u8>,
}

impl Fragments {
    /// Takes one fragment; gives the message when it is the last one missing.
    pub fn add(&mut self, first: u8, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        let chain = Chain::parse(first, bytes, Padding::None)?;
        let body = chain.single(kind::FRAGMENT)?;
        let (&[id_high, id_low, number, flags], piece) =
            body.split_first_chunk().ok_or(Refusal::BadFragment)?;
        if number == 0 || piece.is_empty() {
            return Err(Refusal::BadFragment);
        }
        if number > FRAGMENTS_MAX {
            return Err(Refusal::TooManyFragments);
        }
        let id = u16::from_be_bytes([id_high, id_low]);
        if id != self.id {
            *self = Self {
                id,
                ..Self::default()
            };
        }
        self.store(number, flags & FLAG_LAST != 0, piece)?;
        self.whole().ok_or(Refusal::FragmentStored)
    }

    fn store(&mut self, number: u8, is_last: bool, piece: &[u8]) -> Result<(), Refusal> {
        let index = usize::from(number - 1);
        if self.pieces.len() <= index {
            self.pieces.resize(index + 1, None);
        }
        let others: usize = self.pieces.iter().flatten().map(Vec::len).sum();
        if others + piece.len() > MESSAGE_LEN_MAX {
            *self = Self::default();
            return Err(Refusal::TooManyFragments);
        }
        // The first copy stays: a later one of other content is not more credible.
        self.pieces[index].get_or_insert_with(|| piece.to_vec());
        if is_last {
            self.last = Some(number);
        }
        Ok(())
    }

    fn whole(&mut self) -> Option<Vec<u8>> {
        let last = usize::from(self.last?);
        let pieces = self.pieces.get(..last)?;
        let whole: Option<Vec<&[u8]>> = pieces.iter().map(Option::as_deref).collect();
        let whole = whole?.concat();
        *self = Self::default();
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Payloads;

    fn add(
        fragments: &mut Fragments,
        id: u8,
        number: u8,
        flags: u8,
        piece: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let body = [&[0, id, number, flags][..], piece].concat();
        let payloads = Payloads::new().with(kind::FRAGMENT, &body);
        fragments.add(payloads.first(), payloads.bytes())
    }

    #[test]
    fn any_order_makes_the_message() {
        let mut fragments = Fragments::default();
        let stored = Err(Refusal::FragmentStored);
        assert_eq!(add(&mut fragments, 1, 3, 1, b"!"), stored);
        assert_eq!(add(&mut fragments, 1, 1, 0, b"hello "), stored);
        assert_eq!(add(&mut fragments, 1, 1, 0, b"hello "), stored, "a copy");
        assert_eq!(
            add(&mut fragments, 1, 2, 0, b"world"),
            Ok(b"hello world!".to_vec())
        );
        assert_eq!(
            add(&mut fragments, 1, 1, 1, b"once"),
            Ok(b"once".to_vec()),
            "starts afresh"
        );
    }

    #[test]
    fn another_id_is_another_message() {
        let mut fragments = Fragments::default();
        let _ = add(&mut fragments, 1, 1, 0, b"old");
        assert_eq!(
            add(&mut fragments, 2, 2, 1, b"new"),
            Err(Refusal::FragmentStored)
        );
        assert_eq!(
            add(&mut fragments, 2, 1, 0, b"the "),
            Ok(b"the new".to_vec())
        );
    }

    #[test]
    fn number_and_size_are_bounded() {
        let mut fragments = Fragments::default();
        let refused = Err(Refusal::TooManyFragments);
        assert_eq!(add(&mut fragments, 1, 17, 0, b"x"), refused);
        assert_eq!(
            add(&mut fragments, 1, 0, 0, b"x"),
            Err(Refusal::BadFragment)
        );
        assert_eq!(add(&mut fragments, 1, 1, 0, b""), Err(Refusal::BadFragment));
        let half = vec![0; MESSAGE_LEN_MAX / 2];
        assert_eq!(
            add(&mut fragments, 1, 16, 0, &half),
            Err(Refusal::FragmentStored)
        );
        assert_eq!(
            add(&mut fragments, 1, 1, 0, &half),
            Err(Refusal::FragmentStored)
        );
        assert_eq!(add(&mut fragments, 1, 2, 0, b"xx"), refused);
        assert!(fragments.pieces.is_empty(), "all of it is dropped");
    }
}
