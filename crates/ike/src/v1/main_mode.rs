//! Main mode with a pre-shared key (RFC 2409 §5.4), both ends.
//!
//! Until message 5 nothing is authentic, so a well-formed message may still be somebody else's. The
//! side that waits for proof therefore keeps a few key exchanges side by side and lets the first
//! message that opens decide: a forged message 3 or 4 costs an attempt, not the main mode. Message
//! 2 is different, as it fixes the cookies: a forger who can see message 1 can make a main mode
//! fail, and the owner starts another.

pub(super) mod initiator;
pub(super) mod responder;

use std::time::Duration;

use crypto::dh::{Group, Outcome};

use super::core::{Received, Turn};
use crate::keys::IsakmpKeys;
use crate::message::{Chain, Envelope, Exchange, Padding, Payloads, kind};
use crate::nat::{
    self, FRAGMENTATION_CAPABILITIES, NatMethod, NatSituation, VID_DPD, VID_FRAGMENTATION,
};
use crate::output::{DownReason, Refused};
use crate::payload::identification::{Identification, Identity};
use crate::payload::notification::{self, Notification};
use crate::payload::security_association::SecurityAssociation;
use crate::policy::{Natt, Phase1Proposal, Psk};
use crate::proposal::phase1;
use crate::{Cookies, Policy, Refusal};

/// The most key exchanges tried in one main mode.
const ATTEMPTS_MAX: usize = 3;
/// The longest SA payload that is kept while nothing is known of its sender.
const SA_LEN_MAX: usize = 8192;
/// The longest message 5 or 6: each key that is tried decrypts all of it.
const SEALED_LEN_MAX: usize = 4096;

/// Main mode, named by what it waits for.
#[derive(Debug)]
pub(super) enum Handshake {
    /// Responder: message 1.
    ExpectOffer(responder::ExpectOffer),
    /// Responder: message 3.
    ExpectKe(responder::ExpectKe),
    /// Responder: public-key work, then message 5.
    ExpectIdI(responder::ExpectId),
    /// Initiator: message 2.
    ExpectChoice(initiator::ExpectChoice),
    /// Initiator: its own key pair.
    ExpectKeyPair(initiator::ExpectKeyPair),
    /// Initiator: message 4.
    ExpectKeReply(initiator::ExpectKe),
    /// Initiator: public-key work, then message 6.
    ExpectIdR(initiator::ExpectId),
    /// Both: nothing.
    Complete(Box<Complete>),
    /// Both: nothing.
    Failed(DownReason),
}

/// What main mode has made.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) keys: IsakmpKeys,
    /// The last block of message 6.
    pub(super) last_block: Vec<u8>,
    pub(super) identity: Identity,
    /// The key that the peer has proved to know.
    pub(super) psk: Psk,
    pub(super) nat: NatSituation,
    pub(super) agreed: Agreed,
    pub(super) initial_contact: bool,
}

/// What messages 1 and 2 settle.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    /// The body of the initiator's SA payload, as it was sent.
    pub(super) sa_i: Vec<u8>,
    pub(super) suite: Phase1Proposal,
    pub(super) lifetime: Duration,
    pub(super) method: Option<NatMethod>,
    pub(super) dpd: bool,
}

impl Agreed {
    /// What was offered beside the chosen transform. It is worked out again from the offer, because
    /// before message 5 nobody is worth the memory.
    pub(super) fn refused(&self, policy: &Policy, is_initiator: bool) -> Vec<Refused> {
        if is_initiator {
            return Vec::new();
        }
        let sa = SecurityAssociation::parse(&self.sa_i);
        sa.map(|sa| phase1::refused(policy, &sa))
            .unwrap_or_default()
    }
}

/// What the door behind a message makes of the state, and whether the message was taken.
type Step = (Handshake, Result<(), Refusal>);

impl Handshake {
    /// Takes a message of main mode; on refusal the state stays.
    pub(super) fn receive(self, received: &Received<'_>, turn: &mut Turn<'_>) -> Step {
        match self {
            Self::ExpectOffer(state) => state.receive(received, turn),
            Self::ExpectKe(state) => state.receive(received, turn),
            Self::ExpectIdI(state) => state.receive(received, turn),
            Self::ExpectChoice(state) => state.receive(received, turn),
            Self::ExpectKeReply(state) => state.receive(received, turn),
            Self::ExpectIdR(state) => state.receive(received, turn),
            state @ (Self::ExpectKeyPair(_) | Self::Complete(_) | Self::Failed(_)) => {
                (state, Err(Refusal::Unexpected))
            }
        }
    }

