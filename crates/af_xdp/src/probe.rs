//! What this process may do here, and why not: the facts behind `adit doctor`.

use std::fs;
use std::io;

use crate::bpf::Counters;
use crate::syscall;

/// Rights, limits and abilities, as far as they decide whether AF_XDP works.
#[derive(Debug)]
pub struct Probe {
    /// The kernel's release, as `uname -r` says.
    pub kernel: String,
    /// Its first two numbers.
    pub kernel_version: (u32, u32),
    /// Soft limit of locked memory in octets; `None` is unlimited.
    pub memlock: Option<u64>,
    /// Effective capabilities, bit n = capability n of `linux/capability.h`.
    pub capabilities: u64,
    /// Whether an AF_XDP socket can be opened.
    pub af_xdp: io::Result<()>,
    /// Whether bpf(2) makes a map.
    pub bpf: io::Result<()>,
}

/// A capability that the product needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Capability {
    /// Attach programs, make TUN devices, set neighbours and routes.
    NetAdmin = 12,
    /// Open AF_XDP and raw sockets.
    NetRaw = 13,
    /// Lock packet memory beyond the limit.
    IpcLock = 14,
    /// Make maps and load programs.
    Bpf = 39,
}

impl Probe {
    /// The oldest kernel that has all this crate needs.
    pub const OLDEST_KERNEL: (u32, u32) = (5, 16);

    /// Whether the process has a capability.
    pub fn has(&self, capability: Capability) -> bool {
        self.capabilities & (1 << capability as u32) != 0
    }

    /// Whether so many octets of packet memory can be locked, as far as limits can tell.
    pub fn can_lock(&self, octets: u64) -> bool {
        self.has(Capability::IpcLock) || self.memlock.is_none_or(|limit| octets <= limit)
    }
}

/// Looks.
pub fn probe() -> io::Result<Probe> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel = kernel.trim().to_owned();
    let limits = fs::read_to_string("/proc/self/limits")?;
    // Of the thread, because capabilities belong to threads.
    let status = fs::read_to_string("/proc/thread-self/status")?;
    Ok(Probe {
        kernel_version: version(&kernel).unwrap_or((0, 0)),
        kernel,
        memlock: memlock(&limits),
        capabilities: capabilities(&status).unwrap_or(0),
        af_xdp: syscall::socket(libc::AF_XDP, libc::SOCK_RAW, 0).map(drop),
        bpf: Counters::new("adit_probe", 1).map(drop),
    })
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The soft limit in `/proc/self/limits`; what cannot be read is no limit of ours.
fn memlock(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn capabilities(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_its_version() {
        assert_eq!(version("6.1.0-28-amd64"), Some((6, 1)));
        assert_eq!(version("5.15.0"), Some((5, 15)));
        assert_eq!(version("6.1-rc3"), Some((6, 1)));
        assert_eq!(version("banana"), None);
    }

    #[test]
    fn limits_are_octets_or_unlimited() {
        let line = |soft| format!("Max locked memory         {soft}              9  bytes\n");
        assert_eq!(memlock(&line("8388608")), Some(8_388_608));
        assert_eq!(memlock(&line("unlimited")), None);
    }

    #[test]
    fn capabilities_are_bits() {
        let status = "Name:\tx\nCapEff:\t0000008000007000\n";
        let mut probe = probe().unwrap();
        probe.capabilities = capabilities(status).unwrap();
        probe.memlock = Some(4096);
        assert!(probe.has(Capability::Bpf) && probe.has(Capability::NetAdmin));
        assert!(probe.can_lock(u64::MAX));
        probe.capabilities = 0;
        assert!(probe.can_lock(4096) && !probe.can_lock(4097));
    }
}
