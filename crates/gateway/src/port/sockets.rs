//! The `sockets` back end: UDP 500, 4500 and 1701 and raw ESP on every endpoint.
//!
//! It is the whole tunnel side where there is no XDP, and it is open in every mode: the sockets
//! hold the ports, and fragments reach them reassembled by the kernel. An IKE message that is longer
//! than a chunk goes straight to the slow path ([`super::letters`]). Each worker has its own set
//! with `SO_REUSEPORT`; a filter on the shard bits of the SPI keeps raw ESP from being delivered to
//! every set. The filter knows the shards as they are dealt out at the start: frames of one that has
//! moved since are handed over by the worker that gets them.
//!
//! What is sent waits in a queue until the flush, which gives it to the kernel by the handful. What
//! the kernel has no room for stays there.

mod door;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;
use dataplane::change::Kind;
use dataplane::port::{Burst, Meta, Packet, Pool, Port, SendError};
use packet::header::Udp;
use packet::{Chunk, Endpoint, Frame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::glance::Glance;
use super::letters::{LONGEST, LetterBox};
use super::losses::{Loss, Losses};
use super::{HEADROOM, QUEUE};
use door::{AT_ONCE, Arrival, Carrier, Door, NON_ESP_MARKER};

/// One worker's sockets.
pub(crate) struct Sockets<C> {
    port: u8,
    doors: Vec<Door>,
    /// Where the next receive begins, so that no socket starves the others.
    next: usize,
    glance: Glance,
    /// For the next receive; empty in between.
    blank: Vec<C>,
    arrivals: Vec<Arrival>,
    /// Frames that wait for the kernel, and the door each leaves by.
    queue: VecDeque<(usize, Packet<C>)>,
    /// Frames that the kernel would not send at all.
    unsendable: u64,
    letters: Letters,
}

/// Where a datagram goes that is longer than a chunk.
struct Letters {
    to: LetterBox,
    worker: u8,
    /// What did not fit into the chunks, [`LONGEST`] octets for each; hardly ever touched, so it
    /// costs address space and no memory.
    rest: Box<[u8]>,
}

/// Which share of the peers a worker's set is to receive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) worker: u8,
    pub(crate) workers: u8,
}

impl<C: Chunk> Sockets<C> {
    /// Opens the sockets of `share.worker` on every address.
    pub(crate) fn open(
        port: u8,
        addresses: &[IpAddr],
        share: Share,
        letters: LetterBox,
    ) -> Result<Self> {
        let mut doors = Vec::new();
        for address in addresses {
            for (number, carrier) in [
                (Udp::IKE, Carrier::Ike),
                (Udp::NAT_T, Carrier::NatT),
                (Udp::L2TP, Carrier::L2tp),
            ] {
                let local = SocketAddr::new(*address, number);
                doors.push(Door::udp(local, carrier, share)?);
            }
            doors.push(Door::raw_esp(*address, share)?);
        }
        Ok(Self {
            port,
            doors,
            next: 0,
            glance: Glance::default(),
            blank: Vec::with_capacity(AT_ONCE),
            arrivals: Vec::with_capacity(AT_ONCE),
            queue: VecDeque::with_capacity(QUEUE),
            unsendable: 0,
            letters: Letters {
                to: letters,
                worker: share.worker,
                rest: vec![0; AT_ONCE * LONGEST].into(),
            },
        })
    }

