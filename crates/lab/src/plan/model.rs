//! The traffic model: who the subscribers are and what they do, as a TOML file and flags say it.
//!
//! All faults of a file are told at once. What is not said has a default, and each number knows
//! whether it comes from the file, from the command line or from here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use crypto::dh::Group;
use crypto::esp::Suite;
use document::{Document, Section};
use serde::Serialize;

use super::quantity::{Quantity, Source};
use super::wire::Wrapping;

/// Packets longer than this do not fit an Ethernet.
const OCTETS_MAX: f64 = 1500.0;
/// An hour of a year: longer times are typing errors.
const LONG: Duration = Duration::from_secs(366 * 24 * 3600);

/// The number of one key.
#[derive(Clone, Copy, Debug)]
struct Key {
    name: &'static str,
    low: f64,
    high: f64,
    default: f64,
    label: &'static str,
}

const fn key(name: &'static str, low: f64, high: f64, default: f64, label: &'static str) -> Key {
    Key {
        name,
        low,
        high,
        default,
        label,
    }
}

/// Keys that are numbers, by table and name.
#[rustfmt::skip]
const NUMBERS: [Key; 19] = [
    key("subscribers.count",        1.0, 16e6,      10_000.0, "subscribers"),
    key("subscribers.online",       0.0, 1.0,       1.0,      "of them online"),
    key("traffic.down_kbit",        0.0, 1e7,       2_000.0,  "kbit/s down for each"),
    key("traffic.up_kbit",          0.0, 1e7,       300.0,    "kbit/s up for each"),
    key("traffic.train",            1.0, 1e4,       8.0,      "packets a train"),
    key("traffic.train_mbit",       1.0, 1e6,       1_000.0,  "Mbit/s within a train"),
    key("storm.share",              0.0, 1.0,       1.0,      "of the sessions dial again"),
    key("radius.window",            1.0, 65_536.0,  256.0,    "requests outstanding"),
    key("gateway.link_gbit",        0.0, 1e4,       0.0,      "Gbit/s of link"),
    key("gateway.cores",            0.0, 1024.0,    0.0,      "cores"),
    key("gateway.memory_gib",       0.0, 65_536.0,  0.0,      "GiB of memory"),
    key("gateway.addresses",        0.0, 16e6,      0.0,      "addresses in pools"),
    key("gateway.ring",             16.0, 65_536.0, 2_048.0,  "frames in a ring"),
    key("gateway.chunks",           1_024.0, 16e6,  65_536.0, "chunks a worker"),
    key("gateway.io_ns",            0.0, 10_000.0,  25.0,     "ns of I/O a packet"),
    key("gateway.half_open",        1.0, 16e6,      4_096.0,  "half-open set-ups"),
    key("targets.loss",             0.0, 0.5,       1e-4,     "of the packets lost"),
    key("targets.use",              0.05, 1.0,      0.8,      "of it may be used"),
    key("seed",                     0.0, 4e9,       1.0,      ""),
];

/// Keys that are times, in seconds.
#[rustfmt::skip]
const TIMES: [Key; 10] = [
    key("sessions.length",      1.0, 3.2e7,  28_800.0, "s a session lasts"),
    key("storm.within",         0.001, 3600.0, 60.0,   "s until all have dialled"),
    key("storm.patience",       1.0, 3600.0, 30.0,     "s of patience"),
    key("storm.redial",         0.1, 3600.0, 10.0,     "s until the next attempt"),
    key("storm.recovered",      1.0, 3600.0, 120.0,    "s until all are up"),
    key("radius.latency",       0.001, 60.0, 0.02,     "s until RADIUS answers"),
    key("radius.interim",       60.0, 3.2e7, 900.0,    "s between interim updates"),
    key("gateway.quarantine",   0.0, 3.2e7,  60.0,     "s an address rests"),
    key("targets.delay",        1e-6, 10.0,  1e-3,     "s of delay"),
    key("sessions.setups_every", 0.0, 3.2e7, 0.0,      "s between set-ups"),
];

/// Where a number was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Default,
    File,
    Flag,
}

/// How some of the subscribers come in.
#[derive(Clone, Debug, Serialize)]
pub struct Access {
    /// Its name in figures.
    pub name: String,
    /// Relative to the others.
    pub share: f64,
    /// ESP suite, or `plain`.
    pub suite: String,
    /// ESP in UDP.
    pub is_natt: bool,
    /// Key exchange of IKE.
    pub group: String,
}

