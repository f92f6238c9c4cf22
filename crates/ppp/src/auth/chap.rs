//! The Challenge-Handshake Authentication Protocol (RFC 1994), with MD5 or as MS-CHAPv2.
//!
//! The exchange is the same for both; what the values and messages look like is `mschapv2.rs`'s
//! business for the latter.

use crypto::{Random, chap, ct_eq};

use super::{Outcome, Progress, Repeated, mschapv2, push_counted, split_counted};
use crate::frame::{Packet, printable, protocol};
use crate::negotiation::Context;
use crate::{Credentials, DownReason, Method, Name, Output, Refusal, Verdict};

const CHALLENGE: u8 = 1;
const RESPONSE: u8 = 2;
const SUCCESS: u8 = 3;
const FAILURE: u8 = 4;

/// Octets of our challenges; RFC 2759 §3 prescribes them, and MD5's output is as long.
const CHALLENGE_OCTETS: usize = 16;

/// The authenticator.
pub(crate) struct Server {
    method: Method,
    id: u8,
    challenge: [u8; CHALLENGE_OCTETS],
    /// The challenge, until it is answered.
    pub(super) repeated: Option<Box<Repeated>>,
    stage: Stage,
    retries_left: u32,
}

enum Stage {
    /// The challenge is out.
    Challenged,
    /// A response is being looked at.
    Asked,
    /// It was answered by this frame, and so will be its copies.
    Answered(Box<[u8]>),
    /// It was answered by this frame; the next response, to the challenge in it, is awaited.
    MayRetry { failed_id: u8, answer: Box<[u8]> },
}

impl Server {
    /// RFC 1994 §2.3: each challenge is unique and unpredictable.
    pub(super) fn start(method: Method, random: &mut Random, ctx: &mut Context<'_>) -> Self {
        let id = random.u16() as u8;
        let challenge = random.array();
        let frame = named_value(CHALLENGE, id, &challenge, ctx.settings.host_name.as_bytes());
        Self {
            method,
            id,
            challenge,
            repeated: Some(Box::new(Repeated::start(frame, ctx))),
            stage: Stage::Challenged,
            retries_left: ctx.settings.auth_retries,
        }
    }

    pub(super) fn handle_packet(
        &mut self,
        packet: Packet<'_>,
        ctx: &mut Context<'_>,
    ) -> Result<Progress, Refusal> {
        if packet.code != RESPONSE {
            return Err(Refusal::UnknownAuthCode(packet.code));
        }
        let (value, name) = split_counted(packet.body)?;
        match &self.stage {
            // RFC 1994 §4.1: repeated responses get the same code again, in the network phase
            // too; while a response is being looked at, there is nothing to say yet.
            Stage::MayRetry { failed_id, answer } if packet.id == *failed_id => {
                ctx.out.push(Output::Send(answer.to_vec()));
                Ok(Progress::Waiting)
            }
            _ if packet.id != self.id => Err(Refusal::StaleIdentifier),
            Stage::Answered(answer) => {
                ctx.out.push(Output::Send(answer.to_vec()));
                Ok(Progress::Waiting)
            }
            Stage::Asked => Ok(Progress::Waiting),
            Stage::Challenged | Stage::MayRetry { .. } => Ok(self.shown(value, name, ctx)),
        }
    }

    fn shown(&mut self, value: &[u8], name: &[u8], ctx: &mut Context<'_>) -> Progress {
        self.repeated = None;
        let user = Name::new(name);
        let credentials = match self.method {
            Method::MsChapV2 => mschapv2::credentials(user, self.id, self.challenge, value),
            Method::ChapMd5 | Method::Pap => {
                value.try_into().ok().map(|response| Credentials::ChapMd5 {
                    user,
                    id: self.id,
                    challenge: self.challenge.to_vec(),
                    response,
                })
            }
        };
        match credentials {
            Some(credentials) => {
                self.stage = Stage::Asked;
                Progress::Shown(credentials)
            }
            None => self.wrong_length(name, ctx),
        }
    }

