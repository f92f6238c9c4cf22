//! [`Program`]: loaded and checked by the kernel; [`Link`]: attached to an interface.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::syscall::bpf;

/// Room for what the verifier says when it refuses a program.
const LOG_LEN: usize = 1 << 20;

/// Octets that a program may add to a frame in a test run.
const TEST_RUN_SLACK: usize = 256;

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
        match self.error.raw_os_error() {
            Some(libc::EPERM) => {
                f.write_str("loading XDP programs needs CAP_BPF and CAP_NET_ADMIN")?
            }
            _ => write!(f, "the kernel refuses the XDP program: {}", self.error)?,
        }
        if !self.log.is_empty() {
            write!(f, "\n{}", self.log)?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// An XDP program in the kernel.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// What [`Program::test_run`] gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// What the program returned.
    pub action: u32,
    /// The frame it left.
    pub frame: Vec<u8>,
    /// Mean time of one run.
    pub duration: Duration,
}

impl Program {
    /// Has the kernel check and compile `instructions`.
    pub fn load(name: &str, instructions: &[u64]) -> Result<Self, LoadError> {
        let error = match bpf::load_xdp(instructions, name, None) {
            Ok(fd) => return Ok(Self(fd)),
            Err(error) => error,
        };
        // A second time, only to hear why.
        let mut log = vec![0; LOG_LEN];
        if let Ok(fd) = bpf::load_xdp(instructions, name, Some(&mut log)) {
            return Ok(Self(fd));
        }
        let said = log.split(|octet| *octet == 0).next().unwrap_or_default();
        let log = String::from_utf8_lossy(said).trim_end().to_owned();
        Err(LoadError { error, log })
    }

    /// Runs it over `frame`, of at least 14 octets, `repeat` times. Redirects are not carried out.
    pub fn test_run(&self, frame: &[u8], repeat: u32) -> io::Result<TestRun> {
        let mut out = vec![0; frame.len() + TEST_RUN_SLACK];
        let result = bpf::test_run(self.0.as_fd(), frame, &mut out, repeat)?;
        out.truncate(result.frame_len);
        Ok(TestRun {
            action: result.action,
            frame: out,
            duration: Duration::from_nanos(u64::from(result.nanoseconds)),
        })
    }

    /// Attaches it to an interface.
    pub fn attach(&self, interface: u32, mode: AttachMode) -> Result<Link, AttachError> {
        let flags = match mode {
            AttachMode::Generic => 1 << 1,
            AttachMode::Native => 1 << 2,
        };
        match bpf::create_link(self.0.as_fd(), interface, flags) {
            Ok(fd) => Ok(Link(fd)),
            Err(error) => Err(AttachError::from(error)),
        }
    }
}

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

impl From<io::Error> for AttachError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            // EBUSY from another link, EEXIST from a program in the other mode.
            Some(libc::EBUSY | libc::EEXIST) => Self::Occupied,
            Some(libc::EOPNOTSUPP) => Self::NoNativeXdp,
            Some(libc::ERANGE) => Self::MtuTooLarge,
            Some(libc::EPERM) => Self::NotPermitted,
            Some(libc::ENODEV) => Self::NoSuchInterface,
            _ => Self::System(error),
        }
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Occupied => "another XDP program is attached",
            Self::NoNativeXdp => "the driver cannot run XDP programs",
            Self::MtuTooLarge => "the MTU is too large for XDP with this driver",
            Self::NotPermitted => "attaching XDP programs needs CAP_BPF and CAP_NET_ADMIN",
            Self::NoSuchInterface => "there is no such interface",
            Self::System(error) => return write!(f, "attaching the XDP program: {error}"),
        })
    }
}

impl std::error::Error for AttachError {}

/// A program attached to an interface. Dropping it, or the end of the process however it comes,
/// takes the program off.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Puts `program` in the place of the one attached; no frame meets neither.
    pub fn update(&self, program: &Program) -> io::Result<()> {
        bpf::update_link(self.0.as_fd(), program.0.as_fd())
    }

    /// Takes the program off and returns when it has gone.
    pub fn detach(self) -> io::Result<()> {
        bpf::detach_link(self.0.as_fd())
    }
}
