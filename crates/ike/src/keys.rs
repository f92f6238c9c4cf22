//! Keys: SKEYID and its family (RFC 2409 §5), KEYMAT (§5.5), IVs and long keys (appendix B), and the
//! HASHes that authenticate with them.

use std::fmt;

use crypto::Secret;
use crypto::cipher::Cbc;
use crypto::esp::{Keymat, Suite};
use crypto::hash::{Digest, Hash};

use crate::KeyLog;
use crate::message::{Cookies, Spi};
use crate::payload::notification::PROTO_IPSEC_ESP;
use crate::policy::Phase1Proposal;

/// What both ends contributed to phase 1, nonces and public values in wire form.
#[derive(Clone, Copy, Debug)]
pub struct Exchanged<'a> {
    /// Both cookies.
    pub cookies: Cookies,
    /// The initiator's nonce.
    pub nonce_i: &'a [u8],
    /// The responder's nonce.
    pub nonce_r: &'a [u8],
    /// The initiator's public value.
    pub public_i: &'a [u8],
    /// The responder's public value.
    pub public_r: &'a [u8],
    /// The body of the initiator's SA payload, as it was sent.
    pub sa_i: &'a [u8],
}

/// The keys of an ISAKMP SA.
pub struct IsakmpKeys {
    suite: Phase1Proposal,
    /// SKEYID, SKEYID_d, SKEYID_a and the cipher's key, one behind the other: very many SAs are idle.
    keys: Secret,
}

impl fmt::Debug for IsakmpKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IsakmpKeys({}, …)", self.suite)
    }
}

impl IsakmpKeys {
    /// SKEYID for pre-shared keys, and what follows from it (RFC 2409 §5).
    #[must_use]
    pub fn derive(
        suite: Phase1Proposal,
        psk: &[u8],
        exchanged: &Exchanged<'_>,
        shared: &[u8],
    ) -> Self {
        let prf = suite.hash;
        let (i, r) = (
            &exchanged.cookies.initiator.0,
            &exchanged.cookies.responder.0,
        );
        let skeyid = prf.hmac(psk, &[exchanged.nonce_i, exchanged.nonce_r]);
        let skeyid_d = prf.hmac(&skeyid, &[shared, i, r, &[0]]);
        let skeyid_a = prf.hmac(&skeyid, &[&skeyid_d, shared, i, r, &[1]]);
        let skeyid_e = prf.hmac(&skeyid, &[&skeyid_a, shared, i, r, &[2]]);
        let key = expand(prf, &skeyid_e, suite.cipher.key_len());
        let keys = [&skeyid[..], &skeyid_d, &skeyid_a, key.expose()].concat();
        Self {
            suite,
            keys: Secret::new(keys),
        }
    }

    fn skeyid(&self) -> &[u8] {
        self.prf_key(0)
    }

    fn skeyid_d(&self) -> &[u8] {
        self.prf_key(1)
    }

    fn skeyid_a(&self) -> &[u8] {
        self.prf_key(2)
    }

    fn prf_key(&self, number: usize) -> &[u8] {
        let len = self.suite.hash.output_len();
        &self.keys.expose()[number * len..][..len]
    }

    fn key(&self) -> &[u8] {
        &self.keys.expose()[3 * self.suite.hash.output_len()..]
    }

    /// The negotiated suite.
    #[must_use]
    pub fn suite(&self) -> Phase1Proposal {
        self.suite
    }

    /// The cipher of messages. Its round keys take 480 octets, and there are few messages.
    #[must_use]
    pub fn cipher(&self) -> Cbc {
        Cbc::new(self.suite.cipher, self.key()).expect("expanded to the key's length")
    }

    /// HASH_I, by which the initiator proves who it is.
    #[must_use]
    pub fn hash_i(&self, exchanged: &Exchanged<'_>, id_body: &[u8]) -> Digest {
        let Exchanged {
            cookies,
            public_i,
            public_r,
            sa_i,
            ..
        } = exchanged;
        let (i, r) = (&cookies.initiator.0, &cookies.responder.0);
        self.prf(self.skeyid(), &[public_i, public_r, i, r, sa_i, id_body])
    }

    /// HASH_R, by which the responder proves who it is.
    #[must_use]
    pub fn hash_r(&self, exchanged: &Exchanged<'_>, id_body: &[u8]) -> Digest {
        let Exchanged {
            cookies,
            public_i,
            public_r,
            sa_i,
            ..
        } = exchanged;
        let (i, r) = (&cookies.initiator.0, &cookies.responder.0);
        self.prf(self.skeyid(), &[public_r, public_i, r, i, sa_i, id_body])
    }

