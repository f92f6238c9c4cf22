//! What follows from the news of each machine: the one above it begins, or all ends.

use std::sync::Arc;

use gateway::escaped;
use l2tp::{CallRefusal, SessionId};

use super::{Cause, Client, Env, Lease, Medium, Output, Phase, Session, Stage, Turn, Way, Wish};
use crate::wire::ShortPpp;

impl Client {
    /// Notes a message that wants an answer.
    fn send(&mut self, message: Output, turn: &mut Turn<'_>) {
        self.unanswered += 1;
        let carried = match &message {
            Output::Ike {
                is_floated: true,
                message,
            } => Some((Medium::FloatedIke, message)),
            Output::Ike { message, .. } => Some((Medium::Ike, message)),
            Output::L2tp(message) => Some((Medium::L2tp, message)),
            Output::Keepalive
            | Output::Compute { .. }
            | Output::Lac(_)
            | Output::SaUp(_)
            | Output::Keys(_)
            | Output::SaConfirmed(_)
            | Output::SaDown(_)
            | Output::Up(_)
            | Output::Down(_) => None,
        };
        if let Some((medium, octets)) = carried {
            self.note(turn.now, Way::Sent, medium, octets);
        }
        turn.out.push(message);
    }

    pub(super) fn follow_ike(&mut self, events: Vec<ike::Output>, turn: &mut Turn<'_>) {
        let mut has_pair = false;
        let mut end = None;
        for event in events {
            has_pair |= matches!(event, ike::Output::ChildUp(_));
            let cause = self.follow_ike_event(event, turn);
            end = end.or(cause);
        }
        if let Some(cause) = end {
            self.give_up_unless_up(cause, turn);
        }
        // Behind the messages that announce the pair: strongSwan as a responder has it only when
        // quick mode message 3 is there.
        if has_pair && self.tunnel.is_none() && matches!(self.phase, Phase::SettingUp { .. }) {
            self.begin_tunnel(turn);
        }
    }

    /// What an event means; a cause if the client may have to end for it, once all are followed.
    pub(super) fn follow_ike_event(
        &mut self,
        event: ike::Output,
        turn: &mut Turn<'_>,
    ) -> Option<Cause> {
        match event {
            ike::Output::Send { local, message, .. } => {
                let is_floated = local.port() != ike::nat::IKE_PORT;
                self.send(
                    Output::Ike {
                        is_floated,
                        message,
                    },
                    turn,
                );
            }
            ike::Output::Keepalive { .. } => turn.out.push(Output::Keepalive),
            ike::Output::Compute { token, job } => {
                let token = self.own_token(token);
                turn.out.push(Output::Compute { token, job });
            }
            ike::Output::Established(established) => self.begin_quick_mode(&established, turn),
            ike::Output::ChildUp(child) => {
                self.stages.reach(Stage::Phase2, turn.now);
                self.agreed.suite = Some(child.suite);
                self.agreed.is_encapsulated = child.encapsulated;
                turn.out.push(Output::SaUp(child));
            }
            ike::Output::ChildConfirmed { inbound } => turn.out.push(Output::SaConfirmed(inbound)),
            ike::Output::ChildFailed { inbound, reason } => {
                turn.out.extend(inbound.map(Output::SaDown));
                return Some(Cause::Ipsec(reason));
            }
            ike::Output::ChildDown { inbound, .. } => turn.out.push(Output::SaDown(inbound)),
            ike::Output::ProposalRefused(refused) => {
                let list: Vec<String> = refused.iter().map(ToString::to_string).collect();
                self.remark = Some(list.join(", "));
            }
            ike::Output::Down { reason } => return Some(Cause::Isakmp(reason)),
            ike::Output::RenewalDue => self.renew(turn),
            ike::Output::RemoteMoved { .. } | ike::Output::InitialContact => {}
            ike::Output::KeysForLog(keys) => {
                if let Some(journal) = &mut self.journal {
                    journal.keys.push(keys.clone());
                }
                turn.out.push(Output::Keys(Box::new(keys)));
            }
        }
        None
    }