    /// RFC 1994 §4.1, RFC 2759 §4: a value of another length can't be right.
    fn wrong_length(&mut self, name: &[u8], ctx: &mut Context<'_>) -> Progress {
        let message = "wrong response length".to_owned();
        self.answer(FAILURE, self.failure_text(&message, None), ctx);
        Progress::Refused {
            user: Name::new(name),
            method: self.method,
            message: message.clone(),
            reason: DownReason::AuthenticationFailed { message },
        }
    }

    pub(super) fn decide(
        &mut self,
        verdict: &Verdict,
        random: &mut Random,
        ctx: &mut Context<'_>,
    ) -> Outcome {
        if !matches!(self.stage, Stage::Asked) {
            return Outcome::NotAsked;
        }
        match verdict {
            Verdict::Accept(grant) => {
                let proof = grant.authenticator_response.as_deref();
                let text = match self.method {
                    Method::MsChapV2 => mschapv2::success_text(proof),
                    Method::ChapMd5 | Method::Pap => String::new(),
                };
                self.answer(SUCCESS, text, ctx);
                Outcome::Granted
            }
            Verdict::Reject { message } => self.refuse(message, random, ctx),
        }
    }

    fn refuse(&mut self, message: &str, random: &mut Random, ctx: &mut Context<'_>) -> Outcome {
        let may_retry = self.method == Method::MsChapV2 && self.retries_left > 0;
        if may_retry {
            self.retries_left -= 1;
            self.challenge = random.array();
            self.answer(FAILURE, self.failure_text(message, Some(())), ctx);
            self.await_retry();
        } else {
            self.answer(FAILURE, self.failure_text(message, None), ctx);
        }
        Outcome::Refused {
            may_retry,
            message: message.to_owned(),
        }
    }

    /// RFC 2759 §9.1.4: the next response has the next Identifier.
    fn await_retry(&mut self) {
        let failed_id = self.id;
        self.id = self.id.wrapping_add(1);
        if let Stage::Answered(answer) = &mut self.stage {
            self.stage = Stage::MayRetry {
                failed_id,
                answer: std::mem::take(answer),
            };
        }
    }

    fn failure_text(&self, message: &str, retry: Option<()>) -> String {
        match self.method {
            Method::MsChapV2 => mschapv2::failure_text(message, retry.is_some(), &self.challenge),
            Method::ChapMd5 | Method::Pap => message.to_owned(),
        }
    }

    /// RFC 1994 §4.2: with the Identifier of the response.
    fn answer(&mut self, code: u8, text: String, ctx: &mut Context<'_>) {
        self.repeated = None;
        let packet = Packet {
            code,
            id: self.id,
            body: text.as_bytes(),
        };
        self.stage = Stage::Answered(packet.frame(protocol::CHAP).into());
        self.repeat_answer(ctx);
    }

    pub(super) fn repeat_answer(&self, ctx: &mut Context<'_>) {
        if let Stage::Answered(answer) = &self.stage {
            ctx.out.push(Output::Send(answer.to_vec()));
        }
    }

    pub(super) fn handle_timeout(&mut self, ctx: &mut Context<'_>) -> Result<(), DownReason> {
        match &mut self.repeated {
            Some(repeated) => repeated.handle_timeout(ctx),
            None => Ok(()),
        }
    }
}

/// The peer that has to authenticate itself.
pub(crate) struct Client {
    method: Method,
    /// The challenge that was answered last.
    challenge: Option<(u8, Vec<u8>)>,
    pub(super) repeated: Repeated,
    /// MS-CHAPv2: what the server has to prove itself with.
    expected: Option<String>,
}

impl Client {
    pub(super) fn new(method: Method) -> Self {
        Self {
            method,
            challenge: None,
            repeated: Repeated::default(),
            expected: None,
        }
    }

    pub(super) fn handle_packet(
        &mut self,
        packet: Packet<'_>,
        random: &mut Random,
        ctx: &mut Context<'_>,
    ) -> Result<Progress, Refusal> {
        match packet.code {
            CHALLENGE => self.respond(packet, random, ctx),
            SUCCESS => self.succeed(packet, ctx),
            FAILURE => self.fail(packet, ctx),
            other => Err(Refusal::UnknownAuthCode(other)),
        }
    }

