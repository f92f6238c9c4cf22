//! The three maps a classifier needs.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::syscall::bpf::{Map, MapKind};

/// IPv4 prefixes, looked up by longest match.
#[derive(Debug)]
pub struct LpmTrie(Map);

impl LpmTrie {
    /// A trie of at most `max_entries` prefixes with values of `value_size` octets.
    pub fn new(name: &str, value_size: u32, max_entries: u32) -> io::Result<Self> {
        Map::create(MapKind::LpmTrie, 8, value_size, 1, max_entries, name).map(Self)
    }

    /// Adds a prefix or replaces its value.
    pub fn insert(&self, address: Ipv4Addr, length: u8, value: &[u8]) -> io::Result<()> {
        self.0.update(&Self::key(address, length), value)
    }

    /// Removes a prefix.
    pub fn remove(&self, address: Ipv4Addr, length: u8) -> io::Result<()> {
        self.0.delete(&Self::key(address, length))
    }

    /// The descriptor, for [`super::Assembler::load_map`].
    pub fn fd(&self) -> RawFd {
        self.0.fd()
    }

    /// `struct bpf_lpm_trie_key_u8`: length in host order, address in network order.
    fn key(address: Ipv4Addr, length: u8) -> [u8; 8] {
        let mut key = [0; 8];
        key[..4].copy_from_slice(&u32::from(length).to_ne_bytes());
        key[4..].copy_from_slice(&address.octets());
        key
    }
}

/// AF_XDP sockets by queue.
#[derive(Debug)]
pub struct SocketMap(Map);

impl SocketMap {
    /// A map for the queues 0 to `queues` - 1.
    pub fn new(name: &str, queues: u32) -> io::Result<Self> {
        Map::create(MapKind::Xskmap, 4, 4, 1, queues, name).map(Self)
    }

    /// Gives a queue to a socket.
    pub fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let value = socket.as_raw_fd().to_ne_bytes();
        self.0.update(&queue.to_ne_bytes(), &value)
    }

    /// Takes a queue from its socket; a queue without one is no error.
    pub fn clear(&self, queue: u32) -> io::Result<()> {
        match self.0.delete(&queue.to_ne_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// The descriptor, for [`super::Assembler::load_map`].
    pub fn fd(&self) -> RawFd {
        self.0.fd()
    }
}

/// Numbers of 64 bits that each CPU counts for itself.
#[derive(Debug)]
pub struct Counters(Map);

impl Counters {
    /// `count` numbers, all 0.
    pub fn new(name: &str, count: u32) -> io::Result<Self> {
        let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
        let cpus = cpus(possible.trim()).ok_or(io::ErrorKind::InvalidData)?;
        Map::create(MapKind::PerCpuArray, 4, 8, cpus, count, name).map(Self)
    }

    /// One of the numbers, summed over the CPUs.
    pub fn read(&self, index: u32) -> io::Result<u64> {
        let mut values = vec![0; self.0.value_size()];
        self.0.lookup(&index.to_ne_bytes(), &mut values)?;
        let (values, _) = values.as_chunks();
        Ok(values.iter().map(|value| u64::from_ne_bytes(*value)).sum())
    }

    /// The descriptor, for [`super::Assembler::load_map`].
    pub fn fd(&self) -> RawFd {
        self.0.fd()
    }
}

/// How many CPUs a list like `0-3,8` of sysfs makes room for: the highest number and one.
fn cpus(list: &str) -> Option<usize> {
    let ends = list.split(',').map(|range| {
        let end = range.rsplit('-').next()?;
        end.parse::<usize>().ok()
    });
    let ends: Option<Vec<_>> = ends.collect();
    ends?.into_iter().max()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_cpus_ends_at_its_highest() {
        assert_eq!(cpus("0"), Some(1));
        assert_eq!(cpus("0-1"), Some(2));
        assert_eq!(cpus("0,2-5"), Some(6));
        assert_eq!(cpus(""), None);
        assert_eq!(cpus("0-x"), None);
    }

    #[test]
    fn a_key_is_length_then_address() {
        let key = LpmTrie::key(Ipv4Addr::new(10, 64, 0, 0), 14);
        assert_eq!(key[..4], 14u32.to_ne_bytes());
        assert_eq!(key[4..], [10, 64, 0, 0]);
    }
}
