//! A frame, and the headers peeled off it.
//!
//! A received packet stays where it was received: in one chunk of packet memory, from the port
//! it came in by to the port it leaves by. What changes is the *window* over it. Opening a layer
//! moves the head of the window forward, adding a header moves it back into the room in front,
//! padding and ICV go into the room behind. The payload itself never moves.
//!
//! ```text
//!   chunk   |···headroom···|ETH|IP|UDP|ESP|IV| L2TP | PPP | IP packet |pad|ICV|···tailroom···|
//!   window                             ^head ─────────────────────────────► ^tail
//! ```
//!
//! - [`frame`]: [`Frame`], the window, and [`Chunk`], what it looks upon
//! - [`header`]: the fixed headers as the RFCs draw them
//! - [`checksum`]: RFC 1071 sums and RFC 1624 updates
//! - [`endpoint`]: an address and a port, of either family, in 18 bytes

pub mod checksum;
pub mod endpoint;
pub mod frame;
pub mod header;

pub use endpoint::Endpoint;
pub use frame::{Chunk, Frame};
