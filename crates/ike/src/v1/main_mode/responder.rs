//! The end that answers. What it holds before message 3 is the offer and what was chosen from it.

use crypto::Secret;
use crypto::dh::{Job, Outcome};

use super::{
    ATTEMPTS_MAX, Agreed, Complete, Handshake, KeyExchange, Proof, SA_LEN_MAX, SEALED_LEN_MAX,
    Step, Vendors, add_fragmentation, clear_chain, envelope, in_full, key_exchange_payloads, pass,
};
use crate::keys::{Exchanged, IsakmpKeys};
use crate::message::{self, Cookie, Cookies, Envelope, Exchange, Payloads, kind};
use crate::nat::{NatSituation, VID_DPD};
use crate::output::{DownReason, Output, Refused};
use crate::payload::notification::{NO_PROPOSAL_CHOSEN, Notification, PROTO_ISAKMP};
use crate::payload::security_association::SecurityAssociation;
use crate::policy::Psk;
use crate::proposal::phase1;
use crate::v1::core::{Core, Origin, Received, Turn};
use crate::{Identity, Refusal};

/// Waits for message 1: SA and vendor IDs.
#[derive(Debug)]
pub(in crate::v1) struct ExpectOffer;

/// What message 1 says.
enum Offer {
    Acceptable { agreed: Agreed, answer: Payloads },
    Unacceptable(Vec<Refused>),
}

impl ExpectOffer {
    pub(super) fn receive(self, received: &Received<'_>, turn: &mut Turn<'_>) -> Step {
        let opened = Self::open(received, turn.core);
        pass(self, opened, Handshake::ExpectOffer, |_, offer| {
            advance_offer(offer, received, turn)
        })
    }

    fn open(received: &Received<'_>, core: &Core) -> Result<Offer, Refusal> {
        let header = &received.header;
        if header.cookies.responder != Cookie::ZERO {
            return Err(Refusal::ResponderCookieSet);
        }
        let chain = clear_chain(received)?;
        let sa_i = chain.leading(kind::SA)?;
        if sa_i.len() > SA_LEN_MAX {
            return Err(Refusal::TooLong);
        }
        let sa = SecurityAssociation::parse(chain.single(kind::SA)?)?;
        // RFC 2409 §5: one proposal, so that there is nothing to negotiate but its transforms.
        if sa.proposals.len() != 1 {
            return Err(Refusal::SeveralProposals);
        }
        if core.policy.psks_for(received.remote.ip()).is_empty() {
            return Err(Refusal::NoPreSharedKey);
        }
        let Some(choice) = phase1::choose(&core.policy, &sa) else {
            return Ok(Offer::Unacceptable(phase1::refused(&core.policy, &sa)));
        };
        let vendors = Vendors::read(&chain, core.policy.natt);
        let mut answer = Payloads::new().with(kind::SA, &choice.body);
        if let Some(method) = vendors.method {
            let received: Vec<&[u8]> = chain.all(kind::VENDOR_ID).collect();
            answer.add(kind::VENDOR_ID, method.vendor_id(&received));
        }
        answer.add(kind::VENDOR_ID, VID_DPD);
        if vendors.fragmentation {
            add_fragmentation(&mut answer);
        }
        let agreed = Agreed {
            sa_i: sa_i.to_vec(),
            suite: choice.suite,
            lifetime: choice.lifetime,
            method: vendors.method,
            dpd: vendors.dpd,
        };
        Ok(Offer::Acceptable { agreed, answer })
    }
}

fn advance_offer(offer: Offer, received: &Received<'_>, turn: &mut Turn<'_>) -> Handshake {
    turn.core.cookies.initiator = received.header.cookies.initiator;
    match offer {
        Offer::Acceptable { agreed, answer } => {
            turn.answer(
                received.origin(),
                envelope(turn.core.cookies).clear(&answer),
            );
            Handshake::ExpectKe(ExpectKe { agreed })
        }
        Offer::Unacceptable(refused) => {
            turn.out.push(Output::ProposalRefused(refused));
            turn.answer(received.origin(), refusal_notice(turn.core.cookies));
            Handshake::Failed(DownReason::ProposalRefused)
        }
    }
}

