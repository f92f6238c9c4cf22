//! What a load is made of: groups of subscribers, when they dial and leave, what they send.
//!
//! The same words everywhere: a flag of `adit-lab blast`, a key of a scenario file, and the plan
//! that `--dry-run` prints. A [`Scenario`] is checked; whoever has one can run it.

mod file;
mod flags;
mod offered;
mod written;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::{ClientArguments, Encapsulation, Io, Ports, Target};
use crate::impair::Impairment;
use crate::profile::{LoadError, Profile};

pub use offered::{Direction, OfferedLoad, Rate, Rhythm, Sizes};

/// Subscribers of all groups: more than one process can address.
pub const SUBSCRIBERS_MAX: usize = 1 << 20;

/// Sessions in one tunnel: RFC 2661 §3.1 has 16 bits for their ids, and none is 0.
pub const SESSIONS_MAX: usize = u16::MAX as usize;

/// One run of `adit-lab blast`.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// For the report.
    pub name: String,
    /// Everything that is left to chance follows from it.
    pub seed: u64,
    /// The gateway.
    pub target: Target,
    /// How packets leave and come in, where the gateway is not in this process.
    pub io: Io,
    /// How long traffic flows, and sessions are held, once everybody has dialled.
    pub duration: Duration,
    /// The far end of the traffic; without it, subscribers send ICMP echo requests.
    pub network: Option<NetworkPort>,
    /// Who answers the echo requests; without it, the gateway's inner address.
    pub ping_target: Option<Ipv4Addr>,
    /// What the path does to packets.
    pub path: ImpairedPath,
    /// Who dials.
    pub groups: Vec<Group>,
    /// What has to hold.
    pub wants: Wants,
}

/// Where packets of subscribers come out: an address of ours behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPort {
    /// The address.
    pub address: Ipv4Addr,
    /// The network namespace it is in, as a path; `None` is our own.
    pub namespace: Option<PathBuf>,
}

impl std::str::FromStr for NetworkPort {
    type Err = String;

    /// `198.51.100.1`, or with a namespace `198.51.100.1@internet`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, namespace) = match text.split_once('@') {
            Some((address, namespace)) => (address, Some(namespace)),
            None => (text, None),
        };
        let address = address.parse().map_err(|_| {
            format!("\"{text}\" is not an address such as 198.51.100.1 or 198.51.100.1@NAMESPACE")
        })?;
        // A bare name is one of `ip netns`.
        let namespace = namespace.map(|name| match name.contains('/') {
            true => PathBuf::from(name),
            false => PathBuf::from("/run/netns").join(name),
        });
        Ok(Self { address, namespace })
    }
}

/// What happens between the clients and the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ImpairedPath {
    /// On the way to the gateway.
    pub up: Impairment,
    /// On the way from it.
    pub down: Impairment,
    /// How often the NAT in front of the clients forgets them.
    pub rebind: Option<Duration>,
}

impl ImpairedPath {
    /// Nothing happens.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn plan(&self) -> Option<String> {
        let ways = [("up", self.up), ("down", self.down)];
        let ways = ways.iter().filter(|(_, way)| !way.is_none());
        let parts: Vec<String> = ways
            .map(|(name, way)| format!("{name} {way}"))
            .chain(
                self.rebind
                    .map(|every| format!("NAT rebinds every {} s", every.as_secs_f64())),
            )
            .collect();
        (!parts.is_empty()).then(|| format!("path          {}", parts.join("; ")))
    }
}

/// Subscribers who are alike.
#[derive(Clone, Debug)]
pub struct Group {
    /// For the report.
    pub name: String,
    /// How many.
    pub subscribers: usize,
    /// The tunnels in which they have their sessions, in turn; `None` is one for each.
    pub tunnels: Option<usize>,
    /// The addresses they dial from, in turn.
    pub local: Vec<Ipv4Addr>,
    /// Whose habits they have; `None` is those of this program.
    pub profile: Option<Played>,
    /// What is around L2TP.
    pub encapsulation: Encapsulation,
    /// Own ports; `None` is the well-known ones if they suffice.
    pub ports: Option<Ports>,
    /// What they know and offer.
    pub client: ClientArguments,
    /// That dial in a second.
    pub rate: f64,
    /// When the first of them dials.
    pub after: Duration,
    /// Who leaves and comes again.
    pub churn: Churn,
    /// What each of them sends and gets.
    pub traffic: Option<OfferedLoad>,
}

