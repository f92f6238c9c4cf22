//! The packets of one call: which width, which suite, and what is done with each packet.

use zeroize::ZeroizeOnDrop;

use super::aes::{self, Schedule};
use super::mac::{self, ICV_LEN_MAX, Mac, Message};
use super::sha::Hash;
use super::width::{Block, Narrow, Wide, Width, Work};
use super::{Key, Rest, cbc, gcm, hash};
use crate::esp::kernel::PREFETCH_AHEAD;
use crate::esp::slots::Slots;
use crate::esp::{Direction, EspJob, HEADER_LEN, KeySlot, Suite, Verdict};

/// Packets whose ICVs are kept from one step to the next.
pub(in crate::esp) const CHUNK: usize = 64;

/// The packets of one call.
pub(super) struct Batch<'b, 'f> {
    pub(super) keys: &'b Slots<Key>,
    pub(super) suite: Suite,
    pub(super) jobs: &'b mut [EspJob<'f>],
    pub(super) ahead: &'b mut dyn FnMut(usize),
}

impl Batch<'_, '_> {
    /// Gives every packet its verdict.
    pub(super) fn run(self, direction: Direction) {
        match (Wide::detect(), Narrow::detect()) {
            (Some(wide), _) => self.with_width::<_, 4>(wide, direction),
            (None, Some(narrow)) => self.with_width::<_, 8>(narrow, direction),
            (None, None) => unreachable!("`has` is false without AES-NI"),
        }
    }

    /// N vectors are eight blocks.
    fn with_width<W: Width, const N: usize>(self, width: W, direction: Direction) {
        match self.suite {
            Suite::AesGcm16 { key_bits: 128 } | Suite::AesCbc { key_bits: 128, .. } => {
                self.with_rounds::<W, N, 11>(width, direction);
            }
            Suite::AesGcm16 { key_bits: 192 } | Suite::AesCbc { key_bits: 192, .. } => {
                self.with_rounds::<W, N, 13>(width, direction);
            }
            Suite::AesGcm16 { .. } | Suite::AesCbc { .. } | Suite::TripleDesCbc { .. } => {
                self.with_rounds::<W, N, 15>(width, direction);
            }
        }
    }

    /// R is the number of round keys.
    fn with_rounds<W: Width, const N: usize, const R: usize>(self, width: W, direction: Direction) {
        match (hash(self.suite), direction) {
            (None, Direction::Open) => width.run(Gcm::<R, N, false>(self)),
            (None, Direction::Seal) => width.run(Gcm::<R, N, true>(self)),
            (Some(hash), Direction::Open) => width.run(CbcOpen::<R>(self, hash)),
            (Some(hash), Direction::Seal) => width.run(CbcSeal::<R>(self, hash)),
        }
    }
}

struct Gcm<'b, 'f, const R: usize, const N: usize, const SEAL: bool>(Batch<'b, 'f>);

impl<const R: usize, const N: usize, const SEAL: bool> Work for Gcm<'_, '_, R, N, SEAL> {
    #[inline(always)]
    fn at(self, width: impl Width) {
        let Self(batch) = self;
        let direction = if SEAL {
            Direction::Seal
        } else {
            Direction::Open
        };
        for job in batch.jobs.iter().take(PREFETCH_AHEAD) {
            batch.keys.prefetch(job.slot);
        }
        for i in 0..batch.jobs.len() {
            if let Some(later) = batch.jobs.get(i + PREFETCH_AHEAD) {
                batch.keys.prefetch(later.slot);
            }
            (batch.ahead)(i);
            let job = &mut batch.jobs[i];
            let key = judge(batch.keys, batch.suite, direction, job);
            if let Some(Key {
                schedule,
                rest: Rest::Gcm { powers, salt },
                ..
            }) = key
            {
                let key = gcm::Key {
                    schedule,
                    powers,
                    salt: *salt,
                };
                job.verdict = match SEAL {
                    true => gcm::seal::<_, R, N>(width, key, job),
                    false => gcm::open::<_, R, N>(width, key, job),
                };
            }
        }
    }
}

struct CbcOpen<'b, 'f, const R: usize>(Batch<'b, 'f>, Hash);

