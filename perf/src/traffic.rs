//! The far ends: they seal what goes up, and prove that what comes out is what went in.
//!
//! Every packet is made for one round only: fresh content, the next sequence number of its SA, and
//! an order that no other round has. A digest of its content is kept; a packet counts as arrived
//! when it is opened (by the RustCrypto reference, on the way down), its headers are what they have
//! to be, its digest is right, and no other packet has come in its place.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use crypto::esp::{Backend, Direction, EspJob, KeySlot, Keys, Suite, Verdict};
use packet::checksum;
use packet::header::{Esp, Ethernet, Ipv4, L2tp, Udp};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::gateway::SERVERS;
use crate::rng::Rng;
use crate::subscriber::{KEYS, PLAIN, Protection, SECURE, Subscriber, Way, keymat};

/// Address and control field, and IPv4 (RFC 1661 §2, RFC 1332 §4).
const PPP: [u8; 4] = [0xff, 0x03, 0x00, 0x21];

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Line {
    /// Subscriber to network.
    Up,
    /// Network to subscriber.
    Down,
}

/// Frames ready to be received, one behind the other, and what is known of them.
#[derive(Debug)]
pub(crate) struct Staged {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    contents: Vec<Content>,
    /// Frames that have not arrived yet.
    missing: usize,
}

#[derive(Clone, Copy, Debug)]
struct Content {
    subscriber: u32,
    len: u32,
    digest: u64,
    has_arrived: bool,
}

impl Staged {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn frame(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    /// Whose the packet is.
    pub(crate) fn subscriber(&self, index: usize) -> u32 {
        self.contents[index].subscriber
    }

    /// Octets of the inner packets.
    pub(crate) fn inner_bytes(&self) -> u64 {
        self.contents.iter().map(|c| u64::from(c.len)).sum()
    }

    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// An inner packet one hop behind us.
    fn arrive(&mut self, ip: &[u8], line: Line) -> Result<()> {
        let header = Ipv4::ref_from_prefix(ip).ok().context("no IP header")?.0;
        ensure!(checksum::checksum(&ip[..Ipv4::LEN]) == 0, "header checksum");
        ensure!(header.ttl == 63, "TTL {}", header.ttl);
        let subscriber = match line {
            Line::Up => header.source(),
            Line::Down => header.destination(),
        };
        let number = ip.get(28..32).context("too short")?;
        let number = u32::from_le_bytes(number.try_into().context("four octets")?) as usize;
        let content = self.contents.get_mut(number).context("no such packet")?;
        ensure!(!content.has_arrived, "it came twice");
        ensure!(content.len as usize == ip.len(), "length {}", ip.len());
        ensure!(
            content.subscriber as usize == Subscriber::number_of(subscriber),
            "it is another subscriber's"
        );
        ensure!(
            content.digest == digest(ip),
            "the content is not what it was"
        );
        content.has_arrived = true;
        self.missing -= 1;
        Ok(())
    }
}

/// All subscribers, as far as packets are concerned.
pub(crate) struct FarEnds {
    /// Of the subscribers, in turn.
    protections: Vec<Protection>,
    keys: Keys,
    /// Of each subscriber: the last sequence number sent, and the last received.
    sequences: Vec<[u32; 2]>,
    rng: Rng,
}

impl FarEnds {
    pub(crate) fn new(protection: Protection, sessions: usize, seed: u64) -> Self {
        Self::mixed(vec![protection], sessions, seed)
    }

    /// Subscribers that are not all protected alike.
    pub(crate) fn mixed(protections: Vec<Protection>, sessions: usize, seed: u64) -> Self {
        let mut far = Self {
            protections,
            keys: Keys::new(Backend::RustCrypto),
            sequences: vec![[0; 2]; sessions],
            rng: Rng::new(seed),
        };
        for kind in 0..far.protections.len() {
            if let Some(suite) = far.protections[kind] {
                (0..KEYS).for_each(|number| far.install(suite, kind * KEYS + number, number));
            }
        }
        far
    }

    /// The keys `number` of a suite, in both directions.
    fn install(&mut self, suite: Suite, place: usize, number: usize) {
        for (way, direction) in [
            (Way::Sent, Direction::Seal),
            (Way::Received, Direction::Open),
        ] {
            let keys = keymat(suite, number, way);
            let slot = slot(place, way);
            self.keys.install(slot, suite, direction, &keys, &[9; 16]);
        }
    }

    fn protection(&self, number: usize) -> Protection {
        self.protections[number % self.protections.len()]
    }

    /// Where the keys of a subscriber are.
    fn place(&self, number: usize) -> usize {
        number % self.protections.len() * KEYS + self.subscriber(number).key()
    }

    fn subscriber(&self, number: usize) -> Subscriber {
        Subscriber::new(number, self.protection(number))
    }

