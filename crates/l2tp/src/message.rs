//! Control messages as types, RFC 2661 §6: what each must have, and how ours are written.
//!
//! The order of AVPs in what we send is fixed. SCCRQ: Protocol Version, Host Name, Framing Capabilities,
//! Assigned Tunnel ID, Receive Window Size, Challenge, Firmware Revision, Vendor Name, Tie Breaker. SCCRP:
//! the same with Challenge Response ahead of Challenge and without Tie Breaker. So what every client needs
//! comes first, in mtpd's own order, and what is optional comes last.
//!
//! Hiding (`Settings::hide_avps`) is for messages about calls, which carry names, numbers and passwords. A
//! set-up message has nothing to hide, and its receiver may learn only from it which secret applies: xl2tpd
//! looks for one when it has read the whole message, and so can reveal nothing in it.

use crypto::Secret;

use crate::avp::{Attribute, Attributes, Hiding, VersionThree, Writer};
use crate::result::{ErrorCode, Scope};
use crate::{
    CallParameters, Proxy, ProxyAuthentication, ProxyLcp, Refusal, ResultCode, SessionId, Settings,
    TunnelId,
};

/// RFC 2661 §4.4.3: Protocol Version is version 1, revision 0.
const PROTOCOL_VERSION: u16 = 0x0100;

/// Message types, RFC 2661 §3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageType {
    Sccrq = 1,
    Sccrp = 2,
    Scccn = 3,
    StopCcn = 4,
    Hello = 6,
    Ocrq = 7,
    Ocrp = 8,
    Occn = 9,
    Icrq = 10,
    Icrp = 11,
    Iccn = 12,
    Cdn = 14,
    Wen = 15,
    Sli = 16,
}

impl MessageType {
    pub(crate) const ALL: [Self; 14] = [
        Self::Sccrq,
        Self::Sccrp,
        Self::Scccn,
        Self::StopCcn,
        Self::Hello,
        Self::Ocrq,
        Self::Ocrp,
        Self::Occn,
        Self::Icrq,
        Self::Icrp,
        Self::Iccn,
        Self::Cdn,
        Self::Wen,
        Self::Sli,
    ];

    pub(crate) fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }

    /// The message is one of those that open or close a control connection.
    pub(crate) fn is_set_up(self) -> bool {
        self as u16 <= Self::StopCcn as u16
    }
}

/// Whether a received message is acceptable, for the tables of §7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Good,
    Bad,
}

/// SCCRQ and SCCRP, as far as they are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) host_name: String,
    pub(crate) vendor_name: String,
    pub(crate) tunnel: TunnelId,
    pub(crate) window: Option<u16>,
    pub(crate) challenge: Option<Vec<u8>>,
    pub(crate) response: Option<[u8; 16]>,
}

impl Greeting {
    /// RFC 2661 §6.1, §6.2: Protocol Version, Host Name, Framing Capabilities and Assigned Tunnel ID must be there.
    pub(crate) fn read(avps: &Attributes<'_>) -> Result<Self, Refusal> {
        let assigned = avps.u16(Attribute::AssignedTunnelId);
        let version = avps.u16(Attribute::ProtocolVersion);
        match avps.version_three {
            Some(VersionThree::Required) => return Err(Refusal::NeedsVersionThree),
            Some(VersionThree::Offered) if assigned.is_none() || version.is_none() => {
                return Err(Refusal::NeedsVersionThree);
            }
            Some(VersionThree::Offered) | None => {}
        }
        let version = Attributes::require(Attribute::ProtocolVersion, version)?;
        if version >> 8 != PROTOCOL_VERSION >> 8 {
            return Err(Refusal::ProtocolVersion((version >> 8) as u8));
        }
        let host_name = avps.text(Attribute::HostName);
        let host_name = Attributes::require(Attribute::HostName, host_name)?;
        let framing = avps.u32(Attribute::FramingCapabilities);
        Attributes::require(Attribute::FramingCapabilities, framing)?;
        let tunnel = Attributes::require(Attribute::AssignedTunnelId, assigned)?;
        let window = avps.u16(Attribute::ReceiveWindowSize);
        if tunnel == 0 {
            return Err(Refusal::ZeroId);
        }
        if window == Some(0) {
            return Err(Refusal::ZeroWindow);
        }
        Ok(Self {
            host_name,
            vendor_name: avps.text(Attribute::VendorName).unwrap_or_default(),
            tunnel: TunnelId(tunnel),
            window,
            challenge: avps.bytes(Attribute::Challenge).map(<[u8]>::to_vec),
            response: response(avps),
        })
    }
}

