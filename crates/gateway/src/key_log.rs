//! `--key-log`: the keys of every SA, for decoding captures. Whoever has the file reads the traffic.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use control::KeyLog;
use ike::{Spi, key_log};

/// Nobody but the owner reads or writes.
const OWNER_ONLY: u32 = 0o600;

/// The file; each SA is appended as soon as it exists.
pub(crate) struct KeyLogFile {
    /// `None` once it could not be written.
    file: Option<File>,
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
        let text = match keys {
            KeyLog::Ike(keys) => key_log::isakmp(keys),
            KeyLog::Esp {
                spi,
                keys,
                source,
                destination,
            } => key_log::esp(Spi(*spi), keys, *source, *destination),
        };
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use crypto::esp::{Keymat, Suite};

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
