//! What was found in a packet: layers, their fields, and what is wrong with them.
//!
//! There is one form of it for all protocols, so that text and JSON always tell the same.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// One layer, or one part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    name: Cow<'static, str>,
    fields: Vec<(&'static str, Value)>,
    parts: Vec<Self>,
}

impl Layer {
    /// A layer without anything in it.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            fields: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// The same with one field more.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    /// The same with a field that is shown as it displays itself.
    #[must_use]
    pub fn showing(self, key: &'static str, value: impl Display) -> Self {
        self.with(key, value.to_string())
    }

    /// Adds a field; `true` stands for itself, so that its name is all of the text.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.fields.push((key, value.into()));
    }

    /// Adds a part.
    pub fn add(&mut self, part: Self) {
        self.parts.push(part);
    }

    /// What it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A field, if it is there.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&Value> {
        self.fields
            .iter()
            .find_map(|(name, value)| (*name == key).then_some(value))
    }

    /// What it consists of.
    #[must_use]
    pub fn parts(&self) -> &[Self] {
        &self.parts
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "{:1$}{2}", "", 2 * depth, self.name)?;
        for (index, (key, value)) in self.fields.iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { ", " })?;
            match (value, value.as_str()) {
                (Value::Bool(true), _) => f.write_str(key)?,
                (_, Some(text)) => write!(f, "{key} {text}")?,
                (_, None) => write!(f, "{key} {value}")?,
            }
        }
        f.write_char('\n')?;
        self.parts
            .iter()
            .try_for_each(|part| part.write(f, depth + 1))
    }
}

/// Indented, as in a packet.
impl Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 10)
    }
}

impl Serialize for Layer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("layer", &self.name)?;
        for (key, value) in &self.fields {
            map.serialize_entry(&key.replace(' ', "_"), value)?;
        }
        if !self.parts.is_empty() {
            map.serialize_entry("parts", &self.parts)?;
        }
        map.end()
    }
}

/// Something that is wrong with a packet, or in the way of reading it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// ESP that is not authentic.
    WrongIcv(String),
    /// A key is there, and does not open it.
    NotOpened(String),
    /// A HASH of IKE that proves something else than it should.
    WrongHash(String),
    /// An authentic packet that was there before.
    Replayed(String),
    /// A parser refuses it.
    Malformed(String),
    /// Nobody gave the key.
    NoKey(String),
    /// The capture holds only the beginning of it.
    CutShort(String),
}

impl Fault {
    /// Whether `decode` ends with status 1 for this: somebody did not get what was sent, or the
    /// keys are not those of this capture.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::WrongIcv(_) | Self::NotOpened(_) | Self::WrongHash(_) => true,
            Self::Replayed(_) | Self::Malformed(_) | Self::NoKey(_) | Self::CutShort(_) => false,
        }
    }

    /// The class and the particulars.
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::WrongIcv(text) => ("wrong ICV", text),
            Self::NotOpened(text) => ("not opened", text),
            Self::WrongHash(text) => ("wrong HASH", text),
            Self::Replayed(text) => ("replayed", text),
            Self::Malformed(text) => ("malformed", text),
            Self::NoKey(text) => ("no key", text),
            Self::CutShort(text) => ("cut short", text),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, text) = self.parts();
        write!(f, "{class}: {text}")
    }
}

/// One packet, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// From 1.
    pub number: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Nanoseconds since the first packet of the capture.
    pub since_first: u64,
    /// How long it was on the wire.
    pub wire_len: usize,
    /// From the outermost inwards.
    pub layers: Vec<Layer>,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

impl Packet {
    /// The names of the layers.
    fn headline(&self) -> String {
        let names: Vec<&str> = self.layers.iter().map(Layer::name).collect();
        names.join(" / ")
    }
}

/// Indented text, the faults behind exclamation marks.
impl Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, len, headline) = (self.number, self.wire_len, self.headline());
        let seconds = seconds(self.since_first);
        writeln!(f, "{number}  {seconds} s  {len} octets  {headline}")?;
        self.layers.iter().try_for_each(|layer| layer.write(f, 1))?;
        self.faults
            .iter()
            .try_for_each(|fault| writeln!(f, "  ! {fault}"))
    }
}

impl Serialize for Packet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("packet", &self.number)?;
        map.serialize_entry("time", &seconds(self.time))?;
        map.serialize_entry("octets", &self.wire_len)?;
        map.serialize_entry("layers", &self.layers)?;
        let faults: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
        map.serialize_entry("faults", &faults)?;
        map.end()
    }
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// Octets as hexadecimal digits; of many only the first are shown.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    const SHOWN_MAX: usize = 32;
    let mut text = String::with_capacity(2 * octets.len().min(SHOWN_MAX) + 8);
    for octet in octets.iter().take(SHOWN_MAX) {
        let _ = write!(text, "{octet:02x}");
    }
    if octets.len() > SHOWN_MAX {
        let _ = write!(text, "… ({} octets)", octets.len());
    }
    text
}

/// What a peer calls something, with nothing in it that a terminal would obey.
#[must_use]
pub fn escaped(octets: &[u8]) -> String {
    octets.escape_ascii().to_string()
}

/// The name of a number, or the number.
#[must_use]
pub fn named(name: Option<&'static str>, number: impl Display) -> Cow<'static, str> {
    name.map_or_else(|| number.to_string().into(), Cow::Borrowed)
}