/// The Challenge Response AVP.
pub(crate) fn response(avps: &Attributes<'_>) -> Option<[u8; 16]> {
    avps.bytes(Attribute::ChallengeResponse)?.try_into().ok()
}

/// What an SCCRQ or SCCRP of ours says beyond the settings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Credentials<'a> {
    pub(crate) response: Option<&'a [u8; 16]>,
    pub(crate) challenge: Option<&'a [u8; 16]>,
    pub(crate) tie_breaker: Option<u64>,
}

/// An SCCRQ or SCCRP of ours.
pub(crate) fn greeting(
    kind: MessageType,
    settings: &Settings,
    tunnel: TunnelId,
    credentials: Credentials<'_>,
) -> Vec<u8> {
    let mut message = Writer::new(kind as u16, SessionId(0), None);
    message
        .u16(Attribute::ProtocolVersion, PROTOCOL_VERSION)
        .bytes(Attribute::HostName, settings.host_name.as_bytes())
        .u32(
            Attribute::FramingCapabilities,
            settings.framing_capabilities,
        )
        .u16(Attribute::AssignedTunnelId, tunnel.0)
        .u16(Attribute::ReceiveWindowSize, settings.receive_window.max(1));
    if let Some(response) = credentials.response {
        message.bytes(Attribute::ChallengeResponse, response);
    }
    if let Some(challenge) = credentials.challenge {
        message.bytes(Attribute::Challenge, challenge);
    }
    if let Some(revision) = settings.firmware_revision {
        message.u16(Attribute::FirmwareRevision, revision);
    }
    if !settings.vendor_name.is_empty() {
        message.bytes(Attribute::VendorName, settings.vendor_name.as_bytes());
    }
    if let Some(tie_breaker) = credentials.tie_breaker {
        message.bytes(Attribute::TieBreaker, &tie_breaker.to_be_bytes());
    }
    message.finish()
}

/// SCCCN.
pub(crate) fn connected(response: Option<&[u8; 16]>) -> Vec<u8> {
    let mut message = Writer::new(MessageType::Scccn as u16, SessionId(0), None);
    if let Some(response) = response {
        message.bytes(Attribute::ChallengeResponse, response);
    }
    message.finish()
}

/// HELLO.
pub(crate) fn hello() -> Vec<u8> {
    Writer::new(MessageType::Hello as u16, SessionId(0), None).finish()
}

/// Whether an encoded message of ours is a HELLO.
pub(crate) fn is_hello(message: &[u8]) -> bool {
    message.get(18..20) == Some(&(MessageType::Hello as u16).to_be_bytes())
}

/// StopCCN.
pub(crate) fn stop_ccn(tunnel: TunnelId, result: &ResultCode) -> Vec<u8> {
    let mut message = Writer::new(MessageType::StopCcn as u16, SessionId(0), None);
    message
        .u16(Attribute::AssignedTunnelId, tunnel.0)
        .bytes(Attribute::ResultCode, &result.encode());
    message.finish()
}

/// CDN: `peer` goes into the header, `own` is the id that we first sent the peer.
pub(crate) fn cdn(peer: SessionId, own: SessionId, result: &ResultCode) -> Vec<u8> {
    let mut message = Writer::new(MessageType::Cdn as u16, peer, None);
    message
        .bytes(Attribute::ResultCode, &result.encode())
        .u16(Attribute::AssignedSessionId, own.0);
    message.finish()
}