/// A profile and the name by which it was asked for.
#[derive(Clone, Debug)]
pub struct Played {
    /// Of a built-in profile, or a path.
    pub name: String,
    /// The profile.
    pub profile: Arc<Profile>,
}

impl std::str::FromStr for Played {
    type Err = LoadError;

    fn from_str(name: &str) -> Result<Self, LoadError> {
        Ok(Self {
            name: name.to_owned(),
            profile: Arc::new(Profile::load(name)?),
        })
    }
}

/// How sessions end before the run does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Churn {
    /// A session is given up after this long.
    pub hold: Option<Duration>,
    /// Sessions of the group that are ended in a second, drawn by chance.
    pub kill: f64,
    /// Whether the tunnel of such a session ends with it, and all others in it.
    pub kills_tunnels: bool,
    /// Whether those say nothing when they go, as when power fails.
    pub is_silent: bool,
    /// Who is down dials again after this long.
    pub redial_after: Option<Duration>,
}

/// What a run has to come to, for an exit status of 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wants {
    /// Of a hundred packets, so many may be lost.
    pub max_loss: Option<f64>,
    /// Set-ups that have to succeed.
    pub min_setups: Option<u64>,
    /// Subscribers that may be down in the end though nothing in the scenario took them down: they
    /// never came up, or were lost, and did not come again.
    pub max_missing: Option<u64>,
    /// The longest that 99 of a hundred packets may take.
    pub p99: Option<Duration>,
}

impl Scenario {
    /// Subscribers of all groups.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.groups.iter().map(|group| group.subscribers).sum()
    }

    /// What a run would do, for people.
    #[must_use]
    pub fn plan(&self) -> String {
        let mut lines = vec![
            format!("scenario      {} (seed {})", self.name, self.seed),
            match &self.target {
                Target::Address(address) => {
                    format!("target        {address}, over {}", written::io(self.io))
                }
                Target::Memory(_) => {
                    format!("target        {}", written::target(&self.target))
                }
            },
        ];
        lines.extend(self.path.plan());
        lines.extend(self.groups.iter().flat_map(|group| group.plan(self)));
        lines.push(format!(
            "then          {} s of {}, and goodbye",
            self.duration.as_secs_f64(),
            match (
                &self.network,
                self.groups.iter().any(|g| g.traffic.is_some())
            ) {
                (_, false) => "holding the sessions".to_owned(),
                (Some(port), _) => format!("numbered packets to and from {}", port.address),
                (None, _) => match self.ping_target {
                    Some(target) => format!("ICMP echo to {target}"),
                    None => "ICMP echo to the gateway's inner address".to_owned(),
                },
            }
        ));
        lines.extend(self.wants.plan());
        lines.join("\n") + "\n"
    }
}

impl Group {
    /// Addresses and ports that it needs: each subscriber's, or each tunnel's.
    #[must_use]
    pub fn places(&self) -> usize {
        self.tunnels.unwrap_or(self.subscribers)
    }

    /// The most sessions that one of its tunnels has.
    #[must_use]
    pub fn sessions_per_tunnel(&self) -> usize {
        self.subscribers.div_ceil(self.places().max(1))
    }

    /// Keys that do not go together, and why.
    fn contradictions(&self) -> Vec<(&'static str, String)> {
        let is_plain = self.encapsulation == Encapsulation::Plain;
        let (tunnels, churn) = (self.tunnels, &self.churn);
        let found = [
            (tunnels.is_some() && !is_plain).then_some((
                "tunnels",
                "sessions share a tunnel in plain L2TP only".to_owned(),
            )),
            tunnels
                .filter(|tunnels| *tunnels > self.subscribers)
                .map(|tunnels| {
                    let what = format!(
                        "{} subscribers do not need {tunnels} tunnels",
                        self.subscribers
                    );
                    ("tunnels", what)
                }),
            (self.sessions_per_tunnel() > SESSIONS_MAX).then(|| {
                let what = format!("one tunnel has at most {SESSIONS_MAX} sessions");
                ("tunnels", what)
            }),
            (churn.is_silent && churn.kill <= 0.0).then_some((
                "silent",
                "nobody is killed; kill says how many are".to_owned(),
            )),
            (churn.kills_tunnels && (churn.kill <= 0.0 || tunnels.is_none())).then_some((
                "kill_tunnels",
                "no tunnel is killed: that takes kill, and tunnels".to_owned(),
            )),
        ];
        found.into_iter().flatten().collect()
    }

