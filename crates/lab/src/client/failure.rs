//! Why a client is not up, in words that say where it went wrong and what the peer said about it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::Stage;

/// Why a client ended that nobody had asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it was waiting for; `None` if it had been up.
    pub stage: Option<Stage>,
    /// What ended it.
    pub cause: Cause,
    /// The last thing the peer did that was not accepted.
    pub remark: Option<String>,
    /// Messages sent since one from the server was accepted.
    pub unanswered: u32,
    /// What was offered, if that is what the peer refused.
    pub offered: Option<String>,
    /// The server.
    pub server: IpAddr,
}

/// What ended a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The ISAKMP SA.
    Isakmp(ike::DownReason),
    /// The quick mode, or the last pair of IPsec SAs.
    Ipsec(ike::ChildEnd),
    /// The L2TP tunnel.
    Tunnel(l2tp::TunnelEnd),
    /// The L2TP call.
    Call(l2tp::CallEnd),
    /// The PPP link.
    Link(ppp::DownReason),
    /// It took too long.
    SetupLimit(Duration),
    /// Somebody wanted it to end before it was up.
    HungUp,
}

impl Failure {
    /// What the server owed, if it has not even complained.
    fn awaited_in_silence(&self) -> Option<&'static str> {
        use ike::DownReason::{SetupTimeout, Unanswered};
        let Cause::Isakmp(
            Unanswered {
                waiting_for,
                complaint: None,
                ..
            }
            | SetupTimeout {
                waiting_for,
                complaint: None,
                ..
            },
        ) = &self.cause
        else {
            return None;
        };
        Some(waiting_for)
    }

    /// RFC 2409 §5.4: with another key, message 5 is noise, and most servers drop it in silence.
    fn is_silence_about_keys(&self) -> bool {
        self.awaited_in_silence() == Some("message 6")
    }

    /// The main mode message of ours that nobody answered.
    fn unanswered_message(&self) -> Option<u32> {
        let awaited = self.awaited_in_silence()?.strip_prefix("message ")?;
        awaited.parse::<u32>().ok()?.checked_sub(1)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stage {
            Some(stage) => write!(f, "{stage}: ")?,
            None => f.write_str("after it was up: ")?,
        }
        match (&self.offered, self.unanswered_message()) {
            (Some(offered), _) if self.stage == Some(Stage::Phase1) => {
                write!(f, "proposal refused: NO-PROPOSAL-CHOSEN; offered {offered}")?;
            }
            (Some(offered), _) => write!(f, "{}; offered {offered}", self.cause)?,
            // RFC 2409 §5 numbers nothing; everybody counts the messages of main mode from 1.
            (None, Some(number)) if self.stage == Some(Stage::Phase1) => {
                let (server, port) = (self.server, if number < 5 { "500" } else { "500 or 4500" });
                write!(
                    f,
                    "no answer to main mode message {number} from {server}:{port}"
                )?;
            }
            (None, _) => write!(f, "{}", self.cause)?,
        }
        if self.is_silence_about_keys() {
            f.write_str("; so does a server that has another pre-shared key")?;
        }
        if let Some(remark) = &self.remark {
            write!(f, "; not accepted from the peer: {remark}")?;
        }
        match self.unanswered {
            0 | 1 => Ok(()),
            count => write!(
                f,
                "; {count} messages to {} since the last one from there",
                self.server
            ),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isakmp(reason) => write!(f, "{reason}"),
            Self::Ipsec(reason) => write!(f, "IPsec SA: {reason}"),
            Self::Tunnel(end) => write!(f, "tunnel: {end}"),
            Self::Call(end) => write!(f, "call: {end}"),
            Self::Link(reason) => write!(f, "PPP: {reason}"),
            Self::SetupLimit(limit) => write!(f, "not up within {} s", limit.as_secs()),
            Self::HungUp => f.write_str("hung up before it was up"),
        }
    }
}

impl std::error::Error for Failure {}
