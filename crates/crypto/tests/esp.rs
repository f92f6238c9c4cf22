//! ESP sealed and opened through the batch interface, against packets that OpenSSL made and
//! against the same construction from the ciphers' plain interfaces, one packet at a time.

// clippy.toml allows it in tests, but clippy does not see that functions beside tests are theirs.
#![allow(clippy::unwrap_used)]

mod common;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm, KeyInit};
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use common::back_ends;
use crypto::Random;
use crypto::esp::{
    Backend, Direction, EspJob, Integrity, KeySlot, Keymat, Keys, Suite, UnknownSuite, Verdict,
};
use hmac::{Hmac, Mac};

const IV_KEY: [u8; 16] = [
    0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xef,
];
const OPEN: KeySlot = KeySlot(0);
const SEAL: KeySlot = KeySlot(1);
const HEADER_LEN: usize = 8;

/// Longer than any packet of an Ethernet.
const BODY_LEN_MAX: usize = 2000;

/// Packets that a forger sends.
const FORGERIES: usize = 1_000_000;

// conformance: 4106-03 4106-04 2404-01 4868-01
#[test]
fn packets_are_sealed_as_openssl_does_it_and_its_packets_open() {
    for backend in back_ends() {
        for line in include_str!("esp_packets.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            let [suite, esn_high, keymat, packet] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("four columns: {line}");
            };
            let suite: Suite = suite.parse().unwrap();
            let esn_high = u32::from_str_radix(esn_high, 16).ok();
            let packet = hex(packet);
            let mut keys = Keys::new(backend);
            install_both(&mut keys, &Keymat::new(suite, &hex(keymat)).unwrap());

            let mut ours = packet_of(suite, 0xC0FF_EE01, 0x0102_0304, &clear_of_openssl());
            assert_eq!(seal(&keys, suite, SEAL, esn_high, &mut ours), Verdict::Ok);
            assert_eq!(ours, packet, "{suite}, ESN {esn_high:?}");

            assert_eq!(open(&keys, suite, OPEN, esn_high, &mut ours), Verdict::Ok);
            assert_eq!(
                body(suite, &ours),
                clear_of_openssl(),
                "{suite}, ESN {esn_high:?}"
            );
        }
    }
}

#[test]
fn every_suite_agrees_with_the_plain_construction_at_every_length() {
    for backend in back_ends() {
        let mut random = Random::from_seed([1; 32]);
        for suite in Suite::ALL {
            let keymat = random_keymat(suite, &mut random);
            let mut keys = Keys::new(backend);
            install_both(&mut keys, &keymat);
            for len in (suite.block_len()..=BODY_LEN_MAX).step_by(suite.block_len()) {
                let esn_high = (random.below(2) == 0).then(|| random.u32());
                let clear = random_bytes(len, &mut random);
                let mut packet = packet_of(suite, random.u32(), random.u32(), &clear);
                let expected = plain_seal(&keymat, esn_high, packet.clone());

                assert_eq!(seal(&keys, suite, SEAL, esn_high, &mut packet), Verdict::Ok);
                assert_eq!(packet, expected, "{suite}, {len} octets, ESN {esn_high:?}");
                assert_eq!(open(&keys, suite, OPEN, esn_high, &mut packet), Verdict::Ok);
                assert_eq!(body(suite, &packet), clear, "{suite}, {len} octets");
            }
        }
    }
}

