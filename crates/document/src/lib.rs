//! A file that somebody wrote by hand (a configuration, a scenario, a model) is read to its end:
//! every fault is noted, none stops the reading.
//!
//! ```text
//!   text ──► Document ──read──► Section ──► sections in it       what was asked for, as types
//!                │                 │
//!                └◄────Fault───────┘  file:line: key: what       everything that is wrong, at once
//! ```
//!
//! A [`Section`] is one TOML table. Its methods take a key's value as a type, note a [`Fault`] when
//! it is missing or wrong, and remember that the key was asked for; in the end every key that nobody
//! asked for is noted too.

mod secret;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crypto::Secret;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// One thing that is wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// As it was named.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// As an operator would say it: `listener[0].psk`.
    pub key: String,
    /// As a sentence that goes on behind the key.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            key,
            what,
        } = self;
        let colon = if key.is_empty() { "" } else { ": " };
        write!(f, "{}:{line}: {key}{colon}{what}", file.display())
    }
}

/// The text of a file, and what was found wrong in it so far.
pub struct Document {
    file: PathBuf,
    /// There may be secrets in it.
    text: Secret,
    /// Those that the file of secrets names.
    secrets: RefCell<BTreeMap<String, Secret>>,
    faults: RefCell<Vec<Fault>>,
    /// What should be mended and keeps nothing from starting.
    warnings: RefCell<Vec<Fault>>,
}

impl Document {
    /// A file's name and text.
    #[must_use]
    pub fn new(file: &Path, text: String) -> Self {
        Self {
            file: file.to_owned(),
            text: Secret::new(text.into_bytes()),
            secrets: RefCell::default(),
            faults: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// Parses the text and lets `read` take what it needs from the root table.
    pub fn read<T>(&self, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let (root, errors) = DeTable::parse_recoverable(self.text());
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            self.fault(at, "", error.message());
        }
        let mut section = Section::new(self, String::new(), 0, root.get_ref());
        let value = read(&mut section);
        section.finish();
        value
    }

    /// What was found wrong, in the order of the file.
    #[must_use]
    pub fn into_faults(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        faults.sort_by(|a, b| (&a.file, a.line, &a.key).cmp(&(&b.file, b.line, &b.key)));
        faults
    }

    /// What should be mended, but does not keep a gateway from starting.
    #[must_use]
    pub fn warnings(&self) -> Vec<Fault> {
        self.warnings.borrow().clone()
    }

    fn fault(&self, at: usize, key: &str, what: impl Into<String>) {
        let fault = self.remark(at, key, what.into());
        self.faults.borrow_mut().push(fault);
    }

    fn text(&self) -> &str {
        std::str::from_utf8(self.text.expose()).expect("it was a text when it came")
    }

    fn remark(&self, at: usize, key: &str, what: String) -> Fault {
        let before = self.text.expose().iter().take(at);
        let line = before.filter(|octet| **octet == b'\n').count() + 1;
        let (file, key) = (self.file.clone(), key.to_owned());
        Fault {
            file,
            line,
            key,
            what,
        }
    }
}

/// A value and where it stands.
type Value<'d> = &'d Spanned<DeValue<'d>>;

/// One table of a [`Document`].
pub struct Section<'d> {
    document: &'d Document,
    path: String,
    at: usize,
    table: &'d DeTable<'d>,
    asked: RefCell<BTreeSet<String>>,
}

impl<'d> Section<'d> {
    fn new(document: &'d Document, path: String, at: usize, table: &'d DeTable<'d>) -> Self {
        Self {
            document,
            path,
            at,
            table,
            asked: RefCell::default(),
        }
    }

    /// Notes that the value of `key`, or the section if it has none, is wrong.
    pub fn fault(&self, key: &str, what: impl Into<String>) {
        let at = self
            .table
            .get(key)
            .map_or(self.at, |value| value.span().start);
        self.document.fault(at, &self.full(key), what);
    }

