//! The command line: what is asked for, checked.

mod blast;
pub mod plan;
mod ramp;
mod replay;

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use crypto::Secret;
use crypto::cipher::Algorithm;
use crypto::dh::Group;
use crypto::esp::Suite;
use crypto::hash::Hash;
use ike::Policy;
use ike::policy::{Natt, Phase1Proposal, Phase2Proposal, Psk};
use l2tp::CallParameters;
use ppp::Method;

use crate::client;

pub use blast::{Blast, Who};
pub use ramp::{Ramp, What};
pub use replay::Replay;

/// Offered when nothing is said: what gateways of today take, the best first.
const PHASE1: &str = "aes256-sha256-modp2048,aes256-sha1-modp2048,aes128-sha1-modp2048,\
                      aes128-sha256-ecp256";
/// Likewise.
const SUITES: &str = "aes128gcm16,aes256gcm16,aes256-sha256,aes128-sha256,aes256-sha1,aes128-sha1";
/// Seconds after which an IKE message is sent again; the last wait ends the exchange.
const LADDER: [u64; 4] = [1, 2, 4, 8];
/// Addresses in a range: more than anybody dials from one machine by accident.
const RANGE_MAX: usize = 1 << 20;

/// Emulated L2TP/IPsec clients and what they measure
#[derive(Debug, Parser)]
#[command(
    name = "adit-lab",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What it can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Dial any L2TP/IPsec gateway as one client or many, and say where it goes wrong
    Dial(Box<Dial>),
    /// Load a gateway with subscribers, set-ups and traffic, and count what comes of it
    Blast(Box<Blast>),
    /// Search for the highest rate of packets, or of set-ups, that a gateway takes
    Ramp(Box<Ramp>),
    /// Do the work of scripts/demo, which sets the stage for it
    Demo(Box<Demo>),
    /// Play one client as the field knows it, and tell what it would make of the gateway
    Replay(Box<Replay>),
    /// Show a capture layer by layer, opened with its keys
    Decode(Decode),
    /// Say how big a gateway has to be, from measured costs and a model of its traffic
    Plan(Box<plan::Plan>),
}