impl Access {
    /// L2TP without IPsec.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.suite == "plain"
    }

    /// What is around its packets.
    #[must_use]
    pub fn wrapping(&self) -> Wrapping {
        Wrapping::new(self.suite.parse().ok(), self.is_natt)
    }
}

/// Packets of one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Size {
    /// Octets of the inner packet.
    pub octets: usize,
    /// How many there are of it, relative to the others.
    pub share: f64,
}

/// All of it, checked.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    /// The file.
    pub file: String,
    numbers: BTreeMap<&'static str, (f64, Said)>,
    /// How subscribers come in.
    pub access: Vec<Access>,
    /// How long packets are.
    pub sizes: Vec<Size>,
}

impl Model {
    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("cannot read the model {}", file.display()))?;
        Self::parse(file, text)
    }

    /// Takes it from the text of a file; the error has a line for each fault.
    pub fn parse(file: &Path, text: String) -> Result<Self> {
        let document = Document::new(file, text);
        let model = document.read(|root| Self::from_root(file, root));
        let faults = document.into_faults();
        if !faults.is_empty() {
            let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
            bail!("the model cannot be used:\n{}", lines.join("\n"));
        }
        Ok(model)
    }

    fn from_root(file: &Path, root: &Section<'_>) -> Self {
        let numbers = RefCell::new(BTreeMap::new());
        let read = |section: &Section<'_>, table: &str| {
            let found = keys_of(table, &NUMBERS).map(|key| (key.name, number(section, key)));
            let times = keys_of(table, &TIMES).map(|key| (key.name, time(section, key)));
            numbers.borrow_mut().extend(found.chain(times));
        };
        read(root, "");
        let mut sizes = Vec::new();
        root.section("traffic", |traffic| {
            read(traffic, "traffic");
            sizes = traffic.sections("size", |size| Size {
                octets: size.real("octets", 28.0..=OCTETS_MAX, 1400.0) as usize,
                share: size.real("share", 0.0..=1e9, 1.0),
            });
        });
        for table in [
            "subscribers",
            "sessions",
            "storm",
            "radius",
            "gateway",
            "targets",
        ] {
            root.section(table, |section| read(section, table));
        }
        let mut number = 0;
        let access = root.sections("access", |section| {
            number += 1;
            access(section, number)
        });
        check(root, &access, &sizes);
        Self {
            file: file.display().to_string(),
            numbers: numbers.into_inner(),
            access: or_default(access, default_access),
            sizes: or_default(sizes, imix),
        }
    }

    /// Says a number on the command line.
    pub fn set(&mut self, name: &'static str, value: f64) -> Result<()> {
        let known = NUMBERS.iter().chain(&TIMES).find(|key| key.name == name);
        let key = known.with_context(|| format!("there is no key {name}"))?;
        if !(key.low..=key.high).contains(&value) {
            bail!(
                "{name}: {value} is not between {} and {}",
                key.low,
                key.high
            );
        }
        self.numbers.insert(name, (value, Said::Flag));
        Ok(())
    }

    /// The value of a key.
    #[must_use]
    pub fn value(&self, name: &str) -> f64 {
        self.numbers.get(name).map_or(0.0, |(value, _)| *value)
    }

    /// Everything that is left to chance follows from it.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.value("seed") as u64
    }

    /// The same as a quantity that knows where it was said.
    #[must_use]
    pub fn quantity(&self, name: &str) -> Quantity {
        let known = NUMBERS.iter().chain(&TIMES).find(|key| key.name == name);
        let label = known.map_or("", |key| key.label);
        Quantity::of(self.value(name), label, self.source(name))
    }

    /// Whether nobody said it.
    #[must_use]
    pub fn is_default(&self, name: &str) -> bool {
        let said = self.numbers.get(name).map(|(_, said)| *said);
        said.is_none_or(|said| said == Said::Default)
    }

    /// Where a key was said.
    #[must_use]
    pub fn source(&self, name: &str) -> Source {
        let said = self.numbers.get(name).map_or(Said::Default, |(_, s)| *s);
        Source::Model(match said {
            Said::Default => format!("{name}, its default"),
            Said::File => format!("{name} in {}", self.file),
            Said::Flag => format!("{name}, on the command line"),
        })
    }

    /// A source that is a list of the file.
    #[must_use]
    pub fn list(&self, name: &str) -> Source {
        Source::Model(format!("{name} in {}", self.file))
    }

    /// Shares of the ways to come in, which add up to 1.
    #[must_use]
    pub fn access_shares(&self) -> Vec<f64> {
        let sum: f64 = self.access.iter().map(|access| access.share).sum();
        self.access
            .iter()
            .map(|access| access.share / sum)
            .collect()
    }

    /// Shares of the sizes, which add up to 1.
    #[must_use]
    pub fn size_shares(&self) -> Vec<f64> {
        let sum: f64 = self.sizes.iter().map(|size| size.share).sum();
        self.sizes.iter().map(|size| size.share / sum).collect()
    }
}

