//! Why a client is not up, in words that say where it went wrong and what the peer said about it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use gateway::escaped;

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
            let remark = escaped(remark, None);
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
    /// What the peer says of itself is escaped: it neither begins a line nor moves the cursor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = match self {
            Self::Isakmp(reason) => reason.to_string(),
            Self::Ipsec(reason) => format!("IPsec SA: {reason}"),
            Self::Tunnel(end) => format!("tunnel: {end}"),
            Self::Call(end) => format!("call: {end}"),
            Self::Link(reason) => format!("PPP: {reason}"),
            Self::SetupLimit(limit) => format!("not up within {} s", limit.as_secs()),
            Self::HungUp => "hung up before it was up".to_owned(),
        };
        f.write_str(&escaped(&said, None))
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_peer_writes_nothing_on_the_terminal_of_the_operator() {
        let words = "busy\x1b[2J\nadit-lab: all is well\u{9b}1m";
        let result = l2tp::ResultCode {
            result: 2,
            error: Some(4),
            message: words.into(),
        };
        let message = words.to_owned();
        for cause in [
            Cause::Tunnel(l2tp::TunnelEnd::PeerStopped(result.clone())),
            Cause::Call(l2tp::CallEnd::PeerHungUp(result)),
            Cause::Link(ppp::DownReason::AuthenticationFailed { message }),
        ] {
            let failure = Failure {
                stage: Some(Stage::Call),
                cause,
                remark: Some(words.into()),
                unanswered: 0,
                offered: None,
                server: IpAddr::V4(Ipv4Addr::LOCALHOST),
            };
            let said = failure.to_string();
            assert!(!said.chars().any(char::is_control), "{said}");
            let shown = "busy\\u{1b}[2J\\nadit-lab: all is well\\u{9b}1m";
            assert_eq!(said.matches(shown).count(), 2, "{said}");
        }
    }
}
