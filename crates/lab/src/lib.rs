//! scratch
pub mod cli;
pub mod client;
pub mod clock;
pub mod dial;
pub mod discard;
pub mod driver;
pub mod fleet;
pub mod interrupt;
pub mod key_log;
pub mod ping;
pub mod sa;
pub mod setup;
pub mod sockets;
pub mod window;
pub mod wire;
