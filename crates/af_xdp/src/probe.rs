//! What this process may do here.

use std::io;

/// Rights, limits and abilities, as far as they decide whether AF_XDP works.
#[derive(Debug)]
pub struct Probe {
    /// The kernel's release, as `uname -r` says.
    pub kernel: String,
    /// Its first two numbers.
    pub kernel_version: (u32, u32),
    /// Soft limit of locked memory in octets; `None` is unlimited.
    pub memlock: Option<u64>,
    /// Effective capabilities, bit n = capability n.
    pub capabilities: u64,
    /// Whether an AF_XDP socket can be opened.
    pub af_xdp: io::Result<()>,
    /// Whether bpf(2) makes a map.
    pub bpf: io::Result<()>,
}

/// Looks.
pub fn probe() -> io::Result<Probe> {
    todo!()
}
