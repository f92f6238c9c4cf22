//! The lane from the network to the subscriber.

use packet::Chunk;
use packet::header::{Ipv4, L2tp};

use super::{Door, ETHERNET, Seat};
use crate::ahead::Ahead;
use crate::batch::{Batch, Work, each};
use crate::change::Encapsulation;
use crate::esp;
use crate::ip;
use crate::port::Port;
use crate::stages::Stage;
use crate::tables::Tables;
use crate::wire::{self, OUTER};

/// Octets of all headers in front of an IP packet, at most: Ethernet, IP, UDP, ESP with its IV, UDP,
/// L2TP, PPP.
const HEADROOM: usize = 14 + 20 + 8 + 8 + 16 + 8 + 6 + 4;
/// Octets of padding up to a block, pad length, next header and ICV, at most.
const TAILROOM: usize = 15 + 2 + 32;

/// Everything that comes from the network.
pub(crate) fn downstream<P: Port>(
    batch: &mut Batch<P::Chunk>,
    tables: &mut Tables,
    ahead: &mut Ahead<'_, P>,
) {
    let seats = batch.express.network;
    if seats == 0 {
        return;
    }
    let mut secured = 0;
    tables
        .watch
        .lap(Stage::Prepare, || seats.count_ones() as usize);
    for nth in each(seats) {
        let Batch { burst, express, .. } = &mut *batch;
        match prepare(&mut burst.whole[nth], &mut express.works[nth], tables) {
            Some(()) if express.works[nth].is_some() => secured |= 1 << nth,
            Some(()) => express.out |= 1 << nth,
            None => {
                express.works[nth] = None;
                batch.leave_lane(nth, Door::First, tables);
            }
        }
    }
    if secured != 0 {
        tables
            .watch
            .lap(Stage::Seal, || u64::count_ones(secured) as usize);
        esp::encrypt(batch.works_of_lane(secured), tables, ahead);
    }
    for nth in each(secured) {
        let work = batch.express.works[nth].take();
        match esp::sealed(work) {
            Ok(()) => batch.express.out |= 1 << nth,
            Err(exit) => _ = batch.leave_lane(nth, Door::Exit(exit), tables),
        }
    }
    tables.watch.pause();
}

/// Everything but the cipher: the session, its policer, all headers. `None` if anything is not as
/// usual, and then nothing has changed.
#[inline(always)]
fn prepare<C: Chunk>(
    Seat { frame, ticket }: &mut Seat<C>,
    place: &mut Option<Work>,
    tables: &mut Tables,
) -> Option<()> {
    let frame = frame.as_mut()?;
    let packet = &frame.bytes()[ETHERNET..];
    let inner = ip::read(packet).ok()?;
    let len = usize::from(inner.total_length.get());
    let (slot, now_ms) = (ticket.path?, tables.now_ms);
    let Tables {
        shards,
        shared,
        compat,
        ..
    } = &mut *tables;
    let path = shards.own(slot.shard)?.paths.at_mut(slot)?;
    let suite = match path.encapsulation {
        Encapsulation::Plain if shared.checks_data() => return None,
        Encapsulation::Plain => None,
        Encapsulation::EspInUdp => {
            let sa = path.outbound.as_ref()?;
            if !sa.has_left(len + HEADROOM) || !compat.admits(sa.suite) {
                return None;
            }
            Some(sa.suite)
        }
        Encapsulation::Esp => return None,
    };
    let ends = [path.local, path.remote];
    let next_hop = path.next_hop(shared)?;
    let hop = *tables.hop(next_hop);
    let session = ticket.slot;
    let session = tables.shards.own(session.shard)?.sessions.at_mut(session)?;
    let network = session.network.as_ref()?;
    let ppp = network.ppp_header();
    let message = len + ppp.len() + size_of::<L2tp>();
    let datagram = suite.map_or(message, |suite| esp::sealed_len(suite, message));
    let has_room = frame.headroom() >= HEADROOM && frame.tailroom() >= TAILROOM;
    if !has_room
        || OUTER - ETHERNET + datagram > usize::from(hop.mtu)
        || len > usize::from(network.mtu)
        || session.sequencing
        || inner.ttl <= 1
        || network.clamp_mss && ip::may_open_tcp(&inner, packet)
    {
        return None;
    }
    if let Some(policer) = &mut session.down
        && !policer.passes(len, now_ms)
    {
        return None;
    }
    session.tally.down.add(len);
    session.tally.last_down.set(now_ms);
    frame.narrow(ETHERNET, len)?;
    frame.peek_mut::<Ipv4>()?.decrement_ttl();
    frame.prepend_bytes(network.ppp_header())?;
    frame.prepend(&L2tp {
        flags: 2.into(),
        tunnel: session.peer_tunnel.into(),
        session: session.peer_session.into(),
    })?;
    let ports = session.ports;
    let path = tables.shards.own(slot.shard)?.paths.at_mut(slot)?;
    path.tally.sent.add(message);
    path.tally.last_sent.set(now_ms);
    if suite.is_some() {
        let (work, spi) = esp::number(slot, message, tables).ok()?;
        esp::wrap(frame, ports, work.suite, spi, work.sequence)?;
        *place = Some(work);
    }
    ticket.port = hop.port;
    // RFC 2983 §3, RFC 6040 §4.3: as the rooms do.
    wire::write_outer(frame, ends, inner.dscp_ecn & !ip::CE, hop.ethernet).ok()?;
    ticket.len = (frame.len() - ETHERNET) as u16;
    Some(())
}
