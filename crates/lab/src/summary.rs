//! What the demonstration came to: one object for machines, aligned lines for people.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;

use crate::flow::Account;
use crate::setup::StageTimes;
use crate::terminal::stage_lines;
use crate::traffic::End;

/// Problems that are told one by one.
const PROBLEMS_MAX: usize = 12;

/// The whole story.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// All sessions came up, every packet arrived once.
    pub ok: bool,
    /// What went wrong, the first of it.
    pub problems: Vec<String>,
    /// Clients that dialled.
    pub sessions_asked: usize,
    /// Clients that got an address.
    pub sessions_up: usize,
    /// The same, for each kind of client.
    pub kinds: Vec<KindCount>,
    /// From the first message of the first client until all were up.
    pub setup_seconds: f64,
    /// How long each stage took.
    pub setup: Vec<StageTimes>,
    /// Packets a second each way.
    pub rate: u64,
    /// Rates that were tried before.
    pub trials: Vec<Trial>,
    /// From the subscribers to the host.
    pub up: Option<Way>,
    /// From the host to the subscribers.
    pub down: Option<Way>,
    /// Packets for which the sockets of the measuring side had no room.
    pub overflowed: u64,
    /// `adit show status`.
    pub status: Value,
    /// `adit show discards`.
    pub discards: Value,
    /// `adit show workers`.
    pub workers: Value,
    /// Who did the clients' cryptography.
    pub lab_crypto: String,
    /// What the clients did not take.
    pub lab_discards: Vec<(String, u64)>,
}

/// How many of a kind.
#[derive(Debug, Serialize)]
pub struct KindCount {
    /// What is around L2TP.
    pub kind: &'static str,
    /// That dialled.
    pub asked: usize,
    /// That got an address.
    pub up: usize,
}

impl KindCount {
    /// None yet.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            asked: 0,
            up: 0,
        }
    }
}

/// A rate that was tried.
#[derive(Debug, Serialize)]
pub struct Trial {
    /// Packets a second each way.
    pub rate: u64,
    /// Packets lost, both ways together.
    pub lost: u64,
}

/// One direction.
#[derive(Debug, Serialize)]
pub struct Way {
    /// Packets sent.
    pub sent: u64,
    /// Packets received, each once.
    pub received: u64,
    /// Sent and not received.
    pub lost: u64,
    /// Flows that miss packets.
    pub flows_short: usize,
    /// Packets received again.
    pub duplicated: u64,
    /// Packets received after a later one of their flow.
    pub reordered: u64,
    /// Packets received by somebody they were not for, or much too late.
    pub astray: u64,
    /// Octets of the IP packets received.
    pub octets: u64,
    /// From the first packet sent to the last.
    pub seconds: f64,
    /// IP packets received in a second.
    pub packets_per_second: f64,
    /// Bits of IP packets received in a second.
    pub bits_per_second: f64,
    /// One-way latency.
    pub latency_us: Latency,
}

/// Percentiles, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Half of the packets took no longer.
    pub p50: f64,
    /// One of a hundred took longer.
    pub p99: f64,
    /// One of a thousand took longer.
    pub p99_9: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// Of nanoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            p50: us(0.5),
            p99: us(0.99),
            p99_9: us(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }
}

impl Way {
    /// What `account` has of what `from` sent.
    #[must_use]
    pub fn new(
        from: &End,
        account: &Account,
        time: Duration,
        lost: u64,
        flows_short: usize,
    ) -> Self {
        let received = account.received();
        let seconds = time.as_secs_f64().max(f64::EPSILON);
        Self {
            sent: from.sent.iter().sum(),
            received,
            lost,
            flows_short,
            duplicated: account.duplicated,
            reordered: account.reordered,
            astray: account.astray + account.stale,
            octets: account.octets,
            seconds,
            packets_per_second: received as f64 / seconds,
            bits_per_second: account.octets as f64 * 8.0 / seconds,
            latency_us: Latency::of(account.latency()),
        }
    }
}

