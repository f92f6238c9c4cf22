//! Quick mode (RFC 2409 §5.5): keys for one IPsec SA pair, under the protection of an ISAKMP SA.
//!
//! Several may run at once; each has its message ID and its own chain of IVs, which moves only with
//! a message that was authentic.

pub(super) mod initiator;
pub(super) mod responder;

use std::net::IpAddr;
use std::time::Instant;

use crypto::Secret;
use crypto::dh::Outcome;

use super::children::{Children, whole_host};
use super::core::{Received, Turn};
use super::informational;
use super::isakmp::{Isakmp, hash_first};
use super::main_mode::nonce;
use super::resend::Due;
use crate::message::{self, Chain, Envelope, Exchange, Opened, Payloads, kind};
use crate::nat::{NatMethod, NatSituation};
use crate::output::{Child, ChildEnd, Output};
use crate::payload::delete::Delete;
use crate::payload::identification::Identification;
use crate::payload::nat_address;
use crate::payload::notification::{self, Notification};
use crate::payload::security_association::SecurityAssociation;
use crate::proposal::phase2::Terms;
use crate::{Cookies, Refusal, Spi};

/// UDP, which is what L2TP runs on.
const UDP: u8 = 17;

/// One quick mode, named by what it waits for.
#[derive(Debug)]
#[expect(clippy::enum_variant_names, reason = "the wait is the state")]
pub(super) enum QuickMode {
    /// Responder: public-key work.
    ExpectExchange(responder::ExpectExchange),
    /// Responder: message 3.
    ExpectConfirmation(responder::ExpectConfirmation),
    /// Initiator: its own key pair.
    ExpectKeyPair(initiator::ExpectKeyPair),
    /// Initiator: message 2.
    ExpectAnswer(initiator::ExpectAnswer),
    /// Initiator: public-key work.
    ExpectShared(initiator::ExpectShared),
}

/// What becomes of an exchange: `None` is the end.
type Next = Option<QuickMode>;

impl QuickMode {
    pub(super) fn receive(
        self,
        received: &Received<'_>,
        isakmp: &Isakmp,
        children: &mut Children,
        turn: &mut Turn<'_>,
    ) -> (Next, Result<(), Refusal>) {
        match self {
            Self::ExpectConfirmation(state) => state.receive(received, isakmp, children, turn),
            Self::ExpectAnswer(state) => state.receive(received, isakmp, children, turn),
            state @ (Self::ExpectExchange(_) | Self::ExpectKeyPair(_) | Self::ExpectShared(_)) => {
                (Some(state), Err(Refusal::Unexpected))
            }
        }
    }

    /// The public-key work that is waited for.
    pub(super) fn token(&self) -> Option<u64> {
        match self {
            Self::ExpectExchange(state) => Some(state.token),
            Self::ExpectKeyPair(state) => Some(state.token),
            Self::ExpectShared(state) => Some(state.token),
            Self::ExpectConfirmation(_) | Self::ExpectAnswer(_) => None,
        }
    }

    pub(super) fn computed(
        self,
        outcome: Outcome,
        isakmp: &Isakmp,
        children: &mut Children,
        turn: &mut Turn<'_>,
    ) -> Next {
        match self {
            Self::ExpectExchange(state) => state.computed(outcome, isakmp, children, turn),
            Self::ExpectKeyPair(state) => state.computed(outcome, isakmp, turn),
            Self::ExpectShared(state) => state.computed(outcome, isakmp, children, turn),
            state @ (Self::ExpectConfirmation(_) | Self::ExpectAnswer(_)) => Some(state),
        }
    }

    /// Whether this waits for the peer to show that it has this pair.
    pub(super) fn confirms(&self, inbound: Spi) -> bool {
        match self {
            Self::ExpectConfirmation(state) => state.inbound == inbound,
            Self::ExpectExchange(_)
            | Self::ExpectKeyPair(_)
            | Self::ExpectAnswer(_)
            | Self::ExpectShared(_) => false,
        }
    }