    /// What a parked worker waits for.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.doors.iter().map(|door| door.socket.as_fd())
    }

    /// What was lost here so far.
    pub(super) fn losses(&self, losses: &mut Losses) {
        losses.add(Loss::SocketUnsendable, self.unsendable);
        for door in &self.doors {
            losses.add(Loss::SocketFull, door.drops());
        }
    }

    pub(super) fn into_chunks(self) -> Vec<C> {
        let queued = self.queue.into_iter();
        queued
            .map(|(_, packet)| packet.frame.into_chunk())
            .collect()
    }

    fn door_for(&self, meta: &Meta) -> Option<usize> {
        let carrier = match meta.kind {
            Kind::Esp => Carrier::Esp,
            Kind::EspInUdp | Kind::Keepalive => Carrier::NatT,
            Kind::Ike if meta.local.port() == Udp::IKE => Carrier::Ike,
            Kind::Ike => Carrier::NatT,
            Kind::L2tp => Carrier::L2tp,
            Kind::Ip => return None,
        };
        let address = meta.local.address();
        let leads = |door: &Door| door.carrier == carrier && door.local.address() == address;
        self.doors.iter().position(leads)
    }

    fn queue(&mut self, packet: &mut Packet<C>) -> Result<usize, SendError> {
        if self.queue.len() == QUEUE {
            return Err(SendError::Full);
        }
        let door = self.door_for(&packet.meta).ok_or(SendError::Unresolved)?;
        if packet.meta.kind == Kind::Ike && self.doors[door].carrier == Carrier::NatT {
            packet
                .frame
                .prepend_bytes(&NON_ESP_MARKER)
                .ok_or(SendError::NoRoom)?;
        }
        if packet.frame.len() > LONGEST {
            return Err(SendError::TooLong);
        }
        Ok(door)
    }

    /// One handful, all by one door, from the front of the queue; how many the kernel took.
    fn send_some(&self) -> Result<usize, Errno> {
        let Some((first, _)) = self.queue.front() else {
            return Ok(0);
        };
        let same = self.queue.iter().take_while(|(door, _)| door == first);
        self.doors[*first].send(same.map(|(_, packet)| (packet.frame.bytes(), packet.meta.remote)))
    }

    /// Indexes of the doors at which something waits, another one first at each call.
    fn readable(&mut self) -> Vec<usize> {
        let mut waiting: Vec<PollFd<'_>> = self
            .doors
            .iter()
            .map(|d| PollFd::new(&d.socket, PollFlags::IN))
            .collect();
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if !matches!(poll(&mut waiting, Some(&now)), Ok(count) if count > 0) {
            return Vec::new();
        }
        let count = self.doors.len();
        let order = (0..count).map(|i| (i + self.next) % count);
        let ready = order
            .filter(|i| !waiting[*i].revents().is_empty())
            .collect();
        self.next = (self.next + 1) % count;
        ready
    }

    /// One handful from a door: whether more may be waiting there.
    fn receive_some(
        &mut self,
        door: usize,
        max: usize,
        pool: &mut dyn Pool<C>,
        burst: &mut Burst<C>,
    ) -> bool {
        let wanted = max.min(AT_ONCE);
        self.blank
            .extend(std::iter::from_fn(|| pool.take()).take(wanted));
        let door = &self.doors[door];
        let rest = &mut self.letters.rest;
        let outcome = door.receive(&mut self.blank, rest, &mut self.arrivals);
        let arrived = self.blank.drain(..self.arrivals.len());
        for (index, (mut chunk, arrival)) in arrived.zip(self.arrivals.drain(..)).enumerate() {
            let Some(remote) = arrival.remote else {
                pool.put(chunk);
                continue;
            };
            let space = chunk.as_mut().len() - HEADROOM;
            if arrival.len > space {
                let start = &chunk.as_ref()[HEADROOM..];
                let end = &self.letters.rest[index * LONGEST..][..arrival.len - space];
                self.letters.post(door, &[start, end].concat(), remote);
                pool.put(chunk);
                continue;
            }
            let frame =
                Frame::new(chunk, HEADROOM, arrival.len).expect("the kernel wrote into the chunk");
            match door.canonical(frame, remote, self.port) {
                Ok(packet) => burst.push(packet),
                Err(frame) => pool.put(frame.into_chunk()),
            }
        }
        let is_short = !self.blank.is_empty();
        self.blank.drain(..).for_each(|chunk| pool.put(chunk));
        // After a report about something sent earlier there may still be a message.
        match outcome {
            Ok(count) => count > 0 && !is_short,
            Err(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) => true,
            Err(_) => false,
        }
    }
}

impl Letters {
    /// A datagram that no chunk holds: IKE, or nothing of ours.
    fn post(&self, door: &Door, datagram: &[u8], remote: Endpoint) {
        let message = match door.carrier {
            Carrier::Ike => Some(datagram),
            Carrier::NatT => datagram.strip_prefix(&NON_ESP_MARKER),
            Carrier::L2tp | Carrier::Esp => None,
        };
        if let Some(message) = message {
            self.to
                .post(self.worker, [door.local, remote], message.to_vec());
        }
    }
}

impl<C: Chunk> Port for Sockets<C> {
    type Chunk = C;

    fn receive(&mut self, pool: &mut dyn Pool<C>, burst: &mut Burst<C>, max: usize) -> usize {
        let before = burst.len();
        if !self.glance.is_due() {
            return 0;
        }
        let waiting = self.readable();
        self.glance.found(waiting.len());
        for door in waiting {
            // Messages that are for nobody here must not hold up the turn either.
            for _ in 0..max.div_ceil(AT_ONCE) {
                let room = max - (burst.len() - before);
                if room == 0 || !self.receive_some(door, room, pool, burst) {
                    break;
                }
            }
        }
        burst.len() - before
    }

    fn send(&mut self, packet: Packet<C>) -> Result<(), (Packet<C>, SendError)> {
        let mut packet = packet;
        match self.queue(&mut packet) {
            Ok(door) => {
                self.queue.push_back((door, packet));
                Ok(())
            }
            Err(why) => Err((packet, why)),
        }
    }

    fn flush(&mut self, pool: &mut dyn Pool<C>) {
        while !self.queue.is_empty() {
            let gone = match self.send_some() {
                Ok(count) => count,
                // The kernel has no room: the worker comes again soon.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => break,
                // No route, a firewall, too long for a socket: the first of them.
                Err(_) => {
                    self.unsendable += 1;
                    1
                }
            };
            for (_, packet) in self.queue.drain(..gone) {
                pool.put(packet.frame.into_chunk());
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.queue.len()
    }
}
