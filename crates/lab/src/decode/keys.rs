//! The keys, in whichever form somebody has them.
//!
//! | form | from |
//! |---|---|
//! | TOML, `[[ike]]` and `[[esp]]` | `--key-log` of `adit run` and `adit-lab` |
//! | text | `ip xfrm state`, `ip xfrm monitor` |
//! | comma-separated | Wireshark's `esp_sa` and `ikev1_decryption_table` |
//!
//! A file may hold any of them; it is told by what is in it. What is not understood is complained
//! about and passed over, because the rest may open what somebody looks for.

mod tables;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use crypto::Secret;
use crypto::cipher::Algorithm;
use crypto::esp::{Integrity, Keymat, Suite};
use ike::Cookie;
use serde::Deserialize;

/// One direction of an IPsec SA.
#[derive(Clone, Debug)]
pub struct EspKey {
    /// Names it at its receiver.
    pub spi: u32,
    /// The receiver, as whoever wrote the keys saw it; a NAT may make it another one.
    pub destination: Option<IpAddr>,
    /// The key material.
    pub keymat: Keymat,
}

/// An ISAKMP SA.
#[derive(Clone, Debug)]
pub struct IkeKey {
    /// The cipher; else it is the one that was negotiated, if the capture shows it.
    pub cipher: Option<Algorithm>,
    /// The cipher's key, or SKEYID_e that it is cut or grown from.
    pub key: Secret,
    /// Authenticates what follows phase 1.
    pub skeyid_a: Option<Secret>,
}

/// All keys that were given.
#[derive(Debug, Default)]
pub struct Keys {
    /// For ESP.
    pub esp: Vec<EspKey>,
    /// For ISAKMP, by the initiator's cookie.
    pub ike: BTreeMap<Cookie, IkeKey>,
    /// What was not understood.
    pub complaints: Vec<String>,
}

/// As `--key-log` writes it.
#[derive(Deserialize)]
struct KeyLog {
    #[serde(default)]
    esp: Vec<EspEntry>,
    #[serde(default)]
    ike: Vec<IkeEntry>,
}

#[derive(Deserialize)]
struct EspEntry {
    spi: String,
    cipher: String,
    key: String,
    #[serde(default)]
    integrity: String,
    #[serde(default)]
    integrity_key: String,
    dst: Option<IpAddr>,
}

#[derive(Deserialize)]
struct IkeEntry {
    initiator_cookie: String,
    #[serde(default)]
    cipher: String,
    #[serde(alias = "skeyid_e")]
    key: String,
    skeyid_a: Option<String>,
}

impl Keys {
    /// Reads files.
    pub fn read(paths: &[PathBuf]) -> Result<Self> {
        let mut keys = Self::default();
        for path in paths {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            keys.add(&text)
                .with_context(|| format!("in {}", path.display()))?;
        }
        Ok(keys)
    }

    /// Reads the text of one file.
    pub fn add(&mut self, text: &str) -> Result<()> {
        if text.contains("proto esp") {
            tables::xfrm(self, text);
        } else if text.contains("[[") {
            self.add_key_log(toml::from_str(text)?);
        } else {
            tables::wireshark(self, text);
        }
        Ok(())
    }

    fn add_key_log(&mut self, log: KeyLog) {
        for entry in &log.esp {
            let names = (&*entry.cipher, &*entry.integrity);
            let keys = (&*entry.key, &*entry.integrity_key);
            self.add_esp(&entry.spi, entry.dst, names, keys);
        }
        for entry in &log.ike {
            let cookie = &entry.initiator_cookie;
            self.add_ike(cookie, &entry.cipher, &entry.key, entry.skeyid_a.as_deref());
        }
    }

    /// Takes an IPsec SA: names of cipher and integrity, and their keys in hexadecimal digits.
    fn add_esp(
        &mut self,
        spi: &str,
        destination: Option<IpAddr>,
        names: (&str, &str),
        keys: (&str, &str),
    ) {
        let key = || -> Result<EspKey, String> {
            // `ip -s` repeats it as a decimal number.
            let number = spi.split('(').next().unwrap_or(spi);
            let spi_number = u32::from_str_radix(digits(number), 16)
                .map_err(|_| "the SPI is not a hexadecimal number".to_owned())?;
            Ok(EspKey {
                spi: spi_number,
                destination,
                keymat: keymat(names, (&unhex(keys.0)?, &unhex(keys.1)?))?,
            })
        };
        match key() {
            Ok(key) => self.esp.push(key),
            Err(why) => self.complaints.push(format!("SA {spi}: {why}")),
        }
    }

