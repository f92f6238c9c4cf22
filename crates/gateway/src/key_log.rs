//! `--key-log`: the keys of every SA, for decoding captures. Whoever has the file reads the traffic.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use control::KeyLog;
use crypto::cipher::Algorithm;
use crypto::esp::{Integrity, Suite};
use serde::Serialize;

/// The file; each SA is appended as soon as it exists.
pub(crate) struct KeyLogFile {
    file: File,
}

/// `[[esp]]`: one direction of an IPsec SA.
#[derive(Serialize)]
struct Esp {
    spi: String,
    cipher: String,
    /// GCM: key and salt as in KEYMAT.
    key: String,
    integrity: &'static str,
    integrity_key: String,
    src: String,
    dst: String,
}

/// `[[ike]]`: an ISAKMP SA.
#[derive(Serialize)]
struct Ike {
    initiator_cookie: String,
    cipher: &'static str,
    /// Expanded, RFC 2409 appendix B.
    key: String,
    skeyid_a: String,
}

#[derive(Serialize, Default)]
struct Entry {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    esp: Vec<Esp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ike: Vec<Ike>,
}

impl KeyLogFile {
    /// Makes the file anew, readable by its owner only.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options
            .open(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file })
    }

    pub(crate) fn write(&mut self, keys: &KeyLog) -> Result<()> {
        let mut entry = Entry::default();
        match keys {
            KeyLog::Ike(ike) => entry.ike.push(Ike {
                initiator_cookie: hex(&ike.initiator_cookie.0),
                cipher: ike_cipher(ike.cipher),
                key: hex(ike.key.expose()),
                skeyid_a: hex(ike.skeyid_a.expose()),
            }),
            KeyLog::Esp {
                spi,
                keys,
                source,
                destination,
            } => entry.esp.push(Esp {
                spi: format!("0x{spi:08x}"),
                cipher: esp_cipher(keys.suite()),
                key: hex(&[keys.encryption_key(), keys.salt()].concat()),
                integrity: integrity(keys.suite()),
                integrity_key: hex(keys.integrity_key()),
                src: source.to_string(),
                dst: destination.to_string(),
            }),
        }
        let text = toml::to_string(&entry)?;
        self.file
            .write_all(text.as_bytes())
            .context("the key log cannot be written")
    }
}

fn ike_cipher(cipher: Algorithm) -> &'static str {
    match cipher {
        Algorithm::Aes128Cbc => "aes128-cbc",
        Algorithm::Aes192Cbc => "aes192-cbc",
        Algorithm::Aes256Cbc => "aes256-cbc",
        Algorithm::TripleDesCbc => "3des-cbc",
    }
}

fn esp_cipher(suite: Suite) -> String {
    match suite {
        Suite::AesGcm16 { key_bits } => format!("aes{key_bits}-gcm16"),
        Suite::AesCbc { key_bits, .. } => format!("aes{key_bits}-cbc"),
        Suite::TripleDesCbc { .. } => "3des-cbc".into(),
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
