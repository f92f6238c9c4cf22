//! `adit-lab decode`: what is in a capture, layer by layer, down to the inner packets.
//!
//! It reads with the parsers that the gateway reads with, and so tells at the same time what the
//! gateway would make of somebody else's packets. Keys come from outside ([`keys`]); with them it
//! opens ESP and ISAKMP, checks what can be checked, and names what is wrong.
//!
//! ```text
//!   capture ─► link ─► ip ─► transport ─┬─► isakmp ── Run, Transcript: what messages left behind
//!                       ▲               ├─► esp ───── Sas, Window
//!                       │               │    │
//!                       │               ├────┘ next header
//!                       └── ppp ◄── l2tp ◄── UDP 1701
//! ```
//!
//! Every room adds a [`Layer`](layer::Layer) to the [`Packet`], or a [`Fault`], and
//! hands on what is inside. All that is kept between packets has a bound.

pub mod capture;
mod esp;
mod ip;
mod isakmp;
pub mod keys;
mod l2tp;
pub mod layer;
mod link;
mod names;
mod ppp;
pub mod tally;
mod transport;

use std::fs::File;
use std::io::{self, BufWriter, Write, stderr, stdout};
use std::net::IpAddr;

use anyhow::{Context, Result};
use crypto::Secret;

use capture::{Broken, Frame};
use keys::Keys;
use layer::{Fault, Packet};
use tally::Tally;

use crate::cli::Decode;

/// Layers of one packet that are gone into: IP in IP in IP comes to an end.
const LAYERS_MAX: usize = 24;

/// What was agreed on outside of any protocol.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Pre-shared keys of IKE.
    pub psks: Vec<Secret>,
    /// Secret of L2TP tunnels.
    pub l2tp: Option<Secret>,
}

/// Where a packet comes from and goes to, at the layer that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Path {
    source: IpAddr,
    destination: IpAddr,
}

/// Reads packets one after the other, and remembers what later ones need.
pub struct Decoder {
    esp: esp::Sas,
    isakmp: isakmp::Sas,
    fragments: ip::Fragments,
    secrets: Secrets,
    first: Option<u64>,
}

impl Decoder {
    /// A decoder with these keys.
    #[must_use]
    pub fn new(keys: Keys, secrets: Secrets) -> Self {
        Self {
            esp: esp::Sas::new(&keys.esp),
            isakmp: isakmp::Sas::new(keys.ike),
            fragments: ip::Fragments::default(),
            secrets,
            first: None,
        }
    }

    /// Reads one packet.
    pub fn decode(&mut self, frame: &Frame<'_>) -> Packet {
        let first = *self.first.get_or_insert(frame.time);
        let mut packet = Packet {
            number: frame.number,
            time: frame.time,
            since_first: frame.time.saturating_sub(first),
            wire_len: frame.wire_len.max(frame.octets.len()),
            layers: Vec::new(),
            faults: Vec::new(),
        };
        self.link(frame.link, frame.octets, &mut packet);
        if frame.octets.len() < frame.wire_len {
            // Whatever is wrong with it, the capture is to blame.
            let (there, whole) = (frame.octets.len(), frame.wire_len);
            let text = format!("the capture has {there} of {whole} octets");
            packet.faults = vec![Fault::CutShort(text)];
        }
        packet
    }
}

/// `adit-lab decode`; whether everything that has a key was opened with it.
pub fn decode(arguments: &Decode) -> Result<bool> {
    let keys = Keys::read(&arguments.keys)?;
    for complaint in &keys.complaints {
        writeln!(stderr(), "adit-lab: {complaint}")?;
    }
    let secret = |text: &String| Secret::new(text.clone().into_bytes());
    let secrets = Secrets {
        psks: arguments.psk.iter().map(secret).collect(),
        l2tp: arguments.l2tp_secret.as_ref().map(secret),
    };
    let path = arguments.file.display();
    let file = File::open(&arguments.file).with_context(|| format!("cannot read {path}"))?;
    let mut out = BufWriter::new(stdout().lock());
    let format = if arguments.json {
        Format::Json
    } else {
        Format::Text
    };
    let (tally, end) = print(file, &mut Decoder::new(keys, secrets), format, &mut out);
    match end {
        Ok(()) => Ok(tally.is_clean()),
        // Whoever reads has seen enough.
        Err(Broken::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(tally.is_clean()),
        Err(broken) => Err(broken).context(path.to_string()),
    }
}

/// How packets are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Indented text, an empty line between packets.
    Text,
    /// One JSON object a line.
    Json,
}

/// Reads a capture to its end, shows every packet and counts; the last line is the counts, even
/// if the capture ends where it should not.
pub fn print(
    source: impl io::Read + Send,
    decoder: &mut Decoder,
    format: Format,
    out: &mut impl Write,
) -> (Tally, Result<(), Broken>) {
    let mut tally = Tally::default();
    let end = capture::read(source, |frame| {
        let packet = decoder.decode(frame);
        tally.count(&packet);
        match format {
            Format::Text => writeln!(out, "{packet}"),
            Format::Json => line(out, &packet),
        }
    });
    let counted = match format {
        Format::Text => writeln!(out, "{tally}"),
        Format::Json => line(out, &serde_json::json!({ "counts": tally })),
    };
    let flushed = counted.and_then(|()| out.flush()).map_err(Broken::Io);
    (tally, end.and(flushed))
}

fn line(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
