//! The lines that an operator reads. Each line about a subscriber carries a correlation id: that of
//! the peer, which its sessions extend, so that one search finds the whole story.
//!
//! INFO is for a subscriber who came, went or was refused; it names user and addresses unless the
//! operator wants them hidden.

use std::fmt;
use std::time::Duration;

use crypto::Random;
use dataplane::change::SessionTraffic;
use ike::{ChildEnd, DownReason, Refusal, Refused};
use packet::Endpoint;
use tracing::{debug, info, warn};

use crate::exchange::Exchange;
use crate::peer::{phase1_text, suite_text};
use crate::subscriber::Subscriber;

/// Names a peer, and behind a point its sessions, in every line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Correlation {
    peer: u32,
    session: Option<u32>,
}

impl Correlation {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            peer: random.u32(),
            session: None,
        }
    }

    /// The n-th session of the peer.
    pub(crate) fn session(self, n: u32) -> Self {
        Self {
            session: Some(n),
            ..self
        }
    }
}

impl fmt::Display for Correlation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.peer)?;
        match self.session {
            Some(session) => write!(f, ".{session}"),
            None => Ok(()),
        }
    }
}

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    /// Hide user names and addresses.
    pub(crate) redact: bool,
}

impl Log {
    fn shown<T: fmt::Display>(self, value: T) -> Shown<T> {
        Shown {
            value,
            is_hidden: self.redact,
        }
    }
}

/// Something personal.
struct Shown<T> {
    value: T,
    is_hidden: bool,
}

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_hidden {
            true => f.write_str("(hidden)"),
            false => self.value.fmt(f),
        }
    }
}

/// What was offered and why each was refused, and the line that would help.
pub(crate) fn proposal_refused(log: &Log, exchange: &Exchange, refused: &[Refused]) {
    let offers: Vec<String> = refused.iter().map(Refused::to_string).collect();
    info!(
        id = %exchange.correlation,
        peer = %log.shown(exchange.remote),
        offers = %offers.join("; "),
        "IKE proposal refused: no offered transform is allowed by the policy of this listener"
    );
}

pub(crate) fn wrong_key(log: &Log, exchange: &Exchange, refusal: Refusal) {
    let text = if refusal == Refusal::NoPreSharedKey {
        "IKE refused: no pre-shared key is configured for this peer"
    } else if refusal == Refusal::IdentityRefused {
        "IKE refused: the peer's identity does not fit its key"
    } else {
        "IKE refused: the peer uses another pre-shared key"
    };
    info!(id = %exchange.correlation, peer = %log.shown(exchange.remote), "{text}");
}

pub(crate) fn ike_refused(log: &Log, exchange: &Exchange, refusal: Refusal) {
    debug!(
        id = %exchange.correlation,
        peer = %log.shown(exchange.remote),
        why = refusal.text(),
        "IKE message refused"
    );
}

pub(crate) fn exchange_down(log: &Log, exchange: &Exchange, reason: &DownReason) {
    let (id, peer) = (exchange.correlation, log.shown(exchange.remote));
    match reason {
        DownReason::PeerDead => info!(%id, %peer, "peer unreachable: dead peer detection"),
        DownReason::NoPreSharedKey => {
            info!(%id, %peer, "IKE refused: no pre-shared key is configured for this peer");
        }
        DownReason::SetupTimeout { .. } | DownReason::Unanswered { .. }
            if exchange.renews.is_some() =>
        {
            debug!(%id, %peer, %reason, "the peer does not answer our new main mode");
        }
        DownReason::SetupTimeout { .. } | DownReason::Unanswered { .. } => {
            info!(%id, %peer, %reason, "IKE did not come up");
        }
        DownReason::ProposalRefused
        | DownReason::BadPublicValue
        | DownReason::PeerDeleted
        | DownReason::Expired
        | DownReason::Closed => debug!(%id, %peer, %reason, "ISAKMP SA ended"),
    }
}

pub(crate) fn peer_up(log: &Log, exchange: &Exchange, identity: &str, joined: bool) {
    info!(
        id = %exchange.correlation,
        peer = %log.shown(exchange.remote),
        identity = %log.shown(identity),
        suite = phase1_text(exchange.suite),
        "{}",
        if joined { "IKE peer authenticated anew" } else { "IKE peer authenticated" }
    );
}

pub(crate) fn child_failed(id: Correlation, reason: ChildEnd) {
    info!(%id, %reason, "quick mode came to nothing");
}

pub(crate) fn hard_limit(id: Correlation) {
    warn!(%id, "an IPsec SA was used up before it was renewed");
}

pub(crate) fn peer_gone(log: &Log, id: Correlation, remote: Endpoint, why: &str) {
    info!(%id, peer = %log.shown(remote), why, "peer gone");
}

pub(crate) fn path_mtu(log: &Log, id: Correlation, remote: Endpoint, mtu: u16) {
    debug!(%id, peer = %log.shown(remote), mtu, "a router has told a smaller path MTU");
}

pub(crate) fn tunnel_up(log: &Log, id: Correlation, remote: Endpoint, host: &str, tunnel: u16) {
    debug!(%id, peer = %log.shown(remote), host, tunnel, "L2TP tunnel up");
}

pub(crate) fn tunnel_down(log: &Log, id: Correlation, remote: Endpoint, why: &dyn fmt::Display) {
    debug!(%id, peer = %log.shown(remote), %why, "L2TP tunnel down");
}

pub(crate) fn peer_silent(log: &Log, id: Correlation, remote: Endpoint) {
    info!(%id, peer = %log.shown(remote), "peer unreachable: L2TP messages go unanswered");
}

pub(crate) fn limit(log: &Log, remote: Endpoint, what: &str) {
    info!(peer = %log.shown(remote), what, "refused: a limit is reached");
}

/// Somebody may not come in.
pub(crate) fn refused(log: &Log, subscriber: &Subscriber, remote: Endpoint, user: &str, why: &str) {
    info!(
        id = %subscriber.correlation,
        user = %log.shown(user),
        peer = %log.shown(remote),
        why,
        "subscriber refused"
    );
}

/// Somebody came in.
pub(crate) fn session_up(log: &Log, subscriber: &Subscriber) {
    info!(
        id = %subscriber.correlation,
        user = %log.shown(&subscriber.user),
        address = %log.shown(subscriber.address_text()),
        peer = %log.shown(subscriber.remote),
        suite = suite_text(subscriber.suite),
        mru = subscriber.mru,
        setup_ms = subscriber.setup_time().as_millis() as u64,
        "session up"
    );
}

/// The whole session in one line.
pub(crate) fn summary(
    log: &Log,
    subscriber: &Subscriber,
    traffic: &SessionTraffic,
    duration: Duration,
) {
    info!(
        id = %subscriber.correlation,
        user = %log.shown(subscriber.claimant()),
        address = %log.shown(subscriber.address_text()),
        peer = %log.shown(subscriber.remote),
        suite = suite_text(subscriber.suite),
        mru = subscriber.mru,
        seconds = duration.as_secs(),
        up_bytes = traffic.up.bytes,
        down_bytes = traffic.down.bytes,
        reason = subscriber.end_text(),
        "session ended"
    );
}

/// Something that a subscriber's side said or did.
pub(crate) fn note(id: Correlation, what: &dyn fmt::Display, text: &str) {
    debug!(%id, %what, "{text}");
}
