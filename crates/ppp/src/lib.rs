//! PPP (RFC 1661) and what runs on it: one subscriber's link, from either end.
//!
//! A [`Link`] is a machine without sockets, threads, clock or randomness of its own. It is told
//! what came and what time it is, and says what to do in a list of [`Output`]s. It sees control
//! frames only; IP passes it by on the fast path once [`Output::Up`] is out.
//!
//! ```text
//!                 handle_input ─► sort by protocol and phase ─► Discarded
//!                                  │       │       │      ╲
//!  phase   Establish               ▼       │       │       ╲ unsupported: Protocol-Reject
//!                                 LCP      │       │
//!          Authenticate            │ LcpUp ▼       │
//!                                  │   PAP, CHAP,  │
//!                                  │   MS-CHAPv2 ──┼─► Authenticate ─► authorize
//!          Network                 │               ▼
//!                                  │             IPCP ─► Up
//!          Terminate               ▼
//!                                Down
//! ```
//!
//! - [`Link`]: the session; sorts frames, carries the news between the machines below
//! - [`Settings`], [`Role`], [`Method`]: what an operator decides
//! - [`Output`], [`Verdict`], [`DownReason`], [`Refusal`]: what is said across the border
//! - [`Credentials`], [`UserSecret`]: what a peer shows, and what it is compared with
//! - `automaton`: the table of RFC 1661 §4.1; `negotiation`: what its actions do, for LCP and IPCP
//! - [`Habits`]: how a particular client would ask, for those who play one
//! - `lcp`, `ipcp`: what their options mean; `options`, `frame`: what they look like
//! - `auth`: PAP, CHAP, MS-CHAPv2, both ends; `echo`: the life sign
//!
//! Where it departs from RFC 1661 (`grep -r "Departs from"`), it is to survive what datagrams do
//! and a line does not: copies, and a peer that begins to listen late.

mod auth;
mod automaton;
mod credentials;
mod echo;
pub mod frame;
mod habits;
mod ipcp;
mod lcp;
mod link;
mod negotiation;
pub mod options;
mod output;
mod refusal;
mod settings;
#[cfg(test)]
mod testing;

pub use credentials::{Credentials, Name, Proof, UserSecret};
pub use habits::{Asked, Habits, Network};
pub use link::Link;
pub use output::{Addresses, DownReason, Grant, Negotiated, Output, Phase, Verdict};
pub use refusal::Refusal;
pub use settings::{DEFAULT_MRU, MIN_MRU, Method, Role, Settings};

/// How many LCP Identification packets of a peer are listened to. Windows sends three.
pub const MAX_IDENTS: u32 = 8;

/// The longest control frame that is looked at; data frames are none of our business.
pub const MAX_FRAME: usize = 2048;
