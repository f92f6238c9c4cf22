//! What an operator may decide about a link. A link holds the settings behind an `Arc`, so that a
//! hundred thousand subscribers of one listener share one copy.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crypto::Secret;

use crate::Habits;

/// Which end of the subscriber's line this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Asks the peer to authenticate itself, and assigns its addresses.
    Server,
    /// Authenticates itself when asked, and asks for addresses.
    Client,
}

/// An authentication method, RFC 1661 §6.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// RFC 1334: the password in clear.
    Pap,
    /// RFC 1994 with algorithm 5.
    ChapMd5,
    /// RFC 2759, algorithm 0x81.
    MsChapV2,
}

impl Method {
    /// The name an operator would write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pap => "pap",
            Self::ChapMd5 => "chap",
            Self::MsChapV2 => "mschapv2",
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// RFC 1661 §6.1: what is taken for the MRU of a peer that names none.
pub const DEFAULT_MRU: u16 = 1500;

/// The smallest MRU accepted from a peer; pppd's `MINMRU`. A smaller one gets a Configure-Nak.
pub const MIN_MRU: u16 = 128;

/// Everything that can be set about a link.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which end this is.
    pub role: Role,
    /// The Maximum-Receive-Unit that is asked for.
    pub mru: u16,
    /// Server: methods to demand, in order of preference; none means that nobody is asked who he
    /// is. Client: methods it lends itself to.
    pub auth: Vec<Method>,
    /// The Name in our CHAP challenges.
    pub host_name: String,
    /// Client: who it says it is.
    pub user: String,
    /// Client: its password.
    pub password: Secret,
    /// Client: the address it asks for; unspecified means any.
    pub address: Ipv4Addr,
    /// Client: ask for name servers.
    pub request_dns: bool,
    /// Client: ask for WINS servers.
    pub request_wins: bool,
    /// Ask for Protocol-Field-Compression: the peer may then send one-octet protocols.
    pub request_pfc: bool,
    /// Ask for Address-and-Control-Field-Compression: the peer may then leave out `FF 03`.
    pub request_acfc: bool,
    /// Take the peer's offer to receive one-octet protocols.
    pub accept_pfc: bool,
    /// Take the peer's offer to receive frames without `FF 03`.
    pub accept_acfc: bool,
    /// Between LCP Echo-Requests on a silent link; zero sends none.
    pub echo_interval: Duration,
    /// Echo-Requests in a row without an answer that end the link.
    pub echo_failures: u32,
    /// RFC 1661 §4.6 Restart timer; also between repeated challenges and requests.
    pub restart_timer: Duration,
    /// RFC 1661 §4.6 Max-Configure; also for repeated challenges and requests.
    pub max_configure: u32,
    /// RFC 1661 §4.6 Max-Terminate.
    pub max_terminate: u32,
    /// RFC 1661 §4.6 Max-Failure: Configure-Naks sent before they turn into Configure-Rejects.
    pub max_failure: u32,
    /// From `open` to IPCP Opened, the verdict included. Beyond it the link is terminated.
    pub negotiation_limit: Duration,
    /// How often a peer may start the negotiation of a working link anew.
    pub max_renegotiations: u32,
    /// MS-CHAPv2: how often a peer may try again after a wrong password (`R=1`).
    pub auth_retries: u32,
    /// Client: how somebody else would ask. A server has none.
    pub habits: Option<Arc<Habits>>,
}

impl Settings {
    /// A server that demands MS-CHAPv2 and falls back to CHAP. PAP is the operator's to add.
    pub fn server(host_name: &str) -> Self {
        Self {
            role: Role::Server,
            mru: 1400,
            auth: vec![Method::MsChapV2, Method::ChapMd5],
            host_name: host_name.to_owned(),
            user: String::new(),
            password: Secret::new(Vec::new()),
            address: Ipv4Addr::UNSPECIFIED,
            request_dns: false,
            request_wins: false,
            request_pfc: false,
            request_acfc: false,
            accept_pfc: true,
            accept_acfc: true,
            echo_interval: Duration::from_secs(30),
            echo_failures: 4,
            restart_timer: Duration::from_secs(3),
            max_configure: 10,
            max_terminate: 2,
            max_failure: 5,
            negotiation_limit: Duration::from_secs(60),
            max_renegotiations: 16,
            auth_retries: 0,
            habits: None,
        }
    }

    /// A client that lends itself to every method and asks for whatever the server gives.
    pub fn client(user: &str, password: Secret) -> Self {
        Self {
            role: Role::Client,
            auth: vec![Method::MsChapV2, Method::ChapMd5, Method::Pap],
            user: user.to_owned(),
            password,
            request_dns: true,
            request_pfc: true,
            request_acfc: true,
            ..Self::server(user)
        }
    }
}
