//! The Password Authentication Protocol (RFC 1334 §2).

use crypto::{Random, Secret};

use super::{Outcome, Progress, Repeated, push_counted, split_counted};
use crate::frame::{Packet, printable, protocol};
use crate::negotiation::Context;
use crate::{Credentials, DownReason, Method, Name, Refusal, Verdict};

const AUTHENTICATE_REQUEST: u8 = 1;
const AUTHENTICATE_ACK: u8 = 2;
const AUTHENTICATE_NAK: u8 = 3;

/// The authenticator.
#[derive(Default)]
pub(crate) struct Server {
    /// Of the last request.
    id: u8,
    is_asked: bool,
    /// Code and message, once there is a verdict.
    answer: Option<(u8, String)>,
}

impl Server {
    pub(super) fn handle_packet(
        &mut self,
        packet: Packet<'_>,
        ctx: &mut Context<'_>,
    ) -> Result<Progress, Refusal> {
        if packet.code != AUTHENTICATE_REQUEST {
            return Err(Refusal::UnknownAuthCode(packet.code));
        }
        let (user, rest) = split_counted(packet.body)?;
        let (password, _) = split_counted(rest)?;
        // RFC 1334 §2.2.1: the answer has the Identifier of the request; each repetition has a
        // new one, so that the last is the one to answer.
        self.id = packet.id;
        if self.answer.is_some() {
            self.repeat_answer(ctx);
            return Ok(Progress::Waiting);
        }
        if self.is_asked {
            return Ok(Progress::Waiting);
        }
        self.is_asked = true;
        Ok(Progress::Shown(Credentials::Pap {
            user: Name::new(user),
            password: Secret::new(password),
        }))
    }

    pub(super) fn decide(&mut self, verdict: &Verdict, ctx: &mut Context<'_>) -> Outcome {
        if !self.is_asked || self.answer.is_some() {
            return Outcome::NotAsked;
        }
        let (answer, outcome) = match verdict {
            Verdict::Accept(_) => ((AUTHENTICATE_ACK, String::new()), Outcome::Granted),
            Verdict::Reject { message } => (
                (AUTHENTICATE_NAK, message.clone()),
                Outcome::Refused {
                    may_retry: false,
                    message: message.clone(),
                },
            ),
        };
        self.answer = Some(answer);
        self.repeat_answer(ctx);
        outcome
    }

    pub(super) fn repeat_answer(&self, ctx: &mut Context<'_>) {
        if let Some((code, message)) = &self.answer {
            let mut body = Vec::new();
            push_counted(&mut body, message.as_bytes());
            let packet = Packet {
                code: *code,
                id: self.id,
                body: &body,
            };
            ctx.send(protocol::PAP, packet);
        }
    }
}

/// The peer that has to authenticate itself.
pub(crate) struct Client {
    first_id: u8,
    last_id: u8,
    pub(super) repeated: Repeated,
    is_accepted: bool,
}

impl Client {
    pub(super) fn start(random: &mut Random, ctx: &mut Context<'_>) -> Self {
        let id = random.u16() as u8;
        Self {
            first_id: id,
            last_id: id,
            repeated: Repeated::start(request(id, ctx), ctx),
            is_accepted: false,
        }
    }

    pub(super) fn handle_packet(
        &mut self,
        packet: Packet<'_>,
        ctx: &mut Context<'_>,
    ) -> Result<Progress, Refusal> {
        if !matches!(packet.code, AUTHENTICATE_ACK | AUTHENTICATE_NAK) {
            return Err(Refusal::UnknownAuthCode(packet.code));
        }
        // Any of our requests may be the one that is answered.
        let sent = self.last_id.wrapping_sub(self.first_id);
        if packet.id.wrapping_sub(self.first_id) > sent || self.is_accepted {
            return Err(Refusal::StaleIdentifier);
        }
        self.repeated.stop();
        if packet.code == AUTHENTICATE_ACK {
            self.is_accepted = true;
            return Ok(Progress::Accepted);
        }
        // Some servers leave the message's length out altogether.
        let message = split_counted(packet.body).map_or(&[][..], |(message, _)| message);
        let message = printable(message);
        Ok(Progress::Refused {
            user: Name::from(ctx.settings.user.as_str()),
            method: Method::Pap,
            message: message.clone(),
            reason: DownReason::AuthenticationFailed { message },
        })
    }

    /// RFC 1334 §2.2.1: the Identifier changes with every request.
    pub(super) fn handle_timeout(
        &mut self,
        _random: &mut Random,
        ctx: &mut Context<'_>,
    ) -> Result<(), DownReason> {
        if self.repeated.is_due(ctx.now) && self.repeated.left > 0 {
            self.last_id = self.last_id.wrapping_add(1);
            self.repeated.frame = request(self.last_id, ctx);
        }
        self.repeated.handle_timeout(ctx)
    }
}

fn request(id: u8, ctx: &Context<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    push_counted(&mut body, ctx.settings.user.as_bytes());
    push_counted(&mut body, ctx.settings.password.expose());
    let packet = Packet {
        code: AUTHENTICATE_REQUEST,
        id,
        body: &body,
    };
    packet.frame(protocol::PAP)
}
