//! Triple DES in CBC mode with HMAC-SHA1-96 in ESP (RFC 2451, RFC 2404), for peers that have
//! nothing else: many blocks and many packets at once, on any processor with AES-NI and AVX2.

mod cbc;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::aesni::batch::{Ahead, CHUNK, verdict, write_icv};
use super::aesni::mac::{self, ICV_LEN_MAX, Mac, Message};
use super::aesni::sha::Hash;
use super::aesni::{Block, Narrow, iv};
use super::kernel::Kernel;
use super::slots::Slots;
use super::{Direction, EspJob, HEADER_LEN, Integrity, Keymat, Suite, Verdict};
use cbc::{BLOCK_LEN, Chain, Cipher, Schedule};

/// The one suite that is done here.
const SUITE: Suite = Suite::TripleDesCbc {
    integrity: Integrity::HmacSha1_96,
};

/// Whether a suite is done here.
#[inline]
pub(super) fn has(suite: Suite) -> bool {
    suite == SUITE && Tools::detect().is_some()
}

/// What the processor has to have. IVs are made with AES.
#[derive(Clone, Copy)]
struct Tools {
    des: Cipher,
    aes: Narrow,
}

impl Tools {
    #[inline]
    fn detect() -> Option<Self> {
        Some(Self {
            des: Cipher::detect()?,
            aes: Narrow::detect()?,
        })
    }

    fn new() -> Self {
        Self::detect().expect("`has` let the suite come here")
    }
}

/// A key for one direction.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Key {
    schedule: Schedule,
    mac: Mac,
    iv_key: Block,
    #[zeroize(skip)]
    direction: Direction,
}

impl Kernel for Key {
    fn new(direction: Direction, keymat: &Keymat, iv_key: &[u8; 16]) -> Self {
        let key = keymat.encryption_key();
        let key = key
            .first_chunk()
            .expect("a key of triple DES has 24 octets");
        let des = Tools::new().des;
        Self {
            schedule: match direction {
                Direction::Open => des.decryption(key),
                Direction::Seal => des.encryption(key),
            },
            mac: Mac::new(Hash::Sha1, keymat.integrity_key()),
            iv_key: *iv_key,
            direction,
        }
    }

    fn open(keys: &Slots<Self>, _: Suite, jobs: &mut [EspJob<'_>], ahead: &mut impl FnMut(usize)) {
        let tools = Tools::new();
        let mut at = 0;
        for jobs in jobs.chunks_mut(CHUNK) {
            let prefetch = Ahead::new(keys, jobs);
            let mut icvs = [[0; ICV_LEN_MAX]; CHUNK];
            let messages = jobs.iter_mut().enumerate().filter_map(|(i, job)| {
                prefetch.of(i);
                ahead(at + i);
                let key = judge(keys, Direction::Open, job)?;
                Some((i, Message::of(&key.mac, SUITE, job)))
            });
            mac::authenticate(Hash::Sha1, messages, &mut icvs);
            for (job, icv) in jobs.iter_mut().zip(&icvs) {
                if job.verdict == Verdict::Pending {
                    job.verdict = verdict(SUITE, job, icv);
                }
                // RFC 4303 §3.4.4.1: integrity is checked before anything is decrypted.
                if job.verdict == Verdict::Ok
                    && let Some(key) = keys.key(job.slot)
                    && let Some((iv, body)) = blocks(job).split_first_mut()
                {
                    tools.des.decrypt(&key.schedule, *iv, body);
                }
            }
            at += jobs.len();
        }
    }

    fn seal(keys: &Slots<Self>, _: Suite, jobs: &mut [EspJob<'_>], ahead: &mut impl FnMut(usize)) {
        let tools = Tools::new();
        let mut at = 0;
        for jobs in jobs.chunks_mut(CHUNK) {
            let prefetch = Ahead::new(keys, jobs);
            let packets = jobs.iter_mut().enumerate().filter_map(|(i, job)| {
                prefetch.of(i);
                ahead(at + i);
                let key = judge(keys, Direction::Seal, job)?;
                let unpredictable = iv(tools.aes, &key.iv_key, job.counter());
                let (first, body) = blocks(job).split_first_mut()?;
                first.copy_from_slice(&unpredictable[..BLOCK_LEN]);
                Some(Chain {
                    key: &key.schedule,
                    iv: *first,
                    body,
                })
            });
            tools.des.encrypt(packets);
            let mut icvs = [[0; ICV_LEN_MAX]; CHUNK];
            let messages = jobs.iter().enumerate().filter_map(|(i, job)| {
                let key = keys.key(job.slot)?;
                (job.verdict == Verdict::Pending).then(|| (i, Message::of(&key.mac, SUITE, job)))
            });
            mac::authenticate(Hash::Sha1, messages, &mut icvs);
            for (job, icv) in jobs.iter_mut().zip(&icvs) {
                if job.verdict == Verdict::Pending {
                    write_icv(SUITE, job, icv);
                }
            }
            at += jobs.len();
        }
    }
}

/// The key of a job that is as it should be; else its verdict.
fn judge<'k>(keys: &'k Slots<Key>, direction: Direction, job: &mut EspJob<'_>) -> Option<&'k Key> {
    if !SUITE.is_packet_len(job.packet.len()) {
        job.verdict = Verdict::BadLength;
        return None;
    }
    let key = keys.key(job.slot).filter(|key| key.direction == direction);
    job.verdict = match key {
        Some(_) => Verdict::Pending,
        None => Verdict::BadIcv,
    };
    key
}

/// IV and body of a packet.
fn blocks<'a>(job: &'a mut EspJob<'_>) -> &'a mut [[u8; BLOCK_LEN]] {
    let end = job.packet.len() - SUITE.icv_len();
    job.packet[HEADER_LEN..end].as_chunks_mut().0
}
