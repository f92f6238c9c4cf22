//! IPv4 fragmentation (RFC 791 §3.2) of packets that allow it.

use packet::header::Ipv4;
use packet::{Chunk, Frame, checksum};

use crate::batch::Traveller;
use crate::discard::Discard;
use crate::port::Pool;

/// Pieces a packet may be cut into: 9 000 octets by an MTU of 576.
const PIECES_MAX: usize = 17;

/// Where a copied piece starts in its chunk: as much headroom as a received frame has.
const HEADROOM: usize = 256;

/// Cuts a packet into pieces of at most the MTU in [`Note::then`](crate::batch::Note::then), in order. The first stays
/// in its chunk, the others take chunks from `pool`. The error names what the packet is discarded
/// for; its chunk is given back in `t` by the caller.
pub(crate) fn fragment<C: Chunk>(
    t: &mut Traveller<C>,
    pool: &mut dyn Pool<C>,
) -> Result<Vec<Frame<C>>, Discard> {
    let header = t.packet.frame.peek::<Ipv4>().ok_or(Discard::IpMalformed)?;
    let before = usize::from(header.flags_fragment.get() & Ipv4::OFFSET) * 8;
    let payload = t.packet.frame.len().saturating_sub(header.header_len());
    // What claims to go on behind the longest packet there is would come out as another fragment.
    if before + payload > usize::from(u16::MAX) {
        return Err(Discard::IpMalformed);
    }
    cut(t, pool).ok_or(Discard::NoChunk)
}

fn cut<C: Chunk>(t: &mut Traveller<C>, pool: &mut dyn Pool<C>) -> Option<Vec<Frame<C>>> {
    let (_, mtu) = t.note.then;
    let frame = &mut t.packet.frame;
    let packet = frame.bytes().to_vec();
    let header = *frame.peek::<Ipv4>()?;
    let header_len = header.header_len();
    let payload = packet.get(header_len..)?;
    // RFC 791 §3.2: all but the last carry a multiple of 8 octets.
    let step = usize::from(mtu).checked_sub(header_len)? / 8 * 8;
    let pieces = payload.len().div_ceil(step.max(8));
    if step == 0 || pieces > PIECES_MAX {
        return None;
    }
    let mut frames = Vec::with_capacity(pieces);
    for (i, data) in payload.chunks(step).enumerate().skip(1) {
        let head = header_of(
            &packet[..header_len],
            i * step / 8,
            i + 1 == pieces,
            data.len(),
        );
        match copy(pool, &head, data) {
            Some(frame) => frames.push(frame),
            None => {
                frames
                    .into_iter()
                    .for_each(|frame: Frame<C>| pool.put(frame.into_chunk()));
                return None;
            }
        }
    }
    let first = payload.len().min(step);
    let head = header_of(&packet[..header_len], 0, pieces == 1, first);
    let frame = &mut t.packet.frame;
    frame.truncate(header_len + first)?;
    frame.bytes_mut()[..header_len].copy_from_slice(&head);
    Some(frames)
}

/// The header of a piece. Options stay as they are; the few that should not be copied are read
/// by nobody any more.
fn header_of(header: &[u8], offset: usize, is_last: bool, data: usize) -> Vec<u8> {
    let mut head = header.to_vec();
    let word = u16::from_be_bytes([head[6], head[7]]);
    let offset = (word & Ipv4::OFFSET) + offset as u16;
    let more = if is_last { word & Ipv4::MF } else { Ipv4::MF };
    let total = (head.len() + data) as u16;
    head[2..4].copy_from_slice(&total.to_be_bytes());
    head[6..8].copy_from_slice(&(more | offset).to_be_bytes());
    head[10..12].fill(0);
    let sum = checksum::checksum(&head);
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    head
}

fn copy<C: Chunk>(pool: &mut dyn Pool<C>, head: &[u8], data: &[u8]) -> Option<Frame<C>> {
    let chunk = pool.take()?;
    let mut frame = Frame::new(chunk, 0, 0)?;
    match frame
        .fill(HEADROOM, data)
        .and_then(|()| frame.prepend_bytes(head))
    {
        Some(()) => Some(frame),
        None => {
            pool.put(frame.into_chunk());
            None
        }
    }
}
