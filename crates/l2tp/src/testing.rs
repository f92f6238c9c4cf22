//! Bytes that other implementations send, and short hands for tests.
//!
//! The messages were built with Python's struct and scapy 2.8.0's `L2TP` layer after the senders' own sources: xl2tpd 1.3.20
//! (`control.c`, `avpsend.c`), Apple's ppp (`L2TP-plugin/l2tp.c`), Android's mtpd (`l2tp.c`). The Windows SCCRQ follows the
//! AVPs that xl2tpd logged in its issue 219, where the datagram had the same 108 octets. Hidden values and responses were
//! computed with Python's hashlib.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::{Random, Secret};

use crate::avp::{Attribute, Writer};
use crate::message::MessageType;
use crate::{Output, SessionId, Settings, Tunnel, TunnelId};

pub(crate) const XL2TPD_SCCRQ: &str = "c8020067000000000000000080080000000000018008000000020100800a000000030000\
    0003800a00000004000000000008000000060690800c00000007636c69656e7400130000000878656c6572616e63652e636f6d80080000\
    00096b5e80080000000a0004";
pub(crate) const XL2TPD_ICRQ: &str = "c80200301234000000020001800800000000000a80080000000eabcd800a0000000f00000001800a0000001200000000";
pub(crate) const XL2TPD_ICCN: &str = "c80200321234567800030002800800000000000c800a0000001805f5e100800a0000001300000001000a0000002605f5e100";
pub(crate) const APPLE_SCCRQ: &str = "c8020044000000000000000080080000000000018008000000020100800a0000000300000003\
    800e000000076d6163626f6f6b00800800000009000780080000000a0004";
/// Result code 6 in the order of the sender's memory, AVP length 14.
pub(crate) const APPLE_STOPCCN: &str =
    "c802002a123400000004000280080000000000048008000000090007800e0000000106000a0b0c0d0e0f";
/// Result code 3, likewise.
pub(crate) const APPLE_CDN: &str =
    "c802002a1234567800040002800800000000000e80080000000e0321800e000000010300000000000000";
pub(crate) const MTPD_SCCRQ: &str = "c8020045000000000000000080080000000000018008000000020100800f00000007616e6f6e79\
    6d6f7573800a00000003000000038008000000097b3d80080000000a0001";
pub(crate) const WINDOWS_SCCRQ: &str = "c802006c000000000000000080080000000000018008000000020100800a00000003000000\
    01800a00000004000000000008000000060a008015000000075257422d4c4150544f502d44454c4c000f000000084d6963726f736f6674\
    800800000009000180080000000a0008";
/// With Microsoft's Correlation-ID.
pub(crate) const WINDOWS_ICRQ: &str = "c80200461234000000020001800800000000000a80080000000e0001800a0000000f00000000\
    800a0000001200000002001601370001101112131415161718191a1b1c1d1e1f";
/// go-l2tp `l2tp/msg_test.go`: HELLO, ZLB and an SCCRQ of OpenL2TP with an L2TPv3 header.
pub(crate) const GO_L2TP_HELLO: &str = "c802001400010000000100018008000000000006";
pub(crate) const GO_L2TP_ZLB: &str = "c802000c0001000000010001";
pub(crate) const OPENL2TP_V3_SCCRQ: &str = "c803007c00000000000000008008000000000001800c000000076f70656e763300340000\
    000870726f6c32747020312e372e33204c696e75782d332e31332e302d33302d67656e6572696320287838365f363429800800000\
    00a000a000a0000003c00000000000a0000003d2846f181000c0000003e000700050004";
/// Framing Capabilities hidden with one random vector, Assigned Tunnel ID 0x4242 and a Challenge with another; secret and
/// challenge as below.
pub(crate) const HIDDEN_SCCRQ: &str = "c802008f00000000000000008008000000000001801600000024000102030405060708090a0b\
    0c0d0e0f8008000000020100c00c00000003ecc86efc40938009000000076c6163801600000024808182838485868788898a8b8c8d8e8fc0\
    0a00000009b4720b79c0280000000b2703775eb552df899ade9d7dff2b3dcbd21d7f38150f81a8b8a7913c21f0ef99e0a9";
pub(crate) const SECRET: &[u8] = b"tunnel secret";

pub(crate) const ALL: [&str; 14] = [
    XL2TPD_SCCRQ,
    XL2TPD_ICRQ,
    XL2TPD_ICCN,
    APPLE_SCCRQ,
    APPLE_STOPCCN,
    APPLE_CDN,
    MTPD_SCCRQ,
    WINDOWS_SCCRQ,
    WINDOWS_ICRQ,
    GO_L2TP_HELLO,
    GO_L2TP_ZLB,
    OPENL2TP_V3_SCCRQ,
    HIDDEN_SCCRQ,
    HELLO_TO_US,
];
/// HELLO to tunnel 0x1234 with Ns 4, Nr 2.
pub(crate) const HELLO_TO_US: &str = "c8020014123400000004000280080000000000 06";

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

