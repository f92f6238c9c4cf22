//! One question to netlink and its answer: `RTM_GETLINK` (rtnetlink(7), `linux/if_link.h`), and
//! what a driver says about XDP (`linux/netdev.h`).

use std::fs::File;
use std::io::{self, Read, Write};

use crate::syscall;

pub(super) const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MTU: u16 = 4;
const IFLA_EXT_MASK: u16 = 29;
pub(super) const IFLA_NUM_TX_QUEUES: u16 = 31;
pub(super) const IFLA_NUM_RX_QUEUES: u16 = 32;
pub(super) const IFLA_CARRIER: u16 = 33;
pub(super) const IFLA_XDP: u16 = 43;
/// Inside `IFLA_XDP`: any, native, generic, offloaded.
pub(super) const IFLA_XDP_PROGRAM_IDS: [u16; 4] = [4, 5, 6, 7];

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
/// `RTEXT_FILTER_SKIP_STATS`
const SKIP_STATISTICS: u32 = 1 << 3;

/// The family of generic netlink that knows the other families (`linux/genetlink.h`).
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;

/// `struct nlmsghdr`
const HEADER_LEN: usize = 16;
/// `struct ifinfomsg`
const LINK_LEN: usize = 16;
/// `struct genlmsghdr`
const GENERIC_LEN: usize = 4;
/// Upper bits of an attribute's type are flags.
const TYPE_MASK: u16 = 0x3fff;

/// Room for an answer; one link without statistics is about 2 KiB.
const ANSWER_LEN: usize = 64 << 10;

/// Which interface is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question<'a> {
    Name(&'a str),
    Index(u32),
}

/// What an interface is: the kernel's answer, for [`Link::parse`].
pub(super) fn ask_link(question: Question<'_>) -> io::Result<Vec<u8>> {
    let mut message = Message::new(RTM_GETLINK, [0; LINK_LEN]);
    message.attribute(IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes());
    match question {
        Question::Index(index) => {
            message.0[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&index.to_ne_bytes());
        }
        Question::Name(name) => {
            syscall::interface_name(name).ok_or(io::ErrorKind::InvalidInput)?;
            message.attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
        }
    }
    message.exchange(libc::NETLINK_ROUTE)
}

