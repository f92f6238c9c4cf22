//! Groups modulo a prime (RFC 2409 §6.2, RFC 3526), generator 2.
//!
//! Exponentiation takes the same time for every exponent of a group; only the number of bits,
//! which everybody knows, shows.

use std::sync::LazyLock;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U64, U320, U1024, U1536, U2048, U3072, U4096, Uint};
use zeroize::Zeroizing;

use super::{Arithmetic, BadPublicValue};
use crate::Secret;

/// The longest private exponent, of group 16.
const EXPONENT_LEN_MAX: usize = 40;

/// The numbers of one group.
pub(super) struct Modp<const LIMBS: usize> {
    params: FixedMontyParams<LIMBS>,
    exponent_bits: u32,
}

impl<const LIMBS: usize> Modp<LIMBS> {
    fn new(prime: &str, exponent_bits: u32) -> Self {
        let prime = Odd::new(Uint::from_be_hex(prime)).expect("a prime above 2 is odd");
        Self {
            params: FixedMontyParams::new_vartime(prime),
            exponent_bits,
        }
    }

    #[cfg(test)]
    pub(super) fn prime(&self) -> Vec<u8> {
        self.params.modulus().get().to_be_bytes().as_ref().to_vec()
    }

    fn pow(&self, base: &Uint<LIMBS>, private: &Secret) -> Zeroizing<Uint<LIMBS>> {
        let mut padded = Zeroizing::new([0; EXPONENT_LEN_MAX]);
        padded[EXPONENT_LEN_MAX - private.len()..].copy_from_slice(private.expose());
        let exponent = Zeroizing::new(U320::from_be_slice(&padded[..]));
        let power =
            FixedMontyForm::new(base, &self.params).pow_bounded_exp(&*exponent, self.exponent_bits);
        Zeroizing::new(power.retrieve())
    }

    /// A number from the wire, if it is one that a peer may send.
    fn parse(&self, public: &[u8]) -> Result<Uint<LIMBS>, BadPublicValue> {
        // RFC 2409 §5: KE data has the length of the modulus, leading zeros included.
        if public.len() != Uint::<LIMBS>::BYTES {
            return Err(BadPublicValue);
        }
        let public = Uint::from_be_slice(public);
        // RFC 6989 §2.1: 1 < y < p-1; at the ends the secret would be 0, 1 or p-1.
        let last = self.params.modulus().get().wrapping_sub(&Uint::ONE);
        if public > Uint::ONE && public < last {
            Ok(public)
        } else {
            Err(BadPublicValue)
        }
    }
}

impl<const LIMBS: usize> Arithmetic for Modp<LIMBS> {
    fn private(&self, random: &[u8; 64]) -> Secret {
        let mut exponent = random[..self.exponent_bits as usize / 8].to_vec();
        // The top bit is set, so that no random bytes give an exponent of 0 or a short one.
        exponent[0] |= 0x80;
        Secret::new(exponent)
    }

    fn public(&self, private: &Secret) -> Vec<u8> {
        self.pow(&Uint::from_u8(2), private)
            .to_be_bytes()
            .as_ref()
            .to_vec()
    }

    fn agree(&self, private: &Secret, peer: &[u8]) -> Result<Secret, BadPublicValue> {
        let shared = self.pow(&self.parse(peer)?, private);
        // RFC 2409 §5: g^xy keeps its leading zeros as well.
        Ok(Secret::new(Zeroizing::new(shared.to_be_bytes()).as_ref()))
    }
}

/// RFC 2409 §6.2.
pub(super) static MODP_1024: LazyLock<Modp<{ U1024::LIMBS }>> = LazyLock::new(|| {
    Modp::new(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
         020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
         4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
         EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
        256,
    )
});

/// RFC 3526 §2.
pub(super) static MODP_1536: LazyLock<Modp<{ U1536::LIMBS }>> = LazyLock::new(|| {
    Modp::new(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
         020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
         4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
         EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
         98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB\
         9ED529077096966D670C354E4ABC9804F1746C08CA237327FFFFFFFFFFFFFFFF",
        256,
    )
});

/// RFC 3526 §3, with an exponent of the 220 to 320 bits that its §8 gives for this group.
pub(super) static MODP_2048: LazyLock<Modp<{ U2048::LIMBS }>> = LazyLock::new(|| {
    Modp::new(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
         020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
         4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
         EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
         98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB\
         9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
         E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718\
         3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
        256,
    )
});

/// RFC 3526 §4.
pub(super) static MODP_3072: LazyLock<Modp<{ U3072::LIMBS }>> = LazyLock::new(|| {
    Modp::new(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
         020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
         4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
         EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
         98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB\
         9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
         E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718\
         3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33\
         A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
         ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864\
         D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2\
         08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
        288,
    )
});

/// RFC 3526 §5.
pub(super) static MODP_4096: LazyLock<Modp<{ U4096::LIMBS }>> = LazyLock::new(|| {
    Modp::new(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
         020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
         4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
         EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
         98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB\
         9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
         E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718\
         3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33\
         A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
         ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864\
         D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2\
         08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7\
         88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8\
         DBBBC2DB04DE8EF92E8EFC141FBECAA6287C59474E6BC05D99B2964FA090C3A2\
         233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA9\
         93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF",
        320,
    )
});

/// The largest 64-bit safe prime: the arithmetic of the real groups at none of their cost, and
/// broken in no time. Only the simulation asks for it.
pub(super) static TOY: LazyLock<Modp<{ U64::LIMBS }>> =
    LazyLock::new(|| Modp::new("FFFFFFFFFFFFFA43", 64));
