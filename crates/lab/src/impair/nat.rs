//! A NAT that forgets: from time to time every port becomes another one.
//!
//! It has two sets of ports, those the clients were given and as many spare ones, and changes from
//! one to the other. What comes to a port of the other set comes to nobody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use packet::checksum;
use packet::header::Ipv4;

/// Where the source port of a UDP datagram is, and its checksum, in an IP packet without options.
const SOURCE: usize = Ipv4::LEN;
const SUM: usize = Ipv4::LEN + 6;

/// The mappings.
#[derive(Debug)]
pub struct Nat {
    every: Duration,
    begin: Instant,
    /// From the port of a client to its spare one.
    spare: BTreeMap<u16, u16>,
    /// And back.
    own: BTreeMap<u16, u16>,
}

impl Nat {
    /// The ports `own` become those of `spare` and back again, each time `every` has passed.
    #[must_use]
    pub fn new(every: Duration, begin: Instant, own: &[u16], spare: &[u16]) -> Self {
        let pairs = || own.iter().copied().zip(spare.iter().copied());
        Self {
            every,
            begin,
            spare: pairs().collect(),
            own: pairs().map(|(own, spare)| (spare, own)).collect(),
        }
    }

    /// How often it has forgotten.
    #[must_use]
    pub fn rebindings(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.begin).as_nanos();
        (elapsed / self.every.as_nanos().max(1)) as u64
    }

    /// Gives an outgoing IP packet the port that stands for its own at this time.
    pub fn translate(&self, now: Instant, packet: &mut [u8]) {
        if self.rebindings(now).is_multiple_of(2) || packet.get(9) != Some(&Ipv4::UDP) {
            return;
        }
        let Some(&[high, low, ..]) = packet.get(SOURCE..SUM + 2) else {
            return;
        };
        let old = u16::from_be_bytes([high, low]);
        let Some(new) = self.spare.get(&old) else {
            return;
        };
        packet[SOURCE..SOURCE + 2].copy_from_slice(&new.to_be_bytes());
        let sum = u16::from_be_bytes([packet[SUM], packet[SUM + 1]]);
        // RFC 768: zero is no checksum, and a checksum of zero is written as ones.
        if sum != 0 {
            let sum = match checksum::update(sum, old, *new) {
                0 => 0xffff,
                sum => sum,
            };
            packet[SUM..SUM + 2].copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// The client's port for one that something came to; `None` if nobody is behind it now.
    #[must_use]
    pub fn back(&self, now: Instant, port: u16) -> Option<u16> {
        let is_spare = !self.rebindings(now).is_multiple_of(2);
        match (self.own.get(&port), self.spare.contains_key(&port)) {
            (Some(own), _) => is_spare.then_some(*own),
            (None, true) => (!is_spare).then_some(port),
            // Nothing that it translates.
            (None, false) => Some(port),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::*;
    use crate::clock;
    use crate::wire::{self, Checksum};

    #[test]
    fn ports_change_and_come_back_and_checksums_stay_right() {
        let begin = clock::now();
        let nat = Nat::new(
            Duration::from_secs(10),
            begin,
            &[30_000, 30_001],
            &[40_000, 40_001],
        );
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 9, 1, 1), 30_001);
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 2), 4500);
        for sum in [Checksum::Full, Checksum::None] {
            for (second, outside) in [(9, 30_001), (10, 40_001), (19, 40_001), (20, 30_001)] {
                let now = begin + Duration::from_secs(second);
                let mut packet = wire::udp(from, to, b"hello", sum);
                nat.translate(now, &mut packet);
                let moved = SocketAddrV4::new(*from.ip(), outside);
                assert_eq!(packet, wire::udp(moved, to, b"hello", sum), "{second}");
                assert_eq!(nat.back(now, outside), Some(30_001));
                let forgotten = if outside == 30_001 { 40_001 } else { 30_001 };
                assert_eq!(nat.back(now, forgotten), None, "{second}");
            }
        }
    }

    #[test]
    fn what_is_not_its_own_passes() {
        let begin = clock::now();
        let nat = Nat::new(Duration::from_secs(1), begin, &[30_000], &[40_000]);
        let now = begin + Duration::from_secs(1);
        assert_eq!(nat.back(now, 500), Some(500));
        let mut esp = vec![0x45; 40];
        esp[9] = Ipv4::ESP;
        let copy = esp.clone();
        nat.translate(now, &mut esp);
        nat.translate(now, &mut [0; 3]);
        assert_eq!(esp, copy);
    }
}
