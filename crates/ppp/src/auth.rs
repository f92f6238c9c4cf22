//! The authentication phase (RFC 1661 §3.5): who the peer is, or who we are.
//!
//! ```text
//!  server                                   client
//!  PAP        ◄─ Authenticate-Request ──    repeated until answered
//!             ── Ack or Nak ─►
//!  CHAP,      ── Challenge ─►               repeated until answered
//!  MS-CHAPv2  ◄─ Response ──                repeated until answered
//!             ── Success or Failure ─►      MS-CHAPv2: with the server's proof
//! ```
//!
//! A server does not judge: it hands out [`Credentials`] and waits for a [`Verdict`]. The answer it
//! then gave is given again to every copy of the question, in the network phase too.

use std::time::Instant;

use crypto::Random;

use crate::frame::{Packet, protocol};
use crate::negotiation::Context;
use crate::{Credentials, DownReason, Method, Name, Refusal, Verdict};

mod chap;
mod mschapv2;
mod pap;

/// What came of a packet.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing to tell.
    Waiting,
    /// Server: the peer has shown this.
    Shown(Credentials),
    /// Client: the server takes us.
    Accepted,
    /// Somebody isn't who he claims to be.
    Refused {
        user: Name,
        method: Method,
        message: String,
        reason: DownReason,
    },
}

/// What a verdict led to.
pub(crate) enum Outcome {
    /// The network phase begins.
    Granted,
    /// The peer was told off.
    Refused { may_retry: bool, message: String },
    /// Nobody had asked.
    NotAsked,
}

/// One side of one method.
pub(crate) enum Exchange {
    /// Server without methods: the peer need not show anything, the verdict counts all the same.
    Unasked,
    PapServer(pap::Server),
    /// Clients are apart: no link of a gateway has one.
    PapClient(Box<pap::Client>),
    ChapServer(chap::Server),
    ChapClient(Box<chap::Client>),
}

impl Exchange {
    /// Demands that the peer authenticate itself.
    pub(crate) fn server(
        method: Option<Method>,
        random: &mut Random,
        ctx: &mut Context<'_>,
    ) -> Self {
        match method {
            None => Self::Unasked,
            Some(Method::Pap) => Self::PapServer(pap::Server::default()),
            Some(method @ (Method::ChapMd5 | Method::MsChapV2)) => {
                Self::ChapServer(chap::Server::start(method, random, ctx))
            }
        }
    }

    /// Does as the server demands.
    pub(crate) fn client(method: Method, random: &mut Random, ctx: &mut Context<'_>) -> Self {
        match method {
            Method::Pap => Self::PapClient(Box::new(pap::Client::start(random, ctx))),
            Method::ChapMd5 | Method::MsChapV2 => {
                Self::ChapClient(Box::new(chap::Client::new(method)))
            }
        }
    }

    fn protocol(&self) -> Option<u16> {
        match self {
            Self::Unasked => None,
            Self::PapServer(_) | Self::PapClient(_) => Some(protocol::PAP),
            Self::ChapServer(_) | Self::ChapClient(_) => Some(protocol::CHAP),
        }
    }

    pub(crate) fn handle_packet(
        &mut self,
        protocol: u16,
        packet: Packet<'_>,
        random: &mut Random,
        ctx: &mut Context<'_>,
    ) -> Result<Progress, Refusal> {
        if self.protocol() != Some(protocol) {
            return Err(Refusal::OtherMethod);
        }
        match self {
            Self::Unasked => Err(Refusal::OtherMethod),
            Self::PapServer(server) => server.handle_packet(packet, ctx),
            Self::PapClient(client) => client.handle_packet(packet, ctx),
            Self::ChapServer(server) => server.handle_packet(packet, ctx),
            Self::ChapClient(client) => client.handle_packet(packet, random, ctx),
        }
    }

    /// The answer to [`Progress::Shown`].
    pub(crate) fn decide(
        &mut self,
        verdict: &Verdict,
        random: &mut Random,
        ctx: &mut Context<'_>,
    ) -> Outcome {
        match (self, verdict) {
            (Self::PapServer(server), _) => server.decide(verdict, ctx),
            (Self::ChapServer(server), _) => server.decide(verdict, random, ctx),
            (Self::Unasked, Verdict::Accept(_)) => Outcome::Granted,
            (Self::Unasked, Verdict::Reject { message }) => Outcome::Refused {
                may_retry: false,
                message: message.clone(),
            },
            (Self::PapClient(_) | Self::ChapClient(_), _) => Outcome::NotAsked,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.repeated().and_then(|repeated| repeated.deadline)
    }

    /// Says the last thing again when it is time. `Err` when it has been said often enough.
    pub(crate) fn handle_timeout(
        &mut self,
        random: &mut Random,
        ctx: &mut Context<'_>,
    ) -> Result<(), DownReason> {
        match self {
            Self::PapClient(client) => client.handle_timeout(random, ctx),
            Self::ChapServer(server) => server.handle_timeout(ctx),
            Self::ChapClient(client) => client.repeated.handle_timeout(ctx),
            Self::Unasked | Self::PapServer(_) => Ok(()),
        }
    }

    /// Server: the last word again, for a peer that seems not to have heard it.
    pub(crate) fn repeat_answer(&self, ctx: &mut Context<'_>) {
        match self {
            Self::PapServer(server) => server.repeat_answer(ctx),
            Self::ChapServer(server) => server.repeat_answer(ctx),
            Self::Unasked | Self::PapClient(_) | Self::ChapClient(_) => {}
        }
    }

    fn repeated(&self) -> Option<&Repeated> {
        match self {
            Self::PapClient(client) => Some(&client.repeated),
            Self::ChapServer(server) => server.repeated.as_deref(),
            Self::ChapClient(client) => Some(&client.repeated),
            Self::Unasked | Self::PapServer(_) => None,
        }
    }
}

/// A frame that is sent until it is answered, Max-Configure times in all. RFC 1661 §3.5 wants
/// no failure on a single loss, and leaves timer and counter to us.
#[derive(Default)]
struct Repeated {
    frame: Vec<u8>,
    left: u32,
    deadline: Option<Instant>,
}

impl Repeated {
    fn start(frame: Vec<u8>, ctx: &mut Context<'_>) -> Self {
        let mut repeated = Self {
            frame,
            left: ctx.settings.max_configure,
            deadline: None,
        };
        repeated.send(ctx);
        repeated
    }

    fn send(&mut self, ctx: &mut Context<'_>) {
        self.left = self.left.saturating_sub(1);
        self.deadline = Some(ctx.now + ctx.settings.restart_timer);
        ctx.out.push(crate::Output::Send(self.frame.clone()));
    }

    fn stop(&mut self) {
        self.deadline = None;
    }

    fn is_due(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn handle_timeout(&mut self, ctx: &mut Context<'_>) -> Result<(), DownReason> {
        if !self.is_due(ctx.now) {
            return Ok(());
        }
        if self.left == 0 {
            self.stop();
            return Err(DownReason::AuthenticationTimeout);
        }
        self.send(ctx);
        Ok(())
    }
}

/// A string behind its length in one octet, and the rest.
fn split_counted(bytes: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let (&length, rest) = bytes.split_first().ok_or(Refusal::Malformed)?;
    rest.split_at_checked(usize::from(length))
        .ok_or(Refusal::Malformed)
}

/// Appends a string behind its length in one octet. Longer ones are cut: a peer may say what it
/// likes, but our names and messages are the operator's.
fn push_counted(body: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(usize::from(u8::MAX))];
    body.push(bytes.len() as u8);
    body.extend_from_slice(bytes);
}
