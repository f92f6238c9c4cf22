//! What both commands put before people: a bar while they wait, and a table.

use std::io::{IsTerminal, Write, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::blast::meter::Sample;
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

/// What whoever waits for a long run sees: one line that changes on a terminal, plain lines
/// elsewhere, nothing if nobody is to be told.
pub struct Face {
    bar: Option<ProgressBar>,
    is_quiet: bool,
    told: u32,
}

/// Elsewhere than on a terminal, so many seconds pass from line to line.
const SECONDS_PER_LINE: u32 = 5;

impl Face {
    /// For a run with so many subscribers.
    #[must_use]
    pub fn new(subscribers: u64, is_quiet: bool) -> Self {
        let is_terminal = stderr().is_terminal() && !is_quiet;
        Self {
            bar: is_terminal.then(|| {
                // What does not fit into the line is cut: a line that wraps scrolls.
                let style = ProgressStyle::with_template(
                    "{prefix} [{bar:30}] {human_pos}/{human_len}\n{wide_msg}",
                );
                let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
                progress(subscribers, "subscribers up", false).with_style(style)
            }),
            is_quiet,
            told: 0,
        }
    }

    /// How things stand, once in a second.
    pub fn tell(&mut self, now: &Sample, before: &Sample) {
        self.told += 1;
        let mut line = format!(
            "{:.0} set-ups/s, {} failed",
            now.setups_per_second(before),
            now.failed
        );
        if now.sent > 0 {
            line += &format!(
                ", {:.0} packets/s, {} lost, p99 {:.1} ms",
                now.packets_per_second(before),
                now.overdue,
                now.p99_ms
            );
        }
        match &self.bar {
            Some(bar) => {
                bar.set_position(now.up as u64);
                bar.set_message(line);
            }
            None if !self.is_quiet && self.told.is_multiple_of(SECONDS_PER_LINE) => {
                let _nobody_reads = writeln!(stderr(), "{:.0} s: {} up, {line}", now.at, now.up);
            }
            None => {}
        }
    }

    /// It is over.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
