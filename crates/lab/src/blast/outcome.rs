//! What a blast came to: one object for machines, aligned lines for people.

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;

use super::generator::{Generator, Side};
use super::meter::Sample;
use super::setups::{FailureCount, SetUpFigures};
use crate::flow::{Account, Arrived};
use crate::impair::Tally;
use crate::scenario::Wants;
use crate::summary::Latency;
use crate::terminal::stage_lines;

/// Flows that are told one by one.
pub const FLOWS_MAX: usize = 100;
/// What Ethernet adds to an IP packet on the wire: preamble, header, FCS, gap.
pub const ETHERNET: u64 = 38;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Everything that was asked for held.
    pub ok: bool,
    /// Of this program.
    pub version: &'static str,
    /// What was done, with the keys of a scenario file.
    pub scenario: Value,
    /// Whether it was ended before its time.
    pub interrupted: bool,
    /// From the first turn to the last.
    pub seconds: f64,
    /// All set-ups.
    pub setup: SetUp,
    /// Each group.
    pub groups: Vec<GroupOutcome>,
    /// All traffic, way by way.
    pub traffic: Vec<WayFigures>,
    /// What went over the wire while traffic flowed.
    pub wire: Wire,
    /// Flow by flow, the first hundred.
    pub flows: Vec<FlowFigures>,
    /// What was asserted.
    pub assertions: Vec<Assertion>,
    /// What the path that was asked for did to packets: they count as lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Tally>,
    /// What we ourselves could not do.
    pub generator: Generator,
    /// Who was the limit.
    pub busy_side: Side,
    /// Where everything stood, second by second.
    pub timeline: Vec<Sample>,
    /// What the clients did not take.
    pub discards: Vec<(String, u64)>,
    /// What the gateway did not take, if it is in this process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateway_discards: Vec<(&'static str, u64)>,
    /// All latencies, way by way.
    #[serde(skip)]
    pub latencies: Vec<(String, Histogram<u64>)>,
    /// What else went wrong.
    pub problems: Vec<String>,
}

/// All set-ups.
#[derive(Debug, Serialize)]
pub struct SetUp {
    /// Subscribers.
    pub subscribers: usize,
    /// Sessions that were up when the goodbyes began.
    pub up: usize,
    /// Subscribers that were down by then though nothing in the scenario had taken them down.
    pub missing: usize,
    /// Figures of all groups together.
    #[serde(flatten)]
    pub figures: SetUpFigures,
    /// Set-ups a second, from the first message to the last that came up.
    pub per_second: f64,
    /// The most in one second.
    pub best_second: f64,
    /// What went wrong.
    pub failures: Vec<FailureCount>,
}

/// One group.
#[derive(Debug, Serialize)]
pub struct GroupOutcome {
    /// Its name.
    pub name: String,
    /// How many.
    pub subscribers: usize,
    /// Its set-ups.
    pub setup: SetUpFigures,
    /// Its traffic.
    pub traffic: Vec<WayFigures>,
}

/// Traffic one way, or there and back.
#[derive(Clone, Debug, Serialize)]
pub struct WayFigures {
    /// `up`, `down`, or `echo`.
    pub way: &'static str,
    /// Packets sent.
    pub sent: u64,
    /// Packets received and checked, each once.
    pub received: u64,
    /// Sent and not received.
    pub lost: u64,
    /// Of a hundred.
    pub loss_percent: f64,
    /// Flows that miss packets.
    pub flows_short: usize,
    /// Packets received again.
    pub duplicated: u64,
    /// Packets received after a later one of their flow.
    pub reordered: u64,
    /// Packets received by somebody they were not for, or much too late.
    pub astray: u64,
    /// Packets sent a second.
    pub offered_packets_per_second: f64,
    /// Packets received a second.
    pub packets_per_second: f64,
    /// Goodput: bits of IP packets received a second, without anything around them.
    pub inner_bits_per_second: f64,
    /// From one end to the other; there and back for `echo`.
    pub latency_us: Latency,
}