    /// Takes the outcome of public-key work; one that is not waited for changes nothing.
    pub(super) fn computed(self, token: u64, outcome: Outcome, turn: &mut Turn<'_>) -> Self {
        match self {
            Self::ExpectIdI(state) => state.computed(token, outcome, turn),
            Self::ExpectKeyPair(state) => state.computed(token, outcome, turn),
            Self::ExpectIdR(state) => state.computed(token, outcome, turn),
            state @ (Self::ExpectOffer(_)
            | Self::ExpectKe(_)
            | Self::ExpectChoice(_)
            | Self::ExpectKeReply(_)
            | Self::Complete(_)
            | Self::Failed(_)) => state,
        }
    }

    /// For an operator.
    pub(super) fn waiting_for(&self) -> &'static str {
        match self {
            Self::ExpectOffer(_) => "message 1",
            Self::ExpectKe(_) => "message 3",
            Self::ExpectIdI(_) => "message 5",
            Self::ExpectChoice(_) => "message 2",
            Self::ExpectKeyPair(_) => "key pair",
            Self::ExpectKeReply(_) => "message 4",
            Self::ExpectIdR(_) => "message 6",
            Self::Complete(_) | Self::Failed(_) => "nothing",
        }
    }
}

/// Both doors in a row: what `opened` found is handed on, or the state stays as it was.
fn pass<S, M>(
    state: S,
    opened: Result<M, Refusal>,
    stay: impl FnOnce(S) -> Handshake,
    advance: impl FnOnce(S, M) -> Handshake,
) -> Step {
    match opened {
        Ok(message) => (advance(state, message), Ok(())),
        Err(refusal) => (stay(state), Err(refusal)),
    }
}

fn envelope(cookies: Cookies) -> Envelope {
    Envelope {
        cookies,
        exchange: Exchange::MainMode,
        message_id: 0,
    }
}

/// The payloads of messages 1 to 4.
fn clear_chain<'a>(received: &Received<'a>) -> Result<Chain<'a>, Refusal> {
    if received.header.is_encrypted() {
        return Err(Refusal::Encrypted);
    }
    Chain::parse(received.header.next_payload, received.body(), Padding::None)
}

/// Vendor IDs that say something to us.
struct Vendors {
    method: Option<NatMethod>,
    dpd: bool,
    fragmentation: bool,
}

impl Vendors {
    /// RFC 2408 §3.16: what is not known is passed over.
    fn read(chain: &Chain<'_>, natt: Natt) -> Self {
        let all: Vec<&[u8]> = chain.all(kind::VENDOR_ID).collect();
        Self {
            method: NatMethod::choose(&all).filter(|_| natt != Natt::Off),
            dpd: all.iter().any(|vid| vid.starts_with(&VID_DPD[..14])),
            fragmentation: all.iter().any(|vid| nat::announces_fragmentation(vid)),
        }
    }
}

fn add_fragmentation(payloads: &mut Payloads) {
    let body = [VID_FRAGMENTATION, FRAGMENTATION_CAPABILITIES].concat();
    payloads.add(kind::VENDOR_ID, &body);
}

/// Leading zeros that may be missing; one value in 2^40 has more.
const DROPPED_ZEROS: usize = 4;

/// KE and nonce of messages 3 and 4, and what NAT-D says.
struct KeyExchange {
    public: Vec<u8>,
    nonce: Vec<u8>,
    nat: NatSituation,
}

impl KeyExchange {
    fn read(
        received: &Received<'_>,
        agreed: &Agreed,
        cookies: &Cookies,
        policy: &Policy,
    ) -> Result<Self, Refusal> {
        let chain = clear_chain(received)?;
        let public = chain.single(kind::KEY_EXCHANGE)?;
        let missing = agreed.suite.group.public_len().checked_sub(public.len());
        match missing {
            // RFC 2409 §5: exactly as long as the group says, leading zeros kept.
            Some(0) => {}
            Some(1..=DROPPED_ZEROS) if policy.short_public_values => {}
            Some(_) | None => return Err(Refusal::BadKeyLength),
        }
        let nonce = nonce(&chain)?;
        let nat = agreed.method.map_or_else(NatSituation::default, |method| {
            let hashes: Vec<&[u8]> = chain.all(method.nat_d()).collect();
            let path = (received.local, received.remote);
            let found = NatSituation::detect(method, agreed.suite.hash, cookies, path, &hashes);
            NatSituation {
                forced: policy.natt == Natt::Force,
                ..found
            }
        });
        Ok(Self {
            public: public.to_vec(),
            nonce,
            nat,
        })
    }
}

/// The value with the leading zeros that it may lack. Hashed is what was sent.
fn in_full(public: &[u8], group: Group) -> Vec<u8> {
    let mut full = vec![0; group.public_len().saturating_sub(public.len())];
    full.extend(public);
    full
}

/// RFC 2409 §5: a nonce has 8 to 256 bytes.
pub(super) fn nonce(chain: &Chain<'_>) -> Result<Vec<u8>, Refusal> {
    let nonce = chain.single(kind::NONCE)?;
    if !(8..=256).contains(&nonce.len()) {
        return Err(Refusal::NonceLength);
    }
    Ok(nonce.to_vec())
}

