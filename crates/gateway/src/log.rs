//! Log lines on standard error, for a terminal or a journal.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::fmt;

use crate::config::Log;

/// Starts logging; once.
pub(crate) fn start(log: &Log) {
    let format = fmt()
        .with_max_level(log.level)
        .with_writer(stderr)
        .with_target(false);
    if log.json {
        format.json().flatten_event(true).init();
    } else {
        format.with_ansi(stderr().is_terminal()).init();
    }
}
