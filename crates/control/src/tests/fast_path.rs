//! The fast path's part, crudely: what is open and installed, and what follows from it. It refuses
//! by panic what a real worker could not do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dataplane::change::{
    Activation, Change, Class, Encapsulation, Entry, Event, Inject, InstallOutbound, Kind, Network,
    Origin, Path, Punt, Rate, Session, SessionTraffic, SharedChange, ToWorker, Traffic,
};
use dataplane::id::{InboundSa, PathId, SessionSlot, WorkerId};
use ipnet::IpNet;
use packet::Endpoint;

use crate::Activity;

/// What is on its way to a client.
#[derive(Debug)]
pub(super) enum Downstream {
    /// ISAKMP, where it comes from and where it goes.
    Ike {
        local: Endpoint,
        remote: Endpoint,
        message: Vec<u8>,
    },
    /// An L2TP control message in the clear, and where it goes.
    PlainL2tp(Endpoint, Vec<u8>),
    /// An L2TP control message in an SA of this SPI.
    SecuredL2tp {
        spi: u32,
        remote: Endpoint,
        message: Vec<u8>,
    },
    /// A PPP frame of this session; in an SA of this SPI, if any.
    Ppp {
        spi: Option<u32>,
        remote: Endpoint,
        session: Session,
        frame: Vec<u8>,
    },
}

/// Something in ESP: under which of our SPIs, and from where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Esp {
    pub(super) now: Instant,
    pub(super) spi: u32,
    pub(super) from: Endpoint,
}

/// What the slow path may read at any time.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamps(Arc<Mutex<BTreeMap<PathId, Instant>>>);

impl Activity for Stamps {
    fn session_last_seen(&self, _: SessionSlot) -> Option<Instant> {
        None
    }
    fn path_last_seen(&self, path: PathId) -> Option<Instant> {
        self.0.lock().unwrap().get(&path).copied()
    }
    fn session_traffic(&self, _: SessionSlot) -> SessionTraffic {
        SessionTraffic::default()
    }
    fn inbound_traffic(&self, _: InboundSa) -> Traffic {
        Traffic::default()
    }
}

#[derive(Debug, Default)]
pub(super) struct FastPath {
    pub(super) paths: BTreeMap<PathId, Path>,
    pub(super) plain: BTreeMap<(u16, u16), PathId>,
    pub(super) sessions: BTreeMap<SessionSlot, Session>,
    pub(super) networks: BTreeMap<SessionSlot, Network>,
    pub(super) policers: BTreeMap<SessionSlot, (Option<Rate>, Option<Rate>)>,
    pub(super) attached: BTreeMap<IpNet, SessionSlot>,
    /// Path, whether it has been used.
    pub(super) inbound: BTreeMap<u32, (PathId, bool)>,
    /// Current, and those that wait.
    pub(super) outbound: BTreeMap<PathId, (Option<u32>, Vec<InstallOutbound>)>,
    pub(super) events: VecDeque<Event>,
    pub(super) sent: Vec<Downstream>,
    /// When each path was last heard.
    pub(super) stamps: Stamps,
    pub(super) terminate_requests: usize,
    pub(super) shards_given: usize,
    /// The names of all changes, in the order in which they came.
    pub(super) history: Vec<String>,
}

impl FastPath {
    pub(super) fn apply_shared(&mut self, change: SharedChange) {
        match change {
            SharedChange::Attach {
                prefix, session, ..
            } => {
                assert!(self.sessions.contains_key(&session), "attached to nothing");
                let before = self.attached.insert(prefix, session);
                assert_eq!(before, None, "{prefix} leads to two sessions");
            }
            SharedChange::Detach {
                prefix, session, ..
            } => {
                assert_eq!(self.attached.remove(&prefix), Some(session));
            }
            SharedChange::SetListener(_)
            | SharedChange::RemoveListener(_)
            | SharedChange::SetCookieKey(_)
            | SharedChange::AddLocal { .. }
            | SharedChange::AddPool { .. }
            | SharedChange::SetRoute { .. }
            | SharedChange::RemoveRoute { .. }
            | SharedChange::SetAdjacency(..) => {}
        }
    }

