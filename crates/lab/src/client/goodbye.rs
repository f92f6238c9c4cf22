//! The end of a client: why, and the goodbye from PPP down to IKE.

use ike::ChildEnd;
use ike::payload::notification::NO_PROPOSAL_CHOSEN;
use l2tp::TunnelEnd;

use super::{Cause, Client, Env, Failure, GOODBYE_LIMIT, Output, Phase, Turn, Wish};

impl Client {
    /// Notes why the client ends; the first reason stands.
    pub(super) fn fail(&mut self, cause: Cause) {
        if self.failure.is_some() || matches!(self.phase, Phase::Leaving { .. } | Phase::Over) {
            return;
        }
        self.failure = Some(Failure {
            stage: self.stages.awaited(self.settings.ipsec.is_some()),
            offered: self.refused_offer(&cause),
            cause,
            remark: self.remark.take(),
            unanswered: self.unanswered,
            server: self.server,
        });
    }

    /// The offer, if the peer said that it chooses none of it: in clear during main mode.
    fn refused_offer(&self, cause: &Cause) -> Option<String> {
        use ike::DownReason::{SetupTimeout, Unanswered};
        let policy = self.settings.ipsec.as_ref()?;
        let phase1 = policy.phase1.iter().map(ToString::to_string);
        let phase2 = policy.phase2.iter().map(|offer| offer.suite.to_string());
        let offered: Vec<String> = match cause {
            Cause::Isakmp(
                Unanswered {
                    complaint: Some(NO_PROPOSAL_CHOSEN),
                    ..
                }
                | SetupTimeout {
                    complaint: Some(NO_PROPOSAL_CHOSEN),
                    ..
                },
            ) => phase1.collect(),
            Cause::Ipsec(ChildEnd::Refused) => phase2.collect(),
            Cause::Isakmp(_)
            | Cause::Ipsec(_)
            | Cause::Tunnel(_)
            | Cause::Call(_)
            | Cause::Link(_)
            | Cause::SetupLimit(_)
            | Cause::HungUp => return None,
        };
        Some(offered.join(", "))
    }

    /// Begins the goodbye at whatever layer is there.
    pub(super) fn leave(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.phase, Phase::Leaving { .. } | Phase::Over) {
            return;
        }
        let until = turn.now + GOODBYE_LIMIT;
        self.phase = Phase::Leaving { until };
        self.lease = None;
        match &mut self.session {
            Some(session) => {
                let mut events = Vec::new();
                session
                    .link
                    .close(turn.now, ppp::DownReason::Cleared, &mut events);
                self.follow_ppp(events, turn);
            }
            None => self.end_tunnel(turn),
        }
    }

    /// PPP has ended: StopCCN, which takes the call along; CDN where others are in the tunnel.
    pub(super) fn end_tunnel(&mut self, turn: &mut Turn<'_>) {
        self.session = None;
        if self.shared.is_some() {
            return turn.out.push(Output::Lac(Wish::Leave));
        }
        let Some(tunnel) = &mut self.tunnel else {
            return self.end_ike(turn);
        };
        let mut events = Vec::new();
        tunnel.close(turn.now, TunnelEnd::Administrative, &mut events);
        // Our StopCCN has the highest Ns of what goes out with it.
        self.farewell = events.iter().rev().find_map(sequence);
        let has_nobody_to_tell = self.farewell.is_none();
        self.follow_l2tp(events, turn);
        if has_nobody_to_tell {
            self.end_ike(turn);
        }
    }

    /// L2TP has ended: DELETE for what there is.
    pub(super) fn end_ike(&mut self, turn: &mut Turn<'_>) {
        self.farewell = None;
        let mut events = Vec::new();
        if let Some(sa) = &mut self.isakmp {
            let env = &mut Env::new(&mut self.random, turn.spis);
            sa.close(turn.now, env, &mut events);
        }
        self.follow_ike(events, turn);
        self.with_other(turn, |sa, now, env, out| sa.close(now, env, out));
        self.finish(turn);
    }

    pub(super) fn finish(&mut self, turn: &mut Turn<'_>) {
        if self.phase == Phase::Over {
            return;
        }
        self.phase = Phase::Over;
        self.lease = None;
        (self.session, self.tunnel) = (None, None);
        (self.isakmp, self.other) = (None, None);
        turn.out.push(Output::Down(self.failure.clone()));
    }
}

/// The Ns of a control message.
fn sequence(event: &l2tp::Output) -> Option<u16> {
    let l2tp::Output::Send(message) = event else {
        return None;
    };
    Some(l2tp::peek(message).ok()?.sequence?.0)
}
