//! `adit-lab replay`: its flags.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Target;
use crate::profile::Credentials;

/// `adit-lab replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The client: windows-10, windows-11, apple, android-9, android-6, chromeos, nm-l2tp,
    /// linux-xl2tpd, mikrotik, cisco-lac, soho-router, or a file
    #[arg(long, value_name = "NAME|FILE")]
    pub profile: String,
    /// The gateway: its address, or memory:CONFIG for one in this process
    #[arg(long, visible_alias = "server", value_name = "ADDRESS|memory:CONFIG")]
    pub target: Target,
    /// Own address [default: the host's]
    #[arg(long, value_name = "ADDRESS")]
    pub local: Option<Ipv4Addr>,
    /// As behind a NAT: from ports other than 500 and 4500
    #[arg(long)]
    pub natt: bool,
    /// Which client of its kind, for names and ports that count
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub number: u32,
    /// Pre-shared key
    #[arg(long, value_name = "SECRET", default_value = "")]
    pub psk: String,
    /// User
    #[arg(long, default_value = "")]
    pub user: String,
    /// Password
    #[arg(long, default_value = "")]
    pub password: String,
    /// Secret of the tunnel
    #[arg(long, value_name = "SECRET")]
    pub l2tp_secret: Option<String>,
    /// Stay connected for this long
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub hold: Duration,
    /// Append the keys to this file, as `adit run --key-log` does
    #[arg(long, value_name = "FILE")]
    pub key_log: Option<PathBuf>,
    /// Tell all that is in the messages
    #[arg(long, short)]
    pub verbose: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl From<&Replay> for Credentials {
    fn from(arguments: &Replay) -> Self {
        Self {
            psk: arguments.psk.clone(),
            user: arguments.user.clone(),
            password: arguments.password.clone(),
            l2tp_secret: arguments.l2tp_secret.clone(),
        }
    }
}
