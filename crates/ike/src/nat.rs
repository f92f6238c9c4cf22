//! NAT traversal (RFC 3947 and its drafts 02 and 03), and the vendor IDs that announce it.
//!
//! Both ends send hashes of the addresses and ports that they see; where a hash does not match,
//! a NAT has changed something. From then on IKE moves to port 4500 and ESP goes in UDP.

use std::net::{IpAddr, SocketAddr};

use crypto::hash::{Digest, Hash};

use crate::message::{Cookies, kind};

/// Where IKE starts.
pub const IKE_PORT: u16 = 500;
/// Where IKE and ESP in UDP go when there is a NAT (RFC 3948 §2).
pub const NATT_PORT: u16 = 4500;

/// RFC 3947 §3.1: MD5 of `RFC 3947`.
pub const VID_RFC3947: &[u8] = b"\x4a\x13\x1c\x81\x07\x03\x58\x45\x5c\x57\x28\xf2\x0e\x95\x45\x2f";
/// MD5 of `draft-ietf-ipsec-nat-t-ike-03`.
pub const VID_DRAFT_03: &[u8] = b"\x7d\x94\x19\xa6\x53\x10\xca\x6f\x2c\x17\x9d\x92\x15\x52\x9d\x56";
/// MD5 of `draft-ietf-ipsec-nat-t-ike-02`.
pub const VID_DRAFT_02: &[u8] = b"\xcd\x60\x46\x43\x35\xdf\x21\xf8\x7c\xfd\xb2\xfc\x68\xb6\xa4\x48";
/// MD5 of `draft-ietf-ipsec-nat-t-ike-02` and a newline, which most of the world sends.
pub const VID_DRAFT_02_NEWLINE: &[u8] =
    b"\x90\xcb\x80\x91\x3e\xbb\x69\x6e\x08\x63\x81\xb5\xec\x42\x7b\x1f";
/// RFC 3706 §5.1: the last two bytes are the version.
pub const VID_DPD: &[u8] = b"\xaf\xca\xd7\x13\x68\xa1\xf1\xc9\x6b\x86\x96\xfc\x77\x57\x01\x00";
/// MD5 of `FRAGMENTATION`, sent bare by Windows, with capabilities by others.
pub const VID_FRAGMENTATION: &[u8] =
    b"\x40\x48\xb7\xd5\x6e\xbc\xe8\x85\x25\xe7\xde\x7f\x00\xd6\xc2\xd3";
/// The capabilities behind it: main mode and later.
pub const FRAGMENTATION_CAPABILITIES: &[u8] = b"\x80\x00\x00\x00";

/// Which document NAT traversal follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NatMethod {
    /// RFC 3947.
    Rfc3947,
    /// draft-ietf-ipsec-nat-t-ike-03.
    Draft03,
    /// draft-ietf-ipsec-nat-t-ike-02.
    Draft02,
}

impl NatMethod {
    /// The best of what vendor IDs announce, whatever their order.
    #[must_use]
    pub fn choose(vendor_ids: &[&[u8]]) -> Option<Self> {
        let has = |vid: &[u8]| vendor_ids.contains(&vid);
        if has(VID_RFC3947) {
            Some(Self::Rfc3947)
        } else if has(VID_DRAFT_03) {
            Some(Self::Draft03)
        } else if has(VID_DRAFT_02) || has(VID_DRAFT_02_NEWLINE) {
            Some(Self::Draft02)
        } else {
            None
        }
    }