    /// `count` packets or one for each subscriber, whichever is more, in random order.
    pub(crate) fn stage(&mut self, line: Line, sizes: &[usize], count: usize) -> Result<Staged> {
        let sessions = self.sequences.len();
        let count = count.max(sessions);
        let mut order: Vec<usize> = (0..sessions).collect();
        order.resize_with(count, || self.rng.below(sessions));
        self.rng.shuffle(&mut order);
        let mut lens: Vec<usize> = sizes.iter().copied().cycle().take(count).collect();
        self.rng.shuffle(&mut lens);
        let mut staged = Staged {
            bytes: Vec::new(),
            ends: Vec::with_capacity(count),
            contents: Vec::with_capacity(count),
            missing: count,
        };
        for (subscriber, len) in order.into_iter().zip(lens) {
            self.add(&mut staged, line, subscriber, len)?;
        }
        Ok(staged)
    }

    fn add(&mut self, to: &mut Staged, line: Line, number: usize, len: usize) -> Result<()> {
        let subscriber = self.subscriber(number);
        let server = Ipv4Addr::from(SERVERS + self.rng.below(256) as u32);
        let inner = match line {
            Line::Up => self.inner(to.len(), subscriber.address(), server, len),
            Line::Down => self.inner(to.len(), server, subscriber.address(), len),
        };
        to.contents.push(Content {
            subscriber: number as u32,
            len: len as u32,
            digest: digest(&inner),
            has_arrived: false,
        });
        ethernet(&mut to.bytes);
        match line {
            Line::Down => to.bytes.extend(inner),
            Line::Up => self.send(&mut to.bytes, number, &inner)?,
        }
        to.ends.push(to.bytes.len());
        Ok(())
    }

    /// An IP packet whose payload begins with its number.
    fn inner(&mut self, number: usize, from: Ipv4Addr, to: Ipv4Addr, len: usize) -> Vec<u8> {
        let mut packet = vec![0; len];
        self.rng.fill(&mut packet[Ipv4::LEN..]);
        let payload = (len - Ipv4::LEN) as u16;
        let mut header = Ipv4::new(from, to, Ipv4::UDP, payload);
        header.ttl = 64;
        header.renew_checksum();
        packet[..Ipv4::LEN].copy_from_slice(header.as_bytes());
        packet[26..28].fill(0);
        packet[28..32].copy_from_slice(&(number as u32).to_le_bytes());
        packet
    }

    /// A subscriber's packet from its outer IP header on.
    fn send(&mut self, out: &mut Vec<u8>, number: usize, inner: &[u8]) -> Result<()> {
        let (subscriber, protection) = (self.subscriber(number), self.protection(number));
        let mut message = Vec::with_capacity(inner.len() + 128);
        if protection.is_some() {
            udp(&mut message, [Udp::L2TP; 2], 8 + PPP.len() + inner.len());
        }
        let len = (8 + PPP.len() + inner.len()) as u16;
        let [tunnel, session] = subscriber.ids();
        let l2tp = [L2tp::LENGTH | 2, len, tunnel, session].map(u16::to_be_bytes);
        message.extend(l2tp.as_flattened());
        message.extend(PPP);
        message.extend(inner);
        if let Some(suite) = protection {
            message = self.seal(suite, number, &message)?;
        }
        let (from, to) = (subscriber.outer(), subscriber.gateway());
        let (source, destination) = match protection {
            Some(_) => (outer_v4(subscriber), SECURE),
            None => (outer_v4(subscriber), PLAIN),
        };
        let total = Udp::LEN + message.len();
        let mut ip = Ipv4::new(source, destination, Ipv4::UDP, total as u16);
        ip.renew_checksum();
        out.extend(ip.as_bytes());
        udp(out, [from.port(), to.port()], message.len());
        out.extend(message);
        Ok(())
    }

    fn seal(&mut self, suite: Suite, number: usize, payload: &[u8]) -> Result<Vec<u8>> {
        let subscriber = self.subscriber(number);
        let sequence = &mut self.sequences[number][0];
        *sequence += 1;
        let esp = Esp {
            spi: subscriber.spi().into(),
            sequence: (*sequence).into(),
        };
        let mut packet = esp.as_bytes().to_vec();
        packet.resize(packet.len() + suite.iv_len(), 0);
        packet.extend(payload);
        let padded = (payload.len() + 2).next_multiple_of(suite.block_len());
        let padding = (padded - payload.len() - 2) as u8;
        packet.extend((1..=padding).chain([padding, Ipv4::UDP]));
        packet.resize(packet.len() + suite.icv_len(), 0);
        let mut job = EspJob {
            packet: &mut packet,
            slot: slot(self.place(number), Way::Sent),
            esn_high: None,
            verdict: Verdict::Pending,
        };
        self.keys.seal(suite, std::slice::from_mut(&mut job));
        ensure!(job.verdict == Verdict::Ok, "sealing: {:?}", job.verdict);
        Ok(packet)
    }

