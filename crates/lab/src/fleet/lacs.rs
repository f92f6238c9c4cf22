//! Tunnels that several clients share: what they want of a LAC, and what it tells them.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Instant;

use super::{ClientId, Door, Due, Fleet, Outside, Owner};
use crate::client::{Settings, Wish};
use crate::lac::{Lac, Output};

/// Names a LAC of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LacId(pub u32);

/// A LAC and where it is.
pub(super) struct Site {
    lac: Lac,
    outside: Outside,
    deadline: Option<Instant>,
}

impl Site {
    /// Its address and port.
    pub(super) fn place(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.outside.address, self.outside.l2tp)
    }
}

impl Fleet {
    /// Adds a LAC with one tunnel. `None` if somebody else has its address and port.
    pub fn add_lac(&mut self, settings: &l2tp::Settings, outside: Outside) -> Option<LacId> {
        let place = SocketAddrV4::new(outside.address, outside.l2tp);
        if self.doors.contains_key(&place) {
            return None;
        }
        let id = LacId(self.lacs.len() as u32);
        self.doors.insert(place, Owner::Lac(id));
        self.lacs.push(Site {
            lac: Lac::new(settings, self.random.fork()),
            outside,
            deadline: None,
        });
        Some(id)
    }

    /// Adds a client whose call is in the tunnel of a LAC. It has no IPsec.
    pub fn add_call(&mut self, lac: LacId, settings: Arc<Settings>, begin: Instant) -> ClientId {
        debug_assert!(settings.ipsec.is_none(), "a LAC speaks plain L2TP here");
        let id = self.next_id();
        let outside = self.lacs[lac.0 as usize].outside;
        self.join(settings, (outside.address, outside), Some(lac), begin);
        id
    }

    /// The tunnel of a client ends with everybody in it: by StopCCN, or without a word.
    pub fn cut(&mut self, now: Instant, id: ClientId, is_silent: bool) {
        let Some(lac) = self.members[id.0 as usize].lac else {
            return;
        };
        let mut all = Vec::new();
        self.touch_lac(now, lac, |lac, out| all = lac.cut(now, is_silent, out));
        for who in all {
            self.touch(now, ClientId(who), |client, turn| client.cut(turn));
        }
    }

    pub(super) fn wish(&mut self, now: Instant, id: ClientId, wish: Wish) {
        let Some(lac) = self.members[id.0 as usize].lac else {
            return;
        };
        self.touch_lac(now, lac, |lac, out| match wish {
            Wish::Enter => lac.enter(now, id.0, out),
            Wish::Call(call) => lac.place_call(now, id.0, call, out),
            Wish::Leave => lac.leave(now, id.0, out),
        });
    }

    /// A client vanishes.
    pub(super) fn forget_call(&mut self, id: ClientId) {
        if let Some(lac) = self.members[id.0 as usize].lac {
            self.lacs[lac.0 as usize].lac.forget(id.0);
            self.renew_lac_deadline(lac);
        }
    }

    pub(super) fn lac_timeout(&mut self, now: Instant, id: LacId) {
        self.lacs[id.0 as usize].deadline = None;
        self.touch_lac(now, id, |lac, out| lac.handle_timeout(now, out));
    }

    /// What came to a LAC.
    pub(super) fn receive_at_lac(
        &mut self,
        now: Instant,
        id: LacId,
        message: &[u8],
        sink: &mut dyn FnMut(ClientId, &[u8]),
    ) {
        let header = match l2tp::peek(message) {
            Ok(header) if header.kind == l2tp::Kind::Data => header,
            Ok(_) | Err(_) => {
                return self.touch_lac(now, id, |lac, out| lac.handle_input(now, message, out));
            }
        };
        let lac = &mut self.lacs[id.0 as usize].lac;
        if let Some(who) = lac.whose(&header) {
            lac.saw_traffic(now);
            self.receive_l2tp(now, ClientId(who), message, sink);
        }
    }

    /// Lets a LAC do something and carries out what comes of it.
    fn touch_lac(&mut self, now: Instant, id: LacId, act: impl FnOnce(&mut Lac, &mut Vec<Output>)) {
        let mut out = Vec::new();
        act(&mut self.lacs[id.0 as usize].lac, &mut out);
        for output in out {
            match output {
                Output::Send(message) => {
                    let outside = self.lacs[id.0 as usize].outside;
                    self.send_from(outside, Door::L2tp, &message);
                }
                Output::News(who, news) => self.touch(now, ClientId(who), |client, turn| {
                    client.handle_news(news, turn);
                }),
                Output::Refused(who, refusal) => {
                    let member = &mut self.members[who as usize];
                    member.client.handle_refused(&refusal);
                }
                Output::Left(who) => {
                    self.touch(now, ClientId(who), |client, turn| client.handle_left(turn));
                }
            }
        }
        self.renew_lac_deadline(id);
    }

    fn renew_lac_deadline(&mut self, id: LacId) {
        let site = &mut self.lacs[id.0 as usize];
        let wanted = site.lac.poll_timeout();
        if wanted == site.deadline {
            return;
        }
        let old = std::mem::replace(&mut site.deadline, wanted);
        if let Some(old) = old {
            self.deadlines.remove(&(old, Due::Lac(id)));
        }
        self.deadlines.extend(wanted.map(|at| (at, Due::Lac(id))));
    }
}
