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
//! Who transforms it is chosen when the keys' owner starts:
//!
//! ```text
//!   Backend        avx512           aesni          rustcrypto
//!   AES-GCM        avx512           aesni          reference
//!   AES + SHA-1,2  avx512           aesni          reference
//!   3DES + SHA-1   tripledes        tripledes      reference
//!   the rest       reference        reference      reference
//! ```
//!
//! [`Keys`] holds keys and nothing else, so that a packet costs few cache misses however many SAs
//! there are: sequence numbers, windows and counters live with their owner.

mod backend;
mod kernel;
mod reference;
mod slots;
mod suite;

#[cfg(target_arch = "x86_64")]
mod aesni;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(target_arch = "x86_64")]
mod tripledes;

// Elsewhere only the reference is available, and its slots stand in for theirs.
#[cfg(not(target_arch = "x86_64"))]
use reference::{self as aesni, self as avx512, self as tripledes};

pub use backend::{Backend, UnknownBackend};
use std::fmt;

use kernel::Kernel;
use slots::{Page, Pages, Slots};
pub use suite::{Integrity, Keymat, Suite, UnknownSuite};

/// SPI and sequence number.
const HEADER_LEN: usize = 8;

/// Which way a key is used: a slot serves one direction of one SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Inbound: verify and decrypt.
    Open,
    /// Outbound: encrypt and sign.
    Seal,
}

/// Where a key lies in [`Keys`], a number below 2^24: bits 8 to 13 name a compartment, which can be taken
/// out whole; the caller chooses the others, the higher ones densely from 0.
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

/// Who does the work of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    Reference,
    Avx512,
    AesNi,
    TripleDes,
}

impl Home {
    #[inline(always)]
    fn of(suite: Suite, backend: Backend) -> Self {
        match backend {
            Backend::Avx512 if avx512::has(suite) => Self::Avx512,
            Backend::AesNi if aesni::has(suite) => Self::AesNi,
            Backend::Avx512 | Backend::AesNi if tripledes::has(suite) => Self::TripleDes,
            Backend::RustCrypto | Backend::Avx512 | Backend::AesNi => Self::Reference,
        }
    }
}

/// The keys of one worker. A slot holds one key, in the form its suite's home wants.
#[derive(Debug)]
pub struct Keys {
    backend: Backend,
    reference: Slots<reference::Key>,
    avx512: Slots<avx512::Key>,
    aesni: Slots<aesni::Key>,
    tripledes: Slots<tripledes::Key>,
}

/// Room for the keys of some neighbouring slots. Memory that nobody has written yet costs whoever
/// writes it first a page fault for every 4 KiB; made here, that need not be who serves packets.
pub struct KeyPage(Room);

enum Room {
    Reference(Page<reference::Key>),
    Avx512(Page<avx512::Key>),
    AesNi(Page<aesni::Key>),
    TripleDes(Page<tripledes::Key>),
}

impl KeyPage {
    /// A vacant page for keys of this suite.
    #[must_use]
    pub fn vacant(suite: Suite, backend: Backend) -> Self {
        Self(match Home::of(suite, backend) {
            Home::Reference => Room::Reference(slots::vacant_page()),
            Home::Avx512 => Room::Avx512(slots::vacant_page()),
            Home::AesNi => Room::AesNi(slots::vacant_page()),
            Home::TripleDes => Room::TripleDes(slots::vacant_page()),
        })
    }

    /// Which page a slot needs for a key of this suite: each has another number.
    #[must_use]
    pub fn number(slot: KeySlot, suite: Suite, backend: Backend) -> u32 {
        (Home::of(suite, backend) as u32) << 24 | slots::page_number(slot)
    }
}

impl fmt::Debug for KeyPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPage(vacant)")
    }
}

/// The keys of one compartment, on their way to another worker.
pub struct Compartment {
    backend: Backend,
    reference: Pages<reference::Key>,
    avx512: Pages<avx512::Key>,
    aesni: Pages<aesni::Key>,
    tripledes: Pages<tripledes::Key>,
}

impl fmt::Debug for Compartment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compartment({})", self.backend)
    }
}

impl Keys {
    /// No keys yet.
    ///
    /// # Panics
    /// If this processor cannot run the back end: see [`Backend::available`].
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        assert!(backend.available(), "{backend}: {}", backend.why());
        Self {
            backend,
            reference: Slots::default(),
            avx512: Slots::default(),
            aesni: Slots::default(),
            tripledes: Slots::default(),
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
        self.remove(slot);
        match Home::of(suite, self.backend) {
            Home::Reference => self
                .reference
                .install(slot, Kernel::new(direction, keymat, iv_key)),
            Home::Avx512 => self
                .avx512
                .install(slot, Kernel::new(direction, keymat, iv_key)),
            Home::AesNi => self
                .aesni
                .install(slot, Kernel::new(direction, keymat, iv_key)),
            Home::TripleDes => self
                .tripledes
                .install(slot, Kernel::new(direction, keymat, iv_key)),
        }
    }

