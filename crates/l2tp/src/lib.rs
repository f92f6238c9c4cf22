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
//! | `avp.rs`, `avp/hidden.rs` | attribute-value pairs, §4.1, and their hiding, §4.3 |
//! | `message.rs` | control messages as types, §6; messages with tunnel id 0 |
//! | `channel.rs`, `channel/congestion.rs` | reliable delivery, §5.8 and Appendix A |
//! | `session.rs` | the tables of a call, §7.4 |
//! | `tunnel.rs` | the control connection; its table (§7.2) is `tunnel/table.rs` |
//! | `tunnel/receive.rs` | from a datagram to an event of the tables |
//! | `tunnel/establishment.rs` | SCCRQ, SCCRP, SCCCN and tunnel authentication, §5.1 |
//! | `tunnel/calls.rs`, `tunnel/call_messages.rs` | calls as the owner and as the peer sees them |
//! | `tunnel/register.rs` | calls by both ids, offers, deadlines |
//! | `few.rs` | a map with one entry in place, for what most tunnels have one of |
//! | `tunnel/timers.rs` | HELLO, retransmissions, limits |
//! | `result.rs`, `refusal.rs` | why a tunnel or a call ended, and what a peer did wrong |
//! | `settings.rs`, `output.rs` | what goes in and what comes out |
//! | `habits.rs` | how a particular LAC would say it, for those who play one |
//!
//! How a message finds its tunnel is the owner's business. A header with a tunnel id names it. One with id 0 is an SCCRQ
//! or a StopCCN: [`peek_opening`] reads what it says, [`Tunnel::expects`] tells whether a tunnel of that peer takes it,
//! [`Tunnel::meet`] settles a race with a tunnel that we are dialling, and what is left is for a new [`Tunnel::answer`].
//! A control message for a tunnel that nobody knows is answered with [`unknown_tunnel`], not too often, and an SCCRQ that
//! the owner has no room for with [`no_room`].
//!
//! Data messages are not handled here, only recognised ([`peek`]): the data plane carries them.

pub mod avp;
mod channel;
mod few;
mod habits;
mod header;
mod message;
mod output;
mod refusal;
mod result;
mod session;
mod settings;
mod tunnel;

pub use few::Few;
pub use habits::{Habits, Item, Results};
pub use header::{Header, Kind, SessionId, TunnelId, peek};
pub use message::{Opening, no_room, peek_opening, unknown_tunnel};
pub use output::{CallParameters, Output, Proxy, ProxyAuthentication, ProxyLcp};
pub use refusal::Refusal;
pub use result::{CallEnd, CallRefusal, ResultCode, Scope, TunnelEnd};
pub use settings::{Busy, RETRANSMIT_CAP_MIN, Settings};
pub use tunnel::{Tie, Tunnel};

#[cfg(test)]
mod testing;
