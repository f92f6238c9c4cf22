//! ESP (RFC 4303) in transport mode around UDP, with both doors: [`open`] and [`seal`].
//!
//! ```text
//!   ┌─────┬─────┬────┬──────────────────────┬─────────────────────────┬─────┐
//!   │ SPI │ SEQ │ IV │ UDP  L2TP  PPP  IP   │ padding  len  next hdr  │ ICV │
//!   └─────┴─────┴────┴──────────────────────┴─────────────────────────┴─────┘
//! ```
//!
//! Both are batch rooms in three steps: one walk that looks up and refuses what is cheap to refuse
//! (on the way out that is [`prepare`]), one call of the cipher for each suite, one walk that takes
//! the verdicts in order of arrival.

mod cipher;
mod shape;

use crypto::esp::Verdict;
use packet::header::{Esp, Ipv4, Udp};
use packet::{Chunk, Frame};

use crate::ahead::Ahead;
use crate::batch::{Batch, Exit, Guest, Room, Work};
use crate::change::{Activation, Encapsulation, Kind};
use crate::discard::Discard;
use crate::id::{InboundSa, Slot};
use crate::port::Port;
use crate::shard::directory::Entry;
use crate::shard::news::{Item, Subject};
use crate::shard::{KeyRings, Shards, key_slot};
use crate::stages::Stage;
use crate::tables::Tables;
pub(crate) use cipher::{Jobs, Verdicts};
pub(crate) use shape::{Shape, is_dear};

/// RFC 4303 §2.6: the next header of a dummy packet.
const DUMMY: u8 = 59;

/// The default padding of RFC 4303 §2.4: 1, 2, 3 ….
const PADDING: [u8; 255] = {
    let mut padding = [0; 255];
    let mut i = 0;
    while i < padding.len() {
        padding[i] = i as u8 + 1;
        i += 1;
    }
    padding
};

/// Pad length and next header.
pub(crate) const TRAILER: usize = 2;

/// Opens ESP in place.
pub(crate) fn open<P: Port>(
    batch: &mut Batch<P::Chunk>,
    tables: &mut Tables,
    ahead: &mut Ahead<'_, P>,
) {
    batch.walk(|t| admit(t, tables));
    tables.watch.lap(Stage::Open, || batch.in_line());
    let verdicts = decrypt(batch.jobs(), tables, ahead);
    tables.watch.lap(Stage::Accept, || batch.in_line());
    batch.walk_seats(|seat, t| accept(t, verdicts.of(seat), tables));
}

/// Verifies and decrypts packets in place, those of a suite in one go.
#[inline]
pub(crate) fn decrypt<P: Port>(
    jobs: Jobs<'_>,
    tables: &Tables,
    ahead: &mut Ahead<'_, P>,
) -> Verdicts {
    jobs.run(|suite, jobs| {
        let step = &mut |_| ahead.step(tables);
        let keys = &tables.keys.opening;
        tables
            .compat
            .charge(suite, jobs, |jobs| keys.open_with(suite, jobs, step));
    })
}

/// Encrypts and signs packets in place, those of a suite in one go.
#[inline]
pub(crate) fn encrypt<P: Port>(
    jobs: Jobs<'_>,
    tables: &Tables,
    ahead: &mut Ahead<'_, P>,
) -> Verdicts {
    jobs.run(|suite, jobs| {
        let step = &mut |_| ahead.step(tables);
        let keys = &tables.keys.sealing;
        tables
            .compat
            .charge(suite, jobs, |jobs| keys.seal_with(suite, jobs, step));
    })
}

/// RFC 4303 §3.4.2–3: the SA, then the window, before any cryptography.
fn admit<C: Chunk>(t: &mut Guest<'_, C>, tables: &mut Tables) -> Result<(), Exit> {
    let shards = tables.shards.at(Room::Open, t.slot)?;
    let sa = shards.inbound.at(t.slot).ok_or(Discard::UnknownSpi)?;
    let esp = t.frame.peek::<Esp>().ok_or(Discard::Truncated)?;
    if !sa.shape.is_packet_len(t.frame.len()) {
        return Err(Discard::BadEspLength.into());
    }
    let Some(sequence) = sa.window.check(esp.sequence.get()) else {
        sa.tally.replayed.add(1);
        return Err(Discard::Replayed.into());
    };
    if !tables.compat.admits(sa.shape) {
        return Err(Discard::CompatShare.into());
    }
    t.work = Some(Work {
        shape: sa.shape,
        key: key_slot(t.slot),
        sequence,
        esn: sa.esn,
    });
    Ok(())
}

