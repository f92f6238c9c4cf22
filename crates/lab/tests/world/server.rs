//! A server in memory, of the same machines in their other role: it answers IKE, L2TP and PPP, and
//! reflects every packet of a subscriber.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

use crypto::{Random, Secret};
use ike::policy::{Policy, Psk};
use ike::{Cookie, Environment, Spi};
use l2tp::{Kind, SessionId, TunnelId};
use lab::sa::{HEADER, PairId, Sas, Sealed, Unsealed};
use lab::wire::{self, Checksum, NON_ESP_MARKER};
use packet::header::{Ipv4, Udp};
use ppp::{Grant, Method, UserSecret, Verdict};

type IkeAct<'a> = dyn FnMut(&mut ike::v1::Sa, &mut dyn Environment, &mut Vec<ike::Output>) + 'a;

pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// One client as the server knows it.
struct Peer {
    /// By the cookies of their initiator, the newest last.
    isakmp: Vec<(Cookie, ike::v1::Sa)>,
    /// Where ESP goes, and whether in UDP.
    path: SocketAddrV4,
    pair: Option<PairId>,
    pairs: Vec<(Spi, PairId)>,
    tunnel: Option<l2tp::Tunnel>,
    link: Option<ppp::Link>,
    session: (SessionId, SessionId),
}

/// The server.
pub(crate) struct Server {
    pub(crate) policy: Arc<Policy>,
    pub(crate) l2tp: Arc<l2tp::Settings>,
    pub(crate) ppp: Arc<ppp::Settings>,
    pub(crate) password: &'static str,
    peers: Vec<Peer>,
    places: HashMap<SocketAddrV4, usize>,
    sas: Sas,
    random: Random,
    /// IP packets to the clients.
    pub(crate) out: Vec<Vec<u8>>,
    /// Tunnels that ended, and ISAKMP SAs; of those, all that there were.
    pub(crate) tunnels_down: usize,
    pub(crate) isakmp_down: usize,
    pub(crate) isakmp_up: usize,
}

struct Env<'a> {
    sas: &'a mut Sas,
    random: &'a mut Random,
    owner: u32,
}

