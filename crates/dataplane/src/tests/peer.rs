use std::net::{IpAddr, Ipv4Addr};

use crypto::esp::{Backend, Direction, EspJob, KeySlot, Keymat, Keys, Suite, Verdict};
use packet::header::Udp;
use packet::{Endpoint, Frame};

use super::gateway::{Gateway, PLAIN, SECURE};
use crate::change::{
    Activation, Change, Encapsulation, InstallInbound, InstallOutbound, Kind, Limits, Network,
    Path, Session, SharedChange,
};
use crate::id::{InboundSa, PathId, SessionSlot, ShardId, Slot};
use crate::port::{Meta, Packet};
use crate::wire::{self, Interface};

pub(super) const GCM: Suite = Suite::AesGcm16 { key_bits: 128 };

const SEAL: KeySlot = KeySlot(0);
const OPEN: KeySlot = KeySlot(1);

/// A subscriber at the far end of a tunnel.
pub(super) struct Peer {
    pub(super) slot: Slot,
    pub(super) session: SessionSlot,
    pub(super) address: Ipv4Addr,
    pub(super) outer: Endpoint,
    pub(super) gateway: Endpoint,
    pub(super) encapsulation: Encapsulation,
    pub(super) suite: Suite,
    pub(super) esn: bool,
    pub(super) limits: Limits,
    pub(super) spi_in: u32,
    pub(super) spi_out: u32,
    pub(super) sequence: u64,
    /// Sequence numbers seen from the gateway, to catch one that comes twice.
    pub(super) seen: std::collections::BTreeSet<(u32, u32)>,
    pub(super) mtu: u16,
    pub(super) isolate: bool,
    pub(super) sequencing: bool,
    pub(super) ppp_header: Vec<u8>,
    keys: Keys,
}

impl Peer {
    /// Peer `n` of a shard, in an SA in UDP.
    pub(super) fn new(shard: u8, n: u32) -> Self {
        let slot = Slot::new(ShardId::new(shard), n, 1);
        let last = (n * 64 + u32::from(shard)) as u16 + 2;
        let [high, low] = last.to_be_bytes();
        let outer = Ipv4Addr::new(198, 51, 100, 1 + last as u8 % 250);
        Self {
            slot,
            session: SessionSlot(slot),
            address: Ipv4Addr::new(10, 64, high, low),
            outer: Endpoint::new(outer.into(), 40_000 + last),
            gateway: Endpoint::new(SECURE.into(), Udp::NAT_T),
            encapsulation: Encapsulation::EspInUdp,
            suite: GCM,
            esn: false,
            limits: Limits::NONE,
            spi_in: InboundSa(slot).spi(),
            spi_out: 0x0900_0000 | u32::from(last),
            sequence: 0,
            seen: std::collections::BTreeSet::new(),
            mtu: 1400,
            isolate: false,
            sequencing: false,
            ppp_header: vec![0xff, 0x03, 0x00, 0x21],
            keys: Keys::new(Backend::auto()),
        }
    }

    pub(super) fn raw(mut self) -> Self {
        self.encapsulation = Encapsulation::Esp;
        self.outer = self.outer.with_port(0);
        self.gateway = self.gateway.with_port(0);
        self
    }

    pub(super) fn plain(mut self) -> Self {
        self.encapsulation = Encapsulation::Plain;
        self.gateway = Endpoint::new(PLAIN.into(), Udp::L2TP);
        self
    }

    pub(super) fn path(&self) -> PathId {
        PathId(self.slot)
    }

    /// Our tunnel id, as this peer writes it.
    pub(super) fn tunnel(&self) -> u16 {
        (self.slot.index() as u16) << 6 | self.slot.shard().index() as u16
    }

    /// Our session id, as this peer writes it.
    pub(super) fn session_id(&self) -> u16 {
        0x4000 | self.tunnel()
    }

    pub(super) fn open_path(&mut self, gateway: &mut Gateway) {
        let path = Path {
            id: self.path(),
            local: self.gateway,
            remote: self.outer,
            encapsulation: self.encapsulation,
            mtu: 1500,
            vrf: 0,
        };
        gateway.change(self.slot.shard(), Change::OpenPath(path));
        if self.encapsulation == Encapsulation::Plain {
            let (tunnel, path) = (self.tunnel(), self.path());
            let change = Change::OpenTunnel {
                listener: 1,
                tunnel,
                path,
            };
            gateway.change(self.slot.shard(), change);
            return;
        }
        self.install_inbound(gateway, self.slot, 1);
        self.install_outbound(gateway, self.spi_out, 2, Activation::Now);
    }

    /// An SA from here to the gateway, in use here at once.
    pub(super) fn install_inbound(&mut self, gateway: &mut Gateway, sa: Slot, key: u8) {
        let keys = self.keymat(key);
        self.keys
            .install(SEAL, self.suite, Direction::Seal, &keys, &[3; 16]);
        self.spi_in = InboundSa(sa).spi();
        self.sequence = 0;
        let install = InstallInbound {
            sa: InboundSa(sa),
            path: self.path(),
            suite: self.suite,
            keys,
            esn: self.esn,
            window: 1024,
            limits: self.limits,
        };
        gateway.change(self.slot.shard(), Change::InstallInbound(install));
    }