// conformance: 3602-01
#[test]
fn a_length_that_the_suite_cannot_have_is_refused_and_the_packet_untouched() {
    for backend in back_ends() {
        let mut random = Random::from_seed([2; 32]);
        for suite in Suite::ALL {
            let mut keys = Keys::new(backend);
            install_both(&mut keys, &random_keymat(suite, &mut random));
            let around = HEADER_LEN + suite.iv_len() + suite.icv_len();
            for len in 0..=around + 4 * suite.block_len() {
                let legal = len > around && (len - around).is_multiple_of(suite.block_len());
                let packet = random_bytes(len, &mut random);
                let (mut opened, mut sealed) = (packet.clone(), packet.clone());
                let verdict = open(&keys, suite, OPEN, None, &mut opened);
                assert_eq!(
                    verdict == Verdict::BadLength,
                    !legal,
                    "{suite}, {len} octets"
                );
                let verdict = seal(&keys, suite, SEAL, None, &mut sealed);
                assert_eq!(
                    verdict == Verdict::BadLength,
                    !legal,
                    "{suite}, {len} octets"
                );
                if !legal {
                    assert!(
                        opened == packet && sealed == packet,
                        "{suite}, {len} octets"
                    );
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_a_bad_icv() {
    for backend in back_ends() {
        let mut random = Random::from_seed([3; 32]);
        for suite in Suite::ALL {
            let mut keys = Keys::new(backend);
            install_both(&mut keys, &random_keymat(suite, &mut random));
            for esn_high in [None, Some(5)] {
                let mut sealed = packet_of(suite, 1, 2, &random_bytes(48, &mut random));
                seal(&keys, suite, SEAL, esn_high, &mut sealed);
                for bit in 0..8 * sealed.len() {
                    let mut forged = sealed.clone();
                    forged[bit / 8] ^= 1 << (bit % 8);
                    let before = forged.clone();
                    assert_eq!(
                        open(&keys, suite, OPEN, esn_high, &mut forged),
                        Verdict::BadIcv
                    );
                    if !matches!(suite, Suite::AesGcm16 { .. }) {
                        assert_eq!(
                            forged, before,
                            "{suite}: CBC decrypts nothing it has not verified"
                        );
                    }
                }
                assert_eq!(
                    open(&keys, suite, OPEN, Some(6), &mut sealed.clone()),
                    Verdict::BadIcv
                );
                assert_eq!(open(&keys, suite, OPEN, esn_high, &mut sealed), Verdict::Ok);
            }
        }
    }
}

#[test]
fn a_million_forgeries_of_any_length_neither_open_nor_panic() {
    for backend in back_ends() {
        let mut random = Random::from_seed([4; 32]);
        let mut keys = Keys::new(backend);
        for (suite, slot) in Suite::ALL.into_iter().zip(0..) {
            let keymat = random_keymat(suite, &mut random);
            keys.install(KeySlot(slot), suite, Direction::Open, &keymat, &IV_KEY);
        }
        let mut bytes = [0; 160];
        for i in 0..FORGERIES {
            let slot = i % Suite::ALL.len();
            let suite = Suite::ALL[slot];
            // The rest of the packet keeps what the last one left there.
            let at = random.below(152) as usize;
            bytes[at..at + 8].copy_from_slice(&random.array::<8>());
            // Every other packet has a length that gets it as far as the ICV.
            let around = HEADER_LEN + suite.iv_len() + suite.icv_len();
            let len = match i % 2 {
                0 => random.below(bytes.len() as u32 + 1) as usize,
                _ => around + suite.block_len() * (1 + random.below(4) as usize),
            };
            let packet = &mut bytes[..len];
            let esn_high = (i % 3 == 0).then_some(7);
            let verdict = open(&keys, suite, KeySlot(slot as u32), esn_high, packet);
            assert!(
                matches!(verdict, Verdict::BadIcv | Verdict::BadLength),
                "{suite}"
            );
        }
    }
}

#[test]
fn one_call_opens_packets_of_many_sas_and_judges_each_by_itself() {
    for backend in back_ends() {
        let suite = Suite::AesCbc {
            key_bits: 256,
            integrity: Integrity::HmacSha1_96,
        };
        let mut random = Random::from_seed([5; 32]);
        let mut keys = Keys::new(backend);
        let slots: Vec<_> = [0, 1, 63, 64, 65, 300, 4096].map(KeySlot).to_vec();
        let mut packets = Vec::new();
        for &slot in &slots {
            let keymat = random_keymat(suite, &mut random);
            keys.install(slot, suite, Direction::Open, &keymat, &IV_KEY);
            let packet = packet_of(suite, slot.0, 1, &[slot.0 as u8; 64]);
            packets.push(plain_seal(&keymat, None, packet));
        }
        packets[2][30] ^= 1;
        packets[4].pop();

        let mut jobs: Vec<_> = packets
            .iter_mut()
            .zip(&slots)
            .map(|(packet, &slot)| job(packet, slot, None))
            .collect();
        keys.open(suite, &mut jobs);

        let verdicts: Vec<_> = jobs.iter().map(|job| job.verdict).collect();
        let expected = [
            Verdict::Ok,
            Verdict::Ok,
            Verdict::BadIcv,
            Verdict::Ok,
            Verdict::BadLength,
            Verdict::Ok,
            Verdict::Ok,
        ];
        assert_eq!(verdicts, expected);
        assert_eq!(body(suite, &packets[5]), [300_u32 as u8; 64]);
        keys.open(suite, &mut []);
    }
}

#[test]
fn a_slot_serves_only_the_suite_and_the_direction_it_was_installed_for() {
    for backend in back_ends() {
        let gcm = Suite::AesGcm16 { key_bits: 128 };
        let cbc = Suite::AesCbc {
            key_bits: 128,
            integrity: Integrity::HmacSha256_128,
        };
        let mut random = Random::from_seed([6; 32]);
        for (suite, other) in [(gcm, cbc), (cbc, gcm)] {
            let mut keys = Keys::new(backend);
            install_both(&mut keys, &random_keymat(suite, &mut random));
            let mut packet = packet_of(suite, 1, 1, &[0; 64]);
            assert_eq!(seal(&keys, suite, OPEN, None, &mut packet), Verdict::BadIcv);
            assert_eq!(seal(&keys, suite, SEAL, None, &mut packet), Verdict::Ok);
            assert_eq!(
                open(&keys, suite, SEAL, None, &mut packet.clone()),
                Verdict::BadIcv
            );
            assert_ne!(
                open(&keys, other, OPEN, None, &mut packet.clone()),
                Verdict::Ok
            );
            assert_eq!(
                open(&keys, suite, KeySlot(77), None, &mut packet.clone()),
                Verdict::BadIcv
            );
            assert_eq!(open(&keys, suite, OPEN, None, &mut packet), Verdict::Ok);
        }
    }
}

#[test]
fn a_removed_key_opens_nothing_and_its_slot_can_be_used_again() {
    for backend in back_ends() {
        let suite = Suite::AesGcm16 { key_bits: 256 };
        let mut random = Random::from_seed([7; 32]);
        let mut keys = Keys::new(backend);
        let keymat = random_keymat(suite, &mut random);
        install_both(&mut keys, &keymat);
        let sealed = plain_seal(&keymat, None, packet_of(suite, 1, 1, &[0; 64]));

        keys.remove(OPEN);
        keys.remove(KeySlot(u32::MAX));
        assert_eq!(
            open(&keys, suite, OPEN, None, &mut sealed.clone()),
            Verdict::BadIcv
        );

        keys.install(
            OPEN,
            suite,
            Direction::Open,
            &random_keymat(suite, &mut random),
            &IV_KEY,
        );
        assert_eq!(
            open(&keys, suite, OPEN, None, &mut sealed.clone()),
            Verdict::BadIcv
        );

        keys.install(OPEN, suite, Direction::Open, &keymat, &IV_KEY);
        assert_eq!(
            open(&keys, suite, OPEN, None, &mut sealed.clone()),
            Verdict::Ok
        );
    }
}

#[test]
#[should_panic(expected = "KEYMAT is cut for one suite")]
fn keymat_of_another_suite_is_a_programmers_error() {
    let keymat = Keymat::new(Suite::AesGcm16 { key_bits: 128 }, &[0; 20]).unwrap();
    let other = Suite::AesGcm16 { key_bits: 192 };
    Keys::new(Backend::auto()).install(OPEN, other, Direction::Open, &keymat, &IV_KEY);
}

#[test]
fn the_gcm_iv_is_the_64_bit_sequence_number() {
    for backend in back_ends() {
        let suite = Suite::AesGcm16 { key_bits: 128 };
        let mut keys = Keys::new(backend);
        install_both(&mut keys, &Keymat::new(suite, &[9; 20]).unwrap());
        for (esn_high, iv) in [
            (None, 0x0000_0000_FFFF_FFFF_u64),
            (Some(3), 0x0000_0003_FFFF_FFFF),
        ] {
            let mut packet = packet_of(suite, 1, u32::MAX, &[0; 64]);
            seal(&keys, suite, SEAL, esn_high, &mut packet);
            assert_eq!(packet[8..16], iv.to_be_bytes());
        }
    }
}

// conformance: 3602-02
#[test]
fn cbc_ivs_of_consecutive_packets_have_nothing_in_common() {
    for backend in back_ends() {
        let suite = Suite::AesCbc {
            key_bits: 128,
            integrity: Integrity::HmacSha1_96,
        };
        let mut keys = Keys::new(backend);
        install_both(&mut keys, &Keymat::new(suite, &[9; 36]).unwrap());
        let ivs: Vec<u128> = (0..200)
            .map(|sequence| {
                let mut packet = packet_of(suite, 1, sequence, &[0; 64]);
                seal(&keys, suite, SEAL, None, &mut packet);
                u128::from_be_bytes(packet[8..24].try_into().unwrap())
            })
            .collect();
        for pair in ivs.windows(2) {
            let differing = (pair[0] ^ pair[1]).count_ones();
            assert!(
                (30..=98).contains(&differing),
                "{differing} of 128 bits differ"
            );
        }
    }
}

// conformance: 4106-06
#[test]
fn keymat_is_the_encryption_key_then_the_salt_or_the_integrity_key() {
    let bytes: Vec<u8> = (0..96).collect();
    let gcm = Keymat::new(Suite::AesGcm16 { key_bits: 256 }, &bytes[..36]).unwrap();
    assert_eq!(gcm.encryption_key(), &bytes[..32]);
    assert_eq!(gcm.salt(), &bytes[32..36]);
    assert_eq!(gcm.integrity_key(), []);

    let suite = Suite::AesCbc {
        key_bits: 192,
        integrity: Integrity::HmacSha384_192,
    };
    let cbc = Keymat::new(suite, &bytes[..72]).unwrap();
    assert_eq!(cbc.encryption_key(), &bytes[..24]);
    assert_eq!(cbc.salt(), []);
    assert_eq!(cbc.integrity_key(), &bytes[24..72]);
    assert!(!format!("{cbc:?}").contains("23"), "keys are never printed");
}

#[test]
fn keymat_of_the_wrong_length_or_for_no_suite_is_refused() {
    for suite in Suite::ALL {
        let len = suite.keymat_len();
        assert!(Keymat::new(suite, &vec![0; len]).is_some());
        assert!(Keymat::new(suite, &vec![0; len - 1]).is_none());
        assert!(Keymat::new(suite, &vec![0; len + 1]).is_none());
    }
    assert!(Keymat::new(Suite::AesGcm16 { key_bits: 64 }, &[0; 12]).is_none());
}

#[test]
fn suites_are_read_by_the_names_they_print() {
    for suite in Suite::ALL {
        assert_eq!(suite.to_string().parse(), Ok(suite));
    }
    assert_eq!(Suite::AesGcm16 { key_bits: 128 }.to_string(), "aes128gcm16");
    let triple_des = Suite::TripleDesCbc {
        integrity: Integrity::HmacSha1_96,
    };
    assert_eq!(triple_des.to_string(), "3des-sha1");
    assert_eq!("des-md5".parse::<Suite>(), Err(UnknownSuite));
    assert_eq!("aes64gcm16".parse::<Suite>(), Err(UnknownSuite));
}

fn install_both(keys: &mut Keys, keymat: &Keymat) {
    keys.install(OPEN, keymat.suite(), Direction::Open, keymat, &IV_KEY);
    keys.install(SEAL, keymat.suite(), Direction::Seal, keymat, &IV_KEY);
}

fn job(packet: &mut [u8], slot: KeySlot, esn_high: Option<u32>) -> EspJob<'_> {
    EspJob {
        packet,
        slot,
        esn_high,
        verdict: Verdict::Pending,
    }
}

fn open(keys: &Keys, suite: Suite, slot: KeySlot, esn: Option<u32>, packet: &mut [u8]) -> Verdict {
    let mut jobs = [job(packet, slot, esn)];
    keys.open(suite, &mut jobs);
    jobs[0].verdict
}

fn seal(keys: &Keys, suite: Suite, slot: KeySlot, esn: Option<u32>, packet: &mut [u8]) -> Verdict {
    let mut jobs = [job(packet, slot, esn)];
    keys.seal(suite, &mut jobs);
    jobs[0].verdict
}

/// A packet before sealing, with rubbish where IV and ICV will be.
fn packet_of(suite: Suite, spi: u32, sequence: u32, clear: &[u8]) -> Vec<u8> {
    let mut packet = [spi.to_be_bytes(), sequence.to_be_bytes()].concat();
    packet.resize(HEADER_LEN + suite.iv_len(), 0xAA);
    packet.extend_from_slice(clear);
    packet.resize(packet.len() + suite.icv_len(), 0xBB);
    packet
}

fn body(suite: Suite, packet: &[u8]) -> &[u8] {
    &packet[HEADER_LEN + suite.iv_len()..packet.len() - suite.icv_len()]
}

fn clear_of_openssl() -> Vec<u8> {
    (0..78_u32).map(|i| (7 * i) as u8).chain([0, 17]).collect()
}

fn random_bytes(len: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}

fn random_keymat(suite: Suite, random: &mut Random) -> Keymat {
    Keymat::new(suite, &random_bytes(suite.keymat_len(), random)).unwrap()
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
        .collect()
}

/// RFC 4303 step by step, with the allocating interfaces of the ciphers.
fn plain_seal(keymat: &Keymat, esn_high: Option<u32>, packet: Vec<u8>) -> Vec<u8> {
    let suite = keymat.suite();
    let clear = body(suite, &packet);
    let header = &packet[..HEADER_LEN];
    let mut counter = [
        esn_high.unwrap_or(0).to_be_bytes().to_vec(),
        header[4..].to_vec(),
    ]
    .concat();
    let high = esn_high
        .map(|high| high.to_be_bytes().to_vec())
        .unwrap_or_default();
    let integrity = match suite {
        Suite::AesGcm16 { .. } => {
            let aad = [&header[..4], &high, &header[4..]].concat();
            let nonce = [keymat.salt(), &counter].concat();
            let sealed = plain_gcm(keymat.encryption_key(), &nonce, &aad, clear);
            return [header, &counter, &sealed].concat();
        }
        Suite::AesCbc { integrity, .. } | Suite::TripleDesCbc { integrity } => integrity,
    };
    counter.splice(..0, [0; 8]);
    let mut iv = plain_cbc::<cbc::Encryptor<aes::Aes128>>(&IV_KEY, &[0; 16], &counter);
    iv.truncate(suite.iv_len());
    let sealed = match (suite, keymat.encryption_key()) {
        (Suite::TripleDesCbc { .. }, key) => {
            plain_cbc::<cbc::Encryptor<des::TdesEde3>>(key, &iv, clear)
        }
        (_, key) if key.len() == 16 => plain_cbc::<cbc::Encryptor<aes::Aes128>>(key, &iv, clear),
        (_, key) if key.len() == 24 => plain_cbc::<cbc::Encryptor<aes::Aes192>>(key, &iv, clear),
        (_, key) => plain_cbc::<cbc::Encryptor<aes::Aes256>>(key, &iv, clear),
    };
    let signed = [header, &iv, &sealed].concat();
    let input = [&signed[..], &high].concat();
    let key = keymat.integrity_key();
    let icv = match integrity {
        Integrity::HmacSha1_96 => plain_hmac::<Hmac<sha1::Sha1>>(key, &input),
        Integrity::HmacSha256_128 => plain_hmac::<Hmac<sha2::Sha256>>(key, &input),
        Integrity::HmacSha384_192 => plain_hmac::<Hmac<sha2::Sha384>>(key, &input),
        Integrity::HmacSha512_256 => plain_hmac::<Hmac<sha2::Sha512>>(key, &input),
    };
    [&signed[..], &icv[..suite.icv_len()]].concat()
}

fn plain_gcm(key: &[u8], nonce: &[u8], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    type Aes192Gcm = AesGcm<aes::Aes192, aes_gcm::aead::consts::U12>;
    let nonce = nonce.try_into().unwrap();
    let payload = Payload { msg, aad };
    match key.len() {
        16 => Aes128Gcm::new_from_slice(key)
            .unwrap()
            .encrypt(nonce, payload),
        24 => Aes192Gcm::new_from_slice(key)
            .unwrap()
            .encrypt(nonce, payload),
        _ => Aes256Gcm::new_from_slice(key)
            .unwrap()
            .encrypt(nonce, payload),
    }
    .unwrap()
}

/// Block by block, so that nothing is shared with how the crate walks a packet.
fn plain_cbc<C: KeyIvInit + BlockModeEncrypt>(key: &[u8], iv: &[u8], clear: &[u8]) -> Vec<u8> {
    let mut mode = C::new_from_slices(key, iv).unwrap();
    let mut sealed = Vec::new();
    for block in clear.chunks(iv.len()) {
        let mut block = block.try_into().unwrap();
        mode.encrypt_block(&mut block);
        sealed.extend_from_slice(&block);
    }
    sealed
}

fn plain_hmac<M: Mac + KeyInit>(key: &[u8], input: &[u8]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).unwrap();
    mac.update(input);
    mac.finalize().into_bytes().to_vec()
}
