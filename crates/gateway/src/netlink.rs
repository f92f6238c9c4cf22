//! Questions and orders to the kernel's routing tables (rtnetlink), one at a time.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the kernel's large vocabulary little is for us"
)]

use std::io;

use anyhow::{Context, Result, bail};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// A conversation with the kernel.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// What an order does about something that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Takes its place.
    Replace,
    /// The order is about it: a removal, a change.
    Change,
}

impl Netlink {
    pub(crate) fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE).context("cannot open a netlink socket")?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// A socket that hears what changes in the multicast `groups` (bit n-1 = group n).
    pub(crate) fn listen(groups: u32) -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE).context("cannot open a netlink socket")?;
        socket.bind(&SocketAddr::new(0, groups))?;
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Gives an order and waits for the kernel's word that it was carried out.
    pub(crate) fn order(
        &mut self,
        message: RouteNetlinkMessage,
        existing: Existing,
    ) -> io::Result<()> {
        let flags = match existing {
            Existing::Replace => NLM_F_CREATE | NLM_F_REPLACE,
            Existing::Change => 0,
        };
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        let mut outcome = Ok(());
        self.each_reply(|payload| {
            if let NetlinkPayload::Error(error) = payload {
                if error.code.is_some() {
                    outcome = Err(error.to_io());
                }
                return false;
            }
            true
        })?;
        outcome
    }

    /// Everything that a dump request lists.
    pub(crate) fn dump(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut list = Vec::new();
        let mut fault = None;
        self.each_reply(|payload| match payload {
            NetlinkPayload::InnerMessage(inner) => {
                list.push(inner);
                true
            }
            NetlinkPayload::Error(error) => {
                fault = Some(error.to_io());
                false
            }
            NetlinkPayload::Done(_) => false,
            _ => true,
        })?;
        match fault {
            Some(fault) => Err(fault.into()),
            None => Ok(list),
        }
    }

    /// The one answer to a question about one thing.
    pub(crate) fn ask(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Option<RouteNetlinkMessage>> {
        self.send(message, NLM_F_REQUEST)?;
        let mut answer = Ok(None);
        self.each_reply(|payload| {
            answer = match payload {
                NetlinkPayload::InnerMessage(inner) => Ok(Some(inner)),
                NetlinkPayload::Error(error) => Err(error.to_io()),
                _ => Ok(None),
            };
            false
        })?;
        Ok(answer?)
    }

    /// What a listening socket has heard; an error of kind `ENOBUFS` means that something was
    /// missed and everything has to be read anew.
    pub(crate) fn heard(&mut self) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut list = Vec::new();
        loop {
            let (datagram, _) = match self.socket.recv_from_full() {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(list),
                Err(error) => return Err(error),
            };
            for message in messages(&datagram) {
                if let NetlinkPayload::InnerMessage(inner) = message.payload {
                    list.push(inner);
                }
            }
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        (header.flags, header.sequence_number) = (flags, self.sequence);
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Feeds replies to `more` until it has had enough.
    fn each_reply(
        &mut self,
        mut more: impl FnMut(NetlinkPayload<RouteNetlinkMessage>) -> bool,
    ) -> io::Result<()> {
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages(&datagram) {
                if message.header.sequence_number == self.sequence && !more(message.payload) {
                    return Ok(());
                }
            }
        }
    }
}

/// The messages of a datagram; one that cannot be read ends the list.
fn messages(datagram: &[u8]) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).ok()?;
        // Messages are aligned to four octets.
        let len = (message.header.length as usize).next_multiple_of(4);
        rest = rest.get(len..).unwrap_or_default();
        (len > 0).then_some(message)
    })
}

/// Turns "no such device" and the like into a sentence.
pub(crate) fn because(error: io::Error, what: &str) -> anyhow::Error {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return anyhow::anyhow!("{what}: CAP_NET_ADMIN is needed");
    }
    anyhow::Error::new(error).context(what.to_owned())
}

/// The index of an interface.
pub(crate) fn interface_index(name: &str) -> Result<u32> {
    match nix::net::if_::if_nametoindex(name) {
        Ok(index) => Ok(index),
        Err(_) => bail!("there is no interface {name}"),
    }
}
