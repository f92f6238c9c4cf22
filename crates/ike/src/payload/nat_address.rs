//! NAT-OA (RFC 3947 §5.2): an address as it was before a NAT changed it.

use std::net::IpAddr;

use crate::Refusal;
use crate::payload::identification::{Identification, Identity};

/// Reads the body of a NAT-OA payload: an ID payload that can only be an address.
pub fn parse(body: &[u8]) -> Result<IpAddr, Refusal> {
    let id = Identification::parse(body).map_err(|_| Refusal::BadNatAddress)?;
    // RFC 3947 §5.2: both reserved fields are zero.
    if id.protocol != 0 || id.port != 0 {
        return Err(Refusal::BadNatAddress);
    }
    id.identity.host().ok_or(Refusal::BadNatAddress)
}

/// The body of a NAT-OA payload.
#[must_use]
pub fn to_bytes(address: IpAddr) -> Vec<u8> {
    Identification {
        identity: Identity::from(address),
        protocol: 0,
        port: 0,
    }
    .to_bytes()
}
