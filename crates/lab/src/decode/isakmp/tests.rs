use crypto::cipher::Algorithm;

use super::*;

/// What a block of zeroes becomes under the key that a given one stands for.
fn under(hash: Hash, algorithm: Algorithm, given: &[u8]) -> [u8; 16] {
    let mut sa = Sa::default();
    sa.phase1.said.hash = Some(hash);
    let key = IkeKey {
        cipher: Some(algorithm),
        key: Secret::new(given),
        skeyid_a: None,
    };
    let mut block = [0; 16];
    sa.cipher(&key).unwrap().0.encrypt(&[0; 16], &mut block);
    block
}

/// RFC 2409 appendix B: SKEYID_e is cut if it is longer than the cipher's key, and else K1 | K2,
/// with K1 = prf(SKEYID_e, 0), K2 = prf(SKEYID_e, K1).
#[test]
fn skeyid_e_does_as_well_as_the_cipher_s_key() {
    let skeyid_e: Vec<u8> = (1..=32).collect();
    let cut = under(Hash::Sha256, Algorithm::Aes128Cbc, &skeyid_e);
    assert_eq!(
        cut,
        under(Hash::Sha256, Algorithm::Aes128Cbc, &skeyid_e[..16])
    );

    let skeyid_e = &skeyid_e[..20];
    let first = Hash::Sha1.hmac(skeyid_e, &[&[0]]);
    let second = Hash::Sha1.hmac(skeyid_e, &[&first]);
    let key = [&first[..], &second[..12]].concat();
    let grown = under(Hash::Sha1, Algorithm::Aes256Cbc, skeyid_e);
    assert_eq!(grown, under(Hash::Sha1, Algorithm::Aes256Cbc, &key));
}
