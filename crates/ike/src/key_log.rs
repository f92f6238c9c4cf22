//! Keys as text, for whoever decodes a capture: an `[[ike]]` or `[[esp]]` table of TOML for each SA.
//! Whoever has the text reads the traffic.

use std::net::IpAddr;

use crypto::cipher::Algorithm;
use crypto::esp::{Integrity, Keymat, Suite};

use crate::{KeyLog, Spi};

/// An ISAKMP SA.
pub fn isakmp(keys: &KeyLog) -> String {
    let cipher = match keys.cipher {
        Algorithm::Aes128Cbc => "aes128-cbc",
        Algorithm::Aes192Cbc => "aes192-cbc",
        Algorithm::Aes256Cbc => "aes256-cbc",
        Algorithm::TripleDesCbc => "3des-cbc",
    };
    let (cookie, key) = (hex(&keys.initiator_cookie.0), hex(keys.key.expose()));
    let skeyid_a = hex(keys.skeyid_a.expose());
    format!(
        "[[ike]]\ninitiator_cookie = \"{cookie}\"\ncipher = \"{cipher}\"\nkey = \"{key}\"\n\
         skeyid_a = \"{skeyid_a}\"\n"
    )
}

/// One direction of an IPsec SA. The key of GCM is key and salt, as in KEYMAT.
pub fn esp(spi: Spi, keys: &Keymat, source: IpAddr, destination: IpAddr) -> String {
    let suite = keys.suite();
    let cipher = match suite {
        Suite::AesGcm16 { key_bits } => format!("aes{key_bits}-gcm16"),
        Suite::AesCbc { key_bits, .. } => format!("aes{key_bits}-cbc"),
        Suite::TripleDesCbc { .. } => "3des-cbc".into(),
    };
    let key = hex(&[keys.encryption_key(), keys.salt()].concat());
    let (spi, integrity, integrity_key) = (spi.0, integrity(suite), hex(keys.integrity_key()));
    format!(
        "[[esp]]\nspi = \"0x{spi:08x}\"\ncipher = \"{cipher}\"\nkey = \"{key}\"\n\
         integrity = \"{integrity}\"\nintegrity_key = \"{integrity_key}\"\n\
         src = \"{source}\"\ndst = \"{destination}\"\n"
    )
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

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use crypto::Secret;

    use super::*;
    use crate::Cookie;

    #[test]
    fn an_isakmp_sa_is_five_lines() {
        let keys = KeyLog {
            initiator_cookie: Cookie([1, 2, 3, 4, 5, 6, 7, 0xff]),
            cipher: Algorithm::TripleDesCbc,
            key: Secret::new(vec![0xab, 0xcd]),
            skeyid_a: Secret::new(vec![0x0e]),
        };
        assert_eq!(
            isakmp(&keys),
            "[[ike]]\ninitiator_cookie = \"01020304050607ff\"\ncipher = \"3des-cbc\"\n\
             key = \"abcd\"\nskeyid_a = \"0e\"\n"
        );
    }

    #[test]
    fn gcm_has_its_salt_behind_the_key_and_no_integrity() {
        let suite = Suite::AesGcm16 { key_bits: 128 };
        let keymat: Vec<u8> = (0..20).collect();
        let keys = Keymat::new(suite, &keymat).unwrap();
        let [source, destination] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        assert_eq!(
            esp(Spi(0x1234), &keys, source, destination),
            "[[esp]]\nspi = \"0x00001234\"\ncipher = \"aes128-gcm16\"\n\
             key = \"000102030405060708090a0b0c0d0e0f10111213\"\n\
             integrity = \"none\"\nintegrity_key = \"\"\nsrc = \"192.0.2.1\"\ndst = \"192.0.2.2\"\n"
        );
    }

    #[test]
    fn cbc_has_two_keys() {
        let integrity = Integrity::HmacSha1_96;
        let suite = Suite::TripleDesCbc { integrity };
        let keys = Keymat::new(suite, &[vec![1; 24], vec![2; 20]].concat()).unwrap();
        let text = esp(Spi(1), &keys, [0; 4].into(), [0; 4].into());
        assert!(text.contains(&format!("\nkey = \"{}\"\n", "01".repeat(24))));
        assert!(text.contains("\nintegrity = \"hmac-sha1-96\"\n"));
        assert!(text.contains(&format!("\nintegrity_key = \"{}\"\n", "02".repeat(20))));
    }
}
