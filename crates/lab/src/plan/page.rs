//! A plan as a page with plots.

use super::costs::Costs;
use super::model::Model;
use super::quantity::Source;
use super::show::{by_subject, verdict};
use super::sizing::{Limit, Plan};
use crate::report::{Bar, Bars, Cell, Lines, Percentiles, Report, Table, Tone, short};

/// The page.
pub(super) fn page(model: &Model, costs: &Costs, plan: &Plan) -> Report {
    let machine = costs.machine();
    let lead = format!(
        "{} on cores such as {} at {:.2} GHz, measured {} ({}).",
        model.file, machine.cpu, machine.core_ghz, machine.date, machine.command
    );
    let mut page = Report::new("Capacity plan", &lead);
    page.section("What is full first")
        .text(verdict(plan).trim())
        .plot(limits(&plan.limits));
    for (subject, figures) in by_subject(plan) {
        let mut table = Table::new(["", "", "name"]);
        for figure in figures {
            table.push([figure.title.as_str(), &figure.shown, &figure.name]);
        }
        let section = page.section(&capital(subject)).table(table);
        match subject {
            "wire" => section.plot(rates(plan)),
            "data plane" => section.plot(delays(plan)).table(trials(plan)),
            "storm" => section.plot(recovery(plan)).plot(requests(plan)),
            _ => section,
        };
    }
    page.section("Every number, and where it comes from")
        .table(grounds(plan));
    page
}

/// All figures, with formulas and sources.
fn grounds(plan: &Plan) -> Table {
    let mut table = Table::new(["name", "value", "formula", "sources"]);
    for figure in plan.book.figures() {
        let sources: Vec<_> = figure.sources.iter().map(words).collect();
        let cells = [
            &figure.name,
            &figure.shown,
            &figure.formula,
            &sources.join("; "),
        ];
        table.push(cells.map(String::as_str));
    }
    table
}

/// A source without the spaces that align it on a terminal.
fn words(source: &Source) -> String {
    let text = source.to_string();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn limits(limits: &[Limit]) -> Bars {
    let bars = Bars::new("Use of what there is")
        .limit(1.0, "full")
        .cut(2.0);
    limits.iter().fold(bars, |bars, limit| {
        let tone = match limit.used {
            used if used > 1.0 => Tone::Bad,
            used if used > 0.8 => Tone::Fair,
            _ => Tone::Good,
        };
        let shown = format!("{:.1} %", 100.0 * limit.used);
        bars.bar(Bar::new(limit.title, limit.used, &shown).tone(tone))
    })
}

/// Goodput beside what it takes on the wire.
fn rates(plan: &Plan) -> Bars {
    let named = [
        ("goodput, down", "goodput_down"),
        ("network side, down", "network_rate_down"),
        ("tunnel side, down", "tunnel_rate_down"),
        ("goodput, up", "goodput_up"),
        ("network side, up", "network_rate_up"),
        ("tunnel side, up", "tunnel_rate_up"),
    ];
    let found = named
        .into_iter()
        .filter_map(|(title, name)| Some((title, plan.book.figure(name)?)));
    found.fold(
        Bars::new("Inner goodput and outer wire rate"),
        |bars, (title, figure)| bars.bar(Bar::new(title, figure.value, &figure.shown)),
    )
}

fn delays(plan: &Plan) -> Percentiles {
    let title = "Delay in the ring and the busiest worker, simulated";
    let last = plan.trials.len().saturating_sub(3);
    plan.trials[last..]
        .iter()
        .fold(Percentiles::new(title, "µs"), |plot, trial| {
            plot.histogram(&workers(trial.workers), &trial.outcome.delays, 1e-3)
        })
}

fn workers(count: usize) -> String {
    match count {
        1 => "1 worker".to_owned(),
        count => format!("{count} workers"),
    }
}

fn trials(plan: &Plan) -> Table {
    let mut table = Table::new([
        "tried",
        "busiest worker",
        "its share",
        "lost",
        "p99 µs",
        "p99.9 µs",
    ]);
    for trial in &plan.trials {
        let us = |quantile| {
            let value = trial.outcome.delays.value_at_quantile(quantile);
            Cell::from(short(value as f64 / 1000.0))
        };
        table.push([
            workers(trial.workers).into(),
            format!("{:.1} %", 100.0 * trial.outcome.busy).into(),
            format!("{:.2} %", 100.0 * trial.share).into(),
            format!("{:.4} %", 100.0 * trial.outcome.loss()).into(),
            us(0.99),
            us(0.999),
        ]);
    }
    table
}

fn recovery(plan: &Plan) -> Lines {
    let up = plan.recovery.up.iter().copied();
    Lines::new("A storm: sessions up", "s", "sessions").line("up", up)
}

fn requests(plan: &Plan) -> Lines {
    let asked = plan.recovery.radius.iter().copied();
    Lines::new("A storm: RADIUS requests", "s", "requests/s").line("requests", asked)
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}