/// `adit-lab dial`.
#[derive(Debug, Args)]
pub struct Dial {
    /// The gateway: its address, or memory:CONFIG for one in this process
    #[arg(long, visible_alias = "server", value_name = "ADDRESS|memory:CONFIG")]
    pub target: Target,
    /// Own addresses: 10.9.1.1 or 10.9.1.1-10.9.1.50, several with commas [default: the host's]
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub local: Vec<Addresses>,
    /// How many clients [default: one for each own address]
    #[arg(long, value_name = "N")]
    pub clients: Option<usize>,
    /// What is around L2TP: nothing, ESP, or ESP in UDP as behind a NAT
    #[arg(long, value_enum, default_value = "auto")]
    pub encapsulation: Encapsulation,
    /// As behind a NAT: ESP in UDP, from ports other than 500 and 4500
    #[arg(long, conflicts_with_all = ["plain", "encapsulation"])]
    pub natt: bool,
    /// L2TP without IPsec
    #[arg(long, conflicts_with = "encapsulation")]
    pub plain: bool,
    /// Own ports: the well-known ones, or any that are free
    #[arg(long, value_enum)]
    pub ports: Option<Ports>,
    /// How packets leave and come in; memory: needs neither
    #[arg(long, value_enum, default_value = "sockets")]
    pub io: Io,
    /// What the clients know and offer.
    #[command(flatten)]
    pub client: ClientArguments,
    /// Clients that begin in a second
    #[arg(long, value_name = "N", default_value_t = 50.0)]
    pub rate: f64,
    /// Ask this host for an echo through every tunnel
    #[arg(long, value_name = "ADDRESS")]
    pub ping: Option<Ipv4Addr>,
    /// Echo requests of each client
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub count: u16,
    /// Between echo requests
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// Stay connected for this long
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub hold: Duration,
    /// Append the keys to this file, as `adit run --key-log` does
    #[arg(long, value_name = "FILE")]
    pub key_log: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What a client is.
#[derive(Clone, Debug, Args)]
pub struct ClientArguments {
    /// Pre-shared key
    #[arg(long, value_name = "SECRET", default_value = "")]
    pub psk: String,
    /// User; {} becomes the number of the client
    #[arg(long, default_value = "")]
    pub user: String,
    /// Password; {} becomes the number of the client
    #[arg(long, default_value = "")]
    pub password: String,
    /// ESP suites to offer
    #[arg(long, value_name = "SUITES", value_delimiter = ',', default_value = SUITES)]
    pub suite: Vec<Suite>,
    /// Phase 1 to offer: cipher-hash-group
    #[arg(long, value_name = "PROPOSALS", value_delimiter = ',', default_value = PHASE1)]
    pub phase1: Vec<Phase1>,
    /// Offer a key exchange in quick mode too
    #[arg(long, value_name = "GROUP")]
    pub pfs: Option<Group>,
    /// How the client lends itself to being authenticated
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "mschapv2,chap,pap"
    )]
    pub auth: Vec<Auth>,
    /// Secret of the tunnel
    #[arg(long, value_name = "SECRET")]
    pub l2tp_secret: Option<String>,
    /// Host Name AVP
    #[arg(long, value_name = "NAME", default_value = "adit-lab")]
    pub host_name: String,
    /// The longest packet that the client wants
    #[arg(long, value_name = "OCTETS", default_value_t = 1400)]
    pub mru: u16,
    /// Lifetime to offer for IPsec SAs; they are renewed before it is over
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    pub lifetime: Duration,
    /// Lifetime to offer for ISAKMP SAs; likewise
    #[arg(long, value_name = "TIME", default_value = "8h", value_parser = humantime::parse_duration)]
    pub phase1_lifetime: Duration,
    /// Give a client up that is not up by then
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// `adit-lab demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// The gateway
    #[arg(long, value_name = "ADDRESS")]
    pub target: Ipv4Addr,
    /// Addresses of clients
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub local: Vec<Addresses>,
    /// Address of the NAT in front of some of them
    #[arg(long, value_name = "ADDRESS")]
    pub nat: Ipv4Addr,
    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 120)]
    pub clients: usize,
    /// Pre-shared key
    #[arg(long, value_name = "SECRET")]
    pub psk: String,
    /// User
    #[arg(long)]
    pub user: String,
    /// Password
    #[arg(long)]
    pub password: String,
    /// Network namespace of the host that the subscribers talk to, as a path
    #[arg(long, value_name = "PATH")]
    pub internet: PathBuf,
    /// Address of that host
    #[arg(long, value_name = "ADDRESS")]
    pub host: Ipv4Addr,
    /// Packets to move each way
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub packets: u64,
    /// Packets a second each way; without it, a rate is searched for at which none is lost
    #[arg(long, value_name = "N")]
    pub rate: Option<u64>,
    /// The gateway's program, to ask what it saw
    #[arg(long, value_name = "FILE")]
    pub adit: Option<PathBuf>,
    /// The gateway's control socket
    #[arg(long, value_name = "FILE")]
    pub control: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `adit-lab decode`.
#[derive(Debug, Args)]
pub struct Decode {
    /// The capture, pcap or pcapng
    pub file: PathBuf,
    /// Keys: of --key-log, of `ip xfrm state`, or a table of Wireshark; may be given several times
    #[arg(long, value_name = "FILE")]
    pub keys: Vec<PathBuf>,
    /// Check HASH_I and HASH_R with this pre-shared key; may be given several times
    #[arg(long, value_name = "SECRET")]
    pub psk: Vec<String>,
    /// Open hidden AVPs with this secret of the tunnels
    #[arg(long, value_name = "SECRET")]
    pub l2tp_secret: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// What is around L2TP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Encapsulation {
    /// ESP; in UDP if a NAT is found
    Auto,
    /// ESP, raw
    Esp,
    /// ESP in UDP, from ports other than the well-known
    Natt,
    /// Nothing
    Plain,
}

