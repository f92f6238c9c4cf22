//! The subscribers' end of the traffic: numbered packets to the far end and from there, or ICMP
//! echo requests that carry the same numbers and come back.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use packet::checksum;
use packet::header::{Icmp, Ipv4};
use zerocopy::{FromBytes, IntoBytes};

use super::board::Board;
use super::source::{Due, Source};
use crate::client::Lease;
use crate::driver::Traffic;
use crate::fleet::{ClientId, Fleet};
use crate::flow::{Account, Mark};
use crate::traffic::{PORT, udp_payload, write};
use crate::wire;

/// RFC 792.
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// With whom subscribers talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An end of ours.
    FarEnd(SocketAddrV4),
    /// Whoever answers echo requests; `None` is the gateway's inner address.
    Echo(Option<Ipv4Addr>),
}

impl Peer {
    /// Our end at this address.
    #[must_use]
    pub fn far_end(address: Ipv4Addr) -> Self {
        Self::FarEnd(SocketAddrV4::new(address, PORT))
    }
}

/// One subscriber as the traffic sees it.
#[derive(Clone, Copy, Debug)]
struct Seat {
    group: u32,
    flow: u32,
    /// Its address and the one it talks with, since it was first up.
    ends: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Whether anything is sent; what is on its way may still come.
    is_open: bool,
}

/// One run of traffic.
pub struct Load {
    peer: Peer,
    seats: Vec<Seat>,
    /// Of each group, the first client: its flows follow in order.
    first: Vec<u32>,
    source: Source,
    /// Of each group.
    accounts: Vec<Account>,
    board: Arc<Board>,
    epoch: Instant,
    begin: Option<Instant>,
    next: Option<Instant>,
    finished: Option<Instant>,
    sent: u64,
    damaged: u64,
}

impl Load {
    /// Nothing to send; groups of so many subscribers, numbered in that order.
    #[must_use]
    pub fn new(peer: Peer, groups: &[usize], epoch: Instant) -> Self {
        let mut seats = Vec::new();
        let mut first = Vec::new();
        for (size, group) in groups.iter().zip(0..) {
            first.push(seats.len() as u32);
            seats.extend((0..*size as u32).map(|flow| Seat {
                group,
                flow,
                ends: None,
                is_open: false,
            }));
        }
        Self {
            peer,
            seats,
            first,
            source: Source::new(epoch),
            accounts: Vec::new(),
            board: Arc::new(Board::new(groups)),
            epoch,
            begin: None,
            next: None,
            finished: None,
            sent: 0,
            damaged: 0,
        }
    }

    /// A run begins: what is sent from here, and the accounts of what comes, one for each group.
    /// Where subscribers are now stands on the new board.
    pub fn begin(
        &mut self,
        at: Instant,
        source: Source,
        accounts: Vec<Account>,
        board: Arc<Board>,
    ) {
        for seat in &self.seats {
            let address = seat.ends.filter(|_| seat.is_open).map(|(own, _)| own);
            board.set(seat.group as usize, seat.flow as usize, address);
        }
        (self.source, self.accounts, self.board) = (source, accounts, board);
        (self.begin, self.next, self.finished) = (Some(at), Some(at), None);
        (self.sent, self.damaged) = (0, 0);
    }

    /// A subscriber is up.
    pub fn open(&mut self, id: ClientId, lease: &Lease) {
        let Some(seat) = self.seats.get_mut(id.0 as usize) else {
            return;
        };
        let other = match self.peer {
            Peer::FarEnd(far) => *far.ip(),
            Peer::Echo(target) => target.unwrap_or(lease.gateway),
        };
        (seat.ends, seat.is_open) = (Some((lease.address, other)), true);
        let (group, flow) = (seat.group as usize, seat.flow as usize);
        self.board.set(group, flow, Some(lease.address));
    }

    /// Nothing more goes to or from a subscriber.
    pub fn close(&mut self, id: ClientId) {
        if let Some(seat) = self.seats.get_mut(id.0 as usize) {
            seat.is_open = false;
            self.board
                .set(seat.group as usize, seat.flow as usize, None);
        }
    }

    /// The address of one that is up.
    #[must_use]
    pub fn an_address(&self) -> Option<Ipv4Addr> {
        let mut open = self.seats.iter().filter(|seat| seat.is_open);
        open.find_map(|seat| seat.ends).map(|(own, _)| own)
    }

    /// What was sent.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What came, of each group.
    #[must_use]
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Packets sent from here.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Packets received here, each once.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.accounts.iter().map(Account::received).sum()
    }

    /// Octets of the IP packets received here.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.accounts.iter().map(|account| account.octets).sum()
    }

    /// Packets that are missing here though later ones of their flow came.
    #[must_use]
    pub fn overdue(&self) -> u64 {
        self.accounts.iter().map(Account::overdue).sum()
    }

    /// Of a hundred packets of the group with the longest latencies, 99 took no longer.
    #[must_use]
    pub fn p99(&self) -> Duration {
        let all = self.accounts.iter().map(Account::latency);
        let p99 = all.map(|latency| latency.value_at_quantile(0.99)).max();
        Duration::from_nanos(p99.unwrap_or_default())
    }

    /// Packets that came with a wrong checksum, or from somebody else.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// From the first packet to the last that was sent.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let span = self.begin.zip(self.finished);
        span.map_or(0.0, |(begin, end)| (end - begin).as_secs_f64())
    }

    /// The mark of a packet that came from where it should.
    fn mark_of(&self, seat: Seat, packet: &[u8]) -> Option<Mark> {
        let payload = match self.peer {
            Peer::FarEnd(far) => udp_payload(packet, far)?,
            Peer::Echo(_) => echo_payload(packet, seat.ends?)?,
        };
        Mark::read(payload)
    }
}