    /// The vendor ID that a responder answers with; for draft 02 the one that was received.
    pub(crate) fn vendor_id(self, received: &[&[u8]]) -> &'static [u8] {
        match self {
            Self::Rfc3947 => VID_RFC3947,
            Self::Draft03 => VID_DRAFT_03,
            Self::Draft02 if received.contains(&VID_DRAFT_02_NEWLINE) => VID_DRAFT_02_NEWLINE,
            Self::Draft02 => VID_DRAFT_02,
        }
    }

    /// Payload type of NAT-D.
    pub(crate) fn nat_d(self) -> u8 {
        match self {
            Self::Rfc3947 => kind::NAT_D,
            Self::Draft03 | Self::Draft02 => kind::NAT_D_DRAFT,
        }
    }

    /// Payload type of NAT-OA.
    pub(crate) fn nat_oa(self) -> u8 {
        match self {
            Self::Rfc3947 => kind::NAT_OA,
            Self::Draft03 | Self::Draft02 => kind::NAT_OA_DRAFT,
        }
    }

    /// The number of UDP-encapsulated transport mode.
    pub(crate) fn udp_transport(self) -> u16 {
        match self {
            Self::Rfc3947 => 4,
            Self::Draft03 | Self::Draft02 => 61444,
        }
    }
}

/// How ESP travels (RFC 2407 §4.5, RFC 3947 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EncapsulationMode {
    /// Tunnel mode.
    Tunnel,
    /// Transport mode.
    Transport,
    /// Tunnel mode in UDP.
    UdpTunnel,
    /// Transport mode in UDP.
    UdpTransport,
}

impl EncapsulationMode {
    /// From the attribute value; the drafts' numbers mean the same.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Tunnel),
            2 => Some(Self::Transport),
            3 | 61443 => Some(Self::UdpTunnel),
            4 | 61444 => Some(Self::UdpTransport),
            _ => None,
        }
    }
}

/// What the NAT-D payloads said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatSituation {
    /// What both ends speak; `None` if there is no NAT traversal.
    pub method: Option<NatMethod>,
    /// There is a NAT in front of us.
    pub local_behind: bool,
    /// There is a NAT in front of the peer.
    pub remote_behind: bool,
    /// We made the peer believe that there is one.
    pub forced: bool,
}

impl NatSituation {
    /// Whether ESP has to go in UDP and IKE to port 4500.
    #[must_use]
    pub fn encapsulates(&self) -> bool {
        self.method.is_some() && (self.local_behind || self.remote_behind || self.forced)
    }

    /// Holds received NAT-D hashes against what we see (RFC 3947 §3.2).
    pub(crate) fn detect(
        method: NatMethod,
        hash: Hash,
        cookies: &Cookies,
        path: (SocketAddr, SocketAddr),
        received: &[&[u8]],
    ) -> Self {
        let (local, remote) = path;
        let own = nat_d(hash, cookies, local);
        let peer = nat_d(hash, cookies, remote);
        // Without NAT-D payloads nobody claims a NAT.
        let Some((&about_us, about_peer)) = received.split_first() else {
            return Self {
                method: Some(method),
                ..Self::default()
            };
        };
        Self {
            method: Some(method),
            local_behind: about_us != &own[..],
            remote_behind: !about_peer.iter().any(|hash| *hash == &peer[..]),
            forced: false,
        }
    }
}

/// HASH(CKY-I | CKY-R | IP | Port), RFC 3947 §3.2.
#[must_use]
pub fn nat_d(hash: Hash, cookies: &Cookies, end: SocketAddr) -> Digest {
    let port = end.port().to_be_bytes();
    let (v4, v6);
    let address: &[u8] = match end.ip() {
        IpAddr::V4(address) => {
            v4 = address.octets();
            &v4
        }
        IpAddr::V6(address) => {
            v6 = address.octets();
            &v6
        }
    };
    hash.digest(&[&cookies.initiator.0, &cookies.responder.0, address, &port])
}

/// What a NAT-D payload says about our own end when encapsulation is forced: the hash of a port
/// that no packet comes from.
pub(crate) fn false_nat_d(hash: Hash, cookies: &Cookies, end: SocketAddr) -> Digest {
    nat_d(hash, cookies, SocketAddr::new(end.ip(), 0))
}

/// Whether a vendor ID announces IKE fragmentation, with or without capabilities.
pub(crate) fn announces_fragmentation(vendor_id: &[u8]) -> bool {
    vendor_id.starts_with(VID_FRAGMENTATION)
}