/// How packets leave and come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Io {
    /// Raw and UDP sockets
    Sockets,
    /// AF_XDP on the interface that has the own addresses
    Xdp,
}

/// Which ports the clients have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ports {
    /// 500, 4500, 1701
    WellKnown,
    /// Any that are free
    Ephemeral,
}

/// An authentication method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Auth {
    /// RFC 1334
    Pap,
    /// RFC 1994 with MD5
    Chap,
    /// RFC 2759
    Mschapv2,
}

/// A gateway, near or far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Over the network.
    Address(Ipv4Addr),
    /// In this process, with this configuration and no kernel in between.
    Memory(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(file) = text.strip_prefix("memory:") {
            return Ok(Self::Memory(file.into()));
        }
        let address = text.parse().map(Self::Address);
        address.map_err(|_| format!("\"{text}\" is neither an IPv4 address nor memory:CONFIG"))
    }
}

/// One address, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(pub Vec<Ipv4Addr>);

/// A phase 1 proposal as it is written: `aes256-sha1-modp2048`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase1(pub Phase1Proposal);

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is not an address or a range such as 10.9.1.1-10.9.1.50");
        let parse = |text: &str| text.trim().parse::<Ipv4Addr>().map_err(|_| wrong());
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (parse(first)?, parse(last)?),
            None => (parse(text)?, parse(text)?),
        };
        let range = u32::from(first)..=u32::from(last);
        if range.is_empty() || range.clone().count() > RANGE_MAX {
            return Err(wrong());
        }
        Ok(Self(range.map(Ipv4Addr::from).collect()))
    }
}

impl FromStr for Phase1 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a proposal such as aes256-sha1-modp2048");
        let mut parts = text.split('-');
        let (cipher, hash, group) = (parts.next(), parts.next(), parts.next());
        let cipher = match cipher {
            Some("aes128") => Algorithm::Aes128Cbc,
            Some("aes192") => Algorithm::Aes192Cbc,
            Some("aes256") => Algorithm::Aes256Cbc,
            Some("3des") => Algorithm::TripleDesCbc,
            _ => return Err(wrong()),
        };
        let hash = match hash {
            Some("sha1") => Hash::Sha1,
            Some("sha256") => Hash::Sha256,
            Some("sha384") => Hash::Sha384,
            Some("sha512") => Hash::Sha512,
            _ => return Err(wrong()),
        };
        let group = group
            .and_then(|group| group.parse().ok())
            .ok_or_else(wrong)?;
        Ok(Self(Phase1Proposal {
            cipher,
            hash,
            group,
        }))
    }
}

impl ClientArguments {
    /// The settings of client number `number` (from 1).
    #[must_use]
    pub fn settings(&self, number: usize, encapsulation: Encapsulation) -> client::Settings {
        let ipsec = match encapsulation {
            Encapsulation::Plain => None,
            Encapsulation::Esp => Some(self.policy(Natt::Off)),
            // The NAT of the fleet is found by itself; a server that is hard of hearing is told.
            Encapsulation::Auto | Encapsulation::Natt => Some(self.policy(Natt::Detect)),
        };
        client::Settings {
            ipsec: ipsec.map(Arc::new),
            l2tp: Arc::new(self.l2tp()),
            call: call(number as u32),
            ppp: Arc::new(self.ppp(number)),
            setup_limit: self.timeout,
            habits: client::Habits::default(),
        }
    }

