//! Captures taken apart, changed and read again.

use std::path::PathBuf;
use std::process::{Command, Output};

use lab::decode::capture::{self, Frame};
use lab::decode::keys::Keys;
use lab::decode::layer::Packet;
use lab::decode::{Decoder, Secrets};
use pcap_parser::Linktype;

/// One packet that is ours to change.
#[derive(Clone)]
pub(crate) struct Recorded {
    pub(crate) octets: Vec<u8>,
    pub(crate) wire_len: usize,
}

impl Recorded {
    pub(crate) fn new(octets: Vec<u8>) -> Self {
        let wire_len = octets.len();
        Self { octets, wire_len }
    }
}

pub(crate) const NATT: &str = "natt-aes128gcm16.pcap";
pub(crate) const PLAIN: &str = "plain-secret.pcapng";

pub(crate) fn path(name: &str) -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join("captures").join(name)
}

pub(crate) fn key_log() -> String {
    std::fs::read_to_string(path("natt-aes128gcm16.toml")).unwrap()
}

pub(crate) fn keys(text: &str) -> Keys {
    let mut keys = Keys::default();
    keys.add(text).unwrap();
    keys
}

/// The packets of a committed capture.
pub(crate) fn recorded(name: &str) -> Vec<Recorded> {
    let file = std::fs::File::open(path(name)).unwrap();
    let mut packets = Vec::new();
    capture::read(file, |frame| {
        assert_eq!(frame.link, Linktype::ETHERNET);
        packets.push(Recorded::new(frame.octets.to_vec()));
        Ok(())
    })
    .unwrap();
    packets
}

pub(crate) fn decode_all(packets: &[Recorded], keys: Keys, secrets: Secrets) -> Vec<Packet> {
    decode_as(Linktype::ETHERNET, packets, keys, secrets)
}

pub(crate) fn decode_as(
    link: Linktype,
    packets: &[Recorded],
    keys: Keys,
    secrets: Secrets,
) -> Vec<Packet> {
    let mut decoder = Decoder::new(keys, secrets);
    let frame = |(index, packet): (usize, &Recorded)| {
        decoder.decode(&Frame {
            number: index as u64 + 1,
            time: index as u64 * 1_000_000,
            link,
            octets: &packet.octets,
            wire_len: packet.wire_len,
        })
    };
    packets.iter().enumerate().map(frame).collect()
}

pub(crate) fn faults(packets: &[Packet]) -> Vec<(u64, String)> {
    let of = |packet: &Packet| {
        let number = packet.number;
        let texts: Vec<_> = packet
            .faults
            .iter()
            .map(|fault| (number, fault.to_string()))
            .collect();
        texts
    };
    packets.iter().flat_map(of).collect()
}

pub(crate) fn names(packet: &Packet) -> Vec<&str> {
    packet
        .layers
        .iter()
        .map(lab::decode::layer::Layer::name)
        .collect()
}

/// A capture file of these packets, as tcpdump would write it.
pub(crate) fn pcap(packets: &[Recorded]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, 1] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for packet in packets {
        for word in [1, 0, packet.octets.len(), packet.wire_len] {
            file.extend_from_slice(&(word as u32).to_le_bytes());
        }
        file.extend_from_slice(&packet.octets);
    }
    file
}

/// A directory of one test, gone with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("adit-decode-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().into()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the program.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit-lab"));
    let Output {
        status,
        stdout,
        stderr,
    } = command.arg("decode").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}
