//! Numbered packets between the subscribers and one host behind the gateway, both ends ours.
//!
//! ```text
//!   Subscribers (the driver's thread)                    Host (its own thread and namespace)
//!   Numbering ─► tunnels ─► gateway ─► internet ────────────────► UDP socket ─► Account up
//!   Account down ◄─ tunnels ◄─ gateway ◄─ internet ◄───────────── UDP socket ◄─ Numbering
//! ```
//!
//! Both read the same clock, so a packet's latency is that of one way.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use packet::checksum;
use packet::header::{Ipv4, Udp};
use zerocopy::{FromBytes, IntoBytes};

use crate::driver::Traffic;
use crate::fleet::{ClientId, Fleet};
use crate::flow::{Account, Mark, Numbering};
use crate::pace::Pace;
use crate::wire::{self, Checksum};

/// The port of both ends.
pub const PORT: u16 = 9200;

/// What is sent each way.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Tells the packets of this run from those of the last.
    pub run: u32,
    /// Packets each way.
    pub count: u64,
    /// Packets a second each way.
    pub rate: u64,
    /// Octets of IP packets.
    pub sizes: &'static [usize],
    /// The time from which latencies are counted.
    pub epoch: Instant,
    /// When sending begins.
    pub begin: Instant,
}

impl Plan {
    /// Nanoseconds since the epoch.
    #[must_use]
    pub fn ns(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

/// What both threads tell about themselves while they work. Each number has one writer.
#[derive(Debug, Default)]
pub struct Progress {
    /// Packets sent by subscribers.
    pub up_sent: AtomicU64,
    /// Packets received by the host.
    pub up_received: AtomicU64,
    /// Packets sent by the host.
    pub down_sent: AtomicU64,
    /// Packets received by subscribers.
    pub down_received: AtomicU64,
    /// Packets overdue at the host.
    pub up_overdue: AtomicU64,
    /// Packets overdue at the subscribers.
    pub down_overdue: AtomicU64,
    /// Nothing more is sent.
    pub is_stopped: AtomicBool,
    /// Nothing more is waited for.
    pub is_over: AtomicBool,
}

impl Progress {
    /// Packets received at both ends.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.up_received.load(Ordering::Relaxed) + self.down_received.load(Ordering::Relaxed)
    }

    /// Packets overdue at both ends.
    #[must_use]
    pub fn overdue(&self) -> u64 {
        self.up_overdue.load(Ordering::Relaxed) + self.down_overdue.load(Ordering::Relaxed)
    }

    /// Packets sent by both ends.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.up_sent.load(Ordering::Relaxed) + self.down_sent.load(Ordering::Relaxed)
    }
}

/// One end of a run: what it sent, and what it received of the other.
#[derive(Clone, Debug)]
pub struct End {
    /// Packets sent of each flow.
    pub sent: Vec<u64>,
    /// What came from the other end.
    pub account: Account,
    /// When the last packet was sent.
    pub finished: Instant,
}

/// The subscribers' end. Flow `i` is that of the `i`th subscriber.
pub struct Subscribers {
    plan: Plan,
    host: SocketAddrV4,
    flows: Vec<(ClientId, Ipv4Addr)>,
    /// The flow of each client.
    by_client: Vec<Option<u32>>,
    numbering: Numbering,
    pace: Pace,
    account: Account,
    progress: Arc<Progress>,
    next: Instant,
    finished: Instant,
    /// Packets with a wrong checksum, or without.
    damaged: u64,
}

impl Subscribers {
    /// All of them send to `host`, and get as much back.
    #[must_use]
    pub fn new(
        plan: Plan,
        host: Ipv4Addr,
        flows: Vec<(ClientId, Ipv4Addr)>,
        progress: Arc<Progress>,
    ) -> Self {
        let most = flows
            .iter()
            .map(|(id, _)| id.0 as usize + 1)
            .max()
            .unwrap_or(0);
        let mut by_client = vec![None; most];
        for ((id, _), flow) in flows.iter().zip(0..) {
            by_client[id.0 as usize] = Some(flow);
        }
        Self {
            plan,
            host: SocketAddrV4::new(host, PORT),
            by_client,
            numbering: Numbering::new(plan.run, flows.len(), plan.sizes, plan.count),
            pace: Pace::new(plan.rate, plan.begin),
            account: Account::new(plan.run, flows.len()),
            flows,
            progress,
            next: plan.begin,
            finished: plan.begin,
            damaged: 0,
        }
    }