impl Traffic for Load {
    fn handle_packet(&mut self, now: Instant, to: ClientId, packet: &[u8]) {
        let Some(seat) = self.seats.get(to.0 as usize).copied() else {
            return;
        };
        let Some(mark) = self.mark_of(seat, packet) else {
            self.damaged += u64::from(self.begin.is_some());
            return;
        };
        let Some(account) = self.accounts.get_mut(seat.group as usize) else {
            return;
        };
        let now_ns = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        account.note(now_ns, mark.as_bytes(), packet.len(), |flow| {
            flow == seat.flow
        });
    }

    fn load(&mut self, now: Instant, fleet: &mut Fleet) {
        if self.poll_timeout().is_none_or(|next| next > now) {
            return;
        }
        let now_ns = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        let (seats, first, peer) = (&self.seats, &self.first, self.peer);
        let mut count = 0;
        self.source.load(now, now_ns, |due| {
            let id = first[due.group] + due.mark.flow();
            let seat = &seats[id as usize];
            let Some((own, other)) = seat.ends.filter(|_| seat.is_open) else {
                return false;
            };
            let is_loaded = fleet.load(ClientId(id), |room| match peer {
                Peer::FarEnd(far) => {
                    write(room, SocketAddrV4::new(own, PORT), far, &due.mark, due.size);
                }
                Peer::Echo(_) => write_echo(room, own, other, &due),
            });
            count += u64::from(is_loaded);
            is_loaded
        });
        if count > 0 {
            self.finished = Some(now);
        }
        self.sent += count;
        self.next = self.source.next(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let is_stopped = self.board.is_stopped.load(Ordering::Relaxed);
        self.next.filter(|_| !is_stopped)
    }
}

/// Appends an echo request that carries a mark.
fn write_echo(room: &mut Vec<u8>, from: Ipv4Addr, to: Ipv4Addr, due: &Due) {
    let start = room.len();
    let head = Ipv4::LEN + size_of::<Icmp>();
    room.resize(start + due.size.max(head + Mark::LEN), 0);
    let packet = &mut room[start..];
    packet[head..][..Mark::LEN].copy_from_slice(due.mark.as_bytes());
    let mut header = Icmp {
        kind: ECHO_REQUEST,
        code: 0,
        checksum: 0.into(),
        rest: [0.into(), 0.into()],
    };
    // The fill is zero, so it adds nothing to the sum.
    let sum = checksum::add(&[
        checksum::sum(header.as_bytes()),
        checksum::sum(due.mark.as_bytes()),
    ]);
    header.checksum = (!sum).into();
    packet[Ipv4::LEN..][..size_of::<Icmp>()].copy_from_slice(header.as_bytes());
    wire::finish_ip(packet, from, to, Ipv4::ICMP);
}

/// What an echo reply from the one to the other carries, if its checksum is right.
fn echo_payload(packet: &[u8], (own, other): (Ipv4Addr, Ipv4Addr)) -> Option<&[u8]> {
    let (source, destination, range) = wire::ip_payload(packet)?;
    let message = &packet[range];
    let (header, payload) = Icmp::read_from_prefix(message).ok()?;
    let is_right = header.kind == ECHO_REPLY
        && (source, destination) == (other, own)
        && checksum::checksum(message) == 0;
    is_right.then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_comes_back_with_its_mark() {
        let (own, other) = (Ipv4Addr::new(10, 77, 0, 9), Ipv4Addr::new(10, 77, 0, 1));
        let mark = Mark::new(1, 2, 3, 4);
        for size in [0, 60, 64, 1400] {
            let mut room = vec![9; 3];
            let due = Due {
                group: 0,
                mark,
                size,
            };
            write_echo(&mut room, own, other, &due);
            let packet = &mut room[3..];
            assert_eq!(packet.len(), size.max(60));
            assert_eq!(checksum::checksum(&packet[20..]), 0);
            assert!(echo_payload(packet, (own, other)).is_none(), "a request");
            // What a host does with it (RFC 792): the type changes, and the checksum by as much.
            packet[12..20].rotate_left(4);
            packet[20] = ECHO_REPLY;
            let sum = u16::from_be_bytes([packet[22], packet[23]]);
            let sum = checksum::add(&[sum, 0x0800]).to_be_bytes();
            packet[22..24].copy_from_slice(&sum);
            let payload = echo_payload(packet, (own, other)).unwrap();
            assert_eq!(Mark::read(payload), Some(mark));
            assert!(echo_payload(packet, (other, own)).is_none());
            packet[40] ^= 1;
            assert!(echo_payload(packet, (own, other)).is_none(), "damaged");
        }
    }
}
