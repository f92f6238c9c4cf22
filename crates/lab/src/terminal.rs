//! What both commands put before people: a bar while they wait, and a table.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::setup::StageTimes;

/// The set-up times as an aligned table.
#[must_use]
pub fn stage_lines(stages: &[StageTimes]) -> Vec<String> {
    let mut lines = Vec::new();
    if !stages.is_empty() {
        lines.push(format!(
            "  {:20} {:>10} {:>10} {:>10}",
            "set-up time, ms", "p50", "p99", "max"
        ));
    }
    lines.extend(stages.iter().map(|stage| {
        let StageTimes {
            title,
            p50_ms,
            p99_ms,
            max_ms,
            ..
        } = stage;
        format!("  {title:20} {p50_ms:>10.1} {p99_ms:>10.1} {max_ms:>10.1}")
    }));
    lines
}

/// A bar on a terminal; nothing elsewhere.
#[must_use]
pub fn progress(count: u64, what: &'static str, is_hidden: bool) -> ProgressBar {
    let target = match is_hidden || !stderr().is_terminal() {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    };
    let style =
        ProgressStyle::with_template("{prefix:>16} [{bar:40}] {human_pos}/{human_len} {msg}");
    ProgressBar::with_draw_target(Some(count), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(what)
}