    pub(super) fn apply(&mut self, message: ToWorker) {
        match message {
            ToWorker::Change(change) => {
                let text = format!("{change:?}");
                self.history
                    .push(text.chars().take_while(|c| c.is_alphanumeric()).collect());
                self.change(change);
            }
            ToWorker::Inject(inject) => self.inject(inject),
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::OpenPath(path) => {
                assert!(
                    self.paths.insert(path.id, path).is_none(),
                    "path opened twice"
                );
                self.outbound.insert(path.id, (None, Vec::new()));
            }
            Change::MovePath {
                path,
                remote,
                encapsulation,
            } => {
                let path = self.paths.get_mut(&path).unwrap();
                (path.remote, path.encapsulation) = (remote, encapsulation);
            }
            Change::ClosePath(path) => {
                self.paths.remove(&path).unwrap();
                self.outbound.remove(&path).unwrap();
                assert!(self.inbound.values().all(|(of, _)| *of != path));
                assert!(self.sessions.values().all(|session| session.path != path));
                self.events.push_back(Event::PathRetired(path));
            }
            Change::OpenTunnel {
                listener,
                tunnel,
                path,
            } => {
                assert!(self.plain.insert((listener, tunnel), path).is_none());
            }
            Change::CloseTunnel { listener, tunnel } => {
                self.plain.remove(&(listener, tunnel)).unwrap();
            }
            Change::OpenSession(session) => {
                assert!(self.paths.contains_key(&session.path));
                let before = self.sessions.insert(session.id, session);
                // Told twice to two shards, or again when data must be numbered.
                let is_apart = session.id.0.shard() != session.path.0.shard();
                assert!(before.is_none() || is_apart || session.sequencing);
            }
            Change::OpenNetwork(network) => {
                assert!(self.sessions.contains_key(&network.session));
                self.networks.insert(network.session, network);
            }
            Change::SetPolicers { session, up, down } => {
                assert!(self.networks.contains_key(&session));
                self.policers.insert(session, (up, down));
            }
            Change::ResizeNetwork { session, mtu } => {
                let network = self.networks.get_mut(&session);
                network.expect("only sessions with IP are resized").mtu = mtu;
            }
            Change::CloseSession(slot) => {
                self.sessions.remove(&slot).unwrap();
                self.networks.remove(&slot);
                assert!(self.attached.values().all(|session| *session != slot));
                let traffic = SessionTraffic {
                    up: Traffic {
                        packets: 1,
                        bytes: 1000,
                    },
                    ..SessionTraffic::default()
                };
                self.events.push_back(Event::SessionRetired(slot, traffic));
            }
            Change::InstallInbound(install) => {
                assert!(self.paths.contains_key(&install.path));
                assert_eq!(install.sa.0.shard(), install.path.0.shard());
                let before = self.inbound.insert(install.sa.spi(), (install.path, false));
                assert!(before.is_none(), "SPI in use");
            }
            Change::RetireInbound(sa) => {
                self.inbound.remove(&sa.spi()).unwrap();
                self.events
                    .push_back(Event::InboundRetired(sa, Traffic::default()));
            }
            Change::InstallOutbound(install) => self.install_outbound(install),
            Change::ActivateOutbound { path, spi } => {
                self.activate(path, |install| install.spi == spi)
            }
            Change::RetireOutbound { path, spi } => {
                let (current, waiting) = self.outbound.get_mut(&path).unwrap();
                waiting.retain(|install| install.spi != spi);
                if *current == Some(spi) {
                    *current = None;
                }
            }
            Change::GiveShard { shard, to } => {
                self.shards_given += 1;
                self.events.push_back(Event::ShardArrived(shard, to));
            }
        }
    }

    fn install_outbound(&mut self, install: InstallOutbound) {
        let (current, waiting) = self.outbound.get_mut(&install.path).unwrap();
        if current.is_none() || install.activation == Activation::Now {
            *current = Some(install.spi);
        } else {
            waiting.push(install);
        }
    }

    fn activate(&mut self, path: PathId, is_it: impl Fn(&InstallOutbound) -> bool) {
        let (current, waiting) = self.outbound.get_mut(&path).unwrap();
        if let Some(at) = waiting.iter().position(is_it) {
            *current = Some(waiting.remove(at).spi);
        }
    }