    fn add_ike(&mut self, cookie: &str, cipher: &str, key: &str, skeyid_a: Option<&str>) {
        let parsed = || -> Result<(Cookie, IkeKey), String> {
            let octets = unhex(cookie)?;
            let octets = octets.try_into().map_err(|_| "a cookie has 8 octets")?;
            let key = Secret::new(unhex(key)?);
            let cipher = ike_cipher(cipher, key.len());
            let skeyid_a = skeyid_a.map(unhex).transpose()?.map(Secret::new);
            Ok((
                Cookie(octets),
                IkeKey {
                    cipher,
                    key,
                    skeyid_a,
                },
            ))
        };
        match parsed() {
            Ok((cookie, key)) => drop(self.ike.insert(cookie, key)),
            Err(why) => self.complaints.push(format!("ISAKMP SA {cookie}: {why}")),
        }
    }
}

/// Only a name that leaves no doubt counts.
fn ike_cipher(name: &str, key_len: usize) -> Option<Algorithm> {
    let name = plain(name);
    let is_aes = name.contains("aes");
    match key_len {
        _ if name.contains("3des") => Some(Algorithm::TripleDesCbc),
        16 if is_aes => Some(Algorithm::Aes128Cbc),
        24 if is_aes => Some(Algorithm::Aes192Cbc),
        32 if is_aes => Some(Algorithm::Aes256Cbc),
        _ => None,
    }
}

/// KEYMAT from what Adit, the kernel and Wireshark call the algorithms.
fn keymat(names: (&str, &str), keys: (&[u8], &[u8])) -> Result<Keymat, String> {
    let (cipher, integrity) = (plain(names.0), plain(names.1));
    let bits = |len: usize| u16::try_from(8 * len).unwrap_or(0);
    let suite = if cipher.contains("gcm") {
        // Named by octets in Wireshark; the kernel gives bits in a column of their own.
        if cipher.contains("8octet") || cipher.contains("12octet") {
            return Err(format!("{} has a short ICV", names.0));
        }
        let key_bits = bits(keys.0.len().saturating_sub(4));
        Suite::AesGcm16 { key_bits }
    } else {
        let unknown = || format!("integrity \"{}\" is not spoken here", names.1);
        let integrity = integrity_of(&integrity).ok_or_else(unknown)?;
        let key_bits = bits(keys.0.len());
        match () {
            () if cipher.contains("des3") || cipher.contains("3des") => {
                Suite::TripleDesCbc { integrity }
            }
            () if cipher.contains("tripledes") => Suite::TripleDesCbc { integrity },
            () if cipher.contains("aes") => Suite::AesCbc {
                key_bits,
                integrity,
            },
            () => return Err(format!("cipher \"{}\" is not spoken here", names.0)),
        }
    };
    let bytes = Secret::new([keys.0, keys.1].concat());
    Keymat::new(suite, bytes.expose())
        .ok_or_else(|| format!("the keys have the wrong length for {suite}"))
}

fn integrity_of(name: &str) -> Option<Integrity> {
    let is = |hash: &[&str], bits: &str| {
        let rest = hash.iter().find_map(|hash| name.split_once(hash));
        rest.is_some_and(|(_, rest)| rest.is_empty() || rest == bits)
    };
    if is(&["sha512", "sha2512"], "256") {
        Some(Integrity::HmacSha512_256)
    } else if is(&["sha384", "sha2384"], "192") {
        Some(Integrity::HmacSha384_192)
    } else if is(&["sha256", "sha2256"], "128") {
        Some(Integrity::HmacSha256_128)
    } else if is(&["sha1"], "96") {
        Some(Integrity::HmacSha1_96)
    } else {
        None
    }
}

/// A name without what people put between its parts, and without the RFC behind it.
fn plain(name: &str) -> String {
    let name = name.split('[').next().unwrap_or(name);
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

fn digits(text: &str) -> &str {
    text.strip_prefix("0x").unwrap_or(text)
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || "not a string of hexadecimal octets".to_owned();
    let (pairs, rest) = digits(text).as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(wrong());
    }
    let octet = |pair: &[u8; 2]| {
        let text = std::str::from_utf8(pair)
            .ok()
            .filter(|text| !text.contains('+'))?;
        u8::from_str_radix(text, 16).ok()
    };
    pairs
        .iter()
        .map(|pair| octet(pair).ok_or_else(wrong))
        .collect()
}

#[cfg(test)]
mod tests;
