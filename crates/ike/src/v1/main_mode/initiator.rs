//! The end that starts.

use crypto::dh::{Job, KeyPair, Outcome};

use super::{
    ATTEMPTS_MAX, Agreed, Complete, Handshake, KeyExchange, Proof, SEALED_LEN_MAX, Step, Vendors,
    add_fragmentation, clear_chain, envelope, in_full, key_exchange_payloads, pass,
};
use crate::keys::{Exchanged, IsakmpKeys};
use crate::message::{self, Cookie, Payloads, kind};
use crate::nat::{
    NatSituation, VID_DPD, VID_DRAFT_02, VID_DRAFT_02_NEWLINE, VID_DRAFT_03, VID_RFC3947,
};
use crate::output::DownReason;
use crate::payload::notification::{INITIAL_CONTACT, Notification, PROTO_ISAKMP};
use crate::payload::security_association::SecurityAssociation;
use crate::policy::{Natt, Psk};
use crate::proposal::phase1;
use crate::v1::core::{Core, Received, Turn};
use crate::v1::resend::{Due, Resend};
use crate::{Identity, Policy, Refusal};

/// Sends message 1.
pub(in crate::v1) fn start(turn: &mut Turn<'_>) -> Handshake {
    let policy = &turn.core.policy;
    if policy.psks_for(turn.core.remote.ip()).is_empty() {
        return Handshake::Failed(DownReason::NoPreSharedKey);
    }
    let sa_i = phase1::offer(policy);
    let mut payloads = Payloads::new().with(kind::SA, &sa_i);
    add_vendor_ids(policy, &mut payloads);
    let message = envelope(turn.core.cookies).clear(&payloads);
    let resend = request(message, turn);
    Handshake::ExpectChoice(ExpectChoice { sa_i, resend })
}

fn add_vendor_ids(policy: &Policy, payloads: &mut Payloads) {
    if let Some(habits) = &policy.habits {
        return habits
            .vendor_ids
            .iter()
            .for_each(|vid| payloads.add(kind::VENDOR_ID, vid));
    }
    if policy.natt != Natt::Off {
        for vid in [
            VID_RFC3947,
            VID_DRAFT_03,
            VID_DRAFT_02_NEWLINE,
            VID_DRAFT_02,
        ] {
            payloads.add(kind::VENDOR_ID, vid);
        }
    }
    payloads.add(kind::VENDOR_ID, VID_DPD);
    add_fragmentation(payloads);
}

fn request(message: Vec<u8>, turn: &mut Turn<'_>) -> Resend {
    turn.send(message.clone());
    Resend::new(turn.now, &turn.core.policy.ladder, message)
}

/// Waits for message 2: the chosen transform.
#[derive(Debug)]
pub(in crate::v1) struct ExpectChoice {
    sa_i: Vec<u8>,
    resend: Resend,
}

impl ExpectChoice {
    pub(super) fn receive(self, received: &Received<'_>, turn: &mut Turn<'_>) -> Step {
        let opened = self.open(received, turn.core);
        pass(self, opened, Handshake::ExpectChoice, |_, agreed| {
            turn.core.cookies.responder = received.header.cookies.responder;
            let job = Job::Generate {
                group: agreed.suite.group,
                random: turn.private(),
            };
            let token = turn.compute(job);
            Handshake::ExpectKeyPair(ExpectKeyPair { agreed, token })
        })
    }

    fn open(&self, received: &Received<'_>, core: &Core) -> Result<Agreed, Refusal> {
        if received.header.cookies.responder == Cookie::ZERO {
            return Err(Refusal::CookieMissing);
        }
        let chain = clear_chain(received)?;
        let sa = SecurityAssociation::parse(chain.single(kind::SA)?)?;
        let (suite, lifetime) = phase1::accept(&core.policy, &sa)?;
        let vendors = Vendors::read(&chain, core.policy.natt);
        Ok(Agreed {
            sa_i: self.sa_i.clone(),
            suite,
            lifetime,
            method: vendors.method,
            dpd: vendors.dpd,
        })
    }
}

/// Waits for our own key pair.
#[derive(Debug)]
pub(in crate::v1) struct ExpectKeyPair {
    agreed: Agreed,
    token: u64,
}

impl ExpectKeyPair {
    pub(super) fn computed(self, token: u64, outcome: Outcome, turn: &mut Turn<'_>) -> Handshake {
        let Outcome::Generated(pair) = outcome else {
            return Handshake::ExpectKeyPair(self);
        };
        if token != self.token {
            return Handshake::ExpectKeyPair(self);
        }
        let nonce_i = turn.nonce();
        let path = (turn.core.local, turn.core.remote);
        let payloads = key_exchange_payloads(pair.public(), &nonce_i, &self.agreed, path, turn);
        let resend = request(envelope(turn.core.cookies).clear(&payloads), turn);
        Handshake::ExpectKeReply(ExpectKe {
            agreed: self.agreed,
            pair,
            nonce_i,
            resend,
        })
    }
}

