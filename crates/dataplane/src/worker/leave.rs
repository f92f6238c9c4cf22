//! The exits: a discard, a punt, a move, or out by a port.

use std::time::Instant;

use super::Worker;
use crate::batch::{Exit, MOVES_MAX, Source, Stop, Traveller, Why};
use crate::change::{AdjacencyId, Class, Origin, Punt};
use crate::discard::Discard;
use crate::id::{PathId, SessionSlot};
use crate::port::{Packet, Pool, Port, SendError};

impl<P: Port> Worker<P> {
    pub(super) fn leave(&mut self, traveller: Traveller<P::Chunk>, exit: Exit) {
        match exit {
            Exit::Discard(reason) => self.discard(traveller, reason),
            Exit::Punt(why) => self.punt(traveller, why),
            Exit::Move(stop) => self.go(traveller, stop),
        }
    }

    pub(super) fn discard(&mut self, traveller: Traveller<P::Chunk>, reason: Discard) {
        self.refuse(traveller.packet, traveller.note.session, reason);
    }

    /// Counts a packet as discarded, its session's or nobody's.
    fn refuse(&mut self, packet: Packet<P::Chunk>, session: Option<SessionSlot>, reason: Discard) {
        self.counters().discard(reason);
        if let Some(session) = session
            && let Some(session) = self.tables.shards.sessions.at(session.0)
        {
            session.tally.discarded.add(packet.frame.len());
        }
        self.free.put(packet.frame.into_chunk());
    }

    pub(super) fn go(&mut self, mut traveller: Traveller<P::Chunk>, stop: Stop) {
        let moves = &mut traveller.packet.meta.moves;
        if *moves >= MOVES_MAX {
            self.discard(traveller, Discard::TooManyMoves);
            return;
        }
        *moves += 1;
        self.place(traveller, stop);
    }

    /// Copies a frame to the slow path, if it may speak.
    fn punt(&mut self, traveller: Traveller<P::Chunk>, why: Why) {
        let class = match why {
            Why::Ike(class) | Why::PlainL2tp(class) => class,
            Why::SecuredL2tp | Why::Ppp | Why::Host => Class::Established,
        };
        if let Err(reason) = self.may_punt(&traveller, class, why) {
            self.discard(traveller, reason);
            return;
        }
        let punt = Punt {
            class,
            origin: self.origin(&traveller, why),
            bytes: traveller.packet.frame.bytes().to_vec(),
        };
        if self.end.punts[class as usize].send(punt).is_err() {
            self.discard(traveller, Discard::PuntFull);
            return;
        }
        self.counters().punted.add(1);
        self.free.put(traveller.packet.frame.into_chunk());
    }

    /// Who may be heard by the slow path: those it knows come before those it does not, and what
    /// keeps a session alive before what only uses it.
    fn may_punt(
        &mut self,
        traveller: &Traveller<P::Chunk>,
        class: Class,
        why: Why,
    ) -> Result<(), Discard> {
        let sender = traveller.packet.meta.remote.address();
        let now_ms = self.tables.now_ms;
        let ring = &self.end.punts[class as usize];
        match class {
            Class::Stranger if !self.tables.strangers.take(sender, now_ms) => {
                Err(Discard::StrangerLimited)
            }
            Class::InProgress if !self.tables.in_progress.take(sender, now_ms) => {
                Err(Discard::PuntLimited)
            }
            Class::Established if why == Why::Host && ring.is_half_full() => Err(Discard::PuntFull),
            Class::Stranger | Class::InProgress | Class::Established => Ok(()),
        }
    }

    fn origin(&self, traveller: &Traveller<P::Chunk>, why: Why) -> Origin {
        let (local, remote) = (traveller.packet.meta.local, traveller.packet.meta.remote);
        let worker = self.end.id;
        match why {
            Why::Ike(_) => Origin::Ike {
                worker,
                local,
                remote,
            },
            Why::PlainL2tp(_) => Origin::PlainL2tp {
                worker,
                listener: traveller.note.listener,
                local,
                remote,
            },
            Why::SecuredL2tp => {
                let [local_port, peer_port] = traveller.note.ports;
                Origin::SecuredL2tp {
                    path: PathId(traveller.note.slot),
                    local_port,
                    peer_port,
                }
            }
            Why::Ppp => Origin::Ppp(SessionSlot(traveller.note.slot)),
            Why::Host => Origin::Host(SessionSlot(traveller.note.slot)),
        }
    }

    /// Out by the port that leads to the next hop.
    #[inline(always)]
    pub(super) fn transmit(&mut self, packet: Packet<P::Chunk>, session: Option<SessionSlot>) {
        let port = match packet.meta.next_hop {
            None => packet.meta.port,
            Some(id) => match self.tables.shared.adjacency(id) {
                None => return self.refuse(packet, session, Discard::NoRoute),
                Some(hop) if !hop.is_resolved => return self.hold(id, packet, session),
                Some(hop) => hop.port,
            },
        };
        let Some(port) = self.ports.get_mut(usize::from(port)) else {
            return self.refuse(packet, session, Discard::NoPort);
        };
        let len = packet.frame.len();
        match port.send(packet) {
            Ok(()) => self.tables.counters().sent.add(len),
            Err((packet, error)) => self.send_elsewhere(packet, session, error),
        }
    }

    /// A port that has no next hop for a peer leaves it to the one where the kernel knows.
    #[cold]
    fn send_elsewhere(
        &mut self,
        packet: Packet<P::Chunk>,
        session: Option<SessionSlot>,
        error: SendError,
    ) {
        let fallback = usize::from(self.tables.tunnel_port);
        let len = packet.frame.len();
        let sent = match self.ports.get_mut(fallback) {
            Some(port) if error == SendError::Unresolved && packet.meta.next_hop.is_none() => {
                port.send(packet)
            }
            _ => Err((packet, error)),
        };
        match sent {
            Ok(()) => self.counters().sent.add(len),
            Err((packet, error)) => self.refuse(packet, session, reason(error)),
        }
    }

    #[cold]
    fn hold(&mut self, hop: AdjacencyId, packet: Packet<P::Chunk>, session: Option<SessionSlot>) {
        let mut traveller = Traveller::new(packet, Source::Own);
        traveller.note.session = session;
        let kept = match self.now {
            Some(now) => self.held.keep(hop, now, traveller),
            None => Err(traveller),
        };
        if let Err(traveller) = kept {
            self.discard(traveller, Discard::Unresolved);
        }
    }

    /// Those whose next hop has been resolved go on; those who waited too long do not.
    pub(super) fn release_held(&mut self, now: Instant) -> usize {
        let shared = std::sync::Arc::clone(&self.tables.shared);
        let due = self.held.due(now, |adjacency| {
            shared
                .adjacency(adjacency)
                .is_some_and(|hop| hop.is_resolved)
        });
        let count = due.len();
        for (traveller, is_late) in due {
            if is_late {
                self.discard(traveller, Discard::ResolveTimeout);
            } else {
                self.transmit(traveller.packet, traveller.note.session);
            }
        }
        count
    }
}

fn reason(error: SendError) -> Discard {
    match error {
        SendError::Full => Discard::SendFull,
        SendError::TooLong => Discard::SendTooLong,
        SendError::NoRoom => Discard::NoHeadroom,
        SendError::Unresolved => Discard::Unresolved,
    }
}