    fn policy(&self, natt: Natt) -> Policy {
        let key = Secret::new(self.psk.clone().into_bytes());
        let phase2 = self
            .suite
            .iter()
            .map(|suite| Phase2Proposal { suite: *suite });
        let standard = Policy::modern();
        Policy {
            phase1: self.phase1.iter().map(|proposal| proposal.0).collect(),
            phase2: phase2.collect(),
            pfs: self.pfs,
            psks: vec![Psk {
                peer: None,
                identity: None,
                key,
            }],
            phase1_lifetime: self.phase1_lifetime,
            phase2_lifetime: self.lifetime,
            ladder: LADDER.map(Duration::from_secs).to_vec(),
            // IKE knows what it waits for, and says more than a client that is given up.
            setup_limit: self.timeout,
            natt,
            short_public_values: true,
            ..standard
        }
    }

    fn l2tp(&self) -> l2tp::Settings {
        let secret = self.l2tp_secret.clone();
        l2tp::Settings {
            host_name: self.host_name.clone(),
            vendor_name: String::new(),
            secret: secret.map(|secret| Secret::new(secret.into_bytes())),
            ..l2tp::Settings::default()
        }
    }

    fn ppp(&self, number: usize) -> ppp::Settings {
        let fill_in = |pattern: &str| pattern.replace("{}", &number.to_string());
        let password = Secret::new(fill_in(&self.password).into_bytes());
        ppp::Settings {
            mru: self.mru,
            auth: self.auth.iter().map(|auth| auth.method()).collect(),
            ..ppp::Settings::client(&fill_in(&self.user), password)
        }
    }
}

impl Default for ClientArguments {
    fn default() -> Self {
        let suites = SUITES.split(',').filter_map(|text| text.parse().ok());
        Self {
            psk: String::new(),
            user: String::new(),
            password: String::new(),
            suite: suites.collect(),
            phase1: phase1_default(),
            pfs: None,
            auth: vec![Auth::Mschapv2, Auth::Chap, Auth::Pap],
            l2tp_secret: None,
            host_name: "adit-lab".into(),
            mru: 1400,
            lifetime: Duration::from_secs(3600),
            phase1_lifetime: Duration::from_secs(8 * 3600),
            timeout: Duration::from_secs(30),
        }
    }
}

impl fmt::Display for Phase1 {
    /// As it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.to_string().to_lowercase();
        f.write_str(&shown.replace('/', "-"))
    }
}

impl Auth {
    /// As it is read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pap => "pap",
            Self::Chap => "chap",
            Self::Mschapv2 => "mschapv2",
        }
    }

    fn method(self) -> Method {
        match self {
            Self::Pap => Method::Pap,
            Self::Chap => Method::ChapMd5,
            Self::Mschapv2 => Method::MsChapV2,
        }
    }
}

/// What is offered for phase 1 when nothing is said.
#[must_use]
pub fn phase1_default() -> Vec<Phase1> {
    PHASE1
        .split(',')
        .filter_map(|text| text.parse().ok())
        .collect()
}

/// What a client tells about its call: xl2tpd's figures.
#[must_use]
pub fn call(serial: u32) -> CallParameters {
    CallParameters {
        serial,
        bearer_type: Some(0),
        tx_speed: 100_000_000,
        framing_type: 1,
        ..CallParameters::default()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_range_of_addresses_is_all_of_them() {
        let range: Addresses = "10.9.1.254-10.9.2.1".parse().unwrap();
        assert_eq!(range.0.len(), 4);
        assert_eq!(range.0[3], Ipv4Addr::new(10, 9, 2, 1));
        assert!("10.9.1.2-10.9.1.1".parse::<Addresses>().is_err());
        assert!("0.0.0.0-255.255.255.255".parse::<Addresses>().is_err());
        assert!("10.9.1".parse::<Addresses>().is_err());
    }

    #[test]
    fn proposals_are_read_as_they_are_shown() {
        let proposal: Phase1 = "aes256-sha1-modp2048".parse().unwrap();
        assert_eq!(proposal.0.to_string(), "AES256/SHA1/MODP2048");
        for wrong in [
            "aes256-sha1",
            "des-sha1-modp1024",
            "aes256-md5-modp2048",
            "aes128-sha1-toy",
        ] {
            assert!(wrong.parse::<Phase1>().is_err(), "{wrong}");
        }
    }
}
