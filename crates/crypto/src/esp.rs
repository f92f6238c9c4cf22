//! ESP: suites, KEYMAT, and the batch interface that opens and seals packets (RFC 4303).
//!
//! The data plane collects the packets of one suite from a burst, of any SAs and any lengths, and
//! hands them over together; a back end may work on several at once, and all are done on return.
//! The packet is transformed where it lies:
//!
//! ```text
//!            ┌─────┬─────┬────┬─────────────────────────────────┬─────┐
//!   packet   │ SPI │ SEQ │ IV │ payload  padding  len  next hdr │ ICV │
//!            └─────┴─────┴────┴─────────────────────────────────┴─────┘
//!   seal      reads       writes         encrypts                writes
//!   open      reads       reads          decrypts                compares
//! ```
//!
//! [`Keys`] holds keys and nothing else, so that a packet costs few cache misses however many SAs
//! there are: sequence numbers, windows and counters live with their owner.

mod cbc_hmac;
mod gcm;
mod slots;
mod suite;

use std::fmt;

use slots::Slots;
pub use suite::{Integrity, Keymat, Suite, UnknownSuite};

/// SPI and sequence number.
const HEADER_LEN: usize = 8;

/// How many packets ahead of the one at work keys are fetched; measured with 100 000 SAs, 4 to 8
/// hide the miss.
const PREFETCH_AHEAD: usize = 4;

/// Which way a key is used: a slot serves one direction of one SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Inbound: verify and decrypt.
    Open,
    /// Outbound: encrypt and sign.
    Seal,
}

/// Where a key lies in [`Keys`]. The caller chooses the numbers, densely from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeySlot(pub u32);

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not yet looked at.
    Pending,
    /// The packet is sealed; or it is authentic, and in clear.
    Ok,
    /// The ICV is wrong, or the slot holds no key of this suite and direction.
    BadIcv,
    /// The suite makes no packet of this length; nothing was read or written.
    BadLength,
}

/// One packet to open or to seal.
#[derive(Debug)]
pub struct EspJob<'f> {
    /// From the first octet of the ESP header to the last of the ICV.
    pub packet: &'f mut [u8],
    /// Where the key lies.
    pub slot: KeySlot,
    /// With extended sequence numbers their upper half, which does not travel (RFC 4303 §2.2.1).
    pub esn_high: Option<u32>,
    /// The result.
    pub verdict: Verdict,
}

impl EspJob<'_> {
    /// The sequence number as the header has it.
    fn sequence(&self) -> u32 {
        u32::from_be_bytes([
            self.packet[4],
            self.packet[5],
            self.packet[6],
            self.packet[7],
        ])
    }

    /// The number that no other packet of the SA has.
    fn counter(&self) -> u64 {
        u64::from(self.esn_high.unwrap_or(0)) << 32 | u64::from(self.sequence())
    }
}

/// Which implementation does the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The RustCrypto crates: portable, and the reference for any other.
    #[default]
    RustCrypto,
}

impl Backend {
    /// The fastest that this processor can run.
    #[must_use]
    pub fn auto() -> Self {
        Self::RustCrypto
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RustCrypto => f.write_str("rustcrypto"),
        }
    }
}

/// The keys of one shard.
#[derive(Debug)]
pub struct Keys {
    backend: Backend,
    slots: Slots,
}

impl Keys {
    /// No keys yet.
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        Self {
            backend,
            slots: Slots::default(),
        }
    }

    /// Who does the work here.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Puts a key into a slot; one that was there is zeroised.
    ///
    /// `iv_key` is random and belongs to this installation alone. Sealing with CBC encrypts the
    /// packet counter under it to get IVs that nobody can predict; everything else ignores it.
    ///
    /// # Panics
    /// If `keymat` is another suite's, or `slot` is beyond the number of slots a shard can have.
    pub fn install(
        &mut self,
        slot: KeySlot,
        suite: Suite,
        direction: Direction,
        keymat: &Keymat,
        iv_key: &[u8; 16],
    ) {
        assert_eq!(keymat.suite(), suite, "KEYMAT is cut for one suite");
        self.slots
            .install(slot, slots::Key::new(direction, keymat, iv_key));
    }

    /// Zeroises a slot. Its packets are `BadIcv` from here on.
    pub fn remove(&mut self, slot: KeySlot) {
        self.slots.remove(slot);
    }

    /// Brings a key near that will soon be needed.
    #[inline]
    pub fn prefetch(&self, slot: KeySlot) {
        self.slots.prefetch(slot);
    }

    /// Verifies and decrypts packets of one suite in place.
    ///
    /// Only `Verdict::Ok` makes a packet fit for use. After `BadIcv` the octets between IV and ICV
    /// mean nothing: a back end may decrypt while it verifies, except that CBC packets are left
    /// as they came. The padding is the caller's to look at.
    pub fn open(&self, suite: Suite, jobs: &mut [EspJob<'_>]) {
        self.each(suite, Direction::Open, jobs, slots::Key::open);
    }

    /// Writes IV and ICV and encrypts, in place, packets of one suite.
    ///
    /// SPI, sequence number, payload and padding are in their places; the IV is made from the
    /// sequence number, which therefore may never repeat under one key (RFC 4106 §2).
    pub fn seal(&self, suite: Suite, jobs: &mut [EspJob<'_>]) {
        self.each(suite, Direction::Seal, jobs, slots::Key::seal);
    }

    #[inline]
    fn each(
        &self,
        suite: Suite,
        direction: Direction,
        jobs: &mut [EspJob<'_>],
        work: impl Fn(&slots::Key, &mut EspJob<'_>) -> Verdict,
    ) {
        for job in jobs.iter().take(PREFETCH_AHEAD) {
            self.prefetch(job.slot);
        }
        for i in 0..jobs.len() {
            if let Some(next) = jobs.get(i + PREFETCH_AHEAD) {
                self.prefetch(next.slot);
            }
            let job = &mut jobs[i];
            job.verdict = match self.slots.key(job.slot) {
                _ if !suite.is_packet_len(job.packet.len()) => Verdict::BadLength,
                Some(key) if key.serves(suite, direction) => work(key, job),
                Some(_) | None => Verdict::BadIcv,
            };
        }
    }
}
