//! The ESP side of many clients: SPIs, keys, sequence numbers, replay windows.
//!
//! A pair of SAs has one number. It is the low part of the SPI that we choose, so that a packet
//! finds its pair without a search, and it names two key slots. The rest of the SPI is a
//! generation: a packet for the pair that had the number before is a packet for nobody.

use crypto::Random;
use crypto::esp::{Backend, Direction, EspJob, KeySlot, Keys, Suite, Verdict};
use ike::{Child, Spi};
use packet::header::Esp;

use crate::window::Window;

/// Bits of an SPI that are the number of a pair; it has two of the 2^20 key slots.
const NUMBER_BITS: u32 = 19;
/// The most pairs at once.
pub const PAIRS_MAX: usize = 1 << NUMBER_BITS;
/// Octets of SPI and sequence number.
pub const HEADER: usize = size_of::<Esp>();

/// Names a pair, as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairId(u32);

/// Why an ESP packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EspFault {
    /// Too short for an ESP header.
    Truncated,
    /// No pair has this SPI.
    UnknownSpi,
    /// The sequence number was there before, or is behind the window.
    Replayed,
    /// The ICV is wrong, or the length is not one that the suite makes.
    NotAuthentic,
}

/// Whose pair it is, and what is behind its two SPIs.
#[derive(Debug)]
struct Pair {
    owner: u32,
    spi: Spi,
    installed: Option<Installed>,
}

#[derive(Debug)]
struct Installed {
    suite: Suite,
    peer: Spi,
    encapsulated: bool,
    sent: u32,
    window: Window,
}

/// The pairs of all clients.
#[derive(Debug)]
pub struct Sas {
    keys: Keys,
    pairs: Vec<Option<Pair>>,
    free: Vec<u32>,
    generation: u32,
    random: Random,
}

/// One received packet on its way through [`Sas::open`].
#[derive(Debug)]
pub struct Sealed<'p> {
    /// From the ESP header to the end of the ICV.
    pub packet: &'p mut [u8],
    /// Whose it is and where its plaintext lies, or why it was not taken.
    pub result: Result<Opened, EspFault>,
}

/// An authentic packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The client.
    pub owner: u32,
    /// What the packet names.
    pub spi: Spi,
    /// Octets in front of the plaintext.
    pub head: usize,
    /// Octets behind it.
    pub tail: usize,
}

/// A packet to be sealed: a buffer of which the part from `start` is an ESP packet.
#[derive(Debug)]
pub struct Unsealed<'p> {
    /// The whole packet.
    pub packet: &'p mut [u8],
    /// Where the ESP header begins.
    pub start: usize,
    /// Under which pair.
    pub pair: PairId,
}

/// What the sender of a packet has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The peer's SPI.
    pub spi: u32,
    /// This packet's number.
    pub sequence: u32,
    /// Lengths of IV, ICV and block.
    pub suite: Suite,
}

impl Sas {
    /// No pairs yet.
    #[must_use]
    pub fn new(mut random: Random) -> Self {
        Self {
            keys: Keys::new(Backend::auto()),
            pairs: Vec::new(),
            free: Vec::new(),
            // Another one at each start: the peer may still send on the pairs of the last run.
            generation: random.below(1 << (32 - NUMBER_BITS)),
            random,
        }
    }

