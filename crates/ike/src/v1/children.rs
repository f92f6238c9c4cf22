//! IPsec SA pairs that live: when each is renewed, replaced and retired.
//!
//! A pair that has a successor is not renewed any more. If the successor was ours, the pair is
//! deleted after the overlap; if it was the peer's, the peer deletes it, or its time runs out. Half
//! way through the overlap our own is taken for confirmed, if the peer has sent nothing on it: so
//! nothing is under way on the old pair when the delete is.

use std::time::{Duration, Instant};

use super::core::Turn;
use crate::output::{Child, ChildEnd, Output};
use crate::payload::identification::Identification;
use crate::{Identity, Spi};

/// One pair.
#[derive(Clone, Debug)]
pub(super) struct LiveChild {
    pub(super) inbound: Spi,
    pub(super) outbound: Spi,
    pub(super) local: Identification,
    pub(super) remote: Identification,
    /// The peer is known to have it.
    is_confirmed: bool,
    /// A newer pair for the same traffic lives.
    is_superseded: bool,
    /// When to take it into use in place of an older one, if it is not by then.
    takeover: Option<Instant>,
    /// When to renew it.
    soft: Option<Instant>,
    /// When to delete it.
    end: (Instant, ChildEnd),
    lifetime: Duration,
}

/// IPsec SA pairs on their way from one ISAKMP SA to its successor.
#[derive(Debug, Default)]
pub struct LiveChildren(Vec<LiveChild>);

impl LiveChildren {
    /// The pairs' names.
    pub fn inbound(&self) -> impl Iterator<Item = Spi> {
        self.0.iter().map(|child| child.inbound)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// All pairs of one ISAKMP SA, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Children {
    live: Vec<LiveChild>,
    /// The lifetime agreed on when the peer asked for a pair last.
    agreed: Option<Duration>,
}

/// What has come due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChildDue {
    Renew,
    TakeOver(Spi),
    End(Spi, ChildEnd),
}

impl Children {
    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// The newest pair that is not replaced.
    pub(super) fn newest(&self) -> Option<&LiveChild> {
        self.live
            .iter()
            .rev()
            .find(|child| !child.is_superseded && child.is_confirmed)
    }

    /// The oldest pair that can be spared.
    pub(super) fn oldest_superseded(&self) -> Option<Spi> {
        self.live
            .iter()
            .find(|child| child.is_superseded)
            .map(|child| child.inbound)
    }

    pub(super) fn inbound(&self) -> Vec<Spi> {
        self.live.iter().map(|child| child.inbound).collect()
    }

    /// The pair that the peer receives under this SPI.
    pub(super) fn by_outbound(&self, outbound: Spi) -> Option<Spi> {
        self.live
            .iter()
            .find(|child| child.outbound == outbound)
            .map(|child| child.inbound)
    }

    /// How long a pair that we ask for is to live: no longer than one that the peer has asked for. A
    /// peer whose own lifetime is shorter than our offer takes the offer without a word (RFC 2407
    /// §4.5.4), ends the pair when it thinks best, and may never renew one.
    pub(super) fn lifetime(&self, longest: Duration) -> Duration {
        self.agreed.map_or(longest, |agreed| agreed.min(longest))
    }

    pub(super) fn agree_lifetime(&mut self, agreed: Duration) {
        self.agreed = Some(agreed);
    }

    /// Adds a pair and says so.
    pub(super) fn up(&mut self, child: Child, turn: &mut Turn<'_>) {
        let rekey = turn.core.policy.rekey;
        let lifetime = Duration::from_secs(child.lifetime.seconds.into());
        let is_confirmed = child.initiator;
        let inbound = child.inbound;
        if !child.initiator {
            self.agree_lifetime(lifetime);
        }
        // One, as nearly all have: a list that grows by itself begins with room for four.
        self.live.reserve_exact(1);
        self.live.push(LiveChild {
            inbound,
            outbound: child.outbound,
            local: child.local.clone(),
            remote: child.remote.clone(),
            is_confirmed,
            is_superseded: false,
            takeover: None,
            soft: rekey.then(|| turn.now + soft_life(lifetime, child.initiator, turn)),
            end: (turn.now + lifetime, ChildEnd::Expired),
            lifetime,
        });
        turn.out.push(Output::ChildUp(Box::new(child)));
    }