    /// An SA from the gateway to here.
    pub(super) fn install_outbound(
        &mut self,
        gateway: &mut Gateway,
        spi: u32,
        key: u8,
        activation: Activation,
    ) {
        let install = InstallOutbound {
            path: self.path(),
            spi,
            suite: self.suite,
            keys: self.keymat(key),
            iv_key: [key; 16],
            esn: self.esn,
            first_sequence: 1,
            limits: self.limits,
            activation,
        };
        gateway.change(self.slot.shard(), Change::InstallOutbound(install));
        self.listen(key, spi);
    }

    /// Opens what comes with this SPI under this key.
    pub(super) fn listen(&mut self, key: u8, spi: u32) {
        let keys = self.keymat(key);
        self.keys
            .install(OPEN, self.suite, Direction::Open, &keys, &[0; 16]);
        self.spi_out = spi;
    }

    fn keymat(&self, key: u8) -> Keymat {
        let octets: Vec<u8> = (0..self.suite.keymat_len())
            .map(|i| key ^ (i as u8).wrapping_mul(29) ^ self.slot.index() as u8)
            .collect();
        Keymat::new(self.suite, &octets).expect("as long as the suite wants it")
    }

    pub(super) fn open_session(&mut self, gateway: &mut Gateway) {
        self.open_path(gateway);
        let session = self.as_session();
        gateway.change(self.session.0.shard(), Change::OpenSession(session));
        if self.session.0.shard() != self.slot.shard() {
            gateway.change(self.slot.shard(), Change::OpenSession(session));
        }
    }

    pub(super) fn as_session(&self) -> Session {
        let is_plain = self.encapsulation == Encapsulation::Plain;
        Session {
            id: self.session,
            path: self.path(),
            listener: u16::from(is_plain),
            tunnel: self.tunnel(),
            session: self.session_id(),
            peer_tunnel: 0x1234,
            peer_session: 0x5678,
            local_port: Udp::L2TP,
            peer_port: Udp::L2TP,
            sequencing: self.sequencing,
        }
    }

    pub(super) fn open_network(&mut self, gateway: &mut Gateway) {
        let network = Network {
            session: self.session,
            address: self.address.into(),
            prefixes: vec!["192.168.77.0/24".parse().unwrap()],
            mtu: self.mtu,
            pfc: false,
            acfc: false,
            clamp_mss: true,
            isolate: self.isolate,
        };
        gateway.change(self.session.0.shard(), Change::OpenNetwork(network));
        gateway.shared.apply(SharedChange::Attach {
            vrf: 0,
            prefix: IpAddr::V4(self.address).into(),
            session: self.session,
        });
    }

    /// An IP packet on its way to the gateway, as an Ethernet frame.
    pub(super) fn data(&mut self, ip: &[u8]) -> Vec<u8> {
        let ppp = [&self.ppp_header, ip].concat();
        self.ppp(&ppp)
    }

    /// The same from elsewhere.
    pub(super) fn data_from(&mut self, outer: Endpoint, ip: &[u8]) -> Vec<u8> {
        let home = std::mem::replace(&mut self.outer, outer);
        let frame = self.data(ip);
        self.outer = home;
        frame
    }

    /// A PPP frame on its way to the gateway.
    pub(super) fn ppp(&mut self, ppp: &[u8]) -> Vec<u8> {
        let header = [2, self.tunnel(), self.session_id()].map(u16::to_be_bytes);
        self.l2tp(&[header.as_flattened(), ppp].concat())
    }

    /// An L2TP message on its way to the gateway.
    pub(super) fn l2tp(&mut self, message: &[u8]) -> Vec<u8> {
        if self.encapsulation == Encapsulation::Plain {
            return self.outer(Kind::L2tp, message);
        }
        let len = message.len() as u16 + 8;
        let udp = [Udp::L2TP, Udp::L2TP, len, 0].map(u16::to_be_bytes);
        let sealed = self.seal(&[udp.as_flattened(), message].concat(), 17);
        self.outer_esp(&sealed)
    }

    pub(super) fn outer_esp(&self, esp: &[u8]) -> Vec<u8> {
        let kind = match self.encapsulation {
            Encapsulation::Esp => Kind::Esp,
            Encapsulation::EspInUdp | Encapsulation::Plain => Kind::EspInUdp,
        };
        self.outer(kind, esp)
    }

    /// The next packet of the SA.
    pub(super) fn seal(&mut self, payload: &[u8], next_header: u8) -> Vec<u8> {
        self.sequence += 1;
        self.seal_as(self.sequence, payload, next_header)
    }

    pub(super) fn seal_as(&self, sequence: u64, payload: &[u8], next_header: u8) -> Vec<u8> {
        let padded = (payload.len() + 2).next_multiple_of(self.suite.block_len());
        let pad_len = (padded - payload.len() - 2) as u8;
        let trailer: Vec<u8> = (1..=pad_len).chain([pad_len, next_header]).collect();
        self.seal_padded(sequence, payload, &trailer)
    }

