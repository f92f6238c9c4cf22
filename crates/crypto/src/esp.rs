//! ESP: suites, KEYMAT, and the batch interface that opens and seals packets (RFC 4303).

mod suite;
use std::fmt;
pub use suite::{Integrity, Keymat, Suite};

/// Which way a key is used: a slot serves one direction of one SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Inbound: verify and decrypt.
    Open,
    /// Outbound: encrypt and sign.
    Seal,
}

/// Where a key lies in [`Keys`]; the caller chooses the numbers, densely from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeySlot(pub u32);

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not yet looked at.
    Pending,
    /// The packet is sealed, or authentic and in clear.
    Ok,
    /// The ICV does not fit, or the slot has no such key.
    BadIcv,
    /// No length that the suite can have.
    BadLength,
}

/// One packet to open or to seal.
#[derive(Debug)]
pub struct EspJob<'f> {
    /// From the ESP header to the end of the ICV.
    pub packet: &'f mut [u8],
    /// The key.
    pub slot: KeySlot,
    /// With extended sequence numbers: the upper half, which does not travel.
    pub esn_high: Option<u32>,
    /// The result.
    pub verdict: Verdict,
}

/// Which implementation does the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The RustCrypto crates.
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
        f.write_str("rustcrypto")
    }
}

/// The keys of one shard.
#[derive(Debug)]
pub struct Keys {
    backend: Backend,
}

impl Keys {
    /// No keys yet.
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }

    /// The back end that works here.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Puts a key into a slot; one that was there is zeroised.
    pub fn install(
        &mut self,
        slot: KeySlot,
        suite: Suite,
        direction: Direction,
        keymat: &Keymat,
        iv_key: &[u8; 16],
    ) {
        let _ = (slot, suite, direction, keymat, iv_key);
    }

    /// Zeroises a slot.
    pub fn remove(&mut self, slot: KeySlot) {
        let _ = slot;
    }

    /// Brings a key near that will soon be needed.
    pub fn prefetch(&self, slot: KeySlot) {
        let _ = slot;
    }

    /// Verifies and decrypts in place.
    pub fn open(&self, suite: Suite, jobs: &mut [EspJob<'_>]) {
        let _ = (suite, jobs);
    }

    /// Writes IV and ICV and encrypts in place.
    pub fn seal(&self, suite: Suite, jobs: &mut [EspJob<'_>]) {
        let _ = (suite, jobs);
    }
}
