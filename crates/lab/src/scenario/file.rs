//! A scenario from its file: everything that is wrong with it at once, or none.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use document::{Document, Fault, Section};

use super::{Churn, Group, ImpairedPath, Played, SUBSCRIBERS_MAX, Scenario, Wants};
use crate::cli::{Addresses, Auth, ClientArguments, Encapsulation, Io, Phase1, Ports, Target};
use crate::profile::LoadError;

/// The longest time that a key takes.
const DAY: Duration = Duration::from_secs(86_400);
/// A moment: times that make no sense as nothing at all.
const MOMENT: Duration = Duration::from_millis(1);
/// The highest rate of set-ups that a key takes.
const RATE_MAX: f64 = 1e6;

/// What stands in a file; some of it may be left to the flags.
pub(super) struct Written {
    pub(super) target: Option<Target>,
    pub(super) seed: Option<u64>,
    /// `target` and `seed` are not known yet.
    pub(super) scenario: Scenario,
}

/// Reads the text of a scenario.
pub(super) fn read(file: &Path, text: String) -> Result<Written, Vec<Fault>> {
    let document = Document::new(file, text);
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let written = document.read(|root| root_table(root, &stem));
    match document.into_faults() {
        faults if faults.is_empty() => Ok(written),
        faults => Err(faults),
    }
}

fn root_table(root: &mut Section<'_>, stem: &str) -> Written {
    let target: Option<Target> = root.parsed("target", "an IPv4 address, or memory:CONFIG");
    let seed = root
        .has("seed")
        .then(|| root.number("seed", 0..=u64::MAX, 0));
    let groups = root.sections("group", group);
    let network = root.parsed("network_port", "an address such as 198.51.100.1@NAMESPACE");
    let ping_target = root.parsed("ping_target", "an IPv4 address");
    if groups.is_empty() {
        root.fault("group", "there has to be at least one [[group]]");
    }
    if groups.iter().map(|group| group.subscribers).sum::<usize>() > SUBSCRIBERS_MAX {
        let what = format!("all groups together have more than {SUBSCRIBERS_MAX} subscribers");
        root.fault("group", what);
    }
    for (index, group) in groups.iter().enumerate() {
        if groups[..index].iter().any(|other| other.name == group.name) {
            let what = format!("another group is called \"{}\" too", group.name);
            root.fault_in("group", index, "name", what);
        }
    }
    if network.is_some() && ping_target.is_some() {
        root.fault(
            "ping_target",
            "with network_port nobody is asked for an echo",
        );
    }
    let scenario = Scenario {
        name: root.text("name").unwrap_or_else(|| stem.to_owned()),
        seed: seed.unwrap_or_default(),
        target: target
            .clone()
            .unwrap_or(Target::Address(Ipv4Addr::UNSPECIFIED)),
        io: root.choice(
            "io",
            &[Io::Sockets, Io::Xdp].map(|io| (super::written::io(io), io)),
            Io::Sockets,
        ),
        duration: root.duration("duration", Duration::ZERO..=DAY, Duration::from_secs(10)),
        network,
        ping_target,
        path: path(root),
        groups,
        wants: root.section("assert", wants),
    };
    Written {
        target,
        seed,
        scenario,
    }
}

fn path(root: &Section<'_>) -> ImpairedPath {
    const WHAT: &str = "an impairment such as loss=1,duplicate=1,reorder=1,delay=10ms,jitter=2ms";
    let has_rebinding = root.has("rebind");
    let rebind = root.duration("rebind", Duration::from_secs(1)..=DAY, DAY);
    ImpairedPath {
        up: root.parsed("impair_up", WHAT).unwrap_or_default(),
        down: root.parsed("impair_down", WHAT).unwrap_or_default(),
        rebind: has_rebinding.then_some(rebind),
    }
}

fn wants(section: &mut Section<'_>) -> Wants {
    let has = |key| section.has(key);
    let (has_loss, has_setups, has_p99) = (has("max_loss"), has("min_setups"), has("p99"));
    let has_missing = has("max_missing");
    let loss = section.real("max_loss", 0.0..=100.0, 0.0);
    let setups = section.number("min_setups", 0..=u64::MAX, 0);
    let missing = section.number("max_missing", 0..=u64::MAX, 0);
    let p99 = section.duration("p99", MOMENT / 1000..=DAY, DAY);
    Wants {
        max_loss: has_loss.then_some(loss),
        min_setups: has_setups.then_some(setups),
        max_missing: has_missing.then_some(missing),
        p99: has_p99.then_some(p99),
    }
}

