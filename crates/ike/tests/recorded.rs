//! Exchanges with a real strongSwan, recorded with the keys that it logged: every key is derived
//! again, every encrypted message opened again, every HASH computed again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use crypto::Secret;
use crypto::cipher::Algorithm;
use crypto::dh::Group;
use crypto::esp::{Integrity, Suite};
use crypto::hash::Hash;
use ike::keys::{Exchanged, IsakmpKeys};
use ike::message::{self, Chain, HEADER_LEN, Padding, kind};
use ike::payload::security_association::SecurityAssociation;
use ike::policy::Phase1Proposal;
use ike::{Cookies, Spi, peek};

/// One recorded file: named values, and the messages in order.
struct Record {
    values: BTreeMap<String, Vec<u8>>,
    messages: Vec<Vec<u8>>,
}

impl Record {
    fn read(text: &str) -> Self {
        let mut record = Self {
            values: BTreeMap::new(),
            messages: Vec::new(),
        };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, hex) = line.split_once(' ').unwrap();
            let bytes = (0..hex.len()).step_by(2);
            let bytes = bytes
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            match name {
                "sent" | "received" => record.messages.push(bytes),
                _ => drop(record.values.insert(name.to_owned(), bytes)),
            }
        }
        record
    }

    fn value(&self, name: &str) -> &[u8] {
        &self.values[name]
    }

    fn chain(&self, index: usize) -> Chain<'_> {
        let message = &self.messages[index];
        let header = peek(message).unwrap();
        Chain::parse(header.next_payload, &message[HEADER_LEN..], Padding::None).unwrap()
    }

    fn cookies(&self) -> Cookies {
        peek(&self.messages[1]).unwrap().cookies
    }

    /// The nine messages of one main mode and one quick mode, checked one by one.
    fn check(&self, cipher: Algorithm, hash: Hash, group: Group, suite: Suite) {
        let (chain1, chain3, chain4) = (self.chain(0), self.chain(2), self.chain(3));
        let exchanged = Exchanged {
            cookies: self.cookies(),
            nonce_i: chain3.single(kind::NONCE).unwrap(),
            nonce_r: chain4.single(kind::NONCE).unwrap(),
            public_i: chain3.single(kind::KEY_EXCHANGE).unwrap(),
            public_r: chain4.single(kind::KEY_EXCHANGE).unwrap(),
            sa_i: chain1.single(kind::SA).unwrap(),
        };
        assert_eq!(exchanged.public_i.len(), group.public_len());
        let proposal = Phase1Proposal {
            cipher,
            hash,
            group,
        };
        let psk = self.value("psk");
        let keys = IsakmpKeys::derive(proposal, psk, &exchanged, self.value("shared"));
        let log = keys.key_log(exchanged.cookies);
        assert_eq!(log.skeyid_a.expose(), self.value("skeyid_a"));
        assert_eq!(log.key.expose(), self.value("key"));
        assert_eq!(keys.phase1_iv(&exchanged), self.value("iv"));
        let last_block = self.check_proofs(&keys, &exchanged);
        self.check_quick_mode(&keys, &last_block, suite);
    }

    /// Messages 5 and 6; gives the last block.
    fn check_proofs(&self, keys: &IsakmpKeys, exchanged: &Exchanged<'_>) -> Vec<u8> {
        let mut iv = keys.phase1_iv(exchanged);
        for index in [4, 5] {
            let message = &self.messages[index];
            let opened = message::open(message, &keys.cipher(), &iv).unwrap();
            let first = peek(message).unwrap().next_payload;
            let chain = Chain::parse(first, &opened.plain, Padding::Allowed).unwrap();
            let id = chain.single(kind::IDENTIFICATION).unwrap();
            let expected = if index == 4 {
                keys.hash_i(exchanged, id)
            } else {
                keys.hash_r(exchanged, id)
            };
            assert_eq!(chain.single(kind::HASH).unwrap(), &expected[..]);
            iv = opened.next_iv;
        }
        iv
    }

    fn check_quick_mode(&self, keys: &IsakmpKeys, last_block: &[u8], suite: Suite) {
        let id = peek(&self.messages[6]).unwrap().message_id;
        let mut iv = keys.phase2_iv(last_block, id);
        let mut plain = Vec::new();
        for message in &self.messages[6..9] {
            let opened = message::open(message, &keys.cipher(), &iv).unwrap();
            iv = opened.next_iv;
            plain.push((peek(message).unwrap().next_payload, opened.plain));
        }
        let chains: Vec<Chain<'_>> = plain
            .iter()
            .map(|(first, bytes)| Chain::parse(*first, bytes, Padding::Allowed).unwrap())
            .collect();
        let nonce = |index: usize| chains[index].single(kind::NONCE).unwrap();
        let (nonce_i, nonce_r) = (nonce(0), nonce(1));
        let hash = |index: usize| chains[index].leading(kind::HASH).unwrap();
        assert_eq!(hash(0), &keys.hash_1(id, chains[0].after_first())[..]);
        assert_eq!(
            hash(1),
            &keys.hash_2(id, nonce_i, chains[1].after_first())[..]
        );
        assert_eq!(hash(2), &keys.hash_3(id, nonce_i, nonce_r)[..]);
        // The initiator encrypts under the responder's SPI, and the other way round.
        let spi = |index: usize| {
            let sa = SecurityAssociation::parse(chains[index].single(kind::SA).unwrap()).unwrap();
            Spi(u32::from_be_bytes(sa.proposals[0].spi.try_into().unwrap()))
        };
        let shared = self
            .values
            .get("quick_shared")
            .map(|shared| Secret::new(shared.clone()));
        for (end, spi) in [("i", spi(1)), ("r", spi(0))] {
            let keymat = keys.keymat(suite, spi, (nonce_i, nonce_r), shared.as_ref());
            let encryption = [keymat.encryption_key(), keymat.salt()].concat();
            assert_eq!(encryption, self.value(&format!("esp_encryption_{end}")));
            if !keymat.integrity_key().is_empty() {
                assert_eq!(
                    keymat.integrity_key(),
                    self.value(&format!("esp_integrity_{end}"))
                );
            }
        }
    }
}

