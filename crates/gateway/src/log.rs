//! Log lines on standard error, for a terminal or a journal: one event, one line, whatever a peer
//! has put into a name.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write, stderr};

use tracing_subscriber::fmt;

use crate::config::Log;

/// Starts logging; once.
pub(crate) fn start(log: &Log) {
    let format = fmt().with_max_level(log.level).with_target(false);
    if log.json {
        let lines = || Lines { colours: false };
        format.with_writer(lines).json().flatten_event(true).init();
    } else {
        let colours = stderr().is_terminal();
        let lines = move || Lines { colours };
        format.with_writer(lines).with_ansi(colours).init();
    }
}

/// Standard error. Each write is one event with its line end.
struct Lines {
    /// Escape sequences of our own are in the text; those in values are escaped before.
    colours: bool,
}

impl Write for Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let keep = self.colours.then_some('\x1b');
        let mut line = escaped(line, keep).into_owned();
        line.push('\n');
        stderr().write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}

/// The text with control characters, but `keep`, as they would be written in a program: what a peer
/// calls itself neither begins a line nor moves the cursor.
pub(crate) fn escaped(text: &str, keep: Option<char>) -> Cow<'_, str> {
    let is_plain = |c: char| !c.is_control() || Some(c) == keep;
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_plain(c) {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_default());
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_control_characters_stays_on_its_line() {
        let name = "eve\n2026-01-01T00:00:00Z INFO session up user=alice\r\u{9b}2J";
        let shown = "eve\\n2026-01-01T00:00:00Z INFO session up user=alice\\r\\u{9b}2J";
        assert_eq!(escaped(name, None), shown);
        assert_eq!(escaped("\x1b[31mred", Some('\x1b')), "\x1b[31mred");
        assert_eq!(escaped("\x1b[31mred", None), "\\u{1b}[31mred");
        assert_eq!(escaped("Zoë", None), "Zoë");
    }
}
