//! Random ECP groups (RFC 5903): NIST P-256 and P-384.

use std::marker::PhantomData;

use p256::NistP256;
use p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use p256::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytesSize, PublicKey, SecretKey};
use p384::NistP384;
use zeroize::Zeroizing;

use super::{Arithmetic, BadPublicValue};
use crate::Secret;
use crate::hash::Hash;

pub(super) static ECP_256: Ecp<NistP256> = Ecp::new(32);
pub(super) static ECP_384: Ecp<NistP384> = Ecp::new(48);

/// SEC 1 §2.3.3: what stands in front of an uncompressed point everywhere but in IKE.
const UNCOMPRESSED: u8 = 4;

/// A curve, by its type and the length of a coordinate.
pub(super) struct Ecp<C> {
    coordinate_len: usize,
    curve: PhantomData<fn() -> C>,
}

impl<C> Ecp<C> {
    const fn new(coordinate_len: usize) -> Self {
        Self {
            coordinate_len,
            curve: PhantomData,
        }
    }
}

impl<C> Arithmetic for Ecp<C>
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
{
    fn private(&self, random: &[u8; 64]) -> Secret {
        let mut candidate = Zeroizing::new(*random);
        // A candidate fails once in 2^32 for P-256 and once in 2^194 for P-384.
        loop {
            let bytes = &candidate[..self.coordinate_len];
            if SecretKey::<C>::from_slice(bytes).is_ok() {
                return Secret::new(bytes);
            }
            let next = Hash::Sha512.digest(&[&candidate[..]]);
            candidate.copy_from_slice(&next);
        }
    }

    fn public(&self, private: &Secret) -> Vec<u8> {
        let point = scalar::<C>(private).public_key().to_sec1_point(false);
        // RFC 5903 §7: the value is x and y, one after the other, each at full length.
        point.as_bytes()[1..].to_vec()
    }

    fn agree(&self, private: &Secret, peer: &[u8]) -> Result<Secret, BadPublicValue> {
        if peer.len() != 2 * self.coordinate_len {
            return Err(BadPublicValue);
        }
        let mut point = vec![UNCOMPRESSED];
        point.extend_from_slice(peer);
        // RFC 6989 §2.3: the point must be on the curve; the parser sees to it.
        let peer = PublicKey::<C>::from_sec1_bytes(&point).map_err(|_| BadPublicValue)?;
        // RFC 5903 §7: the shared secret is x alone.
        Ok(Secret::new(
            &scalar::<C>(private)
                .diffie_hellman(&peer)
                .raw_secret_bytes()[..],
        ))
    }
}

fn scalar<C: CurveArithmetic>(private: &Secret) -> SecretKey<C> {
    SecretKey::from_slice(private.expose()).expect("`private` returns nothing else")
}
