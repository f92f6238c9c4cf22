//! The end that answers. The inbound half of the pair is installed before message 2 tells the peer
//! its SPI; the outbound half is used when message 3 has come.

use std::net::IpAddr;

use crypto::Secret;
use crypto::dh::{Job, Outcome};

use super::{
    Agreement, Contents, Next, QuickMode, UDP, add_originals, envelope, hash_first, open,
    originals, whole_host,
};
use crate::message::{Payloads, kind};
use crate::nat::NatSituation;
use crate::output::{Output, Refused};
use crate::payload::identification::Identification;
use crate::payload::notification::{
    INVALID_ID_INFORMATION, NO_PROPOSAL_CHOSEN, Notification, PROTO_IPSEC_ESP,
};
use crate::proposal::phase2::{self, Choice, Situation};
use crate::v1::children::Children;
use crate::v1::core::{Core, Origin, Received, Turn};
use crate::v1::isakmp::{Isakmp, authenticate, with_hash};
use crate::v1::resend::Resend;
use crate::{Refusal, Spi};

/// An authentic message 1 that can be answered.
#[derive(Debug)]
pub(in crate::v1) struct Request {
    message_id: u32,
    origin: Origin,
    choice: Choice,
    nonce_i: Vec<u8>,
    public_i: Option<Vec<u8>>,
    /// IDci and IDcr as they came.
    id_bodies: Option<[Vec<u8>; 2]>,
    local: Identification,
    remote: Identification,
    originals: [Option<IpAddr>; 2],
    /// The last block of message 1.
    iv: Vec<u8>,
    pub(in crate::v1) initial_contact: bool,
}

/// What an authentic message 1 comes to.
pub(in crate::v1) enum Verdict {
    Answer(Box<Request>),
    /// To be refused with a notification.
    Refuse(Refusal, Vec<Refused>),
}

/// First door: an authentic message 1.
pub(in crate::v1) fn open_request(
    received: &Received<'_>,
    isakmp: &Isakmp,
    core: &Core,
) -> Result<Verdict, Refusal> {
    let message_id = received.header.message_id;
    let opened = open(received, isakmp, &isakmp.first_iv(message_id))?;
    let (chain, hash) = hash_first(received.header.next_payload, &opened)?;
    authenticate(&isakmp.keys.hash_1(message_id, chain.after_first()), hash)?;
    let contents = Contents::read(&chain)?;
    if contents.public.is_none() && core.policy.pfs_required {
        return Ok(Verdict::Refuse(Refusal::PfsRequired, Vec::new()));
    }
    let nat = isakmp.nat;
    let ends = (received.local.ip(), received.remote.ip());
    let Some((local, remote)) = selectors(&contents, core, &nat, ends) else {
        return Ok(Verdict::Refuse(Refusal::IdRefused, Vec::new()));
    };
    let situation = Situation {
        nat,
        floated: core.is_floated() || received.local.port() != crate::nat::IKE_PORT,
        public_len: contents.public.map(<[u8]>::len),
    };
    let Some(choice) = phase2::choose(&core.policy, &situation, &contents.sa) else {
        let refused = phase2::refused(&core.policy, &situation, &contents.sa);
        return Ok(Verdict::Refuse(Refusal::ProposalRefused, refused));
    };
    Ok(Verdict::Answer(Box::new(Request {
        message_id,
        origin: received.origin(),
        choice,
        nonce_i: contents.nonce,
        public_i: contents.public.map(<[u8]>::to_vec),
        id_bodies: contents.ids.map(|[i, r]| [i.0.to_vec(), r.0.to_vec()]),
        local,
        remote,
        originals: originals(&nat, &contents.originals, true),
        initial_contact: contents.initial_contact,
        iv: opened.next_iv,
    })))
}

/// Whose traffic it is, ours and the peer's; `None` if policy forbids it. RFC 3193 §4.2.2: ours is
/// the L2TP port, the peer's may be any.
fn selectors(
    contents: &Contents<'_>,
    core: &Core,
    nat: &NatSituation,
    (own_address, peer_address): (IpAddr, IpAddr),
) -> Option<(Identification, Identification)> {
    let Some([(_, remote), (_, local)]) = &contents.ids else {
        return Some((whole_host(own_address), whole_host(peer_address)));
    };
    // When we started main mode the peer may ask for its own server port.
    let ports = [0, core.policy.port, core.policy.client_port];
    let traffic = |id: &Identification| matches!(id.protocol, 0 | UDP);
    let is_ours =
        traffic(local) && ports[..2 + usize::from(core.is_initiator)].contains(&local.port);
    // Behind a NAT an address means what its owner believes; without one it has to be true.
    let fits = |id: &Identification, address: IpAddr, behind: bool| {
        let host = id.identity.host();
        host.is_some_and(|host| behind || nat.method.is_none() || host == address)
    };
    let both = is_ours
        && traffic(remote)
        && fits(local, own_address, nat.local_behind)
        && fits(remote, peer_address, nat.remote_behind);
    both.then(|| (local.clone(), remote.clone()))
}

/// Says why an authentic message 1 is refused (RFC 2409 §5.5, RFC 2408 §5.4).
pub(in crate::v1) fn refuse(
    refusal: Refusal,
    refused: Vec<Refused>,
    received: &Received<'_>,
    isakmp: &Isakmp,
    turn: &mut Turn<'_>,
) {
    if !refused.is_empty() {
        turn.out.push(Output::ProposalRefused(refused));
    }
    let notify = if refusal == Refusal::IdRefused {
        INVALID_ID_INFORMATION
    } else {
        NO_PROPOSAL_CHOSEN
    };
    let notification = Notification {
        protocol: PROTO_IPSEC_ESP,
        kind: notify,
        spi: &[],
        content: &[],
    };
    let message = isakmp.informational(kind::NOTIFICATION, &notification.to_bytes(), turn);
    turn.answer(received.origin(), message);
}

