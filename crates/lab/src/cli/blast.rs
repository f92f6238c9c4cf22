//! The flags of `adit-lab blast`; each of them is a key of a scenario too.

use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Addresses, ClientArguments, Encapsulation, Io, Ports, Target};
use crate::impair::Impairment;
use crate::scenario::{NetworkPort, OfferedLoad};

/// Headings of the help.
pub(super) const WHO: &str = "Who dials whom";
const TRAFFIC: &str = "Traffic";
const ENDS: &str = "How sessions end";
const PATH: &str = "The path";
const WANTS: &str = "What has to hold, for an exit status of 0";
const TOLD: &str = "What is told";

/// Flags that say what a scenario says group by group.
const GROUP_FLAGS: [&str; 27] = [
    "profile",
    "subscribers",
    "tunnels",
    "rate",
    "encapsulation",
    "plain",
    "local",
    "ports",
    "psk",
    "user",
    "password",
    "suite",
    "phase1",
    "pfs",
    "auth",
    "l2tp_secret",
    "host_name",
    "mru",
    "lifetime",
    "phase1_lifetime",
    "timeout",
    "traffic",
    "hold",
    "kill",
    "kill_tunnels",
    "silent",
    "redial_after",
];

/// `adit-lab blast`.
#[derive(Clone, Debug, Args)]
pub struct Blast {
    /// A scenario of several groups; of the flags, only those without a group go with it
    #[arg(value_name = "SCENARIO.toml", conflicts_with_all = GROUP_FLAGS)]
    pub scenario: Option<PathBuf>,
    /// Who dials.
    #[command(flatten, next_help_heading = WHO)]
    pub who: Who,
    /// What each subscriber sends and gets: sizes and rate, then :up, :down, :poisson if wanted;
    /// imix:2Mbit/s, or 64,1400:100/s:up
    #[arg(long, value_name = "LOAD", help_heading = TRAFFIC)]
    pub traffic: Option<OfferedLoad>,
    /// How long traffic flows, once everybody has dialled [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = TRAFFIC)]
    pub duration: Option<Duration>,
    /// A session is given up after this long
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = ENDS)]
    pub hold: Option<Duration>,
    /// Sessions ended in a second, drawn by chance
    #[arg(long, value_name = "N/s", default_value = "0/s", value_parser = per_second_or_none, help_heading = ENDS)]
    pub kill: f64,
    /// Whole tunnels are killed, with all their sessions
    #[arg(long, help_heading = ENDS)]
    pub kill_tunnels: bool,
    /// Those that are killed go without goodbye
    #[arg(long, help_heading = ENDS)]
    pub silent: bool,
    /// Who is down dials again after this long
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = ENDS)]
    pub redial_after: Option<Duration>,
    /// What happens to packets on their way to the gateway:
    /// loss=PERCENT,duplicate=,reorder=,delay=TIME,jitter=
    #[arg(long, value_name = "IMPAIRMENT", default_value = "", help_heading = PATH)]
    pub impair_up: Impairment,
    /// What happens to packets from the gateway
    #[arg(long, value_name = "IMPAIRMENT", default_value = "", help_heading = PATH)]
    pub impair_down: Impairment,
    /// The NAT in front of clients with ephemeral ports forgets them this often
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = PATH)]
    pub rebind: Option<Duration>,
    /// Fail if more is lost than this, in percent
    #[arg(long, value_name = "PERCENT", help_heading = WANTS)]
    pub max_loss: Option<f64>,
    /// Fail if fewer set-ups succeed
    #[arg(long, value_name = "N", help_heading = WANTS)]
    pub min_setups: Option<u64>,
    /// Fail if more subscribers are missing in the end: could not dial in, or were lost, and did
    /// not come again [default: 0, or any number with --min-setups]
    #[arg(long, value_name = "N", help_heading = WANTS)]
    pub max_missing: Option<u64>,
    /// Fail if one packet of a hundred takes longer
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = WANTS)]
    pub p99: Option<Duration>,
    /// Print what would be done, and do nothing
    #[arg(long, help_heading = TOLD)]
    pub dry_run: bool,
    /// Append the keys to this file, as `adit run --key-log` does
    #[arg(long, value_name = "FILE", help_heading = TOLD)]
    pub key_log: Option<PathBuf>,
    /// Write a page with plots into this directory
    #[arg(long, value_name = "DIR", help_heading = TOLD)]
    pub report: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, help_heading = TOLD)]
    pub json: bool,
}

/// Who dials whom, from where, and with whom they talk.
#[derive(Clone, Debug, Args)]
pub struct Who {
    /// The gateway: its address, or memory:CONFIG for one in this process
    #[arg(long, visible_alias = "server", value_name = "ADDRESS|memory:CONFIG")]
    pub target: Option<Target>,
    /// How many subscribers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub subscribers: usize,
    /// As a LAC: so many tunnels have the sessions of all subscribers [default: one for each]
    #[arg(long, value_name = "N")]
    pub tunnels: Option<NonZeroUsize>,
    /// Subscribers that dial in a second: 500 or 500/s
    #[arg(long, value_name = "N/s", default_value = "50/s", value_parser = per_second)]
    pub rate: f64,
    /// Which clients they are: a built-in profile such as windows-11, or the path of one
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// What is around L2TP: nothing, ESP, or ESP in UDP as behind a NAT
    #[arg(long, value_enum, default_value = "auto")]
    pub encapsulation: Encapsulation,
    /// L2TP without IPsec
    #[arg(long, conflicts_with = "encapsulation")]
    pub plain: bool,
    /// Own addresses: 10.9.1.1 or 10.9.1.1-10.9.1.50, several with commas [default: the host's]
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub local: Vec<Addresses>,
    /// Own ports: the well-known ones, or any that are free
    #[arg(long, value_enum)]
    pub ports: Option<Ports>,
    /// How packets leave and come in; memory: needs neither [default: sockets]
    #[arg(long, value_enum)]
    pub io: Option<Io>,
    /// What the clients know and offer.
    #[command(flatten, next_help_heading = "What they know and offer")]
    pub client: ClientArguments,
    /// Own address behind the gateway, in a network namespace if it is not in this one: packets
    /// then go one way each, numbered. Without it, subscribers send ICMP echo requests
    #[arg(long, value_name = "ADDRESS[@NETNS]", help_heading = TRAFFIC)]
    pub network_port: Option<NetworkPort>,
    /// Who answers the ICMP echo requests [default: the gateway's inner address]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "network_port", help_heading = TRAFFIC)]
    pub ping_target: Option<Ipv4Addr>,
    /// What is left to chance follows from this number [default: any]
    #[arg(long, value_name = "N", help_heading = WHO)]
    pub seed: Option<u64>,
}

/// `500` or `500/s`.
fn per_second(text: &str) -> Result<f64, String> {
    let number = per_second_or_none(text)?;
    match number > 0.0 {
        true => Ok(number),
        false => Err("a rate of nothing never begins".to_owned()),
    }
}

fn per_second_or_none(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse::<f64>();
    number
        .ok()
        .filter(|number| number.is_finite() && *number >= 0.0)
        .ok_or_else(|| format!("\"{text}\" is not a rate such as 500/s"))
}
