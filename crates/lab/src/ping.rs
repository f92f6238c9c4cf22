//! ICMP echo through every tunnel of a fleet.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use packet::checksum;
use packet::header::{Icmp, Ipv4};
use zerocopy::{FromBytes, IntoBytes};

use crate::driver::Traffic;
use crate::fleet::{ClientId, Fleet};
use crate::wire;

/// RFC 792.
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
/// Octets behind the ICMP header, as in ping(8).
const FILL: usize = 56;
/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// What came of the echo requests of all clients.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests sent.
    pub sent: u64,
    /// Requests answered, each once.
    pub answered: u64,
    /// Answers to what had been answered, or not been asked.
    pub unasked: u64,
    /// How long the answers took, unordered.
    pub took: Vec<Duration>,
}

/// One host, asked by each client.
pub struct Ping {
    target: Ipv4Addr,
    clients: Vec<(ClientId, Ipv4Addr)>,
    interval: Duration,
    left: u16,
    next: Option<Instant>,
    last: Option<Instant>,
    waiting: HashMap<(ClientId, u16), Instant>,
    tally: Tally,
}

impl Ping {
    /// Each client asks `count` times, once in an interval, from `begin` on.
    #[must_use]
    pub fn new(
        target: Ipv4Addr,
        clients: Vec<(ClientId, Ipv4Addr)>,
        count: u16,
        interval: Duration,
        begin: Instant,
    ) -> Self {
        Self {
            target,
            clients,
            interval,
            left: count,
            next: (count > 0).then_some(begin),
            last: None,
            waiting: HashMap::new(),
            tally: Tally::default(),
        }
    }

    /// Everything was sent, and answered or given up.
    #[must_use]
    pub fn is_done(&self, now: Instant) -> bool {
        let is_late = self.last.is_none_or(|last| now >= last + PATIENCE);
        self.next.is_none() && (self.waiting.is_empty() || is_late)
    }

    /// The result so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn request(&self, from: Ipv4Addr) -> [u8; Ipv4::LEN + size_of::<Icmp>() + FILL] {
        let mut packet = [0; Ipv4::LEN + size_of::<Icmp>() + FILL];
        let mut header = Icmp {
            kind: ECHO_REQUEST,
            code: 0,
            checksum: 0.into(),
            rest: [0.into(), self.left.into()],
        };
        // The fill is zero, so the header's sum is the message's.
        header.checksum = checksum::checksum(header.as_bytes()).into();
        packet[Ipv4::LEN..][..size_of::<Icmp>()].copy_from_slice(header.as_bytes());
        wire::finish_ip(&mut packet, from, self.target, Ipv4::ICMP);
        packet
    }
}

impl Traffic for Ping {
    fn handle_packet(&mut self, now: Instant, to: ClientId, packet: &[u8]) {
        let Some((from, _, payload)) = wire::ip_payload(packet) else {
            return;
        };
        let message = &packet[payload];
        let Ok((header, _)) = Icmp::read_from_prefix(message) else {
            return;
        };
        if header.kind != ECHO_REPLY || from != self.target || checksum::checksum(message) != 0 {
            return;
        }
        match self.waiting.remove(&(to, header.rest[1].get())) {
            Some(sent) => {
                self.tally.answered += 1;
                self.tally.took.push(now - sent);
            }
            None => self.tally.unasked += 1,
        }
    }

    fn load(&mut self, now: Instant, fleet: &mut Fleet) {
        let Some(next) = self.next.filter(|next| *next <= now) else {
            return;
        };
        for (id, address) in self.clients.clone() {
            let packet = self.request(address);
            self.tally.sent += 1;
            if fleet.load(id, |room| room.extend_from_slice(&packet)) {
                self.waiting.insert((id, self.left), now);
            }
        }
        self.last = Some(now);
        self.left -= 1;
        self.next = (self.left > 0).then(|| next + self.interval);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next.or(self.last.map(|last| last + PATIENCE))
    }
}
