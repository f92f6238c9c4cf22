//! Who may come in, and what each gets: users, their profiles, and who of them is connected.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crypto::Secret;
use dataplane::id::SessionSlot;
use ppp::{Credentials, Proof, UserSecret};

use crate::settings::{Profile, SessionLimit, Settings, User};

/// What a user of a listener gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// The name that the configuration has.
    pub(crate) user: String,
    /// Indices of the pools to take an address from, in order.
    pub(crate) pools: Vec<usize>,
    /// Index of the profile.
    pub(crate) profile: usize,
    /// How often the user may be connected.
    pub(crate) sessions: SessionLimit,
    /// MS-CHAPv2: our proof to the peer.
    pub(crate) authenticator_response: Option<String>,
}

/// Why somebody may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// No user has the name.
    UnknownUser,
    /// The secret does not fit.
    WrongSecret,
    /// The method needs the password.
    HashOnly,
}

/// Everybody who may come in.
#[derive(Debug)]
pub(crate) struct Users {
    by_name: BTreeMap<String, User>,
    profiles: BTreeMap<String, usize>,
    pools: BTreeMap<String, usize>,
    /// Authenticated sessions, the oldest first.
    connected: BTreeMap<String, Vec<SessionSlot>>,
    /// Unknown names are held against it, so that they take as long as known ones.
    nobody: UserSecret,
}

impl Users {
    pub(crate) fn new(settings: &Settings) -> Self {
        let users = settings.users.iter().cloned();
        let profiles = settings.profiles.iter().enumerate();
        let pools = settings.pools.iter().enumerate();
        Self {
            by_name: users.map(|user| (user.name.clone(), user)).collect(),
            profiles: profiles
                .map(|(n, profile)| (profile.name.clone(), n))
                .collect(),
            pools: pools.map(|(n, pool)| (pool.name.clone(), n)).collect(),
            connected: BTreeMap::new(),
            nobody: UserSecret::Password(Secret::new("nobody")),
        }
    }

    /// Whether the credentials are right, and what they entitle to.
    pub(crate) fn authenticate(
        &self,
        credentials: &Credentials,
        default_profile: &str,
        profiles: &[Profile],
    ) -> Result<Service, Stranger> {
        if let Credentials::None = credentials {
            return Ok(self.service(None, default_profile, profiles, None));
        }
        let Some(user) = self.find(credentials.user()) else {
            let _ = credentials.check(&self.nobody);
            return Err(Stranger::UnknownUser);
        };
        if !credentials.is_comparable(&user.secret) {
            return Err(Stranger::HashOnly);
        }
        let Proof {
            authenticator_response,
        } = credentials
            .check(&user.secret)
            .ok_or(Stranger::WrongSecret)?;
        Ok(self.service(
            Some(user),
            default_profile,
            profiles,
            authenticator_response,
        ))
    }

    /// The user of this name; of what is behind the backslash, if there is a domain before it, as
    /// Windows sends it.
    pub(crate) fn find(&self, name: &str) -> Option<&User> {
        self.by_name
            .get(name)
            .or_else(|| self.by_name.get(name.rsplit_once('\\')?.1))
    }

    fn service(
        &self,
        user: Option<&User>,
        default_profile: &str,
        profiles: &[Profile],
        authenticator_response: Option<String>,
    ) -> Service {
        let name = user
            .and_then(|user| user.profile.as_deref())
            .unwrap_or(default_profile);
        let find = |name: &str| self.profiles.get(name).copied().unwrap_or(0);
        let index = find(name);
        let profile = profiles.get(index);
        // The user's, else the profile's, else the listener's.
        let of_listener = || profiles.get(find(default_profile));
        let pools = match user.and_then(|user| user.pool.as_ref()) {
            Some(pool) => std::slice::from_ref(pool),
            None => profile
                .filter(|profile| !profile.pools.is_empty())
                .or_else(of_listener)
                .map_or(&[][..], |profile| &profile.pools),
        };
        let sessions = user.and_then(|user| user.sessions);
        Service {
            user: user.map_or_else(String::new, |user| user.name.clone()),
            pools: pools
                .iter()
                .filter_map(|pool| self.pools.get(pool).copied())
                .collect(),
            profile: index,
            sessions: sessions
                .or_else(|| profile.map(|profile| profile.sessions))
                .unwrap_or_default(),
            authenticator_response,
        }
    }