/// What follows from the verdict, in order of arrival.
fn accept<C: Chunk>(
    t: &mut Guest<'_, C>,
    verdict: Verdict,
    tables: &mut Tables,
) -> Result<(), Exit> {
    let slot = t.slot;
    let shards = tables.shards.at(Room::Open, slot)?;
    let work = t.work.take().ok_or(Discard::UnknownSpi)?;
    let opened = Opened {
        sa: slot,
        len: t.frame.len(),
        sequence: work.sequence,
        verdict,
        port: t.meta.port,
    };
    let now_ms = tables.now_ms;
    let is_ours = authenticate(opened, now_ms, shards, &mut tables.keys).and_then(|accepted| {
        t.slot = accepted.path;
        follow(t, accepted.is_newest, shards, now_ms)
    });
    is_ours?;
    let shape = work.shape;
    t.frame.skip(shape.front()).ok_or(Discard::Truncated)?;
    t.frame.trim(shape.icv_len()).ok_or(Discard::Truncated)?;
    let len = payload_len(t.frame.bytes())?;
    t.frame.truncate(len).ok_or(Discard::Truncated)?;
    Ok(())
}

/// What is known of an authentic frame.
pub(crate) struct Accepted {
    pub(crate) path: Slot,
    pub(crate) shape: Shape,
    /// What the last one was for.
    pub(crate) likely: Option<Entry>,
    pub(crate) vrf: u16,
    /// No later one of its SA has come.
    is_newest: bool,
}

/// A frame of an SA, and what the cipher has said of it.
pub(crate) struct Opened {
    pub(crate) sa: Slot,
    /// Octets of ESP.
    pub(crate) len: usize,
    pub(crate) sequence: u64,
    pub(crate) verdict: Verdict,
    /// The port it came by.
    pub(crate) port: u8,
}

/// Lets a frame count as its SA's, if it is authentic and new.
#[inline(always)]
pub(crate) fn authenticate(
    opened: Opened,
    now_ms: u64,
    shards: &mut Shards,
    keys: &mut KeyRings,
) -> Result<Accepted, Discard> {
    let Opened {
        sa: slot,
        len,
        sequence,
        verdict,
        port,
    } = opened;
    let sa = shards.inbound.at_to_count(slot);
    let sa = sa.ok_or(Discard::UnknownSpi)?;
    match verdict {
        Verdict::Ok => {}
        Verdict::BadLength => return Err(Discard::BadEspLength),
        // RFC 4303 §3.4.4.1: nothing of a frame whose ICV is wrong goes on.
        Verdict::BadIcv | Verdict::Pending => {
            sa.tally.forged.add(1);
            return Err(Discard::NotAuthentic);
        }
    }
    // RFC 4303 §3.4.3: the window moves only once the ICV has been verified. The second check
    // catches the second of two copies in one burst.
    if !sa.window.advance(sequence) {
        sa.tally.replayed.add(1);
        return Err(Discard::Replayed);
    }
    // Written once only: what lies beside it is read in one load, which would wait for the store.
    let is_first = !sa.is_used;
    if is_first {
        sa.is_used = true;
    }
    let (id, path) = (InboundSa(slot), sa.path.0);
    let (shape, likely, vrf) = (sa.shape, sa.likely, sa.origin.vrf);
    let is_far = sa.usage.take_far(len);
    if !is_far && !sa.usage.take(len) {
        if sa.usage.hard_news() {
            note(shards, path, Item::Hard);
        }
        return Err(Discard::SaExhausted);
    }
    let is_by_other = !sa.heard.is_by(port);
    sa.heard.note(port, now_ms);
    let is_newest = sa.window.top() == sequence;
    let is_soft = !is_far && sa.usage.soft_news();
    if is_first {
        begin(id, shards, keys);
    }
    if is_by_other {
        shards.hear(path, port, now_ms);
    }
    if is_soft {
        note(shards, path, Item::Soft);
    }
    Ok(Accepted {
        path,
        shape,
        likely,
        vrf,
        is_newest,
    })
}

/// The first authentic frame of an SA: what waited for it may be used.
#[cold]
fn begin(id: InboundSa, shards: &mut Shards, keys: &mut KeyRings) {
    let Some(sa) = shards.inbound.at_mut(id.0) else {
        return;
    };
    sa.news
        .note(Item::First, Subject::Inbound(id), &mut shards.untold);
    let path = sa.path;
    shards.activate(path, keys, |waiting| {
        waiting.activation == Activation::AfterFirst(id)
    });
}

