//! ISAKMP and IKEv1: how two ends agree on keys for ESP (RFC 2407, 2408, 2409).
//!
//! One [`v1::Sa`] is one ISAKMP SA, from the first message of its main mode to its end, with the
//! quick modes under it and the IPsec SAs they made. It is a machine without input or output of its
//! own: messages, time and randomness are arguments, and what it wants done is pushed as
//! [`Output`]. Public-key work leaves as [`Output::Compute`] and comes back through
//! [`v1::Sa::handle_computed`].
//!
//! ```text
//!   initiator                         responder
//!       │  MM1  SA, VID…                 │            cookies, offers
//!       │ ─────────────────────────────► │
//!       │  MM2  SA, VID…                 │            one transform, as it was offered
//!       │ ◄───────────────────────────── │
//!       │  MM3  KE, Ni, NAT-D…           │
//!       │ ─────────────────────────────► │ ─► Compute
//!       │  MM4  KE, Nr, NAT-D…           │
//!       │ ◄───────────────────────────── │
//!       │  MM5* IDii, HASH_I             │            on port 4500 if there is a NAT
//!       │ ═════════════════════════════► │ ─► Established
//!       │  MM6* IDir, HASH_R             │
//!       │ ◄═════════════════════════════ │
//!       │  QM1* HASH SA Ni [KE] [ID ID] [NAT-OA NAT-OA]
//!       │ ═════════════════════════════► │ ─► ChildUp, before QM2 leaves
//!       │  QM2* …                        │
//!       │ ◄═════════════════════════════ │
//!       │  QM3* HASH                     │
//!       │ ═════════════════════════════► │ ─► ChildConfirmed
//! ```
//!
//! Reading order:
//!
//! - [`message`]: the header and the chain of payloads, clear and sealed
//! - [`payload`]: one module for each payload that has a body of its own
//! - [`proposal`]: what is offered, what is chosen, and why the rest was refused
//! - [`keys`]: SKEYID and its family, KEYMAT, IVs, the HASHes
//! - [`nat`]: vendor IDs, NAT-D, encapsulation modes, the move to port 4500
//! - [`policy`]: what an operator decides
//! - [`habits`]: how a particular client would say it, for those who play one
//! - [`key_log`]: keys as text, for decoding captures
//! - [`v1`]: main mode, quick mode, informational, and the [`v1::Sa`] that holds them
//! - [`Output`] and [`Refusal`]: everything that comes out

pub mod habits;
pub mod key_log;
pub mod keys;
pub mod message;
pub mod nat;
mod output;
pub mod payload;
pub mod policy;
pub mod proposal;
mod refusal;
pub mod v1;

pub use habits::Habits;
pub use message::{Cookie, Cookies, Header, Spi, peek};
pub use nat::NatSituation;
pub use output::{
    Child, ChildEnd, DownReason, Established, KeyLog, Lifetime, Output, Refused, WhyRefused,
};
pub use payload::identification::{Identification, Identity};
pub use policy::Policy;
pub use refusal::Refusal;

/// What the machine needs from whoever owns it.
pub trait Environment {
    /// Fills a buffer with unpredictable bytes.
    fn random(&mut self, bytes: &mut [u8]);

    /// Reserves an SPI for inbound packets; `None` if there is none left. It is released by the
    /// owner after `ChildDown`, or at once if no `ChildUp` follows.
    fn allocate_spi(&mut self) -> Option<Spi>;
}