impl<const R: usize> Work for CbcOpen<'_, '_, R> {
    #[inline(always)]
    fn at(self, width: impl Width) {
        let Self(batch, hash) = self;
        let (keys, suite) = (batch.keys, batch.suite);
        let mut at = 0;
        for jobs in batch.jobs.chunks_mut(CHUNK) {
            let ahead = Ahead::new(keys, jobs);
            let mut icvs = [[0; ICV_LEN_MAX]; CHUNK];
            let messages = jobs.iter_mut().enumerate().filter_map(|(i, job)| {
                ahead.of(i);
                (batch.ahead)(at + i);
                let (_, mac, _) = judge(keys, suite, Direction::Open, job)?.cbc()?;
                Some((i, Message::of(mac, suite, job)))
            });
            mac::authenticate(hash, messages, &mut icvs);
            for (job, icv) in jobs.iter_mut().zip(&icvs) {
                if job.verdict == Verdict::Pending {
                    job.verdict = verdict(suite, job, icv);
                }
                // RFC 4303 §3.4.4.1: integrity is checked before anything is decrypted.
                if job.verdict == Verdict::Ok
                    && let Some((schedule, ..)) = keys.key(job.slot).and_then(Key::cbc)
                {
                    cbc::decrypt::<_, R>(width, schedule, blocks(suite, job));
                }
            }
            at += jobs.len();
        }
    }
}

struct CbcSeal<'b, 'f, const R: usize>(Batch<'b, 'f>, Hash);

impl<const R: usize> Work for CbcSeal<'_, '_, R> {
    #[inline(always)]
    fn at(self, width: impl Width) {
        let Self(batch, hash) = self;
        let (keys, suite) = (batch.keys, batch.suite);
        let mut at = 0;
        for jobs in batch.jobs.chunks_mut(CHUNK) {
            let ahead = Ahead::new(keys, jobs);
            let packets = jobs.iter_mut().enumerate().filter_map(|(i, job)| {
                ahead.of(i);
                (batch.ahead)(at + i);
                let (schedule, _, iv_key) = judge(keys, suite, Direction::Seal, job)?.cbc()?;
                let iv = aes::iv(width.narrow(), iv_key, job.counter());
                let blocks = blocks(suite, job);
                blocks[0] = iv;
                Some((schedule, blocks))
            });
            cbc::encrypt::<R>(width.narrow(), packets);
            let mut icvs = [[0; ICV_LEN_MAX]; CHUNK];
            let messages = jobs.iter().enumerate().filter_map(|(i, job)| {
                let (_, mac, _) = keys.key(job.slot)?.cbc()?;
                (job.verdict == Verdict::Pending).then(|| (i, Message::of(mac, suite, job)))
            });
            mac::authenticate(hash, messages, &mut icvs);
            for (job, icv) in jobs.iter_mut().zip(&icvs) {
                if job.verdict == Verdict::Pending {
                    write_icv(suite, job, icv);
                }
            }
            at += jobs.len();
        }
    }
}

impl Key {
    /// Round keys, HMAC key and the key of IVs.
    #[inline(always)]
    fn cbc(&self) -> Option<(&Schedule, &Mac, &Block)> {
        match &self.rest {
            Rest::Cbc { mac, iv_key } => Some((&self.schedule, mac, iv_key)),
            Rest::Gcm { .. } => None,
        }
    }
}

/// The key of a job that is as it should be; else its verdict.
#[inline(always)]
fn judge<'k>(
    keys: &'k Slots<Key>,
    suite: Suite,
    direction: Direction,
    job: &mut EspJob<'_>,
) -> Option<&'k Key> {
    if !suite.is_packet_len(job.packet.len()) {
        job.verdict = Verdict::BadLength;
        return None;
    }
    let key = keys.key(job.slot);
    let key = key.filter(|key| key.suite == suite && key.direction == direction);
    job.verdict = match key {
        Some(_) => Verdict::Pending,
        None => Verdict::BadIcv,
    };
    key
}

/// IV and body of a packet of AES-CBC.
#[inline(always)]
fn blocks<'a>(suite: Suite, job: &'a mut EspJob<'_>) -> &'a mut [Block] {
    let end = job.packet.len() - suite.icv_len();
    job.packet[HEADER_LEN..end].as_chunks_mut().0
}

/// The slots of a chunk, to ask for the keys of packets that come later.
pub(in crate::esp) struct Ahead<'k, K: ZeroizeOnDrop> {
    keys: &'k Slots<K>,
    slots: [KeySlot; CHUNK],
    len: usize,
}

impl<'k, K: ZeroizeOnDrop> Ahead<'k, K> {
    /// Asks for the first keys.
    #[inline(always)]
    pub(in crate::esp) fn new(keys: &'k Slots<K>, jobs: &[EspJob<'_>]) -> Self {
        let mut slots = [KeySlot(0); CHUNK];
        for (slot, job) in slots.iter_mut().zip(jobs) {
            *slot = job.slot;
        }
        for slot in slots[..jobs.len()].iter().take(PREFETCH_AHEAD) {
            keys.prefetch(*slot);
        }
        Self {
            keys,
            slots,
            len: jobs.len(),
        }
    }

    /// Packet `i` is at work: asks for the key of one that comes later.
    #[inline(always)]
    pub(in crate::esp) fn of(&self, i: usize) {
        if let Some(slot) = self.slots[..self.len].get(i + PREFETCH_AHEAD) {
            self.keys.prefetch(*slot);
        }
    }
}

