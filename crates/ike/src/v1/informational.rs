//! Informational exchanges (RFC 2409 §5.7): one message each way at most, under HASH(1).
//!
//! In clear they prove nothing. During main mode a complaint is remembered, so that an operator can
//! read why nothing came of it; no state depends on it.

use super::children::Children;
use super::core::{Core, Received, Turn};
use super::isakmp::{Isakmp, authenticate, hash_first};
use super::quick_mode::QuickMode;
use crate::message::{self, Chain, Padding, Payload, kind};
use crate::output::{ChildEnd, DownReason, Output};
use crate::payload::delete::Delete;
use crate::payload::notification::{
    CONNECTED, INITIAL_CONTACT, Notification, PROTO_ISAKMP, R_U_THERE, R_U_THERE_ACK,
    REPLAY_STATUS, RESPONDER_LIFETIME,
};
use crate::{Cookies, Refusal, Spi};

/// Notify types below are errors (RFC 2408 §3.14.1).
const STATUS_MIN: u16 = 16384;

/// One payload of an authentic informational message, understood.
#[derive(Debug)]
pub(super) enum News {
    RUThere {
        sequence: u32,
        is_newer: bool,
    },
    RUThereAck {
        sequence: u32,
    },
    InitialContact,
    /// IPsec SA pairs that the peer has given up, by our names.
    ChildrenDeleted(Vec<Spi>),
    IsakmpDeleted,
    /// The peer refuses a quick mode that we started.
    QuickModeRefused(u32),
    /// Nothing to do.
    Noted,
}

/// What a clear notification says, for the operator only.
pub(super) fn complaint(received: &Received<'_>) -> Result<u16, Refusal> {
    let chain = Chain::parse(received.header.next_payload, received.body(), Padding::None)?;
    Ok(Notification::parse(chain.single(kind::NOTIFICATION)?)?.kind)
}

/// First door: everything that an authentic message says.
pub(super) fn open(
    received: &Received<'_>,
    isakmp: &Isakmp,
    children: &Children,
    core: &Core,
) -> Result<Vec<News>, Refusal> {
    // RFC 2409 §5.7, RFC 3706 §5.2: in clear it is not acted on.
    if !received.header.is_encrypted() {
        return Err(Refusal::UnauthenticatedNotification);
    }
    let message_id = received.header.message_id;
    let opened = message::open(
        received.bytes,
        &isakmp.keys.cipher(),
        &isakmp.first_iv(message_id),
    )?;
    let (chain, hash) = hash_first(received.header.next_payload, &opened)?;
    authenticate(&isakmp.keys.hash_1(message_id, chain.after_first()), hash)?;
    let mut news = Vec::new();
    let mut refusal = None;
    for payload in &chain.payloads()[1..] {
        match read(payload, isakmp, children, core) {
            Ok(one) => news.push(one),
            Err(reason) => refusal = Some(reason),
        }
    }
    // A message is refused only if nothing in it is of use.
    match refusal {
        Some(refusal) if news.is_empty() => Err(refusal),
        _ => Ok(news),
    }
}

fn read(
    payload: &Payload<'_>,
    isakmp: &Isakmp,
    children: &Children,
    core: &Core,
) -> Result<News, Refusal> {
    match payload.kind {
        kind::DELETE => read_delete(payload.body, children, core.cookies),
        kind::NOTIFICATION => {
            read_notification(&Notification::parse(payload.body)?, isakmp, core.cookies)
        }
        _ => Ok(News::Noted),
    }
}

fn read_delete(body: &[u8], children: &Children, cookies: Cookies) -> Result<News, Refusal> {
    match Delete::parse(body)? {
        Delete::Isakmp(sas) if sas.contains(&cookies) => Ok(News::IsakmpDeleted),
        Delete::Isakmp(_) | Delete::Other(_) => Err(Refusal::UnknownSpi),
        // RFC 2408 §3.15: the sender names the SPIs at which it receives.
        Delete::Esp(spis) => {
            let ours: Vec<Spi> = spis
                .into_iter()
                .filter_map(|spi| children.by_outbound(spi))
                .collect();
            if ours.is_empty() {
                Err(Refusal::UnknownSpi)
            } else {
                Ok(News::ChildrenDeleted(ours))
            }
        }
    }
}

fn read_notification(
    notification: &Notification<'_>,
    isakmp: &Isakmp,
    cookies: Cookies,
) -> Result<News, Refusal> {
    match notification.kind {
        R_U_THERE => {
            let sequence = dpd_sequence(notification, cookies)?;
            let newest = isakmp.liveness.peer_sequence;
            let is_newer = newest.is_none_or(|newest| sequence > newest);
            Ok(News::RUThere { sequence, is_newer })
        }
        R_U_THERE_ACK => Ok(News::RUThereAck {
            sequence: dpd_sequence(notification, cookies)?,
        }),
        // Only once: a copy of an old message must not clear newer SAs.
        INITIAL_CONTACT if isakmp.initial_contact_seen => Err(Refusal::InitialContactRepeated),
        INITIAL_CONTACT => Ok(News::InitialContact),
        CONNECTED | RESPONDER_LIFETIME | REPLAY_STATUS => Ok(News::Noted),
        error if error < STATUS_MIN => {
            refused_quick_mode(notification, isakmp).map(News::QuickModeRefused)
        }
        _ => Err(Refusal::UnknownNotification),
    }
}

