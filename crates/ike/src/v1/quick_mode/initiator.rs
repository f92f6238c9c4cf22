//! The end that starts: for the first pair, or for the next one.

use std::time::Duration;

use crypto::Secret;
use crypto::dh::{Group, Job, KeyPair, Outcome};

use super::{
    Agreement, Contents, Next, QuickMode, UDP, add_originals, envelope, hash_first, open, originals,
};
use crate::message::{Payloads, kind};
use crate::output::{ChildEnd, Output};
use crate::payload::identification::{Identification, Identity};
use crate::proposal::phase2::{self, Situation, Terms};
use crate::v1::children::Children;
use crate::v1::core::{Core, Origin, Received, Turn};
use crate::v1::isakmp::{Isakmp, authenticate, with_hash};
use crate::v1::resend::Resend;
use crate::{Refusal, Spi};

/// What is settled before message 1.
#[derive(Debug)]
pub(in crate::v1) struct Start {
    message_id: u32,
    pub(super) inbound: Spi,
    local: Identification,
    remote: Identification,
    /// How long the pair is to live.
    lifetime: Duration,
    /// The pairs that live already.
    predecessors: Vec<Spi>,
}

/// Starts a quick mode.
pub(in crate::v1) fn start(
    isakmp: &Isakmp,
    children: &mut Children,
    turn: &mut Turn<'_>,
) -> Option<(u32, QuickMode)> {
    let Some(inbound) = turn.env.allocate_spi() else {
        children.renew_later(turn.now);
        turn.out.push(Output::ChildFailed {
            inbound: None,
            reason: ChildEnd::NoRoom,
        });
        return None;
    };
    let message_id = match turn.count_quick_mode() {
        Some(number) => number,
        None => isakmp.fresh_message_id(turn),
    };
    let (local, remote) = selectors(children, turn.core);
    let lifetime = children.lifetime(turn.core.policy.phase2_lifetime);
    let predecessors = children.inbound();
    let start = Start {
        message_id,
        inbound,
        local,
        remote,
        lifetime,
        predecessors,
    };
    let state = match turn.core.policy.pfs {
        Some(group) => {
            let job = Job::Generate {
                group,
                random: turn.private(),
            };
            QuickMode::ExpectKeyPair(ExpectKeyPair {
                token: turn.compute(job),
                group,
                start,
            })
        }
        None => request(start, None, isakmp, turn),
    };
    Some((message_id, state))
}

/// A successor carries the same traffic as its predecessor, in the peer's own words; the first pair
/// is for our client port and the peer's L2TP port.
fn selectors(children: &Children, core: &Core) -> (Identification, Identification) {
    if let Some(child) = children.newest() {
        return (child.local.clone(), child.remote.clone());
    }
    let id = |address, port| Identification {
        identity: Identity::from(address),
        protocol: UDP,
        port,
    };
    let (local, remote) = (core.local.ip(), core.remote.ip());
    let (own_port, peer_port) = match core.is_initiator {
        true => (core.policy.client_port, core.policy.port),
        false => (core.policy.port, core.policy.client_port),
    };
    (id(local, own_port), id(remote, peer_port))
}

/// Waits for our own key pair.
#[derive(Debug)]
pub(in crate::v1) struct ExpectKeyPair {
    pub(super) token: u64,
    group: Group,
    pub(super) start: Start,
}

impl ExpectKeyPair {
    pub(super) fn computed(self, outcome: Outcome, isakmp: &Isakmp, turn: &mut Turn<'_>) -> Next {
        let Outcome::Generated(pair) = outcome else {
            return Some(QuickMode::ExpectKeyPair(self));
        };
        Some(request(self.start, Some((self.group, pair)), isakmp, turn))
    }
}

/// Sends message 1.
fn request(
    start: Start,
    pair: Option<(Group, KeyPair)>,
    isakmp: &Isakmp,
    turn: &mut Turn<'_>,
) -> QuickMode {
    let nonce_i = turn.nonce();
    let nat = isakmp.nat;
    let mut rest = Payloads::new()
        .with(
            kind::SA,
            &phase2::offer(&turn.core.policy, start.lifetime, &nat, start.inbound),
        )
        .with(kind::NONCE, &nonce_i);
    if let Some((_, pair)) = &pair {
        rest.add(kind::KEY_EXCHANGE, pair.public());
    }
    rest.add(kind::IDENTIFICATION, &start.local.to_bytes());
    rest.add(kind::IDENTIFICATION, &start.remote.to_bytes());
    // RFC 3947 §5.2: with any UDP-encapsulated transport on offer.
    if let Some(method) = nat.method.filter(|_| nat.encapsulates()) {
        let (own, peer) = (turn.core.local.ip(), turn.core.remote.ip());
        add_originals(&mut rest, method, own, peer, own);
    }
    let hash = isakmp.keys.hash_1(start.message_id, rest.bytes());
    let mut iv = isakmp.first_iv(start.message_id);
    let message = envelope(turn.core.cookies, start.message_id).seal(
        &with_hash(&hash, &rest),
        &isakmp.keys.cipher(),
        &mut iv,
    );
    turn.send(message.clone());
    let resend = Resend::new(turn.now, &turn.core.policy.ladder, message);
    QuickMode::ExpectAnswer(ExpectAnswer {
        start,
        pair,
        nonce_i,
        iv,
        resend,
    })
}

