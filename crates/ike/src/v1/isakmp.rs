//! What phase 1 leaves behind: keys, the exchanges under way, DPD and the lifetime.

use std::collections::BTreeMap;
use std::time::Instant;

use crypto::Secret;

use super::core::Turn;
use super::main_mode::Complete;
use super::quick_mode::QuickMode;
use crate::keys::IsakmpKeys;
use crate::message::{Chain, Envelope, Exchange, Opened, Padding, Payloads, kind};
use crate::nat::NatSituation;
use crate::output::Established;
use crate::payload::identification::Identity;
use crate::policy::Dpd;
use crate::{Output, Policy, Refusal};

/// An established ISAKMP SA.
#[derive(Debug)]
pub(super) struct Isakmp {
    pub(super) keys: IsakmpKeys,
    /// The key that the peer has proved to know.
    pub(super) psk: Secret,
    last_block: Vec<u8>,
    /// Who the peer has proved to be.
    pub(super) identity: Identity,
    pub(super) nat: NatSituation,
    /// Whether both ends speak DPD.
    pub(super) dpd: bool,
    /// Quick modes under way, by message ID. Boxed, because a map has room for eleven from its first on.
    pub(super) exchanges: BTreeMap<u32, Box<QuickMode>>,
    pub(super) liveness: Liveness,
    pub(super) initial_contact_seen: bool,
    pub(super) renew_at: Option<Instant>,
    pub(super) expires_at: Instant,
}

impl Isakmp {
    /// Main mode is complete: says so, and starts to count time.
    pub(super) fn new(complete: Complete, turn: &mut Turn<'_>) -> Self {
        let Complete {
            keys,
            last_block,
            identity,
            psk,
            nat,
            agreed,
            initial_contact,
        } = complete;
        turn.out.push(Output::Established(Box::new(Established {
            identity: identity.clone(),
            nat,
            cookies: turn.core.cookies,
            suite: agreed.suite,
            lifetime: agreed.lifetime,
            dpd: agreed.dpd,
            refused: agreed.refused(&turn.core.policy, turn.core.is_initiator),
        })));
        if initial_contact {
            turn.out.push(Output::InitialContact);
        }
        turn.out
            .push(Output::KeysForLog(keys.key_log(turn.core.cookies)));
        let jitter = agreed.lifetime * (turn.random_u32() % 1000) / 10_000;
        let renew_at = turn.now + agreed.lifetime * 8 / 10 + jitter;
        Self {
            keys,
            psk: psk.key,
            last_block,
            identity,
            nat,
            dpd: agreed.dpd,
            exchanges: BTreeMap::new(),
            liveness: Liveness::new(turn),
            initial_contact_seen: initial_contact,
            renew_at: turn.core.policy.rekey.then_some(renew_at),
            expires_at: turn.now + agreed.lifetime,
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self, policy: &Policy) -> Option<(Instant, &'static str)> {
        let exchanges = self
            .exchanges
            .values()
            .filter_map(|exchange| exchange.deadline())
            .min();
        let dpd = policy.dpd.filter(|_| self.dpd);
        let dpd = dpd.map(|dpd| (self.liveness.deadline(dpd), "dead peer detection"));
        let renewal = self.renew_at.map(|at| (at, "ISAKMP SA is to be renewed"));
        let end = Some((self.expires_at, "ISAKMP SA ends"));
        [exchanges, dpd, renewal, end].into_iter().flatten().min()
    }

    /// A message ID that no exchange has.
    pub(super) fn fresh_message_id(&self, turn: &mut Turn<'_>) -> u32 {
        // The number of exchanges is bounded, so nearly every draw will do.
        loop {
            let id = turn.random_u32().max(1);
            if !self.exchanges.contains_key(&id) {
                return id;
            }
        }
    }

    /// Takes a quick mode out of those that are under way.
    pub(super) fn take_exchange(&mut self, id: u32) -> Option<Box<QuickMode>> {
        let exchange = self.exchanges.remove(&id);
        if self.exchanges.is_empty() {
            self.exchanges = BTreeMap::new();
        }
        exchange
    }

    /// The IV of an exchange's first message.
    pub(super) fn first_iv(&self, message_id: u32) -> Vec<u8> {
        self.keys.phase2_iv(&self.last_block, message_id)
    }

    /// Seals an informational message under HASH(1) (RFC 2409 §5.7).
    pub(super) fn informational(&self, kind_: u8, body: &[u8], turn: &mut Turn<'_>) -> Vec<u8> {
        let message_id = self.fresh_message_id(turn);
        let rest = Payloads::new().with(kind_, body);
        let payloads = with_hash(&self.keys.hash_1(message_id, rest.bytes()), &rest);
        let cookies = turn.core.cookies;
        let envelope = Envelope {
            cookies,
            exchange: Exchange::Informational,
            message_id,
        };
        envelope.seal(
            &payloads,
            &self.keys.cipher(),
            &mut self.first_iv(message_id),
        )
    }
}

/// Puts HASH before a chain.
pub(super) fn with_hash(hash: &[u8], rest: &Payloads) -> Payloads {
    rest.after(kind::HASH, hash)
}

/// The chain of a decrypted message that begins with HASH (RFC 2409 §5.5), and that HASH.
pub(super) fn hash_first<'a>(
    first: u8,
    opened: &'a Opened,
) -> Result<(Chain<'a>, &'a [u8]), Refusal> {
    let chain =
        Chain::parse(first, &opened.plain, Padding::Allowed).map_err(|_| Refusal::NotAuthentic)?;
    let hash = chain.leading(kind::HASH)?;
    Ok((chain, hash))
}