    /// Notes that `key` in the `index`-th table of the list `table` is wrong.
    pub fn fault_in(&self, table: &str, index: usize, key: &str, what: impl Into<String>) {
        let list = self
            .table
            .get(table)
            .and_then(|value| value.get_ref().as_array());
        let item = list.and_then(|list| list.get(index));
        let value = item.and_then(|item| item.get_ref().as_table()?.get(key));
        let at = value.or(item).map_or(self.at, |value| value.span().start);
        self.document
            .fault(at, &self.full(&format!("{table}[{index}].{key}")), what);
    }

    /// Whether `key` is there.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// A text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<String> {
        let value = self.value(key)?.get_ref();
        let text = value.as_str().map(str::to_owned);
        text.or_else(|| self.wrong_type(key, "a text", value))
    }

    /// A text that has to be there.
    pub fn required_text(&self, key: &str) -> Option<String> {
        self.present(key)?;
        self.text(key)
    }

    /// A text that reads as a `T`: an address, a prefix ….
    pub fn parsed<T: FromStr>(&self, key: &str, what: &str) -> Option<T> {
        let text = self.text(key)?;
        self.parse(key, &text, what)
    }

    /// A list of texts that read as `T`s; a single text is a list of one.
    pub fn list<T: FromStr>(&self, key: &str, what: &str) -> Vec<T> {
        self.texts(key)
            .iter()
            .filter_map(|text| self.parse(key, text, what))
            .collect()
    }

    /// A list of texts; a single text is a list of one.
    pub fn texts(&self, key: &str) -> Vec<String> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        if let DeValue::Array(array) = value.get_ref() {
            return array
                .iter()
                .filter_map(|item| self.item(key, item))
                .collect();
        }
        self.item(key, value).into_iter().collect()
    }

    /// A list of integers.
    pub fn numbers<T: FromStr>(&self, key: &str, what: &str) -> Vec<T> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(array) = value.get_ref() else {
            self.wrong_type::<()>(key, "a list of numbers", value.get_ref());
            return Vec::new();
        };
        let number = |item: &Spanned<DeValue<'_>>| {
            let DeValue::Integer(integer) = item.get_ref() else {
                return self.wrong_type(key, "a list of numbers", item.get_ref());
            };
            self.parse(key, &decimal(integer), what)
        };
        array.iter().filter_map(number).collect()
    }

    /// An integer within `range`, `default` if it is not there.
    pub fn number<T>(&self, key: &str, range: RangeInclusive<T>, default: T) -> T
    where
        T: Copy + PartialOrd + FromStr + fmt::Display,
    {
        let Some(value) = self.value(key) else {
            return default;
        };
        let DeValue::Integer(integer) = value.get_ref() else {
            return self
                .wrong_type(key, "a number", value.get_ref())
                .unwrap_or(default);
        };
        match decimal(integer).parse::<T>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (low, high) = (range.start(), range.end());
                self.fault(key, format!("{integer} is not between {low} and {high}"));
                default
            }
        }
    }

    /// A number with or without a fraction within `range`, `default` if it is not there.
    pub fn real(&self, key: &str, range: RangeInclusive<f64>, default: f64) -> f64 {
        let Some(value) = self.value(key) else {
            return default;
        };
        let value = value.get_ref();
        let whole = value.as_integer().map(decimal);
        let fraction = value
            .as_float()
            .map(|float| float.as_str().replace('_', ""));
        let Some(written) = whole.or(fraction) else {
            return self.wrong_type(key, "a number", value).unwrap_or(default);
        };
        match written.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (low, high) = (range.start(), range.end());
                self.fault(key, format!("{written} is not between {low} and {high}"));
                default
            }
        }
    }

    /// `true` or `false`, `default` if it is not there.
    pub fn flag(&self, key: &str, default: bool) -> bool {
        let Some(value) = self.value(key) else {
            return default;
        };
        let flag = value.get_ref().as_bool();
        flag.or_else(|| self.wrong_type(key, "true or false", value.get_ref()))
            .unwrap_or(default)
    }

    /// A time such as `"30s"`, `"8h"`, `"250ms"` within `range`, `default` if it is not there.
    pub fn duration(
        &self,
        key: &str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Some(text) = self.text(key) else {
            return default;
        };
        match humantime::parse_duration(&text) {
            Ok(duration) if range.contains(&duration) => duration,
            Ok(_) => {
                let [low, high] =
                    [range.start(), range.end()].map(|d| humantime::format_duration(*d));
                self.fault(key, format!("{text} is not between {low} and {high}"));
                default
            }
            Err(_) => {
                self.fault(
                    key,
                    format!("\"{text}\" is not a time; write for example \"30s\", \"8h\""),
                );
                default
            }
        }
    }

    /// One of the named choices, `default` if it is not there.
    pub fn choice<T: Clone>(&self, key: &str, choices: &[(&str, T)], default: T) -> T {
        let Some(text) = self.text(key) else {
            return default;
        };
        self.choose(key, &text, choices).unwrap_or(default)
    }

    /// A list of named choices; `None` if the key is not there.
    pub fn choices<T: Clone>(&self, key: &str, choices: &[(&str, T)]) -> Option<Vec<T>> {
        self.value(key)?;
        let chosen = self.texts(key);
        Some(
            chosen
                .iter()
                .filter_map(|text| self.choose(key, text, choices))
                .collect(),
        )
    }

    /// The table `key`; an empty one, whose every default holds, if it is not there.
    pub fn section<T>(&self, key: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let empty = DeTable::new();
        let (at, table) = match self
            .value(key)
            .map(|value| (value.span().start, value.get_ref()))
        {
            Some((at, DeValue::Table(table))) => (at, table),
            Some((at, other)) => {
                self.wrong_type::<()>(key, "a table", other);
                (at, &empty)
            }
            None => (self.at, &empty),
        };
        let mut section = Section::new(self.document, self.full(key), at, table);
        let value = read(&mut section);
        section.finish();
        value
    }

    /// The tables of the list `key`.
    pub fn sections<T>(&self, key: &str, mut read: impl FnMut(&mut Section<'_>) -> T) -> Vec<T> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(array) = value.get_ref() else {
            self.wrong_type::<()>(key, "a list of tables", value.get_ref());
            return Vec::new();
        };
        let mut values = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.full(key));
            let DeValue::Table(table) = item.get_ref() else {
                self.document
                    .fault(item.span().start, &path, "this has to be a table");
                continue;
            };
            let mut section = Section::new(self.document, path, item.span().start, table);
            values.push(read(&mut section));
            section.finish();
        }
        values
    }

    /// Notes every key that nobody asked for, with the nearest one that exists.
    fn finish(&self) {
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            if asked.contains(key.get_ref().as_ref()) {
                continue;
            }
            let nearest = asked
                .iter()
                .min_by_key(|known| distance(known, key.get_ref()));
            let hint = match nearest {
                Some(known) if distance(known, key.get_ref()) <= 2 => {
                    format!("there is no such key; did you mean `{known}`?")
                }
                _ => "there is no such key here".to_owned(),
            };
            self.document
                .fault(key.span().start, &self.full(key.get_ref()), hint);
        }
    }

    fn value(&self, key: &str) -> Option<Value<'d>> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.table.get(key)
    }

    fn present(&self, key: &str) -> Option<()> {
        if self.value(key).is_none() {
            self.fault(key, "this key has to be there");
            return None;
        }
        Some(())
    }

    fn item(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let text = value.get_ref().as_str().map(str::to_owned);
        text.or_else(|| self.wrong_type(key, "a list of texts", value.get_ref()))
    }

    fn parse<T: FromStr>(&self, key: &str, text: &str, what: &str) -> Option<T> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.fault(key, format!("\"{text}\" is not {what}"));
        }
        parsed
    }

    fn choose<T: Clone>(&self, key: &str, text: &str, choices: &[(&str, T)]) -> Option<T> {
        let chosen = choices.iter().find(|(name, _)| *name == text);
        if chosen.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.fault(key, format!("\"{text}\" is none of: {}", names.join(", ")));
        }
        chosen.map(|(_, value)| value.clone())
    }

    fn wrong_type<T>(&self, key: &str, wanted: &str, found: &DeValue<'_>) -> Option<T> {
        let found = match found {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.fault(key, format!("this has to be {wanted}, and is {found}"));
        None
    }

    fn full(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }
}

