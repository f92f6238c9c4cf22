//! L2TP data messages (RFC 2661 §3.1), with both doors: [`decap`] and [`encap`].
//!
//! ```text
//!    0                   1                   2                   3
//!   |T|L|x|x|S|x|O|P|x|x|x|x|  Ver  |          Length (opt)         |
//!   |           Tunnel ID           |           Session ID          |
//!   |             Ns (opt)          |             Nr (opt)          |
//!   |      Offset Size (opt)        |    Offset pad... (opt)
//! ```

use packet::Chunk;
use packet::header::{L2tp, Udp};

use crate::batch::{Exit, Guest, Room, Why};
use crate::change::{Class, Kind};
use crate::discard::Discard;
use crate::shard::Shards;
use crate::shard::path::Path;
use crate::shard::session::Session;
use crate::tables::Tables;

/// Takes UDP (inside an SA) and L2TP off, and finds the session.
#[inline(always)]
pub(crate) fn decap<C: Chunk>(t: &mut Guest<'_, C>, tables: &mut Tables) -> Result<(), Exit> {
    let shards = tables.shards.at(Room::Decap, t.slot)?;
    if t.meta.kind == Kind::L2tp {
        return decap_plain(t, shards, tables.now_ms);
    }
    peel_udp(t)?;
    let header = Header::read(t.frame.bytes())?;
    let path = shards.paths.at_mut(t.slot).ok_or(Discard::NoPath)?;
    if header.is_control {
        path.may_control(tables.now_ms)?;
        return Err(Exit::Punt(Why::SecuredL2tp));
    }
    enter(t, &header, path)?;
    Ok(())
}

#[inline(always)]
fn decap_plain<C: Chunk>(
    t: &mut Guest<'_, C>,
    shards: &mut Shards,
    now_ms: u64,
) -> Result<(), Exit> {
    let header = Header::read(t.frame.bytes())?;
    let Some(path) = shards.tunnel(t.slot) else {
        return Err(match header.is_control {
            true => Exit::Punt(Why::PlainL2tp(Class::Stranger)),
            false => Discard::NoTunnel.into(),
        });
    };
    // RFC 2661 §8.1: addresses and ports of a tunnel stay as they are for its life.
    if (path.local, path.remote) != (t.meta.local, t.meta.remote) {
        return Err(Discard::WrongEndpoint.into());
    }
    path.heard_by(t.meta.port, now_ms);
    t.meta.vrf = path.origin.vrf;
    if header.is_control {
        path.may_control(now_ms)?;
        let has_sessions = path.directory.has_tunnel(header.tunnel);
        let class = if has_sessions {
            Class::Established
        } else {
            Class::InProgress
        };
        return Err(Exit::Punt(Why::PlainL2tp(class)));
    }
    enter(t, &header, path)
}

/// Takes the header off; from here on the frame is its session's.
#[inline(always)]
fn enter<C: Chunk>(t: &mut Guest<'_, C>, header: &Header, path: &Path) -> Result<(), Exit> {
    let session = path.directory.find(header.tunnel, header.session);
    let session = session.ok_or(Discard::NoSession)?;
    t.frame.truncate(header.end).ok_or(Discard::L2tpMalformed)?;
    t.frame.skip(header.len).ok_or(Discard::L2tpMalformed)?;
    t.ns = header.ns;
    t.slot = session.0;
    t.session = Some(session);
    Ok(())
}

/// The UDP header inside an SA; its checksum is the SA's business (RFC 3948 §3.1.2).
#[inline]
fn peel_udp<C: Chunk>(t: &mut Guest<'_, C>) -> Result<(), Discard> {
    let udp = t.frame.peel::<Udp>().ok_or(Discard::Truncated)?;
    let len = usize::from(udp.length.get()).checked_sub(Udp::LEN);
    t.frame
        .truncate(len.ok_or(Discard::Truncated)?)
        .ok_or(Discard::Truncated)?;
    t.ports = [udp.destination.get(), udp.source.get()];
    Ok(())
}

