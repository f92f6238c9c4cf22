//! What must be true: after each step, in a calm, and at the end.

use std::net::IpAddr;
use std::time::Duration;

use control::admin::{Filter, Request, Response, Table, Totals};
use dataplane::Discard;

use super::World;
use crate::gateway::settings::user;
use crate::model::Connected;
use crate::plan::{Act, COLLECT_AFTER};

/// Steps between two looks at what is dear to look at.
const DEAR_EVERY: u64 = 512;
/// Between two looks at whether everybody is connected.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Letters that everybody sends when all are connected.
const DUE_LETTERS: usize = 3;
/// Between two who send them.
const LETTERS_APART: Duration = Duration::from_millis(5);

/// What the workers never have a reason to discard for.
const NEVER: [Discard; 5] = [
    Discard::TooManyMoves,
    Discard::NoChunk,
    Discard::NoHeadroom,
    Discard::NoPort,
    Discard::SendFull,
];

impl World {
    pub(super) fn ask(&mut self, query: Request) -> Vec<Response> {
        self.gateway
            .ask(self.now, query, &mut self.dice, &mut self.trace)
    }

    fn show(&mut self, table: Table) -> Vec<Response> {
        let filter = Filter::default();
        self.ask(Request::Show { table, filter })
    }

    pub(super) fn check_step(&mut self) {
        self.lines.assert_no_error();
        if self.steps.is_multiple_of(DEAR_EVERY) {
            self.check_books();
        }
        let is_due = |until| self.looked_at + LOOK_EVERY <= self.now || until <= self.now;
        if self.patience.is_some_and(is_due) {
            self.looked_at = self.now;
            self.look();
        }
        if let Some(until) = self.shutdown_until {
            let is_in_time = self.gateway.is_finished() || self.now <= until;
            assert!(is_in_time, "the shutdown does not end");
        }
    }

    /// The slow path's tables, the books, the pools: they say the same.
    fn check_books(&mut self) {
        let mut spis = Vec::new();
        let mut totals = Totals::default();
        for page in self.show(Table::Sas) {
            match &page {
                Response::Sas(rows) => spis.extend(rows.iter().map(|row| row.inbound_spi.clone())),
                Response::Totals(found) => totals = *found,
                Response::Sessions(_)
                | Response::Tunnels(_)
                | Response::Pools(_)
                | Response::Cleared(_)
                | Response::Verified(_)
                | Response::Counters(_)
                | Response::Refused(_) => panic!("asked for SAs, got {page:?}"),
            }
        }
        spis.sort_unstable();
        let installed = self.gateway.ledger().inbound();
        let installed: Vec<String> = installed.iter().map(|spi| format!("{spi:08x}")).collect();
        if !self.gateway.ledger().has_shards_moving() {
            assert_same(&spis, &installed);
        }
        assert_limits(&totals);
        let faults = self.ask(Request::VerifyPools);
        assert_eq!(faults, [Response::Verified(Vec::new())]);
        for reason in NEVER {
            assert_eq!(self.gateway.discarded(reason), 0, "{reason:?}");
        }
        let unknown = |(name, _): &(&str, u64)| *name == "events about slots that are free";
        assert_eq!(
            self.gateway.counters().find(unknown).map(|(_, n)| n),
            Some(0)
        );
        assert_eq!(self.gateway.refused(), 0, "changes without room");
    }

    /// Whether all is as it should be; if so letters are due, if not by the end of our patience
    /// something is wrong.
    fn look(&mut self) {
        let differences = self.differences();
        if differences.is_empty() {
            self.patience = None;
            self.is_settled = true;
            self.trace.say(self.now, "everybody is where he should be");
            self.check_books();
            self.send_due_letters();
            self.later(COLLECT_AFTER, Act::Collect);
        } else {
            let is_late = self.patience.is_some_and(|until| until <= self.now);
            assert!(!is_late, "not as it should be: {differences:#?}");
        }
    }

