//! eBPF: assembler, maps, programs, links.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

/// Why the kernel did not take a program.
#[derive(Debug)]
pub struct LoadError {
    /// What the system said.
    pub error: io::Error,
    /// What the verifier said.
    pub log: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for LoadError {}

/// Where in the receive path an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the kernel's generic receive path: slow, any driver.
    Generic,
}

/// Why a program could not be attached.
#[derive(Debug)]
pub enum AttachError {
    /// Another XDP program is attached.
    Occupied,
    /// The driver cannot run XDP programs.
    NoNativeXdp,
    /// The MTU is too large for XDP with this driver.
    MtuTooLarge,
    /// CAP_NET_ADMIN and CAP_BPF are needed.
    NotPermitted,
    /// There is no such interface.
    NoSuchInterface,
    /// Any other system error.
    System(io::Error),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for AttachError {}

/// A program attached to an interface; dropping it takes the program off.
#[derive(Debug)]
pub struct Link {
    #[expect(dead_code)]
    fd: OwnedFd,
}

impl Link {
    /// Takes the program off and returns when it has gone.
    pub fn detach(self) -> io::Result<()> {
        todo!()
    }
}