    fn plan(&self, scenario: &Scenario) -> Vec<String> {
        let around = match self.encapsulation {
            Encapsulation::Plain => "plain L2TP",
            Encapsulation::Auto => "L2TP/IPsec",
            Encapsulation::Esp => "L2TP/IPsec, raw ESP",
            Encapsulation::Natt => "L2TP/IPsec, ESP in UDP",
        };
        let (first, last) = (self.local.first(), self.local.last());
        let from = match (first, last) {
            (Some(first), Some(last)) if first != last => format!("{first}-{last}"),
            (Some(first), _) => first.to_string(),
            (None, _) => "the host's own address".to_owned(),
        };
        let who = self.profile.as_ref();
        let who = who.map_or_else(String::new, |played| format!("{} ", played.name));
        let ramp = Duration::from_secs_f64(self.subscribers as f64 / self.rate);
        let mut lines = vec![
            format!(
                "group         {}: {} × {who}{around} from {from}",
                self.name, self.subscribers
            ),
            format!(
                "  dial        {}/s after {:.1} s, {:.1} s long, as {}",
                self.rate,
                self.after.as_secs_f64(),
                ramp.as_secs_f64(),
                match self.client.user.as_str() {
                    "" => "nobody",
                    user => user,
                }
            ),
        ];
        lines.extend(self.tunnels.map(|tunnels| {
            format!(
                "  tunnels     {tunnels}, up to {} sessions in each",
                self.sessions_per_tunnel()
            )
        }));
        lines.extend(
            self.churn
                .plan()
                .map(|churn| format!("  churn       {churn}")),
        );
        lines.extend(self.traffic.as_ref().map(|load| {
            let all = load.packets_per_second() * self.subscribers as f64;
            let ways = match scenario.network {
                Some(_) => load.direction.name(),
                None => "as echo",
            };
            format!("  traffic     {load} each, {ways}: {all:.0} packets/s in all")
        }));
        lines
    }
}

impl Churn {
    /// Whether anybody ever leaves or comes again.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn plan(&self) -> Option<String> {
        let parts = [
            self.hold
                .map(|hold| format!("sessions of {} s", hold.as_secs_f64())),
            (self.kill > 0.0).then(|| {
                let how = if self.is_silent { "without" } else { "with" };
                let what = if self.kills_tunnels {
                    "tunnels"
                } else {
                    "sessions"
                };
                format!("{} {what} killed in a second, {how} goodbye", self.kill)
            }),
            self.redial_after
                .map(|after| format!("redial after {} s", after.as_secs_f64())),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

impl Wants {
    /// Who says nothing about set-ups wants everybody.
    fn settled(self) -> Self {
        let everybody = self.min_setups.is_none().then_some(0);
        Self {
            max_missing: self.max_missing.or(everybody),
            ..self
        }
    }

    fn plan(&self) -> Option<String> {
        let parts = [
            self.max_loss.map(|loss| format!("loss ≤ {loss} %")),
            self.min_setups.map(|count| format!("set-ups ≥ {count}")),
            self.max_missing.map(|count| match count {
                0 => "nobody missing".to_owned(),
                count => format!("missing ≤ {count}"),
            }),
            self.p99
                .map(|p99| format!("p99 ≤ {} ms", p99.as_secs_f64() * 1e3)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("asserted      {}", parts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_port_is_an_address_and_a_namespace() {
        let port: NetworkPort = "198.51.100.1@internet".parse().unwrap();
        assert_eq!(port.address, Ipv4Addr::new(198, 51, 100, 1));
        assert_eq!(port.namespace, Some("/run/netns/internet".into()));
        let port: NetworkPort = "198.51.100.1@/proc/7/ns/net".parse().unwrap();
        assert_eq!(port.namespace, Some("/proc/7/ns/net".into()));
        let port: NetworkPort = "198.51.100.1".parse().unwrap();
        assert_eq!(port.namespace, None);
        assert!("internet".parse::<NetworkPort>().is_err());
    }
}
