//! The exits: a discard, a punt, a move, or out by a port.

use std::time::Instant;

use super::Worker;
use crate::batch::{Exit, MOVES_MAX, Stop, Traveller, Why};
use crate::change::{Class, Origin, Punt};
use crate::discard::Discard;
use crate::id::{PathId, SessionSlot};
use crate::port::{Pool, Port, SendError};

impl<P: Port> Worker<P> {
    pub(super) fn leave(&mut self, traveller: Traveller<P::Chunk>, exit: Exit) {
        match exit {
            Exit::Discard(reason) => self.discard(traveller, reason),
            Exit::Punt(why) => self.punt(traveller, why),
            Exit::Move(stop) => self.go(traveller, stop),
        }
    }

    pub(super) fn discard(&mut self, traveller: Traveller<P::Chunk>, reason: Discard) {
        self.counters().discard(reason);
        if let Some(session) = traveller.session {
            let shard = self.tables.shards.peek(session.0.shard);
            if let Some(session) = shard.and_then(|shard| shard.sessions.at(session.0)) {
                session.tally.discarded.add(traveller.frame.len());
            }
        }
        self.free.put(traveller.frame.into_chunk());
    }

    pub(super) fn go(&mut self, mut traveller: Traveller<P::Chunk>, stop: Stop) {
        if traveller.meta.moves >= MOVES_MAX {
            self.discard(traveller, Discard::TooManyMoves);
            return;
        }
        traveller.meta.moves += 1;
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
            bytes: traveller.frame.bytes().to_vec(),
        };
        if self.end.punts[class as usize].send(punt).is_err() {
            self.discard(traveller, Discard::PuntFull);
            return;
        }
        self.counters().punted.add(1);
        self.free.put(traveller.frame.into_chunk());
    }

    /// Who may be heard by the slow path: those it knows come before those it does not, and what
    /// keeps a session alive before what only uses it.
    fn may_punt(
        &mut self,
        traveller: &Traveller<P::Chunk>,
        class: Class,
        why: Why,
    ) -> Result<(), Discard> {
        let sender = traveller.meta.remote.address();
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
        let (local, remote) = (traveller.meta.local, traveller.meta.remote);
        let worker = self.end.id;
        match why {
            Why::Ike(_) => Origin::Ike {
                worker,
                local,
                remote,
            },
            Why::PlainL2tp(_) => Origin::PlainL2tp {
                worker,
                listener: traveller.listener,
                local,
                remote,
            },
            Why::SecuredL2tp => {
                let [local_port, peer_port] = traveller.ports;
                Origin::SecuredL2tp {
                    path: PathId(traveller.slot),
                    local_port,
                    peer_port,
                }
            }
            Why::Ppp => Origin::Ppp(SessionSlot(traveller.slot)),
            Why::Host => Origin::Host(SessionSlot(traveller.slot)),
        }
    }

    /// Out by the port that leads to the next hop.
    pub(super) fn transmit(&mut self, traveller: Traveller<P::Chunk>) {
        let port = match traveller.meta.next_hop {
            None => traveller.meta.port,
            Some(id) => match self.tables.shared.adjacency(id) {
                None => return self.discard(traveller, Discard::NoRoute),
                Some(hop) if !hop.is_resolved => return self.hold(traveller),
                Some(hop) => hop.port,
            },
        };
        let Some(port) = self.ports.get_mut(usize::from(port)) else {
            return self.discard(traveller, Discard::NoPort);
        };
        let (len, session) = (traveller.frame.len(), traveller.session);
        let mut sent = port.send(traveller.into_packet());
        // A port that has no next hop for a peer leaves it to the one where the kernel knows.
        if let Err((packet, SendError::Unresolved)) = sent {
            let fallback = usize::from(self.tables.tunnel_port);
            sent = match self.ports.get_mut(fallback) {
                Some(port) if packet.meta.next_hop.is_none() => port.send(packet),
                _ => Err((packet, SendError::Unresolved)),
            };
        }
        match sent {
            Ok(()) => self.counters().sent.add(len),
            Err((packet, error)) => {
                let mut traveller = Traveller::new(packet, crate::batch::Source::Own);
                traveller.session = session;
                self.discard(traveller, reason(error));
            }
        }
    }

    fn hold(&mut self, traveller: Traveller<P::Chunk>) {
        let kept = match (traveller.meta.next_hop, self.now) {
            (Some(adjacency), Some(now)) => self.held.keep(adjacency, now, traveller),
            _ => Err(traveller),
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
                self.transmit(traveller);
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