/// Waits for message 4: KE and nonce.
#[derive(Debug)]
pub(in crate::v1) struct ExpectKe {
    agreed: Agreed,
    pair: KeyPair,
    nonce_i: Vec<u8>,
    resend: Resend,
}

impl ExpectKe {
    pub(super) fn receive(self, received: &Received<'_>, turn: &mut Turn<'_>) -> Step {
        let opened = KeyExchange::read(
            received,
            &self.agreed,
            &turn.core.cookies,
            &turn.core.policy,
        );
        pass(self, opened, Handshake::ExpectKeReply, |state, message| {
            let Self {
                agreed,
                pair,
                nonce_i,
                ..
            } = state;
            let next = ExpectId {
                agreed,
                pair,
                nonce_i,
                attempts: Vec::new(),
                resend: None,
            };
            next.begin(message, turn)
        })
    }
}

/// Waits for public-key work and then for message 6: the identity and its proof.
#[derive(Debug)]
pub(in crate::v1) struct ExpectId {
    agreed: Agreed,
    pair: KeyPair,
    nonce_i: Vec<u8>,
    attempts: Vec<Attempt>,
    /// The messages 5, one for each attempt that has keys.
    resend: Option<Resend>,
}

/// One message 4 and what became of it.
#[derive(Debug)]
struct Attempt {
    token: u64,
    nonce_r: Vec<u8>,
    public_r: Vec<u8>,
    nat: NatSituation,
    /// Keys and the last block of message 5, once they are computed.
    keys: Option<(IsakmpKeys, Vec<u8>)>,
}

/// A message 6 that opened.
struct Opened {
    attempt: usize,
    identity: Identity,
    psk: Psk,
    initial_contact: bool,
    last_block: Vec<u8>,
}

impl ExpectId {
    /// Starts one more attempt.
    fn begin(mut self, message: KeyExchange, turn: &mut Turn<'_>) -> Handshake {
        let job = Job::Agree {
            pair: self.pair.clone(),
            peer: in_full(&message.public, self.agreed.suite.group),
        };
        self.attempts.push(Attempt {
            token: turn.compute(job),
            nonce_r: message.nonce,
            public_r: message.public,
            nat: message.nat,
            keys: None,
        });
        Handshake::ExpectIdR(self)
    }