impl Summary {
    /// Notes something that went wrong.
    pub fn problem(&mut self, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text);
        }
    }

    /// Whether all is well: every session up, at least `packets` each way, none lost, none twice.
    pub fn judge(&mut self, packets: u64) -> bool {
        if self.sessions_up < self.sessions_asked {
            let down = self.sessions_asked - self.sessions_up;
            self.problem(format!("{down} sessions did not come up"));
        }
        for (name, way) in [("up", &self.up), ("down", &self.down)] {
            let fault = match way {
                None => Some("nothing was moved".to_owned()),
                Some(way) => way.fault(packets),
            };
            if let Some(fault) = fault
                && self.problems.len() < PROBLEMS_MAX
            {
                self.problems.push(format!("{name}: {fault}"));
            }
        }
        self.ok = self.problems.is_empty();
        self.ok
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![format!(
            "sessions          {} of {} up",
            self.sessions_up, self.sessions_asked
        )];
        lines.extend(
            self.kinds
                .iter()
                .map(|kind| format!("  {:20} {:>10} of {}", kind.kind, kind.up, kind.asked)),
        );
        lines.extend(stage_lines(&self.setup));
        lines.extend(self.traffic_lines());
        lines.extend(self.gateway_lines());
        lines.extend(
            self.problems
                .iter()
                .map(|problem| format!("PROBLEM           {problem}")),
        );
        lines.push(match self.ok {
            true => "ok                every session up, every packet arrived once".to_owned(),
            false => "FAILED".to_owned(),
        });
        lines.join("\n") + "\n"
    }

    fn traffic_lines(&self) -> Vec<String> {
        let (Some(up), Some(down)) = (&self.up, &self.down) else {
            return Vec::new();
        };
        let mut lines = vec![
            format!(
                "traffic           {} packets/s each way, IMIX of 64, 570 and 1400 octets",
                self.rate
            ),
            format!("  {:20} {:>14} {:>14}", "", "up", "down"),
        ];
        let mut row = |name: &str, text: &dyn Fn(&Way) -> String| {
            lines.push(format!("  {name:20} {:>14} {:>14}", text(up), text(down)));
        };
        row("packets sent", &|way| way.sent.to_string());
        row("packets received", &|way| way.received.to_string());
        row("lost", &|way| way.lost.to_string());
        row("duplicated", &|way| way.duplicated.to_string());
        row("reordered", &|way| way.reordered.to_string());
        row("packets/s", &|way| format!("{:.0}", way.packets_per_second));
        row("Mbit/s (inner)", &|way| {
            format!("{:.1}", way.bits_per_second / 1e6)
        });
        row("latency p50, µs", &|way| {
            format!("{:.0}", way.latency_us.p50)
        });
        row("latency p99, µs", &|way| {
            format!("{:.0}", way.latency_us.p99)
        });
        row("latency p99.9, µs", &|way| {
            format!("{:.0}", way.latency_us.p99_9)
        });
        row("latency max, µs", &|way| {
            format!("{:.0}", way.latency_us.max)
        });
        lines
    }

    fn gateway_lines(&self) -> Vec<String> {
        let said = |key: &str| {
            self.status
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or("not told")
        };
        let mut lines = vec![
            format!("gateway           I/O {}", said("io")),
            format!("                  crypto {}", said("crypto")),
            format!("clients           crypto {}", self.lab_crypto),
        ];
        let rows = self.discards.as_array();
        let rows = rows
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .filter_map(|row| {
                let frames = row.get("frames")?.as_u64().filter(|frames| *frames > 0)?;
                let name = row.get("name")?.as_str()?;
                let meaning = row
                    .get("meaning")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                Some(format!("  {name:20} {frames:>10}  {meaning}"))
            });
        let own = self.lab_discards.iter();
        let own = own.map(|(reason, count)| format!("  by the clients {count:>16}  {reason}"));
        let discards: Vec<String> = rows.chain(own).collect();
        lines.push(match discards.is_empty() {
            true => "discards          none".to_owned(),
            false => "discards".to_owned(),
        });
        lines.extend(discards);
        lines
    }
}

impl Way {
    fn fault(&self, packets: u64) -> Option<String> {
        if self.lost > 0 {
            let (lost, flows) = (self.lost, self.flows_short);
            return Some(format!("{lost} packets lost, in {flows} flows"));
        }
        if self.sent < packets {
            return Some(format!("{} of {packets} packets were sent", self.sent));
        }
        let twice = self.duplicated + self.astray;
        (twice > 0).then(|| format!("{twice} packets came twice or to the wrong place"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::flow::{IMIX, Mark, Numbering};
    use zerocopy::IntoBytes;

    #[test]
    fn all_is_well_only_if_everything_arrived_once() {
        let mut summary = story(0);
        assert!(summary.judge(100), "{:?}", summary.problems);
        assert!(summary.text().ends_with("every packet arrived once\n"));
        assert!(!story(0).judge(101), "too few");
        assert!(!story(1).judge(100), "one lost");
        let mut alone = story(0);
        alone.sessions_up = 1;
        assert!(!alone.judge(100), "a session missing");
        assert!(
            alone
                .text()
                .contains("PROBLEM           1 sessions did not come up")
        );
    }

    /// Two sessions, a hundred packets each way, of which some are lost on the way down.
    fn story(lost: u64) -> Summary {
        let mut numbering = Numbering::new(1, 2, IMIX, 100);
        let (mut up, mut down) = (Account::new(1, 2), Account::new(1, 2));
        while let Some((mark, size)) = numbering.next(0) {
            up.note(1000, mark.as_bytes(), size, |_| true);
            if numbering.total() > lost {
                down.note(1000, mark.as_bytes(), size, |_| true);
            }
        }
        let sent = numbering.sent().to_vec();
        let end = End {
            sent,
            account: up.clone(),
            finished: clock::now(),
        };
        let way = |account: &Account| {
            let (flows, lost) = account.missing(&end.sent);
            Some(Way::new(&end, account, Duration::from_secs(1), lost, flows))
        };
        assert_eq!(Mark::LEN, 32);
        Summary {
            sessions_asked: 2,
            sessions_up: 2,
            up: way(&up),
            down: way(&down),
            ..Summary::default()
        }
    }
}
