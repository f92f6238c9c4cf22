//! What an operator decides about tunnels.

use std::sync::Arc;
use std::time::Duration;

use crypto::Secret;

use crate::Habits;

/// RFC 2661 §5.8: a cap on the interval between retransmissions is never below eight seconds.
pub const RETRANSMIT_CAP_MIN: Duration = Duration::from_secs(8);

/// How a call is refused when there is no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Result 2, error 4: every LAC tries its next LNS (JunosE and Nokia react to result 2 only).
    GeneralError,
    /// Result 4: what RFC 2661 §4.4.2 calls it, "temporary condition".
    TemporaryLack,
}

/// Settings of one tunnel; usually shared by all tunnels of a listener.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host Name AVP; at least one octet.
    pub host_name: String,
    /// Vendor Name AVP; left out when empty.
    pub vendor_name: String,
    /// Firmware Revision AVP; left out when `None`.
    pub firmware_revision: Option<u16>,
    /// Framing Capabilities AVP: bit 0 synchronous, bit 1 asynchronous.
    pub framing_capabilities: u32,
    /// Shared with the peer: answers its challenges, reveals its hidden AVPs.
    pub secret: Option<Secret>,
    /// Challenge the peer, and refuse it if it cannot answer. Windows and Apple clients cannot.
    pub require_tunnel_auth: bool,
    /// Hide every AVP that may be hidden in messages about calls, RFC 2661 §4.3; needs a secret.
    pub hide_avps: bool,
    /// Receive Window Size AVP: how many control messages the peer may have outstanding; 0 is taken as 1.
    pub receive_window: u16,
    /// Silence of any kind after which a HELLO is sent; `None` sends none.
    pub hello_interval: Option<Duration>,
    /// First retransmission interval; doubles each time.
    pub retransmit_first: Duration,
    /// Where doubling ends; taken as at least [`RETRANSMIT_CAP_MIN`].
    pub retransmit_cap: Duration,
    /// Unanswered retransmissions after which the tunnel is cleared.
    pub retransmissions: u32,
    /// How long a tunnel or a call may take from its first message to being established.
    pub setup_limit: Duration,
    /// Calls per tunnel, set up or being set up.
    pub max_sessions: usize,
    /// What a call over the limit is told.
    pub busy: Busy,
    /// Send a Tie Breaker AVP when dialling: one tunnel is wanted between the two hosts.
    pub tie_breaker: bool,
    /// How somebody else would say it, when dialling. A gateway has none.
    pub habits: Option<Arc<Habits>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host_name: "adit".into(),
            vendor_name: "Adit".into(),
            firmware_revision: None,
            framing_capabilities: 3,
            secret: None,
            require_tunnel_auth: false,
            hide_avps: false,
            receive_window: 16,
            hello_interval: Some(Duration::from_secs(60)),
            retransmit_first: Duration::from_secs(1),
            retransmit_cap: RETRANSMIT_CAP_MIN,
            retransmissions: 5,
            setup_limit: Duration::from_secs(60),
            max_sessions: 1024,
            busy: Busy::GeneralError,
            tie_breaker: false,
            habits: None,
        }
    }
}

impl Settings {
    /// How long a message that nobody answers is tried: 31 s with the defaults (RFC 2661 §5.7).
    pub fn retransmission_cycle(&self) -> Duration {
        (0..=self.retransmissions)
            .map(|n| self.retransmit_interval(n))
            .sum()
    }

    /// Time from transmission `n` (0 is the first) to the next one.
    pub(crate) fn retransmit_interval(&self, n: u32) -> Duration {
        if let Some(wait) = self.habits.as_ref().and_then(|habits| habits.wait(n)) {
            return wait;
        }
        let doubled = self.retransmit_first.saturating_mul(1 << n.min(16));
        doubled.min(self.retransmit_cap.max(RETRANSMIT_CAP_MIN))
    }

    pub(crate) fn hiding_secret(&self) -> Option<&Secret> {
        if self.hide_avps {
            self.secret.as_ref()
        } else {
            None
        }
    }
}