    /// HASH(1) of quick mode and informational: message ID and everything behind the HASH.
    #[must_use]
    pub fn hash_1(&self, message_id: u32, rest: &[u8]) -> Digest {
        self.prf(self.skeyid_a(), &[&message_id.to_be_bytes(), rest])
    }

    /// HASH(2): the same with the initiator's nonce, which shows that the responder is alive.
    #[must_use]
    pub fn hash_2(&self, message_id: u32, nonce_i: &[u8], rest: &[u8]) -> Digest {
        self.prf(self.skeyid_a(), &[&message_id.to_be_bytes(), nonce_i, rest])
    }

    /// HASH(3): both nonces, which shows that the initiator is alive.
    #[must_use]
    pub fn hash_3(&self, message_id: u32, nonce_i: &[u8], nonce_r: &[u8]) -> Digest {
        self.prf(
            self.skeyid_a(),
            &[&[0], &message_id.to_be_bytes(), nonce_i, nonce_r],
        )
    }

    /// KEYMAT of the SA that is received under this SPI (RFC 2409 §5.5).
    #[must_use]
    pub fn keymat(
        &self,
        suite: Suite,
        spi: Spi,
        nonces: (&[u8], &[u8]),
        shared: Option<&Secret>,
    ) -> Keymat {
        let shared = shared.map_or(&[][..], Secret::expose);
        let seed: [&[u8]; 5] = [
            shared,
            &[PROTO_IPSEC_ESP],
            &spi.0.to_be_bytes(),
            nonces.0,
            nonces.1,
        ];
        let mut bytes = Vec::new();
        let mut last: Option<Digest> = None;
        while bytes.len() < suite.keymat_len() {
            let previous = last.as_deref().unwrap_or(&[]);
            let next = self.prf(
                self.skeyid_d(),
                &[previous, seed[0], seed[1], seed[2], seed[3], seed[4]],
            );
            bytes.extend_from_slice(&next);
            last = Some(next);
        }
        bytes.truncate(suite.keymat_len());
        let bytes = Secret::new(bytes);
        Keymat::new(suite, bytes.expose()).expect("cut to the suite's length")
    }

    /// The IV of the first encrypted message of phase 1 (RFC 2409 appendix B).
    #[must_use]
    pub fn phase1_iv(&self, exchanged: &Exchanged<'_>) -> Vec<u8> {
        self.iv(&[exchanged.public_i, exchanged.public_r])
    }

    /// The IV of the first message of an exchange after phase 1 (RFC 2409 appendix B).
    #[must_use]
    pub fn phase2_iv(&self, last_phase1_block: &[u8], message_id: u32) -> Vec<u8> {
        self.iv(&[last_phase1_block, &message_id.to_be_bytes()])
    }

    /// What Wireshark needs.
    #[must_use]
    pub fn key_log(&self, cookies: Cookies) -> KeyLog {
        KeyLog {
            initiator_cookie: cookies.initiator,
            cipher: self.suite.cipher,
            key: Secret::new(self.key()),
            skeyid_a: Secret::new(self.skeyid_a()),
        }
    }

    fn prf(&self, key: &[u8], parts: &[&[u8]]) -> Digest {
        self.suite.hash.hmac(key, parts)
    }

    fn iv(&self, parts: &[&[u8]]) -> Vec<u8> {
        self.suite.hash.digest(parts)[..self.suite.cipher.block_len()].to_vec()
    }
}

/// RFC 2409 appendix B: a key longer than SKEYID_e is K1 | K2 | …, K1 = prf(SKEYID_e, 0),
/// Kn = prf(SKEYID_e, Kn-1).
#[must_use]
pub fn expand(prf: Hash, skeyid_e: &[u8], key_len: usize) -> Secret {
    if skeyid_e.len() >= key_len {
        return Secret::new(skeyid_e[..key_len].to_vec());
    }
    let mut key = Vec::new();
    let mut block = prf.hmac(skeyid_e, &[&[0]]);
    loop {
        key.extend_from_slice(&block);
        if key.len() >= key_len {
            key.truncate(key_len);
            return Secret::new(key);
        }
        block = prf.hmac(skeyid_e, &[&block]);
    }
}
