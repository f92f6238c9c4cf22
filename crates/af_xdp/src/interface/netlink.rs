//! One question to rtnetlink: `RTM_GETLINK` (rtnetlink(7), `linux/if_link.h`).

use std::fs::File;
use std::io::{self, Read, Write};

use crate::syscall;

pub(super) const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MTU: u16 = 4;
pub(super) const IFLA_EXT_MASK: u16 = 29;
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

/// `struct nlmsghdr`
const HEADER_LEN: usize = 16;
/// `struct ifinfomsg`
const LINK_LEN: usize = 16;
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

/// The kernel's answer, a whole netlink message.
pub(super) fn ask(question: Question<'_>) -> io::Result<Vec<u8>> {
    let fd = syscall::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    let mut socket = File::from(fd);
    socket.write_all(&request(question)?)?;
    let mut answer = vec![0; ANSWER_LEN];
    let len = socket.read(&mut answer)?;
    answer.truncate(len);
    Ok(answer)
}

fn request(question: Question<'_>) -> io::Result<Vec<u8>> {
    let index = match question {
        Question::Name(_) => 0,
        Question::Index(index) => index,
    };
    let mut message = vec![0; HEADER_LEN + LINK_LEN];
    message[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&index.to_ne_bytes());
    attribute(&mut message, IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes());
    if let Question::Name(name) = question {
        syscall::interface_name(name).ok_or(io::ErrorKind::InvalidInput)?;
        attribute(&mut message, IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
    }
    let len = message.len() as u32;
    message[..4].copy_from_slice(&len.to_ne_bytes());
    Ok(message)
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let len = 4 + value.len() as u16;
    message.extend(len.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
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
        let odd = || io::Error::from(io::ErrorKind::InvalidData);
        let kind = u16::from_ne_bytes(array(answer, 4).ok_or_else(odd)?);
        let body = answer.get(HEADER_LEN..).ok_or_else(odd)?;
        match kind {
            NLMSG_ERROR => {
                let error = i32::from_ne_bytes(array(body, 0).ok_or_else(odd)?);
                Err(io::Error::from_raw_os_error(error.saturating_neg()))
            }
            RTM_NEWLINK => Ok(Self {
                index: u32::from_ne_bytes(array(body, 4).ok_or_else(odd)?),
                flags: u32::from_ne_bytes(array(body, 8).ok_or_else(odd)?),
                attributes: Attributes(body.get(LINK_LEN..).ok_or_else(odd)?),
            }),
            _ => Err(odd()),
        }
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
        let mut row = Vec::new();
        attribute(&mut row, 3, b"eth0\0");
        attribute(&mut row, 4, &1500u32.to_ne_bytes());
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
