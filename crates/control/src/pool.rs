//! Addresses for subscribers: who has which, which rest, and which are to be had.
//!
//! ```text
//!   free ──lease──► leased ──release──► resting ──quarantine over──► free
//!     ▲                ▲                   │
//!     │                └── the same user ──┘
//!   the longest unused first; an address remembers its last user, and a user his last address
//! ```
//!
//! A [`Lease`] cannot be copied: whoever holds it gives it back with [`Pools::release`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::admin::PoolRow;
use crate::settings;

/// An address that a subscriber has.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a lease that is dropped leaks an address"]
pub(crate) struct Lease {
    address: IpAddr,
    vrf: u16,
    /// The index of the pool, and the place in it.
    pool: Option<(u32, u32)>,
    /// No two leases ever have the same.
    number: u64,
}

impl Lease {
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// Index of the pool it is from; a fixed address may be from none.
    pub(crate) fn pool(&self) -> Option<usize> {
        self.pool.map(|(pool, _)| pool as usize)
    }
}

/// Why there is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoLease {
    /// All addresses of every pool that the subscriber may use are leased or rest.
    Exhausted,
    /// The fixed address is in use by another session.
    InUse(IpAddr),
    /// No pool is configured for the subscriber.
    NoPool,
}

/// All pools.
#[derive(Debug)]
pub(crate) struct Pools {
    pools: Vec<Pool>,
    /// Fixed addresses outside every pool that are in use, with their VRF.
    outside: BTreeMap<(u16, IpAddr), u64>,
    /// Leases given so far.
    leases: u64,
}

impl Pools {
    /// The pools as configured. Own and fixed addresses are never leased to just anybody.
    pub(crate) fn new(pools: &[settings::Pool], users: &[settings::User]) -> Self {
        let fixed: BTreeSet<IpAddr> = users.iter().filter_map(|user| user.address).collect();
        Self {
            pools: pools.iter().map(|pool| Pool::new(pool, &fixed)).collect(),
            outside: BTreeMap::new(),
            leases: 0,
        }
    }

    /// An address of the first pool that has one: the user's last one if nobody else has it.
    pub(crate) fn lease(
        &mut self,
        now: Instant,
        user: &str,
        pools: &[usize],
    ) -> Result<Lease, NoLease> {
        if pools.is_empty() {
            return Err(NoLease::NoPool);
        }
        let number = self.leases + 1;
        let remembered = pools
            .iter()
            .find_map(|&pool| Some((pool, self.pools[pool].lease_again(user, number)?)));
        let found = remembered.or_else(|| {
            pools
                .iter()
                .find_map(|&pool| Some((pool, self.pools[pool].lease(now, user, number)?)))
        });
        let Some((pool, index)) = found else {
            pools
                .iter()
                .for_each(|&pool| self.pools[pool].exhausted += 1);
            return Err(NoLease::Exhausted);
        };
        self.leases = number;
        Ok(Lease {
            address: self.pools[pool].address(index),
            vrf: self.pools[pool].vrf,
            pool: Some((pool as u32, index)),
            number,
        })
    }

    /// The user's own address.
    pub(crate) fn lease_fixed(&mut self, vrf: u16, address: IpAddr) -> Result<Lease, NoLease> {
        let (pool, number) = (self.find(vrf, address), self.leases + 1);
        let is_free = match pool {
            Some((pool, index)) => self.pools[pool].lease_reserved(index, number),
            None => *self.outside.entry((vrf, address)).or_insert(number) == number,
        };
        if !is_free {
            return Err(NoLease::InUse(address));
        }
        self.leases = number;
        Ok(Lease {
            address,
            vrf,
            pool: pool.map(|(pool, index)| (pool as u32, index)),
            number,
        })
    }

    /// The address rests, then is free.
    pub(crate) fn release(&mut self, now: Instant, lease: Lease) {
        match lease.pool {
            Some((pool, index)) => self.pools[pool as usize].release(now, index),
            None => {
                self.outside.remove(&(lease.vrf, lease.address));
            }
        }
    }