    /// The user's authenticated sessions, the oldest first.
    pub(crate) fn connected(&self, user: &str) -> &[SessionSlot] {
        self.connected.get(user).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn enter(&mut self, user: &str, session: SessionSlot) {
        let sessions = self.connected.entry(user.to_owned()).or_default();
        // One, as nearly all have: a list that grows by itself begins with room for four.
        sessions.reserve_exact(1);
        sessions.push(session);
    }

    pub(crate) fn leave(&mut self, user: &str, session: SessionSlot) {
        if let Some(sessions) = self.connected.get_mut(user) {
            sessions.retain(|&other| other != session);
            if sessions.is_empty() {
                self.connected.remove(user);
            }
        }
    }
}

/// The IPv4 addresses of a list: IPCP has no others.
pub(crate) fn ipv4(list: &[IpAddr]) -> Vec<Ipv4Addr> {
    list.iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_with_and_without_a_domain_and_only_by_the_right_password() {
        let users = users();
        let right = |name| users.authenticate(&pap(name, "secret"), "home", &profiles());
        assert_eq!(right("ann").unwrap().user, "ann");
        assert_eq!(right("OFFICE\\ann").unwrap().user, "ann");
        assert_eq!(right("Ann"), Err(Stranger::UnknownUser));
        let wrong = users.authenticate(&pap("ann", "guess"), "home", &profiles());
        assert_eq!(wrong, Err(Stranger::WrongSecret));
    }

    #[test]
    fn pool_and_profile_of_a_user_come_before_those_of_the_listener() {
        let users = users();
        let service = |name| {
            users
                .authenticate(&pap(name, "secret"), "home", &profiles())
                .unwrap()
        };
        assert_eq!((service("ann").profile, service("ann").pools), (0, vec![0]));
        assert_eq!(
            (service("bob").profile, service("bob").pools),
            (1, vec![1, 0])
        );
        assert_eq!((service("eve").profile, service("eve").pools), (0, vec![1]));
        // His profile names no pool.
        assert_eq!((service("joe").profile, service("joe").pools), (2, vec![0]));
    }

    #[test]
    fn sessions_of_a_user_are_known_in_the_order_in_which_they_came() {
        let slot = |index: u32| SessionSlot(dataplane::id::Slot::from_word(index << 6));
        let mut users = users();
        users.enter("ann", slot(1));
        users.enter("ann", slot(2));
        assert_eq!(users.connected("ann"), [slot(1), slot(2)]);
        users.leave("ann", slot(1));
        users.leave("bob", slot(1));
        assert_eq!(users.connected("ann"), [slot(2)]);
        users.leave("ann", slot(2));
        assert!(users.connected("ann").is_empty());
    }

    fn pap(user: &str, password: &str) -> Credentials {
        Credentials::Pap {
            user: user.into(),
            password: Secret::new(password),
        }
    }

    fn profiles() -> Vec<Profile> {
        let mut office = Profile::new("office", "second");
        office.pools.push("first".to_owned());
        let roaming = Profile {
            pools: Vec::new(),
            ..Profile::new("roaming", "")
        };
        vec![Profile::new("home", "first"), office, roaming]
    }

    fn users() -> Users {
        let user = |name| User::new(name, UserSecret::Password(Secret::new("secret")));
        let pool = |name: &str| crate::settings::Pool {
            name: name.to_owned(),
            vrf: 0,
            ranges: Vec::new(),
            gateway: Ipv4Addr::LOCALHOST.into(),
            dns: Vec::new(),
            wins: Vec::new(),
            quarantine: std::time::Duration::ZERO,
        };
        let mut bob = user("bob");
        bob.profile = Some("office".to_owned());
        let mut joe = user("joe");
        joe.profile = Some("roaming".to_owned());
        let mut eve = user("eve");
        eve.pool = Some("second".to_owned());
        Users::new(&Settings {
            users: vec![user("ann"), bob, eve, joe],
            profiles: profiles(),
            pools: vec![pool("first"), pool("second")],
            ..Settings::default()
        })
    }
}
