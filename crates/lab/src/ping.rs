//! ICMP echo through every tunnel of a fleet.

use std::collections::{BTreeSet, HashMap};
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
/// How long the way to the host may take to open: pppd's peer, for one, has an address before it
/// has an interface that forwards.
const OPENING: Duration = Duration::from_secs(5);

/// What came of the echo requests of all clients.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests sent, beyond those that found the way open.
    pub sent: u64,
    /// Requests answered, each once.
    pub answered: u64,
    /// Answers to what had been answered, or not been asked.
    pub unasked: u64,
    /// How long it took until every client had had an answer; `None` if one never had.
    pub open_after: Option<Duration>,
    /// How long the answers took, unordered.
    pub took: Vec<Duration>,
}

/// One host, asked by each client: first until all have had an answer, then a number of times.
pub struct Ping {
    target: Ipv4Addr,
    clients: Vec<(ClientId, Ipv4Addr)>,
    interval: Duration,
    begin: Instant,
    /// Clients that have not had an answer.
    unheard: BTreeSet<ClientId>,
    left: u16,
    sequence: u16,
    next: Option<Instant>,
    last: Instant,
    waiting: HashMap<(ClientId, u16), Request>,
    tally: Tally,
}

struct Request {
    at: Instant,
    is_counted: bool,
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
            interval,
            begin,
            unheard: clients.iter().map(|(id, _)| *id).collect(),
            left: count,
            sequence: 0,
            next: (!clients.is_empty()).then_some(begin),
            last: begin,
            waiting: HashMap::new(),
            tally: Tally::default(),
            clients,
        }
    }

    /// Everything was sent, and answered or given up.
    #[must_use]
    pub fn is_done(&self, now: Instant) -> bool {
        self.next.is_none() && (self.waiting.is_empty() || now >= self.last + PATIENCE)
    }

    /// The result so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether the requests that go out count.
    fn is_open(&self, now: Instant) -> bool {
        self.unheard.is_empty() || now >= self.begin + OPENING
    }

    fn request(&self, from: Ipv4Addr) -> [u8; Ipv4::LEN + size_of::<Icmp>() + FILL] {
        let mut packet = [0; Ipv4::LEN + size_of::<Icmp>() + FILL];
        let mut header = Icmp {
            kind: ECHO_REQUEST,
            code: 0,
            checksum: 0.into(),
            rest: [0.into(), self.sequence.into()],
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
        let Some(request) = self.waiting.remove(&(to, header.rest[1].get())) else {
            self.tally.unasked += 1;
            return;
        };
        if self.unheard.remove(&to) && self.unheard.is_empty() {
            self.tally.open_after = Some(now - self.begin);
        }
        if request.is_counted {
            self.tally.answered += 1;
            self.tally.took.push(now - request.at);
        }
    }

    fn load(&mut self, now: Instant, fleet: &mut Fleet) {
        let Some(next) = self.next.filter(|next| *next <= now) else {
            return;
        };
        let is_counted = self.is_open(now);
        if is_counted && self.left == 0 {
            self.next = None;
            return;
        }
        for (id, address) in self.clients.clone() {
            let packet = self.request(address);
            let is_loaded = fleet.load(id, |room| room.extend_from_slice(&packet));
            if is_loaded {
                let request = Request {
                    at: now,
                    is_counted,
                };
                self.waiting.insert((id, self.sequence), request);
            }
            self.tally.sent += u64::from(is_counted);
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.left -= u16::from(is_counted);
        self.last = now;
        self.next = (self.left > 0).then(|| next + self.interval);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next.or(Some(self.last + PATIENCE))
    }
}