    fn find(&self, vrf: u16, address: IpAddr) -> Option<(usize, u32)> {
        self.pools.iter().enumerate().find_map(|(pool, entry)| {
            let index = (entry.vrf == vrf).then(|| entry.index_of(address))??;
            Some((pool, index))
        })
    }

    /// Whether the address is one of the pool's.
    pub(crate) fn contains(&self, pool: usize, address: IpAddr) -> bool {
        self.pools
            .get(pool)
            .is_some_and(|pool| pool.index_of(address).is_some())
    }

    /// What the tables say, a row for each pool.
    pub(crate) fn rows(&mut self, now: Instant) -> Vec<PoolRow> {
        self.pools.iter_mut().map(|pool| pool.row(now)).collect()
    }
}

/// What an address is doing; one that is in no book has never been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be had; released as the n-th.
    Free(u64),
    /// The number of the lease.
    Leased(u64),
    /// Until then nobody else gets it.
    Resting(Instant),
    /// Own, or fixed for a user, and not in use.
    Reserved,
    /// Fixed for a user who is using it.
    ReservedLeased(u64),
}

#[derive(Debug)]
struct Pool {
    name: String,
    vrf: u16,
    quarantine: Duration,
    ranges: Vec<Block>,
    size: u32,
    /// From here on no address has ever been used.
    fresh: u32,
    states: BTreeMap<u32, State>,
    /// Used before and to be had again, the longest unused first.
    free: BTreeSet<(u64, u32)>,
    resting: BTreeSet<(Instant, u32)>,
    /// How many addresses have become free again.
    releases: u64,
    /// Last user of each address, and last address of each user; at most one entry per address.
    last_user: BTreeMap<u32, String>,
    last_index: BTreeMap<String, u32>,
    leased: u64,
    /// Own or fixed, and not in use.
    reserved: u64,
    exhausted: u64,
}

/// A range and the index of its first address.
#[derive(Clone, Copy, Debug)]
struct Block {
    first: IpAddr,
    base: u32,
    count: u32,
}

/// Addresses whose rest is over that become free in one turn, of all that wait for it.
const WOKEN_AT_ONCE: usize = 512;
/// Addresses that a pool can have: a /8 of IPv4. The configuration refuses more.
pub const POOL_SIZE_MAX: u32 = 1 << 24;

impl Pool {
    fn new(settings: &settings::Pool, fixed: &BTreeSet<IpAddr>) -> Self {
        let mut ranges = Vec::new();
        let mut size = 0_u32;
        for range in &settings.ranges {
            let count = distance(range.first, range.last)
                .map_or(0, |distance| distance.saturating_add(1))
                .min(u128::from(POOL_SIZE_MAX - size)) as u32;
            ranges.push(Block {
                first: range.first,
                base: size,
                count,
            });
            size += count;
        }
        let mut pool = Self {
            name: settings.name.clone(),
            vrf: settings.vrf,
            quarantine: settings.quarantine,
            ranges,
            size,
            fresh: 0,
            states: BTreeMap::new(),
            free: BTreeSet::new(),
            resting: BTreeSet::new(),
            releases: 0,
            last_user: BTreeMap::new(),
            last_index: BTreeMap::new(),
            leased: 0,
            reserved: 0,
            exhausted: 0,
        };
        for &address in std::iter::once(&settings.gateway).chain(fixed) {
            if let Some(index) = pool.index_of(address) {
                pool.states.insert(index, State::Reserved);
            }
            pool.reserved = pool.states.len() as u64;
        }
        pool
    }

    fn index_of(&self, address: IpAddr) -> Option<u32> {
        self.ranges.iter().find_map(|block| {
            let distance = distance(block.first, address)?;
            (distance < u128::from(block.count)).then_some(block.base + distance as u32)
        })
    }

