//! A scenario as it is written in a file, for the report: whoever has that can run it again.
//! Secrets are left out.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Group, Scenario};
use crate::cli::{Encapsulation, Io, Ports, Target};

/// Stands for a secret.
const SECRET: &str = "…";

impl Scenario {
    /// The keys and values of its file.
    #[must_use]
    pub fn written(&self) -> Value {
        let mut file = Map::new();
        let mut put = |key: &str, value: Value| {
            if !value.is_null() {
                file.insert(key.to_owned(), value);
            }
        };
        put("name", json!(self.name));
        put("seed", json!(self.seed));
        put("target", json!(target(&self.target)));
        let is_far = matches!(self.target, Target::Address(_));
        put("io", json!(is_far.then(|| io(self.io))));
        put("duration", time(self.duration));
        let network = self.network.as_ref().map(|port| match &port.namespace {
            Some(namespace) => format!("{}@{}", port.address, namespace.display()),
            None => port.address.to_string(),
        });
        put("network_port", json!(network));
        put("ping_target", json!(self.ping_target));
        for (key, way) in [("impair_up", self.path.up), ("impair_down", self.path.down)] {
            put(key, json!((!way.is_none()).then(|| way.to_string())));
        }
        put("rebind", self.path.rebind.map_or(Value::Null, time));
        put("assert", self.asserted());
        let groups: Vec<Value> = self.groups.iter().map(Group::written).collect();
        put("group", json!(groups));
        Value::Object(file)
    }

    fn asserted(&self) -> Value {
        let mut wants = Map::new();
        if let Some(loss) = self.wants.max_loss {
            wants.insert("max_loss".into(), json!(loss));
        }
        if let Some(count) = self.wants.min_setups {
            wants.insert("min_setups".into(), json!(count));
        }
        if let Some(count) = self.wants.max_missing {
            wants.insert("max_missing".into(), json!(count));
        }
        if let Some(p99) = self.wants.p99 {
            wants.insert("p99".into(), time(p99));
        }
        match wants.is_empty() {
            true => Value::Null,
            false => Value::Object(wants),
        }
    }
}

impl Group {
    fn written(&self) -> Value {
        let mut keys = Map::new();
        let mut put = |key: &str, value: Value| {
            if !value.is_null() && value != json!("") {
                keys.insert(key.to_owned(), value);
            }
        };
        put("name", json!(self.name));
        put("subscribers", json!(self.subscribers));
        put("tunnels", json!(self.tunnels));
        put(
            "profile",
            json!(self.profile.as_ref().map(|played| &played.name)),
        );
        put("local", json!(ranges(&self.local)));
        put("encapsulation", json!(encapsulation(self.encapsulation)));
        let ports = self.ports.map(|ports| match ports {
            Ports::WellKnown => "well-known",
            Ports::Ephemeral => "ephemeral",
        });
        put("ports", json!(ports));
        put("rate", json!(format!("{}/s", self.rate)));
        put("after", time(self.after));
        let client = &self.client;
        put("user", json!(client.user));
        let has = |secret: &str| (!secret.is_empty()).then_some(SECRET);
        put("psk", json!(has(&client.psk)));
        put("password", json!(has(&client.password)));
        put(
            "l2tp_secret",
            json!(client.l2tp_secret.as_deref().and_then(has)),
        );
        // A profile says the rest itself.
        if self.profile.is_none() {
            put("host_name", json!(client.host_name));
            put("auth", texts(client.auth.iter().map(|auth| auth.name())));
        }
        if self.profile.is_none() && self.encapsulation != Encapsulation::Plain {
            put("phase1", texts(&client.phase1));
            put("suite", texts(&client.suite));
            put("pfs", json!(client.pfs.map(|group| group.to_string())));
        }
        put("lifetime", time(client.lifetime));
        put("phase1_lifetime", time(client.phase1_lifetime));
        put("mru", json!(client.mru));
        put("timeout", time(client.timeout));
        put(
            "traffic",
            json!(self.traffic.as_ref().map(ToString::to_string)),
        );
        put("hold", self.churn.hold.map_or(Value::Null, time));
        if self.churn.kill > 0.0 {
            put("kill", json!(format!("{}/s", self.churn.kill)));
            put("silent", json!(self.churn.is_silent));
            put("kill_tunnels", json!(self.churn.kills_tunnels));
        }
        put(
            "redial_after",
            self.churn.redial_after.map_or(Value::Null, time),
        );
        Value::Object(keys)
    }
}

