//! Configuration options: type, length, value (RFC 1661 §6).

use std::net::Ipv4Addr;

use crate::Refusal;

/// A list of options whose lengths add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

/// One option as it stands in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigOption<'a> {
    /// Type.
    pub kind: u8,
    /// What follows Length.
    pub value: &'a [u8],
    /// All of it, for an Ack or a Reject to repeat.
    pub wire: &'a [u8],
}

impl<'a> Options<'a> {
    /// RFC 1661 §6: a Length below 2 or beyond the packet makes the whole list unreadable.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = split_first(rest).ok_or(Refusal::BadOptionLength)?.1;
        }
        Ok(Self(bytes))
    }

    /// The options in order.
    pub fn iter(self) -> impl Iterator<Item = ConfigOption<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (option, after) = split_first(rest)?;
            rest = after;
            Some(option)
        })
    }
}

fn split_first(bytes: &[u8]) -> Option<(ConfigOption<'_>, &[u8])> {
    let &[kind, length] = bytes.first_chunk()?;
    let (wire, rest) = bytes.split_at_checked(usize::from(length))?;
    let value = wire.get(2..)?;
    Some((ConfigOption { kind, value, wire }, rest))
}

impl ConfigOption<'_> {
    pub(crate) fn u16(&self) -> Option<u16> {
        self.value.try_into().ok().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        self.u32().map(Ipv4Addr::from_bits)
    }
}

/// Appends an option. Values are ours and short.
pub(crate) fn push(list: &mut Vec<u8>, kind: u8, value: &[u8]) {
    debug_assert!(value.len() <= usize::from(u8::MAX) - 2);
    list.extend_from_slice(&[kind, 2 + value.len() as u8]);
    list.extend_from_slice(value);
}

/// What is to be said about a peer's Configure-Request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Everything is fine; the Ack repeats the list.
    Ack,
    /// These options, with values that would be.
    Nak(Vec<u8>),
    /// These options, as they came.
    Reject(Vec<u8>),
}

/// The objections to a list, gathered option by option.
pub(crate) struct Objections {
    patience: Patience,
    better: Vec<u8>,
    refused: Vec<u8>,
}

impl Objections {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            patience,
            better: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// The option is unknown, or has no value that would do.
    pub(crate) fn reject(&mut self, option: ConfigOption<'_>) {
        self.refused.extend_from_slice(option.wire);
    }

    /// The option would do with this value.
    pub(crate) fn nak(&mut self, option: ConfigOption<'_>, value: &[u8]) {
        match self.patience {
            Patience::Left => push(&mut self.better, option.kind, value),
            // RFC 1661 §4.6: after Max-Failure Naks the peer doesn't converge; what it asks for
            // is rejected.
            Patience::Exhausted => self.reject(option),
        }
    }

    /// The option is missing. RFC 1661 §4.6: not asked for after Max-Failure Naks.
    pub(crate) fn miss(&mut self, kind: u8, value: &[u8]) {
        if self.patience == Patience::Left {
            push(&mut self.better, kind, value);
        }
    }

    /// RFC 1661 §5.4: Reject goes before Nak.
    pub(crate) fn judge(self) -> Judgement {
        if !self.refused.is_empty() {
            Judgement::Reject(self.refused)
        } else if !self.better.is_empty() {
            Judgement::Nak(self.better)
        } else {
            Judgement::Ack
        }
    }
}

/// Whether Max-Failure (RFC 1661 §4.6) has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Left,
    Exhausted,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // conformance: 1661-46
    #[test]
    fn a_length_that_cannot_be_spoils_the_list() {
        for bytes in [&[1][..], &[1, 0], &[1, 1], &[1, 3], &[1, 4, 5, 0xdc, 7]] {
            assert_eq!(Options::parse(bytes), Err(Refusal::BadOptionLength));
        }
        assert_eq!(Options::parse(&[]).unwrap().iter().count(), 0);
    }

    // conformance: 1661-34
    #[test]
    fn reject_goes_before_nak() {
        let bytes = [1, 4, 0, 64, 99, 2];
        let options: Vec<_> = Options::parse(&bytes).unwrap().iter().collect();
        let mut objections = Objections::new(Patience::Left);
        objections.nak(options[0], &[5, 220]);
        objections.reject(options[1]);
        assert_eq!(objections.judge(), Judgement::Reject(vec![99, 2]));
    }

    // conformance: 1661-22
    #[test]
    fn at_the_end_of_patience_naks_are_rejects_and_missing_options_forgiven() {
        let bytes = [1, 4, 0, 64];
        let option = Options::parse(&bytes).unwrap().iter().next().unwrap();
        let mut objections = Objections::new(Patience::Exhausted);
        objections.nak(option, &[5, 220]);
        objections.miss(3, &[10, 0, 0, 1]);
        assert_eq!(objections.judge(), Judgement::Reject(bytes.to_vec()));
        let mut objections = Objections::new(Patience::Exhausted);
        objections.miss(3, &[10, 0, 0, 1]);
        assert_eq!(objections.judge(), Judgement::Ack);
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_read(list in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)), 0..20)) {
            let mut bytes = Vec::new();
            for (kind, value) in &list {
                push(&mut bytes, *kind, value);
            }
            let read: Vec<_> = Options::parse(&bytes)
                .unwrap()
                .iter()
                .map(|option| (option.kind, option.value.to_vec()))
                .collect();
            prop_assert_eq!(read, list);
        }

        #[test]
        fn the_pieces_are_the_list(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(options) = Options::parse(&bytes) {
                let joined: Vec<_> = options.iter().flat_map(|option| option.wire.to_vec()).collect();
                prop_assert_eq!(joined, bytes);
            }
        }
    }
}
