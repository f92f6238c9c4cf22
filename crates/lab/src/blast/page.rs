//! The report of a blast: one page with what was done, what came of it, and how it went.

use super::meter::Sample;
use super::outcome::{Outcome, WayFigures, rounded};
use crate::report::{Bar, Bars, Lines, Percentiles, Report, Table, Tone};

/// Microseconds of a latency in nanoseconds.
const US: f64 = 1e-3;

/// The page of an outcome.
#[must_use]
pub(super) fn page(outcome: &Outcome) -> Report {
    let setup = &outcome.setup;
    let lead = format!(
        "{} subscribers, {} set-ups, {:.0} s; {}",
        setup.subscribers,
        setup.figures.succeeded,
        outcome.seconds,
        match (outcome.ok, outcome.interrupted) {
            (true, _) => "everything held",
            (false, true) => "interrupted",
            (false, false) => "not everything held",
        }
    );
    let mut report = Report::new("adit-lab blast", &lead);
    result(&mut report, outcome);
    setups(&mut report, outcome);
    if !outcome.traffic.is_empty() {
        traffic(&mut report, outcome);
    }
    let scenario = toml::to_string_pretty(&outcome.scenario).unwrap_or_default();
    report
        .section("What was done")
        .text(&format!(
            "adit-lab {} with this scenario, whose secrets are left out; with them it can be run again, \
             with the same seed.",
            outcome.version
        ))
        .verbatim(&scenario);
    report
}

fn result(report: &mut Report, outcome: &Outcome) {
    let section = report.section("Result");
    section.text(&format!("Busy side: {}.", outcome.busy_side.text()));
    if !outcome.assertions.is_empty() {
        let mut table = Table::new(["asserted", "wanted", "found", ""]);
        for assertion in &outcome.assertions {
            let word = if assertion.held { "held" } else { "failed" };
            let (wanted, found) = (assertion.wanted, assertion.found);
            table.push([
                assertion.key.to_owned(),
                wanted.to_string(),
                rounded(found),
                word.to_owned(),
            ]);
        }
        section.table(table);
    }
    for problem in &outcome.problems {
        section.text(problem);
    }
}

/// What happened between two samples, against the time of the later one.
fn rates(samples: &[Sample], rate: impl Fn(&Sample, &Sample) -> f64) -> Vec<(f64, f64)> {
    let pairs = samples.windows(2);
    pairs
        .map(|pair| (pair[1].at, rate(&pair[1], &pair[0])))
        .collect()
}

fn setups(report: &mut Report, outcome: &Outcome) {
    let setup = &outcome.setup;
    let mut table = Table::new(["stage", "set-ups", "p50, ms", "p99, ms", "max, ms"]);
    for stage in &setup.figures.stages {
        table.push([
            stage.title.clone(),
            stage.count.to_string(),
            format!("{:.1}", stage.p50_ms),
            format!("{:.1}", stage.p99_ms),
            format!("{:.1}", stage.max_ms),
        ]);
    }
    let up = outcome
        .timeline
        .iter()
        .map(|sample| (sample.at, sample.up as f64));
    let section = report.section("Set-up");
    section
        .text(&format!(
            "{} succeeded, {} failed, {} sessions lost; {:.1} in a second, {:.0} in the best.",
            setup.figures.succeeded,
            setup.figures.failed,
            setup.figures.lost,
            setup.per_second,
            setup.best_second
        ))
        .table(table)
        .plot(Lines::new("Set-ups over time", "s", "a second").line(
            "set-ups",
            rates(&outcome.timeline, Sample::setups_per_second),
        ))
        .plot(Lines::new("Sessions over time", "s", "sessions").line("up", up));
    if !setup.failures.is_empty() {
        let mut bars = Bars::new("Failures by stage and reason");
        for failure in &setup.failures {
            let count = failure.count;
            let bar = Bar::new(&failure.reason, count as f64, &count.to_string());
            bars = bars.bar(bar.tone(Tone::Bad));
        }
        section.plot(bars);
    }
}

fn traffic(report: &mut Report, outcome: &Outcome) {
    let mut table = Table::new([
        "",
        "sent",
        "received",
        "lost",
        "twice",
        "late",
        "received/s",
        "inner Mbit/s",
        "p50, us",
        "p99, us",
        "p99.9, us",
        "max, us",
    ]);
    let mut row = |name: String, way: &WayFigures| {
        let latency = &way.latency_us;
        let counts = [
            way.sent,
            way.received,
            way.lost,
            way.duplicated,
            way.reordered,
        ];
        let times = [latency.p50, latency.p99, latency.p99_9, latency.max];
        let mut cells = vec![name];
        cells.extend(counts.iter().map(ToString::to_string));
        cells.push(format!("{:.0}", way.packets_per_second));
        cells.push(format!("{:.2}", way.inner_bits_per_second / 1e6));
        cells.extend(times.iter().map(|us| format!("{us:.0}")));
        table.push(cells);
    };
    // The rows of a single group are those of all.
    for group in outcome.groups.iter().filter(|_| outcome.groups.len() > 1) {
        for way in &group.traffic {
            row(format!("{} {}", group.name, way.way), way);
        }
    }
    for way in &outcome.traffic {
        row(format!("all {}", way.way), way);
    }
    let mut latency = Percentiles::new("Latency", "us");
    for (way, times) in &outcome.latencies {
        latency = latency.histogram(way, times, US);
    }
    let mbits = rates(&outcome.timeline, |now, before| {
        let octets = now.octets.saturating_sub(before.octets);
        octets as f64 * 8.0 / 1e6 / (now.at - before.at).max(f64::EPSILON)
    });
    let wire = &outcome.wire;
    report
        .section("Traffic")
        .text(&format!(
            "Inner goodput is IP packets that were received and checked, without anything around \
             them. On the wire of the subscribers went {:.2} Mbit/s to the gateway and {:.2} Mbit/s \
             from it, Ethernet included.",
            wire.up_bits_per_second / 1e6,
            wire.down_bits_per_second / 1e6
        ))
        .table(table)
        .plot(
            Lines::new("Inner goodput over time, both ways", "s", "Mbit/s").line("received", mbits),
        )
        .plot(latency);
}
