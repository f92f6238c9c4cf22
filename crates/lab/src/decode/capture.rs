//! Capture files: pcap and pcapng, of either byte order, any number of interfaces, micro- or
//! nanoseconds.

use std::fmt;
use std::io::Read;

use pcap_parser::pcapng::Block;
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{InterfaceDescriptionBlock, Linktype, PcapBlockOwned, PcapError, create_reader};

/// The longest block that is read: four times the longest packet that tcpdump records.
const BLOCK_LEN_MAX: usize = 1 << 20;
/// Interfaces in one section of a capture.
const INTERFACES_MAX: usize = 1 << 10;
const NANOS: u64 = 1_000_000_000;

/// One recorded packet.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// From 1, as Wireshark counts.
    pub number: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// What the octets begin with.
    pub link: Linktype,
    /// What was recorded.
    pub octets: &'a [u8],
    /// How long the packet was on the wire.
    pub wire_len: usize,
}

/// Why the rest of a capture cannot be read.
#[derive(Debug)]
pub enum Broken {
    /// It is neither pcap nor pcapng.
    NoCapture,
    /// It ends in the middle of a packet.
    CutShort,
    /// A block makes no sense, or is longer than any packet.
    Damaged,
    /// The file system says so, or whoever takes what was read.
    Io(std::io::Error),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCapture => f.write_str("neither pcap nor pcapng"),
            Self::CutShort => f.write_str("the capture ends in the middle of a packet"),
            Self::Damaged => f.write_str("the capture is damaged from here on"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Broken {}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a capture from its first packet to its last.
pub fn read<R: Read + Send>(
    source: R,
    mut visit: impl FnMut(&Frame<'_>) -> std::io::Result<()>,
) -> Result<(), Broken> {
    let mut reader = create_reader(BLOCK_LEN_MAX, source).map_err(|_| Broken::NoCapture)?;
    let mut section = Section::default();
    loop {
        match reader.next() {
            Ok((len, block)) => {
                if let Some(frame) = section.frame(&block)? {
                    visit(&frame)?;
                }
                drop(block);
                reader.consume(len);
            }
            Err(PcapError::Incomplete(_)) => {
                reader.refill().map_err(|_| Broken::Damaged)?;
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::UnexpectedEof) => return Err(Broken::CutShort),
            Err(_) => return Err(Broken::Damaged),
        }
    }
}

/// What earlier blocks say about the packets that follow.
#[derive(Default)]
struct Section {
    count: u64,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    units_per_second: u64,
    offset: i64,
}

impl Section {
    fn frame<'a>(&mut self, block: &'a PcapBlockOwned<'_>) -> Result<Option<Frame<'a>>, Broken> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let nanos = header.is_nanosecond_precision();
                self.interfaces = vec![Interface {
                    // The upper half tells how long the checksum of a frame is.
                    link: Linktype(header.network.0 & 0xffff),
                    units_per_second: if nanos { NANOS } else { NANOS / 1000 },
                    offset: 0,
                }];
                Ok(None)
            }
            PcapBlockOwned::Legacy(packet) => {
                let interface = *self.interfaces.first().ok_or(Broken::Damaged)?;
                let fraction = u64::from(packet.ts_usec) * (NANOS / interface.units_per_second);
                let time = u64::from(packet.ts_sec) * NANOS + fraction;
                let octets = packet.data;
                Ok(Some(self.count(interface, time, octets, packet.origlen)))
            }
            PcapBlockOwned::NG(block) => self.block(block),
        }
    }

    fn block<'a>(&mut self, block: &'a Block<'_>) -> Result<Option<Frame<'a>>, Broken> {
        match block {
            Block::SectionHeader(_) => self.interfaces.clear(),
            Block::InterfaceDescription(description) => self.describe(description)?,
            Block::EnhancedPacket(packet) => {
                let interface = self.interfaces.get(packet.if_id as usize);
                let interface = *interface.ok_or(Broken::Damaged)?;
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let (time, octets) = (interface.time(units), packet.packet_data());
                return Ok(Some(self.count(interface, time, octets, packet.origlen)));
            }
            Block::SimplePacket(packet) => {
                let interface = *self.interfaces.first().ok_or(Broken::Damaged)?;
                let octets = packet.packet_data();
                return Ok(Some(self.count(interface, 0, octets, packet.origlen)));
            }
            Block::NameResolution(_)
            | Block::InterfaceStatistics(_)
            | Block::SystemdJournalExport(_)
            | Block::DecryptionSecrets(_)
            | Block::ProcessInformation(_)
            | Block::Custom(_)
            | Block::Unknown(_) => {}
        }
        Ok(None)
    }

    fn describe(&mut self, description: &InterfaceDescriptionBlock<'_>) -> Result<(), Broken> {
        if self.interfaces.len() == INTERFACES_MAX {
            return Err(Broken::Damaged);
        }
        self.interfaces.push(Interface {
            link: description.linktype,
            units_per_second: units_per_second(description.if_tsresol),
            offset: description.if_tsoffset,
        });
        Ok(())
    }

    fn count<'a>(
        &mut self,
        interface: Interface,
        time: u64,
        octets: &'a [u8],
        wire_len: u32,
    ) -> Frame<'a> {
        self.count += 1;
        Frame {
            number: self.count,
            time,
            link: interface.link,
            octets,
            wire_len: wire_len as usize,
        }
    }
}

impl Interface {
    fn time(&self, units: u64) -> u64 {
        let seconds = (units / self.units_per_second).saturating_add_signed(self.offset);
        let fraction = u128::from(units % self.units_per_second) * u128::from(NANOS)
            / u128::from(self.units_per_second);
        seconds
            .saturating_mul(NANOS)
            .saturating_add(fraction as u64)
    }
}

/// The pcapng option if_tsresol: a power of ten, or of two if the top bit is set; never 0.
fn units_per_second(resolution: u8) -> u64 {
    let exponent = u32::from(resolution & 0x7f);
    let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent).unwrap_or(u64::MAX)
}
