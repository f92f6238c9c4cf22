//! Main mode once more, before the ISAKMP SA is over, while packets flow: the pairs go over to the
//! new one as soon as it stands. The one before stays for what the gateway may still say in it.

use std::time::Instant;

use ike::Cookie;
use ike::v1::Sa;

use super::{Client, Env, Output, Turn};

/// In the tokens of public-key work: an odd number of main modes had been renewed.
const ODD: u64 = 1 << 63;

impl Client {
    /// Begins the main mode that is to follow.
    pub(super) fn renew(&mut self, turn: &mut Turn<'_>) {
        let cookie = Cookie(self.random.array());
        let mut events = Vec::new();
        let env = &mut Env::new(&mut self.random, turn.spis);
        let isakmp = self.isakmp.as_ref();
        let sa = isakmp.and_then(|sa| sa.renew(cookie, turn.now, env, &mut events));
        self.other = sa.map(Box::new);
        self.follow_other(events, turn);
    }

    /// Whether a message belongs to the other ISAKMP SA.
    pub(super) fn is_for_other(&self, message: &[u8]) -> bool {
        let cookie = message.first_chunk().map(|cookie| Cookie(*cookie));
        let other = self.other.as_ref().map(|sa| sa.cookies().initiator);
        other.is_some() && other == cookie
    }

    /// A token of the ISAKMP SA in place, as it goes out.
    pub(super) fn own_token(&self, token: u64) -> u64 {
        token | if self.has_odd_isakmp { ODD } else { 0 }
    }

    /// A token that came back: as the ISAKMP SA knows it, and whether that is the other one.
    pub(super) fn addressee(&self, token: u64) -> (u64, bool) {
        let is_odd = token & ODD != 0;
        (token & !ODD, is_odd != self.has_odd_isakmp)
    }

    /// The other ISAKMP SA, if there is one, does something.
    pub(super) fn with_other(
        &mut self,
        turn: &mut Turn<'_>,
        act: impl FnOnce(&mut Sa, Instant, &mut Env<'_>, &mut Vec<ike::Output>),
    ) {
        let mut events = Vec::new();
        let Some(sa) = &mut self.other else { return };
        let env = &mut Env::new(&mut self.random, turn.spis);
        act(sa, turn.now, env, &mut events);
        self.follow_other(events, turn);
    }

    /// It says much the same, and its end is nobody else's.
    fn follow_other(&mut self, events: Vec<ike::Output>, turn: &mut Turn<'_>) {
        for event in events {
            if let ike::Output::Established(_) = event {
                self.take_over();
            } else if let ike::Output::Down { .. } = event {
                self.other = None;
            } else if let ike::Output::Compute { token, job } = event {
                let token = self.own_token(token) ^ ODD;
                turn.out.push(Output::Compute { token, job });
            } else {
                let _not_the_clients_end = self.follow_ike_event(event, turn);
            }
        }
    }

    /// The new one stands: it has the pairs from here on.
    fn take_over(&mut self) {
        if let (Some(before), Some(after)) = (&mut self.isakmp, &mut self.other) {
            after.adopt_children(before.take_children());
            std::mem::swap(before, after);
            self.has_odd_isakmp = !self.has_odd_isakmp;
        }
    }
}