    /// Takes a frame that the gateway sent.
    pub(crate) fn take(&mut self, staged: &mut Staged, line: Line, frame: &[u8]) -> Result<()> {
        let ip = peel::<Ethernet>(frame)?.1;
        match line {
            Line::Up => staged.arrive(ip, line),
            Line::Down => {
                let inner = self.receive(ip)?;
                staged.arrive(&inner, line)
            }
        }
    }

    /// The IP packet that a subscriber finds in a packet of ours.
    fn receive(&mut self, ip: &[u8]) -> Result<Vec<u8>> {
        let (header, rest) = peel::<Ipv4>(ip)?;
        ensure!(checksum::checksum(&ip[..Ipv4::LEN]) == 0, "outer checksum");
        let (ports, rest) = peel::<Udp>(rest)?;
        ensure!(
            usize::from(ports.length.get()) == Udp::LEN + rest.len(),
            "UDP length"
        );
        let message = match ports.source.get() {
            Udp::NAT_T => self.open(rest)?,
            _ => rest.to_vec(),
        };
        let flags = peel::<L2tp>(&message)?.0.flags.get();
        let at = if flags & L2tp::LENGTH != 0 { 4 } else { 2 };
        let inner = message.get(at + 4 + PPP.len()..).context("truncated")?;
        let destination = peel::<Ipv4>(inner)?.0.destination();
        let subscriber = self.subscriber(Subscriber::number_of(destination));
        let ids = subscriber.peer_ids().map(u16::to_be_bytes);
        ensure!(message[at..at + 4] == *ids.as_flattened(), "L2TP ids");
        ensure!(message[at + 4..][..PPP.len()] == PPP, "PPP header");
        let (local, remote) = (subscriber.gateway(), subscriber.outer());
        ensure!(
            header.destination() == outer_v4(subscriber),
            "outer address"
        );
        let (source, destination) = (ports.source.get(), ports.destination.get());
        ensure!(
            (source, destination) == (local.port(), remote.port()),
            "outer ports"
        );
        Ok(inner.to_vec())
    }

    /// The L2TP message in an ESP packet.
    fn open(&mut self, esp: &[u8]) -> Result<Vec<u8>> {
        let header = peel::<Esp>(esp)?.0;
        let first = self.subscriber(0).outbound_spi();
        let number = header.spi.get().wrapping_sub(first) as usize;
        let suite = self.protection(number);
        let last = &mut self.sequences.get_mut(number).context("no such SPI")?[1];
        let suite = suite.context("ESP for somebody without an SA")?;
        let sequence = header.sequence.get();
        ensure!(sequence > *last, "sequence {sequence} after {last}");
        *last = sequence;
        let mut packet = esp.to_vec();
        let mut job = EspJob {
            packet: &mut packet,
            slot: slot(self.place(number), Way::Received),
            esn_high: None,
            verdict: Verdict::Pending,
        };
        self.keys.open(suite, std::slice::from_mut(&mut job));
        ensure!(job.verdict == Verdict::Ok, "opening: {:?}", job.verdict);
        let clear = &packet[8 + suite.iv_len()..packet.len() - suite.icv_len()];
        let [payload @ .., padding, Ipv4::UDP] = clear else {
            bail!("next header");
        };
        let len = payload.len().checked_sub(usize::from(*padding));
        let (udp, message) = peel::<Udp>(&payload[..len.context("padding")?])?;
        ensure!(
            usize::from(udp.length.get()) == Udp::LEN + message.len(),
            "UDP length"
        );
        ensure!(udp.destination.get() == Udp::L2TP, "UDP port");
        Ok(message.to_vec())
    }
}

fn slot(key: usize, way: Way) -> KeySlot {
    KeySlot((key * 2 + usize::from(way == Way::Sent)) as u32)
}

fn outer_v4(subscriber: Subscriber) -> Ipv4Addr {
    match subscriber.outer().address() {
        std::net::IpAddr::V4(address) => address,
        std::net::IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

fn ethernet(out: &mut Vec<u8>) {
    let header = Ethernet {
        destination: [2, 0, 0, 0, 0, 1],
        source: [2, 1, 0, 0, 0, 1],
        ethertype: Ethernet::IPV4.into(),
    };
    out.extend(header.as_bytes());
}

fn udp(out: &mut Vec<u8>, [source, destination]: [u16; 2], payload: usize) {
    let header = Udp {
        source: source.into(),
        destination: destination.into(),
        length: ((Udp::LEN + payload) as u16).into(),
        checksum: 0.into(),
    };
    out.extend(header.as_bytes());
}

fn peel<T>(bytes: &[u8]) -> Result<(&T, &[u8])>
where
    T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(bytes).ok().context("truncated")
}

/// Addresses and everything behind the IP header; any change of an octet changes it.
fn digest(ip: &[u8]) -> u64 {
    ip[12..].chunks(8).fold(0, |digest: u64, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (digest ^ u64::from_le_bytes(word))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    })
}
