//! Tables of others: the kernel's, and Wireshark's.

use std::net::IpAddr;

use super::Keys;

/// ICV of AES-GCM that is spoken here, in bits.
const GCM_ICV_BITS: &str = "128";

/// One SA of `ip xfrm state`, as far as it has been read.
#[derive(Default)]
struct State<'t> {
    destination: Option<IpAddr>,
    spi: Option<&'t str>,
    cipher: (&'t str, &'t str),
    integrity: (&'t str, String),
}

/// The text of `ip xfrm state`, or of `ip xfrm monitor`, which puts a word before some SAs.
///
/// ```text
/// src 10.9.0.2 dst 10.9.0.1
///         proto esp spi 0xc7e63ccd reqid 1 mode transport
///         auth-trunc hmac(sha1) 0x… 96
///         enc cbc(aes) 0x…
/// ```
pub(super) fn xfrm(keys: &mut Keys, text: &str) {
    let mut state = State::default();
    for line in text.lines() {
        // `ip -s` says in parentheses how long a key is.
        let is_no_aside = |word: &&str| !word.starts_with('(') && !word.ends_with("bits)");
        let words: Vec<&str> = line.split_whitespace().filter(is_no_aside).collect();
        match &words[..] {
            [.., "src", _, "dst", destination] if !line.starts_with(char::is_whitespace) => {
                std::mem::take(&mut state).finish(keys);
                state.destination = destination.parse().ok();
            }
            ["proto", "esp", "spi", spi, ..] => state.spi = Some(spi),
            ["enc", name, key, ..] => state.cipher = (name, key),
            ["aead", name, key, GCM_ICV_BITS, ..] => state.cipher = (name, key),
            ["auth" | "auth-trunc", name, key, rest @ ..] => {
                let bits = rest.first().filter(|_| words[0] == "auth-trunc");
                state.integrity = (key, format!("{name}{}", bits.unwrap_or(&"")));
            }
            _ => {}
        }
    }
    state.finish(keys);
}

impl State<'_> {
    fn finish(self, keys: &mut Keys) {
        let Some(spi) = self.spi else { return };
        let (cipher, key) = self.cipher;
        let (integrity_key, integrity) = self.integrity;
        let names = (cipher, &*integrity);
        keys.add_esp(spi, self.destination, names, (key, integrity_key));
    }
}

/// Rows of `esp_sa` (family, source, destination, SPI, cipher, key, integrity, its key) and of
/// `ikev1_decryption_table` (cookie, key).
pub(super) fn wireshark(keys: &mut Keys, text: &str) {
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let cells: Vec<&str> = line
            .split(',')
            .map(|cell| cell.trim().trim_matches('"'))
            .collect();
        match cells[..] {
            [
                _,
                _,
                destination,
                spi,
                cipher,
                key,
                integrity,
                integrity_key,
                ..,
            ] => {
                let destination = destination.parse().ok();
                keys.add_esp(spi, destination, (cipher, integrity), (key, integrity_key));
            }
            [cookie, key] => keys.add_ike(cookie, "", key, None),
            _ => keys
                .complaints
                .push(format!("not a row of keys: {} cells", cells.len())),
        }
    }
}
