//! IKEv1 (RFC 2409): one ISAKMP SA as a machine.
//!
//! ```text
//!   Sa ── Core           cookies, path, policy, what was answered already
//!      ├─ Handshake      main mode: each state is named by what it waits for
//!      ├─ Isakmp         once established: keys, quick modes under way, DPD, lifetime
//!      └─ Children       IPsec SA pairs that live; they outlast the Isakmp
//! ```
//!
//! Every message passes two doors. The first only looks (`open`): parse, decrypt, authenticate,
//! hold against the state; any failure is a [`Refusal`](crate::Refusal) and nothing has changed.
//! The second (`advance`) cannot fail any more.

mod children;
mod core;
mod fragments;
mod informational;
mod isakmp;
mod main_mode;
mod quick_mode;
mod replies;
mod resend;
mod sa;
#[cfg(test)]
mod tests;

pub use children::LiveChildren;
pub use fragments::Fragments;
pub use sa::Sa;