    /// Takes a page for keys in and around `slot`, unless there is one.
    pub fn supply(&mut self, slot: KeySlot, KeyPage(room): KeyPage) {
        match room {
            Room::Reference(page) => self.reference.supply(slot, page),
            Room::Avx512(page) => self.avx512.supply(slot, page),
            Room::AesNi(page) => self.aesni.supply(slot, page),
            Room::TripleDes(page) => self.tripledes.supply(slot, page),
        }
    }

    /// Zeroises a slot. Its packets are `BadIcv` from here on.
    pub fn remove(&mut self, slot: KeySlot) {
        self.reference.remove(slot);
        self.avx512.remove(slot);
        self.aesni.remove(slot);
        self.tripledes.remove(slot);
    }

    /// Takes a compartment out, with all its keys, to be put into the `Keys` of another worker.
    pub fn take(&mut self, compartment: u8) -> Compartment {
        Compartment {
            backend: self.backend,
            reference: self.reference.take(compartment),
            avx512: self.avx512.take(compartment),
            aesni: self.aesni.take(compartment),
            tripledes: self.tripledes.take(compartment),
        }
    }

    /// Puts a compartment in. Keys that were in its place are zeroised.
    ///
    /// # Panics
    /// If it comes from keys of another back end.
    pub fn put(&mut self, compartment: u8, keys: Compartment) {
        assert_eq!(keys.backend, self.backend, "all workers use one back end");
        self.reference.put(compartment, keys.reference);
        self.avx512.put(compartment, keys.avx512);
        self.aesni.put(compartment, keys.aesni);
        self.tripledes.put(compartment, keys.tripledes);
    }

    /// Brings a key near that will soon be needed, if it is of a suite that the back end has.
    #[inline]
    pub fn prefetch(&self, slot: KeySlot) {
        match self.backend {
            Backend::RustCrypto => self.reference.prefetch(slot),
            Backend::Avx512 => self.avx512.prefetch(slot),
            Backend::AesNi => self.aesni.prefetch(slot),
        }
    }

    /// Where a key lies, if it is of a suite that the back end has: for who counts cache lines.
    #[must_use]
    pub fn memory_of(&self, slot: KeySlot) -> Option<std::ops::Range<usize>> {
        match self.backend {
            Backend::RustCrypto => self.reference.memory_of(slot),
            Backend::Avx512 => self.avx512.memory_of(slot),
            Backend::AesNi => self.aesni.memory_of(slot),
        }
    }

    /// Verifies and decrypts packets of one suite in place.
    ///
    /// Only `Verdict::Ok` makes a packet fit for use. After `BadIcv` no plaintext is in it: CBC
    /// packets are left as they came, and of GCM packets what lies between IV and ICV may have been
    /// overwritten with zeros. The padding is the caller's to look at.
    pub fn open(&self, suite: Suite, jobs: &mut [EspJob<'_>]) {
        self.open_with(suite, jobs, &mut |_| ());
    }

    /// Opens, and calls `ahead` once for each index of `jobs`, in ascending order, somewhere
    /// inside the cipher's loop: the place to ask for the cache lines of the next batch, which
    /// arrive while this one is computed.
    pub fn open_with(&self, suite: Suite, jobs: &mut [EspJob<'_>], ahead: &mut impl FnMut(usize)) {
        match Home::of(suite, self.backend) {
            Home::Reference => Kernel::open(&self.reference, suite, jobs, ahead),
            Home::Avx512 => Kernel::open(&self.avx512, suite, jobs, ahead),
            Home::AesNi => Kernel::open(&self.aesni, suite, jobs, ahead),
            Home::TripleDes => Kernel::open(&self.tripledes, suite, jobs, ahead),
        }
    }

    /// Writes IV and ICV and encrypts, in place, packets of one suite.
    ///
    /// SPI, sequence number, payload and padding are in their places; the IV is made from the
    /// sequence number, which therefore may never repeat under one key (RFC 4106 §2).
    pub fn seal(&self, suite: Suite, jobs: &mut [EspJob<'_>]) {
        self.seal_with(suite, jobs, &mut |_| ());
    }

    /// Seals, and calls `ahead` as [`Keys::open_with`] does.
    pub fn seal_with(&self, suite: Suite, jobs: &mut [EspJob<'_>], ahead: &mut impl FnMut(usize)) {
        match Home::of(suite, self.backend) {
            Home::Reference => Kernel::seal(&self.reference, suite, jobs, ahead),
            Home::Avx512 => Kernel::seal(&self.avx512, suite, jobs, ahead),
            Home::AesNi => Kernel::seal(&self.aesni, suite, jobs, ahead),
            Home::TripleDes => Kernel::seal(&self.tripledes, suite, jobs, ahead),
        }
    }
}