/// What a driver can do with XDP (`enum netdev_xdp_act`), since Linux 6.3.
pub(super) fn xdp_features(index: u32) -> io::Result<u64> {
    let mut message = Message::generic(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    message.attribute(CTRL_ATTR_FAMILY_NAME, b"netdev\0");
    let answer = message.exchange(libc::NETLINK_GENERIC)?;
    let attributes = Attributes(body(&answer, GENL_ID_CTRL, GENERIC_LEN)?.1);
    let family = attributes
        .find(CTRL_ATTR_FAMILY_ID)
        .and_then(|value| Some(u16::from_ne_bytes(value.try_into().ok()?)))
        .ok_or(io::ErrorKind::InvalidData)?;
    let mut message = Message::generic(family, NETDEV_CMD_DEV_GET);
    message.attribute(NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes());
    let answer = message.exchange(libc::NETLINK_GENERIC)?;
    let attributes = Attributes(body(&answer, family, GENERIC_LEN)?.1);
    let features = attributes
        .find(NETDEV_A_DEV_XDP_FEATURES)
        .and_then(|value| Some(u64::from_ne_bytes(value.try_into().ok()?)));
    Ok(features.ok_or(io::ErrorKind::InvalidData)?)
}

/// A request under construction.
struct Message(Vec<u8>);

impl Message {
    /// A request of a kind that begins with a fixed structure.
    fn new<const N: usize>(kind: u16, fixed: [u8; N]) -> Self {
        let mut header = [0; HEADER_LEN];
        header[4..6].copy_from_slice(&kind.to_ne_bytes());
        header[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        Self([&header[..], &fixed].concat())
    }

    fn generic(family: u16, command: u8) -> Self {
        Self::new(family, [command, 1, 0, 0])
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let len = 4 + value.len() as u16;
        self.0.extend(len.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// Sends it and waits for the one message that answers it.
    fn exchange(mut self, protocol: libc::c_int) -> io::Result<Vec<u8>> {
        let len = self.0.len() as u32;
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        let fd = syscall::socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
        let mut socket = File::from(fd);
        socket.write_all(&self.0)?;
        let mut answer = vec![0; ANSWER_LEN];
        let len = socket.read(&mut answer)?;
        answer.truncate(len);
        Ok(answer)
    }
}

/// The fixed structure and the attributes of an answer of a kind, or the error that it is.
fn body(answer: &[u8], kind: u16, fixed_len: usize) -> io::Result<(&[u8], &[u8])> {
    let odd = || io::Error::from(io::ErrorKind::InvalidData);
    let found = u16::from_ne_bytes(array(answer, 4).ok_or_else(odd)?);
    let rest = answer.get(HEADER_LEN..).ok_or_else(odd)?;
    if found == NLMSG_ERROR {
        let error = i32::from_ne_bytes(array(rest, 0).ok_or_else(odd)?);
        return Err(io::Error::from_raw_os_error(error.saturating_neg()));
    }
    let parts = rest.split_at_checked(fixed_len).filter(|_| found == kind);
    parts.ok_or_else(odd)
}

/// An `RTM_NEWLINK`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<'a> {
    pub(super) index: u32,
    pub(super) flags: u32,
    pub(super) attributes: Attributes<'a>,
}

impl<'a> Link<'a> {
    /// The link, or the error, that an answer tells of.
    pub(super) fn parse(answer: &'a [u8]) -> io::Result<Self> {
        let (fixed, attributes) = body(answer, RTM_NEWLINK, LINK_LEN)?;
        let number = |at| array(fixed, at).map(u32::from_ne_bytes);
        Ok(Self {
            index: number(4).ok_or(io::ErrorKind::InvalidData)?,
            flags: number(8).ok_or(io::ErrorKind::InvalidData)?,
            attributes: Attributes(attributes),
        })
    }
}

/// A row of netlink attributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of a kind.
    pub(super) fn find(self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = self.0;
        loop {
            let len = usize::from(u16::from_ne_bytes(array(rest, 0)?));
            let kind = u16::from_ne_bytes(array(rest, 2)?) & TYPE_MASK;
            let value = rest.get(4..len)?;
            if kind == wanted {
                return Some(value);
            }
            rest = rest.get(len.next_multiple_of(4)..)?;
        }
    }

    /// A number of 32 bits.
    pub(super) fn number(self, wanted: u16) -> Option<u32> {
        let value = self.find(wanted)?;
        Some(u32::from_ne_bytes(value.try_into().ok()?))
    }

    /// A text that ends with a zero.
    pub(super) fn text(self, wanted: u16) -> Option<String> {
        let value = self.find(wanted)?;
        let text = value.split(|octet| *octet == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_end_where_they_say() {
        let mut message = Message(Vec::new());
        message.attribute(3, b"eth0\0");
        message.attribute(4, &1500u32.to_ne_bytes());
        let row = message.0;
        let attributes = Attributes(&row);
        assert_eq!(attributes.text(3).as_deref(), Some("eth0"));
        assert_eq!(attributes.number(4), Some(1500));
        assert_eq!(attributes.find(5), None);
        for len in 0..row.len() {
            assert_eq!(Attributes(&row[..len]).find(5), None);
        }
        assert_eq!(
            Attributes(&[3, 0, 4, 0, 0, 0, 0, 0]).find(4),
            None,
            "shorter than its head"
        );
        assert_eq!(Attributes(&[0; 8]).find(4), None, "no length at all");
    }

    #[test]
    fn an_error_is_an_error() {
        let mut answer = vec![0; 36];
        answer[4] = NLMSG_ERROR as u8;
        answer[16..20].copy_from_slice(&(-libc::ENODEV).to_ne_bytes());
        let error = Link::parse(&answer).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        for len in 0..20 {
            assert!(Link::parse(&answer[..len]).is_err());
        }
    }
}
