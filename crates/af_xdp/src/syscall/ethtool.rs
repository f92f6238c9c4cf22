//! `SIOCETHTOOL`: what a driver says about its interface. Layouts from `linux/ethtool.h`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::{Plain, checked, interface_name, socket};

const GDRVINFO: u32 = 0x03;
const GCHANNELS: u32 = 0x3c;

/// Commands whose answer is one number (`struct ethtool_value`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Question {
    /// `ETHTOOL_GTXCSUM`
    TransmitChecksum = 0x16,
    /// `ETHTOOL_GFLAGS`: bit 15 is LRO.
    Flags = 0x25,
    /// `ETHTOOL_GGRO`
    Gro = 0x2b,
}

/// `ETH_FLAG_LRO`
pub(crate) const FLAG_LRO: u32 = 1 << 15;

#[derive(Clone, Copy)]
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Driver {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware: [u8; 32],
    bus: [u8; 32],
    rom: [u8; 32],
    reserved: [u8; 12],
    counts: [u32; 5],
}

/// How many queues an interface has and can have (`struct ethtool_channels`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Channels {
    command: u32,
    pub(crate) receive_max: u32,
    pub(crate) transmit_max: u32,
    pub(crate) other_max: u32,
    pub(crate) combined_max: u32,
    pub(crate) receive: u32,
    pub(crate) transmit: u32,
    pub(crate) other: u32,
    pub(crate) combined: u32,
}

const _: () = assert!(size_of::<Value>() == 8);
const _: () = assert!(size_of::<Driver>() == 196);
const _: () = assert!(size_of::<Channels>() == 36);

// SAFETY: integers only.
unsafe impl Plain for Value {}
// SAFETY: integers only.
unsafe impl Plain for Driver {}
// SAFETY: integers only.
unsafe impl Plain for Channels {}

/// Asks about one interface of the calling thread's network namespace.
pub(crate) struct Ethtool {
    socket: OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Ethtool {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        Ok(Self {
            socket: socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?,
            name: interface_name(name).ok_or(io::ErrorKind::InvalidInput)?,
        })
    }

    /// The answer to a question of one number.
    pub(crate) fn ask(&self, question: Question) -> io::Result<u32> {
        let command = question as u32;
        // SAFETY: every `Question` is answered with a `struct ethtool_value`.
        let answer = unsafe { self.request(Value { command, data: 0 }) }?;
        Ok(answer.data)
    }

    /// The driver's name.
    pub(crate) fn driver(&self) -> io::Result<String> {
        // SAFETY: all-zero octets are a `Plain` value.
        let mut request: Driver = unsafe { std::mem::zeroed() };
        request.command = GDRVINFO;
        // SAFETY: ETHTOOL_GDRVINFO is answered with a `struct ethtool_drvinfo`.
        let answer = unsafe { self.request(request) }?;
        let name = answer.driver.split(|c| *c == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    /// Its queues.
    pub(crate) fn channels(&self) -> io::Result<Channels> {
        // SAFETY: all-zero octets are a `Plain` value.
        let mut request: Channels = unsafe { std::mem::zeroed() };
        request.command = GCHANNELS;
        // SAFETY: ETHTOOL_GCHANNELS is answered with a `struct ethtool_channels`.
        unsafe { self.request(request) }
    }

    /// # Safety
    /// `T` is the structure that the command in its first four octets is answered with.
    unsafe fn request<T: Plain>(&self, mut request: T) -> io::Result<T> {
        let mut ifreq = libc::ifreq {
            ifr_name: self.name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: (&raw mut request).cast(),
            },
        };
        let fd = self.socket.as_raw_fd();
        // SAFETY: the kernel reads `ifreq` and reads and writes one `T` behind `ifru_data`, as the
        // caller promises; both outlive the call.
        checked(unsafe { libc::ioctl(fd, libc::SIOCETHTOOL, &raw mut ifreq) })?;
        Ok(request)
    }
}
