//! How one kind of client asks: which options, in which order, which network protocols beside IPCP,
//! and how it introduces itself.
//!
//! A server has no habits. They are for those who play somebody else, to find out how a server
//! takes it; what is asked for by [`Settings`](crate::Settings) keeps its meaning, and only what no
//! machine here understands stands in the habits as octets.

use crate::frame::protocol;
use crate::options::{Options, push};

/// The habits of one kind of client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// Options of LCP's Configure-Request, in order.
    pub lcp: Vec<Asked>,
    /// Options of IPCP's Configure-Request, in order.
    pub ipcp: Vec<Asked>,
    /// Network protocols that are asked for beside IP, in the order in which they begin.
    pub networks: Vec<Network>,
    /// Texts of the LCP Identifications that are sent once LCP is open (RFC 1570 §1.1).
    pub identifications: Vec<Vec<u8>>,
}

/// One option of a Configure-Request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// As the link itself would ask for it, if it would: by its type.
    Own(u8),
    /// Type and value, until it is rejected.
    Foreign(u8, Vec<u8>),
}

/// A network protocol of which no more is known than how it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Of its control protocol: 0x80fd is CCP.
    pub protocol: u16,
    /// The options of its Configure-Request.
    pub options: Vec<Asked>,
    /// It begins ahead of IPCP.
    pub is_first: bool,
}

impl Network {
    pub(crate) fn request(&self) -> Vec<u8> {
        shape(&self.options, &[], &[])
    }
}

impl Habits {
    /// The options of a protocol's Configure-Request: `own` as the habit has them.
    pub(crate) fn request(&self, protocol: u16, own: &[u8], rejected: &[u8]) -> Vec<u8> {
        match protocol {
            protocol::LCP => shape(&self.lcp, own, rejected),
            _ => shape(&self.ipcp, own, rejected),
        }
    }
}

/// `own` in the order of the habit, with what is foreign to the link and was not rejected.
fn shape(list: &[Asked], own: &[u8], rejected: &[u8]) -> Vec<u8> {
    let own = Options::parse(own).ok();
    let mut shaped = Vec::new();
    for asked in list {
        match asked {
            Asked::Own(kind) => {
                let mut options = own.into_iter().flat_map(Options::iter);
                if let Some(option) = options.find(|option| option.kind == *kind) {
                    shaped.extend_from_slice(option.wire);
                }
            }
            Asked::Foreign(kind, _) if rejected.contains(kind) => {}
            Asked::Foreign(kind, value) => push(&mut shaped, *kind, value),
        }
    }
    shaped
}