/// RFC 2408 §5.4: NO-PROPOSAL-CHOSEN, in clear as there are no keys.
fn refusal_notice(cookies: Cookies) -> Vec<u8> {
    let notification = Notification {
        protocol: PROTO_ISAKMP,
        kind: NO_PROPOSAL_CHOSEN,
        spi: &[],
        content: &[],
    };
    let payloads = Payloads::new().with(kind::NOTIFICATION, &notification.to_bytes());
    Envelope {
        cookies,
        exchange: Exchange::Informational,
        message_id: 0,
    }
    .clear(&payloads)
}

/// Waits for message 3: KE and nonce.
#[derive(Debug)]
pub(in crate::v1) struct ExpectKe {
    agreed: Agreed,
}

impl ExpectKe {
    pub(super) fn receive(self, received: &Received<'_>, turn: &mut Turn<'_>) -> Step {
        let opened = open_key_exchange(&self.agreed, received, turn.core);
        pass(self, opened, Handshake::ExpectKe, |state, message| {
            let next = ExpectId {
                agreed: state.agreed,
                attempts: Vec::new(),
            };
            next.begin(message, received, turn)
        })
    }
}

fn open_key_exchange(
    agreed: &Agreed,
    received: &Received<'_>,
    core: &Core,
) -> Result<KeyExchange, Refusal> {
    KeyExchange::read(received, agreed, &core.cookies, &core.policy)
}

/// Waits for public-key work and then for message 5: the identity and its proof.
#[derive(Debug)]
pub(in crate::v1) struct ExpectId {
    agreed: Agreed,
    attempts: Vec<Attempt>,
}

/// One message 3 and what was answered.
#[derive(Debug)]
struct Attempt {
    request: Origin,
    token: u64,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    public_i: Vec<u8>,
    nat: NatSituation,
    /// Our public value and the shared secret, once they are computed.
    computed: Option<(Vec<u8>, Secret)>,
}

/// What a message 5 that opened is worth.
struct Opened {
    keys: IsakmpKeys,
    identity: Identity,
    psk: Psk,
    nat: NatSituation,
    initial_contact: bool,
    answer: Payloads,
    iv: Vec<u8>,
}

impl ExpectId {
    /// Starts one more attempt.
    fn begin(
        mut self,
        message: KeyExchange,
        received: &Received<'_>,
        turn: &mut Turn<'_>,
    ) -> Handshake {
        let job = Job::Exchange {
            group: self.agreed.suite.group,
            random: turn.private(),
            peer: in_full(&message.public, self.agreed.suite.group),
        };
        let nonce_r = turn.nonce();
        self.attempts.push(Attempt {
            request: received.origin(),
            token: turn.compute(job),
            nonce_i: message.nonce,
            nonce_r,
            public_i: message.public,
            nat: message.nat,
            computed: None,
        });
        Handshake::ExpectIdI(self)
    }

    /// Public-key work is done: message 4 goes out.
    pub(super) fn computed(
        mut self,
        token: u64,
        outcome: Outcome,
        turn: &mut Turn<'_>,
    ) -> Handshake {
        let Some(index) = self
            .attempts
            .iter()
            .position(|attempt| attempt.token == token)
        else {
            return Handshake::ExpectIdI(self);
        };
        let Outcome::Exchanged { public, shared } = outcome else {
            // A public value that is none: this attempt never was, others may come.
            self.attempts.remove(index);
            return Handshake::ExpectIdI(self);
        };
        let attempt = &mut self.attempts[index];
        let (nonce, path) = (
            &attempt.nonce_r,
            (attempt.request.local, attempt.request.remote),
        );
        let payloads = key_exchange_payloads(&public, nonce, &self.agreed, path, turn);
        let message = envelope(turn.core.cookies).clear(&payloads);
        turn.answer(attempt.request, message);
        attempt.computed = Some((public, shared));
        Handshake::ExpectIdI(self)
    }

