//! The reference: who should be connected, and with which address.
//!
//! It knows what subscribers wish and what an operator has configured, and nothing of protocols. A
//! subscriber with the right credentials who wishes to be connected is, once the network has been
//! well for long enough; nobody else is. An address that a user had once is his for good, because
//! the pool has more addresses than there are users.

use std::net::Ipv4Addr;

use crate::gateway::settings::fixed_address;
use crate::subscriber::Credentials;

#[derive(Clone, Copy, Debug)]
struct Expectation {
    credentials: Credentials,
    wishes: bool,
    address: Option<Ipv4Addr>,
}

/// What should be.
#[derive(Debug, Default)]
pub struct Model(Vec<Expectation>);

/// What is, as one side of the wire sees it.
pub type Connected = Vec<(usize, Ipv4Addr)>;

impl Model {
    /// Subscriber number `self.len()`, who does not wish to be connected yet.
    pub fn add(&mut self, credentials: Credentials) {
        let address = fixed_address(self.0.len());
        self.0.push(Expectation {
            credentials,
            wishes: false,
            address,
        });
    }

    /// A subscriber changes its mind.
    pub fn wish(&mut self, subscriber: usize, wishes: bool) {
        self.0[subscriber].wishes = wishes;
    }

    /// Whether a subscriber wishes to be connected.
    #[must_use]
    pub fn wishes(&self, subscriber: usize) -> bool {
        self.0[subscriber].wishes
    }

    /// The address that a subscriber has, or had last.
    #[must_use]
    pub fn address(&self, subscriber: usize) -> Option<Ipv4Addr> {
        self.0[subscriber].address
    }

    /// A subscriber was given an address.
    ///
    /// # Panics
    /// If it should not have been, or not this one.
    pub fn was_given(&mut self, subscriber: usize, address: Ipv4Addr) {
        let others = self.0.iter().enumerate().filter(|(i, _)| *i != subscriber);
        let owner = others.clone().find(|(_, e)| e.address == Some(address));
        assert!(owner.is_none(), "{address} belongs to {owner:?}");
        let expectation = &mut self.0[subscriber];
        assert_eq!(expectation.credentials, Credentials::Right, "{subscriber}");
        let expected = *expectation.address.get_or_insert(address);
        assert_eq!(address, expected, "subscriber {subscriber} had another");
    }

    /// Everybody who should be connected, in order; `None`: any address will do.
    fn expected(&self) -> impl Iterator<Item = (usize, Option<Ipv4Addr>)> + '_ {
        let should = |e: &Expectation| e.wishes && e.credentials == Credentials::Right;
        let all = self.0.iter().enumerate();
        all.filter(move |(_, e)| should(e))
            .map(|(i, e)| (i, e.address))
    }

    /// What is different from what should be, in words; empty is good.
    #[must_use]
    pub fn differences(&self, side: &str, connected: &Connected) -> Vec<String> {
        let expected: Vec<_> = self.expected().collect();
        let missing = expected.iter().filter_map(|(i, address)| {
            let found = connected.iter().find(|(who, _)| who == i);
            match (found, address) {
                (None, _) => Some(format!("{side}: {i} is not connected")),
                (Some((_, found)), Some(address)) if found != address => {
                    Some(format!("{side}: {i} has {found}, not {address}"))
                }
                (Some(_), _) => None,
            }
        });
        let surplus = connected
            .iter()
            .enumerate()
            .filter_map(|(at, (who, address))| {
                let is_expected = expected.iter().any(|(i, _)| i == who);
                let is_first = connected[..at].iter().all(|(other, _)| other != who);
                (!is_expected || !is_first)
                    .then(|| format!("{side}: {who} at {address} is too much"))
            });
        missing.chain(surplus).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
    const B: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 3);

    #[test]
    fn who_wishes_and_may_is_expected_and_nobody_else() {
        let mut model = Model::default();
        for credentials in [
            Credentials::Right,
            Credentials::Right,
            Credentials::WrongKey,
        ] {
            model.add(credentials);
        }
        model.wish(0, true);
        model.wish(2, true);
        model.was_given(0, A);
        model.was_given(1, B);
        assert_eq!(model.differences("x", &vec![(0, A)]), Vec::<String>::new());
        assert_eq!(model.differences("x", &vec![]).len(), 1);
        assert_eq!(model.differences("x", &vec![(0, B)]).len(), 1);
        assert_eq!(model.differences("x", &vec![(0, A), (0, A)]).len(), 1);
        assert_eq!(model.differences("x", &vec![(0, A), (1, B)]).len(), 1);
        assert_eq!(model.differences("x", &vec![(0, A), (2, B)]).len(), 1);
    }

    #[test]
    #[should_panic(expected = "belongs to")]
    fn an_address_has_one_owner() {
        let mut model = Model::default();
        model.add(Credentials::Right);
        model.add(Credentials::Right);
        model.was_given(0, A);
        model.was_given(1, A);
    }

    #[test]
    #[should_panic(expected = "had another")]
    fn an_owner_keeps_its_address() {
        let mut model = Model::default();
        model.add(Credentials::Right);
        model.was_given(0, A);
        model.was_given(0, B);
    }
}