    pub(super) fn seal_padded(&self, sequence: u64, payload: &[u8], trailer: &[u8]) -> Vec<u8> {
        let suite = self.suite;
        let mut packet = self.spi_in.to_be_bytes().to_vec();
        packet.extend((sequence as u32).to_be_bytes());
        packet.extend(vec![0; suite.iv_len()]);
        packet.extend(payload);
        packet.extend(trailer);
        packet.extend(vec![0; suite.icv_len()]);
        let mut job = EspJob {
            packet: &mut packet,
            slot: SEAL,
            esn_high: self.esn.then_some((sequence >> 32) as u32),
            verdict: Verdict::Pending,
        };
        self.keys.seal(suite, std::slice::from_mut(&mut job));
        assert_eq!(job.verdict, Verdict::Ok);
        packet
    }

    pub(super) fn outer(&self, kind: Kind, bytes: &[u8]) -> Vec<u8> {
        outer(kind, self.outer, self.gateway, bytes)
    }

    /// The IP packet in an Ethernet frame of the gateway.
    pub(super) fn open(&mut self, frame: &[u8]) -> Vec<u8> {
        let ppp = self.open_ppp(frame);
        assert_eq!(ppp[..4], [0xff, 0x03, 0x00, 0x21]);
        ppp[4..].to_vec()
    }

    pub(super) fn open_ppp(&mut self, frame: &[u8]) -> Vec<u8> {
        let l2tp = self.open_l2tp(frame);
        let header = [2, 0x1234, 0x5678].map(u16::to_be_bytes);
        assert_eq!(&l2tp[..6], header.as_flattened());
        l2tp[6..].to_vec()
    }

    pub(super) fn open_l2tp(&mut self, frame: &[u8]) -> Vec<u8> {
        let ip = &frame[14..];
        assert_eq!(ip[12..16], v4(self.gateway));
        assert_eq!(ip[16..20], v4(self.outer));
        let payload = &ip[20..];
        let in_udp = match self.encapsulation {
            Encapsulation::Esp => {
                assert_eq!(ip[9], 50);
                return self.open_esp(payload);
            }
            Encapsulation::EspInUdp | Encapsulation::Plain => {
                assert_eq!(ip[9], 17);
                assert_eq!(payload[..2], self.gateway.port().to_be_bytes());
                assert_eq!(payload[2..4], self.outer.port().to_be_bytes());
                &payload[8..]
            }
        };
        match self.encapsulation {
            Encapsulation::Plain => in_udp.to_vec(),
            Encapsulation::Esp | Encapsulation::EspInUdp => self.open_esp(in_udp),
        }
    }

    /// The L2TP message in an ESP packet of the gateway.
    pub(super) fn open_esp(&mut self, esp: &[u8]) -> Vec<u8> {
        assert_eq!(esp[..4], self.spi_out.to_be_bytes());
        let sequence = u32::from_be_bytes(esp[4..8].try_into().unwrap());
        assert!(
            self.seen.insert((self.spi_out, sequence)),
            "{sequence} was used twice"
        );
        let mut packet = esp.to_vec();
        let mut job = EspJob {
            packet: &mut packet,
            slot: OPEN,
            esn_high: self.esn.then_some(0),
            verdict: Verdict::Pending,
        };
        self.keys.open(self.suite, std::slice::from_mut(&mut job));
        assert_eq!(job.verdict, Verdict::Ok);
        let (iv, icv) = (self.suite.iv_len(), self.suite.icv_len());
        let plain = &packet[8 + iv..packet.len() - icv];
        let [payload @ .., pad_len, 17] = plain else {
            panic!("next header is not UDP");
        };
        let udp = &payload[..payload.len() - usize::from(*pad_len)];
        assert_eq!(udp[..4], [0x06, 0xa5, 0x06, 0xa5]);
        assert_eq!(usize::from(u16::from_be_bytes([udp[4], udp[5]])), udp.len());
        udp[8..].to_vec()
    }
}

/// An Ethernet frame from one endpoint to another.
pub(super) fn outer(kind: Kind, from: Endpoint, to: Endpoint, bytes: &[u8]) -> Vec<u8> {
    let mut frame = Frame::new(vec![0_u8; 4096].into_boxed_slice(), 0, 0).unwrap();
    frame.fill(256, bytes).unwrap();
    let meta = Meta {
        kind,
        local: from,
        remote: to,
        ..Meta::ip(0)
    };
    let mut packet = Packet { frame, meta };
    let interface = Interface {
        port: 0,
        vrf: 0,
        mtu: 3000,
        mac: [0; 6],
    };
    wire::write(&mut packet, &interface, [[2; 6], [4; 6]]).unwrap();
    packet.frame.bytes().to_vec()
}

fn v4(endpoint: Endpoint) -> [u8; 4] {
    match endpoint.address() {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(_) => panic!("outer addresses are IPv4"),
    }
}
