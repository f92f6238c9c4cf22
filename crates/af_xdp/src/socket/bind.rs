//! What a bind needs to know, and why it did not come about.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Socket, pause};
use crate::area::Area;

/// How long a busy queue is waited for: after a close, or a kill, the kernel frees it within
/// 144 ms.
const BIND_PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait between two tries.
const BIND_PAUSE: Duration = Duration::from_millis(2);

/// How frames get from the interface into the area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Zero-copy where the driver has it, otherwise copy.
    #[default]
    Auto,
    /// The kernel copies.
    Copy,
    /// The driver writes into the area itself, or [`Socket::bind`] fails.
    ZeroCopy,
}

/// What [`Socket::bind`] needs to know.
#[derive(Clone, Debug)]
pub struct SocketSettings<'a> {
    /// Interface index.
    pub interface: u32,
    /// Queue of the interface.
    pub queue: u32,
    /// Entries of the fill and completion rings: a power of two.
    pub fill_size: u32,
    /// Entries of the receive ring: a power of two.
    pub receive_size: u32,
    /// Entries of the transmit ring: a power of two.
    pub transmit_size: u32,
    /// Copy or zero-copy. A shared registration inherits the mode and ignores this.
    pub mode: Mode,
    /// Frames the kernel may send for one call in copy mode, where it can be told (else 32).
    pub transmit_budget: u32,
    /// Uses the registration of the area that this socket made, instead of one of its own: locked
    /// memory is then counted once. It must be of the same area and of another interface or queue.
    pub shared: Option<&'a Socket>,
}

impl SocketSettings<'_> {
    /// Rings of 2048, mode [`Mode::Auto`], a registration of its own.
    pub fn new(interface: u32, queue: u32) -> Self {
        Self {
            interface,
            queue,
            fill_size: 2048,
            receive_size: 2048,
            transmit_size: 2048,
            mode: Mode::Auto,
            transmit_budget: 64,
            shared: None,
        }
    }

    pub(super) fn check(&self, area: &Arc<Area>) -> Result<(), BindError> {
        for size in [self.fill_size, self.receive_size, self.transmit_size] {
            if !size.is_power_of_two() {
                return Err(BindError::RingSize(size));
            }
        }
        let Some(shared) = self.shared else {
            return Ok(());
        };
        if !Arc::ptr_eq(area, &shared.area) {
            return Err(BindError::ForeignArea);
        }
        if (shared.interface, shared.queue) == (self.interface, self.queue) {
            return Err(BindError::SameQueue);
        }
        Ok(())
    }

    pub(super) fn address(&self) -> libc::sockaddr_xdp {
        let mode = match self.mode {
            Mode::Auto => 0,
            Mode::Copy => libc::XDP_COPY,
            Mode::ZeroCopy => libc::XDP_ZEROCOPY,
        };
        let (flags, shared) = match self.shared {
            // The kernel takes this flag alone; the rest comes with the registration.
            Some(shared) => (libc::XDP_SHARED_UMEM, raw(shared.fd())),
            None => (mode | libc::XDP_USE_NEED_WAKEUP, 0),
        };
        libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: self.interface,
            sxdp_queue_id: self.queue,
            sxdp_shared_umem_fd: shared,
        }
    }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// Why a socket could not be bound.
#[derive(Debug)]
pub enum BindError {
    /// The kernel has no AF_XDP.
    NoAfXdp,
    /// CAP_NET_RAW is missing.
    NotPermitted,
    /// The area is larger than the locked-memory limit allows (CAP_IPC_LOCK lifts it).
    LockedMemory {
        /// Octets to be locked.
        needed: u64,
    },
    /// Another AF_XDP socket kept the queue for two seconds.
    QueueBusy,
    /// There is no interface with this index.
    NoSuchInterface,
    /// The interface has no such queue, or its driver refuses the chunk size.
    NoSuchQueue,
    /// The driver has no zero-copy mode.
    NoZeroCopy,
    /// A ring size is not a power of two.
    RingSize(u32),
    /// The shared socket belongs to another area.
    ForeignArea,
    /// The shared socket serves the same queue of the same interface.
    SameQueue,
    /// Any other system error, with the step that failed.
    System {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAfXdp => f.write_str("this kernel has no AF_XDP"),
            Self::NotPermitted => f.write_str("an AF_XDP socket needs CAP_NET_RAW"),
            Self::LockedMemory { needed } => write!(
                f,
                "{needed} octets of packet memory cannot be locked: raise the limit of locked \
                 memory (RLIMIT_MEMLOCK) or grant CAP_IPC_LOCK"
            ),
            Self::QueueBusy => f.write_str("another AF_XDP socket is bound to this queue"),
            Self::NoSuchInterface => f.write_str("there is no such interface"),
            Self::NoSuchQueue => {
                f.write_str("the interface has no such queue, or cannot use chunks of this size")
            }
            Self::NoZeroCopy => f.write_str("the driver has no zero-copy mode"),
            Self::RingSize(size) => write!(f, "a ring of {size} is not a power of two"),
            Self::ForeignArea => f.write_str("the shared socket uses another area"),
            Self::SameQueue => f.write_str("the shared socket serves this queue already"),
            Self::System { step, error } => write!(f, "{step}: {error}"),
        }
    }
}

impl std::error::Error for BindError {}

/// Tries until the queue is free or patience ends.
#[expect(
    clippy::disallowed_methods,
    reason = "a bound on waiting for the kernel at start-up"
)]
pub(super) fn while_busy(mut bind: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match bind() {
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY) && start.elapsed() < BIND_PATIENCE =>
            {
                pause(BIND_PAUSE);
            }
            done => return done,
        }
    }
}

pub(super) fn refusal(step: &'static str, error: io::Error, area: &Area) -> BindError {
    match error.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => BindError::NoAfXdp,
        Some(libc::EPERM) => BindError::NotPermitted,
        Some(libc::ENOBUFS) => BindError::LockedMemory {
            needed: area.registered_len() as u64,
        },
        _ => BindError::System { step, error },
    }
}

pub(super) fn bind_refusal(error: io::Error, mode: Mode) -> BindError {
    match error.raw_os_error() {
        Some(libc::EBUSY) => BindError::QueueBusy,
        Some(libc::ENODEV) => BindError::NoSuchInterface,
        Some(libc::EINVAL) => BindError::NoSuchQueue,
        Some(libc::EOPNOTSUPP) if mode == Mode::ZeroCopy => BindError::NoZeroCopy,
        Some(libc::EPERM) => BindError::NotPermitted,
        _ => BindError::System {
            step: "binding the socket",
            error,
        },
    }
}
