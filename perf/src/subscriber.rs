//! Who the subscribers of a benchmark are: ids, addresses and keys follow from a number.

use std::net::Ipv4Addr;

use crypto::esp::{Keymat, Suite};
use dataplane::change::{
    Activation, Change, Encapsulation, InstallInbound, InstallOutbound, Limits, Network, Path,
    Rate, Session,
};
use dataplane::id::{InboundSa, PathId, SHARDS, SessionSlot, ShardId, Slot};
use packet::Endpoint;
use packet::header::Udp;

use crate::rng::Rng;

/// Our outer addresses: where IPsec is required, and where plain L2TP is served.
pub(crate) const SECURE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const PLAIN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Keys that there are. A prime, so that neighbours in every table have different ones.
pub(crate) const KEYS: usize = 251;

/// Tunnels of plain L2TP: with more sessions than this, several share one.
const PLAIN_TUNNELS: usize = 32_768;

/// Slots below are a slow path's, where there is one beside.
const FIRST_SECURED: u32 = 4096;

/// A policer that is on, and lets everything pass.
const UNREACHED: Rate = Rate {
    bits_per_second: 1_000_000_000_000,
    burst: u32::MAX,
};

/// Packets behind the newest that are still taken.
const WINDOW: u32 = 1024;

/// The first SPI that a subscriber chose.
const OUTBOUND_SPI: u32 = 0x7700_0000;

/// What protects the packets: an ESP suite in UDP, or nothing.
pub(crate) type Protection = Option<Suite>;

/// Which direction of a subscriber's SA a key is for, as the subscriber sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Sent,
    Received,
}

/// One subscriber: a peer with one session, or one session of a plain tunnel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    number: usize,
    protection: Protection,
}

impl Subscriber {
    pub(crate) fn new(number: usize, protection: Protection) -> Self {
        Self { number, protection }
    }

    /// Which of the peers it belongs to.
    fn peer(self) -> usize {
        match self.protection {
            Some(_) => self.number,
            None => self.number % PLAIN_TUNNELS,
        }
    }

    /// Whether it is the first one of its peer.
    fn is_first(self) -> bool {
        self.peer() == self.number
    }

    pub(crate) fn slot(self) -> Slot {
        self.slot_of(self.number)
    }

    /// Neighbours in number are in different shards; no slot is 0, which would be tunnel id 0.
    fn slot_of(self, number: usize) -> Slot {
        let first = match self.protection {
            Some(_) => FIRST_SECURED,
            None => 1,
        };
        Slot::new(
            ShardId::new((number % SHARDS) as u8),
            (number / SHARDS) as u32 + first,
            1,
        )
    }

    fn path(self) -> PathId {
        PathId(self.slot_of(self.peer()))
    }

    /// Our tunnel and session id, as it writes them.
    pub(crate) fn ids(self) -> [u16; 2] {
        match self.protection {
            // Inside an SA they are random and only compared.
            Some(_) => {
                let random = Rng::new(self.number as u64).next();
                [random as u16 | 1, (random >> 16) as u16 | 1]
            }
            None => {
                let shard = self.slot().shard().index() as u16;
                let tunnel = (self.path().0.index() as u16) << 6 | shard;
                [
                    tunnel,
                    ((self.number / PLAIN_TUNNELS + 1) as u16) << 6 | shard,
                ]
            }
        }
    }

    /// Its tunnel and session id, as we write them.
    pub(crate) fn peer_ids(self) -> [u16; 2] {
        let random = Rng::new(!self.number as u64).next();
        [random as u16 | 1, (random >> 16) as u16 | 1]
    }

    /// Its address on the inside.
    pub(crate) fn address(self) -> Ipv4Addr {
        Ipv4Addr::from(0x0a00_0100 + self.number as u32)
    }

    /// Which subscriber has this address.
    pub(crate) fn number_of(address: Ipv4Addr) -> usize {
        u32::from(address).wrapping_sub(0x0a00_0100) as usize
    }

    /// Its address and port on the outside: behind a NAT, if it uses IPsec.
    pub(crate) fn outer(self) -> Endpoint {
        let address = Ipv4Addr::from(0x6440_0000 + self.peer() as u32);
        let port = match self.protection {
            Some(_) => 1024 + (self.peer() % 60_000) as u16,
            None => Udp::L2TP,
        };
        Endpoint::new(address.into(), port)
    }