// conformance: 2409-20 2409-21 2409-25 2409-30 2409-39 2409-40 2409-41 2409-42
#[test]
fn a_long_key_is_expanded_as_strongswan_does() {
    let integrity = Integrity::HmacSha256_128;
    Record::read(include_str!("wire/aes256-sha1-ecp384-natt.txt")).check(
        Algorithm::Aes256Cbc,
        Hash::Sha1,
        Group::Ecp384,
        Suite::AesCbc {
            key_bits: 256,
            integrity,
        },
    );
}

// conformance: 2409-19 2409-20 2409-21 2409-25 2409-26 2409-30
#[test]
fn sha256_and_forward_secrecy_agree_with_strongswan() {
    let integrity = Integrity::HmacSha256_128;
    Record::read(include_str!("wire/aes128-sha256-modp2048.txt")).check(
        Algorithm::Aes128Cbc,
        Hash::Sha256,
        Group::Modp2048,
        Suite::AesCbc {
            key_bits: 256,
            integrity,
        },
    );
}

// conformance: 2409-39
#[test]
fn triple_des_agrees_with_strongswan() {
    let integrity = Integrity::HmacSha1_96;
    Record::read(include_str!("wire/3des-sha1-modp1024.txt")).check(
        Algorithm::TripleDesCbc,
        Hash::Sha1,
        Group::Modp1024,
        Suite::TripleDesCbc { integrity },
    );
}

// conformance: 4106-06
#[test]
fn the_keymat_of_gcm_has_a_salt() {
    Record::read(include_str!("wire/aes256-sha1-ecp384-gcm.txt")).check(
        Algorithm::Aes256Cbc,
        Hash::Sha1,
        Group::Ecp384,
        Suite::AesGcm16 { key_bits: 256 },
    );
}