/// What went over the wire of the subscribers while traffic flowed, of whatever kind.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Wire {
    /// How long.
    pub seconds: f64,
    /// Packets to the gateway.
    pub up_packets: u64,
    /// Bits to the gateway a second: outer IP packets and what Ethernet adds.
    pub up_bits_per_second: f64,
    /// Packets from the gateway.
    pub down_packets: u64,
    /// Bits from the gateway a second.
    pub down_bits_per_second: f64,
}

/// One flow one way.
#[derive(Debug, Serialize)]
pub struct FlowFigures {
    /// Its group.
    pub group: String,
    /// The subscriber, from 1.
    pub subscriber: usize,
    /// `up`, `down`, or `echo`.
    pub way: &'static str,
    /// Packets sent.
    pub sent: u64,
    /// Packets received, each once.
    pub received: u64,
    /// Sent and not received.
    pub lost: u64,
    /// Packets received again.
    pub duplicated: u32,
    /// Packets received after a later one.
    pub reordered: u32,
    /// The longest latency.
    pub worst_us: f64,
    /// Its latencies.
    pub latency_us: Option<Latency>,
}

/// Something that had to hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assertion {
    /// The key of the scenario.
    pub key: &'static str,
    /// What was wanted.
    pub wanted: f64,
    /// What was found.
    pub found: f64,
    /// Whether it held.
    pub held: bool,
}

impl WayFigures {
    /// What `account` has of what was sent of each flow.
    #[must_use]
    pub fn new(way: &'static str, sent: &[u64], account: &Account, seconds: f64) -> Self {
        let (flows_short, lost) = account.missing(sent);
        let (all, received) = (sent.iter().sum::<u64>(), account.received());
        let seconds = seconds.max(f64::EPSILON);
        Self {
            way,
            sent: all,
            received,
            lost,
            loss_percent: percent(lost, all),
            flows_short,
            duplicated: account.duplicated,
            reordered: account.reordered,
            astray: account.astray + account.stale,
            offered_packets_per_second: all as f64 / seconds,
            packets_per_second: received as f64 / seconds,
            inner_bits_per_second: account.octets as f64 * 8.0 / seconds,
            latency_us: Latency::of(account.latency()),
        }
    }

    /// Several groups together; `latency` holds all their packets.
    #[must_use]
    pub fn sum(ways: &[Self], latency: Latency) -> Option<Self> {
        let mut all = ways.first()?.clone();
        all.latency_us = latency;
        for way in &ways[1..] {
            all.sent += way.sent;
            all.received += way.received;
            all.lost += way.lost;
            all.flows_short += way.flows_short;
            all.duplicated += way.duplicated;
            all.reordered += way.reordered;
            all.astray += way.astray;
            all.offered_packets_per_second += way.offered_packets_per_second;
            all.packets_per_second += way.packets_per_second;
            all.inner_bits_per_second += way.inner_bits_per_second;
        }
        all.loss_percent = percent(all.lost, all.sent);
        Some(all)
    }
}

/// Counts without a fraction, shares with four digits of it.
pub(super) fn rounded(found: f64) -> String {
    match found.fract() == 0.0 {
        true => found.to_string(),
        false => format!("{found:.4}"),
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 * 100.0 / whole as f64,
    }
}

impl FlowFigures {
    /// One flow of a group.
    #[must_use]
    pub fn new(
        group: &str,
        subscriber: usize,
        way: &'static str,
        sent: u64,
        arrived: &Arrived<'_>,
    ) -> Self {
        Self {
            group: group.to_owned(),
            subscriber,
            way,
            sent,
            received: arrived.received,
            lost: sent.saturating_sub(arrived.received),
            duplicated: arrived.duplicated,
            reordered: arrived.reordered,
            worst_us: arrived.worst_ns as f64 / 1000.0,
            latency_us: arrived.latency.map(Latency::of),
        }
    }
}