    /// Public-key work is done: message 5 goes out, on port 4500 if there is a NAT.
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
            return Handshake::ExpectIdR(self);
        };
        let Outcome::Agreed(shared) = outcome else {
            self.attempts.remove(index);
            return Handshake::ExpectIdR(self);
        };
        let exchanged = self.exchanged(&self.attempts[index], turn.core);
        let psks = turn.core.policy.psks_for(turn.core.remote.ip());
        let psk = psks.first().map_or(&[][..], |psk| psk.key.expose());
        let keys = IsakmpKeys::derive(self.agreed.suite, psk, &exchanged, shared.expose());
        let mut iv = keys.phase1_iv(&exchanged);
        if self.attempts[index].nat.encapsulates() {
            turn.core.float();
        }
        let payloads = self.proof(
            &keys,
            &self.exchanged(&self.attempts[index], turn.core),
            turn,
        );
        let message = envelope(turn.core.cookies).seal(&payloads, &keys.cipher(), &mut iv);
        self.attempts[index].keys = Some((keys, iv));
        match &mut self.resend {
            Some(resend) => {
                resend.join(message.clone());
                turn.send(message);
            }
            None => self.resend = Some(request(message, turn)),
        }
        Handshake::ExpectIdR(self)
    }

    /// IDii, HASH_I, and whether we know of another SA.
    fn proof(&self, keys: &IsakmpKeys, exchanged: &Exchanged<'_>, turn: &Turn<'_>) -> Payloads {
        let own_id = turn.core.own_id(turn.core.local).to_bytes();
        let mut payloads = Payloads::new()
            .with(kind::IDENTIFICATION, &own_id)
            .with(kind::HASH, &keys.hash_i(exchanged, &own_id));
        if turn.core.policy.initial_contact {
            let cookies = turn.core.cookies;
            let spi = [cookies.initiator.0, cookies.responder.0].concat();
            let notification = Notification {
                protocol: PROTO_ISAKMP,
                kind: INITIAL_CONTACT,
                spi: &spi,
                content: &[],
            };
            payloads.add(kind::NOTIFICATION, &notification.to_bytes());
        }
        payloads
    }

    fn exchanged<'a>(&'a self, attempt: &'a Attempt, core: &Core) -> Exchanged<'a> {
        Exchanged {
            cookies: core.cookies,
            nonce_i: &self.nonce_i,
            nonce_r: &attempt.nonce_r,
            public_i: self.pair.public(),
            public_r: &attempt.public_r,
            sa_i: &self.agreed.sa_i,
        }
    }

    pub(super) fn receive(self, received: &Received<'_>, turn: &mut Turn<'_>) -> Step {
        if received.header.is_encrypted() {
            let opened = self.open(received, turn.core);
            return pass(self, opened, Handshake::ExpectIdR, |state, opened| {
                state.advance(opened)
            });
        }
        let opened = match self.attempts.len() {
            ATTEMPTS_MAX => Err(Refusal::TooManyAttempts),
            _ => KeyExchange::read(
                received,
                &self.agreed,
                &turn.core.cookies,
                &turn.core.policy,
            ),
        };
        pass(self, opened, Handshake::ExpectIdR, |state, message| {
            state.begin(message, turn)
        })
    }

    fn open(&self, received: &Received<'_>, core: &Core) -> Result<Opened, Refusal> {
        if received.bytes.len() > SEALED_LEN_MAX {
            return Err(Refusal::TooLong);
        }
        let mut refusal = Refusal::WrongPreSharedKey;
        for (index, attempt) in self.attempts.iter().enumerate() {
            match self.try_attempt(index, attempt, received, core) {
                Ok(opened) => return Ok(opened),
                Err(Refusal::IdentityRefused) => refusal = Refusal::IdentityRefused,
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    fn try_attempt(
        &self,
        index: usize,
        attempt: &Attempt,
        received: &Received<'_>,
        core: &Core,
    ) -> Result<Opened, Refusal> {
        let (keys, iv) = attempt.keys.as_ref().ok_or(Refusal::Unexpected)?;
        let opened = message::open(received.bytes, &keys.cipher(), iv)?;
        let first = received.header.next_payload;
        let proof = Proof::read(first, &opened.plain, self.agreed.method.is_some())?;
        let expected = keys.hash_r(&self.exchanged(attempt, core), &proof.id_body);
        if !crypto::ct_eq(&expected, &proof.hash) {
            return Err(Refusal::NotAuthentic);
        }
        let psks = core.policy.psks_for(core.remote.ip());
        let psk = *psks.first().ok_or(Refusal::NoPreSharedKey)?;
        psk.check(&proof.id.identity)?;
        Ok(Opened {
            attempt: index,
            identity: proof.id.identity,
            psk: psk.clone(),
            initial_contact: proof.initial_contact,
            last_block: opened.next_iv,
        })
    }

    fn advance(mut self, opened: Opened) -> Handshake {
        let attempt = self.attempts.swap_remove(opened.attempt);
        let (keys, _) = attempt.keys.expect("message 6 was opened with them");
        Handshake::Complete(Box::new(Complete {
            keys,
            last_block: opened.last_block,
            identity: opened.identity,
            psk: opened.psk,
            nat: attempt.nat,
            agreed: self.agreed,
            initial_contact: opened.initial_contact,
        }))
    }
}

impl Handshake {
    /// What has to be sent again, and when.
    pub(in crate::v1) fn resend(&self) -> Option<&Resend> {
        match self {
            Self::ExpectChoice(state) => Some(&state.resend),
            Self::ExpectKeReply(state) => Some(&state.resend),
            Self::ExpectIdR(state) => state.resend.as_ref(),
            // RFC 2408 §5.1 lets the side that asked repeat itself; a responder that repeated its
            // answers to an address that nobody has proved to own would be an amplifier.
            Self::ExpectOffer(_)
            | Self::ExpectKe(_)
            | Self::ExpectIdI(_)
            | Self::ExpectKeyPair(_)
            | Self::Complete(_)
            | Self::Failed(_) => None,
        }
    }

    /// Whether something is to be sent again now.
    pub(in crate::v1) fn fire(&mut self, turn: &Turn<'_>) -> Due {
        let resend = match self {
            Self::ExpectChoice(state) => Some(&mut state.resend),
            Self::ExpectKeReply(state) => Some(&mut state.resend),
            Self::ExpectIdR(state) => state.resend.as_mut(),
            Self::ExpectOffer(_)
            | Self::ExpectKe(_)
            | Self::ExpectIdI(_)
            | Self::ExpectKeyPair(_)
            | Self::Complete(_)
            | Self::Failed(_) => None,
        };
        resend.map_or(Due::Wait, |resend| {
            resend.fire(turn.now, &turn.core.policy.ladder)
        })
    }
}
