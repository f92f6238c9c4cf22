//! `[[pool]]`, `[[profile]]` and `[[user]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use control::settings::{Beyond, Pool, Profile, Range, SessionLimit, User};
use control::{POOL_SIZE_MAX, Settings};
use crypto::mschap::NtHash;
use dataplane::change::Rate;
use document::Section;
use ipnet::IpNet;
use ppp::UserSecret;

use super::{DAY, SECOND};

/// Begins the name of a profile that stands for a listener's `pool`.
pub(super) const LISTENER_PROFILE: &str = "listener ";

/// Longest quarantine and session: what an operator may mean, not a typing error.
const LONG: Duration = Duration::from_secs(366 * 24 * 3600);

/// The largest packet that a subscriber can send has to fit into a burst.
const BURST_MIN: u32 = 1500;

pub(super) fn pool(section: &mut Section<'_>) -> Pool {
    let ranges: Vec<WrittenRange> = section.list(
        "addresses",
        "a prefix such as \"10.77.0.0/24\" or a range such as \"10.77.0.10-10.77.0.99\"",
    );
    if ranges.is_empty() && !section.has("addresses") {
        section.fault(
            "addresses",
            "a pool needs addresses, for example [\"10.77.0.0/24\"]",
        );
    }
    check_size(section, &ranges);
    let gateway = section.parsed("gateway", "an IP address");
    refuse_ipv6(section, "gateway", gateway);
    if gateway.is_none() && !section.has("gateway") {
        section.fault(
            "gateway",
            "a pool needs the gateway's own address inside the tunnels",
        );
    }
    let default = Duration::from_secs(60);
    Pool {
        name: section.required_text("name").unwrap_or_default(),
        vrf: 0,
        ranges: ranges.into_iter().map(|range| range.0).collect(),
        gateway: gateway.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        dns: section.list("dns", "an IP address"),
        wins: section.list("wins", "an IP address"),
        quarantine: section.duration("quarantine", Duration::ZERO..=LONG, default),
    }
}

fn check_size(section: &Section<'_>, ranges: &[WrittenRange]) {
    let mut size = 0;
    for WrittenRange(range) in ranges {
        match (range.first, range.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                size += u64::from(last.to_bits() - first.to_bits()) + 1;
            }
            _ => refuse_ipv6(section, "addresses", Some(range.first)),
        }
    }
    if size > u64::from(POOL_SIZE_MAX) {
        let text = format!("{size} addresses are too many for a pool: at most {POOL_SIZE_MAX}");
        section.fault("addresses", text);
    }
}

fn refuse_ipv6(section: &Section<'_>, key: &str, address: Option<IpAddr>) {
    if address.is_some_and(|address| address.is_ipv6()) {
        section.fault(key, "IPv6 inside the tunnels is not served yet");
    }
}

pub(super) fn profile(section: &mut Section<'_>) -> Profile {
    let name = section.required_text("name").unwrap_or_default();
    Profile {
        pools: section.texts("pools"),
        dns: section.list("dns", "an IP address"),
        wins: section.list("wins", "an IP address"),
        sessions: sessions(section).unwrap_or_default(),
        clamp_mss: section.flag("clamp_mss", true),
        isolate: section.flag("isolate", false),
        session_timeout: timeout(section, "session_timeout"),
        idle_timeout: timeout(section, "idle_timeout"),
        up: rate(section, "up_kbit_per_second", "up_burst_octets"),
        down: rate(section, "down_kbit_per_second", "down_burst_octets"),
        ..Profile::new(&name, "")
    }
}

pub(super) fn user(section: &mut Section<'_>) -> User {
    let name = section.required_text("name").unwrap_or_default();
    let secret = match (section.secret("password"), section.secret("nt_hash")) {
        (Some(password), None) => UserSecret::Password(password),
        (None, Some(hash)) => nt_hash(section, hash.expose()),
        (None, None) => {
            if !section.has("password") && !section.has("nt_hash") {
                section.fault(
                    "password",
                    "a user needs a password, or an nt_hash (for MS-CHAPv2 and PAP)",
                );
            }
            UserSecret::Password(crypto::Secret::new(Vec::new()))
        }
        (Some(_), Some(_)) => {
            section.fault("nt_hash", "a user has either a password or an nt_hash");
            UserSecret::Password(crypto::Secret::new(Vec::new()))
        }
    };
    let address = section.parsed("address", "an IP address");
    refuse_ipv6(section, "address", address);
    User {
        address,
        prefixes: section.list::<IpNet>("routes", "a prefix such as \"192.0.2.0/28\""),
        profile: section.text("profile"),
        pool: section.text("pool"),
        sessions: sessions(section),
        up: rate(section, "up_kbit_per_second", "up_burst_octets"),
        down: rate(section, "down_kbit_per_second", "down_burst_octets"),
        ..User::new(&name, secret)
    }
}

fn nt_hash(section: &Section<'_>, text: &[u8]) -> UserSecret {
    let hash = std::str::from_utf8(text).ok().and_then(NtHash::from_hex);
    if hash.is_none() {
        section.fault("nt_hash", "an NT hash has 32 hexadecimal digits");
    }
    UserSecret::NtHash(hash.unwrap_or_else(|| NtHash::new([0; 16])))
}