    /// A pair that we asked for is up, and takes over from those that lived when we asked. One that
    /// the peer has asked for meanwhile stays: it has a peer that believes in it.
    pub(super) fn succeed(&mut self, inbound: Spi, predecessors: &[Spi], turn: &mut Turn<'_>) {
        self.supersede(inbound);
        let overlap = turn.core.policy.overlap;
        let retire_at = turn.now + overlap;
        if let Some(child) = self.live.iter_mut().find(|child| child.inbound == inbound) {
            child.takeover = (!predecessors.is_empty()).then(|| turn.now + overlap / 2);
        }
        for child in self
            .live
            .iter_mut()
            .filter(|child| predecessors.contains(&child.inbound))
        {
            if retire_at < child.end.0 {
                child.end = (retire_at, ChildEnd::Superseded);
            }
        }
    }

    /// The peer has the pair: it takes over from the older ones.
    pub(super) fn confirm(&mut self, inbound: Spi, out: &mut Vec<Output>) -> bool {
        let child = self.live.iter_mut().find(|child| child.inbound == inbound);
        let Some(child) = child.filter(|child| !child.is_confirmed) else {
            return false;
        };
        child.is_confirmed = true;
        out.push(Output::ChildConfirmed { inbound });
        self.supersede(inbound);
        true
    }

    /// Older pairs are not renewed any more.
    fn supersede(&mut self, by: Spi) {
        let older = self.live.iter_mut().take_while(|child| child.inbound != by);
        older.for_each(|child| child.is_superseded = true);
    }

    /// Removes a pair and says so.
    pub(super) fn down(&mut self, inbound: Spi, reason: ChildEnd, out: &mut Vec<Output>) -> bool {
        let Some(index) = self.live.iter().position(|child| child.inbound == inbound) else {
            return false;
        };
        self.live.remove(index);
        out.push(Output::ChildDown { inbound, reason });
        true
    }

    /// Renewal did not work out: once more later, while there is time.
    pub(super) fn renew_later(&mut self, now: Instant) {
        if let Some(child) = self
            .live
            .iter_mut()
            .rev()
            .find(|child| !child.is_superseded)
        {
            child.soft = Some(now + child.lifetime / 20);
        }
    }

    /// The next thing that is due; renewal is reported once.
    pub(super) fn due(&mut self, now: Instant) -> Option<ChildDue> {
        if let Some(child) = self.live.iter().find(|child| child.end.0 <= now) {
            return Some(ChildDue::End(child.inbound, child.end.1));
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if let Some(child) = self.live.iter_mut().find(|child| is_due(child.takeover)) {
            child.takeover = None;
            return Some(ChildDue::TakeOver(child.inbound));
        }
        let child = self.live.iter_mut().find(|child| is_due(child.soft))?;
        child.soft = None;
        if child.is_superseded || !child.is_confirmed {
            return self.due(now);
        }
        Some(ChildDue::Renew)
    }

    pub(super) fn deadline(&self) -> Option<(Instant, &'static str)> {
        let ends = self.live.iter().map(|child| (child.end.0, "IPsec SA ends"));
        let renewals = self
            .live
            .iter()
            .filter_map(|child| Some((child.soft?, "IPsec SA is to be renewed")));
        let takeovers = self
            .live
            .iter()
            .filter_map(|child| Some((child.takeover?, "new IPsec SA is taken into use")));
        ends.chain(takeovers).chain(renewals).min()
    }

    /// Gives away what the peer is known to have.
    pub(super) fn take(&mut self) -> LiveChildren {
        let (given, kept) = std::mem::take(&mut self.live)
            .into_iter()
            .partition(|child: &LiveChild| child.is_confirmed);
        self.live = kept;
        LiveChildren(given)
    }

    /// Takes over; they are older than any pair of ours.
    pub(super) fn adopt(&mut self, mut children: LiveChildren) {
        let newest = self.live.iter().any(|child| child.is_confirmed);
        children
            .0
            .iter_mut()
            .for_each(|child| child.is_superseded |= newest);
        children.0.append(&mut self.live);
        self.live = children.0;
    }
}

/// A share of the lifetime with jitter, so that many peers do not renew at once; the initiator is
/// earlier, so that rarely both do.
fn soft_life(lifetime: Duration, is_initiator: bool, turn: &mut Turn<'_>) -> Duration {
    let start = if is_initiator { 80 } else { 90 };
    let mut random = [0; 4];
    turn.env.random(&mut random);
    let jitter = u32::from_be_bytes(random) % 1000;
    lifetime * start / 100 + lifetime * jitter / 20_000
}

/// Whose traffic a pair is for, if nobody says: everything between the two ends.
pub(super) fn whole_host(address: std::net::IpAddr) -> Identification {
    Identification {
        identity: Identity::from(address),
        protocol: 0,
        port: 0,
    }
}