    /// Who does the cryptography.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.keys.backend()
    }

    /// Reserves an SPI for a client.
    pub fn reserve(&mut self, owner: u32) -> Option<Spi> {
        if self.free.is_empty() && self.pairs.len() < PAIRS_MAX {
            self.free.push(self.pairs.len() as u32);
            self.pairs.push(None);
        }
        let number = self.free.pop()?;
        // RFC 4303 §2.1 reserves SPIs up to 255; a generation is never 0, so they are not met.
        self.generation = self.generation % ((1 << (32 - NUMBER_BITS)) - 1) + 1;
        let spi = Spi(self.generation << NUMBER_BITS | number);
        self.pairs[number as usize] = Some(Pair {
            owner,
            spi,
            installed: None,
        });
        Some(spi)
    }

    /// Installs the keys of a pair whose SPI was reserved.
    pub fn install(&mut self, child: &Child) -> Option<PairId> {
        let number = self.find(child.inbound)?;
        let iv_key = self.random.array();
        let (suite, inbound, outbound) = (child.suite, inbound_slot(number), outbound_slot(number));
        self.keys.install(
            inbound,
            suite,
            Direction::Open,
            &child.inbound_keys,
            &iv_key,
        );
        self.keys.install(
            outbound,
            suite,
            Direction::Seal,
            &child.outbound_keys,
            &iv_key,
        );
        self.pairs[number as usize].as_mut()?.installed = Some(Installed {
            suite,
            peer: child.outbound,
            encapsulated: child.encapsulated,
            sent: 0,
            window: Window::default(),
        });
        Some(PairId(number))
    }

    /// Forgets a pair, or a reserved SPI.
    pub fn remove(&mut self, inbound: Spi) {
        let Some(number) = self.find(inbound) else {
            return;
        };
        self.keys.remove(inbound_slot(number));
        self.keys.remove(outbound_slot(number));
        self.pairs[number as usize] = None;
        self.free.push(number);
    }

    /// Whether packets of this pair travel in UDP.
    #[must_use]
    pub fn is_encapsulated(&self, pair: PairId) -> bool {
        self.installed(pair).is_some_and(|sa| sa.encapsulated)
    }

    /// Takes the next sequence number; `None` if there is no such pair or no number is left
    /// (RFC 4303 §3.3.3).
    pub fn envelope(&mut self, pair: PairId) -> Option<Envelope> {
        let installed = self
            .pairs
            .get_mut(pair.0 as usize)?
            .as_mut()?
            .installed
            .as_mut()?;
        let sequence = installed.sent.checked_add(1)?;
        installed.sent = sequence;
        Some(Envelope {
            spi: installed.peer.0,
            sequence,
            suite: installed.suite,
        })
    }

    /// Seals packets, those of one suite together.
    pub fn seal(&self, packets: &mut [Unsealed<'_>]) {
        for suite in self.suites(packets.iter().map(|packet| packet.pair.0)) {
            let mut jobs: Vec<_> = packets
                .iter_mut()
                .filter(|packet| self.installed(packet.pair).map(|sa| sa.suite) == Some(suite))
                .map(|packet| EspJob {
                    packet: &mut packet.packet[packet.start..],
                    slot: outbound_slot(packet.pair.0),
                    esn_high: None,
                    verdict: Verdict::Pending,
                })
                .collect();
            self.keys.seal(suite, &mut jobs);
            debug_assert!(jobs.iter().all(|job| job.verdict == Verdict::Ok));
        }
    }

    /// Opens packets, those of one suite together; of two copies in one batch the first is taken.
    pub fn open(&mut self, packets: &mut [Sealed<'_>]) {
        let numbers: Vec<Option<u32>> = packets
            .iter_mut()
            .map(|sealed| match self.look_up(sealed.packet) {
                Ok(number) => Some(number),
                Err(fault) => {
                    sealed.result = Err(fault);
                    None
                }
            })
            .collect();
        for suite in self.suites(numbers.iter().flatten().copied()) {
            self.open_suite(suite, packets, &numbers);
        }
        for (sealed, number) in packets.iter_mut().zip(numbers) {
            let Some(number) = number else { continue };
            let is_fresh = sealed.result.is_err() || self.note(number, sequence(sealed.packet));
            if !is_fresh {
                sealed.result = Err(EspFault::Replayed);
            }
        }
    }

    fn open_suite(&self, suite: Suite, packets: &mut [Sealed<'_>], numbers: &[Option<u32>]) {
        let (mut jobs, mut results) = (Vec::new(), Vec::new());
        for (sealed, number) in packets.iter_mut().zip(numbers) {
            let Some(number) = number.filter(|number| self.suite(*number) == Some(suite)) else {
                continue;
            };
            jobs.push(EspJob {
                packet: &mut *sealed.packet,
                slot: inbound_slot(number),
                esn_high: None,
                verdict: Verdict::Pending,
            });
            results.push((number, &mut sealed.result));
        }
        self.keys.open(suite, &mut jobs);
        for (job, (number, result)) in jobs.iter().zip(results) {
            *result = match (job.verdict, &self.pairs[number as usize]) {
                (Verdict::Ok, Some(pair)) => Ok(Opened {
                    owner: pair.owner,
                    spi: pair.spi,
                    head: HEADER + suite.iv_len(),
                    tail: suite.icv_len(),
                }),
                _ => Err(EspFault::NotAuthentic),
            };
        }
    }

    fn look_up(&self, packet: &[u8]) -> Result<u32, EspFault> {
        if packet.len() < HEADER {
            return Err(EspFault::Truncated);
        }
        let spi = Spi(word(packet, 0));
        let number = self.find(spi).ok_or(EspFault::UnknownSpi)?;
        let installed = self.installed(PairId(number)).ok_or(EspFault::UnknownSpi)?;
        // RFC 4303 §3.4.3: replays are sorted out before they cost a decryption.
        match installed.window.is_fresh(sequence(packet)) {
            true => Ok(number),
            false => Err(EspFault::Replayed),
        }
    }

    fn note(&mut self, number: u32, sequence: u32) -> bool {
        let pair = self.pairs[number as usize].as_mut();
        pair.and_then(|pair| pair.installed.as_mut())
            .is_some_and(|installed| installed.window.note(sequence))
    }

    fn find(&self, spi: Spi) -> Option<u32> {
        let number = spi.0 & (PAIRS_MAX as u32 - 1);
        let pair = self.pairs.get(number as usize)?.as_ref()?;
        (pair.spi == spi).then_some(number)
    }

    fn installed(&self, pair: PairId) -> Option<&Installed> {
        self.pairs
            .get(pair.0 as usize)?
            .as_ref()?
            .installed
            .as_ref()
    }

    fn suite(&self, number: u32) -> Option<Suite> {
        Some(self.installed(PairId(number))?.suite)
    }

    fn suites(&self, numbers: impl Iterator<Item = u32>) -> Vec<Suite> {
        let mut suites: Vec<Suite> = numbers.filter_map(|number| self.suite(number)).collect();
        suites.sort_unstable();
        suites.dedup();
        suites
    }
}

fn inbound_slot(number: u32) -> KeySlot {
    KeySlot(2 * number)
}

fn outbound_slot(number: u32) -> KeySlot {
    KeySlot(2 * number + 1)
}

fn sequence(packet: &[u8]) -> u32 {
    word(packet, 4)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