    /// Where it sends to.
    pub(crate) fn gateway(self) -> Endpoint {
        match self.protection {
            Some(_) => Endpoint::new(SECURE.into(), Udp::NAT_T),
            None => Endpoint::new(PLAIN.into(), Udp::L2TP),
        }
    }

    /// The SPI it sends with.
    pub(crate) fn spi(self) -> u32 {
        InboundSa(self.slot()).spi()
    }

    /// The SPI we send to it with.
    pub(crate) fn outbound_spi(self) -> u32 {
        OUTBOUND_SPI + self.number as u32
    }

    /// Which of the [`KEYS`] it has.
    pub(crate) fn key(self) -> usize {
        self.number % KEYS
    }

    /// What brings it up.
    pub(crate) fn changes(self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.is_first() {
            changes.push(Change::OpenPath(self.as_path()));
            match self.protection {
                Some(suite) => {
                    changes.push(Change::InstallInbound(self.inbound(suite)));
                    changes.push(Change::InstallOutbound(self.outbound(suite)));
                }
                None => changes.push(Change::OpenTunnel {
                    listener: 1,
                    tunnel: self.ids()[0],
                    path: self.path(),
                }),
            }
        }
        changes.push(Change::OpenSession(self.as_session()));
        changes.push(Change::OpenNetwork(self.as_network()));
        changes.push(Change::SetPolicers {
            session: SessionSlot(self.slot()),
            up: Some(UNREACHED),
            down: Some(UNREACHED),
        });
        changes
    }

    fn as_path(self) -> Path {
        Path {
            id: self.path(),
            local: self.gateway(),
            remote: self.outer(),
            encapsulation: match self.protection {
                Some(_) => Encapsulation::EspInUdp,
                None => Encapsulation::Plain,
            },
            mtu: 1600,
            vrf: 0,
        }
    }

    fn inbound(self, suite: Suite) -> InstallInbound {
        InstallInbound {
            sa: InboundSa(self.slot()),
            path: self.path(),
            suite,
            keys: keymat(suite, self.key(), Way::Sent),
            esn: false,
            window: WINDOW,
            limits: Limits::NONE,
        }
    }

    fn outbound(self, suite: Suite) -> InstallOutbound {
        InstallOutbound {
            path: self.path(),
            spi: self.outbound_spi(),
            suite,
            keys: keymat(suite, self.key(), Way::Received),
            iv_key: [0x5a; 16],
            esn: false,
            first_sequence: 1,
            limits: Limits::NONE,
            activation: Activation::Now,
        }
    }

    fn as_session(self) -> Session {
        let [tunnel, session] = self.ids();
        let [peer_tunnel, peer_session] = self.peer_ids();
        Session {
            id: SessionSlot(self.slot()),
            path: self.path(),
            listener: u16::from(self.protection.is_none()),
            tunnel,
            session,
            peer_tunnel,
            peer_session,
            local_port: Udp::L2TP,
            peer_port: Udp::L2TP,
            sequencing: false,
        }
    }

    fn as_network(self) -> Network {
        Network {
            session: SessionSlot(self.slot()),
            address: self.address().into(),
            prefixes: Vec::new(),
            mtu: 1400,
            pfc: false,
            acfc: false,
            clamp_mss: true,
            isolate: false,
        }
    }
}

/// Key material `number` of a suite, for one direction.
pub(crate) fn keymat(suite: Suite, number: usize, way: Way) -> Keymat {
    let mut bytes = vec![0; suite.keymat_len()];
    Rng::new((number as u64) << 1 | u64::from(way == Way::Sent)).fill(&mut bytes);
    Keymat::new(suite, &bytes).expect("as long as the suite wants it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const GCM: Protection = Some(Suite::AesGcm16 { key_bits: 128 });

    #[test]
    fn no_two_sessions_of_a_tunnel_have_the_same_ids() {
        for protection in [GCM, None] {
            let all = (0..200_000).map(|n| Subscriber::new(n, protection));
            let ids: BTreeSet<_> = all.map(|s| (s.path(), s.ids())).collect();
            assert_eq!(ids.len(), 200_000);
        }
    }

    #[test]
    fn an_address_names_its_subscriber() {
        for number in [0, 1, 255, 256, 999_999] {
            let address = Subscriber::new(number, GCM).address();
            assert_eq!(Subscriber::number_of(address), number);
        }
    }
}
