//! The host behind the gateway in the demonstration: numbered packets come and go over its socket,
//! on a thread of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use packet::header::{Ipv4, Udp};
use socket2::Socket;
use zerocopy::IntoBytes;

use crate::clock;
use crate::datagrams::{Datagrams, WAIT_MAX};
use crate::flow::{Account, Mark, Numbering};
use crate::pace::{BURST_MAX, Pace};
use crate::traffic::{End, PORT, Plan, Progress};

/// One run at the host's end.
struct Host {
    datagrams: Datagrams,
    plan: Plan,
    subscribers: Vec<SocketAddrV4>,
    numbering: Numbering,
    pace: Pace,
    account: Account,
    progress: Arc<Progress>,
    finished: Instant,
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
            datagrams: Datagrams::new(socket),
            numbering: Numbering::new(plan.run, subscribers.len(), plan.sizes, plan.count),
            pace: Pace::new(plan.rate, plan.begin),
            account: Account::new(plan.run, subscribers.len()),
            finished: plan.begin,
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
            self.datagrams.send()?;
        }
        Ok(End {
            sent: self.numbering.sent().to_vec(),
            account: self.account,
            finished: self.finished,
        })
    }

    fn wait(&self) -> io::Result<()> {
        let now = clock::now();
        let is_done = self.numbering.is_done() && self.datagrams.waiting.is_empty();
        self.datagrams.wait(match is_done {
            true => WAIT_MAX,
            false => self.pace.next(now).saturating_duration_since(now),
        })
    }

    fn receive(&mut self) -> io::Result<()> {
        let (plan, account, subscribers) = (&self.plan, &mut self.account, &self.subscribers);
        self.datagrams.receive(|now, from, payload| {
            let octets = Ipv4::LEN + Udp::LEN + payload.len();
            account.note(plan.ns(now), payload, octets, |flow| {
                subscribers.get(flow as usize) == Some(&from)
            });
        })?;
        let (received, overdue) = (self.account.received(), self.account.overdue());
        self.progress.up_received.store(received, Ordering::Relaxed);
        self.progress.up_overdue.store(overdue, Ordering::Relaxed);
        Ok(())
    }

    fn load(&mut self, now: Instant) {
        let is_stopped = self.progress.is_stopped.load(Ordering::Relaxed);
        if is_stopped || self.datagrams.waiting.len() as u64 >= BURST_MAX {
            return;
        }
        for _ in 0..self.pace.due(now) {
            let Some((mark, size)) = self.numbering.next(self.plan.ns(now)) else {
                break;
            };
            let payload = size.saturating_sub(Ipv4::LEN + Udp::LEN).max(Mark::LEN);
            let mut datagram = vec![0; payload];
            datagram[..Mark::LEN].copy_from_slice(mark.as_bytes());
            let to = self.subscribers[mark.flow() as usize];
            self.datagrams.waiting.push((to, datagram));
            self.finished = now;
        }
        self.progress
            .down_sent
            .store(self.numbering.total(), Ordering::Relaxed);
    }
}
