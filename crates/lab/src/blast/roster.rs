//! Who dials in: the clients of all groups with their addresses and ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crypto::Random;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::{Encapsulation, Ports, Target, call};
use crate::client::Settings;
use crate::clock;
use crate::driver::Driver;
use crate::fleet::{Fleet, LacId, Outside};
use crate::impair::{ImpairedWire, Nat, Tally};
use crate::memory::{self, Stage};
use crate::profile::Credentials;
use crate::scenario::{Group, Scenario};
use crate::sockets::free_ports;
use crate::wires;

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
        let lacs = self.add_lacs(group, &base, doors)?;
        for number in 0..group.subscribers {
            let begin = start + group.after + Duration::from_secs_f64(number as f64 / group.rate);
            let settings = Arc::new(settings(group, &base, number + 1));
            match lacs.is_empty() {
                false => drop(
                    self.fleet
                        .add_call(lacs[number % lacs.len()], settings, begin),
                ),
                true => {
                    let outside = doors.next(group, number);
                    let added = self.fleet.add(settings, outside.address, outside, begin);
                    added.with_context(|| taken(group, number, outside.address))?;
                }
            }
            self.planned.push(begin);
        }
        Ok(())
    }

    /// The tunnels of a group that has some of its own.
    fn add_lacs(
        &mut self,
        group: &Group,
        base: &Settings,
        doors: &mut Doors,
    ) -> Result<Vec<LacId>> {
        let numbers = 0..group.tunnels.unwrap_or(0);
        let lacs = numbers.map(|number| {
            let settings = settings(group, base, number + 1);
            let outside = doors.next(group, number);
            let lac = self.fleet.add_lac(&settings.l2tp, outside);
            lac.with_context(|| taken(group, number, outside.address))
        });
        lacs.collect()
    }
}

fn taken(group: &Group, number: usize, address: Ipv4Addr) -> String {
    let who = group.tunnels.map_or("subscriber", |_| "tunnel");
    format!(
        "{}: {who} {} would share address {address} and its ports with another; \
         give more addresses with --local, or --ports ephemeral",
        group.name,
        number + 1
    )
}

/// A driver for the fleet, over what the scenario wants, with the path that it wants; and what that
/// path tells of itself.
pub(super) fn driver(
    fleet: Fleet,
    scenario: &Scenario,
    stage: Option<&mut Stage>,
    random: &mut Random,
) -> Result<(Driver, Option<Arc<Mutex<Tally>>>)> {
    permit_sockets();
    let path = &scenario.path;
    let mut places: BTreeSet<SocketAddrV4> = fleet.places().collect();
    let nat = match path.rebind {
        Some(every) => Some(nat(every, &mut places, stage.is_some())?),
        None => None,
    };
    let (server, mut tally) = (fleet.server(), None);
    let driver = Driver::over(fleet, |waker| {
        let wire = match stage {
            Some(stage) => stage.wire(&places, waker),
            None => wires::open(scenario.io, &places, server, waker)?,
        };
        if path.is_none() {
            return Ok(wire);
        }
        let wire = ImpairedWire::new(wire, [path.up, path.down], nat, random);
        tally = Some(wire.tally());
        Ok(Box::new(wire))
    })?;
    Ok((driver, tally))
}

/// The NAT in front of whoever has ports other than the well-known; what it needs joins the places.
fn nat(every: Duration, places: &mut BTreeSet<SocketAddrV4>, is_in_memory: bool) -> Result<Nat> {
    let natted: Vec<SocketAddrV4> = places.iter().copied().collect();
    let natted = natted.iter().filter(|place| place.port() >= NATTED_MIN);
    let own: BTreeSet<u16> = natted.clone().map(SocketAddrV4::port).collect();
    let own: Vec<u16> = own.into_iter().collect();
    let spare = match is_in_memory {
        true => memory::spare_ports(own.len())?,
        false => free_ports(own.len())?,
    };
    let twins: BTreeMap<u16, u16> = own.iter().copied().zip(spare.iter().copied()).collect();
    places.extend(natted.map(|place| SocketAddrV4::new(*place.ip(), twins[&place.port()])));
    Ok(Nat::new(every, clock::now(), &own, &spare))
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
        None => group.encapsulation == Encapsulation::Natt || group.places() > group.local.len(),
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
            for number in 0..group.places() {
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

    /// For a subscriber of the group, or a tunnel.
    fn next(&mut self, group: &Group, number: usize) -> Outside {
        let address = group.local[number % group.local.len()];
        let used = self.used.entry(address).or_default();
        let set = self.sets.get(*used).copied();
        let Some([ike, natt, l2tp]) = set.filter(|_| needs_free(group)) else {
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
