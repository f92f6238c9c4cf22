//! AF_XDP on `libc` alone: packet memory, rings, sockets, and the eBPF classifier that feeds them.
//!
//! ```text
//!                     fill ring                         receive ring
//!   pool ──Chunk──► Socket::fill ──► kernel, driver ──► Socket::receive ──Chunk──► worker
//!    ▲                                    ▲                                          │
//!    │                                    │ classifier (eBPF): tunnel and pool       ▼
//!    └─Chunk── Socket::complete ◄── kernel, driver ◄── Socket::transmit ◄──Chunk── worker
//!                completion ring                        transmit ring
//! ```
//!
//! An [`Area`] is one piece of memory cut into chunks, and it gives each [`Chunk`] out exactly once.
//! Whoever holds the value owns the bytes; while the kernel has them there is no value. So callers
//! need no `unsafe`, and a chunk can be in one place only.
//!
//! ```no_run
//! # use af_xdp::{*, bpf::AttachMode, classifier::{Classifier, Description}, interface::Interface};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = AreaSettings { chunks: 8192, chunk_size: 2048, huge: HugePages::Prefer };
//! let (area, mut pool) = Area::new(settings)?;
//! let eth1 = Interface::by_name("eth1")?;
//! let mut socket = Socket::bind(&area, &SocketSettings::new(eth1.index, 0), &mut pool)?;
//! let classifier = Classifier::load(&Description::default(), eth1.receive_queues)?;
//! classifier.serve(0, &socket)?;
//! let link = classifier.attach(eth1.index, AttachMode::Native)?;
//! for _turn in 0..1000 {
//!     let mut burst = Vec::new();
//!     socket.receive(64, |chunk, offset, len| burst.push((chunk, offset, len)));
//!     for (chunk, offset, len) in burst {
//!         if let Err(chunk) = socket.transmit(chunk, offset, len) {
//!             pool.push(chunk);
//!         }
//!     }
//!     socket.kick()?;
//!     socket.complete(|chunk| pool.push(chunk));
//!     socket.fill(|| pool.pop());
//! }
//! link.detach()?;
//! pool.extend(socket.into_chunks());
//! # Ok(())
//! # }
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`area`] | packet memory and its chunks |
//! | [`socket`] | one queue of one interface: bind, fill, receive, transmit, complete |
//! | [`bpf`] | eBPF: assembler, maps, programs, links |
//! | [`classifier`] | the XDP program: what goes to the workers, what stays with the host |
//! | [`interface`] | what an interface is and can do |
//! | [`tun`] | multi-queue TUN devices |
//! | [`probe`] | what this process may do here |
//! | [`drops()`] | what a socket of any kind lost because nobody read it |
//! | `syscall`, `ring` | the system calls and the shared rings; with `area` the only `unsafe` code |

pub mod area;
pub mod bpf;
pub mod classifier;
pub mod interface;
pub mod probe;
pub mod socket;
pub mod tun;

mod drops;
mod ring;
mod syscall;

pub use area::{Area, AreaSettings, Chunk, HugePages, Pages};
pub use drops::drops;
pub use socket::{BindError, Mode, Socket, SocketSettings, Statistics};