#[cold]
fn note(shards: &mut Shards, path: Slot, item: Item) {
    if let Some(path) = shards.paths.at_mut(path) {
        path.news
            .note(item, Subject::Path(path.id), &mut shards.untold);
    }
}

/// The peer is where its newest authentic frame came from, if it is behind a NAT; otherwise a
/// frame from elsewhere is not its own.
#[inline]
fn follow<C: Chunk>(
    t: &mut Guest<'_, C>,
    is_newest: bool,
    shards: &mut Shards,
    now_ms: u64,
) -> Result<(), Discard> {
    let path = shards.paths.at_mut(t.slot).ok_or(Discard::NoPath)?;
    let is_natted = path.origin.encapsulation == Encapsulation::EspInUdp;
    let mut has_moved = false;
    if is_natted && t.meta.kind == Kind::EspInUdp {
        has_moved = is_newest && path.follow(t.meta.local, t.meta.remote, now_ms);
    } else if !path.remote.is_at(&t.meta.remote) {
        return Err(Discard::WrongEndpoint);
    }
    t.meta.vrf = path.origin.vrf;
    if has_moved {
        let id = path.id;
        note(shards, t.slot, Item::Moved);
        shards.tell_origin(id);
    }
    Ok(())
}

/// RFC 4303 §2.4: the octets in front of padding, pad length and next header, which are checked.
#[inline]
pub(crate) fn payload_len(plaintext: &[u8]) -> Result<usize, Discard> {
    let [padded @ .., pad_len, next_header] = plaintext else {
        return Err(Discard::Truncated);
    };
    let payload_len = padded
        .len()
        .checked_sub(usize::from(*pad_len))
        .ok_or(Discard::BadPadding)?;
    if !ends_in_padding(padded, *pad_len) {
        return Err(Discard::BadPadding);
    }
    match *next_header {
        Ipv4::UDP => Ok(payload_len),
        DUMMY => Err(Discard::Dummy),
        _ => Err(Discard::NotUdp),
    }
}

/// Whether the last so many octets are 1, 2, 3 …. In little-endian order the last octet is the uppermost,
/// and what differs in the others is shifted away: in two steps, because no shift takes all bits.
#[inline(always)]
fn ends_in_padding(octets: &[u8], pad_len: u8) -> bool {
    const RIGHT: u128 = 0x100f_0e0d_0c0b_0a09_0807_0605_0403_0201;
    let others = |room: u32| room - 8 * u32::from(pad_len);
    match (pad_len, octets.last_chunk(), octets.last_chunk()) {
        (0..8, Some(last), _) => {
            let (last, others) = (u64::from_le_bytes(*last), others(56));
            (last ^ (RIGHT as u64) << 8 << others) >> 8 >> others == 0
        }
        (8..16, _, Some(last)) => {
            let (last, others) = (u128::from_le_bytes(*last), others(128));
            (last ^ RIGHT << others) >> others == 0
        }
        _ => octets.ends_with(&PADDING[..usize::from(pad_len)]),
    }
}

/// Seals what has been [prepared](prepare), in place; frames of plain tunnels pass.
pub(crate) fn seal<P: Port>(
    batch: &mut Batch<P::Chunk>,
    tables: &mut Tables,
    ahead: &mut Ahead<'_, P>,
) {
    tables.watch.lap(Stage::Seal, || batch.in_line());
    let verdicts = encrypt(batch.jobs(), tables, ahead);
    batch.walk_seats(|seat, t| match t.work.take() {
        Some(_) => sealed(verdicts.of(seat)).map_err(Exit::from),
        None => Ok(()),
    });
}

/// Takes a sequence number and lays the packet out, if it is for a peer that has SAs.
#[inline]
pub(crate) fn prepare<C: Chunk>(t: &mut Guest<'_, C>, tables: &mut Tables) -> Result<(), Exit> {
    let shards = tables.shards.at(Room::Seal, t.slot)?;
    let path = shards.paths.at_mut(t.slot).ok_or(Discard::NoPath)?;
    path.tally.sent.add(t.frame.len());
    if !path.is_secured() {
        return Ok(());
    }
    let len = t.frame.len();
    let (work, spi) = number(t.slot, len, tables)?;
    let (shape, sequence) = (work.shape, work.sequence);
    t.work = Some(work);
    wrap(t.frame, t.ports, shape, spi, sequence).ok_or(Discard::NoHeadroom)?;
    Ok(())
}

