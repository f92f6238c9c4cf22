//! ESP (RFC 4303): opened with the keys that there are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crypto::esp::{Backend, Direction, EspJob, KeySlot, Keys, Suite, Verdict};
use packet::header::Esp;
use zerocopy::FromBytes;

use super::keys::EspKey;
use super::layer::{Fault, Layer, Packet};
use super::{Decoder, Path};
use crate::window::Window;

/// SPI and sequence number.
const HEADER: usize = size_of::<Esp>();
/// Pad length and next header.
const TRAILER: usize = 2;

/// Every SA whose keys are known.
pub(super) struct Sas {
    keys: Keys,
    sas: Vec<Sa>,
    by_spi: BTreeMap<u32, Vec<usize>>,
}

struct Sa {
    suite: Suite,
    destination: Option<IpAddr>,
    window: Window,
    /// The upper half of extended sequence numbers, once a packet opened with them.
    esn_high: Option<u32>,
}

/// A packet in clear.
struct Opened {
    sa: usize,
    /// Payload, padding, pad length, next header.
    clear: Vec<u8>,
}

impl Sas {
    pub(super) fn new(list: &[EspKey]) -> Self {
        let mut sas = Self {
            keys: Keys::new(Backend::auto()),
            sas: Vec::new(),
            by_spi: BTreeMap::new(),
        };
        for (number, key) in list.iter().enumerate() {
            let suite = key.keymat.suite();
            sas.keys
                .install(slot(number), suite, Direction::Open, &key.keymat, &[0; 16]);
            sas.by_spi.entry(key.spi).or_default().push(number);
            sas.sas.push(Sa {
                suite,
                destination: key.destination,
                window: Window::default(),
                esn_high: None,
            });
        }
        sas
    }

    /// Opens a packet with the keys of its SPI, those of its destination first: a NAT may have
    /// changed the address, and an SPI may have been used again.
    fn open(&mut self, octets: &[u8], header: &Esp, path: Path) -> Result<Opened, Fault> {
        let (spi, sequence) = (header.spi.get(), header.sequence.get());
        let Some(numbers) = self.by_spi.get(&spi) else {
            return Err(Fault::NoKey(format!("ESP SA {spi:#010x}")));
        };
        let is_elsewhere = |number: &usize| self.sas[*number].destination != Some(path.destination);
        let mut numbers = numbers.clone();
        numbers.sort_by_key(is_elsewhere);
        let mut fault = Fault::WrongIcv(format!("ESP SA {spi:#010x}, sequence {sequence}"));
        for number in numbers {
            let suite = self.sas[number].suite;
            if !suite.is_packet_len(octets.len()) {
                let len = octets.len();
                fault = Fault::NotOpened(format!("{len} octets are no packet of {suite}"));
            } else if let Some(clear) = self.try_open(number, octets) {
                return Ok(Opened { sa: number, clear });
            }
        }
        Err(fault)
    }

    fn try_open(&mut self, number: usize, octets: &[u8]) -> Option<Vec<u8>> {
        let sa = &self.sas[number];
        let (suite, high) = (sa.suite, sa.esn_high);
        // The keys do not say whether sequence numbers are extended, but the ICV does.
        let trials = match high {
            None => [None, Some(0)],
            Some(high) => [Some(high), high.checked_add(1)],
        };
        for esn_high in trials {
            let mut copy = octets.to_vec();
            let mut jobs = [EspJob {
                packet: &mut copy,
                slot: slot(number),
                esn_high,
                verdict: Verdict::Pending,
            }];
            self.keys.open(suite, &mut jobs);
            if jobs[0].verdict == Verdict::Ok {
                if esn_high != high && high.is_some() {
                    self.sas[number].window = Window::default();
                }
                self.sas[number].esn_high = esn_high;
                copy.truncate(copy.len() - suite.icv_len());
                return Some(copy.split_off(HEADER + suite.iv_len()));
            }
        }
        None
    }
}

fn slot(number: usize) -> KeySlot {
    KeySlot(number as u32)
}

impl Decoder {
    pub(super) fn esp(&mut self, path: Path, octets: &[u8], packet: &mut Packet) {
        let Ok((header, _)) = Esp::ref_from_prefix(octets) else {
            return packet.malformed("shorter than an ESP header");
        };
        let (spi, sequence) = (header.spi.get(), header.sequence.get());
        let layer = Layer::new("ESP")
            .with("spi", format!("{spi:#010x}"))
            .with("sequence", sequence);
        let opened = match self.esp.open(octets, header, path) {
            Ok(opened) => opened,
            Err(fault) => {
                packet.layers.push(layer.with("octets", octets.len()));
                return packet.faults.push(fault);
            }
        };
        let sa = &mut self.esp.sas[opened.sa];
        let mut layer = layer.showing("suite", sa.suite).with("ICV good", true);
        if let Some(high) = sa.esn_high {
            layer.set("extended sequence numbers", high);
        }
        if !sa.window.note(sequence) {
            let what = format!("ESP SA {spi:#010x}, sequence {sequence}");
            packet.faults.push(Fault::Replayed(what));
        }
        match split(&opened.clear) {
            Some((payload, padding, next_header)) => {
                packet.layers.push(layer.with("padding", padding));
                self.payload(next_header, path, payload, packet);
            }
            None => {
                packet.layers.push(layer);
                packet.malformed("ESP padding is not 1, 2, 3, …");
            }
        }
    }
}

/// Payload, length of the padding, next header. RFC 4303 §2.4: the padding counts up from 1.
fn split(clear: &[u8]) -> Option<(&[u8], usize, u8)> {
    let (rest, &[padding, next_header]) = clear.split_last_chunk::<TRAILER>()?;
    let padding = usize::from(padding);
    let (payload, pad) = rest.split_at_checked(rest.len().checked_sub(padding)?)?;
    let counts_up = pad
        .iter()
        .zip(1..=u8::MAX)
        .all(|(octet, count)| *octet == count);
    counts_up.then_some((payload, padding, next_header))
}
