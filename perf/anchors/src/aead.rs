//! AES-GCM of ring and of AWS-LC, whose Rust interfaces are the same.

use crate::{Anchor, Cipher, GCM_ICV, Suite, gcm_parts};

macro_rules! aead {
    ($maker:ident, $library:ident, $name:literal) => {
        pub(crate) fn $maker(suite: &Suite) -> Option<Box<dyn Anchor>> {
            use ::$library::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

            struct Gcm {
                key: LessSafeKey,
                salt: Vec<u8>,
            }

            impl Anchor for Gcm {
                fn name(&self) -> &'static str {
                    $name
                }

                fn seal(&mut self, packets: &mut [&mut [u8]]) {
                    for packet in packets {
                        let (aad, nonce, body) = gcm_parts(packet, &self.salt);
                        let (text, icv) = body.split_at_mut(body.len() - GCM_ICV);
                        let nonce = Nonce::assume_unique_for_key(nonce);
                        let key = &self.key;
                        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text);
                        if let Ok(tag) = tag {
                            icv.copy_from_slice(tag.as_ref());
                        }
                    }
                }

                fn open(&mut self, packets: &mut [&mut [u8]]) -> usize {
                    let mut authentic = 0;
                    for packet in packets {
                        let (aad, nonce, body) = gcm_parts(packet, &self.salt);
                        let nonce = Nonce::assume_unique_for_key(nonce);
                        let opened = self.key.open_in_place(nonce, Aad::from(aad), body);
                        authentic += usize::from(opened.is_ok());
                    }
                    authentic
                }
            }

            let algorithm = match (suite.cipher, suite.key.len()) {
                (Cipher::AesGcm, 16) => &AES_128_GCM,
                (Cipher::AesGcm, 32) => &AES_256_GCM,
                _ => return None,
            };
            let key = UnboundKey::new(algorithm, &suite.key).ok()?;
            Some(Box::new(Gcm {
                key: LessSafeKey::new(key),
                salt: suite.salt.clone(),
            }))
        }
    };
}

aead!(ring, ring, "ring");
aead!(aws_lc, aws_lc_rs, "aws-lc-rs");
