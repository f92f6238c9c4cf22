//! SCCRQ, SCCRP, SCCCN: judging the peer's, writing ours, and tunnel authentication, RFC 2661 §5.1.

use crypto::{chap, ct_eq};

use super::Tunnel;
use super::table::State;
use crate::avp::Attributes;
use crate::message::{self, Credentials, Greeting, MessageType};
use crate::{Output, Refusal};

impl Tunnel {
    /// Draws the challenge that our SCCRQ or SCCRP will carry, if the peer has to prove itself.
    pub(super) fn draw_challenge(&mut self) {
        let wanted = self.settings.require_tunnel_auth && self.settings.secret.is_some();
        let challenge = wanted.then(|| self.draw()).flatten();
        if let Some(set_up) = &mut self.set_up {
            set_up.challenge = challenge;
        }
    }

    /// Whether an SCCRQ is acceptable; its sender's id is noted either way, so that it can be told no.
    pub(super) fn judge_sccrq(&mut self, avps: &Attributes<'_>) -> Result<(), Refusal> {
        if self.state != State::Idle {
            return Err(Refusal::UnexpectedMessage(MessageType::Sccrq as u16));
        }
        self.note_peer(avps);
        let greeting = Self::read_greeting(avps)?;
        if self.settings.require_tunnel_auth && self.settings.secret.is_none() {
            return Err(Refusal::NoSecret);
        }
        self.draw_challenge();
        self.adopt(greeting, MessageType::Sccrp)
    }

    /// Whether an SCCRP is acceptable.
    pub(super) fn judge_sccrp(&mut self, avps: &Attributes<'_>) -> Result<(), Refusal> {
        match self.state {
            State::WaitCtlReply => {}
            State::Idle => {
                self.note_peer(avps);
                return Err(Refusal::UnexpectedMessage(MessageType::Sccrp as u16));
            }
            State::WaitCtlConn | State::Established => {
                return Err(Refusal::UnexpectedMessage(MessageType::Sccrp as u16));
            }
        }
        self.note_peer(avps);
        let greeting = Self::read_greeting(avps)?;
        self.check_response(MessageType::Sccrp, greeting.response.as_ref())?;
        self.adopt(greeting, MessageType::Scccn)
    }

    /// Whether an SCCCN is acceptable.
    pub(super) fn judge_scccn(&mut self, avps: &Attributes<'_>) -> Result<(), Refusal> {
        if self.state != State::WaitCtlConn {
            return Err(Refusal::UnexpectedMessage(MessageType::Scccn as u16));
        }
        if let Some(fault) = &avps.fault {
            return Err(fault.clone());
        }
        self.check_response(MessageType::Scccn, message::response(avps).as_ref())
    }

    fn note_peer(&mut self, avps: &Attributes<'_>) {
        if let Some(id) = message::assigned_tunnel(avps) {
            self.channel.peer = id;
        }
    }

    /// L2TPv3 is looked for first: its attributes are unknown mandatory ones otherwise.
    fn read_greeting(avps: &Attributes<'_>) -> Result<Greeting, Refusal> {
        match (Greeting::read(avps), &avps.fault) {
            (Err(Refusal::NeedsVersionThree), _) => Err(Refusal::NeedsVersionThree),
            (_, Some(fault)) => Err(fault.clone()),
            (greeting, None) => greeting,
        }
    }

    /// Takes over what the peer says of itself, and answers its challenge for the message that we send next.
    fn adopt(&mut self, greeting: Greeting, next: MessageType) -> Result<(), Refusal> {
        let mut response = None;
        if let Some(challenge) = &greeting.challenge {
            // RFC 2661 §5.1.1: a challenge must be answered, which takes a secret.
            let secret = self.settings.secret.as_ref().ok_or(Refusal::NoSecret)?;
            response = Some(chap::response(next as u8, secret.expose(), challenge));
        }
        if let Some(window) = greeting.window {
            self.channel.set_peer_window(window);
        }
        self.peer_host_name = greeting.host_name.into();
        if let Some(set_up) = &mut self.set_up {
            (set_up.peer_vendor_name, set_up.response) = (greeting.vendor_name, response);
        }
        Ok(())
    }

    /// RFC 2661 §4.4.3: MD5 over the type of the answering message, the secret and the challenge that we sent.
    fn check_response(
        &mut self,
        kind: MessageType,
        response: Option<&[u8; 16]>,
    ) -> Result<(), Refusal> {
        let set_up = self.set_up.as_mut();
        let Some(challenge) = set_up.and_then(|set_up| set_up.challenge.take()) else {
            // Not asked for: what it says doesn't matter.
            return if self.settings.require_tunnel_auth {
                Err(Refusal::NoSecret)
            } else {
                Ok(())
            };
        };
        let secret = self.settings.secret.as_ref().ok_or(Refusal::NoSecret)?;
        let wanted = chap::response(kind as u8, secret.expose(), &challenge);
        match response {
            Some(response) if ct_eq(response, &wanted) => Ok(()),
            _ => Err(Refusal::NotAuthentic),
        }
    }

    pub(super) fn send_sccrq(&mut self) {
        let (challenge, _) = self.proofs();
        let credentials = Credentials {
            response: None,
            challenge: challenge.as_ref(),
            tie_breaker: self.tie_breaker(),
        };
        self.send_greeting(MessageType::Sccrq, credentials);
    }

    pub(super) fn send_sccrp(&mut self) {
        let (challenge, response) = self.proofs();
        let credentials = Credentials {
            response: response.as_ref(),
            challenge: challenge.as_ref(),
            tie_breaker: None,
        };
        self.send_greeting(MessageType::Sccrp, credentials);
    }

    pub(super) fn send_scccn(&mut self) {
        let (_, response) = self.proofs();
        self.channel.send(message::connected(response.as_ref()));
    }

    /// Our challenge, and our answer to the peer's.
    fn proofs(&self) -> (Option<[u8; 16]>, Option<[u8; 16]>) {
        let set_up = self.set_up.as_deref();
        set_up.map_or((None, None), |set_up| (set_up.challenge, set_up.response))
    }

    fn send_greeting(&mut self, kind: MessageType, credentials: Credentials<'_>) {
        self.channel.send(message::greeting(
            kind,
            &self.settings,
            self.id,
            credentials,
        ));
    }

    /// The tunnel is up: tells the owner, and lets the calls go that waited for it.
    pub(super) fn open(&mut self, out: &mut Vec<Output>) {
        let set_up = self.set_up.take();
        out.push(Output::TunnelUp {
            peer: self.channel.peer,
            host_name: self.peer_host_name.to_string(),
            vendor_name: set_up.map_or_else(String::new, |set_up| set_up.peer_vendor_name),
        });
        self.open_waiting_calls(out);
    }
}

#[cfg(test)]
mod tests;