    fn inject(&mut self, inject: Inject) {
        let bytes = inject.bytes;
        let downstream = match inject.entry {
            Entry::Transmit {
                kind,
                local,
                remote,
                ..
            } => match kind {
                Kind::Ike => Downstream::Ike {
                    local,
                    remote,
                    message: bytes,
                },
                Kind::L2tp => Downstream::PlainL2tp(remote, bytes),
                Kind::Keepalive => return,
                Kind::Esp | Kind::EspInUdp | Kind::Ip => panic!("nobody sends {kind:?}"),
            },
            Entry::Tunnel { path, .. } => match self.outbound.get(&path) {
                Some((Some(spi), _)) => Downstream::SecuredL2tp {
                    spi: *spi,
                    remote: self.paths[&path].remote,
                    message: bytes,
                },
                // No SA: the worker discards it by name.
                Some((None, _)) | None => return,
            },
            Entry::Session(slot) => {
                let session = self.sessions[&slot];
                self.check_disclosure(slot, &bytes);
                let is_terminate = bytes.starts_with(&[0xff, 0x03, 0xc0, 0x21, 5]);
                self.terminate_requests += usize::from(is_terminate);
                let path = self.paths[&session.path];
                Downstream::Ppp {
                    spi: self.outbound[&session.path].0,
                    remote: path.remote,
                    session,
                    frame: bytes,
                }
            }
            Entry::Link { .. } | Entry::Route { .. } => panic!("not the slow path's"),
        };
        self.sent.push(downstream);
    }

    /// The peer must not learn of its address before packets for it find the session.
    fn check_disclosure(&self, slot: SessionSlot, frame: &[u8]) {
        const IPCP: [u8; 4] = [0xff, 0x03, 0x80, 0x21];
        const CONFIGURE_ACK: u8 = 2;
        if frame.starts_with(&IPCP) && frame[4] == CONFIGURE_ACK {
            assert!(self.attached.values().any(|session| *session == slot));
            assert!(self.networks.contains_key(&slot));
        }
    }

    /// An L2TP control message in the clear.
    pub(super) fn plain_l2tp(&self, local: Endpoint, remote: Endpoint, bytes: Vec<u8>) -> Punt {
        Punt {
            class: Class::Stranger,
            origin: Origin::PlainL2tp {
                worker: WorkerId(0),
                listener: 0,
                local,
                remote,
            },
            bytes,
        }
    }

    /// A plain PPP frame by our ids; `None` where the worker discards it.
    pub(super) fn plain_ppp(
        &self,
        remote: Endpoint,
        ids: (u16, u16),
        bytes: Vec<u8>,
    ) -> Option<Punt> {
        let path = *self.plain.get(&(0, ids.0))?;
        (self.paths[&path].remote == remote).then_some(())?;
        self.ppp(path, ids, bytes)
    }

    fn ppp(&self, path: PathId, ids: (u16, u16), bytes: Vec<u8>) -> Option<Punt> {
        let mut sessions = self.sessions.values();
        let is_it =
            |session: &&Session| session.path == path && (session.tunnel, session.session) == ids;
        Some(Punt {
            class: Class::Established,
            origin: Origin::Ppp(sessions.find(is_it)?.id),
            bytes,
        })
    }

    /// Something under one of our SPIs: whose path it is.
    pub(super) fn open(&mut self, esp: Esp) -> Option<PathId> {
        let Esp { now, spi, from } = esp;
        let (path, is_used) = self.inbound.get_mut(&spi)?;
        let path = *path;
        self.stamps.0.lock().unwrap().insert(path, now);
        let place = self.paths.get_mut(&path).unwrap();
        if place.encapsulation == Encapsulation::EspInUdp && place.remote != from {
            place.remote = from;
            let remote = from;
            self.events.push_back(Event::PathMoved { path, remote });
        }
        if !std::mem::replace(is_used, true) {
            let sa = InboundSa::from_spi(spi);
            self.events.push_back(Event::FirstInbound(sa));
            self.activate(path, |install| {
                install.activation == Activation::AfterFirst(sa)
            });
        }
        Some(path)
    }

    /// An L2TP control message under one of our SPIs.
    pub(super) fn secured_l2tp(&mut self, esp: Esp, bytes: Vec<u8>) -> Option<Punt> {
        let origin = Origin::SecuredL2tp {
            path: self.open(esp)?,
            local_port: 1701,
            peer_port: 1701,
        };
        let class = Class::Established;
        Some(Punt {
            class,
            origin,
            bytes,
        })
    }

    /// A PPP frame under one of our SPIs.
    pub(super) fn secured_ppp(
        &mut self,
        esp: Esp,
        ids: (u16, u16),
        bytes: Vec<u8>,
    ) -> Option<Punt> {
        let path = self.open(esp)?;
        self.ppp(path, ids, bytes)
    }

    /// Whether everything that was opened has been closed.
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
            && self.plain.is_empty()
            && self.sessions.is_empty()
            && self.networks.is_empty()
            && self.attached.is_empty()
            && self.inbound.is_empty()
            && self.outbound.is_empty()
    }
}
