//! Holds the books of the pools against the sessions, a page a turn, while both go on changing.
//!
//! Every lease has a number. First the sessions are visited: what each has must be in the books
//! under that number. Then the books are: a lease that is older than the verification and still
//! there belongs to a session that was visited.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::{Lease, Pool, Pools, State};
use crate::slots::Cursor;

/// Faults that are listed: the list is for a person.
const FAULTS_MAX: usize = 1000;
const LOST: &str = "neither leased nor to be had";

/// A verification under way.
#[derive(Debug)]
pub(crate) struct Verification {
    pub(crate) stage: Stage,
    /// Numbers of leases that existed at the beginning are not above this.
    newest: u64,
    /// Numbers of leases that sessions have.
    held: BTreeSet<u64>,
    pub(crate) faults: Vec<String>,
}

/// What is visited next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// Sessions.
    Sessions(Cursor),
    /// The addresses of a pool from this index on; behind the last pool, fixed ones outside.
    Books(usize, u32),
    /// Nothing.
    Done,
}

impl Verification {
    fn fault(&mut self, text: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(text);
        }
    }

    fn is_lost(&self, number: u64) -> bool {
        number <= self.newest && !self.held.contains(&number)
    }
}

impl Pools {
    pub(crate) fn begin_verification(&self) -> Verification {
        Verification {
            stage: Stage::Sessions(Cursor::default()),
            newest: self.leases,
            held: BTreeSet::new(),
            faults: Vec::new(),
        }
    }

    /// A session has this lease.
    pub(crate) fn verify_lease(&self, lease: &Lease, verification: &mut Verification) {
        let booked = match lease.pool {
            Some((pool, index)) => self.pools[pool as usize].number(index),
            None => self.outside.get(&(lease.vrf, lease.address)).copied(),
        };
        let address = lease.address;
        if booked == Some(lease.number) {
            verification.held.insert(lease.number);
        } else if booked.is_some() {
            verification.fault(format!("{address} is held by two sessions"));
        } else {
            verification.fault(format!("{address}: a session has it, but it is not leased"));
        }
    }

    /// A page of the books, from `index` of `pool` on; what comes next.
    pub(crate) fn verify_books(
        &self,
        (pool, index): (usize, u32),
        visits: usize,
        verification: &mut Verification,
    ) -> Stage {
        if let Some(books) = self.pools.get(pool) {
            return match books.verify(index, visits, verification) {
                Some(next) => Stage::Books(pool, next),
                None => Stage::Books(pool + 1, 0),
            };
        }
        let page = self.outside.iter().skip(index as usize).take(visits);
        let mut visited = 0;
        for ((_, address), &number) in page {
            visited += 1;
            if verification.is_lost(number) {
                verification.fault(format!("{address} (fixed): leased, but no session has it"));
            }
        }
        match visited == visits {
            true => Stage::Books(pool, index + visited as u32),
            false => Stage::Done,
        }
    }
}

impl Pool {
    /// The lease under which an address is given away.
    fn number(&self, index: u32) -> Option<u64> {
        match self.states.get(&index)? {
            State::Leased(number) | State::ReservedLeased(number) => Some(*number),
            State::Free(_) | State::Resting(_) | State::Reserved => None,
        }
    }

    fn verify(&self, first: u32, visits: usize, verification: &mut Verification) -> Option<u32> {
        let name = &self.name;
        let page = self.states.range(first..).take(visits.max(1));
        let mut last = None;
        for (&index, &state) in page {
            last = Some(index);
            let fault = match state {
                State::Leased(number) | State::ReservedLeased(number) => verification
                    .is_lost(number)
                    .then_some("leased, but no session has it"),
                State::Free(release) => (!self.free.contains(&(release, index))).then_some(LOST),
                State::Resting(until) => (!self.resting.contains(&(until, index))).then_some(LOST),
                State::Reserved => None,
            };
            if let Some(text) = fault {
                let address = self.address(index);
                verification.fault(format!("{address} in pool {name}: {text}"));
            }
        }
        let rest = last.map(|last| (Bound::Excluded(last), Bound::Unbounded));
        let next = rest.and_then(|rest| self.states.range::<u32, _>(rest).next());
        if next.is_none() {
            self.verify_sums(verification);
        }
        next.map(|(&index, _)| index)
    }

    /// Each address of the books stands in one list, or is counted.
    fn verify_sums(&self, verification: &mut Verification) {
        let listed = self.free.len() + self.resting.len();
        let counted = self.leased + self.reserved;
        if listed as u64 + counted != self.states.len() as u64 {
            let name = &self.name;
            verification.fault(format!("pool {name}: sums disagree"));
        }
    }
}