/// The Result Code of a StopCCN or CDN; zero where there is none to be read.
// Departs from RFC 2661 §6.4, §6.12: both are obeyed even if they lack an AVP or have an unknown mandatory one,
// because the peer is gone either way.
pub(crate) fn result(avps: &Attributes<'_>, scope: Scope) -> ResultCode {
    avps.bytes(Attribute::ResultCode)
        .map(|value| ResultCode::decode(value, scope))
        .unwrap_or_default()
}

/// The Assigned Session ID AVP; 0 counts as none.
pub(crate) fn assigned_session(avps: &Attributes<'_>) -> Option<SessionId> {
    avps.u16(Attribute::AssignedSessionId)
        .filter(|id| *id != 0)
        .map(SessionId)
}

/// The Assigned Tunnel ID AVP; 0 counts as none.
pub(crate) fn assigned_tunnel(avps: &Attributes<'_>) -> Option<TunnelId> {
    avps.u16(Attribute::AssignedTunnelId)
        .filter(|id| *id != 0)
        .map(TunnelId)
}

/// ICRQ and ICRP: an Assigned Session ID that may be used.
pub(crate) fn required_session(avps: &Attributes<'_>) -> Result<SessionId, Refusal> {
    let id = avps.u16(Attribute::AssignedSessionId);
    match Attributes::require(Attribute::AssignedSessionId, id)? {
        // RFC 2661 §5.3: 0 is special and never assigned.
        0 => Err(Refusal::ZeroId),
        id => Ok(SessionId(id)),
    }
}

/// ICRQ.
pub(crate) fn incoming_call_request(
    own: SessionId,
    call: &CallParameters,
    hiding: Option<Hiding<'_>>,
) -> Vec<u8> {
    let mut message = Writer::new(MessageType::Icrq as u16, SessionId(0), hiding);
    message
        .u16(Attribute::AssignedSessionId, own.0)
        .u32(Attribute::CallSerialNumber, call.serial);
    if let Some(bearer_type) = call.bearer_type {
        message.u32(Attribute::BearerType, bearer_type);
    }
    message
        .text(Attribute::CallingNumber, call.calling_number.as_deref())
        .text(Attribute::CalledNumber, call.called_number.as_deref())
        .text(Attribute::SubAddress, call.sub_address.as_deref());
    message.finish()
}

/// ICRP.
pub(crate) fn incoming_call_reply(
    peer: SessionId,
    own: SessionId,
    hiding: Option<Hiding<'_>>,
) -> Vec<u8> {
    let mut message = Writer::new(MessageType::Icrp as u16, peer, hiding);
    message.u16(Attribute::AssignedSessionId, own.0);
    message.finish()
}

/// ICCN.
pub(crate) fn incoming_call_connected(
    peer: SessionId,
    call: &CallParameters,
    hiding: Option<Hiding<'_>>,
) -> Vec<u8> {
    let mut message = Writer::new(MessageType::Iccn as u16, peer, hiding);
    message
        .u32(Attribute::TxConnectSpeed, call.tx_speed)
        .u32(Attribute::FramingType, call.framing_type);
    if let Some(rx_speed) = call.rx_speed {
        message.u32(Attribute::RxConnectSpeed, rx_speed);
    }
    if call.sequencing_required {
        message.bytes(Attribute::SequencingRequired, &[]);
    }
    message.text(Attribute::PrivateGroupId, call.private_group.as_deref());
    if let Some(proxy) = &call.proxy {
        write_proxy(&mut message, proxy);
    }
    message.finish()
}

/// An ICCN that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connected {
    pub(crate) tx_speed: u32,
    pub(crate) rx_speed: Option<u32>,
    pub(crate) framing_type: u32,
    pub(crate) private_group: Option<String>,
    pub(crate) proxy: Option<Box<Proxy>>,
    pub(crate) sequencing_required: bool,
}

