//! The authentication phase of a link: from LCP's Opened to the verdict.

use std::time::Instant;

use crypto::Random;

use super::Link;
use crate::auth::{Exchange, Outcome, Progress};
use crate::frame::Packet;
use crate::{Credentials, DownReason, Output, Phase, Refusal, Role, Verdict};

impl Link {
    /// The answer to [`Output::Authenticate`]. One that nobody waits for is ignored.
    pub fn authorize(
        &mut self,
        now: Instant,
        verdict: Verdict,
        random: &mut Random,
        out: &mut Vec<Output>,
    ) {
        if self.phase() != Phase::Authenticate {
            return;
        }
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        let mut ctx = self.context(now, out);
        let outcome = exchange.decide(&verdict, random, &mut ctx);
        self.exchange = Some(exchange);
        match (outcome, verdict) {
            (Outcome::Granted, Verdict::Accept(grant)) => {
                self.claimant = None;
                self.enter_network(now, Some(&grant), out);
            }
            (Outcome::Refused { may_retry, message }, _) => {
                self.report_refusal(message.clone(), out);
                if !may_retry {
                    self.close(now, DownReason::AuthenticationFailed { message }, out);
                }
            }
            (Outcome::Granted | Outcome::NotAsked, _) => {}
        }
    }

    /// RFC 1661 §3.5. The peer's Configure-Ack has come, and ours has been put out before
    /// whatever is put out here: no challenge overtakes it.
    pub(super) fn enter_authentication(
        &mut self,
        now: Instant,
        random: &mut Random,
        out: &mut Vec<Output>,
    ) {
        let method = self.lcp.dialect.negotiated().auth;
        let mut ctx = self.context(now, out);
        match (self.settings.role, method) {
            (Role::Server, _) => {
                self.exchange = Some(Exchange::server(method, random, &mut ctx));
                if method.is_none() {
                    out.push(Output::Authenticate(Credentials::None));
                }
            }
            (Role::Client, Some(method)) => {
                self.exchange = Some(Exchange::client(method, random, &mut ctx));
            }
            (Role::Client, None) => self.enter_network(now, None, out),
        }
    }

    pub(super) fn auth_input(
        &mut self,
        now: Instant,
        protocol: u16,
        information: &[u8],
        random: &mut Random,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let packet = Packet::parse(information)?;
        let mut exchange = self.exchange.take().ok_or(Refusal::OtherMethod)?;
        let mut ctx = self.context(now, out);
        let progress = exchange.handle_packet(protocol, packet, random, &mut ctx);
        self.exchange = Some(exchange);
        match progress? {
            Progress::Waiting => {}
            Progress::Shown(credentials) => {
                self.claimant = credentials.claimant().map(Box::new);
                out.push(Output::Authenticate(credentials));
            }
            Progress::Accepted if self.ipcp.is_none() => self.enter_network(now, None, out),
            Progress::Accepted => {}
            Progress::Refused {
                user,
                method,
                message,
                reason,
            } => {
                self.claimant = Some(Box::new((user, method)));
                self.report_refusal(message, out);
                self.close(now, reason, out);
            }
        }
        Ok(())
    }

    pub(super) fn report_refusal(&mut self, message: String, out: &mut Vec<Output>) {
        if let Some((user, method)) = self.claimant.take().map(|claimant| *claimant) {
            out.push(Output::AuthRefused {
                user,
                method,
                message,
            });
        }
    }

    pub(super) fn exchange_timeout(
        &mut self,
        now: Instant,
        random: &mut Random,
        out: &mut Vec<Output>,
    ) {
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        let timed_out = exchange.handle_timeout(random, &mut self.context(now, out));
        self.exchange = Some(exchange);
        if let Err(reason) = timed_out {
            self.close(now, reason, out);
        }
    }
}
