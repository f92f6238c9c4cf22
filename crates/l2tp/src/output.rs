//! What a tunnel asks of its owner, and what the owner asks of a tunnel.

use std::fmt;

use crate::{CallEnd, SessionId, TunnelEnd, TunnelId};

/// Something for the owner to do. Outputs are in order; a `Send` follows the event it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A whole L2TP control message for the peer.
    Send(Vec<u8>),
    /// The control connection is established.
    TunnelUp {
        /// The peer's tunnel id: goes into the header of everything sent to it.
        peer: TunnelId,
        /// The peer's Host Name, without a trailing NUL.
        host_name: String,
        /// The peer's Vendor Name, empty if it gave none.
        vendor_name: String,
    },
    /// The peer asks for a call: answer with `accept_call` or `reject_call`.
    CallOffered {
        /// Names the offer until it is answered.
        peer_session: SessionId,
        /// The peer's Call Serial Number.
        serial: u32,
        /// Who calls, if the LAC says.
        calling_number: Option<String>,
        /// Who is called, if the LAC says.
        called_number: Option<String>,
        /// More about the called number.
        sub_address: Option<String>,
        /// Microsoft's Correlation-ID (vendor 311, type 1): the same GUID is in the client's event log.
        correlation_id: Option<[u8; 16]>,
    },
    /// An offer ended before it was answered; answering it is harmless and gives `CallDown`.
    OfferWithdrawn {
        /// The name of the offer.
        peer_session: SessionId,
        /// Why.
        end: CallEnd,
    },
    /// The call is established: PPP may begin.
    CallUp {
        /// Our id.
        session: SessionId,
        /// The peer's id: goes into the header of everything sent for this call.
        peer_session: SessionId,
        /// Bits per second from the LAC to the remote system, as the LAC says.
        tx_speed: u32,
        /// The other direction, if it differs.
        rx_speed: Option<u32>,
        /// Customer group named by the LAC.
        private_group: Option<String>,
        /// What the LAC negotiated with the remote system before it chose us.
        proxy: Option<Box<Proxy>>,
        /// Data messages must carry sequence numbers, always.
        sequencing_required: bool,
    },
    /// The call is over; its id may rest.
    CallDown {
        /// Our id.
        session: SessionId,
        /// Why.
        end: CallEnd,
    },
    /// The tunnel is over: exactly once, after the `CallDown` of each of its calls. The machine may stay to answer
    /// retransmissions until `is_finished`.
    TunnelDown {
        /// Why.
        end: TunnelEnd,
    },
}

/// What the LAC tells the LNS about a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallParameters {
    /// Call Serial Number.
    pub serial: u32,
    /// Bearer Type: bit 0 digital, bit 1 analog; left out when `None`.
    pub bearer_type: Option<u32>,
    /// Calling Number.
    pub calling_number: Option<String>,
    /// Called Number.
    pub called_number: Option<String>,
    /// Sub-Address.
    pub sub_address: Option<String>,
    /// (Tx) Connect Speed, bits per second.
    pub tx_speed: u32,
    /// Rx Connect Speed, if it differs.
    pub rx_speed: Option<u32>,
    /// Framing Type: bit 0 synchronous, bit 1 asynchronous.
    pub framing_type: u32,
    /// Private Group ID.
    pub private_group: Option<String>,
    /// Proxy LCP and authentication.
    pub proxy: Option<Box<Proxy>>,
    /// Demand sequence numbers on data messages.
    pub sequencing_required: bool,
}

/// What the LAC did with the remote system before the call reached us, RFC 2661 §4.4.5.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// Present only when all three CONFREQs came: otherwise LCP starts anew.
    pub lcp: Option<ProxyLcp>,
    /// Present only when every AVP that its type needs came: otherwise authentication starts anew.
    pub authentication: Option<ProxyAuthentication>,
}

/// Options of LCP Configure-Requests, starting at the first option.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyLcp {
    /// The first the LAC received.
    pub initial_received: Vec<u8>,
    /// The last the LAC sent.
    pub last_sent: Vec<u8>,
    /// The last the LAC received.
    pub last_received: Vec<u8>,
}

/// A finished PPP authentication exchange.
#[derive(Clone, PartialEq, Eq)]
pub enum ProxyAuthentication {
    /// 1: textual name and password.
    Text {
        /// Name.
        name: Vec<u8>,
        /// Password in clear.
        response: Vec<u8>,
    },
    /// 2: CHAP.
    Chap {
        /// Name.
        name: Vec<u8>,
        /// Identifier of the exchange.
        id: u8,
        /// What the LAC sent.
        challenge: Vec<u8>,
        /// What the remote system answered.
        response: Vec<u8>,
    },
    /// 3: PAP.
    Pap {
        /// Name.
        name: Vec<u8>,
        /// Identifier of the Authenticate-Request.
        id: u8,
        /// Password in clear.
        response: Vec<u8>,
    },
    /// 4: none was asked for.
    None,
    /// 5: MS-CHAP version 1.
    MsChapV1 {
        /// Name.
        name: Vec<u8>,
        /// Identifier of the exchange.
        id: u8,
        /// What the LAC sent.
        challenge: Vec<u8>,
        /// What the remote system answered.
        response: Vec<u8>,
    },
}

impl fmt::Debug for ProxyAuthentication {
    /// Names the kind only: the rest is as good as a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text { .. } => "Text(…)",
            Self::Chap { .. } => "Chap(…)",
            Self::Pap { .. } => "Pap(…)",
            Self::None => "None",
            Self::MsChapV1 { .. } => "MsChapV1(…)",
        })
    }
}
