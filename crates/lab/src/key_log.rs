//! `--key-log`: keys for decoding a capture, written as `adit run --key-log` writes them.
//! Whoever has the file reads the traffic.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crypto::cipher::Algorithm;
use crypto::esp::{Integrity, Keymat, Suite};
use ike::{Child, KeyLog};

/// The file; each SA is appended as soon as it exists.
pub struct KeyLogFile(File);

impl KeyLogFile {
    /// Opens the file, readable by its owner only.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        Ok(Self(file))
    }

    /// Writes an ISAKMP SA.
    pub fn write_isakmp(&mut self, keys: &KeyLog) -> io::Result<()> {
        let cookie = hex(&keys.initiator_cookie.0);
        let (cipher, key) = (ike_cipher(keys.cipher), hex(keys.key.expose()));
        let skeyid_a = hex(keys.skeyid_a.expose());
        self.write(&format!(
            "[[ike]]\ninitiator_cookie = \"{cookie}\"\ncipher = \"{cipher}\"\nkey = \"{key}\"\n\
             skeyid_a = \"{skeyid_a}\"\n"
        ))
    }

    /// Writes both directions of an IPsec SA pair.
    pub fn write_pair(&mut self, child: &Child, own: Ipv4Addr, peer: Ipv4Addr) -> io::Result<()> {
        self.write(&esp(child.inbound.0, &child.inbound_keys, peer, own))?;
        self.write(&esp(child.outbound.0, &child.outbound_keys, own, peer))
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes())
    }
}

fn esp(spi: u32, keys: &Keymat, source: Ipv4Addr, destination: Ipv4Addr) -> String {
    let suite = keys.suite();
    let cipher = match suite {
        Suite::AesGcm16 { key_bits } => format!("aes{key_bits}-gcm16"),
        Suite::AesCbc { key_bits, .. } => format!("aes{key_bits}-cbc"),
        Suite::TripleDesCbc { .. } => "3des-cbc".into(),
    };
    let key = hex(&[keys.encryption_key(), keys.salt()].concat());
    let (integrity, integrity_key) = (integrity(suite), hex(keys.integrity_key()));
    format!(
        "[[esp]]\nspi = \"0x{spi:08x}\"\ncipher = \"{cipher}\"\nkey = \"{key}\"\n\
         integrity = \"{integrity}\"\nintegrity_key = \"{integrity_key}\"\n\
         src = \"{source}\"\ndst = \"{destination}\"\n"
    )
}

fn ike_cipher(cipher: Algorithm) -> &'static str {
    match cipher {
        Algorithm::Aes128Cbc => "aes128-cbc",
        Algorithm::Aes192Cbc => "aes192-cbc",
        Algorithm::Aes256Cbc => "aes256-cbc",
        Algorithm::TripleDesCbc => "3des-cbc",
    }
}

fn integrity(suite: Suite) -> &'static str {
    let (Suite::AesCbc { integrity, .. } | Suite::TripleDesCbc { integrity }) = suite else {
        return "none";
    };
    match integrity {
        Integrity::HmacSha1_96 => "hmac-sha1-96",
        Integrity::HmacSha256_128 => "hmac-sha256-128",
        Integrity::HmacSha384_192 => "hmac-sha384-192",
        Integrity::HmacSha512_256 => "hmac-sha512-256",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