/// KE, nonce and NAT-D of ours.
fn key_exchange_payloads(
    public: &[u8],
    nonce: &[u8],
    agreed: &Agreed,
    path: (std::net::SocketAddr, std::net::SocketAddr),
    turn: &Turn<'_>,
) -> Payloads {
    let mut payloads = Payloads::new()
        .with(kind::KEY_EXCHANGE, public)
        .with(kind::NONCE, nonce);
    if let Some(method) = agreed.method {
        let (hash, cookies, (local, remote)) = (agreed.suite.hash, &turn.core.cookies, path);
        // RFC 3947 §3.2: first the other end, then our own.
        payloads.add(method.nat_d(), &nat::nat_d(hash, cookies, remote));
        let own = match turn.core.policy.natt {
            Natt::Force => nat::false_nat_d(hash, cookies, local),
            Natt::Off | Natt::Detect => nat::nat_d(hash, cookies, local),
        };
        payloads.add(method.nat_d(), &own);
    }
    payloads
}

/// The payloads of message 5 or 6, decrypted, HASH not yet compared.
struct Proof {
    id_body: Vec<u8>,
    id: Identification,
    hash: Vec<u8>,
    initial_contact: bool,
}

impl Proof {
    fn read(first: u8, plain: &[u8], has_natt: bool) -> Result<Self, Refusal> {
        let chain = Chain::parse(first, plain, Padding::Allowed)?;
        let id_body = chain.single(kind::IDENTIFICATION)?;
        let id = Identification::parse(id_body)?;
        check_id_port(&id, has_natt)?;
        let hash = chain.single(kind::HASH)?.to_vec();
        let initial_contact = chain
            .all(kind::NOTIFICATION)
            .filter_map(|body| Notification::parse(body).ok())
            .any(|notification| notification.kind == notification::INITIAL_CONTACT);
        Ok(Self {
            id_body: id_body.to_vec(),
            id,
            hash,
            initial_contact,
        })
    }
}

/// RFC 2407 §4.6.2: 0/0 or 17/500; RFC 3947 §4: with NAT traversal the port is 0, and peers that
/// send 4500 mean no harm.
fn check_id_port(id: &Identification, has_natt: bool) -> Result<(), Refusal> {
    match (id.protocol, id.port) {
        (0, 0) | (17, 500) => Ok(()),
        (17, 0 | 4500) if has_natt => Ok(()),
        _ => Err(Refusal::BadIdPort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cookie;

    // conformance: 2407-14
    #[test]
    fn phase_one_ids_have_the_ports_of_the_rfcs() {
        let check = |protocol, port, has_natt| {
            let identity = Identity::Fqdn(b"peer".to_vec());
            check_id_port(
                &Identification {
                    identity,
                    protocol,
                    port,
                },
                has_natt,
            )
            .is_ok()
        };
        assert!(check(0, 0, false) && check(17, 500, false) && check(17, 500, true));
        assert!(check(17, 0, true) && check(17, 4500, true));
        assert!(!check(17, 0, false) && !check(17, 4500, false));
        assert!(!check(6, 500, true) && !check(0, 500, true) && !check(17, 1701, true));
    }

    // conformance: 2407-01
    #[test]
    fn a_proof_without_identity_or_hash_is_none() {
        let id = [1, 0, 0, 0, 192, 0, 2, 1];
        let read = |payloads: &Payloads| {
            Proof::read(payloads.first(), payloads.bytes(), true).map(|proof| proof.id.identity)
        };
        let whole = Payloads::new()
            .with(kind::IDENTIFICATION, &id)
            .with(kind::HASH, &[0; 20]);
        assert_eq!(read(&whole), Ok("192.0.2.1".parse().unwrap()));
        let without_id = Payloads::new().with(kind::HASH, &[0; 20]);
        assert_eq!(read(&without_id), Err(Refusal::PayloadMissing));
        let without_hash = Payloads::new().with(kind::IDENTIFICATION, &id);
        assert_eq!(read(&without_hash), Err(Refusal::PayloadMissing));
        assert_eq!(
            read(&whole.with(kind::HASH, &[0; 20])),
            Err(Refusal::PayloadRepeated)
        );
    }

    #[test]
    fn messages_of_main_mode_have_no_message_id() {
        let message = envelope(Cookies {
            initiator: Cookie([1; 8]),
            responder: Cookie::ZERO,
        });
        assert_eq!(
            (message.exchange, message.message_id),
            (Exchange::MainMode, 0)
        );
    }

    #[test]
    fn a_value_gets_the_leading_zeros_back_that_it_lost() {
        let full = [&[0, 0], &[0x5A; 126][..]].concat();
        assert_eq!(in_full(&full[2..], Group::Modp1024), full);
        assert_eq!(in_full(&full, Group::Modp1024), full);
    }
}
