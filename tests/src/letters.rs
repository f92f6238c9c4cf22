//! Data: numbered packets, and the books about who got which.
//!
//! A letter is an IP packet of an experimental protocol whose payload holds its number and a text
//! that follows from the number. It arrives unchanged, at the one whose address is on it, and not
//! more often than it may: through an SA once, in the clear as often as the wire copied it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use packet::header::Ipv4;
use zerocopy::{FromBytes, IntoBytes};

/// RFC 3692: for experiments.
const PROTOCOL: u8 = 253;
/// Begins the payload.
const MAGIC: [u8; 4] = *b"adit";
const HEADER: usize = MAGIC.len() + 8;

/// Who has to do with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The server behind the gateway.
    Server,
    /// A subscriber.
    Subscriber(usize),
    /// Nobody: it must not arrive anywhere.
    Nobody,
}

/// What is known of a letter.
#[derive(Clone, Copy, Debug)]
pub struct Letter {
    /// When it was sent, counted from the beginning.
    pub at: Duration,
    /// By whom.
    pub from: Party,
    /// To whom.
    pub to: Party,
    /// How often it may arrive.
    pub copies: u32,
    /// Whether it must arrive.
    pub is_due: bool,
    arrived: u32,
}

/// The books.
#[derive(Debug, Default)]
pub struct Letters {
    sent: BTreeMap<u64, Letter>,
    next: u64,
    arrived: u64,
}

impl Letters {
    /// Writes a letter and enters it into the books: the whole IP packet.
    pub fn write(
        &mut self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        len: usize,
        letter: Letter,
    ) -> Vec<u8> {
        let number = self.next;
        self.next += 1;
        self.sent.insert(number, letter);
        let header = Ipv4::new(source, destination, PROTOCOL, (HEADER + len) as u16);
        let mut packet = header.as_bytes().to_vec();
        packet.extend(MAGIC);
        packet.extend(number.to_be_bytes());
        packet.extend(text(number, len));
        packet
    }

    /// A packet has arrived at `party`. Whose it is, or `None` for what is no letter.
    ///
    /// # Panics
    /// If it should not have arrived there, or not like this.
    pub fn deliver(&mut self, packet: &[u8], party: Party) -> Option<Letter> {
        let (header, payload) = Ipv4::read_from_prefix(packet).ok()?;
        let rest = payload.strip_prefix(&MAGIC)?;
        if header.protocol != PROTOCOL {
            return None;
        }
        let (number, rest) = rest.split_first_chunk()?;
        let number = u64::from_be_bytes(*number);
        let letter = self.sent.get_mut(&number);
        let letter = letter.unwrap_or_else(|| panic!("letter {number} was never sent"));
        assert_eq!(
            rest,
            text(number, rest.len()),
            "letter {number} has changed"
        );
        assert_eq!(letter.to, party, "letter {number} went astray: {letter:?}");
        letter.arrived += 1;
        assert!(
            letter.arrived <= letter.copies,
            "letter {number} came {} times: {letter:?}",
            letter.arrived
        );
        self.arrived += 1;
        Some(*letter)
    }

    /// # Panics
    /// If a letter that had to arrive did not.
    pub fn assert_all_due_arrived(&self) {
        for (number, letter) in &self.sent {
            let is_lost = letter.is_due && letter.arrived == 0;
            assert!(!is_lost, "letter {number} is lost: {letter:?}");
        }
    }

    /// How many were sent and how many arrived.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.next, self.arrived)
    }
}

impl Letter {
    /// A letter that may get lost.
    #[must_use]
    pub fn new(at: Duration, from: Party, to: Party, copies: u32) -> Self {
        Self {
            at,
            from,
            to,
            copies,
            is_due: false,
            arrived: 0,
        }
    }

    /// The same letter; if `is_due` it must arrive.
    #[must_use]
    pub fn due_if(self, is_due: bool) -> Self {
        Self { is_due, ..self }
    }
}

fn text(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|i| (number.wrapping_mul(31) + i) as u8)
        .collect()
}
