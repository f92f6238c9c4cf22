//! What both ends of the traffic tell each other while they work: who is reachable where, and how
//! far each of them is. Each number has one writer.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Of each group, of each flow: the address of the subscriber; 0 while nothing is to be sent there.
type Addresses = Vec<Vec<AtomicU32>>;

/// The notice board of one run of traffic.
#[derive(Debug)]
pub struct Board {
    addresses: Addresses,
    /// Packets sent by the far end.
    pub far_sent: AtomicU64,
    /// Packets received by the far end.
    pub far_received: AtomicU64,
    /// Octets of IP packets received by the far end.
    pub far_octets: AtomicU64,
    /// Packets that the far end misses though later ones are there.
    pub far_overdue: AtomicU64,
    /// Nothing more is sent.
    pub is_stopped: AtomicBool,
    /// Nothing more is waited for.
    pub is_over: AtomicBool,
}

impl Board {
    /// Nobody is there; the groups have so many flows.
    #[must_use]
    pub fn new(flows: &[usize]) -> Self {
        let addresses = flows
            .iter()
            .map(|flows| (0..*flows).map(|_| AtomicU32::new(0)).collect());
        Self {
            addresses: addresses.collect(),
            far_sent: AtomicU64::new(0),
            far_received: AtomicU64::new(0),
            far_octets: AtomicU64::new(0),
            far_overdue: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    /// Where a flow's subscriber is, or that it is nowhere.
    pub fn set(&self, group: usize, flow: usize, address: Option<Ipv4Addr>) {
        if let Some(entry) = self.addresses.get(group).and_then(|group| group.get(flow)) {
            entry.store(address.map_or(0, u32::from), Ordering::Relaxed);
        }
    }

    /// Where a flow's subscriber is.
    #[must_use]
    pub fn address(&self, group: usize, flow: usize) -> Option<Ipv4Addr> {
        let entry = self.addresses.get(group)?.get(flow)?;
        match entry.load(Ordering::Relaxed) {
            0 => None,
            address => Some(address.into()),
        }
    }
}