/// Second door: message 1 was good, public-key work comes first if there is any.
pub(in crate::v1) fn begin(
    request: Request,
    isakmp: &Isakmp,
    children: &mut Children,
    turn: &mut Turn<'_>,
) -> Next {
    match (&request.public_i, request.choice.terms.group) {
        (Some(public), Some(group)) => {
            let job = Job::Exchange {
                group,
                random: turn.private(),
                peer: public.clone(),
            };
            let token = turn.compute(job);
            Some(QuickMode::ExpectExchange(ExpectExchange { request, token }))
        }
        _ => answer(request, None, isakmp, children, turn),
    }
}

/// Waits for public-key work.
#[derive(Debug)]
pub(in crate::v1) struct ExpectExchange {
    request: Request,
    pub(super) token: u64,
}

impl ExpectExchange {
    pub(super) fn computed(
        self,
        outcome: Outcome,
        isakmp: &Isakmp,
        children: &mut Children,
        turn: &mut Turn<'_>,
    ) -> Next {
        // A public value that is none ends the exchange; the peer is authentic and to blame.
        let Outcome::Exchanged { public, shared } = outcome else {
            return None;
        };
        answer(self.request, Some((public, shared)), isakmp, children, turn)
    }
}

/// Installs the pair and sends message 2.
fn answer(
    request: Request,
    exchanged: Option<(Vec<u8>, Secret)>,
    isakmp: &Isakmp,
    children: &mut Children,
    turn: &mut Turn<'_>,
) -> Next {
    let inbound = turn.env.allocate_spi()?;
    let nonce_r = turn.nonce();
    let terms = &request.choice.terms;
    let agreement = Agreement {
        terms,
        inbound,
        nonces: (&request.nonce_i, &nonce_r),
        shared: exchanged.as_ref().map(|(_, shared)| shared),
        local: request.local.clone(),
        remote: request.remote.clone(),
        originals: request.originals,
        initiator: false,
    };
    let child = agreement.child(isakmp, children);
    children.up(child, turn);
    let public_r = exchanged.as_ref().map(|(public, _)| &public[..]);
    let rest = answer_payloads(&request, inbound, &nonce_r, public_r, isakmp);
    let state = send_answer(request, inbound, nonce_r, &rest, isakmp, turn);
    Some(QuickMode::ExpectConfirmation(state))
}

fn send_answer(
    request: Request,
    inbound: Spi,
    nonce_r: Vec<u8>,
    rest: &Payloads,
    isakmp: &Isakmp,
    turn: &mut Turn<'_>,
) -> ExpectConfirmation {
    let (message_id, origin, nonce_i) = (request.message_id, request.origin, request.nonce_i);
    let hash = isakmp.keys.hash_2(message_id, &nonce_i, rest.bytes());
    let payloads = with_hash(&hash, rest);
    let mut iv = request.iv;
    let envelope = envelope(turn.core.cookies, message_id);
    let message = envelope.seal(&payloads, &isakmp.keys.cipher(), &mut iv);
    turn.answer(origin, message.clone());
    let resend = Resend::new(turn.now, &turn.core.policy.ladder, message);
    ExpectConfirmation {
        inbound,
        iv,
        nonce_i,
        nonce_r,
        origin,
        resend,
        is_confirmed: false,
    }
}

/// SA, Nr, KE, the IDs as they came, NAT-OA.
fn answer_payloads(
    request: &Request,
    inbound: Spi,
    nonce_r: &[u8],
    public_r: Option<&[u8]>,
    isakmp: &Isakmp,
) -> Payloads {
    let mut payloads = Payloads::new()
        .with(kind::SA, &request.choice.body(inbound))
        .with(kind::NONCE, nonce_r);
    if let Some(public) = public_r {
        payloads.add(kind::KEY_EXCHANGE, public);
    }
    for body in request.id_bodies.iter().flatten() {
        payloads.add(kind::IDENTIFICATION, body);
    }
    // RFC 3947 §5.2: only if UDP-encapsulated transport was selected.
    if let Some(method) = isakmp
        .nat
        .method
        .filter(|_| request.choice.terms.encapsulated)
    {
        let (own, peer) = (request.origin.local.ip(), request.origin.remote.ip());
        add_originals(&mut payloads, method, peer, own, own);
    }
    payloads
}

/// Waits for message 3.
#[derive(Debug)]
pub(in crate::v1) struct ExpectConfirmation {
    pub(super) inbound: Spi,
    iv: Vec<u8>,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    pub(super) origin: Origin,
    pub(super) resend: Resend,
    /// Traffic over the pair came first.
    pub(super) is_confirmed: bool,
}

impl ExpectConfirmation {
    pub(super) fn receive(
        self,
        received: &Received<'_>,
        isakmp: &Isakmp,
        children: &mut Children,
        turn: &mut Turn<'_>,
    ) -> (Next, Result<(), Refusal>) {
        match self.open(received, isakmp) {
            Ok(()) => {
                turn.core.replies.settle(self.origin.digest);
                children.confirm(self.inbound, turn.out);
                (None, Ok(()))
            }
            Err(refusal) => (Some(QuickMode::ExpectConfirmation(self)), Err(refusal)),
        }
    }

    fn open(&self, received: &Received<'_>, isakmp: &Isakmp) -> Result<(), Refusal> {
        let message_id = received.header.message_id;
        let opened = open(received, isakmp, &self.iv)?;
        let (_, hash) = hash_first(received.header.next_payload, &opened)?;
        authenticate(
            &isakmp.keys.hash_3(message_id, &self.nonce_i, &self.nonce_r),
            hash,
        )
    }
}
