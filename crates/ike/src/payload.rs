//! The payloads that have a body of their own (RFC 2408 §3.4 to §3.16).
//!
//! KE, nonce, hash, vendor ID and NAT-D are plain bytes and need no codec.

pub mod attribute;
pub mod delete;
pub mod identification;
pub mod nat_address;
pub mod notification;
pub mod security_association;
