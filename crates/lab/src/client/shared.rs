//! A client whose call is one of many in the tunnel of a LAC: the tunnel is no machine of its own.

use l2tp::{CallParameters, TunnelId};

use super::{Client, Phase, Turn};

/// What a client wants of the LAC in whose tunnel its call is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To be told when the tunnel is there.
    Enter,
    /// A call.
    Call(CallParameters),
    /// The end of its call; [`Client::handle_left`] says when it is over.
    Leave,
}

impl Client {
    /// Its call is one of many in the tunnel of a LAC; PPP begins as soon as it is connected.
    #[must_use]
    pub fn sharing_a_tunnel(mut self) -> Self {
        self.shared = Some(TunnelId(0));
        self
    }

    /// Takes news of the tunnel that it shares, and of its call.
    pub fn handle_news(&mut self, news: l2tp::Output, turn: &mut Turn<'_>) {
        self.follow_l2tp(vec![news], turn);
    }

    /// A message in the tunnel that it shares was not taken.
    pub fn handle_refused(&mut self, refusal: &l2tp::Refusal) {
        self.refuse(refusal.to_string());
    }

    /// It has left the tunnel that it shares, as it wished.
    pub fn handle_left(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.phase, Phase::Leaving { .. }) {
            self.finish(turn);
        }
    }

    /// The line is cut: it is over, and nobody is told.
    pub fn cut(&mut self, turn: &mut Turn<'_>) {
        self.finish(turn);
    }
}
