//! Log lines on standard error, for a terminal or a journal: one event, one line, and every value
//! where it belongs, whatever a peer has put into a name.
//!
//! ```text
//!   any thread ──event──► bounded queue ──► thread "log" ──► standard error
//!                  full: the line is dropped, and counted in one of its own
//! ```
//!
//! Whoever speaks does not wait for whoever reads: a terminal that is held, a journal that hangs and
//! a full disk cost lines, never sessions.

use std::borrow::Cow;
use std::fmt::{self, Debug};
use std::io::{self, IsTerminal, Write, stderr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::config::Log;

/// Lines that may wait to be written.
const WAITING_LINES: usize = 8192;

/// What writes the lines that wait when it is dropped.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Starts logging, unless that has been done.
pub(crate) fn start(log: &Log) {
    let colours = !log.json && stderr().is_terminal();
    let dropped = Arc::new(OnceLock::new());
    let lines = Lines {
        output: stderr(),
        colours,
        json: log.json,
        dropped: Arc::clone(&dropped),
        told: 0,
    };
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("log")
        .finish(lines);
    dropped.get_or_init(|| writer.error_counter());
    let format = tracing_subscriber::fmt()
        .with_max_level(log.level)
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(writer);
    let is_first = if log.json {
        format.json().flatten_event(true).try_init().is_ok()
    } else {
        let format = format.fmt_fields(Fields).with_ansi(colours);
        format.try_init().is_ok()
    };
    if is_first {
        *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    }
}

/// Writes what waits, but does not wait for long if nobody reads. Before the process ends.
pub(crate) fn finish() {
    let guard = WRITER.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(guard);
}

/// Of the same, only what somebody should look at: for a gateway that is not alone in its process.
pub(crate) fn quiet(log: &Log) -> Log {
    Log {
        level: log.level.min(tracing::Level::WARN),
        ..log.clone()
    }
}

/// `message key=value key="a value with blanks"`.
struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line {
            writer,
            result: Ok(()),
            is_begun: false,
        };
        fields.record(&mut line);
        line.result
    }
}

/// The fields of one event, on their way out.
struct Line<'writer> {
    writer: Writer<'writer>,
    result: fmt::Result,
    is_begun: bool,
}

impl Line<'_> {
    fn field(&mut self, field: &Field, value: &str) {
        let blank = if self.is_begun { " " } else { "" };
        self.is_begun = true;
        let written = match field.name() {
            "message" => write!(self.writer, "{blank}{value}"),
            name => write!(self.writer, "{blank}{name}={}", quoted(value)),
        };
        self.result = self.result.and(written);
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, &format!("{value:?}"));
    }
}

/// The value in quotation marks if without them it could be taken for more than one.
fn quoted(value: &str) -> Cow<'_, str> {
    let is_one = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=';
    if !value.is_empty() && value.chars().all(is_one) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!("{value:?}"))
}

/// Where lines go. Each write is one event with its line end.
struct Lines<W> {
    output: W,
    /// Escape sequences of our own are in the text; those in values are escaped before.
    colours: bool,
    json: bool,
    /// How many lines found the queue full.
    dropped: Arc<OnceLock<ErrorCounter>>,
    /// How many of these have been told of.
    told: usize,
}

