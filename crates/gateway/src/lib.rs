//! An L2TP/IPsec concentrator in one process: threads, sockets, clock, configuration and the
//! operator's face around [`control`] and [`dataplane`].
//!
//! ```text
//!   cli ─► run ────► assembly ◄──── memory ◄── adit-lab
//!          │         │    │         │
//!          │         │    └ workers, compute, slow_path: the threads
//!          └ sockets, adit0, AF_XDP │
//!                                   └ cables in memory: no kernel between gateway and load
//! ```
//!
//! What a start-up does, in order: read and check the configuration, open the control socket, take
//! packet memory, open the ports, start the workers, start the slow path. Each step that fails says
//! why and what to do, and leaves nothing behind. `adit` is [`main`]; a program that wants a gateway
//! inside itself takes one from [`memory`].
//!
//! | file | holds |
//! |---|---|
//! | `cli.rs`, `config.rs`, `show.rs`, `table.rs`, `doctor.rs` | what an operator types, writes and reads |
//! | `run.rs`, `assembly.rs`, `memory.rs` | the parts of a gateway, put together on a host or inside a program |
//! | `workers.rs`, `slow_path.rs`, `compute.rs`, `wake.rs`, `signals.rs` | the threads, and what wakes and ends them |
//! | `port.rs`, `port/` | where frames come in and leave: sockets, `adit0`, AF_XDP |
//! | `host.rs`, `interfaces.rs`, `netlink.rs`, `routes.rs`, `icmp.rs` | what the kernel is told and asked |
//! | `admin.rs`, `log.rs`, `key_log.rs`, `clock.rs` | the socket of `adit show`, log lines, keys for decoders, the time |

mod admin;
mod assembly;
mod cli;
mod clock;
mod compute;
mod config;
mod doctor;
mod host;
mod icmp;
mod interfaces;
mod key_log;
mod log;
pub mod memory;
mod netlink;
mod port;
mod routes;
mod run;
mod show;
mod signals;
mod slow_path;
mod table;
mod wake;
mod workers;

pub use cli::main;
pub use log::escaped;
