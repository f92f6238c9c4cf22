//! Client profiles: what Windows, phones, routers and LACs are known to send, down to the order of
//! vendor IDs, transforms, AVPs and options, and how they behave.
//!
//! A profile is a TOML file; those of `configs/profiles` are built in under the names of their
//! files. A client is then played by the machines that every client is made of, given the
//! profile's habits.
//!
//! ```text
//!   windows-11, PATH ─► load ─► Profile ─► client(credentials, number) ─► client::Settings
//!                        │                                                 ike::Policy + Habits
//!                        ▼                                                 l2tp::Settings + Habits
//!                      Faults: all of them, with file, line and key        ppp::Settings + Habits
//! ```
//!
//! What is not certain is said in `unsure`: `K` is general knowledge that nobody has verified, `?`
//! is not established, as in the notes that the profiles were written from.

mod notation;
mod play;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use document::{Document, Fault};
use ppp::Method;

use crate::cli::ClientArguments;
use crate::client::Stage;
use notation::{Avp, EspOffer, Octets, Phase1Offer, PppOption, Protocol};

macro_rules! built_in {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../../configs/profiles/", $name, ".toml")))),*]
    };
}

const BUILT_IN: [(&str, &str); 11] = built_in! {
    "windows-10" "windows-11" "apple" "android-9" "android-6" "chromeos" "nm-l2tp" "linux-xl2tpd"
    "mikrotik" "cisco-lac" "soho-router"
};

/// The names of the built-in profiles.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// One kind of client.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What it is.
    pub about: String,
    /// Where its facts come from.
    pub sources: Vec<String>,
    /// What is not certain.
    pub unsure: Vec<String>,
    /// What it needs of an Adit gateway.
    pub needs: Needs,
    /// Where it ends, and why.
    pub ends: Option<Ending>,
    /// What it would do with the link: told, not played.
    pub then: Vec<String>,
    ike: Option<Ike>,
    l2tp: Tunnel,
    call: Call,
    ppp: Link,
    /// From the first message to the address.
    patience: Duration,
}

/// The smallest policy of an Adit listener under which a client comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// `modern`, the default.
    Modern,
    /// `compat`: 3DES, or groups 2 and 5.
    Compat,
    /// Plain L2TP.
    Plain,
}

/// A client that does not come up, because it needs what comes with a later version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What it waits for in vain.
    pub stage: Stage,
    /// What would be needed.
    pub because: String,
}

#[derive(Clone, Debug)]
struct Ike {
    vendor_ids: Vec<notation::VendorId>,
    phase1: Vec<Phase1Offer>,
    lifetime: Duration,
    /// Lifetimes always take four octets.
    has_long_lifetimes: bool,
    nonce_octets: usize,
    ladder: Vec<Duration>,
    keepalive: Duration,
    initial_contact: bool,
    quick: Quick,
}

#[derive(Clone, Debug)]
struct Quick {
    esp: Vec<EspOffer>,
    has_proposal_each: bool,
    lifetime: Duration,
    kilobytes: Option<u32>,
    pfs: Option<crypto::dh::Group>,
    counts: bool,
    local_port: Port,
    remote_port: u16,
    cuts_sha256: bool,
}

/// A port of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Fixed(u16),
    /// Another one for each client.
    Ephemeral,
}

#[derive(Clone, Debug)]
struct Tunnel {
    port: Port,
    /// A run of `#` becomes the client's number.
    host_name: String,
    vendor_name: String,
    framing: u32,
    window: u16,
    counts_ids: bool,
    hello: Option<Duration>,
    ladder: Vec<Duration>,
    tries: u32,
    opening_ladder: Vec<Duration>,
    opening_tries: u32,
    sends_one_at_a_time: bool,
    hears_one_at_a_time: bool,
    wants_exact_header: bool,
    waits_for_acknowledgement: bool,
    challenges: bool,
    hides: bool,
    results: l2tp::Results,
    messages: Vec<(u16, Vec<Avp>)>,
}

#[derive(Clone, Debug)]
struct Call {
    tx_speed: u32,
    rx_speed: Option<u32>,
    framing: u32,
    bearer: Option<u32>,
    calling_number: Option<String>,
    called_number: Option<String>,
}

#[derive(Clone, Debug)]
struct Link {
    mru: u16,
    auth: Vec<Method>,
    lcp: Vec<PppOption>,
    ipcp: Vec<PppOption>,
    networks: Vec<Network>,
    identifications: Vec<Octets>,
    restart: Duration,
    tries: u32,
    echo_interval: Duration,
    echo_failures: u32,
}

#[derive(Clone, Debug)]
struct Network {
    protocol: Protocol,
    options: Vec<PppOption>,
    is_first: bool,
}

/// What a client knows. In each, `{}` becomes the number of the client.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Pre-shared key.
    pub psk: String,
    /// User.
    pub user: String,
    /// Password.
    pub password: String,
    /// Secret of the tunnel.
    pub l2tp_secret: Option<String>,
}

impl From<&ClientArguments> for Credentials {
    fn from(arguments: &ClientArguments) -> Self {
        Self {
            psk: arguments.psk.clone(),
            user: arguments.user.clone(),
            password: arguments.password.clone(),
            l2tp_secret: arguments.l2tp_secret.clone(),
        }
    }
}

/// Why there is no profile.
#[derive(Debug)]
pub enum LoadError {
    /// No built-in has the name, and there is no such file.
    Unknown(String, std::io::Error),
    /// Everything that is wrong in the file.
    Faults(Vec<Fault>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name, error) => {
                let known: Vec<&str> = names().collect();
                write!(
                    f,
                    "there is no profile \"{name}\" (file: {error}); built in are {}",
                    known.join(", ")
                )
            }
            Self::Faults(faults) => {
                let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for LoadError {}

impl Profile {
    /// A built-in profile by its name, or any other by the path of its file.
    pub fn load(name_or_path: &str) -> Result<Self, LoadError> {
        let built_in = BUILT_IN.iter().find(|(name, _)| *name == name_or_path);
        if let Some((name, text)) = built_in {
            return Self::parse(&format!("configs/profiles/{name}.toml"), text);
        }
        let text = fs::read_to_string(name_or_path)
            .map_err(|error| LoadError::Unknown(name_or_path.to_owned(), error))?;
        Self::parse(name_or_path, &text)
    }

    /// A profile from the text of a file.
    pub fn parse(file: &str, text: &str) -> Result<Self, LoadError> {
        let document = Document::new(Path::new(file), text.to_owned());
        let profile = document.read(read::profile);
        let faults = document.into_faults();
        match faults.is_empty() {
            true => Ok(profile),
            false => Err(LoadError::Faults(faults)),
        }
    }

    /// L2TP without IPsec.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.ike.is_none()
    }

    /// The network control protocols that it asks for beside IPCP.
    pub fn networks(&self) -> impl Iterator<Item = u16> + '_ {
        self.ppp.networks.iter().map(|network| network.protocol.0)
    }

    /// The port from which client `number` sends plain L2TP.
    #[must_use]
    pub fn l2tp_port(&self, number: u32) -> u16 {
        self.l2tp.port.of(number)
    }
}