/// Waits for message 2.
#[derive(Debug)]
pub(in crate::v1) struct ExpectAnswer {
    pub(super) start: Start,
    pair: Option<(Group, KeyPair)>,
    nonce_i: Vec<u8>,
    /// The last block of message 1.
    iv: Vec<u8>,
    pub(super) resend: Resend,
}

/// An authentic message 2.
#[derive(Debug)]
struct Answer {
    terms: Terms,
    nonce_r: Vec<u8>,
    public_r: Option<Vec<u8>>,
    originals: [Option<std::net::IpAddr>; 2],
    origin: Origin,
    iv: Vec<u8>,
}

impl ExpectAnswer {
    pub(super) fn receive(
        self,
        received: &Received<'_>,
        isakmp: &Isakmp,
        children: &mut Children,
        turn: &mut Turn<'_>,
    ) -> (Next, Result<(), Refusal>) {
        match self.open(received, isakmp, turn.core) {
            Ok(answer) => (self.advance(answer, isakmp, children, turn), Ok(())),
            Err(refusal) => (Some(QuickMode::ExpectAnswer(self)), Err(refusal)),
        }
    }

    fn open(
        &self,
        received: &Received<'_>,
        isakmp: &Isakmp,
        core: &Core,
    ) -> Result<Answer, Refusal> {
        let opened = open(received, isakmp, &self.iv)?;
        let (chain, hash) = hash_first(received.header.next_payload, &opened)?;
        let rest = chain.after_first();
        authenticate(
            &isakmp
                .keys
                .hash_2(self.start.message_id, &self.nonce_i, rest),
            hash,
        )?;
        let contents = Contents::read(&chain)?;
        if let Some([(_, i), (_, r)]) = &contents.ids {
            check_id(&self.start.local, i)?;
            check_id(&self.start.remote, r)?;
        }
        let nat = isakmp.nat;
        let public_len = contents.public.map(<[u8]>::len);
        let situation = Situation {
            nat,
            floated: core.is_floated(),
            public_len,
        };
        let group = self.pair.as_ref().map(|(group, _)| *group);
        let terms = phase2::accept(&core.policy, &situation, group, &contents.sa)?;
        Ok(Answer {
            terms,
            nonce_r: contents.nonce,
            public_r: contents.public.map(<[u8]>::to_vec),
            originals: originals(&nat, &contents.originals, false),
            origin: received.origin(),
            iv: opened.next_iv,
        })
    }

    fn advance(
        self,
        answer: Answer,
        isakmp: &Isakmp,
        children: &mut Children,
        turn: &mut Turn<'_>,
    ) -> Next {
        let Self {
            start,
            nonce_i,
            pair,
            ..
        } = self;
        let (Some((_, pair)), Some(peer)) = (pair, answer.public_r.clone()) else {
            return finish(start, &nonce_i, answer, None, isakmp, children, turn);
        };
        let token = turn.compute(Job::Agree { pair, peer });
        Some(QuickMode::ExpectShared(ExpectShared {
            token,
            start,
            nonce_i,
            answer,
        }))
    }
}

/// The peer may name addresses as it sees them, and a port where we said any; nothing else.
fn check_id(sent: &Identification, returned: &Identification) -> Result<(), Refusal> {
    let port = sent.port == 0 || returned.port == 0 || sent.port == returned.port;
    let protocol = sent.protocol == 0 || sent.protocol == returned.protocol;
    let host = returned.identity.host().is_some();
    if port && protocol && host {
        Ok(())
    } else {
        Err(Refusal::IdRefused)
    }
}

/// Waits for public-key work.
#[derive(Debug)]
pub(in crate::v1) struct ExpectShared {
    pub(super) token: u64,
    start: Start,
    nonce_i: Vec<u8>,
    answer: Answer,
}

impl ExpectShared {
    pub(super) fn answer_to(&self) -> Spi {
        self.start.inbound
    }

    pub(super) fn computed(
        self,
        outcome: Outcome,
        isakmp: &Isakmp,
        children: &mut Children,
        turn: &mut Turn<'_>,
    ) -> Next {
        let Outcome::Agreed(shared) = outcome else {
            QuickMode::ExpectShared(self).fail(ChildEnd::NotConfirmed, children, turn);
            return None;
        };
        finish(
            self.start,
            &self.nonce_i,
            self.answer,
            Some(shared),
            isakmp,
            children,
            turn,
        )
    }
}

/// Installs the pair and sends message 3.
fn finish(
    start: Start,
    nonce_i: &[u8],
    answer: Answer,
    shared: Option<Secret>,
    isakmp: &Isakmp,
    children: &mut Children,
    turn: &mut Turn<'_>,
) -> Next {
    let Answer {
        terms,
        nonce_r,
        originals,
        origin,
        mut iv,
        ..
    } = answer;
    let agreement = Agreement {
        terms: &terms,
        inbound: start.inbound,
        nonces: (nonce_i, &nonce_r),
        shared: shared.as_ref(),
        local: start.local,
        remote: start.remote,
        originals,
        initiator: true,
    };
    let child = agreement.child(isakmp, children);
    children.up(child, turn);
    children.succeed(start.inbound, &start.predecessors, turn);
    let hash = isakmp.keys.hash_3(start.message_id, nonce_i, &nonce_r);
    let payloads = Payloads::new().with(kind::HASH, &hash);
    let message = envelope(turn.core.cookies, start.message_id).seal(
        &payloads,
        &isakmp.keys.cipher(),
        &mut iv,
    );
    turn.answer(origin, message);
    None
}
