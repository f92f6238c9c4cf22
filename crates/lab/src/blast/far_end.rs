//! The network's end of the traffic: a UDP socket behind the gateway and a thread that serves it.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use packet::header::{Ipv4, Udp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Socket;
use zerocopy::IntoBytes;

use super::board::Board;
use super::source::Source;
use crate::clock;
use crate::flow::{Account, Mark};
use crate::sockets::BURST;
use crate::traffic::PORT;

/// Octets of a receive buffer.
const BUFFER: usize = 2048;
/// The longest wait between two looks at whether all is over.
const WAIT_MAX: Duration = Duration::from_millis(20);
/// Datagrams that may wait for the kernel.
const WAITING_MAX: usize = 256;

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

    /// Emits the datagrams that are due.
    pub fn load(&mut self, now: Instant, mut emit: impl FnMut(SocketAddrV4, Vec<u8>)) {
        if self.board.is_stopped.load(Ordering::Relaxed) {
            return;
        }
        let (board, mut count) = (&self.board, 0);
        self.source.load(now, self.epoch_ns(now), |due| {
            let Some(address) = board.address(due.group, due.mark.flow() as usize) else {
                return false;
            };
            let payload = due.size.saturating_sub(Ipv4::LEN + Udp::LEN).max(Mark::LEN);
            let mut datagram = vec![0; payload];
            datagram[..Mark::LEN].copy_from_slice(due.mark.as_bytes());
            emit(SocketAddrV4::new(address, PORT), datagram);
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
        self.board.far_sent.store(self.sent, Ordering::Relaxed);
        self.board.far_received.store(received, Ordering::Relaxed);
        self.board.far_octets.store(octets, Ordering::Relaxed);
    }
}

/// What a far end came to.
pub struct Finished {
    /// The end itself.
    pub end: FarEnd,
    /// Processor time of its thread.
    pub busy: Duration,
    /// The time from its first turn to its last.
    pub lasted: Duration,
}

/// Starts the thread that serves a far end on a socket.
pub fn serve(socket: Socket, end: FarEnd) -> io::Result<JoinHandle<io::Result<Finished>>> {
    thread::Builder::new()
        .name("far end".into())
        .spawn(move || {
            let shell = Shell {
                socket,
                end,
                headers: MultiHeaders::preallocate(BURST, None),
                buffers: vec![[0; BUFFER]; BURST],
                waiting: Vec::new(),
            };
            shell.run()
        })
}

/// A far end and its socket.
struct Shell {
    socket: Socket,
    end: FarEnd,
    headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<[u8; BUFFER]>,
    /// Made, and not taken by the kernel yet.
    waiting: Vec<(SocketAddrV4, Vec<u8>)>,
}

impl Shell {
    fn run(mut self) -> io::Result<Finished> {
        let begin = clock::now();
        while !self.end.board.is_over.load(Ordering::Relaxed) {
            self.wait()?;
            self.receive()?;
            if self.waiting.len() < WAITING_MAX {
                let waiting = &mut self.waiting;
                self.end
                    .load(clock::now(), |to, datagram| waiting.push((to, datagram)));
            }
            self.send()?;
        }
        Ok(Finished {
            end: self.end,
            busy: clock::thread_time(),
            lasted: clock::now() - begin,
        })
    }

    fn wait(&self) -> io::Result<()> {
        let now = clock::now();
        let next = self.end.poll_timeout(now);
        let patience = next.map_or(WAIT_MAX, |next| next.saturating_duration_since(now));
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: patience.min(WAIT_MAX).as_nanos() as i64,
        };
        let mut inputs = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut inputs, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = self
            .buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let results = match recvmmsg(
            self.socket.as_raw_fd(),
            &mut self.headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        ) {
            Ok(results) => results,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let now = clock::now();
        for message in results {
            let payload = message.iovs().next().unwrap_or_default();
            if let Some(from) = message.address {
                let from = SocketAddrV4::new(from.ip(), from.port());
                self.end.handle_datagram(now, from, payload);
            }
        }
        self.end.tell();
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let burst = &self.waiting[..self.waiting.len().min(BURST)];
            let slices: Vec<[IoSlice<'_>; 1]> = burst
                .iter()
                .map(|(_, datagram)| [IoSlice::new(datagram)])
                .collect();
            let addresses: Vec<Option<SockaddrIn>> =
                burst.iter().map(|(to, _)| Some((*to).into())).collect();
            let mut headers = MultiHeaders::preallocate(burst.len(), None);
            let flags = MsgFlags::MSG_DONTWAIT;
            let fd = self.socket.as_raw_fd();
            let sent = match sendmmsg(fd, &mut headers, &slices, addresses, [], flags) {
                Ok(results) => results.count(),
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => return Ok(()),
                // What ICMP said about an earlier datagram; this one has not been tried.
                Err(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ECONNREFUSED) => 0,
                Err(error) => return Err(error.into()),
            };
            self.waiting.drain(..sent);
        }
        Ok(())
    }
}

/// Opens the socket of a far end.
pub fn open(port: &crate::scenario::NetworkPort) -> anyhow::Result<Socket> {
    let own = std::path::Path::new("/proc/thread-self/ns/net");
    let namespace = port.namespace.as_deref().unwrap_or(own);
    crate::host::open(namespace, port.address)
}

/// Packets for which the sockets behind the gateway have had no room; none of the gateway's
/// business.
pub fn overflowed(port: Option<&crate::scenario::NetworkPort>) -> anyhow::Result<u64> {
    match port.and_then(|port| port.namespace.as_deref()) {
        Some(namespace) => crate::host::overflowed(namespace),
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
        end.load(now + Duration::from_millis(10), |to, datagram| {
            datagrams.push((to, datagram));
        });
        // Twenty are due for two flows, and one of the two is there.
        assert_eq!(datagrams.len(), 10);
        assert!(
            datagrams
                .iter()
                .all(|(to, datagram)| to.ip() == &there && datagram.len() == 36)
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