fn group(section: &mut Section<'_>) -> Group {
    let encapsulations = [
        Encapsulation::Auto,
        Encapsulation::Esp,
        Encapsulation::Natt,
        Encapsulation::Plain,
    ];
    let encapsulations = encapsulations.map(|one| (super::written::encapsulation(one), one));
    let encapsulation = section.choice("encapsulation", &encapsulations, Encapsulation::Auto);
    let ports = [
        ("well-known", Some(Ports::WellKnown)),
        ("ephemeral", Some(Ports::Ephemeral)),
    ];
    let local =
        section.list::<Addresses>("local", "an address or a range such as 10.9.1.1-10.9.1.50");
    let client = client(section);
    let profile = section
        .text("profile")
        .and_then(|name| played(section, &name));
    let encapsulation = match &profile {
        Some(played) if played.profile.is_plain() => Encapsulation::Plain,
        _ => encapsulation,
    };
    if encapsulation != Encapsulation::Plain && client.psk.is_empty() {
        section.fault("psk", "IPsec needs a key; or encapsulation = \"plain\"");
    }
    let tunnels = section.number("tunnels", 1..=SUBSCRIBERS_MAX, 1);
    let group = Group {
        name: section.required_text("name").unwrap_or_default(),
        subscribers: section.number("subscribers", 1..=SUBSCRIBERS_MAX, 1),
        tunnels: section.has("tunnels").then_some(tunnels),
        local: local.into_iter().flat_map(|Addresses(list)| list).collect(),
        profile,
        encapsulation,
        ports: section.choice("ports", &ports, None),
        client,
        rate: rate(section, "rate", 50.0),
        after: section.duration("after", Duration::ZERO..=DAY, Duration::ZERO),
        churn: churn(section),
        traffic: section.parsed(
            "traffic",
            "SIZES:RATE such as imix:2Mbit/s, with :up, :down, :poisson",
        ),
    };
    for (key, what) in group.contradictions() {
        section.fault(key, what);
    }
    group
}

fn played(section: &Section<'_>, name: &str) -> Option<Played> {
    match name.parse() {
        Ok(played) => Some(played),
        Err(fault) => {
            let fault: LoadError = fault;
            section.fault("profile", fault.to_string());
            None
        }
    }
}

fn churn(section: &Section<'_>) -> Churn {
    let time = |key| {
        let has = section.has(key);
        let time = section.duration(key, MOMENT..=DAY, DAY);
        has.then_some(time)
    };
    Churn {
        hold: time("hold"),
        kill: rate(section, "kill", 0.0),
        kills_tunnels: section.flag("kill_tunnels", false),
        is_silent: section.flag("silent", false),
        redial_after: time("redial_after"),
    }
}

/// `"500/s"`.
fn rate(section: &Section<'_>, key: &str, default: f64) -> f64 {
    let Some(text) = section.text(key) else {
        return default;
    };
    let number = text
        .strip_suffix("/s")
        .and_then(|number| number.parse().ok());
    match number.filter(|number| (f64::MIN_POSITIVE..=RATE_MAX).contains(number)) {
        Some(number) => number,
        None => {
            section.fault(key, format!("\"{text}\" is not a rate such as 500/s"));
            default
        }
    }
}

/// What the flags of the same names say; what is not there is as it is without them.
fn client(section: &mut Section<'_>) -> ClientArguments {
    let default = ClientArguments::default();
    let or = |list: Vec<_>, default: Vec<_>| if list.is_empty() { default } else { list };
    let text = |key| section.text(key).unwrap_or_default();
    let auth = [Auth::Pap, Auth::Chap, Auth::Mschapv2].map(|auth| (auth.name(), auth));
    let phase1: Vec<Phase1> = section.list("phase1", "a proposal such as aes256-sha1-modp2048");
    ClientArguments {
        psk: text("psk"),
        user: text("user"),
        password: text("password"),
        suite: or(
            section.list("suite", "an ESP suite such as aes128gcm16"),
            default.suite,
        ),
        phase1: if phase1.is_empty() {
            default.phase1
        } else {
            phase1
        },
        pfs: section.parsed("pfs", "a group such as modp2048"),
        auth: section.choices("auth", &auth).unwrap_or(default.auth),
        l2tp_secret: section.text("l2tp_secret"),
        host_name: section.text("host_name").unwrap_or(default.host_name),
        mru: section.number("mru", 128..=1500, default.mru),
        lifetime: section.duration("lifetime", Duration::from_secs(1)..=DAY, default.lifetime),
        phase1_lifetime: section.duration(
            "phase1_lifetime",
            Duration::from_secs(1)..=DAY,
            default.phase1_lifetime,
        ),
        timeout: section.duration("timeout", MOMENT..=DAY, default.timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_with_its_line_and_key() {
        let text = "\
duration = \"soon\"
speed = 7

[assert]
max_loss = 101

[[group]]
name = \"a\"
subscribers = 0
encapsulation = \"plain\"
rate = \"often\"
traffic = \"imix\"

[[group]]
name = \"a\"
silent = true
";
        let faults = read(Path::new("s.toml"), text.to_owned()).err().unwrap();
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let expected = [
            "s.toml:1: duration: \"soon\" is not a time",
            "s.toml:2: speed: there is no such key",
            "s.toml:5: assert.max_loss: ",
            "s.toml:9: group[0].subscribers: 0 is not between 1 and 1048576",
            "s.toml:11: group[0].rate: \"often\" is not a rate such as 500/s",
            "s.toml:12: group[0].traffic: \"imix\" is not SIZES:RATE",
            "s.toml:14: group[1].psk: IPsec needs a key",
            "s.toml:15: group[1].name: another group is called \"a\" too",
            "s.toml:16: group[1].silent: nobody is killed",
        ];
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line} | {expected}");
        }
    }
}
