//! A plan for terminals and for machines, and why its numbers are what they are.

use anyhow::{Result, bail};
use serde::Serialize;

use super::costs::{Costs, Machine};
use super::model::Model;
use super::quantity::Figure;
use super::sizing::{Limit, Plan};

/// Figures of a plan by subject, as they are printed. What is only a part of another one of them is
/// left to `--explain`, `--json` and the page.
const SUBJECTS: [(&str, &[&str]); 7] = [
    (
        "traffic",
        &[
            "sessions",
            "goodput_down",
            "goodput_up",
            "packets_down",
            "packets_up",
            "mean_octets",
        ],
    ),
    (
        "wire",
        &[
            "tunnel_octets",
            "encapsulation",
            "tunnel_rate_down",
            "tunnel_rate_up",
            "network_rate_down",
            "network_rate_up",
            "tunnel_link",
            "network_link",
        ],
    ),
    (
        "data plane",
        &[
            "data_busy",
            "workers",
            "nic_queues",
            "worker_use",
            "burst_loss",
            "delay_p50",
            "delay_p99",
            "delay_p999",
        ],
    ),
    (
        "set-up",
        &[
            "setups",
            "protocol_ns",
            "compute_ns",
            "protocol_use",
            "compute_busy",
            "compute_threads",
            "cores",
        ],
    ),
    (
        "storm",
        &[
            "storm_clients",
            "recovery",
            "storm_setup_p50",
            "storm_setup_p99",
            "storm_wasted",
            "storm_radius",
            "storm_radius_use",
        ],
    ),
    (
        "memory and addresses",
        &[
            "session_octets",
            "session_memory",
            "packet_memory",
            "memory",
            "addresses",
            "prefix",
        ],
    ),
    ("RADIUS", &["radius", "radius_outstanding", "radius_use"]),
];

/// A plan as one JSON object.
#[derive(Serialize)]
struct Json<'p> {
    model: &'p Model,
    measured_on: &'p Machine,
    figures: &'p [Figure],
    limits: Vec<JsonLimit>,
}

#[derive(Serialize)]
struct JsonLimit {
    title: &'static str,
    figure: &'static str,
    used: f64,
}

/// For machines.
pub(super) fn json(model: &Model, costs: &Costs, plan: &Plan) -> Result<String> {
    let limits = plan.limits.iter().map(|limit| JsonLimit {
        title: limit.title,
        figure: limit.figure,
        used: limit.used,
    });
    Ok(serde_json::to_string_pretty(&Json {
        model,
        measured_on: costs.machine(),
        figures: plan.book.figures(),
        limits: limits.collect(),
    })?)
}

/// Figures by subject.
pub(super) fn by_subject(plan: &Plan) -> Vec<(&'static str, Vec<&Figure>)> {
    let of = |names: &[&str]| {
        names
            .iter()
            .filter_map(|name| plan.book.figure(name))
            .collect()
    };
    SUBJECTS.map(|(subject, names)| (subject, of(names))).into()
}

/// For people.
pub(super) fn text(model: &Model, costs: &Costs, plan: &Plan) -> String {
    let machine = costs.machine();
    let mut text = format!(
        "{}, on cores such as {} at {:.2} GHz\n",
        model.file, machine.cpu, machine.core_ghz
    );
    for (subject, figures) in by_subject(plan) {
        text += &format!("\n{subject}\n");
        for figure in figures {
            text += &line(&figure.title, &figure.shown, &figure.name);
        }
    }
    text += "\nwhat is full first\n";
    for limit in &plan.limits {
        text += &line(
            limit.title,
            &format!("{:.1} %", 100.0 * limit.used),
            limit.figure,
        );
    }
    text + &assumed(plan) + &verdict(plan)
}

/// Which figures rest on something that nobody measured.
fn assumed(plan: &Plan) -> String {
    let figures = plan.book.figures().iter();
    let names: Vec<_> = figures
        .filter(|figure| figure.is_assumed())
        .map(|figure| figure.name.as_str())
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("\nassumed, not measured: {}\n", names.join(", ")),
    }
}

fn line(title: &str, shown: &str, name: &str) -> String {
    let width = 62usize.saturating_sub(title.chars().count());
    let pad = " ".repeat(width.max(1));
    let room = " ".repeat(14usize.saturating_sub(shown.chars().count()));
    format!("  {title}{pad}{room}{shown}  {name}\n")
}

/// What saturates first, and by how much.
pub(super) fn verdict(plan: &Plan) -> String {
    let Some(first) = plan.limits.first() else {
        return String::new();
    };
    let headroom = plan
        .book
        .figure("headroom")
        .map_or(0.0, |figure| figure.value);
    let mut text = match first.used > 1.0 {
        true => format!(
            "\n{} will not do: {:.2} times as much is wanted.\n",
            first.title, first.used
        ),
        false => format!(
            "\n{} is full first, at {headroom:.2} times this load.\n",
            first.title
        ),
    };
    let over = plan
        .limits
        .iter()
        .skip(1)
        .filter(|limit: &&Limit| limit.used > 1.0);
    for limit in over {
        text += &format!(
            "{} will not do either: {:.2} times as much is wanted.\n",
            limit.title, limit.used
        );
    }
    text
}

/// How a figure came about, and what it rests on; all of them if no name is given.
pub(super) fn explanations(plan: &Plan, name: &str) -> Result<String> {
    if name.is_empty() {
        let all = plan.book.figures().iter().map(Figure::explanation);
        return Ok(all.collect::<Vec<_>>().join("\n"));
    }
    let Some(figure) = plan.book.figure(name) else {
        let names: Vec<_> = plan
            .book
            .figures()
            .iter()
            .map(|f| f.name.as_str())
            .collect();
        bail!(
            "there is no figure \"{name}\"; there are {}",
            names.join(", ")
        );
    };
    Ok(figure.explanation())
}