/// What a header says.
pub(crate) struct Header {
    pub(crate) is_control: bool,
    pub(crate) tunnel: u16,
    pub(crate) session: u16,
    pub(crate) ns: Option<u16>,
    /// Octets of the header and the offset padding.
    pub(crate) len: usize,
    /// Octets of the message.
    pub(crate) end: usize,
}

impl Header {
    /// Reads the header: nearly all data messages have a length and nothing else, or not even that.
    #[inline(always)]
    pub(crate) fn read(message: &[u8]) -> Result<Self, Discard> {
        let data = |ids: [u8; 4], len, end| Self {
            is_control: false,
            tunnel: u16::from_be_bytes([ids[0], ids[1]]),
            session: u16::from_be_bytes([ids[2], ids[3]]),
            ns: None,
            len,
            end,
        };
        let header = match *message {
            [0x40, 2, high, low, a, b, c, d, ..] => data(
                [a, b, c, d],
                8,
                usize::from(u16::from_be_bytes([high, low])),
            ),
            [0, 2, a, b, c, d, ..] => data([a, b, c, d], 6, message.len()),
            _ => Self::read_fields(message)?,
        };
        // RFC 2661 §3.1: neither Length nor Offset Size may point past the end.
        if header.end > message.len() || header.len > header.end {
            return Err(Discard::L2tpMalformed);
        }
        Ok(header)
    }

    /// Reads the fields that the flags say are there.
    #[cold]
    fn read_fields(message: &[u8]) -> Result<Self, Discard> {
        let mut fields = Fields(message);
        let flags = fields.next().ok_or(Discard::Truncated)?;
        if flags & L2tp::VERSION != 2 {
            return Err(Discard::L2tpVersion);
        }
        let mut field_if = |flag: u16| match flags & flag {
            0 => Ok(None),
            _ => fields.next().map(Some).ok_or(Discard::Truncated),
        };
        // Each field exists only when its bit is set, in this order; ids and Nr have no bit.
        const ALWAYS: u16 = L2tp::VERSION;
        let end = field_if(L2tp::LENGTH)?.map_or(message.len(), usize::from);
        let tunnel = field_if(ALWAYS)?.unwrap_or(0);
        let session = field_if(ALWAYS)?.unwrap_or(0);
        let ns = field_if(L2tp::SEQUENCE)?;
        field_if(L2tp::SEQUENCE)?;
        let offset = field_if(L2tp::OFFSET)?.map_or(0, usize::from);
        let len = message.len() - fields.0.len() + offset;
        Ok(Self {
            is_control: flags & L2tp::CONTROL != 0,
            tunnel,
            session,
            ns,
            len,
            end,
        })
    }
}

/// 16-bit fields, one after the other.
struct Fields<'b>(&'b [u8]);

impl Fields<'_> {
    fn next(&mut self) -> Option<u16> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*field))
    }
}

/// Puts L2TP in front; from here on the frame is its path's.
#[inline]
pub(crate) fn encap<C: Chunk>(t: &mut Guest<'_, C>, session: &mut Session) -> Result<(), Exit> {
    let mut flags = 2;
    if session.sequencing {
        // RFC 2661 §5.4: Ns counts the data messages of a session from 0; Nr means nothing here.
        let [high, low] = session.ns.to_be_bytes();
        t.frame
            .prepend_bytes(&[high, low, 0, 0])
            .ok_or(Discard::NoHeadroom)?;
        session.ns = session.ns.wrapping_add(1);
        flags |= L2tp::SEQUENCE;
    }
    let header = L2tp {
        flags: flags.into(),
        tunnel: session.peer_tunnel.into(),
        session: session.peer_session.into(),
    };
    t.frame.prepend(&header).ok_or(Discard::NoHeadroom)?;
    t.ports = session.ports;
    t.slot = session.path.0;
    Ok(())
}