/// Compares HASHes.
pub(super) fn authenticate(expected: &[u8], received: &[u8]) -> Result<(), Refusal> {
    if crypto::ct_eq(expected, received) {
        Ok(())
    } else {
        Err(Refusal::NotAuthentic)
    }
}

/// Whether the peer is there (RFC 3706).
#[derive(Debug)]
pub(super) struct Liveness {
    /// When anything authentic came last.
    heard: Instant,
    /// The number of our next query.
    sequence: u32,
    /// The number of the peer's newest query.
    pub(super) peer_sequence: Option<u32>,
    query: Option<Query>,
}

/// A query that waits for its answer.
#[derive(Debug)]
struct Query {
    sequence: u32,
    tries: u32,
    at: Instant,
}

/// What silence asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Silence {
    Wait,
    Ask(u32),
    Dead,
}

impl Liveness {
    fn new(turn: &mut Turn<'_>) -> Self {
        // RFC 3706 §6.2: random, with the top bit clear.
        let sequence = turn.random_u32() & 0x7FFF_FFFF;
        Self {
            heard: turn.now,
            sequence,
            peer_sequence: None,
            query: None,
        }
    }

    /// Something authentic came.
    pub(super) fn heard(&mut self, at: Instant) {
        if at > self.heard {
            self.heard = at;
            self.query = None;
        }
    }

    /// An answer came; RFC 3706 §6.1: it has to bear the query's number.
    pub(super) fn answered(&mut self, now: Instant, sequence: u32) -> Result<(), Refusal> {
        if self
            .query
            .as_ref()
            .is_none_or(|query| query.sequence != sequence)
        {
            return Err(Refusal::WrongSequence);
        }
        self.query = None;
        self.heard = self.heard.max(now);
        Ok(())
    }

    pub(super) fn fire(&mut self, now: Instant, dpd: Dpd) -> Silence {
        if self.deadline(dpd) > now {
            return Silence::Wait;
        }
        let tries = self.query.as_ref().map_or(0, |query| query.tries);
        if tries >= dpd.tries {
            return Silence::Dead;
        }
        let sequence = self.sequence;
        // RFC 3706 §6.2: each query one more, so that an answer names its query.
        self.sequence = self.sequence.wrapping_add(1);
        self.query = Some(Query {
            sequence,
            tries: tries + 1,
            at: now + dpd.retry,
        });
        Silence::Ask(sequence)
    }

    pub(super) fn deadline(&self, dpd: Dpd) -> Instant {
        self.query
            .as_ref()
            .map_or(self.heard + dpd.interval, |query| query.at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DPD: Dpd = Dpd {
        interval: Duration::from_secs(30),
        retry: Duration::from_secs(5),
        tries: 3,
    };

    fn liveness(heard: Instant) -> Liveness {
        Liveness {
            heard,
            sequence: 7,
            peer_sequence: None,
            query: None,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "only the distance between instants matters"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    // conformance: 3706-11 3706-08
    #[test]
    fn each_query_has_the_next_number_and_the_last_one_is_the_end() {
        let start = start();
        let mut liveness = liveness(start);
        assert_eq!(liveness.fire(after(start, 29), DPD), Silence::Wait);
        assert_eq!(liveness.fire(after(start, 30), DPD), Silence::Ask(7));
        assert_eq!(liveness.fire(after(start, 34), DPD), Silence::Wait);
        assert_eq!(liveness.fire(after(start, 35), DPD), Silence::Ask(8));
        assert_eq!(liveness.fire(after(start, 40), DPD), Silence::Ask(9));
        assert_eq!(liveness.fire(after(start, 45), DPD), Silence::Dead);
    }

    // conformance: 3706-10
    #[test]
    fn only_the_answer_to_the_newest_query_counts() {
        let start = start();
        let mut liveness = liveness(start);
        assert_eq!(
            liveness.answered(start, 7),
            Err(Refusal::WrongSequence),
            "not asked yet"
        );
        assert_eq!(liveness.fire(after(start, 30), DPD), Silence::Ask(7));
        assert_eq!(
            liveness.answered(after(start, 31), 8),
            Err(Refusal::WrongSequence)
        );
        assert_eq!(liveness.answered(after(start, 31), 7), Ok(()));
        assert_eq!(
            liveness.answered(after(start, 31), 7),
            Err(Refusal::WrongSequence),
            "twice"
        );
        assert_eq!(liveness.deadline(DPD), after(start, 61));
    }

    // conformance: 3706-05
    #[test]
    fn traffic_ends_the_question() {
        let start = start();
        let mut liveness = liveness(start);
        assert_eq!(liveness.fire(after(start, 30), DPD), Silence::Ask(7));
        liveness.heard(after(start, 32));
        assert_eq!(liveness.deadline(DPD), after(start, 62));
        liveness.heard(after(start, 20));
        assert_eq!(
            liveness.deadline(DPD),
            after(start, 62),
            "news that is older is no news"
        );
    }
}