/// As it is written.
pub(super) fn target(target: &Target) -> String {
    match target {
        Target::Address(address) => address.to_string(),
        Target::Memory(file) => format!("memory:{}", file.display()),
    }
}

/// As it is written.
pub(super) fn io(io: Io) -> &'static str {
    match io {
        Io::Sockets => "sockets",
        Io::Xdp => "xdp",
    }
}

/// As it is written.
pub(super) fn encapsulation(encapsulation: Encapsulation) -> &'static str {
    match encapsulation {
        Encapsulation::Auto => "auto",
        Encapsulation::Esp => "esp",
        Encapsulation::Natt => "natt",
        Encapsulation::Plain => "plain",
    }
}

fn texts<T: ToString>(list: impl IntoIterator<Item = T>) -> Value {
    let texts = list.into_iter().map(|item| item.to_string());
    json!(texts.collect::<Vec<String>>())
}

fn time(time: Duration) -> Value {
    json!(humantime::format_duration(time).to_string())
}

/// Addresses that follow each other as a range.
fn ranges(addresses: &[std::net::Ipv4Addr]) -> Vec<String> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for address in addresses.iter().map(|address| u32::from(*address)) {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(address) => *last = address,
            _ => ranges.push((address, address)),
        }
    }
    let texts = ranges.into_iter().map(|(first, last)| {
        let [first, last] = [first, last].map(std::net::Ipv4Addr::from);
        match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        }
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::cli::{Arguments, Command};
    use crate::scenario::file;

    #[test]
    fn what_is_written_reads_as_the_same_scenario() {
        for line in [
            "--target memory:x.toml --plain --subscribers 9 --tunnels 3 --rate 7.5/s --user u{} \
             --kill 2/s --kill-tunnels --silent --redial-after 2s --hold 30s --mru 1300 \
             --traffic 64,570:10/s:up:poisson --network-port 198.51.100.1@net --host-name h \
             --impair-up loss=1,delay=5ms --impair-down jitter=1ms --rebind 30s --auth chap,pap",
            "--target 127.0.0.1 --io xdp --local 10.9.1.1-10.9.1.4 --subscribers 4 --psk k \
             --suite aes256-sha1,3des-sha1 --phase1 3des-sha1-modp1024,aes256-sha256-ecp384 \
             --pfs modp2048 --lifetime 10m --phase1-lifetime 1h --timeout 5s --encapsulation natt --ports ephemeral \
             --max-loss 0.5 --min-setups 3 --max-missing 1 --p99 50ms --ping-target 192.0.2.7",
        ] {
            let line = format!("adit-lab blast --seed 5 --duration 7s {line}");
            let parsed = Arguments::try_parse_from(line.split_whitespace()).unwrap();
            let Command::Blast(flags) = parsed.command else {
                panic!("another command");
            };
            let scenario = Scenario::new(&flags).unwrap();
            let first = scenario.written();
            let text = toml::to_string(&first).unwrap();
            let read = file::read(Path::new("flags.toml"), text.clone());
            let read = read.map_err(|faults| format!("{faults:?}")).unwrap();
            let again = Scenario {
                seed: read.seed.unwrap(),
                target: read.target.unwrap(),
                ..read.scenario
            };
            assert_eq!(again.written(), first, "{text}");
        }
    }
}
