//! A scenario from the command line: one group, or a file and what the flags add to it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::{Churn, Group, ImpairedPath, SUBSCRIBERS_MAX, Scenario, Wants};
use crate::cli::{Addresses, Blast, Encapsulation};
use crate::dial::own_address;
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
        scenario.target = flags.target.or(written.target).with_context(|| {
            let file = file.display();
            format!("{file}: which gateway? target = \"ADDRESS\" or --target ADDRESS")
        })?;
        scenario.seed = seed_of(flags.seed.or(written.seed))?;
        scenario.duration = flags.duration.unwrap_or(scenario.duration);
        if flags.network_port.is_some() || flags.ping_target.is_some() {
            scenario.network.clone_from(&flags.network_port);
            scenario.ping_target = flags.ping_target;
        }
        let path = path(flags);
        if !path.is_none() {
            scenario.path = path;
        }
        let (wanted, wants) = (wants(flags), &mut scenario.wants);
        wants.max_loss = wanted.max_loss.or(wants.max_loss);
        wants.min_setups = wanted.min_setups.or(wants.min_setups);
        wants.p99 = wanted.p99.or(wants.p99);
        for group in &mut scenario.groups {
            if group.local.is_empty() {
                group.local.push(own_address(scenario.target)?);
            }
        }
        Ok(written.scenario)
    }

    fn from_flags(flags: &Blast) -> Result<Self> {
        let target = flags
            .target
            .context("which gateway? --target ADDRESS, or a scenario that names one")?;
        Ok(Self {
            name: "flags".to_owned(),
            seed: seed_of(flags.seed)?,
            target,
            duration: flags.duration.unwrap_or(DURATION),
            network: flags.network_port.clone(),
            ping_target: flags.ping_target,
            path: path(flags),
            groups: vec![group(flags, target)?],
            wants: wants(flags),
        })
    }
}

fn wants(flags: &Blast) -> Wants {
    Wants {
        max_loss: flags.max_loss,
        min_setups: flags.min_setups,
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

fn group(flags: &Blast, target: Ipv4Addr) -> Result<Group> {
    let encapsulation = match flags.plain {
        true => Encapsulation::Plain,
        false => flags.encapsulation,
    };
    if encapsulation != Encapsulation::Plain && flags.client.psk.is_empty() {
        bail!("IPsec needs a key: --psk SECRET, or --plain");
    }
    if !(1..=SUBSCRIBERS_MAX).contains(&flags.subscribers) {
        bail!("--subscribers has to be between 1 and {SUBSCRIBERS_MAX}");
    }
    let local = flags.local.iter();
    let mut local: Vec<Ipv4Addr> = local.flat_map(|Addresses(list)| list.clone()).collect();
    if local.is_empty() {
        local.push(own_address(target)?);
    }
    Ok(Group {
        name: "all".to_owned(),
        subscribers: flags.subscribers,
        local,
        encapsulation,
        ports: flags.ports,
        client: flags.client.clone(),
        rate: flags.rate,
        after: Duration::ZERO,
        churn: Churn {
            hold: flags.hold,
            kill: flags.kill,
            is_silent: flags.silent,
            redial_after: flags.redial_after,
        },
        traffic: flags.traffic.clone(),
    })
}
