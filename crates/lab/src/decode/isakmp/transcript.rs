//! What the messages of an exchange leave behind for the later ones: the negotiated algorithms,
//! public values, nonces and identities, from which IVs and HASHes follow (RFC 2409 §5, appendix B).

use crypto::Secret;
use crypto::cipher::Algorithm;
use crypto::hash::{Digest, Hash};
use ike::message::{Chain, Cookies, Header, kind};
use ike::payload::security_association::SecurityAssociation;

/// Attributes of phase 1 (RFC 2409 appendix A).
const ENCRYPTION: u16 = 1;
const HASH: u16 = 2;
const KEY_LENGTH: u16 = 14;

/// What both ends said, each in its own words.
#[derive(Default)]
pub(super) struct Transcript {
    /// The body of the initiator's SA payload.
    pub(super) sa_i: Option<Vec<u8>>,
    pub(super) hash: Option<Hash>,
    pub(super) cipher: Option<Algorithm>,
    pub(super) public_i: Option<Vec<u8>>,
    pub(super) public_r: Option<Vec<u8>>,
    pub(super) nonce_i: Option<Vec<u8>>,
    pub(super) nonce_r: Option<Vec<u8>>,
    pub(super) id_i: Option<Vec<u8>>,
    pub(super) id_r: Option<Vec<u8>>,
}

/// Which end of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Initiator,
    Responder,
}

impl Transcript {
    /// Notes what a message of phase 1 says.
    pub(super) fn note_phase1(&mut self, header: &Header, chain: &Chain<'_>, from: Option<End>) {
        if let Some(body) = chain.all(kind::SA).next() {
            match header.is_first() {
                true => self.sa_i = Some(body.to_vec()),
                false => self.note_choice(body),
            }
        }
        let body = |kind: u8| chain.all(kind).next();
        note(
            &mut self.public_i,
            &mut self.public_r,
            body(kind::KEY_EXCHANGE),
            from,
        );
        note(
            &mut self.id_i,
            &mut self.id_r,
            body(kind::IDENTIFICATION),
            from,
        );
        self.note_nonce(chain, from);
    }

    /// Notes the nonce of a message, of quick mode too.
    pub(super) fn note_nonce(&mut self, chain: &Chain<'_>, from: Option<End>) {
        let nonce = chain.all(kind::NONCE).next();
        note(&mut self.nonce_i, &mut self.nonce_r, nonce, from);
    }

    /// The responder answers with the one transform that it takes.
    fn note_choice(&mut self, body: &[u8]) {
        let Ok(sa) = SecurityAssociation::parse(body) else {
            return;
        };
        let Some(transform) = sa.proposals.first().and_then(|one| one.transforms.first()) else {
            return;
        };
        let number = |kind: u16| {
            let mut all = transform.attributes.iter();
            all.find(|one| one.kind == kind)
                .map(|one| one.value.number())
        };
        self.hash = match number(HASH) {
            Some(1) => Some(Hash::Md5),
            Some(2) => Some(Hash::Sha1),
            Some(4) => Some(Hash::Sha256),
            Some(5) => Some(Hash::Sha384),
            Some(6) => Some(Hash::Sha512),
            _ => None,
        };
        self.cipher = match (number(ENCRYPTION), number(KEY_LENGTH)) {
            (Some(5), _) => Some(Algorithm::TripleDesCbc),
            (Some(7), Some(128)) => Some(Algorithm::Aes128Cbc),
            (Some(7), Some(192)) => Some(Algorithm::Aes192Cbc),
            (Some(7), Some(256)) => Some(Algorithm::Aes256Cbc),
            _ => None,
        };
    }

    /// RFC 2409 appendix B: the IV of the first encrypted message of phase 1.
    pub(super) fn phase1_iv(&self, block_len: usize) -> Option<Vec<u8>> {
        let (hash, i, r) = (self.hash?, self.public_i.as_ref()?, self.public_r.as_ref()?);
        Some(hash.digest(&[i, r])[..block_len].to_vec())
    }

    /// RFC 2409 §5: HASH_I or HASH_R under a pre-shared key. SKEYID needs nothing else but the
    /// nonces, which is why aggressive mode lets anybody try keys on a capture.
    pub(super) fn proof(&self, prover: End, psk: &Secret, cookies: Cookies) -> Option<Digest> {
        let hash = self.hash?;
        let nonces = (self.nonce_i.as_ref()?, self.nonce_r.as_ref()?);
        let skeyid = hash.hmac(psk.expose(), &[nonces.0, nonces.1]);
        let (i, r) = (self.public_i.as_ref()?, self.public_r.as_ref()?);
        let sa_i = self.sa_i.as_ref()?;
        let (cky_i, cky_r) = (&cookies.initiator.0, &cookies.responder.0);
        Some(match prover {
            End::Initiator => {
                let id = self.id_i.as_ref()?;
                hash.hmac(&skeyid, &[i, r, cky_i, cky_r, sa_i, id])
            }
            End::Responder => {
                let id = self.id_r.as_ref()?;
                hash.hmac(&skeyid, &[r, i, cky_r, cky_i, sa_i, id])
            }
        })
    }
}