pub(crate) fn secret() -> Secret {
    Secret::new(SECRET)
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[allow(
    clippy::disallowed_methods,
    reason = "an origin for the clock of a test"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// The control messages among outputs.
pub(crate) fn sent(out: &[Output]) -> Vec<Vec<u8>> {
    let message = |output: &Output| {
        if let Output::Send(message) = output {
            Some(message.clone())
        } else {
            None
        }
    };
    out.iter().filter_map(message).collect()
}

/// Everything but control messages.
pub(crate) fn events(out: &[Output]) -> Vec<Output> {
    out.iter()
        .filter(|output| !matches!(output, Output::Send(_)))
        .cloned()
        .collect()
}

/// Message type of a control message; 0 is a ZLB.
pub(crate) fn type_of(message: &[u8]) -> u16 {
    message
        .get(18..20)
        .map_or(0, |number| u16::from_be_bytes([number[0], number[1]]))
}

pub(crate) fn types(out: &[Output]) -> Vec<u16> {
    sent(out).iter().map(|message| type_of(message)).collect()
}

/// The result and error code of a StopCCN or CDN.
pub(crate) fn result_of(message: &[u8]) -> (u16, Option<u16>) {
    let header = crate::peek(message).expect("our own header");
    let avps = crate::avp::Attributes::read(&message[header.payload], None).expect("our own");
    let value = avps.bytes(Attribute::ResultCode).expect("a result code");
    let number = |at: usize| Some(u16::from_be_bytes([*value.get(at)?, *value.get(at + 1)?]));
    (number(0).expect("two octets"), number(2))
}

/// A peer made by hand: keeps the numbers, says what the test tells it to.
pub(crate) struct Peer {
    pub(crate) tunnel: Tunnel,
    pub(crate) now: Instant,
    pub(crate) random: Random,
    /// Our tunnel's id, as the peer uses it.
    pub(crate) to: TunnelId,
    pub(crate) ns: u16,
    pub(crate) nr: u16,
}

/// The id of the tunnel under test, and that of the peer.
pub(crate) const OURS: TunnelId = TunnelId(0x1234);
pub(crate) const THEIRS: TunnelId = TunnelId(0x0077);

impl Peer {
    /// The peer will dial.
    pub(crate) fn of_lns(settings: Settings) -> Self {
        let now = start();
        let tunnel = Tunnel::answer(Arc::new(settings), OURS, now);
        Self {
            tunnel,
            now,
            random: Random::from_seed([7; 32]),
            to: TunnelId(0),
            ns: 0,
            nr: 0,
        }
    }

    /// The peer is dialled.
    pub(crate) fn of_lac(settings: Settings) -> (Self, Vec<Output>) {
        let now = start();
        let mut random = Random::from_seed([8; 32]);
        let mut out = Vec::new();
        let tunnel = Tunnel::dial(Arc::new(settings), OURS, now, &mut random, &mut out);
        (
            Self {
                tunnel,
                now,
                random,
                to: OURS,
                ns: 0,
                nr: 1,
            },
            out,
        )
    }

    /// An established tunnel that the peer has dialled; `window` is the peer's.
    pub(crate) fn established(settings: Settings, window: u16) -> Self {
        let mut peer = Self::of_lns(settings);
        let out = peer.say(sccrq(window));
        assert_eq!(types(&out), [MessageType::Sccrp as u16]);
        let out = peer.say(Writer::new(MessageType::Scccn as u16, SessionId(0), None));
        assert_eq!(types(&out), [0], "SCCCN is acknowledged at once");
        assert!(peer.tunnel.is_established());
        peer
    }

    /// An established tunnel that was dialled by us.
    pub(crate) fn answered(settings: Settings) -> Self {
        let (mut peer, _) = Self::of_lac(settings);
        let out = peer.say(sccrp());
        assert_eq!(types(&out), [MessageType::Scccn as u16]);
        assert!(peer.tunnel.is_established());
        peer
    }

    /// Sends the next message in order and takes in what comes back. Panics if it is refused.
    pub(crate) fn say(&mut self, message: Writer<'_>) -> Vec<Output> {
        let (taken, out) = self.try_say(message);
        assert_eq!(taken, Ok(()));
        out
    }

    pub(crate) fn try_say(
        &mut self,
        message: Writer<'_>,
    ) -> (Result<(), crate::Refusal>, Vec<Output>) {
        let message = self.seal(message);
        self.ns = self.ns.wrapping_add(1);
        self.give(&message)
    }

    /// The message as it would go out next.
    pub(crate) fn seal(&self, message: Writer<'_>) -> Vec<u8> {
        let mut message = message.finish();
        message[4..6].copy_from_slice(&self.to.0.to_be_bytes());
        message[8..10].copy_from_slice(&self.ns.to_be_bytes());
        message[10..12].copy_from_slice(&self.nr.to_be_bytes());
        message
    }

    /// Hands over raw bytes.
    pub(crate) fn give(&mut self, message: &[u8]) -> (Result<(), crate::Refusal>, Vec<Output>) {
        let mut out = Vec::new();
        let taken = self
            .tunnel
            .handle_input(self.now, message, &mut self.random, &mut out);
        self.hear(&out);
        (taken, out)
    }

    /// Acknowledges everything heard so far.
    pub(crate) fn acknowledge(&mut self) -> Vec<Output> {
        let mut zlb = Vec::new();
        crate::avp::header(&mut zlb, self.to, SessionId(0), self.ns, self.nr);
        let (taken, out) = self.give(&zlb);
        assert_eq!(taken, Ok(()));
        out
    }

    /// Keeps Nr in step with what the tunnel sends, and learns its id.
    pub(crate) fn hear(&mut self, out: &[Output]) {
        for message in sent(out) {
            let (ns, _) = crate::peek(&message)
                .expect("our own header")
                .sequence
                .expect("control");
            if type_of(&message) != 0 && ns == self.nr {
                self.nr = self.nr.wrapping_add(1);
            }
            if type_of(&message) == MessageType::Sccrp as u16 {
                self.to = OURS;
            }
        }
    }

    /// Lets time pass up to `span`, calling the tunnel when it wants to be called.
    pub(crate) fn wait(&mut self, span: Duration) -> Vec<Output> {
        let end = self.now + span;
        let mut out = Vec::new();
        while let Some((at, _)) = self.tunnel.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.tunnel
                .handle_timeout(self.now, &mut self.random, &mut out);
        }
        self.now = end;
        self.hear(&out);
        out
    }

    /// Does something to the tunnel directly.
    pub(crate) fn with<F>(&mut self, act: F) -> Vec<Output>
    where
        F: FnOnce(&mut Tunnel, Instant, &mut Vec<Output>),
    {
        let mut out = Vec::new();
        act(&mut self.tunnel, self.now, &mut out);
        self.hear(&out);
        out
    }
}

/// A message of the peer with a type and nothing else.
pub(crate) fn bare(kind: MessageType, session: u16) -> Writer<'static> {
    Writer::new(kind as u16, SessionId(session), None)
}

pub(crate) fn sccrq(window: u16) -> Writer<'static> {
    let mut message = bare(MessageType::Sccrq, 0);
    greet(&mut message).u16(Attribute::ReceiveWindowSize, window);
    message
}

