//! What time does to an ISAKMP SA, and how it ends.

use std::time::Instant;

use super::{Phase, Sa};
use crate::output::{ChildEnd, DownReason};
use crate::payload::delete::Delete;
use crate::payload::notification::R_U_THERE;
use crate::v1::children::ChildDue;
use crate::v1::core::Turn;
use crate::v1::informational;
use crate::v1::isakmp::Silence;
use crate::v1::resend::Due;
use crate::{Environment, Output, Spi};
impl Sa {
    pub(super) fn time_main_mode(
        &mut self,
        now: Instant,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
        let Phase::MainMode(state) = &mut self.phase else {
            return;
        };
        let (waiting_for, complaint) = (state.waiting_for(), self.complaint);
        let refused = self.last_refusal;
        if now >= self.setup_deadline {
            let reason = DownReason::SetupTimeout {
                waiting_for,
                complaint,
                refused,
            };
            return self.go_down(reason, now, env, out);
        }
        let turn = &mut Turn {
            now,
            core: &mut self.core,
            env,
            out,
        };
        match state.fire(turn) {
            Due::Wait => {}
            Due::Again(messages) => messages.into_iter().for_each(|one| turn.send(one)),
            Due::GiveUp => {
                let reason = DownReason::Unanswered {
                    waiting_for,
                    complaint,
                    refused,
                };
                self.go_down(reason, now, env, out);
            }
        }
    }

    pub(super) fn time_isakmp(
        &mut self,
        now: Instant,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
        let Phase::Established(isakmp) = &mut self.phase else {
            return;
        };
        let turn = &mut Turn {
            now,
            core: &mut self.core,
            env,
            out,
        };
        let policy = turn.core.policy.clone();
        for (id, exchange) in std::mem::take(&mut isakmp.exchanges) {
            let next = exchange.fire(isakmp, &mut self.children, turn);
            isakmp
                .exchanges
                .extend(next.map(|next| (id, Box::new(next))));
        }
        if isakmp.renew_at.is_some_and(|at| at <= now) {
            isakmp.renew_at = None;
            turn.out.push(Output::RenewalDue);
        }
        let silence = match policy.dpd.filter(|_| isakmp.dpd) {
            Some(dpd) => isakmp.liveness.fire(now, dpd),
            None => Silence::Wait,
        };
        if let Silence::Ask(sequence) = silence {
            let message = informational::dpd(isakmp, R_U_THERE, sequence, turn);
            turn.send(message);
        }
        if isakmp.expires_at <= now {
            let cookies = turn.core.cookies;
            informational::delete(isakmp, &Delete::Isakmp(vec![cookies]), turn);
            self.go_down(DownReason::Expired, now, env, out);
        } else if silence == Silence::Dead {
            self.go_down(DownReason::PeerDead, now, env, out);
        }
    }

    /// Each turn of the loop ends or renews a pair, so it ends.
    pub(super) fn time_children(
        &mut self,
        now: Instant,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
        while let Some(due) = self.children.due(now) {
            match due {
                ChildDue::Renew if self.is_established() => self.create_child(now, env, out),
                ChildDue::Renew => {}
                ChildDue::TakeOver(inbound) => out.push(Output::ChildConfirmed { inbound }),
                ChildDue::End(inbound, reason) => self.end_child(now, inbound, reason, env, out),
            }
        }
    }

    pub(super) fn end_child(
        &mut self,
        now: Instant,
        inbound: Spi,
        reason: ChildEnd,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
        if !self.children.down(inbound, reason, out) {
            return;
        }
        if let Phase::Established(isakmp) = &mut self.phase {
            isakmp
                .exchanges
                .retain(|_, exchange| !exchange.confirms(inbound));
            let turn = &mut Turn {
                now,
                core: &mut self.core,
                env,
                out,
            };
            informational::delete(isakmp, &Delete::Esp(vec![inbound]), turn);
        }
    }

    /// Ends phase 1. The IPsec SA pairs outlast it, unless the peer is gone or the owner wants it.
    pub(super) fn go_down(
        &mut self,
        reason: DownReason,
        now: Instant,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
        let was = std::mem::replace(&mut self.phase, Phase::Down);
        let children_end = match reason {
            DownReason::PeerDead => Some(ChildEnd::PeerDead),
            DownReason::Closed => Some(ChildEnd::Closed),
            DownReason::SetupTimeout { .. }
            | DownReason::Unanswered { .. }
            | DownReason::ProposalRefused
            | DownReason::NoPreSharedKey
            | DownReason::BadPublicValue
            | DownReason::PeerDeleted
            | DownReason::Expired => None,
        };
        match was {
            Phase::Established(isakmp) => {
                let turn = &mut Turn {
                    now,
                    core: &mut self.core,
                    env,
                    out,
                };
                for (_, exchange) in isakmp.exchanges {
                    exchange.fail(ChildEnd::NoPhase1, &mut self.children, turn);
                }
            }
            Phase::MainMode(_) => {}
            Phase::Down => return self.end_children(children_end, out),
        }
        self.end_children(children_end, out);
        out.push(Output::Down { reason });
    }

    fn end_children(&mut self, reason: Option<ChildEnd>, out: &mut Vec<Output>) {
        let Some(reason) = reason else { return };
        for inbound in self.children.inbound() {
            self.children.down(inbound, reason, out);
        }
    }

    /// RFC 3948 §4: whoever is behind a NAT keeps its mapping alive when nothing else does; the
    /// mapping serves the IPsec SA pairs even when phase 1 has ended.
    pub(super) fn keepalive_at(&self) -> Option<Instant> {
        let is_needed = self.keeps_alive && (self.is_established() || !self.children.is_empty());
        is_needed.then(|| self.core.last_sent + self.core.policy.nat_keepalive)
    }
}