impl<W: Write> Lines<W> {
    fn tell_of_the_dropped(&mut self) -> io::Result<()> {
        let dropped = self.dropped.get().map_or(0, ErrorCounter::dropped_lines);
        let lines = dropped.saturating_sub(self.told);
        if lines == 0 {
            return Ok(());
        }
        self.told = dropped;
        let said = "log lines dropped: whoever reads them was too slow";
        match self.json {
            true => writeln!(
                self.output,
                r#"{{"level":"WARN","message":"{said}","lines":{lines}}}"#
            ),
            false => writeln!(self.output, "WARN {said} lines={lines}"),
        }
    }
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.tell_of_the_dropped()?;
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let keep = self.colours.then_some('\x1b');
        let mut line = escaped(line, keep).into_owned();
        line.push('\n');
        self.output.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// The text with control characters, but `keep`, as they would be written in a program: what a peer
/// calls itself neither begins a line nor moves the cursor.
#[must_use]
pub fn escaped(text: &str, keep: Option<char>) -> Cow<'_, str> {
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
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// All source text of the crates that log lines and their reasons come from.
    fn sources() -> String {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut folders: Vec<PathBuf> = ["control", "dataplane", "gateway", "ike", "l2tp", "ppp"]
            .map(|name| crates.join(name).join("src"))
            .into();
        let mut text = String::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    text += &fs::read_to_string(path).unwrap();
                }
            }
        }
        text
    }

    #[test]
    fn the_readme_explains_lines_that_are_written() {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
        let readme = fs::read_to_string(readme).unwrap();
        let sources = sources();
        let rows = readme
            .lines()
            .skip_while(|row| !row.starts_with("| line | meaning"));
        let rows = rows.skip(2).take_while(|row| row.starts_with('|'));
        let lines = rows.map(|row| row.split('|').nth(1).unwrap_or_default());
        let mut count = 0;
        for phrase in lines.flat_map(|line| line.split('`').skip(1).step_by(2)) {
            // `why="no such user"`: the value is what counts.
            let value = phrase.split_once('=').map_or(phrase, |(_, value)| value);
            for part in value.trim_matches('"').split('…') {
                assert!(sources.contains(part.trim()), "nobody says: {phrase}");
                count += 1;
            }
        }
        assert!(count > 20, "{count} phrases");
    }

    /// What is written of the fields of `event`.
    fn line_of(event: impl FnOnce()) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let copy = Arc::clone(&written);
        let writer = move || Kept(Arc::clone(&copy));
        let format = tracing_subscriber::fmt()
            .without_time()
            .with_level(false)
            .with_target(false)
            .with_ansi(false)
            .fmt_fields(Fields)
            .with_writer(writer);
        tracing::subscriber::with_default(format.finish(), event);
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, event: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(event)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A reader that does not read before it is told to.
    struct Held {
        release: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Held {
        fn write(&mut self, event: &[u8]) -> io::Result<usize> {
            // When the test lets go, nothing is held any more.
            let _ = self.release.recv();
            self.written.send(event.to_vec()).unwrap();
            Ok(event.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_speaks_does_not_wait_and_what_was_dropped_is_told() {
        let (let_go, release) = channel();
        let (written, read) = channel();
        let dropped = Arc::new(OnceLock::new());
        let lines = Lines {
            output: Held { release, written },
            colours: false,
            json: false,
            dropped: Arc::clone(&dropped),
            told: 0,
        };
        let builder = NonBlockingBuilder::default().buffered_lines_limit(4);
        let (mut writer, guard) = builder.finish(lines);
        let counter = dropped.get_or_init(|| writer.error_counter());
        for _ in 0..50 {
            writer.write_all(b"a line\n").unwrap();
        }
        let lost = counter.dropped_lines();
        assert!(lost >= 45, "{lost}");
        drop(let_go);
        drop(guard);
        let text: Vec<u8> = read.iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.matches("a line\n").count(), 50 - lost, "{text}");
        assert_eq!(
            text.matches(&format!("lines={lost}\n")).count(),
            1,
            "{text}"
        );
    }

    #[test]
    fn a_value_with_blanks_is_one_value() {
        let line = line_of(|| {
            let offers = "1.1 3DES/SHA1: not in the policy";
            tracing::info!(suite = "aes128-sha1", mru = 1400, %offers, "refused");
        });
        let wanted = "refused suite=aes128-sha1 mru=1400 \
                      offers=\"1.1 3DES/SHA1: not in the policy\"";
        assert_eq!(line.trim(), wanted);
    }

    #[test]
    fn a_name_cannot_add_a_field() {
        let line = line_of(|| {
            let user = "eve address=10.77.0.9";
            tracing::info!(%user, "session up");
            tracing::info!(user = %"\" address=10.77.0.9", "session up");
            tracing::info!(user = "", "session up");
        });
        let lines: Vec<&str> = line.lines().map(str::trim).collect();
        let wanted = [
            "session up user=\"eve address=10.77.0.9\"",
            "session up user=\"\\\" address=10.77.0.9\"",
            "session up user=\"\"",
        ];
        assert_eq!(lines, wanted);
    }

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