    fn begin_quick_mode(&mut self, established: &ike::Established, turn: &mut Turn<'_>) {
        self.stages.reach(Stage::Phase1, turn.now);
        self.agreed.phase1 = established.suite.to_string();
        self.agreed.nat = established.nat.encapsulates();
        let mut events = Vec::new();
        if let Some(sa) = &mut self.isakmp {
            let env = &mut Env::new(&mut self.random, turn.spis);
            sa.create_child(turn.now, env, &mut events);
        }
        self.follow_ike(events, turn);
    }

    /// Messages first: an acknowledgement goes out before the end that it acknowledges is followed.
    pub(super) fn follow_l2tp(&mut self, events: Vec<l2tp::Output>, turn: &mut Turn<'_>) {
        let (messages, news): (Vec<_>, Vec<_>) = events
            .into_iter()
            .partition(|event| matches!(event, l2tp::Output::Send(_)));
        for event in messages.into_iter().chain(news) {
            match event {
                l2tp::Output::Send(message) => self.send(Output::L2tp(message), turn),
                l2tp::Output::TunnelUp {
                    peer, host_name, ..
                } => {
                    self.shared = self.shared.map(|_| peer);
                    self.stages.reach(Stage::Tunnel, turn.now);
                    self.agreed.host_name = escaped(&host_name, None).into_owned();
                    self.place_call(turn);
                }
                l2tp::Output::CallOffered { peer_session, .. } => {
                    self.reject_call(peer_session, turn);
                }
                l2tp::Output::CallUp {
                    session,
                    peer_session,
                    ..
                } => {
                    self.connected = Some((session, peer_session));
                    self.begin_acknowledged(turn);
                }
                l2tp::Output::CallDown { end, .. } => self.lose_call(end, turn),
                l2tp::Output::TunnelDown { end } => {
                    self.fail(Cause::Tunnel(end));
                    self.leave(turn);
                }
                l2tp::Output::OfferWithdrawn { .. } => {}
            }
        }
    }