/// Whether the ICV of a packet is this one; the time does not tell where they differ.
#[inline(always)]
pub(in crate::esp) fn verdict(suite: Suite, job: &EspJob<'_>, icv: &[u8; ICV_LEN_MAX]) -> Verdict {
    let (_, sent) = job.packet.split_at(job.packet.len() - suite.icv_len());
    let mut differing = [0; ICV_LEN_MAX];
    for ((differing, ours), theirs) in differing.iter_mut().zip(icv).zip(sent) {
        *differing = ours ^ theirs;
    }
    match u128::from_ne_bytes(differing) {
        0 => Verdict::Ok,
        _ => Verdict::BadIcv,
    }
}

/// Seals a packet that is encrypted.
#[inline(always)]
pub(in crate::esp) fn write_icv(suite: Suite, job: &mut EspJob<'_>, icv: &[u8; ICV_LEN_MAX]) {
    let (_, to) = job.packet.split_at_mut(job.packet.len() - suite.icv_len());
    to.copy_from_slice(&icv[..to.len()]);
    job.verdict = Verdict::Ok;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;
    use crate::esp::kernel::Kernel;
    use crate::esp::{Keymat, reference};

    const KEY: KeySlot = KeySlot(0);

    /// Which instructions are used is the processor's choice elsewhere; here both widths have to.
    fn run(
        wide: bool,
        direction: Direction,
        keys: &Slots<Key>,
        suite: Suite,
        jobs: &mut [EspJob<'_>],
    ) {
        let ahead = &mut |_| ();
        let batch = Batch {
            keys,
            suite,
            jobs,
            ahead,
        };
        match (wide, Wide::detect(), Narrow::detect()) {
            (true, Some(wide), _) => batch.with_width::<_, 4>(wide, direction),
            (_, _, Some(narrow)) => batch.with_width::<_, 8>(narrow, direction),
            (_, _, None) => unreachable!("checked by the test"),
        }
    }

    fn slots<K: Kernel>(direction: Direction, keymat: &Keymat) -> Slots<K> {
        let mut slots = Slots::default();
        slots.install(KEY, K::new(direction, keymat, &[3; 16]));
        slots
    }

    #[test]
    fn both_widths_agree_with_the_reference_at_every_length() {
        if Narrow::detect().is_none() {
            return;
        }
        let mut random = Random::from_seed([5; 32]);
        for suite in Suite::ALL
            .into_iter()
            .filter(|suite| super::super::has(*suite))
        {
            let mut keymat = vec![0; suite.keymat_len()];
            random.fill(&mut keymat);
            let keymat = Keymat::new(suite, &keymat).unwrap();
            let around = HEADER_LEN + suite.iv_len() + suite.icv_len();
            let clear: Vec<Vec<u8>> = (1..=600 / suite.block_len())
                .map(|blocks| vec![random.u32() as u8; around + blocks * suite.block_len()])
                .collect();
            let esn_high = (random.below(2) == 0).then(|| random.u32());

            let mut expected = clear.clone();
            let reference = slots::<reference::Key>(Direction::Seal, &keymat);
            let mut jobs = jobs(&mut expected, esn_high);
            Kernel::seal(&reference, suite, &mut jobs, &mut |_| ());
            for wide in [false, true] {
                let mut packets = clear.clone();
                let seal = slots(Direction::Seal, &keymat);
                run(
                    wide,
                    Direction::Seal,
                    &seal,
                    suite,
                    &mut self::jobs(&mut packets, esn_high),
                );
                assert!(packets == expected, "{suite}, wide: {wide}");

                let open = slots(Direction::Open, &keymat);
                let mut jobs = self::jobs(&mut packets, esn_high);
                run(wide, Direction::Open, &open, suite, &mut jobs);
                assert!(jobs.iter().all(|job| job.verdict == Verdict::Ok), "{suite}");
                for (packet, clear) in packets.iter().zip(&clear) {
                    let body = HEADER_LEN + suite.iv_len()..clear.len() - suite.icv_len();
                    assert!(packet[body.clone()] == clear[body], "{suite}, wide: {wide}");
                }
            }
        }
    }

    fn jobs(packets: &mut [Vec<u8>], esn_high: Option<u32>) -> Vec<EspJob<'_>> {
        let job = |packet| EspJob {
            packet,
            slot: KEY,
            esn_high,
            verdict: Verdict::Pending,
        };
        packets
            .iter_mut()
            .map(|packet| job(&mut packet[..]))
            .collect()
    }
}