    /// The peer has shown that it has this pair. What was said to it is not said again, but its
    /// message 3 may still be on its way, overtaken by what it protects.
    pub(super) fn confirm(&mut self, inbound: Spi) {
        if let Self::ExpectConfirmation(state) = self
            && state.inbound == inbound
        {
            state.is_confirmed = true;
        }
    }

    /// The SPI that was reserved for a pair that does not exist yet.
    pub(super) fn reserved(&self) -> Option<Spi> {
        match self {
            Self::ExpectKeyPair(state) => Some(state.start.inbound),
            Self::ExpectAnswer(state) => Some(state.start.inbound),
            Self::ExpectShared(state) => Some(state.answer_to()),
            Self::ExpectExchange(_) | Self::ExpectConfirmation(_) => None,
        }
    }

    pub(super) fn deadline(&self) -> Option<(Instant, &'static str)> {
        match self {
            Self::ExpectConfirmation(state) => Some((state.resend.deadline(), "quick mode answer")),
            Self::ExpectAnswer(state) => Some((state.resend.deadline(), "quick mode request")),
            Self::ExpectExchange(_) | Self::ExpectKeyPair(_) | Self::ExpectShared(_) => None,
        }
    }

    /// Sends again what is due; `None` if that was often enough.
    pub(super) fn fire(
        mut self,
        isakmp: &Isakmp,
        children: &mut Children,
        turn: &mut Turn<'_>,
    ) -> Next {
        let (now, policy) = (turn.now, turn.core.policy.clone());
        let (due, local, remote) = match &mut self {
            Self::ExpectConfirmation(state) if state.is_confirmed => {
                return (now < state.resend.deadline()).then_some(self);
            }
            Self::ExpectConfirmation(state) => {
                let due = state.resend.fire(now, &policy.ladder);
                (due, state.origin.local, state.origin.remote)
            }
            Self::ExpectAnswer(state) => (
                state.resend.fire(now, &policy.ladder),
                turn.core.local,
                turn.core.remote,
            ),
            Self::ExpectExchange(_) | Self::ExpectKeyPair(_) | Self::ExpectShared(_) => {
                return Some(self);
            }
        };
        match due {
            Due::Wait => Some(self),
            Due::Again(messages) => {
                messages
                    .into_iter()
                    .for_each(|one| turn.send_from_to(local, remote, one));
                Some(self)
            }
            Due::GiveUp => {
                // The peer may have the pair, and only its message 3 got lost.
                if let Self::ExpectConfirmation(state) = &self {
                    informational::delete(isakmp, &Delete::Esp(vec![state.inbound]), turn);
                }
                self.fail(ChildEnd::NotConfirmed, children, turn);
                None
            }
        }
    }

    /// Ends without an IPsec SA pair.
    pub(super) fn fail(self, reason: ChildEnd, children: &mut Children, turn: &mut Turn<'_>) {
        match self {
            Self::ExpectConfirmation(state) if state.is_confirmed => {}
            Self::ExpectConfirmation(state) => {
                children.down(state.inbound, reason, turn.out);
            }
            Self::ExpectExchange(_) => {}
            state @ (Self::ExpectKeyPair(_) | Self::ExpectAnswer(_) | Self::ExpectShared(_)) => {
                children.renew_later(turn.now);
                turn.out.push(Output::ChildFailed {
                    inbound: state.reserved(),
                    reason,
                });
            }
        }
    }
}

fn envelope(cookies: Cookies, message_id: u32) -> Envelope {
    Envelope {
        cookies,
        exchange: Exchange::QuickMode,
        message_id,
    }
}

/// Decrypts, and finds HASH in front.
fn open(received: &Received<'_>, isakmp: &Isakmp, iv: &[u8]) -> Result<Opened, Refusal> {
    if !received.header.is_encrypted() {
        return Err(Refusal::NotEncrypted);
    }
    message::open(received.bytes, &isakmp.keys.cipher(), iv)
}

/// IDci and IDcr: bodies as they came, and read.
type Ids<'a> = [(&'a [u8], Identification); 2];

/// The payloads of messages 1 and 2 behind HASH.
struct Contents<'a> {
    sa: SecurityAssociation<'a>,
    nonce: Vec<u8>,
    public: Option<&'a [u8]>,
    ids: Option<Ids<'a>>,
    originals: Vec<IpAddr>,
    initial_contact: bool,
}

