//! The host behind the gateway: a UDP socket in another network namespace and a thread that serves
//! it.
//!
//! A socket stays in the namespace it was opened in. So a thread goes there, opens it, and ends;
//! the one that serves the socket need not move.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use packet::header::{Ipv4, Udp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};
use zerocopy::IntoBytes;

use crate::clock;
use crate::flow::{Account, Mark, Numbering};
use crate::pace::{BURST_MAX, Pace};
use crate::sockets::{self, BURST, roomy};
use crate::traffic::{End, PORT, Plan, Progress};

/// Octets of a receive buffer.
const BUFFER: usize = 2048;
/// The longest wait between two looks at whether all is over.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// Opens the host's socket in a network namespace.
pub fn open(namespace: &Path, address: Ipv4Addr) -> Result<Socket> {
    within(namespace, move || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        let place = SocketAddrV4::new(address, PORT);
        socket
            .bind(&place.into())
            .with_context(|| format!("cannot bind {place}; is the address there?"))?;
        socket.set_nonblocking(true)?;
        roomy(&socket);
        Ok(socket)
    })
}

/// Packets for which the sockets of a network namespace have had no room.
pub fn overflowed(namespace: &Path) -> Result<u64> {
    within(namespace, || Ok(sockets::overflowed()))
}

/// Does something in a network namespace, on a thread that goes there and ends.
fn within<T: Send + 'static>(
    namespace: &Path,
    act: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let file = File::open(namespace)
        .with_context(|| format!("no network namespace at {}", namespace.display()))?;
    let done = thread::spawn(move || -> Result<T> {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .context("cannot enter the network namespace; this needs root")?;
        act()
    });
    done.join()
        .map_err(|_| anyhow!("the thread in the network namespace panicked"))?
}

/// One run at the host's end.
struct Host {
    socket: Socket,
    plan: Plan,
    subscribers: Vec<SocketAddrV4>,
    numbering: Numbering,
    pace: Pace,
    account: Account,
    progress: Arc<Progress>,
    finished: Instant,
    headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<[u8; BUFFER]>,
    /// Made, and not taken by the kernel yet.
    waiting: Vec<(SocketAddrV4, Vec<u8>)>,
}

/// Starts the thread that serves one run. Flow `i` is that of the `i`th subscriber.
pub fn serve(
    socket: Socket,
    plan: Plan,
    subscribers: &[Ipv4Addr],
    progress: Arc<Progress>,
) -> io::Result<JoinHandle<io::Result<End>>> {
    let subscribers: Vec<SocketAddrV4> = subscribers
        .iter()
        .map(|address| SocketAddrV4::new(*address, PORT))
        .collect();
    thread::Builder::new()
        .name("host".into())
        .spawn(move || Host::new(socket, plan, subscribers, progress).run())
}

impl Host {
    fn new(
        socket: Socket,
        plan: Plan,
        subscribers: Vec<SocketAddrV4>,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            socket,
            numbering: Numbering::new(plan.run, subscribers.len(), plan.sizes, plan.count),
            pace: Pace::new(plan.rate, plan.begin),
            account: Account::new(plan.run, subscribers.len()),
            finished: plan.begin,
            headers: MultiHeaders::preallocate(BURST, None),
            buffers: vec![[0; BUFFER]; BURST],
            waiting: Vec::new(),
            plan,
            subscribers,
            progress,
        }
    }

    fn run(mut self) -> io::Result<End> {
        while !self.progress.is_over.load(Ordering::Relaxed) {
            self.wait()?;
            self.receive()?;
            self.load(clock::now());
            self.send()?;
        }
        Ok(End {
            sent: self.numbering.sent().to_vec(),
            account: self.account,
            finished: self.finished,
        })
    }

    fn wait(&self) -> io::Result<()> {
        let now = clock::now();
        let patience = match self.numbering.is_done() && self.waiting.is_empty() {
            true => WAIT_MAX,
            false => self
                .pace
                .next(now)
                .saturating_duration_since(now)
                .min(WAIT_MAX),
        };
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: patience.as_nanos() as i64,
        };
        match poll(
            &mut [PollFd::new(&self.socket, PollFlags::IN)],
            Some(&timeout),
        ) {
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
        let fd = self.socket.as_raw_fd();
        let results = match recvmmsg(
            fd,
            &mut self.headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        ) {
            Ok(results) => results,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let now_ns = self.plan.ns(clock::now());
        for message in results {
            let payload = message.iovs().next().unwrap_or_default();
            let from = message
                .address
                .map(|from| SocketAddrV4::new(from.ip(), from.port()));
            let octets = Ipv4::LEN + Udp::LEN + payload.len();
            let subscribers = &self.subscribers;
            self.account.note(now_ns, payload, octets, |flow| {
                from == subscribers.get(flow as usize).copied()
            });
        }
        let (received, overdue) = (self.account.received(), self.account.overdue());
        self.progress.up_received.store(received, Ordering::Relaxed);
        self.progress.up_overdue.store(overdue, Ordering::Relaxed);
        Ok(())
    }

    fn load(&mut self, now: Instant) {
        let is_stopped = self.progress.is_stopped.load(Ordering::Relaxed);
        if is_stopped || self.waiting.len() as u64 >= BURST_MAX {
            return;
        }
        for _ in 0..self.pace.due(now) {
            let Some((mark, size)) = self.numbering.next(self.plan.ns(now)) else {
                break;
            };
            let payload = size.saturating_sub(Ipv4::LEN + Udp::LEN).max(Mark::LEN);
            let mut datagram = vec![0; payload];
            datagram[..Mark::LEN].copy_from_slice(mark.as_bytes());
            self.waiting
                .push((self.subscribers[mark.flow() as usize], datagram));
            self.finished = now;
        }
        self.progress
            .down_sent
            .store(self.numbering.total(), Ordering::Relaxed);
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
            let fd = self.socket.as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            let sent = match sendmmsg(fd, &mut headers, &slices, addresses, [], flags) {
                Ok(results) => results.count(),
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => return Ok(()),
                // What ICMP said about an earlier datagram; this one has not been tried.
                Err(Errno::EHOSTUNREACH | Errno::ECONNREFUSED) => 0,
                Err(error) => return Err(error.into()),
            };
            self.waiting.drain(..sent);
        }
        Ok(())
    }
}
