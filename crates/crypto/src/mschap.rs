//! MS-CHAPv2 (RFC 2759 §8), by the RFC's own names.
//!
//! Everything starts from the NT hash of the password, so that a gateway may store the hash and
//! need not know the password.

use std::fmt;

use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use md4::{Digest as _, Md4};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::ct_eq;
use crate::hash::Hash;

/// MD4 of the password in UTF-16: as good as the password itself, and treated like it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct NtHash([u8; 16]);

impl NtHash {
    /// Takes over a hash that was computed elsewhere.
    #[must_use]
    pub fn new(hash: [u8; 16]) -> Self {
        Self(hash)
    }

    /// Reads the 32 hexadecimal digits in which configurations write it.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        Some(Self(u128::from_str_radix(digits, 16).ok()?.to_be_bytes()))
    }

    /// The bytes, for the algorithm that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }

    /// RFC 2759 §8.4, `HashNtPasswordHash`: the hash of the hash.
    fn hashed(&self) -> Zeroizing<[u8; 16]> {
        Zeroizing::new(Md4::digest(self.0).into())
    }
}

impl PartialEq for NtHash {
    fn eq(&self, other: &Self) -> bool {
        ct_eq(&self.0, &other.0)
    }
}

impl Eq for NtHash {}

impl fmt::Debug for NtHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NtHash(…)")
    }
}

/// RFC 2759 §8.3, `NtPasswordHash`.
#[must_use]
pub fn nt_password_hash(password: &str) -> NtHash {
    let mut md4 = Md4::new();
    for unit in password.encode_utf16() {
        md4.update(unit.to_le_bytes());
    }
    NtHash(md4.finalize().into())
}

/// RFC 2759 §8.2, `ChallengeHash`: what both challenges and the user name boil down to.
#[must_use]
pub fn challenge_hash(
    peer_challenge: &[u8; 16],
    authenticator_challenge: &[u8; 16],
    user_name: impl AsRef<[u8]>,
) -> [u8; 8] {
    let user_name = without_domain(user_name.as_ref());
    let digest = Hash::Sha1.digest(&[peer_challenge, authenticator_challenge, user_name]);
    let mut challenge = [0; 8];
    challenge.copy_from_slice(&digest[..8]);
    challenge
}

/// RFC 2759 §8.1, `GenerateNTResponse`.
#[must_use]
pub fn nt_response(
    authenticator_challenge: &[u8; 16],
    peer_challenge: &[u8; 16],
    user_name: impl AsRef<[u8]>,
    password_hash: &NtHash,
) -> [u8; 24] {
    let challenge = challenge_hash(peer_challenge, authenticator_challenge, user_name);
    challenge_response(&challenge, password_hash)
}

/// RFC 2759 §8.7, `GenerateAuthenticatorResponse`: `S=` and 40 upper-case hexadecimal digits, by
/// which the authenticator proves that it knows the password too.
#[must_use]
pub fn authenticator_response(
    password_hash: &NtHash,
    nt_response: &[u8; 24],
    peer_challenge: &[u8; 16],
    authenticator_challenge: &[u8; 16],
    user_name: impl AsRef<[u8]>,
) -> String {
    const MAGIC_1: &[u8; 39] = b"Magic server to client signing constant";
    const MAGIC_2: &[u8; 41] = b"Pad to make it do more than one iteration";

    let password_hash_hash = password_hash.hashed();
    let inner = Hash::Sha1.digest(&[&password_hash_hash[..], nt_response, MAGIC_1]);
    let challenge = challenge_hash(peer_challenge, authenticator_challenge, user_name);
    let proof = Hash::Sha1.digest(&[&inner, &challenge, MAGIC_2]);

    let mut text = String::with_capacity(42);
    text.push_str("S=");
    for byte in proof.iter() {
        text.push_str(&format!("{byte:02X}"));
    }
    text
}

/// RFC 2759 §8.2: the user name is hashed without the domain in front of it.
fn without_domain(user_name: &[u8]) -> &[u8] {
    user_name
        .rsplit(|&byte| byte == b'\\')
        .next()
        .unwrap_or(user_name)
}

/// RFC 2759 §8.5, `ChallengeResponse`: the challenge under three DES keys cut from the hash,
/// the third of which has but 16 bits of it.
fn challenge_response(challenge: &[u8; 8], password_hash: &NtHash) -> [u8; 24] {
    let mut padded = Zeroizing::new([0; 21]);
    padded[..16].copy_from_slice(password_hash.expose());

    let mut response = [0; 24];
    for (key, block) in padded.chunks_exact(7).zip(response.chunks_exact_mut(8)) {
        block.copy_from_slice(&des_encrypt(challenge, key));
    }
    response
}