    fn differences(&mut self) -> Vec<String> {
        let clients: Connected = self
            .subscribers
            .iter()
            .enumerate()
            .filter_map(|(index, subscriber)| Some((index, subscriber.lease.as_ref()?.address)))
            .collect();
        let mut differences = self.model.differences("clients", &clients);
        if differences.is_empty() {
            let sessions = self.sessions();
            differences = self.model.differences("gateway", &sessions);
        }
        differences
    }

    /// Who is connected, as the slow path has it. A session that is being set up or taken down is
    /// one too many.
    fn sessions(&mut self) -> Connected {
        let mut sessions = Vec::new();
        for page in self.show(Table::Sessions) {
            let Response::Sessions(rows) = page else {
                continue;
            };
            for row in rows {
                let who = (0..self.subscribers.len()).find(|index| user(*index) == row.user);
                if let (Some(who), Some(IpAddr::V4(address)), "up") =
                    (who, row.address, row.state.as_str())
                {
                    assert!(self.gateway.ledger().leads(IpAddr::V4(address)));
                    sessions.push((who, address));
                }
            }
        }
        sessions
    }

    /// Everybody writes to the server, and to somebody else. One after the other: of hundreds at one
    /// instant, rings of two parcels may lose some, by name and rightly.
    fn send_due_letters(&mut self) {
        let is_up = |index: &usize| self.subscribers[*index].lease.is_some();
        let up: Vec<usize> = (0..self.subscribers.len()).filter(is_up).collect();
        let (letters, is_due) = (DUE_LETTERS, true);
        let mut at = self.time();
        for &from in &up {
            at += LETTERS_APART;
            let write = Act::Write {
                from,
                letters,
                is_due,
            };
            self.plan(at, write);
            let to = up[self.dice.index(up.len())];
            let gossip = Act::Gossip {
                from,
                to,
                letters,
                is_due,
            };
            if to != from {
                self.plan(at, gossip);
            }
        }
    }

    /// Nothing is left of anybody.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        self.check_books();
        let is_down = self.subscribers.iter().all(|s| s.lease.is_none());
        assert!(is_down, "somebody has not gone");
        let pages = self.show(Table::Tunnels);
        let Some(Response::Totals(totals)) = pages.last() else {
            panic!("no totals: {pages:?}");
        };
        assert_nothing(totals);
        self.gateway.ledger().assert_empty();
        let left = self.gateway.deadline();
        assert_eq!(left, None, "a deadline is left");
        self.check_counts();
    }

    /// What was counted can be true.
    fn check_counts(&self) {
        let counts = self.gateway.counts();
        let (up, ended) = ("sessions that came up", "sessions that ended");
        assert!(
            counts[up] <= counts[ended],
            "more came than went: {counts:#?}"
        );
        let (sent, arrived) = self.letters.counts();
        assert!(arrived > 0 && sent > 0, "no letter has arrived at all");
        let is_alone = self.gateway.workers() == 1;
        let handed_over = counts["frames handed over"];
        assert_eq!(
            is_alone,
            handed_over == 0,
            "{handed_over} frames were handed over"
        );
    }
}

/// SAs that are shown, SAs that are installed.
fn assert_same(shown: &[String], installed: &[String]) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        let others = these.iter().filter(|spi| !those.contains(spi));
        others.cloned().collect()
    };
    let (shown, installed) = (only(shown, installed), only(installed, shown));
    let is_same = shown.is_empty() && installed.is_empty();
    assert!(
        is_same,
        "SAs only shown {shown:?}, only installed {installed:?}"
    );
}

fn assert_limits(totals: &Totals) {
    let usages = [
        totals.sessions,
        totals.tunnels,
        totals.peers,
        totals.half_open_ike,
        totals.half_open_l2tp,
    ];
    for usage in usages {
        assert!(usage.now <= usage.limit, "{totals:?}");
    }
}

fn assert_nothing(totals: &Totals) {
    let usages = [
        totals.sessions,
        totals.tunnels,
        totals.peers,
        totals.half_open_ike,
        totals.half_open_l2tp,
    ];
    let is_empty = usages.iter().all(|usage| usage.now == 0);
    assert!(is_empty && totals.sessions_up == 0, "left: {totals:?}");
}
