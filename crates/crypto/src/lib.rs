//! The algorithms Adit speaks, behind our own names.
//!
//! Nothing here knows a protocol: no message is parsed, no state kept between two calls, no clock
//! read and no randomness drawn. Random bytes are an argument everywhere, so that the whole control
//! plane replays from one seed. The primitives are the RustCrypto crates'; this crate gives them
//! the shapes the protocols need and the habits that keys need: zeroised on drop, compared in
//! constant time, never printed. For ESP there are faster ones of our own as well, chosen by
//! processor and held against the crates' results.
//!
//! ```text
//!        IKE                                 PPP                    the data plane
//!   ┌─────┴───────────────┐            ┌──────┴──────┐                    │
//!   ▼      ▼       ▼      ▼            ▼             ▼                    ▼
//!  dh    hash   cipher  Keymat ─ ─ ─ chap         mschap ─ ─ ─ ─ ─ ─ esp::Keys
//!   │                     ╰─ ─ ─ ─ ─ as a Change ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─▲
//!   ▼
//!  Job ──► compute pool ──► Outcome
//! ```
//!
//! - [`Random`], [`Secret`], [`ct_eq`]: what every key is made of and how it is held
//! - [`hash`]: MD5, SHA-1, SHA-2 and HMAC over them, the PRF of IKE
//! - [`cipher`]: CBC for IKE messages
//! - [`dh`]: Diffie-Hellman groups, and the job that takes the work off the protocol thread
//! - [`chap`], [`mschap`]: the answers of RFC 1994 and RFC 2759
//! - [`esp`]: suites, KEYMAT, and the batch interface that opens and seals packets
//! - [`cpu`]: prefetch, the cycle counter, and what the processor has

pub mod chap;
pub mod cipher;
pub mod cpu;
pub mod dh;
pub mod esp;
pub mod hash;
pub mod mschap;
mod random;
mod secret;
#[cfg(test)]
mod vectors;

pub use random::Random;
pub use secret::{Secret, ct_eq};