impl<'a> Contents<'a> {
    fn read(chain: &Chain<'a>) -> Result<Self, Refusal> {
        // RFC 2409 §5.5: HASH, then SA; the rest in any order.
        if chain
            .payloads()
            .get(1)
            .is_none_or(|payload| payload.kind != kind::SA)
        {
            return Err(Refusal::PayloadOrder);
        }
        let rfc = chain.all(kind::NAT_OA);
        let originals: Vec<IpAddr> = rfc
            .chain(chain.all(kind::NAT_OA_DRAFT))
            .map(nat_address::parse)
            .collect::<Result<_, _>>()?;
        if originals.len() > 2 {
            return Err(Refusal::PayloadRepeated);
        }
        let initial_contact = chain
            .all(kind::NOTIFICATION)
            .filter_map(|body| Notification::parse(body).ok())
            .any(|notification| notification.kind == notification::INITIAL_CONTACT);
        Ok(Self {
            sa: SecurityAssociation::parse(chain.single(kind::SA)?)?,
            nonce: nonce(chain)?,
            public: chain.optional(kind::KEY_EXCHANGE)?,
            ids: ids(chain)?,
            originals,
            initial_contact,
        })
    }
}

/// RFC 2409 §5.5: both or none.
fn ids<'a>(chain: &Chain<'a>) -> Result<Option<Ids<'a>>, Refusal> {
    let bodies: Vec<&[u8]> = chain.all(kind::IDENTIFICATION).collect();
    match bodies[..] {
        [] => Ok(None),
        [_] => Err(Refusal::PayloadMissing),
        [i, r] => Ok(Some([
            (i, Identification::parse(i)?),
            (r, Identification::parse(r)?),
        ])),
        _ => Err(Refusal::PayloadRepeated),
    }
}

/// NAT-OA payloads of ours (RFC 3947 §5.2; the drafts have only the sender's own address).
fn add_originals(
    payloads: &mut Payloads,
    method: NatMethod,
    initiator: IpAddr,
    responder: IpAddr,
    own: IpAddr,
) {
    let addresses: &[IpAddr] = match method {
        NatMethod::Rfc3947 => &[initiator, responder],
        NatMethod::Draft03 | NatMethod::Draft02 => &[own],
    };
    for &address in addresses {
        payloads.add(method.nat_oa(), &nat_address::to_bytes(address));
    }
}

/// The peer's NAT-OA: where it believes itself, and where it believes us.
fn originals(
    nat: &NatSituation,
    received: &[IpAddr],
    peer_is_initiator: bool,
) -> [Option<IpAddr>; 2] {
    let (first, second) = (received.first().copied(), received.get(1).copied());
    match nat.method {
        Some(NatMethod::Rfc3947) if second.is_some() && !peer_is_initiator => [second, first],
        Some(_) | None => [first, second],
    }
}

/// What both ends know when keys can be made.
struct Agreement<'a> {
    terms: &'a Terms,
    inbound: Spi,
    nonces: (&'a [u8], &'a [u8]),
    shared: Option<&'a Secret>,
    local: Identification,
    remote: Identification,
    originals: [Option<IpAddr>; 2],
    initiator: bool,
}

impl Agreement<'_> {
    fn child(self, isakmp: &Isakmp, children: &Children) -> Child {
        let Terms {
            suite,
            esn,
            encapsulated,
            lifetime,
            outbound,
            ..
        } = *self.terms;
        let keymat = |spi| isakmp.keys.keymat(suite, spi, self.nonces, self.shared);
        Child {
            inbound: self.inbound,
            outbound,
            suite,
            esn,
            inbound_keys: keymat(self.inbound),
            outbound_keys: keymat(outbound),
            encapsulated,
            lifetime,
            initiator: self.initiator,
            replaces: children.newest().map(|child| child.inbound),
            local: self.local,
            remote: self.remote,
            remote_original: self.originals[0],
            local_original: self.originals[1],
        }
    }
}
