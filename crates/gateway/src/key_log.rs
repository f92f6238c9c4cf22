//! `--key-log`: the keys of every SA, for decoding captures. Whoever has the file reads the traffic.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use control::KeyLog;
use crypto::cipher::Algorithm;
use crypto::esp::{Integrity, Suite};
use serde::Serialize;

/// Nobody but the owner reads or writes.
const OWNER_ONLY: u32 = 0o600;

/// The file; each SA is appended as soon as it exists.
pub(crate) struct KeyLogFile {
    /// `None` once it could not be written.
    file: Option<File>,
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
    /// Begins the file anew, readable by its owner only.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(OWNER_ONLY);
        let file = options
            .open(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        // A file that was there before keeps its mode, whatever is asked for above.
        if file.metadata()?.is_file() {
            file.set_permissions(Permissions::from_mode(OWNER_ONLY))
                .with_context(|| format!("{} is somebody else's", path.display()))?;
        }
        Ok(Self { file: Some(file) })
    }

    /// Appends the keys. A disk that is full ends the key log, and nothing else.
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
        let written = self
            .file
            .as_mut()
            .map(|file| file.write_all(text.as_bytes()));
        if let Some(Err(error)) = written {
            tracing::error!(%error, "the key log ends here: it cannot be written");
            self.file = None;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use crypto::esp::Keymat;

    use super::*;

    fn keys() -> KeyLog {
        let suite = Suite::AesGcm16 { key_bits: 128 };
        KeyLog::Esp {
            spi: 0x1234,
            keys: Keymat::new(suite, &[7; 20]).unwrap(),
            source: [192, 0, 2, 1].into(),
            destination: [192, 0, 2, 2].into(),
        }
    }

    #[test]
    fn a_file_that_everybody_could_read_is_the_owners_before_a_key_is_in_it() {
        let path = std::env::temp_dir().join(format!("adit-keys-{}.toml", std::process::id()));
        fs::write(&path, "of a former run").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let mut file = KeyLogFile::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, OWNER_ONLY);
        file.write(&keys()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("[[esp]]\nspi = \"0x00001234\"\n"),
            "{text}"
        );
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_full_disk_ends_the_key_log_and_not_the_gateway() {
        let mut file = KeyLogFile::create(Path::new("/dev/full")).unwrap();
        assert!(file.write(&keys()).is_ok() && file.file.is_none());
        assert!(file.write(&keys()).is_ok());
    }
}