pub(crate) fn sccrp() -> Writer<'static> {
    let mut message = bare(MessageType::Sccrp, 0);
    greet(&mut message);
    message
}

pub(crate) fn greet<'w, 's>(message: &'w mut Writer<'s>) -> &'w mut Writer<'s> {
    message
        .u16(Attribute::ProtocolVersion, 0x0100)
        .bytes(Attribute::HostName, b"peer")
        .u32(Attribute::FramingCapabilities, 3)
        .u16(Attribute::AssignedTunnelId, THEIRS.0)
}

pub(crate) fn icrq(session: u16) -> Writer<'static> {
    let mut message = bare(MessageType::Icrq, 0);
    message
        .u16(Attribute::AssignedSessionId, session)
        .u32(Attribute::CallSerialNumber, 5);
    message
}

pub(crate) fn icrp(to: u16, session: u16) -> Writer<'static> {
    let mut message = bare(MessageType::Icrp, to);
    message.u16(Attribute::AssignedSessionId, session);
    message
}

pub(crate) fn iccn(to: u16) -> Writer<'static> {
    let mut message = bare(MessageType::Iccn, to);
    message
        .u32(Attribute::TxConnectSpeed, 64_000)
        .u32(Attribute::FramingType, 1);
    message
}

pub(crate) fn cdn(to: u16, session: u16) -> Writer<'static> {
    let mut message = bare(MessageType::Cdn, to);
    message
        .bytes(Attribute::ResultCode, &[0, 3])
        .u16(Attribute::AssignedSessionId, session);
    message
}

pub(crate) fn stop_ccn() -> Writer<'static> {
    let mut message = bare(MessageType::StopCcn, 0);
    message
        .u16(Attribute::AssignedTunnelId, THEIRS.0)
        .bytes(Attribute::ResultCode, &[0, 6]);
    message
}
