//! L2TPv2, RFC 2661: the control connection between a LAC and an LNS, and the calls inside it.
//!
//! One [`Tunnel`] is one control connection with all its calls. It never opens a socket and never reads a clock: time and
//! randomness are arguments, and everything that has to happen outside is pushed into `out` as an [`Output`]. Both roles are
//! the same machine: `Tunnel::answer` waits for an SCCRQ (LNS), `Tunnel::dial` sends one (LAC).
//!
//! ```text
//!            bytes                                                       Output
//!   peer ───────────► header ─► channel ─────► message ─► tunnel ─────────────► owner
//!                     peek      §5.8            AVPs §4    §7.2 table    TunnelUp, CallOffered, CallUp,
//!   peer ◄─────────── Send ◄─── Ns, Nr, ◄────────────────  session       CallDown, TunnelDown
//!                               windows, ZLB               §7.4 tables
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `header.rs` | the header of control and data messages, §3.1 |
//! | `avp.rs` | attribute-value pairs, §4.1, and their hiding, §4.3 |
//! | `message.rs` | control messages as types, §6 |
//! | `channel.rs` | reliable delivery, §5.8 and Appendix A |
//! | `tunnel.rs` | the control connection, §7.2 |
//! | `session.rs` | calls, §7.4 |
//! | `result.rs`, `refusal.rs` | why a tunnel or a call ended, and what a peer did wrong |
//! | `settings.rs`, `output.rs` | what goes in and what comes out |
//!
//! Data messages are not handled here, only recognised ([`peek`]): the data plane carries them.

mod avp;
mod channel;
mod header;
mod message;
mod output;
mod refusal;
mod result;
mod session;
mod settings;
mod tunnel;

pub use header::{Header, Kind, SessionId, TunnelId, peek};
pub use message::{Opening, peek_opening, unknown_tunnel};
pub use output::{CallParameters, Output, Proxy, ProxyAuthentication, ProxyLcp};
pub use refusal::Refusal;
pub use result::{CallEnd, CallRefusal, ResultCode, TunnelEnd};
pub use settings::{Busy, RETRANSMIT_CAP_MIN, Settings};
pub use tunnel::{Tie, Tunnel};

#[cfg(test)]
mod testing;