    fn address(&self, index: u32) -> IpAddr {
        let block = self
            .ranges
            .iter()
            .rev()
            .find(|block| block.base <= index && block.count > 0);
        let block = block.expect("an index is below the sum of all counts");
        match block.first {
            IpAddr::V4(first) => IpAddr::V4((first.to_bits() + (index - block.base)).into()),
            IpAddr::V6(first) => {
                IpAddr::V6((first.to_bits() + u128::from(index - block.base)).into())
            }
        }
    }

    /// The address that the user had last, even out of quarantine.
    fn lease_again(&mut self, user: &str, number: u64) -> Option<u32> {
        let index = *self.last_index.get(user)?;
        match *self.states.get(&index)? {
            State::Free(release) => self.free.remove(&(release, index)),
            State::Resting(until) => self.resting.remove(&(until, index)),
            State::Leased(_) | State::Reserved | State::ReservedLeased(_) => return None,
        };
        self.take(index, number);
        Some(index)
    }

    /// The address that has been out of use for longest.
    fn lease(&mut self, now: Instant, user: &str, number: u64) -> Option<u32> {
        self.wake(now);
        let index = match self.next_fresh() {
            Some(index) => index,
            None => self.free.pop_first()?.1,
        };
        self.take(index, number);
        if let Some(previous) = self.last_user.insert(index, user.to_owned())
            && self.last_index.get(&previous) == Some(&index)
        {
            self.last_index.remove(&previous);
        }
        if let Some(previous) = self.last_index.insert(user.to_owned(), index)
            && previous != index
        {
            self.last_user.remove(&previous);
        }
        Some(index)
    }

    fn next_fresh(&mut self) -> Option<u32> {
        while self.fresh < self.size {
            let index = self.fresh;
            self.fresh += 1;
            if !self.states.contains_key(&index) {
                return Some(index);
            }
        }
        None
    }

    fn take(&mut self, index: u32, number: u64) {
        self.states.insert(index, State::Leased(number));
        self.leased += 1;
    }

    fn lease_reserved(&mut self, index: u32, number: u64) -> bool {
        let is_free = self.states.get(&index) == Some(&State::Reserved);
        if is_free {
            self.states.insert(index, State::ReservedLeased(number));
            self.reserved -= 1;
            self.leased += 1;
        }
        is_free
    }

    fn release(&mut self, now: Instant, index: u32) {
        let state = match self.states.get(&index) {
            Some(State::Leased(_)) => {
                let until = now + self.quarantine;
                self.resting.insert((until, index));
                State::Resting(until)
            }
            Some(State::ReservedLeased(_)) => {
                self.reserved += 1;
                State::Reserved
            }
            Some(State::Free(_) | State::Resting(_) | State::Reserved) | None => {
                debug_assert!(false, "a lease is released once");
                return;
            }
        };
        self.states.insert(index, state);
        self.leased -= 1;
    }

    /// The rest of some is over.
    fn wake(&mut self, now: Instant) {
        for _ in 0..WOKEN_AT_ONCE {
            let Some(&(_, index)) = self.resting.first().filter(|(until, _)| *until <= now) else {
                return;
            };
            self.resting.pop_first();
            self.releases += 1;
            self.free.insert((self.releases, index));
            self.states.insert(index, State::Free(self.releases));
        }
    }

    fn row(&mut self, now: Instant) -> PoolRow {
        self.wake(now);
        let quarantined = self.resting.len() as u64;
        PoolRow {
            name: self.name.clone(),
            size: self.size.into(),
            leased: self.leased,
            quarantined,
            reserved: self.reserved,
            free: u64::from(self.size) - self.reserved - quarantined - self.leased,
            exhausted: self.exhausted,
        }
    }
}

/// How far `to` lies above `from`; `None` if below it, or of another family.
fn distance(from: IpAddr, to: IpAddr) -> Option<u128> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            to.to_bits().checked_sub(from.to_bits()).map(u128::from)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => to.to_bits().checked_sub(from.to_bits()),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

pub(crate) mod verification;

#[cfg(test)]
mod tests;