/// An integer as decimal digits, however it was written: 0x1f, 0o37 and 0b1_1111 are 31.
fn decimal(integer: &DeInteger<'_>) -> String {
    let digits = integer.as_str().replace('_', "");
    match i128::from_str_radix(&digits, integer.radix()) {
        Ok(number) => number.to_string(),
        Err(_) => digits,
    }
}

/// Edits that turn one word into the other (Levenshtein), for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let edit = if x == *y {
                corner
            } else {
                1 + corner.min(row[j]).min(row[j + 1])
            };
            corner = std::mem::replace(&mut row[j + 1], edit);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_with_its_line_and_key() {
        let text = "[workers]\ncount = 0\nidel = \"park\"\n\n[[listener]]\naddress = \"10.9.0\"\n";
        let document = Document::new(Path::new("a.toml"), text.into());
        document.read(|root| {
            root.section("workers", |workers| {
                workers.number("count", 1..=64, 1u8);
                workers.choice("idle", &[("park", ())], ());
            });
            root.sections("listener", |listener| {
                listener.required_text("name");
                listener.parsed::<std::net::IpAddr>("address", "an IP address");
            });
        });
        let lines: Vec<String> = document
            .into_faults()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "a.toml:2: workers.count: 0 is not between 1 and 64",
                "a.toml:3: workers.idel: there is no such key; did you mean `idle`?",
                "a.toml:5: listener[0].name: this key has to be there",
                "a.toml:6: listener[0].address: \"10.9.0\" is not an IP address",
            ]
        );
    }

    #[test]
    fn a_real_number_may_be_written_without_a_fraction() {
        let text = "a = 1_000\nb = 0.5\nc = 7.5\nd = \"1\"\n";
        let document = Document::new(Path::new("a.toml"), text.into());
        let read = document.read(|root| {
            ["a", "b", "c", "d", "e"].map(|key| root.real(key, 0.0..=1000.0, 3.0).to_string())
        });
        assert_eq!(read, ["1000", "0.5", "7.5", "3", "3"]);
        let document = Document::new(Path::new("a.toml"), "c = 7.5\n".into());
        document.read(|root| root.real("c", 0.0..=5.0, 1.0));
        let faults = document.into_faults();
        assert_eq!(
            faults[0].to_string(),
            "a.toml:1: c: 7.5 is not between 0 and 5"
        );
    }

    #[test]
    fn integers_may_be_written_in_any_base() {
        let text = "a = 0x1F\nb = 0o17\nc = 0b1_01\nd = -1_0\ne = [0xff, 7]\nf = 0xFFFF\n";
        let document = Document::new(Path::new("a.toml"), text.into());
        let (numbers, list) = document.read(|root| {
            let numbers = ["a", "b", "c", "d", "f"].map(|key| root.number(key, -10..=99, 0_i64));
            (numbers, root.numbers::<u8>("e", "an octet"))
        });
        assert_eq!((numbers, list), ([31, 15, 5, -10, 0], vec![255, 7]));
        let faults = document.into_faults();
        assert_eq!(faults.len(), 1);
        assert_eq!(
            faults[0].to_string(),
            "a.toml:6: f: 0xFFFF is not between -10 and 99"
        );
        let document = Document::new(Path::new("a.toml"), "a = 0x10\n".into());
        let real = document.read(|root| root.real("a", 0.0..=99.0, 0.0));
        assert_eq!(real.to_string(), "16");
    }

    #[test]
    fn a_file_that_is_no_toml_says_where() {
        let document = Document::new(Path::new("a.toml"), "a = 1\nb = = 2\n".into());
        document.read(|root| root.number("a", 0..=9, 0u8));
        let faults = document.into_faults();
        assert_eq!(faults[0].line, 2, "{faults:?}");
    }
}