/// RFC 3706 §5.3: about ISAKMP, both cookies as the SPI, four bytes of number.
fn dpd_sequence(notification: &Notification<'_>, cookies: Cookies) -> Result<u32, Refusal> {
    let spi = [cookies.initiator.0, cookies.responder.0].concat();
    if notification.protocol != PROTO_ISAKMP || notification.spi != spi {
        return Err(Refusal::UnknownSpi);
    }
    let number = <[u8; 4]>::try_from(notification.content);
    number
        .map(u32::from_be_bytes)
        .map_err(|_| Refusal::BadNotification)
}

/// The quick mode of ours that an error is about: the one with this SPI, or the only one.
fn refused_quick_mode(notification: &Notification<'_>, isakmp: &Isakmp) -> Result<u32, Refusal> {
    let spi = <[u8; 4]>::try_from(notification.spi)
        .ok()
        .map(|spi| Spi(u32::from_be_bytes(spi)));
    let ours = |exchange: &QuickMode| exchange.reserved();
    let mut waiting = isakmp
        .exchanges
        .iter()
        .filter(|(_, exchange)| ours(exchange).is_some());
    let named = isakmp
        .exchanges
        .iter()
        .find(|(_, exchange)| spi.is_some() && ours(exchange) == spi);
    match (named, waiting.next(), waiting.next()) {
        (Some((&id, _)), ..) | (None, Some((&id, _)), None) => Ok(id),
        (None, ..) => Err(Refusal::UnknownSpi),
    }
}

/// What an informational message leads to.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// The message cannot be a copy of an old one: it has changed something.
    pub(super) is_fresh: bool,
    pub(super) down: Option<DownReason>,
    /// A part of it that came to nothing.
    pub(super) refusal: Option<Refusal>,
}

/// Second door: does what all the news asks for.
pub(super) fn advance(
    all: Vec<News>,
    received: &Received<'_>,
    isakmp: &mut Isakmp,
    children: &mut Children,
    turn: &mut Turn<'_>,
) -> Effect {
    let mut effect = Effect::default();
    for news in all {
        match news {
            News::Noted => {}
            News::RUThere { sequence, is_newer } => {
                if is_newer {
                    isakmp.liveness.peer_sequence = Some(sequence);
                }
                effect.is_fresh |= is_newer;
                let message = dpd(isakmp, R_U_THERE_ACK, sequence, turn);
                turn.answer(received.origin(), message);
            }
            News::RUThereAck { sequence } => match isakmp.liveness.answered(turn.now, sequence) {
                Ok(()) => effect.is_fresh = true,
                Err(refusal) => effect.refusal = Some(refusal),
            },
            News::InitialContact => {
                isakmp.initial_contact_seen = true;
                turn.out.push(Output::InitialContact);
            }
            News::ChildrenDeleted(spis) => {
                effect.is_fresh = true;
                end_children(spis, isakmp, children, turn);
            }
            News::IsakmpDeleted => effect.down = Some(DownReason::PeerDeleted),
            News::QuickModeRefused(id) => {
                effect.is_fresh = true;
                let exchange = isakmp.take_exchange(id);
                exchange
                    .into_iter()
                    .for_each(|one| one.fail(ChildEnd::Refused, children, turn));
            }
        }
    }
    effect
}

fn end_children(spis: Vec<Spi>, isakmp: &mut Isakmp, children: &mut Children, turn: &mut Turn<'_>) {
    for inbound in spis {
        isakmp
            .exchanges
            .retain(|_, exchange| !exchange.confirms(inbound));
        children.down(inbound, ChildEnd::PeerDeleted, turn.out);
    }
}

/// A DPD query or answer.
pub(super) fn dpd(isakmp: &Isakmp, notify: u16, sequence: u32, turn: &mut Turn<'_>) -> Vec<u8> {
    let cookies = turn.core.cookies;
    let notification = Notification {
        protocol: PROTO_ISAKMP,
        kind: notify,
        spi: &[cookies.initiator.0, cookies.responder.0].concat(),
        content: &sequence.to_be_bytes(),
    };
    isakmp.informational(kind::NOTIFICATION, &notification.to_bytes(), turn)
}

/// Tells the peer what we have given up.
pub(super) fn delete(isakmp: &Isakmp, what: &Delete, turn: &mut Turn<'_>) {
    let message = isakmp.informational(kind::DELETE, &what.to_bytes(), turn);
    turn.send(message);
}