/// Files a body; where it is not known whose it is, the first of two different ones is the
/// initiator's.
fn note(
    initiator: &mut Option<Vec<u8>>,
    responder: &mut Option<Vec<u8>>,
    body: Option<&[u8]>,
    from: Option<End>,
) {
    let Some(body) = body else { return };
    let from = from.unwrap_or(match initiator {
        Some(known) if known != body => End::Responder,
        _ => End::Initiator,
    });
    match from {
        End::Initiator => *initiator = Some(body.to_vec()),
        End::Responder => *responder = Some(body.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use ike::Cookie;

    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let digit = |letter: u8| char::from(letter).to_digit(16).unwrap() as u8;
        let (pairs, _) = text.as_bytes().as_chunks();
        pairs
            .iter()
            .map(|[high, low]| digit(*high) << 4 | digit(*low))
            .collect()
    }

    /// The example of hashcat's mode 5400, `ike-scan --pskcrack`'s format: g^xr, g^xi, CKY-R,
    /// CKY-I, SAi_b, IDir_b, Ni_b, Nr_b, HASH_R; the key is "hashcat".
    const HASHCAT_5400: &str = "266b43c54636c062b6696b71f24b30999c98bd4c3ba57e2de56a7ae50bb17ebcbca1abcd33e9ad466d4df6e6f2a407600f0c5a983f79d493b0a3694080a81143d4bac7a8b7b008ae5364a04688b3cfae44824885ca96ade1e395936567ecad519b502c3a786c72847f79c67b777feb8ba4f747303eb985709e92b3a5634f6513:60f861c6209c9c996ac0dcb49d6f6809faaaf0e8eb8041fe603a918170a801e94ab8ab10c5906d850f4282c0668029fa69dbc8576f7d86633dc2b21f0d79aa06342b02a4d2732841cd3266b84a7eb49ac489b307ba55562a17741142bac7712025f0a8cad59b11f19d9b756ce998176fd6b063df556957b257b3645549a138c2:f4dd079ed2b60e77:f1f8da1f38f76923:fd862602549f6949b33870f186d96cb8926a19d78442c02af823460740be719eba41a79388aeefb072e1ec7cb46b2f0b72e21fb30bd3a6568d2b041af7f9dc0c9cce27ed577e5aabb9ab6c405f1c4b189adbee8c9fb6abf4788b63a3ae05a02c192187b9d7246efe5e46db9b01bf8f4be05f7599ae52bf137743e41d90dceb85bd6ae07397dcc168bbc904adfebb08e6bc67e653edeee97a7e4ab9dab5e63fec:56e3f0d49ea70514:e754055008febe970053d795d26bfe609f42eda8:0c3283efd6396e7a2ecb008e1933fccb694a4ac0:8f79167724f4bdb2d76ee5d5e502b665e3445ea6";

    #[test]
    fn hash_r_is_what_others_crack() {
        let fields: Vec<Vec<u8>> = HASHCAT_5400.split(':').map(unhex).collect();
        let [
            public_r,
            public_i,
            cky_r,
            cky_i,
            sa_i,
            id_r,
            nonce_i,
            nonce_r,
            hash_r,
        ] = &fields[..]
        else {
            panic!("nine fields");
        };
        let transcript = Transcript {
            sa_i: Some(sa_i.clone()),
            hash: Some(Hash::Sha1),
            public_i: Some(public_i.clone()),
            public_r: Some(public_r.clone()),
            nonce_i: Some(nonce_i.clone()),
            nonce_r: Some(nonce_r.clone()),
            id_r: Some(id_r.clone()),
            ..Transcript::default()
        };
        let proof = |psk: &str| {
            let psk = Secret::new(psk.as_bytes());
            let cookies = Cookies {
                initiator: Cookie(cky_i[..].try_into().unwrap()),
                responder: Cookie(cky_r[..].try_into().unwrap()),
            };
            transcript.proof(End::Responder, &psk, cookies)
        };
        assert_eq!(proof("hashcat").unwrap()[..], hash_r[..]);
        assert_ne!(proof("hashcau").unwrap()[..], hash_r[..]);
    }
}
