//! A scenario from the command line: one group, or a file and what the flags add to it.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::{Churn, Group, ImpairedPath, OfferedLoad, Played, SUBSCRIBERS_MAX, Scenario, Wants};
use crate::cli::{Addresses, Blast, Encapsulation, Io, Target, Who};
use crate::dial::own_address;
use crate::memory;
use crate::seed::seed;

/// How long traffic flows if nobody says.
const DURATION: Duration = Duration::from_secs(10);

impl Scenario {
    /// What the flags say, and the file that they name.
    pub fn new(flags: &Blast) -> Result<Self> {
        match &flags.scenario {
            Some(file) => Self::from_file(file, flags),
            None => Self::from_flags(flags),
        }
    }

    fn from_file(file: &Path, flags: &Blast) -> Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("cannot read the scenario {}", file.display()))?;
        let mut written = super::file::read(file, text).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            anyhow!("the scenario cannot be used\n{}", lines.join("\n"))
        })?;
        let scenario = &mut written.scenario;
        scenario.target = flags
            .who
            .target
            .clone()
            .or(written.target)
            .with_context(|| {
                let file = file.display();
                format!("{file}: which gateway? target = \"ADDRESS\" or --target ADDRESS")
            })?;
        scenario.seed = seed_of(flags.who.seed.or(written.seed))?;
        scenario.io = flags.who.io.unwrap_or(scenario.io);
        scenario.duration = flags.duration.unwrap_or(scenario.duration);
        let who = &flags.who;
        if who.network_port.is_some() || who.ping_target.is_some() {
            scenario.network.clone_from(&who.network_port);
            scenario.ping_target = who.ping_target;
        }
        let path = path(flags);
        if !path.is_none() {
            scenario.path = path;
        }
        let (wanted, wants) = (wants(flags), &mut scenario.wants);
        wants.max_loss = wanted.max_loss.or(wants.max_loss);
        wants.min_setups = wanted.min_setups.or(wants.min_setups);
        wants.max_missing = wanted.max_missing.or(wants.max_missing);
        wants.p99 = wanted.p99.or(wants.p99);
        *wants = std::mem::take(wants).settled();
        scenario.settle_addresses()?;
        Ok(written.scenario)
    }

    fn from_flags(flags: &Blast) -> Result<Self> {
        let churn = Churn {
            hold: flags.hold,
            kill: flags.kill,
            kills_tunnels: flags.kill_tunnels,
            is_silent: flags.silent,
            redial_after: flags.redial_after,
        };
        Ok(Self {
            duration: flags.duration.unwrap_or(DURATION),
            path: path(flags),
            wants: wants(flags).settled(),
            ..Self::of_one_group(&flags.who, churn, flags.traffic.clone())?
        })
    }

    /// One group, and nothing that has to hold.
    pub fn of_one_group(who: &Who, churn: Churn, traffic: Option<OfferedLoad>) -> Result<Self> {
        let target = who.target.clone();
        let mut scenario = Self {
            name: "flags".to_owned(),
            seed: seed_of(who.seed)?,
            target: target
                .context("which gateway? --target ADDRESS, or a scenario that names one")?,
            io: who.io.unwrap_or(Io::Sockets),
            duration: DURATION,
            network: who.network_port.clone(),
            ping_target: who.ping_target,
            path: ImpairedPath::default(),
            groups: vec![group(who, churn, traffic)?],
            wants: Wants::default(),
        };
        scenario.settle_addresses()?;
        Ok(scenario)
    }

    /// Who was given no addresses has the host's; in memory, each subscriber has its own.
    fn settle_addresses(&mut self) -> Result<()> {
        let mut free = memory::addresses(self.subscribers()).into_iter();
        for group in self
            .groups
            .iter_mut()
            .filter(|group| group.local.is_empty())
        {
            match self.target {
                Target::Address(target) => group.local.push(own_address(target)?),
                Target::Memory(_) => group.local.extend(free.by_ref().take(group.places())),
            }
        }
        Ok(())
    }
}

fn wants(flags: &Blast) -> Wants {
    Wants {
        max_loss: flags.max_loss,
        min_setups: flags.min_setups,
        max_missing: flags.max_missing,
        p99: flags.p99,
    }
}

fn path(flags: &Blast) -> ImpairedPath {
    ImpairedPath {
        up: flags.impair_up,
        down: flags.impair_down,
        rebind: flags.rebind,
    }
}

/// Without one, a number short enough to be typed again.
fn seed_of(given: Option<u64>) -> Result<u64> {
    if let Some(seed) = given {
        return Ok(seed);
    }
    let [a, b, c, d, ..] = seed()?;
    Ok(u32::from_le_bytes([a, b, c, d]).into())
}

fn group(who: &Who, churn: Churn, traffic: Option<OfferedLoad>) -> Result<Group> {
    let profile = who.profile.as_ref().map(|name| name.parse::<Played>());
    let profile = profile.transpose()?;
    let is_plain = who.plain
        || profile
            .as_ref()
            .is_some_and(|played| played.profile.is_plain());
    let encapsulation = match is_plain {
        true => Encapsulation::Plain,
        false => who.encapsulation,
    };
    if encapsulation != Encapsulation::Plain && who.client.psk.is_empty() {
        bail!("IPsec needs a key: --psk SECRET, or --plain");
    }
    if !(1..=SUBSCRIBERS_MAX).contains(&who.subscribers) {
        bail!("--subscribers has to be between 1 and {SUBSCRIBERS_MAX}");
    }
    let local = who.local.iter();
    let group = Group {
        name: "all".to_owned(),
        subscribers: who.subscribers,
        tunnels: who.tunnels.map(NonZeroUsize::get),
        local: local.flat_map(|Addresses(list)| list.clone()).collect(),
        profile,
        encapsulation,
        ports: who.ports,
        client: who.client.clone(),
        rate: who.rate,
        after: Duration::ZERO,
        churn,
        traffic,
    };
    let contradictions = group.contradictions().into_iter();
    let told = contradictions.map(|(key, what)| format!("--{}: {what}", key.replace('_', "-")));
    match told.collect::<Vec<String>>() {
        told if told.is_empty() => Ok(group),
        told => bail!("{}", told.join("\n")),
    }
}