    fn place_call(&mut self, turn: &mut Turn<'_>) {
        if self.shared.is_some() {
            let wish = Wish::Call(self.settings.call.clone());
            return turn.out.push(Output::Lac(wish));
        }
        let drawn = self.random.u16().max(1);
        let id = SessionId(self.settings.habits.session_id.unwrap_or(drawn));
        let mut events = Vec::new();
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.place_call(turn.now, id, self.settings.call.clone(), &mut events);
        }
        self.follow_l2tp(events, turn);
    }

    /// A client is called by nobody.
    fn reject_call(&mut self, peer_session: SessionId, turn: &mut Turn<'_>) {
        let mut events = Vec::new();
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.reject_call(
                turn.now,
                peer_session,
                CallRefusal::NoFacilities,
                &mut events,
            );
        }
        self.follow_l2tp(events, turn);
    }

    /// PPP begins with the call, or when the client can know that the call is connected.
    pub(super) fn begin_acknowledged(&mut self, turn: &mut Turn<'_>) {
        let tunnel = self.tunnel.as_ref();
        let may_begin = self.shared.is_some()
            || !self.settings.habits.waits_for_acknowledgement
            || tunnel.is_some_and(l2tp::Tunnel::is_acknowledged);
        if let Some((id, peer)) = self.connected.take_if(|_| may_begin) {
            self.begin_ppp(id, peer, turn);
        }
    }

    fn begin_ppp(&mut self, id: SessionId, peer: SessionId, turn: &mut Turn<'_>) {
        self.stages.reach(Stage::Call, turn.now);
        let settings = Arc::clone(&self.settings.ppp);
        let mut link = ppp::Link::new(settings, turn.now, &mut self.random);
        let mut events = Vec::new();
        link.open(turn.now, &mut self.random, &mut events);
        self.session = Some(Session { id, peer, link });
        self.follow_ppp(events, turn);
    }

    /// The call ended. While we are leaving, that is our own doing.
    fn lose_call(&mut self, end: l2tp::CallEnd, turn: &mut Turn<'_>) {
        self.hear_last_words();
        // The end of the tunnel says it better.
        if end != l2tp::CallEnd::TunnelDown {
            self.fail(Cause::Call(end));
        }
        if self.failure.is_some() {
            self.leave(turn);
        }
    }

    /// The link ends with its call. If PPP was being taken down before everything below was closed,
    /// there is the reason; the link waits a while before it tells, which now has no point.
    fn hear_last_words(&mut self) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        let mut events = Vec::new();
        for _ in 0..=self.settings.ppp.max_terminate {
            let Some((at, _)) = session.link.poll_timeout() else {
                break;
            };
            if session.link.phase() == ppp::Phase::Terminate {
                session
                    .link
                    .handle_timeout(at, &mut self.random, &mut events);
            }
        }
        for event in events {
            if let ppp::Output::Down(reason) = event {
                self.fail(Cause::Link(reason));
            }
        }
    }

    pub(super) fn follow_ppp(&mut self, events: Vec<ppp::Output>, turn: &mut Turn<'_>) {
        let (frames, news): (Vec<_>, Vec<_>) = events
            .into_iter()
            .partition(|event| matches!(event, ppp::Output::Send(_)));
        for event in frames.into_iter().chain(news) {
            self.follow_ppp_event(event, turn);
        }
        let phase = self.session.as_ref().map(|session| session.link.phase());
        if phase == Some(ppp::Phase::Network) {
            self.stages.reach(Stage::Authentication, turn.now);
        }
    }

    fn follow_ppp_event(&mut self, event: ppp::Output, turn: &mut Turn<'_>) {
        match event {
            ppp::Output::Send(frame) => self.send_frame(&frame, turn),
            ppp::Output::LcpUp(negotiated) => {
                self.stages.reach(Stage::Lcp, turn.now);
                self.ppp_header = ShortPpp {
                    pfc: negotiated.pfc,
                    acfc: negotiated.acfc,
                };
                self.agreed.auth = negotiated.auth;
                self.agreed.peer_mru = negotiated.peer_mru;
            }
            ppp::Output::Up(addresses) => {
                self.stages.reach(Stage::Authentication, turn.now);
                self.stages.reach(Stage::Ipcp, turn.now);
                self.come_up(addresses, turn);
            }
            ppp::Output::NetworkDown => self.lease = None,
            ppp::Output::Discarded(refusal) => self.refuse(refusal.to_string()),
            ppp::Output::Down(reason) => {
                self.fail(Cause::Link(reason));
                if matches!(self.phase, Phase::Leaving { .. }) {
                    self.end_tunnel(turn);
                } else {
                    self.session = None;
                    self.leave(turn);
                }
            }
            // A client is the one who is asked; its refusal is told by `Down` as well.
            ppp::Output::Authenticate(_)
            | ppp::Output::AuthRefused { .. }
            | ppp::Output::Ident(_)
            | ppp::Output::TimeRemaining { .. }
            | ppp::Output::EchoRtt(_) => {}
        }
    }

    fn come_up(&mut self, addresses: ppp::Addresses, turn: &mut Turn<'_>) {
        let lease = Lease {
            address: addresses.own,
            gateway: addresses.peer,
            dns: addresses.dns,
        };
        self.agreed.address.get_or_insert(lease.address);
        self.lease = Some(lease.clone());
        if matches!(self.phase, Phase::SettingUp { .. }) {
            self.phase = Phase::Up;
        }
        // What was not accepted on the way was not in the way.
        self.remark = None;
        turn.out.push(Output::Up(lease));
    }

    /// A PPP frame as an L2TP data message. It comes with address, control and full protocol,
    /// as RFC 1661 §6.5 and §6.6 want it while LCP may still negotiate.
    fn send_frame(&mut self, frame: &[u8], turn: &mut Turn<'_>) {
        let (Some(tunnel), Some(session)) = (self.peer_tunnel(), &self.session) else {
            return;
        };
        let header = crate::wire::l2tp_header(tunnel.0, session.peer.0);
        self.send(Output::L2tp([&header[..], frame].concat()), turn);
    }

    fn give_up_unless_up(&mut self, cause: Cause, turn: &mut Turn<'_>) {
        // A rekey that fails leaves the old pair, and L2TP notices when that is gone; Windows
        // deletes ISAKMP SAs under living pairs.
        if self.phase != Phase::Up {
            self.fail(cause);
            self.leave(turn);
        }
    }
}