/// The keys of a table, each with its own name.
fn keys_of(table: &str, keys: &'static [Key]) -> impl Iterator<Item = &'static Key> {
    keys.iter()
        .filter(move |key| match key.name.split_once('.') {
            Some((of, _)) => of == table,
            None => table.is_empty(),
        })
}

fn own_name(key: &Key) -> &'static str {
    key.name.split_once('.').map_or(key.name, |(_, own)| own)
}

fn said(section: &Section<'_>, key: &Key) -> Said {
    match section.has(own_name(key)) {
        true => Said::File,
        false => Said::Default,
    }
}

fn number(section: &Section<'_>, key: &Key) -> (f64, Said) {
    let value = section.real(own_name(key), key.low..=key.high, key.default);
    (value, said(section, key))
}

fn time(section: &Section<'_>, key: &Key) -> (f64, Said) {
    let of = Duration::from_secs_f64;
    let range = of(key.low)..=of(key.high).min(LONG);
    let value = section.duration(own_name(key), range, of(key.default));
    (value.as_secs_f64(), said(section, key))
}

fn access(section: &Section<'_>, number: usize) -> Access {
    let suite = section.text("suite").unwrap_or_else(|| "plain".to_owned());
    if suite != "plain" && suite.parse::<Suite>().is_err() {
        let what =
            format!("\"{suite}\" is neither plain nor a suite such as aes128gcm16, aes256-sha1");
        section.fault("suite", what);
    }
    let group = section.parsed::<Group>("group", "a group such as modp2048, ecp256");
    let group = group.unwrap_or(Group::Modp2048);
    let name = section.text("name");
    Access {
        name: name.unwrap_or_else(|| format!("{number}-{suite}")),
        share: section.real("share", 0.0..=1e9, 1.0),
        is_natt: section.flag("natt", suite != "plain"),
        group: format!("{group:?}"),
        suite,
    }
}

/// What cannot be seen key by key.
fn check(root: &Section<'_>, access: &[Access], sizes: &[Size]) {
    for (index, one) in access.iter().enumerate() {
        if access[..index].iter().any(|other| other.name == one.name) {
            let what = format!(
                "\"{}\" is there twice; figures would have the same name",
                one.name
            );
            root.fault_in("access", index, "name", what);
        }
        if one.is_plain() && one.is_natt {
            root.fault_in(
                "access",
                index,
                "natt",
                "there is no ESP in plain L2TP to put in UDP",
            );
        }
    }
    let is_empty = |shares: &mut dyn Iterator<Item = f64>| {
        let all: Vec<f64> = shares.collect();
        !all.is_empty() && all.iter().sum::<f64>() <= 0.0
    };
    if is_empty(&mut access.iter().map(|access| access.share)) {
        root.fault("access", "the shares add up to nothing");
    }
    if is_empty(&mut sizes.iter().map(|size| size.share)) {
        root.fault("traffic", "the shares of the sizes add up to nothing");
    }
}

fn or_default<T>(list: Vec<T>, default: impl FnOnce() -> Vec<T>) -> Vec<T> {
    if list.is_empty() { default() } else { list }
}

/// Road warriors as most systems dial today.
fn default_access() -> Vec<Access> {
    vec![Access {
        name: "ipsec".to_owned(),
        share: 1.0,
        suite: "aes128gcm16".to_owned(),
        is_natt: true,
        group: format!("{:?}", Group::Modp2048),
    }]
}

/// The mixture with which everything here is measured.
fn imix() -> Vec<Size> {
    let mix = [(64, 7.0), (570, 4.0), (1400, 1.0)];
    mix.map(|(octets, share)| Size { octets, share }).into()
}
