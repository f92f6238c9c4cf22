//! The network's end of the traffic, behind the gateway, and the thread that serves it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use packet::header::{Ipv4, Udp};

use super::board::Board;
use super::line::{Line, Served};
use super::source::Source;
use crate::clock;
use crate::datagrams::{self, WAIT_MAX};
use crate::flow::{Account, Mark};
use crate::traffic::PORT;

/// The far end without its socket: what it sends, and what it makes of what comes.
pub struct FarEnd {
    source: Source,
    /// Of each group.
    accounts: Vec<Account>,
    board: Arc<Board>,
    epoch: Instant,
    sent: u64,
}

impl FarEnd {
    /// An end that has not begun.
    #[must_use]
    pub fn new(source: Source, accounts: Vec<Account>, board: Arc<Board>, epoch: Instant) -> Self {
        Self {
            source,
            accounts,
            board,
            epoch,
            sent: 0,
        }
    }

    /// A datagram came from a subscriber.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddrV4, payload: &[u8]) {
        let Some(mark) = Mark::read(payload) else {
            return;
        };
        let now_ns = self.epoch_ns(now);
        let owner = self
            .accounts
            .iter_mut()
            .enumerate()
            .find(|(_, account)| account.is_of(&mark));
        let Some((group, account)) = owner else {
            return;
        };
        let octets = Ipv4::LEN + Udp::LEN + payload.len();
        let board = &self.board;
        // Who has just gone has no address, and what it sent last still comes from it.
        account.note(now_ns, payload, octets, |flow| {
            let address = board.address(group, flow as usize);
            from.port() == PORT && address.is_none_or(|address| address == *from.ip())
        });
    }

    /// Emits the datagrams that are due: where to, what begins each, and the octets of its IP packet.
    pub fn load(&mut self, now: Instant, mut emit: impl FnMut(SocketAddrV4, &Mark, usize)) {
        if self.board.is_stopped.load(Ordering::Relaxed) {
            return;
        }
        let (board, mut count) = (&self.board, 0);
        self.source.load(now, self.epoch_ns(now), |due| {
            let Some(address) = board.address(due.group, due.mark.flow() as usize) else {
                return false;
            };
            emit(SocketAddrV4::new(address, PORT), &due.mark, due.size);
            count += 1;
            true
        });
        self.sent += count;
        self.tell();
    }

    /// When [`Self::load`] is next wanted.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let is_stopped = self.board.is_stopped.load(Ordering::Relaxed);
        self.source.next(now).filter(|_| !is_stopped)
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

    fn epoch_ns(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    fn tell(&self) {
        let received = self.accounts.iter().map(Account::received).sum();
        let octets = self.accounts.iter().map(|account| account.octets).sum();
        let overdue = self.accounts.iter().map(Account::overdue).sum();
        self.board.far_overdue.store(overdue, Ordering::Relaxed);
        self.board.far_sent.store(self.sent, Ordering::Relaxed);
        self.board.far_received.store(received, Ordering::Relaxed);
        self.board.far_octets.store(octets, Ordering::Relaxed);
    }
}

/// What a far end came to.
pub struct Finished {
    /// The end itself.
    pub end: FarEnd,
    /// What carried its packets, for the next.
    pub line: Line,
    /// Processor time of its thread.
    pub busy: Duration,
    /// The time from its first turn to its last.
    pub lasted: Duration,
}

/// Starts the thread that serves a far end on a line.
pub fn serve(line: Line, end: FarEnd) -> io::Result<JoinHandle<io::Result<Finished>>> {
    thread::Builder::new()
        .name("far end".into())
        .spawn(move || {
            let line = line.serve();
            Shell { line, end }.run()
        })
}

/// A far end and its line.
struct Shell {
    line: Served,
    end: FarEnd,
}

impl Shell {
    fn run(mut self) -> io::Result<Finished> {
        let begin = clock::now();
        while !self.end.board.is_over.load(Ordering::Relaxed) {
            self.turn()?;
        }
        Ok(Finished {
            end: self.end,
            line: self.line.rest(),
            busy: clock::thread_time(),
            lasted: clock::now() - begin,
        })
    }

    fn turn(&mut self) -> io::Result<()> {
        let (line, end) = (&mut self.line, &mut self.end);
        let now = clock::now();
        let next = end.poll_timeout(now);
        line.wait(next.map_or(WAIT_MAX, |next| next.saturating_duration_since(now)))?;
        line.receive(|now, from, payload| end.handle_datagram(now, from, payload))?;
        end.tell();
        if line.has_room() {
            end.load(clock::now(), |to, mark, size| line.push(to, mark, size));
        }
        line.send()
    }
}

/// Packets for which the sockets behind the gateway have had no room; none of the gateway's
/// business.
pub fn overflowed(port: Option<&crate::scenario::NetworkPort>) -> anyhow::Result<u64> {
    match port.and_then(|port| port.namespace.as_deref()) {
        Some(namespace) => datagrams::overflowed(namespace),
        None => Ok(0),
    }
}

/// Where a subscriber's packets go when they are for the far end.
#[must_use]
pub fn place(address: Ipv4Addr) -> SocketAddrV4 {
    SocketAddrV4::new(address, PORT)
}

#[cfg(test)]
mod tests {
    use crypto::Random;
    use zerocopy::IntoBytes;

    use super::*;

    #[test]
    fn what_comes_is_counted_by_whose_it_is() {
        let now = clock::now();
        let board = Arc::new(Board::new(&[1, 2]));
        let mut source = Source::new(now + Duration::from_secs(1));
        let load = "64:1000/s".parse().unwrap();
        for run in [5, 6] {
            let flows = if run == 5 { 1 } else { 2 };
            source.add(run, flows, Some(&load), now, Random::from_seed([0; 32]));
        }
        let accounts = vec![Account::new(5, 1), Account::new(6, 2)];
        let mut end = FarEnd::new(source, accounts, Arc::clone(&board), now);
        let (there, elsewhere) = (Ipv4Addr::new(10, 77, 0, 9), Ipv4Addr::new(10, 77, 0, 8));
        board.set(1, 1, Some(there));
        let mut datagrams = Vec::new();
        end.load(now + Duration::from_millis(10), |to, _, size| {
            datagrams.push((to, size));
        });
        // Twenty are due for two flows, and one of the two is there.
        assert_eq!(datagrams.len(), 10);
        assert!(
            datagrams
                .iter()
                .all(|(to, size)| to.ip() == &there && *size == 64)
        );
        assert_eq!(end.source().sent(1), [0, 10]);
        let mark = Mark::new(6, 1, 0, 0);
        end.handle_datagram(now, place(elsewhere), mark.as_bytes());
        end.handle_datagram(now, place(there), mark.as_bytes());
        end.handle_datagram(now, place(there), mark.as_bytes());
        end.handle_datagram(now, place(there), Mark::new(9, 1, 0, 0).as_bytes());
        let account = &end.accounts()[1];
        assert_eq!(
            (account.received(), account.astray, account.duplicated),
            (1, 1, 1)
        );
        assert_eq!(end.accounts()[0].received(), 0);
        board.is_stopped.store(true, Ordering::Relaxed);
        assert_eq!(end.poll_timeout(now), None);
    }
}
