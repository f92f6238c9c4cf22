//! PPP (RFC 1661) and what runs on it.

mod credentials;
mod link;
mod output;
mod refusal;
mod settings;

pub use credentials::{Credentials, Name, Proof, UserSecret};
pub use link::Link;
pub use output::{Addresses, DownReason, Grant, Negotiated, Output, Phase, Verdict};
pub use refusal::Refusal;
pub use settings::{DEFAULT_MRU, MIN_MRU, Method, Role, Settings};

/// How many LCP Identification packets of a peer are listened to. Windows sends three.
pub const MAX_IDENTS: u32 = 8;

/// The longest control frame that is looked at; data frames are none of our business.
pub const MAX_FRAME: usize = 2048;