/// Whether what was wanted is what was found. Where nothing was sent, no loss and no latency were
/// found either, and that is no success.
#[must_use]
pub fn judge(wants: &Wants, setups: u64, missing: usize, traffic: &[WayFigures]) -> Vec<Assertion> {
    let is_moved = traffic.iter().all(|way| way.received > 0) && !traffic.is_empty();
    let worst = |of: fn(&WayFigures) -> f64| traffic.iter().map(of).fold(0.0, f64::max);
    let at_most = |key, wanted, found: f64| Assertion {
        key,
        wanted,
        found,
        held: is_moved && found <= wanted,
    };
    let loss = wants.max_loss.map(|wanted| {
        let found = worst(|way| way.loss_percent);
        at_most("max_loss", wanted, found)
    });
    let setups = wants.min_setups.map(|wanted| Assertion {
        key: "min_setups",
        wanted: wanted as f64,
        found: setups as f64,
        held: setups >= wanted,
    });
    let missing = wants.max_missing.map(|wanted| Assertion {
        key: "max_missing",
        wanted: wanted as f64,
        found: missing as f64,
        held: missing as u64 <= wanted,
    });
    let p99 = wants.p99.map(|wanted| {
        let found = worst(|way| way.latency_us.p99) / 1000.0;
        at_most("p99", wanted.as_secs_f64() * 1000.0, found)
    });
    let all = [loss, setups, missing, p99];
    all.into_iter().flatten().collect()
}