impl Connected {
    /// RFC 2661 §6.8: (Tx) Connect Speed and Framing Type must be there.
    pub(crate) fn read(avps: &Attributes<'_>) -> Result<Self, Refusal> {
        let tx_speed = avps.u32(Attribute::TxConnectSpeed);
        let framing_type = avps.u32(Attribute::FramingType);
        Ok(Self {
            tx_speed: Attributes::require(Attribute::TxConnectSpeed, tx_speed)?,
            rx_speed: avps.u32(Attribute::RxConnectSpeed),
            framing_type: Attributes::require(Attribute::FramingType, framing_type)?,
            private_group: avps.text(Attribute::PrivateGroupId),
            proxy: read_proxy(avps).map(Box::new),
            sequencing_required: avps.bytes(Attribute::SequencingRequired).is_some(),
        })
    }
}

fn read_proxy(avps: &Attributes<'_>) -> Option<Proxy> {
    let octets = |attribute| avps.bytes(attribute).map(<[u8]>::to_vec);
    // All three, or LCP starts anew.
    let lcp = || {
        Some(ProxyLcp {
            initial_received: octets(Attribute::InitialReceivedConfreq)?,
            last_sent: octets(Attribute::LastSentConfreq)?,
            last_received: octets(Attribute::LastReceivedConfreq)?,
        })
    };
    let proxy = Proxy {
        lcp: lcp(),
        authentication: read_proxy_authentication(avps),
    };
    (proxy != Proxy::default()).then_some(proxy)
}

/// RFC 2661 §4.4.5: each type needs its own set of AVPs; an incomplete set is as good as none.
fn read_proxy_authentication(avps: &Attributes<'_>) -> Option<ProxyAuthentication> {
    let name = || avps.bytes(Attribute::ProxyAuthenName).map(<[u8]>::to_vec);
    let challenge = || {
        avps.bytes(Attribute::ProxyAuthenChallenge)
            .map(<[u8]>::to_vec)
    };
    let response = || {
        avps.bytes(Attribute::ProxyAuthenResponse)
            .map(<[u8]>::to_vec)
    };
    // The high octet must be 0 and says nothing.
    let id = || avps.u16(Attribute::ProxyAuthenId).map(|id| id as u8);
    Some(match avps.u16(Attribute::ProxyAuthenType)? {
        1 => ProxyAuthentication::Text {
            name: name()?,
            response: response()?,
        },
        2 => ProxyAuthentication::Chap {
            name: name()?,
            id: id()?,
            challenge: challenge()?,
            response: response()?,
        },
        3 => ProxyAuthentication::Pap {
            name: name()?,
            id: id()?,
            response: response()?,
        },
        4 => ProxyAuthentication::None,
        5 => ProxyAuthentication::MsChapV1 {
            name: name()?,
            id: id()?,
            challenge: challenge()?,
            response: response()?,
        },
        _ => return None,
    })
}

fn write_proxy(message: &mut Writer<'_>, proxy: &Proxy) {
    if let Some(lcp) = &proxy.lcp {
        message
            .bytes(Attribute::InitialReceivedConfreq, &lcp.initial_received)
            .bytes(Attribute::LastSentConfreq, &lcp.last_sent)
            .bytes(Attribute::LastReceivedConfreq, &lcp.last_received);
    }
    if let Some(authentication) = &proxy.authentication {
        write_proxy_authentication(message, authentication);
    }
}

fn write_proxy_authentication(message: &mut Writer<'_>, authentication: &ProxyAuthentication) {
    let (kind, name, id, challenge, response) = match authentication {
        ProxyAuthentication::Text { name, response } => (1, name, None, None, response),
        ProxyAuthentication::Chap {
            name,
            id,
            challenge,
            response,
        } => (2, name, Some(*id), Some(challenge), response),
        ProxyAuthentication::Pap { name, id, response } => (3, name, Some(*id), None, response),
        ProxyAuthentication::None => {
            message.u16(Attribute::ProxyAuthenType, 4);
            return;
        }
        ProxyAuthentication::MsChapV1 {
            name,
            id,
            challenge,
            response,
        } => (5, name, Some(*id), Some(challenge), response),
    };
    message
        .u16(Attribute::ProxyAuthenType, kind)
        .bytes(Attribute::ProxyAuthenName, name);
    if let Some(challenge) = challenge {
        message.bytes(Attribute::ProxyAuthenChallenge, challenge);
    }
    if let Some(id) = id {
        message.u16(Attribute::ProxyAuthenId, u16::from(id));
    }
    message.bytes(Attribute::ProxyAuthenResponse, response);
}

