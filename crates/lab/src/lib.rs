//! `adit-lab`: emulated L2TP/IPsec clients, and what they measure.
//!
//! The clients are the gateway's own machines turned round: IKE as initiator, L2TP as LAC, PPP as
//! the side that asks for an address. They dial any gateway, not only Adit. The protocol side is
//! without input and output, like everything else that negotiates here; only the driver and the
//! host read the clock, open sockets and have threads.
//!
//! ```text
//!   dial, demo, blast, ramp        the commands
//!     │
//!   Driver ◄──── Wire: Sockets     one thread: waits, receives, sends          Host
//!     │  ╲────── Pool              public-key work on another                   │ in another
//!     │   ╲───── Traffic           Ping, Subscribers ◄── flow ──────────────────┘ namespace
//!   Fleet                          many clients: whose is it, who is due
//!     ├─ Sas ── Window             ESP: keys, sequence numbers, replays
//!     ├─ Lac                       a tunnel with the calls of many clients
//!     └─ Client                    one: IKE ─► L2TP ─► PPP ─► an address
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `cli.rs` | what may be asked for |
//! | `dial.rs`, `ping.rs` | clients dial, ping, stay, hang up |
//! | `blast.rs`, `blast/` | many dial, come and go, send and get numbered packets |
//! | `scenario.rs`, `impair.rs` | what a blast is made of, and a worse path for it |
//! | `ramp.rs`, `ramp/` | the highest rate that passes |
//! | `demo.rs`, `summary.rs` | clients of every kind, a million packets, one summary |
//! | `client.rs` | one client, its stages, and why it failed |
//! | `profile.rs`, `profile/` | what kinds of clients send, from `configs/profiles` |
//! | `replay.rs`, `replay/` | one client of a profile, and what it thinks of the gateway |
//! | `fleet.rs`, `lac.rs` | many clients behind one wire, the NATs in front of them, tunnels they share |
//! | `sa.rs`, `window.rs`, `wire.rs` | ESP, and the bytes around a packet |
//! | `flow.rs`, `pace.rs`, `traffic.rs`, `host.rs`, `datagrams.rs` | numbered packets, their rate, both ends |
//! | `decode.rs`, `decode/` | captures, read with the parsers of the gateway |
//! | `driver.rs`, `wires.rs`, `sockets.rs`, `xdp.rs`, `clock.rs` | the outside world |
//! | `memory.rs` | the gateway in this process instead of the outside world |
//! | `plan.rs`, `plan/` | what a gateway has to be for what its subscribers do |
//! | `report.rs`, `report/` | pages with tables and plots, of whoever has some |
//! | `setup.rs`, `discard.rs`, `key_log.rs`, `terminal.rs` | what is told |

pub mod blast;
pub mod cli;
pub mod client;
pub mod clock;
pub mod datagrams;
pub mod decode;
pub mod demo;
pub mod dial;
pub mod discard;
pub mod driver;
pub mod fleet;
pub mod flow;
pub mod host;
pub mod impair;
pub mod interrupt;
pub mod key_log;
pub mod lac;
pub mod memory;
pub mod pace;
pub mod ping;
pub mod plan;
pub mod profile;
pub mod ramp;
pub mod replay;
pub mod report;
pub mod sa;
pub mod scenario;
pub mod seed;
pub mod setup;
pub mod sockets;
pub mod summary;
pub mod terminal;
pub mod traffic;
pub mod window;
pub mod wire;
pub mod wires;
pub mod xdp;