/// Takes the next sequence number of a path for `len` octets of L2TP; says what the cipher has to
/// do, and the SPI.
#[inline]
fn number(slot: Slot, len: usize, tables: &mut Tables) -> Result<(Work, u32), Exit> {
    let shards = tables.shards.at(Room::Seal, slot)?;
    let path = shards.paths.at_mut(slot).ok_or(Discard::NoPath)?;
    // RFC 3193 §4.2.2: without an SA nothing is sent, least of all in the clear.
    let sa = path.outbound.as_mut().ok_or(Discard::NoOutboundSa)?;
    if !tables.compat.admits(sa.shape) {
        return Err(Discard::CompatShare.into());
    }
    let (work, is_near) = match sa.number(slot, len) {
        Ok(numbered) => numbered,
        Err(reason) => {
            if sa.usage.hard_news() {
                note(shards, slot, Item::Hard);
            }
            return Err(reason.into());
        }
    };
    let numbered = (work, sa.spi);
    path.tally.sequence.set(work.sequence);
    if is_near && sa.usage.soft_news() {
        tell_soft(slot, tables);
    }
    Ok(numbered)
}

/// The slow path hears that a path's SA has passed a soft limit.
#[cold]
pub(crate) fn tell_soft(path: Slot, tables: &mut Tables) {
    note(&mut tables.shards, path, Item::Soft);
}

/// Octets of ESP around UDP around so many octets of L2TP.
#[inline]
pub(crate) fn sealed_len(shape: Shape, message: usize) -> usize {
    let padded = shape.padded(Udp::LEN + message + TRAILER);
    shape.front() + padded + shape.icv_len()
}

/// UDP, trailer, room for IV and ICV, ESP header.
#[inline]
pub(crate) fn wrap<C: Chunk>(
    frame: &mut Frame<C>,
    [local, remote]: [u16; 2],
    shape: Shape,
    spi: u32,
    sequence: u64,
) -> Option<()> {
    // RFC 3948 §3.1.2 allows the UDP checksum of an integrity-protected packet to be zero.
    frame.prepend(&Udp {
        source: local.into(),
        destination: remote.into(),
        length: u16::try_from(frame.len() + Udp::LEN).ok()?.into(),
        checksum: 0.into(),
    })?;
    let payload = frame.len();
    let pad_len = shape.padded(payload + TRAILER) - payload - TRAILER;
    frame.grow_back(pad_len + TRAILER + shape.icv_len())?;
    write_trailer(&mut frame.bytes_mut()[payload..], pad_len);
    frame.grow_front(shape.iv_len())?;
    frame.prepend(&Esp {
        spi: spi.into(),
        sequence: (sequence as u32).into(),
    })
}

/// RFC 4303 §2.4–2.6: padding, its length and the next header, where the ICV will follow.
#[inline(always)]
pub(crate) fn write_trailer(trailer: &mut [u8], pad_len: usize) {
    const MOST: usize = 16;
    match trailer.first_chunk_mut() {
        // What is too much lies where the rest will be written.
        Some(front) if pad_len < MOST => {
            *front = *PADDING.first_chunk::<MOST>().expect("it has 255")
        }
        _ => trailer[..pad_len].copy_from_slice(&PADDING[..pad_len]),
    }
    trailer[pad_len..][..TRAILER].copy_from_slice(&[pad_len as u8, Ipv4::UDP]);
}

/// What follows from the verdict.
#[inline(always)]
pub(crate) fn sealed(verdict: Verdict) -> Result<(), Discard> {
    match verdict {
        Verdict::Ok => Ok(()),
        Verdict::Pending | Verdict::BadIcv => Err(Discard::NoOutboundSa),
        Verdict::BadLength => Err(Discard::BadEspLength),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_of_every_length_is_looked_at_to_its_last_octet() {
        for pad_len in 0..=255_u8 {
            for before in [0, 1, 20] {
                let mut plaintext = vec![7; before];
                plaintext.extend_from_slice(&PADDING[..usize::from(pad_len)]);
                plaintext.extend([pad_len, Ipv4::UDP]);
                assert_eq!(payload_len(&plaintext), Ok(before));
                for at in before..before + usize::from(pad_len) {
                    plaintext[at] ^= 0x80;
                    assert_eq!(payload_len(&plaintext), Err(Discard::BadPadding));
                    plaintext[at] ^= 0x80;
                }
            }
            let too_long = [pad_len, Ipv4::UDP];
            assert_eq!(payload_len(&too_long).is_ok(), pad_len == 0);
        }
    }
}