impl Environment for Env<'_> {
    fn random(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }

    fn allocate_spi(&mut self) -> Option<Spi> {
        self.sas.reserve(self.owner)
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        let mut policy = Policy::modern();
        let key = Secret::new(b"words".to_vec());
        policy.psks = vec![Psk {
            peer: None,
            identity: None,
            key,
        }];
        let mut ppp = ppp::Settings::server("server");
        ppp.auth = vec![Method::MsChapV2, Method::ChapMd5, Method::Pap];
        Self {
            policy: Arc::new(policy),
            l2tp: Arc::new(l2tp::Settings::default()),
            ppp: Arc::new(ppp),
            password: "secret",
            peers: Vec::new(),
            places: HashMap::new(),
            sas: Sas::new(Random::from_seed([9; 32])),
            random: Random::from_seed([8; 32]),
            out: Vec::new(),
            tunnels_down: 0,
            isakmp_down: 0,
            isakmp_up: 0,
        }
    }

    /// Takes one IP packet.
    pub(crate) fn receive(&mut self, now: Instant, packet: &mut [u8]) {
        let (from, to, range) = wire::ip_payload(packet).unwrap();
        assert_eq!(to, ADDRESS);
        if packet[9] == Ipv4::ESP {
            return self.receive_esp(now, SocketAddrV4::new(from, 0), &mut packet[range]);
        }
        let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let (from, to) = (
            SocketAddrV4::new(from, port(range.start)),
            port(range.start + 2),
        );
        let payload = &mut packet[range.start + Udp::LEN..range.end];
        match to {
            Udp::IKE => self.receive_ike(now, from, Udp::IKE, payload),
            Udp::NAT_T if payload.starts_with(&NON_ESP_MARKER) => {
                self.receive_ike(now, from, Udp::NAT_T, &payload[4..]);
            }
            Udp::NAT_T if payload.len() == 1 => {}
            Udp::NAT_T => self.receive_esp(now, from, payload),
            Udp::L2TP => {
                let index = self.peer_at(from);
                self.receive_l2tp(now, index, payload);
            }
            other => panic!("a packet for port {other}"),
        }
    }

    /// Does what is due for everybody.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for index in 0..self.peers.len() {
            for nth in 0..self.peers[index].isakmp.len() {
                self.ike(now, (index, nth), &mut |sa, env, out| {
                    sa.handle_timeout(now, env, out)
                });
            }
            self.tunnel(now, index, &mut |tunnel, random, out| {
                tunnel.handle_timeout(now, random, out)
            });
            self.link(now, index, &mut |link, random, out| {
                link.handle_timeout(now, random, out)
            });
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = self.peers.iter().flat_map(|peer| {
            let isakmp = peer.isakmp.iter().map(|(_, sa)| sa.poll_timeout());
            isakmp.chain([
                peer.tunnel.as_ref().and_then(l2tp::Tunnel::poll_timeout),
                peer.link.as_ref().and_then(ppp::Link::poll_timeout),
            ])
        });
        deadlines.flatten().map(|(at, _)| at).min()
    }

    /// Renews the pair of every client.
    pub(crate) fn rekey(&mut self, now: Instant) {
        for index in 0..self.peers.len() {
            let Some(last) = self.peers[index].isakmp.len().checked_sub(1) else {
                continue;
            };
            self.ike(now, (index, last), &mut |sa, env, out| {
                sa.create_child(now, env, out)
            });
        }
    }

    /// Throws every client out.
    pub(crate) fn hang_up(&mut self, now: Instant) {
        for index in 0..self.peers.len() {
            self.link(now, index, &mut |link, _, out| {
                link.close(now, ppp::DownReason::Cleared, out)
            });
        }
    }

    fn peer_at(&mut self, address: SocketAddrV4) -> usize {
        *self.places.entry(address).or_insert_with(|| {
            self.peers.push(Peer {
                isakmp: Vec::new(),
                path: address,
                pair: None,
                pairs: Vec::new(),
                tunnel: None,
                link: None,
                session: (SessionId(0), SessionId(0)),
            });
            self.peers.len() - 1
        })
    }

    fn receive_ike(&mut self, now: Instant, from: SocketAddrV4, port: u16, message: &[u8]) {
        let cookie = ike::peek(message).unwrap().cookies.initiator;
        let is_it = |(own, _): &(Cookie, _)| *own == cookie;
        let mut peers = self.peers.iter().enumerate();
        let known = peers.find_map(|(i, peer)| Some((i, peer.isakmp.iter().position(is_it)?)));
        let (local, remote) = (SocketAddr::new(ADDRESS.into(), port), SocketAddr::V4(from));
        let place = known.unwrap_or_else(|| {
            let own = Cookie(self.random.array());
            let policy = Arc::clone(&self.policy);
            let index = self.peer_at(from);
            let isakmp = &mut self.peers[index].isakmp;
            let sa = ike::v1::Sa::respond(policy, own, now, local, remote);
            isakmp.push((cookie, sa));
            (index, isakmp.len() - 1)
        });
        self.ike(now, place, &mut |sa, env, out| {
            let _refused = sa.handle_input(now, local, remote, message, env, out);
        });
    }

    /// One of a peer's ISAKMP SAs does something.
    fn ike(&mut self, now: Instant, (index, nth): (usize, usize), act: &mut IkeAct<'_>) {
        let (_, sa) = &mut self.peers[index].isakmp[nth];
        let owner = index as u32;
        let mut env = Env {
            sas: &mut self.sas,
            random: &mut self.random,
            owner,
        };
        let mut events = Vec::new();
        act(sa, &mut env, &mut events);
        for event in events {
            self.follow_ike(now, (index, nth), event);
        }
    }

    /// What stood before gives its pairs to what stands now.
    fn hand_on(&mut self, (index, nth): (usize, usize)) {
        let (older, newer) = self.peers[index].isakmp.split_at_mut(nth);
        for (_, sa) in older {
            newer[0].1.adopt_children(sa.take_children());
        }
    }

    fn follow_ike(&mut self, now: Instant, place: (usize, usize), event: ike::Output) {
        let (index, _) = place;
        match event {
            ike::Output::Send {
                local,
                remote: SocketAddr::V4(remote),
                message,
            } => {
                let marked = [&NON_ESP_MARKER[..], &message].concat();
                let payload = if local.port() == Udp::IKE {
                    &message
                } else {
                    &marked
                };
                self.send_udp(local.port(), remote, payload);
            }
            ike::Output::Compute { token, job } => {
                let outcome = job.run();
                self.ike(now, place, &mut |sa, env, out| {
                    sa.handle_computed(now, token, outcome.clone(), env, out);
                });
            }
            ike::Output::ChildUp(child) => {
                let pair = self.sas.install(&child).unwrap();
                self.peers[index].pairs.push((child.inbound, pair));
                if child.initiator || self.peers[index].pair.is_none() {
                    self.peers[index].pair = Some(pair);
                }
            }
            ike::Output::ChildConfirmed { inbound } => {
                let pairs = &self.peers[index].pairs;
                let pair = pairs.iter().find(|(spi, _)| *spi == inbound);
                self.peers[index].pair = pair.map(|(_, pair)| *pair);
            }
            ike::Output::ChildDown { inbound, .. } => {
                self.sas.remove(inbound);
                self.peers[index].pairs.retain(|(spi, _)| *spi != inbound);
            }
            ike::Output::RemoteMoved {
                remote: SocketAddr::V4(remote),
                ..
            } => {
                self.peers[index].path = remote;
            }
            ike::Output::Established(_) => {
                self.isakmp_up += 1;
                self.hand_on(place);
            }
            ike::Output::Down { .. } => self.isakmp_down += 1,
            _ => {}
        }
    }

    fn receive_esp(&mut self, now: Instant, from: SocketAddrV4, packet: &mut [u8]) {
        let mut sealed = [Sealed {
            packet,
            result: Err(lab::sa::EspFault::Truncated),
        }];
        self.sas.open(&mut sealed);
        let [
            Sealed {
                packet,
                result: Ok(opened),
            },
        ] = sealed
        else {
            return;
        };
        self.peers[opened.owner as usize].path = from;
        let mut plain = packet[opened.head..packet.len() - opened.tail].to_vec();
        // A client may have any port; what reads it wants the server's first.
        plain[..4].rotate_left(2);
        let range = wire::l2tp_in_esp(&plain).unwrap();
        self.receive_l2tp(now, opened.owner as usize, &plain[range]);
    }

    fn receive_l2tp(&mut self, now: Instant, index: usize, message: &[u8]) {
        let header = l2tp::peek(message).unwrap();
        if header.kind == Kind::Control {
            if self.peers[index].tunnel.is_none() {
                let id = TunnelId(self.random.u16().max(1));
                let tunnel = l2tp::Tunnel::answer(Arc::clone(&self.l2tp), id, now);
                self.peers[index].tunnel = Some(tunnel);
            }
            return self.tunnel(now, index, &mut |tunnel, random, out| {
                let _refused = tunnel.handle_input(now, message, random, out);
            });
        }
        let frame = &message[header.payload];
        if self.peers[index].session.0 != header.session {
            return; // the ICCN was lost on the way
        }
        match wire::ip_in_ppp(frame) {
            Some(packet) => self.reflect(index, packet),
            None => {
                self.link(now, index, &mut |link, random, out| {
                    link.handle_input(now, frame, random, out)
                });
            }
        }
    }

    fn reflect(&mut self, index: usize, packet: &[u8]) {
        let message = [&[0xff, 0x03, 0x00, 0x21][..], packet].concat();
        self.send_frame(index, &message);
    }

    fn tunnel(
        &mut self,
        now: Instant,
        index: usize,
        act: &mut dyn FnMut(&mut l2tp::Tunnel, &mut Random, &mut Vec<l2tp::Output>),
    ) {
        let Some(tunnel) = &mut self.peers[index].tunnel else {
            return;
        };
        let mut events = Vec::new();
        act(tunnel, &mut self.random, &mut events);
        for event in events {
            match event {
                l2tp::Output::Send(message) => self.send_l2tp(index, &message),
                l2tp::Output::CallOffered { peer_session, .. } => {
                    let id = SessionId(self.random.u16().max(1));
                    self.tunnel(now, index, &mut |tunnel, _, out| {
                        tunnel.accept_call(now, peer_session, id, out);
                    });
                }
                l2tp::Output::CallUp {
                    session,
                    peer_session,
                    ..
                } => {
                    self.peers[index].session = (session, peer_session);
                    let settings = Arc::clone(&self.ppp);
                    let link = ppp::Link::new(settings, now, &mut self.random);
                    self.peers[index].link = Some(link);
                    self.link(now, index, &mut |link, random, out| {
                        link.open(now, random, out)
                    });
                }
                l2tp::Output::TunnelDown { .. } => self.tunnels_down += 1,
                _ => {}
            }
        }
    }

    fn link(
        &mut self,
        now: Instant,
        index: usize,
        act: &mut dyn FnMut(&mut ppp::Link, &mut Random, &mut Vec<ppp::Output>),
    ) {
        let Some(link) = &mut self.peers[index].link else {
            return;
        };
        let mut events = Vec::new();
        act(link, &mut self.random, &mut events);
        for event in events {
            match event {
                ppp::Output::Send(frame) => self.send_frame(index, &frame),
                ppp::Output::Authenticate(credentials) => {
                    let secret = UserSecret::Password(Secret::new(self.password.as_bytes()));
                    let verdict = match credentials.check(&secret) {
                        Some(proof) => Verdict::Accept(Grant {
                            peer_address: Ipv4Addr::from(0x0a4d_000a + index as u32),
                            own_address: Ipv4Addr::new(10, 77, 0, 1),
                            dns: vec![],
                            wins: vec![],
                            authenticator_response: proof.authenticator_response,
                        }),
                        None => Verdict::Reject {
                            message: "nobody of that name".into(),
                        },
                    };
                    self.link(now, index, &mut |link, random, out| {
                        link.authorize(now, verdict.clone(), random, out);
                    });
                }
                ppp::Output::Down(_) => self.tunnel(now, index, &mut |tunnel, _, out| {
                    tunnel.close(now, l2tp::TunnelEnd::Administrative, out);
                }),
                _ => {}
            }
        }
    }

    fn send_frame(&mut self, index: usize, frame: &[u8]) {
        let peer = &self.peers[index];
        let Some(tunnel) = &peer.tunnel else { return };
        let header = wire::l2tp_header(tunnel.peer_id().0, peer.session.1.0);
        self.send_l2tp(index, &[&header[..], frame].concat());
    }

    fn send_l2tp(&mut self, index: usize, message: &[u8]) {
        let (path, pair) = (self.peers[index].path, self.peers[index].pair);
        let Some(pair) = pair else {
            return self.send_udp(Udp::L2TP, path, message);
        };
        let envelope = self.sas.envelope(pair).unwrap();
        let head = HEADER + envelope.suite.iv_len();
        let mut packet = vec![0; head + Udp::LEN];
        packet.extend_from_slice(message);
        wire::write_udp(&mut packet[head..], Udp::L2TP, Udp::L2TP);
        wire::pad_esp(
            &mut packet,
            head,
            envelope.suite.block_len(),
            envelope.suite.icv_len(),
        );
        wire::write_esp(&mut packet, envelope.spi, envelope.sequence);
        self.sas.seal(&mut [Unsealed {
            packet: &mut packet,
            start: 0,
            pair,
        }]);
        if path.port() == 0 {
            let mut whole = vec![0; Ipv4::LEN];
            whole.extend_from_slice(&packet);
            wire::finish_ip(&mut whole, ADDRESS, *path.ip(), Ipv4::ESP);
            return self.out.push(whole);
        }
        self.send_udp(Udp::NAT_T, path, &packet);
    }

    fn send_udp(&mut self, port: u16, to: SocketAddrV4, payload: &[u8]) {
        let from = SocketAddrV4::new(ADDRESS, port);
        self.out.push(wire::udp(from, to, payload, Checksum::Full));
    }
}