impl Outcome {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        if self.interrupted {
            let told = format!("interrupted       after {:.1} s", self.seconds);
            lines.push(told);
        }
        lines.extend(self.setup_lines());
        lines.extend(self.failure_lines());
        lines.extend(self.traffic_lines());
        lines.extend(self.path.iter().map(|path| {
            format!(
                "impaired          {} lost on the way up, {} on the way down; {} rebindings forgot {}",
                path.up.lost, path.down.lost, path.rebindings, path.forgotten
            )
        }));
        lines.extend(self.generator.lines());
        lines.push(format!("busy side         {}", self.busy_side.text()));
        lines.extend(self.assertions.iter().map(|assertion| {
            let Assertion {
                key,
                wanted,
                found,
                held,
            } = assertion;
            let word = if *held { "held" } else { "FAILED" };
            format!(
                "asserted          {key} {wanted}: found {}, {word}",
                rounded(*found)
            )
        }));
        let discards = self.discards.iter();
        lines.extend(discards.map(|(why, count)| format!("discarded         {count} {why}")));
        let discards = self.gateway_discards.iter();
        lines.extend(discards.map(|(why, count)| format!("gateway discarded {count} {why}")));
        let problems = self.problems.iter();
        lines.extend(problems.map(|problem| format!("PROBLEM           {problem}")));
        lines.join("\n") + "\n"
    }

    fn setup_lines(&self) -> Vec<String> {
        let SetUp {
            subscribers,
            up,
            figures,
            per_second,
            best_second,
            ..
        } = &self.setup;
        let mut lines = vec![
            format!("sessions          {up} of {subscribers} up"),
            format!(
                "set-ups           {} succeeded, {} failed; {per_second:.1} in a second, {best_second:.0} in the best",
                figures.succeeded, figures.failed
            ),
        ];
        if figures.lost > 0 {
            lines.push(format!("sessions lost     {}", figures.lost));
        }
        lines.extend(stage_lines(&figures.stages));
        lines
    }

    fn failure_lines(&self) -> Vec<String> {
        let failures = self.setup.failures.iter();
        failures
            .map(|failure| format!("failed            {} × {}", failure.count, failure.reason))
            .collect()
    }

    fn traffic_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.traffic.is_empty() {
            return lines;
        }
        lines.push(format!(
            "  {:20} {:>11} {:>11} {:>9} {:>6} {:>6} {:>11} {:>10}",
            "packets", "sent", "received", "lost", "twice", "late", "received/s", "Mbit/s"
        ));
        let row = |name: &str, way: &WayFigures| {
            format!(
                "  {name:20} {:>11} {:>11} {:>9} {:>6} {:>6} {:>11.0} {:>10.2}",
                way.sent,
                way.received,
                way.lost,
                way.duplicated,
                way.reordered,
                way.packets_per_second,
                way.inner_bits_per_second / 1e6
            )
        };
        let names = self.traffic_rows();
        lines.extend(names.iter().map(|(name, way)| row(name, way)));
        lines.push(format!(
            "  {:20} {:>10} {:>10} {:>10} {:>10}",
            "latency, us", "p50", "p99", "p99.9", "max"
        ));
        lines.extend(names.iter().map(|(name, way)| {
            let Latency {
                p50,
                p99,
                p99_9,
                max,
            } = way.latency_us;
            format!("  {name:20} {p50:>10.0} {p99:>10.0} {p99_9:>10.0} {max:>10.0}")
        }));
        lines.push(format!(
            "outer wire        {:.2} Mbit/s to the gateway, {:.2} Mbit/s from it, Ethernet included",
            self.wire.up_bits_per_second / 1e6,
            self.wire.down_bits_per_second / 1e6
        ));
        lines
    }

    fn traffic_rows(&self) -> Vec<(String, &WayFigures)> {
        let all = self.traffic.iter().map(|way| (way.way.to_owned(), way));
        if self.groups.len() == 1 {
            return all.collect();
        }
        let groups = self.groups.iter().flat_map(|group| {
            let ways = group.traffic.iter();
            ways.map(|way| (format!("{} {}", group.name, way.way), way))
        });
        groups
            .chain(all.map(|(name, way)| (format!("all {name}"), way)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zerocopy::IntoBytes;

    use super::*;
    use crate::flow::Mark;

    fn way(sent: u64, received: u64) -> WayFigures {
        let mut account = Account::new(1, 1);
        for number in 0..received {
            let mark = Mark::new(1, 0, number, 0);
            account.note(3_000_000, mark.as_bytes(), 100, |_| true);
        }
        WayFigures::new("up", &[sent], &account, 2.0)
    }

    #[test]
    fn an_assertion_holds_up_to_its_limit() {
        let wants = Wants {
            max_loss: Some(1.0),
            min_setups: Some(10),
            max_missing: None,
            p99: Some(Duration::from_micros(3100)),
        };
        let held = |setups, traffic: &[WayFigures]| -> Vec<bool> {
            let assertions = judge(&wants, setups, 0, traffic);
            assertions.iter().map(|assertion| assertion.held).collect()
        };
        assert_eq!(held(10, &[way(100, 99), way(100, 100)]), [true, true, true]);
        assert_eq!(
            held(9, &[way(100, 100), way(100, 98)]),
            [false, false, true]
        );
        assert_eq!(held(10, &[]), [false, true, false], "nothing was sent");
        assert_eq!(held(10, &[way(9, 0)]), [false, true, false], "nothing came");
        let strict = Wants {
            p99: Some(Duration::from_micros(2900)),
            ..Wants::default()
        };
        assert!(!judge(&strict, 0, 0, &[way(1, 1)])[0].held);
        let tolerant = Wants {
            max_missing: Some(3),
            ..Wants::default()
        };
        assert!(judge(&tolerant, 0, 3, &[])[0].held);
        assert!(!judge(&tolerant, 9, 4, &[])[0].held);
    }

    #[test]
    fn what_was_not_received_is_lost() {
        let way = way(8, 5);
        assert_eq!((way.lost, way.flows_short), (3, 1));
        assert!((way.loss_percent - 37.5).abs() < 1e-9);
        assert!((way.packets_per_second - 2.5).abs() < 1e-9);
        assert!((way.inner_bits_per_second - 2000.0).abs() < 1e-9);
        let sum = WayFigures::sum(&[way.clone(), way.clone()], way.latency_us.clone()).unwrap();
        assert_eq!((sum.sent, sum.lost, sum.flows_short), (16, 6, 2));
    }
}
