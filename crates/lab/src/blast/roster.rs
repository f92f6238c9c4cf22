//! Who dials in: the clients of all groups with their addresses and ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use crypto::Random;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::{Encapsulation, Ports, Target, call};
use crate::client::Settings;
use crate::clock;
use crate::driver::Driver;
use crate::fleet::{Fleet, Outside};
use crate::impair::{ImpairedWire, Nat, Tally};
use crate::memory::{self, Stage};
use crate::profile::Credentials;
use crate::scenario::{Group, ImpairedPath, Scenario};
use crate::sockets::{Sockets, free_ports};

/// Ports below are well-known ones.
const NATTED_MIN: u16 = 5000;

/// The clients of a scenario.
pub(super) struct Roster {
    pub(super) fleet: Fleet,
    /// When each of them is to dial.
    pub(super) planned: Vec<Instant>,
}

impl Roster {
    /// All clients dial `server`, the first of them at `start`.
    pub(super) fn new(
        scenario: &Scenario,
        server: Ipv4Addr,
        random: &mut Random,
        start: Instant,
    ) -> Result<Self> {
        let mut roster = Self {
            fleet: Fleet::new(server, random.array()),
            planned: Vec::with_capacity(scenario.subscribers()),
        };
        let is_in_memory = matches!(scenario.target, Target::Memory(_));
        let mut doors = Doors::new(&scenario.groups, is_in_memory)?;
        for group in &scenario.groups {
            roster.add(group, &mut doors, start)?;
        }
        Ok(roster)
    }

    fn add(&mut self, group: &Group, doors: &mut Doors, start: Instant) -> Result<()> {
        let base = group.client.settings(1, group.encapsulation);
        for number in 0..group.subscribers {
            let address = group.local[number % group.local.len()];
            let outside = doors.next(address, needs_free(group));
            let begin = start + group.after + Duration::from_secs_f64(number as f64 / group.rate);
            let settings = Arc::new(settings(group, &base, number + 1));
            if self.fleet.add(settings, address, outside, begin).is_none() {
                bail!(
                    "{}: subscriber {} would share address {address} and its ports with another; \
                     give more addresses with --local, or --ports ephemeral",
                    group.name,
                    number + 1
                );
            }
            self.planned.push(begin);
        }
        Ok(())
    }
}

/// A driver for the fleet, on sockets, with the path that the scenario wants; and what that path
/// tells of itself.
pub(super) fn driver(
    fleet: Fleet,
    path: &ImpairedPath,
    stage: Option<&Stage>,
    random: &mut Random,
) -> Result<(Driver, Option<Arc<Mutex<Tally>>>)> {
    permit_sockets();
    match stage {
        Some(_) if !path.is_none() => bail!("in memory there is no path that could be impaired"),
        Some(stage) => return Ok((stage.driver(fleet)?, None)),
        None if path.is_none() => return Ok((Driver::new(fleet)?, None)),
        None => {}
    }
    let addresses: BTreeSet<Ipv4Addr> = fleet.places().map(|place| *place.ip()).collect();
    let ports: BTreeSet<u16> = fleet.places().map(|place| place.port()).collect();
    // A host with well-known ports is not behind a NAT.
    let own = ports.iter().copied();
    let own: Vec<u16> = own
        .filter(|port| *port >= NATTED_MIN && path.rebind.is_some())
        .collect();
    let spare = free_ports(own.len())?;
    let addresses: Vec<Ipv4Addr> = addresses.into_iter().collect();
    let ports: Vec<u16> = ports.into_iter().chain(spare.iter().copied()).collect();
    let nat = path
        .rebind
        .map(|every| Nat::new(every, clock::now(), &own, &spare));
    let mut tally = None;
    let driver = Driver::over(fleet, |waker| {
        let sockets = Sockets::open(&ports, &addresses, waker)?;
        let wire = ImpairedWire::new(Box::new(sockets), [path.up, path.down], nat, random);
        tally = Some(wire.tally());
        Ok(Box::new(wire))
    })?;
    Ok((driver, tally))
}

/// Many ports are many sockets: as many files as this process may ever open.
fn permit_sockets() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _fewer_may_do = setrlimit(Resource::Nofile, raised);
}

/// What differs from subscriber to subscriber; everything else is shared.
fn settings(group: &Group, base: &Settings, number: usize) -> Settings {
    if let Some(played) = &group.profile {
        let credentials = Credentials::from(&group.client);
        let settings = played.profile.client(&credentials, number as u32);
        let has_ipsec = group.encapsulation != Encapsulation::Plain;
        return Settings {
            ipsec: settings.ipsec.filter(|_| has_ipsec),
            ..settings
        };
    }
    let has_own_name = [&group.client.user, &group.client.password]
        .iter()
        .any(|pattern| pattern.contains("{}"));
    let ppp = match has_own_name {
        true => group.client.settings(number, group.encapsulation).ppp,
        false => Arc::clone(&base.ppp),
    };
    Settings {
        call: call(number as u32),
        ppp,
        ..base.clone()
    }
}

/// Whether ports other than the well-known ones are wanted: behind a NAT, and where more clients
/// than one share an address.
fn needs_free(group: &Group) -> bool {
    match group.ports {
        Some(ports) => ports == Ports::Ephemeral,
        None => group.encapsulation == Encapsulation::Natt || group.subscribers > group.local.len(),
    }
}

/// Free ports, which clients at different addresses have in common.
struct Doors {
    sets: Vec<[u16; 3]>,
    used: BTreeMap<Ipv4Addr, usize>,
}

impl Doors {
    fn new(groups: &[Group], is_in_memory: bool) -> Result<Self> {
        let mut wanted: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
        for group in groups.iter().filter(|group| needs_free(group)) {
            for number in 0..group.subscribers {
                *wanted
                    .entry(group.local[number % group.local.len()])
                    .or_default() += 1;
            }
        }
        let most = wanted.values().max().copied().unwrap_or(0);
        let ports = match is_in_memory {
            true => memory::ports(3 * most),
            false => free_ports(3 * most)?,
        };
        let sets = ports.chunks_exact(3).map(|set| [set[0], set[1], set[2]]);
        Ok(Self {
            sets: sets.collect(),
            used: BTreeMap::new(),
        })
    }

    fn next(&mut self, address: Ipv4Addr, is_free: bool) -> Outside {
        let used = self.used.entry(address).or_default();
        let Some([ike, natt, l2tp]) = self.sets.get(*used).copied().filter(|_| is_free) else {
            return Outside::host(address);
        };
        *used += 1;
        Outside {
            address,
            ike,
            natt,
            l2tp,
        }
    }
}