fn sessions(section: &Section<'_>) -> Option<SessionLimit> {
    if !section.has("sessions") && !section.has("beyond_sessions") {
        return None;
    }
    let max = section.number("sessions", 0..=u32::MAX, 1);
    let choices = [("replace", Beyond::Replace), ("deny", Beyond::Deny)];
    Some(SessionLimit {
        max,
        beyond: section.choice("beyond_sessions", &choices, Beyond::Replace),
    })
}

/// A policer's rate. The burst is by default what comes in a tenth of a second, and ten large packets
/// at least.
fn rate(section: &Section<'_>, rate: &str, burst: &str) -> Option<Rate> {
    if !section.has(rate) {
        if section.has(burst) {
            section.fault(burst, format!("means nothing without {rate}"));
        }
        return None;
    }
    let kbits: u64 = section.number(rate, 1..=1_000_000_000, 1);
    let tenth = u32::try_from(kbits * 1000 / 8 / 10).unwrap_or(u32::MAX);
    Some(Rate {
        bits_per_second: kbits * 1000,
        burst: section.number(burst, BURST_MIN..=u32::MAX, tenth.max(10 * BURST_MIN)),
    })
}

fn timeout(section: &Section<'_>, key: &str) -> Option<Duration> {
    section
        .has(key)
        .then(|| section.duration(key, SECOND..=LONG, DAY))
}

/// A prefix, or two addresses with a hyphen.
struct WrittenRange(Range);

impl FromStr for WrittenRange {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(prefix) = text.parse::<IpNet>() {
            return Ok(Self(prefix.into()));
        }
        let (first, last) = text.split_once('-').ok_or(())?;
        let range = Range {
            first: first.trim().parse().map_err(drop)?,
            last: last.trim().parse().map_err(drop)?,
        };
        let ordered = range.first.is_ipv4() == range.last.is_ipv4() && range.first <= range.last;
        ordered.then_some(Self(range)).ok_or(())
    }
}

/// What no table can see alone: names that lead nowhere, names given twice, pools that overlap.
pub(super) fn check(root: &Section<'_>, settings: &Settings) {
    let pools = unique(root, "pool", settings.pools.iter().map(|pool| &*pool.name));
    let profiles = unique(root, "profile", settings.profiles.iter().map(|p| &*p.name));
    unique(root, "user", settings.users.iter().map(|user| &*user.name));
    let no_pool = |table, index, key, pools_named: &[String]| {
        for pool in pools_named
            .iter()
            .filter(|pool| !pools.contains(pool.as_str()))
        {
            root.fault_in(table, index, key, format!("there is no pool \"{pool}\""));
        }
    };
    let no_profile = |table, index, name: &str| {
        if !profiles.contains(name) {
            root.fault_in(
                table,
                index,
                "profile",
                format!("there is no profile \"{name}\""),
            );
        }
    };
    for (index, profile) in settings.profiles.iter().enumerate() {
        match listener_of(&profile.name, settings) {
            Some(listener) => no_pool("listener", listener, "pool", &profile.pools),
            None => no_pool("profile", index, "pools", &profile.pools),
        }
    }
    for (index, listener) in settings.listeners.iter().enumerate() {
        if !listener.profile.is_empty() {
            no_profile("listener", index, &listener.profile);
        }
    }
    for (index, user) in settings.users.iter().enumerate() {
        no_pool("user", index, "pool", user.pool.as_slice());
        user.profile
            .iter()
            .for_each(|name| no_profile("user", index, name));
    }
    check_overlaps(root, &settings.pools);
    check_fixed(root, settings);
}

/// The listener whose `pool` stands for this profile.
fn listener_of(profile: &str, settings: &Settings) -> Option<usize> {
    let name = profile.strip_prefix(LISTENER_PROFILE)?;
    settings
        .listeners
        .iter()
        .position(|listener| listener.name == name)
}

fn unique<'a>(
    root: &Section<'_>,
    table: &str,
    names: impl Iterator<Item = &'a str>,
) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            root.fault_in(table, index, "name", format!("\"{name}\" is given twice"));
        }
    }
    seen
}

/// An address that is always somebody's is nobody else's, and not the gateway's own.
fn check_fixed(root: &Section<'_>, settings: &Settings) {
    let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
    for pool in &settings.pools {
        owners.insert(
            pool.gateway,
            format!("pool \"{}\" has it as gateway", pool.name),
        );
    }
    for (index, user) in settings.users.iter().enumerate() {
        let Some(address) = user.address else {
            continue;
        };
        let text = format!("it is the address of user \"{}\"", user.name);
        if let Some(other) = owners.insert(address, text) {
            root.fault_in("user", index, "address", other);
        }
    }
}

fn check_overlaps(root: &Section<'_>, pools: &[Pool]) {
    let mut ranges: Vec<(Range, &str)> = pools
        .iter()
        .flat_map(|pool| pool.ranges.iter().map(|range| (*range, pool.name.as_str())))
        .collect();
    ranges.sort_by_key(|(range, _)| range.first);
    for pair in ranges.windows(2) {
        let [(low, a), (high, b)] = pair else {
            continue;
        };
        if high.first <= low.last {
            root.fault(
                "pool",
                format!("{} is in pool \"{a}\" and in pool \"{b}\"", high.first),
            );
        }
    }
}