    /// What it comes to.
    #[must_use]
    pub fn finish(self) -> End {
        End {
            sent: self.numbering.sent().to_vec(),
            account: self.account,
            finished: self.finished,
        }
    }

    /// Packets from the host that arrived with a wrong checksum.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Everything was sent.
    #[must_use]
    pub fn has_sent_all(&self) -> bool {
        self.numbering.is_done()
    }
}

impl Traffic for Subscribers {
    fn handle_packet(&mut self, now: Instant, to: ClientId, packet: &[u8]) {
        let Some(payload) = udp_payload(packet, self.host) else {
            self.damaged += 1;
            return;
        };
        let own = self.by_client.get(to.0 as usize).copied().flatten();
        let now_ns = self.plan.ns(now);
        self.account
            .note(now_ns, payload, packet.len(), |flow| own == Some(flow));
        let (received, overdue) = (self.account.received(), self.account.overdue());
        self.progress
            .down_received
            .store(received, Ordering::Relaxed);
        self.progress.down_overdue.store(overdue, Ordering::Relaxed);
    }

    fn load(&mut self, now: Instant, fleet: &mut Fleet) {
        if self.progress.is_stopped.load(Ordering::Relaxed) {
            return;
        }
        let due = self.pace.due(now);
        for _ in 0..due {
            let Some((mark, size)) = self.numbering.next(self.plan.ns(now)) else {
                break;
            };
            let (id, address) = self.flows[mark.flow() as usize];
            let from = SocketAddrV4::new(address, PORT);
            fleet.load(id, |room| write(room, from, self.host, &mark, size));
            self.finished = now;
        }
        self.next = self.pace.next(now);
        self.progress
            .up_sent
            .store(self.numbering.total(), Ordering::Relaxed);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let is_stopped = self.progress.is_stopped.load(Ordering::Relaxed);
        (!self.numbering.is_done() && !is_stopped).then_some(self.next)
    }
}

/// Appends a packet of a flow, its checksums right.
pub(crate) fn write(
    room: &mut Vec<u8>,
    from: SocketAddrV4,
    to: SocketAddrV4,
    mark: &Mark,
    size: usize,
) {
    let start = room.len();
    let head = Ipv4::LEN + Udp::LEN;
    room.resize(start + size.max(head + Mark::LEN), 0);
    room[start + head..][..Mark::LEN].copy_from_slice(mark.as_bytes());
    let sum = Checksum::ZeroBehind(Mark::LEN);
    wire::finish_udp(&mut room[start..], from, to, sum);
}

/// The payload of a datagram from this place with a right checksum.
pub(crate) fn udp_payload(packet: &[u8], from: SocketAddrV4) -> Option<&[u8]> {
    let (source, destination, range) = wire::ip_payload(packet)?;
    let datagram = &packet[range];
    let (header, payload) = Udp::read_from_prefix(datagram).ok()?;
    let pseudo = checksum::pseudo_header(source, destination, Ipv4::UDP, datagram.len() as u16);
    let is_right = checksum::add(&[pseudo, checksum::sum(datagram)]) == 0xffff
        && checksum::checksum(&packet[..Ipv4::LEN]) == 0
        && usize::from(header.length.get()) == datagram.len();
    let is_from = source == *from.ip() && header.source.get() == from.port();
    (is_right && is_from).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_as_long_as_planned_and_read_back_whole() {
        let (from, to) = ([10, 77, 0, 9].into(), [198, 51, 100, 1].into());
        let (from, to) = (SocketAddrV4::new(from, PORT), SocketAddrV4::new(to, PORT));
        let mark = Mark::new(1, 2, 3, 4);
        for size in [0, 60, 64, 1400] {
            let mut room = vec![9; 3];
            write(&mut room, from, to, &mark, size);
            let packet = &mut room[3..];
            assert_eq!(packet.len(), size.max(60));
            assert_eq!(udp_payload(packet, from).and_then(Mark::read), Some(mark));
            assert_eq!(udp_payload(packet, to), None, "from somebody else");
            packet[40] ^= 1;
            assert_eq!(udp_payload(packet, from), None, "damaged");
        }
    }
}
