//! `--key-log`: keys for decoding a capture, written as `adit run --key-log` writes them.
//! Whoever has the file reads the traffic.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use ike::{Child, KeyLog, key_log};

/// The file; each SA is appended as soon as it exists.
pub struct KeyLogFile(File);

impl KeyLogFile {
    /// Opens the file, readable by its owner only.
    pub fn open(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(file))
    }

    /// Writes an ISAKMP SA.
    pub fn write_isakmp(&mut self, keys: &KeyLog) -> io::Result<()> {
        self.write(&key_log::isakmp(keys))
    }

    /// Writes both directions of an IPsec SA pair.
    pub fn write_pair(&mut self, child: &Child, own: Ipv4Addr, peer: Ipv4Addr) -> io::Result<()> {
        let [own, peer] = [own.into(), peer.into()];
        let inbound = key_log::esp(child.inbound, &child.inbound_keys, peer, own);
        self.write(&inbound)?;
        let outbound = key_log::esp(child.outbound, &child.outbound_keys, own, peer);
        self.write(&outbound)
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes())
    }
}