/// What tells which tunnel a message is about when its header says 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Message type: 1 is SCCRQ, 4 is StopCCN.
    pub message_type: u16,
    /// The Assigned Tunnel ID AVP; 0 where there is none (an SCCRQ of L2TPv3, or one that will be refused).
    pub assigned_tunnel: TunnelId,
    /// Host Name AVP, without a trailing NUL.
    pub host_name: String,
    /// Tie Breaker AVP.
    pub tie_breaker: Option<u64>,
}

/// Reads the AVPs that tell which tunnel a control message with tunnel id 0 is about: an SCCRQ (new, or a repeat), or a
/// StopCCN. `secret` is for peers that hide the Assigned Tunnel ID. `None` for data, ZLBs and what can't be read.
pub fn peek_opening(bytes: &[u8], secret: Option<&Secret>) -> Option<Opening> {
    let header = crate::peek(bytes).ok()?;
    if header.kind != crate::Kind::Control {
        return None;
    }
    let avps = Attributes::read(&bytes[header.payload], secret).ok()?;
    Some(Opening::of(&avps))
}

impl Opening {
    pub(crate) fn of(avps: &Attributes<'_>) -> Self {
        Self {
            message_type: avps.message_type(),
            assigned_tunnel: assigned_tunnel(avps).unwrap_or_default(),
            host_name: avps.text(Attribute::HostName).unwrap_or_default(),
            tie_breaker: avps.u64(Attribute::TieBreaker),
        }
    }
}

/// The StopCCN that answers a control message for a tunnel nobody knows; `None` where none is due: data, ZLB, StopCCN,
/// a header with tunnel id 0, anything malformed. How often it is sent is up to the caller.
pub fn unknown_tunnel(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = crate::peek(bytes).ok()?;
    let (ns, nr) = header.sequence?;
    if header.kind != crate::Kind::Control || header.is_zlb() || header.tunnel == TunnelId(0) {
        return None;
    }
    let avps = Attributes::read(&bytes[header.payload], None).ok()?;
    if avps.message_type() == MessageType::StopCcn as u16 {
        return None;
    }
    let mut message = stop_ccn(header.tunnel, &ResultCode::no_control_connection());
    // What the peer expects next is what its own Nr says, so it can take this for a message in order.
    number(&mut message, nr, ns.wrapping_add(1));
    Some(message)
}

/// The StopCCN that answers an SCCRQ for which there is no room, from a host that keeps nothing of it: `why` is for people.
/// It calls the tunnel `nobody`, an id that the host never assigns. `None` if the SCCRQ doesn't say where the answer goes.
/// How often it is sent is up to the caller.
pub fn no_room(opening: &Opening, nobody: TunnelId, why: &str) -> Option<Vec<u8>> {
    let is_sccrq = opening.message_type == MessageType::Sccrq as u16;
    if !is_sccrq || opening.assigned_tunnel == TunnelId(0) {
        return None;
    }
    let result = ResultCode::general(ErrorCode::Resources, why.to_owned());
    // RFC 2661 §4.4.3: the id is the one first sent to the peer, and never 0; none was sent before.
    let mut message = stop_ccn(nobody, &result);
    message[4..6].copy_from_slice(&opening.assigned_tunnel.0.to_be_bytes());
    // RFC 2661 §5.8: numbers begin at 0, so this acknowledges the SCCRQ.
    number(&mut message, 0, 1);
    Some(message)
}

/// Writes Ns and Nr into a message of no channel.
fn number(message: &mut [u8], ns: u16, nr: u16) {
    message[8..10].copy_from_slice(&ns.to_be_bytes());
    message[10..12].copy_from_slice(&nr.to_be_bytes());
}