/// RFC 2759 §8.6, `DesEncrypt`: one block under 56 key bits.
fn des_encrypt(clear: &[u8; 8], key: &[u8]) -> [u8; 8] {
    // The RFC's note on DES keys: seven bits go into each octet, whose low bit is parity and ignored.
    let bits = key
        .iter()
        .fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
    let mut spread = Zeroizing::new([0_u8; 8]);
    for (i, octet) in spread.iter_mut().enumerate() {
        *octet = ((bits >> (49 - 7 * i)) as u8) << 1;
    }
    let mut block = (*clear).into();
    Des::new(&(*spread).into()).encrypt_block(&mut block);
    block.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::hex;

    // RFC 2759 §9.2.
    const AUTHENTICATOR_CHALLENGE: [u8; 16] = *b"[]|}{?/><,`!2&&(";
    const PEER_CHALLENGE: [u8; 16] = *b"!@#$%^&*()_+:3|~";

    #[test]
    fn the_hash_example_of_the_rfc_comes_out() {
        let password_hash = nt_password_hash("clientPass");
        assert_eq!(
            password_hash.expose()[..],
            hex("44EBBA8D5312B8D611474411F56989AE")
        );
        assert_eq!(
            password_hash.hashed()[..],
            hex("41C00C584BD2D91C4017A2A12FA59F3F")
        );
        assert_eq!(
            challenge_hash(&PEER_CHALLENGE, &AUTHENTICATOR_CHALLENGE, "User")[..],
            hex("D02E4386BCE91226")
        );

        let response = nt_response(
            &AUTHENTICATOR_CHALLENGE,
            &PEER_CHALLENGE,
            "User",
            &password_hash,
        );
        assert_eq!(
            response[..],
            hex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")
        );

        let authenticator = authenticator_response(
            &password_hash,
            &response,
            &PEER_CHALLENGE,
            &AUTHENTICATOR_CHALLENGE,
            "User",
        );
        assert_eq!(authenticator, "S=407A5589115FD0D6209F510FE9C04566932CDA56");
    }

    /// RFC 2759 §9.3, where the password is hashed as it stands.
    #[test]
    fn des_keys_are_spread_as_in_the_example_of_the_rfc() {
        let clear = [0x5A; 8];
        for (raw, spread) in [
            ("FC156AF7EDCD6C", "FD0B5B5E7F6E34D9"),
            ("0EDDE3337D427F", "0E6E796737EA08FE"),
        ] {
            let mut block = clear.into();
            Des::new_from_slice(&hex(spread))
                .unwrap()
                .encrypt_block(&mut block);
            assert_eq!(des_encrypt(&clear, &hex(raw))[..], block[..]);
        }
    }

    // conformance: 2759-05
    #[test]
    fn the_domain_is_no_part_of_the_user_name() {
        let hash = |name: &str| challenge_hash(&PEER_CHALLENGE, &AUTHENTICATOR_CHALLENGE, name);
        assert_eq!(hash("CORP\\User"), hash("User"));
        assert_ne!(hash("CORP/User"), hash("User"));
        assert_eq!(hash("CORP\\"), hash(""));
    }

    #[test]
    fn a_hash_may_be_configured_instead_of_the_password() {
        let hash = nt_password_hash("clientPass");
        assert_eq!(
            NtHash::from_hex("44ebba8d5312B8D611474411F56989AE"),
            Some(hash.clone())
        );
        assert_eq!(NtHash::new(*hash.expose()), hash);
        for digits in [
            "",
            "44ebba8d5312",
            "+4ebba8d5312B8D611474411F56989AE",
            "ümlautümlautümlautümlautüm",
        ] {
            assert_eq!(NtHash::from_hex(digits), None);
        }
        assert_eq!(format!("{hash:?}"), "NtHash(…)");
    }

    /// RFC 1320's MD4 written out in Python, over `"pässwörd€𝄞".encode("utf-16-le")`.
    #[test]
    fn a_password_is_hashed_in_utf_16_little_endian() {
        let hash = nt_password_hash("pässwörd€𝄞");
        assert_eq!(hash.expose()[..], hex("0b92ab89d8e0ec0bb35132664c2167c5"));
    }
}