    pub(super) fn receive(self, received: &Received<'_>, turn: &mut Turn<'_>) -> Step {
        if received.header.is_encrypted() {
            let opened = self.open(received, turn.core);
            return pass(self, opened, Handshake::ExpectIdI, |state, opened| {
                state.advance(opened, received, turn)
            });
        }
        let opened = match self.attempts.len() {
            ATTEMPTS_MAX => Err(Refusal::TooManyAttempts),
            _ => open_key_exchange(&self.agreed, received, turn.core),
        };
        pass(self, opened, Handshake::ExpectIdI, |state, message| {
            state.begin(message, received, turn)
        })
    }

    /// Tries every attempt with every key for the address (RFC 2409 §5.4: the identity is
    /// encrypted, so it cannot choose the key). All failures look the same from outside.
    fn open(&self, received: &Received<'_>, core: &Core) -> Result<Opened, Refusal> {
        if received.bytes.len() > SEALED_LEN_MAX {
            return Err(Refusal::TooLong);
        }
        let mut refusal = Refusal::WrongPreSharedKey;
        for attempt in &self.attempts {
            for psk in core.policy.psks_for(received.remote.ip()) {
                match self.try_key(attempt, psk, received, core) {
                    Ok(opened) => return Ok(opened),
                    Err(Refusal::IdentityRefused) => refusal = Refusal::IdentityRefused,
                    Err(_) => {}
                }
            }
        }
        Err(refusal)
    }

    fn try_key(
        &self,
        attempt: &Attempt,
        psk: &Psk,
        received: &Received<'_>,
        core: &Core,
    ) -> Result<Opened, Refusal> {
        let (public_r, shared) = attempt.computed.as_ref().ok_or(Refusal::Unexpected)?;
        let exchanged = self.exchanged(attempt, public_r, core);
        let suite = self.agreed.suite;
        let keys = IsakmpKeys::derive(suite, psk.key.expose(), &exchanged, shared.expose());
        let opened = message::open(received.bytes, &keys.cipher(), &keys.phase1_iv(&exchanged))?;
        let first = received.header.next_payload;
        let proof = Proof::read(first, &opened.plain, self.agreed.method.is_some())?;
        if !crypto::ct_eq(&keys.hash_i(&exchanged, &proof.id_body), &proof.hash) {
            return Err(Refusal::NotAuthentic);
        }
        psk.check(&proof.id.identity)?;
        let own_id = core.own_id(received.local).to_bytes();
        let own_hash = keys.hash_r(&exchanged, &own_id);
        Ok(Opened {
            identity: proof.id.identity,
            psk: psk.clone(),
            nat: attempt.nat,
            initial_contact: proof.initial_contact,
            answer: Payloads::new()
                .with(kind::IDENTIFICATION, &own_id)
                .with(kind::HASH, &own_hash),
            iv: opened.next_iv,
            keys,
        })
    }

    fn exchanged<'a>(
        &'a self,
        attempt: &'a Attempt,
        public_r: &'a [u8],
        core: &Core,
    ) -> Exchanged<'a> {
        Exchanged {
            cookies: core.cookies,
            nonce_i: &attempt.nonce_i,
            nonce_r: &attempt.nonce_r,
            public_i: &attempt.public_i,
            public_r,
            sa_i: &self.agreed.sa_i,
        }
    }

    /// The peer has proved itself: message 6 goes out, to wherever message 5 came from.
    fn advance(self, opened: Opened, received: &Received<'_>, turn: &mut Turn<'_>) -> Handshake {
        let Opened {
            keys,
            identity,
            psk,
            nat,
            initial_contact,
            answer,
            mut iv,
        } = opened;
        let message = envelope(turn.core.cookies).seal(&answer, &keys.cipher(), &mut iv);
        for attempt in &self.attempts {
            turn.core.replies.settle(attempt.request.digest);
        }
        turn.answer(received.origin(), message);
        Handshake::Complete(Box::new(Complete {
            keys,
            last_block: iv,
            identity,
            psk,
            nat,
            agreed: self.agreed,
            initial_contact,
        }))
    }
}
