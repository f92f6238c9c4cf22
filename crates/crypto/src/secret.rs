//! Bytes that must not be seen: pre-shared keys, passwords, shared secrets.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Secret bytes of any length: zeroised on drop, compared in constant time, never printed.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes over. What is handed in by reference remains with its owner to erase.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the algorithm that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Number of bytes, which is not a secret.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        ct_eq(&self.0, &other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether both are the same bytes, in a time that depends on nothing but the lengths.
#[must_use]
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Digest;
    use crate::mschap::NtHash;

    #[test]
    fn secrets_are_compared_by_their_bytes() {
        assert_eq!(Secret::new("key"), Secret::new(b"key".to_vec()));
        assert_ne!(Secret::new("key"), Secret::new("kez"));
        assert_ne!(Secret::new("key"), Secret::new("key "));
        assert!(ct_eq(b"", b"") && !ct_eq(b"a", b""));
    }

    #[test]
    fn secrets_are_never_printed() {
        assert_eq!(
            format!("{:?}", Some(Secret::new("hunter2"))),
            "Some(Secret(…))"
        );
    }

    /// What becomes of memory after drop cannot be looked at from safe code; that every type with
    /// a key in it promises to erase it can.
    #[test]
    fn whatever_holds_a_key_erases_it_on_drop() {
        fn erases<T: ZeroizeOnDrop>() {}
        erases::<Secret>();
        erases::<Digest>();
        erases::<NtHash>();
        erases::<aes::Aes128>();
        erases::<aes::Aes192>();
        erases::<aes::Aes256>();
        erases::<aes::Aes128Enc>();
        erases::<aes::Aes192Enc>();
        erases::<aes::Aes256Enc>();
        erases::<aes::Aes128Dec>();
        erases::<aes::Aes192Dec>();
        erases::<aes::Aes256Dec>();
        erases::<des::Des>();
        erases::<des::TdesEde3>();
        erases::<sha1::Sha1>();
        erases::<sha2::Sha256>();
        erases::<sha2::Sha384>();
        erases::<sha2::Sha512>();
        erases::<p256::SecretKey>();
        erases::<p384::SecretKey>();
    }
}