    /// A challenge may come at any time, in the network phase too (RFC 1994 §2).
    fn respond(
        &mut self,
        packet: Packet<'_>,
        random: &mut Random,
        ctx: &mut Context<'_>,
    ) -> Result<Progress, Refusal> {
        let (challenge, _) = split_counted(packet.body)?;
        let is_copy = self
            .challenge
            .as_ref()
            .is_some_and(|(id, value)| *id == packet.id && value == challenge);
        if is_copy {
            ctx.out.push(Output::Send(self.repeated.frame.clone()));
            return Ok(Progress::Waiting);
        }
        let value = self.response(packet.id, challenge, random, ctx)?;
        let frame = named_value(RESPONSE, packet.id, &value, ctx.settings.user.as_bytes());
        self.challenge = Some((packet.id, challenge.to_owned()));
        self.repeated = Repeated::start(frame, ctx);
        Ok(Progress::Waiting)
    }

    fn response(
        &mut self,
        id: u8,
        challenge: &[u8],
        random: &mut Random,
        ctx: &Context<'_>,
    ) -> Result<Vec<u8>, Refusal> {
        if self.method == Method::MsChapV2 {
            let challenge = challenge.try_into().map_err(|_| Refusal::Malformed)?;
            let (value, expected) = mschapv2::respond(challenge, random.array(), &ctx.settings)?;
            self.expected = Some(expected);
            return Ok(value);
        }
        // RFC 1994 §4.1: a challenge has one octet at least.
        if challenge.is_empty() {
            return Err(Refusal::Malformed);
        }
        let password = ctx.settings.password.expose();
        Ok(chap::response(id, password, challenge).to_vec())
    }

    /// An answer counts while our response is out and has its Identifier.
    fn check_pending(&self, packet: Packet<'_>) -> Result<(), Refusal> {
        let is_ours = self
            .challenge
            .as_ref()
            .is_some_and(|(id, _)| *id == packet.id);
        match is_ours && self.repeated.deadline.is_some() {
            true => Ok(()),
            false => Err(Refusal::StaleIdentifier),
        }
    }

    fn succeed(&mut self, packet: Packet<'_>, ctx: &Context<'_>) -> Result<Progress, Refusal> {
        self.check_pending(packet)?;
        self.repeated.stop();
        let is_authentic = match &self.expected {
            Some(expected) => {
                mschapv2::proof(packet.body).is_some_and(|proof| ct_eq(proof, expected.as_bytes()))
            }
            None => true,
        };
        if is_authentic {
            return Ok(Progress::Accepted);
        }
        // RFC 2759 §5: without the right proof the peer must end the call.
        Ok(self.refused(
            DownReason::ServerNotAuthentic.to_string(),
            DownReason::ServerNotAuthentic,
            ctx,
        ))
    }

    fn fail(&mut self, packet: Packet<'_>, ctx: &Context<'_>) -> Result<Progress, Refusal> {
        self.check_pending(packet)?;
        self.repeated.stop();
        let message = printable(packet.body);
        let reason = DownReason::AuthenticationFailed {
            message: message.clone(),
        };
        Ok(self.refused(message, reason, ctx))
    }

    fn refused(&self, message: String, reason: DownReason, ctx: &Context<'_>) -> Progress {
        Progress::Refused {
            user: Name::from(ctx.settings.user.as_str()),
            method: self.method,
            message,
            reason,
        }
    }
}

/// Challenge and Response look alike: Value-Size, Value, Name (RFC 1994 §4.1).
fn named_value(code: u8, id: u8, value: &[u8], name: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    push_counted(&mut body, value);
    body.extend_from_slice(&name[..name.len().min(usize::from(u8::MAX))]);
    Packet {
        code,
        id,
        body: &body,
    }
    .frame(protocol::CHAP)
}
