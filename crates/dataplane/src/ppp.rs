//! PPP framing (RFC 1661 §2) of IP, with both doors: [`strip`] and [`frame`].

use packet::Chunk;
use packet::header::Ipv4;

use crate::batch::{Exit, Guest, Room, Source, Why};
use crate::change::Kind;
use crate::discard::Discard;
use crate::ip;
use crate::shard::session::{EARLY_FRAMES, PUNTS, Session};

/// The protocol number of IPv4.
pub(crate) const IPV4: u16 = 0x0021;

/// What nearly every packet of IPv4 has in front.
const IPV4_UNCOMPRESSED: [u8; 4] = [0xff, 0x03, 0x00, 0x21];

/// Address and control field (RFC 1662 §3.1), where they are not left out.
const ADDRESS_CONTROL: [u8; 2] = [0xff, 0x03];

/// Takes PPP off IP packets; anything else is the slow path's.
#[inline]
pub(crate) fn strip<C: Chunk>(
    t: &mut Guest<'_, C>,
    session: &mut Session,
    now_ms: u64,
) -> Result<(), Exit> {
    // RFC 3193 §3.3: the ports are those with which the tunnel was set up.
    if t.meta.kind != Kind::L2tp && t.ports != session.ports {
        return Err(Discard::WrongPorts.into());
    }
    if !t.ns.is_none_or(|ns| session.is_in_order(ns)) {
        return Err(Discard::OutOfOrder.into());
    }
    session.tally.last_up.set(now_ms);
    let (protocol, len) = protocol(t.frame.bytes()).ok_or(Discard::PppMalformed)?;
    if protocol != IPV4 {
        return Err(control(session, now_ms));
    }
    if session.network.is_none() {
        return Err(early(session));
    }
    t.frame.skip(len).ok_or(Discard::PppMalformed)?;
    t.meta.kind = Kind::Ip;
    Ok(())
}

/// The protocol number, and the octets up to what it announces.
#[inline]
pub(crate) fn protocol(bytes: &[u8]) -> Option<(u16, usize)> {
    if bytes.first_chunk() == Some(&IPV4_UNCOMPRESSED) {
        return Some((IPV4, IPV4_UNCOMPRESSED.len()));
    }
    let skipped = if bytes.starts_with(&ADDRESS_CONTROL) {
        2
    } else {
        0
    };
    match bytes[skipped..] {
        // RFC 1661 §6.5: an odd first octet is the whole, compressed field.
        [short, ..] if short & 1 == 1 => Some((u16::from(short), skipped + 1)),
        [high, low, ..] if low & 1 == 1 => Some((u16::from_be_bytes([high, low]), skipped + 2)),
        _ => None,
    }
}

/// Octets of framing in front of an IPv4 packet, of which `first` are the first four octets; `None` in
/// front of anything else.
#[inline(always)]
pub(crate) fn ipv4_header_len(first: u32) -> Option<usize> {
    match first {
        0xff03_0021 => Some(4),
        0xff03_2100..=0xff03_21ff => Some(3),
        0x0021_0000..=0x0021_ffff => Some(2),
        0x2100_0000..=0x21ff_ffff => Some(1),
        _ => None,
    }
}

/// LCP, authentication, IPCP: as often as a session may.
fn control(session: &mut Session, now_ms: u64) -> Exit {
    if session.punts.take(PUNTS, now_ms) {
        Exit::Punt(Why::Ppp)
    } else {
        Discard::PuntLimited.into()
    }
}

/// A peer may believe the network open a moment before we do: a few frames are kept for it by the
/// slow path.
fn early(session: &mut Session) -> Exit {
    if session.early >= EARLY_FRAMES {
        return Discard::NetworkNotOpen.into();
    }
    session.early += 1;
    Exit::Punt(Why::Ppp)
}

/// Puts PPP in front of an IP packet for a subscriber.
#[inline]
pub(crate) fn frame<C: Chunk>(
    t: &mut Guest<'_, C>,
    session: &mut Session,
    now_ms: u64,
) -> Result<(), Exit> {
    let network = session.network.as_ref().ok_or(Discard::NetworkNotOpen)?;
    t.session = Some(session.id);
    if network.isolate && t.source == Source::Subscriber {
        return Err(Discard::Isolated.into());
    }
    let len = t.frame.len();
    if len > usize::from(network.mtu) {
        return Err(ip::too_big(t, network.mtu, Room::Frame));
    }
    if let Some(policer) = &mut session.down
        && !policer.passes(len, now_ms)
    {
        return Err(Discard::PolicedDown.into());
    }
    if network.clamp_mss {
        ip::clamp_mss(t.frame, network.mtu);
    }
    // RFC 2983 §3, RFC 6040 §4.3: the outer header takes the inner DSCP; its ECN field stays
    // zero, because the peers' kernels do not carry a mark inward.
    let header = t.frame.peek::<Ipv4>().ok_or(Discard::Truncated)?;
    t.meta.dscp_ecn = header.dscp_ecn & !ip::CE;
    let tally = &*session.tally;
    tally.down.add(len);
    tally.last_down.set(now_ms);
    t.frame
        .prepend_bytes(network.ppp_header())
        .ok_or(Discard::NoHeadroom)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_octets_tell_the_same_framing_of_ipv4_as_a_look_at_the_whole() {
        let octets = [0x00, 0x01, 0x03, 0x20, 0x21, 0x22, 0x57, 0xc0, 0xff];
        for at in 0..octets.len().pow(4) {
            let first = [0, 1, 2, 3].map(|n| octets[at / octets.len().pow(n) % octets.len()]);
            let whole = protocol(&first).filter(|(protocol, _)| *protocol == IPV4);
            let seen = ipv4_header_len(u32::from_be_bytes(first));
            assert_eq!(seen, whole.map(|(_, len)| len), "{first:02x?}");
        }
    }
}
