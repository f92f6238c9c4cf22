//! Secrets in a configuration, and outside of it: each in clear, in a file of its own, or by its name
//! in the one file of secrets.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crypto::Secret;
use toml::de::DeValue;

use super::{Document, Section};

/// What others than owner and group may do with a file.
const OTHERS: u32 = 0o007;

impl Document {
    /// Warns, once, of a file with a secret in it that is open to everybody on the machine.
    fn warn_if_open(&self, file: &Path, at: usize, key: &str) {
        let mode = std::fs::metadata(file).map_or(0, |file| file.permissions().mode());
        if mode & OTHERS == 0 {
            return;
        }
        let file = file.display();
        let what = format!("everybody on this machine can read {file}: chmod o= {file}");
        let is_known = self
            .warnings
            .borrow()
            .iter()
            .any(|known| known.what == what);
        if !is_known {
            let warning = self.remark(at, key, what);
            self.warnings.borrow_mut().push(warning);
        }
    }

    /// A relative file is looked for beside the configuration.
    fn beside(&self, file: &str) -> PathBuf {
        self.file
            .parent()
            .unwrap_or_else(|| Path::new(""))
            .join(file)
    }
}

impl Section<'_> {
    /// Reads the file of secrets that `key` names, if it does: one `name = "secret"` a line, for
    /// every `{ name = "…" }` of this document.
    pub fn secrets(&self, key: &str) {
        let Some(file) = self.text(key) else { return };
        let file = self.document.beside(&file);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                return self.fault(key, format!("{} cannot be read: {error}", file.display()));
            }
        };
        let at = self.table.get(key).map_or(0, |value| value.span().start);
        self.document.warn_if_open(&file, at, key);
        let other = Document::new(&file, text);
        let secrets = other.read(|root| {
            let names: Vec<String> = root.table.keys().map(|k| k.get_ref().to_string()).collect();
            let secret = |name: String| {
                let secret = Secret::new(root.text(&name)?.into_bytes());
                Some((name, secret))
            };
            names.into_iter().filter_map(secret).collect()
        });
        *self.document.secrets.borrow_mut() = secrets;
        let faults = other.into_faults();
        self.document.faults.borrow_mut().extend(faults);
    }

    /// A secret: a text in clear, `{ file = "…" }` whose content, less the last line end, it is, or
    /// `{ name = "…" }` in the file of secrets.
    pub fn secret(&self, key: &str) -> Option<Secret> {
        let value = self.value(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            let (file, at) = (&self.document.file, value.span().start);
            self.document.warn_if_open(file, at, &self.full(key));
            return self.text(key).map(|text| Secret::new(text.into_bytes()));
        };
        let section = Self::new(self.document, self.full(key), value.span().start, table);
        let secret = match section.text("name") {
            Some(name) => section.named_secret(&name),
            None => section
                .required_text("file")
                .and_then(|file| section.read_secret(&file)),
        };
        section.finish();
        secret
    }

    fn named_secret(&self, name: &str) -> Option<Secret> {
        let secret = self.document.secrets.borrow().get(name).cloned();
        if secret.is_none() {
            let what = format!("there is no \"{name}\" in the file that `secrets` names");
            self.fault("name", what);
        }
        secret
    }

    fn read_secret(&self, file: &str) -> Option<Secret> {
        let file = self.document.beside(file);
        match std::fs::read(&file) {
            Ok(mut bytes) => {
                self.document
                    .warn_if_open(&file, self.at, &self.full("file"));
                while matches!(bytes.last(), Some(b'\n' | b'\r')) {
                    bytes.pop();
                }
                Some(Secret::new(bytes))
            }
            Err(error) => {
                let what = format!("{} cannot be read: {error}", file.display());
                self.fault("file", what);
                None
            }
        }
    }
}
