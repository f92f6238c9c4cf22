//! What every part of an ISAKMP SA needs: who the two ends are, where they are, and how to act.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crypto::dh::Job;

use super::replies::{MessageDigest, Replies};
use crate::message::{Cookies, HEADER_LEN, Header};
use crate::nat::{IKE_PORT, NATT_PORT};
use crate::payload::identification::{Identification, Identity};
use crate::{Environment, Output, Policy};

/// Length of our nonces: RFC 2409 §5 allows 8 to 256 bytes.
const NONCE_LEN: usize = 32;

/// The constant part of an ISAKMP SA, its path, and what it has answered.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) policy: Arc<Policy>,
    pub(super) cookies: Cookies,
    pub(super) is_initiator: bool,
    /// Where the last fresh authentic message came to and from.
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) replies: Replies,
    pub(super) last_sent: Instant,
    next_token: u64,
    /// Quick modes that we have begun.
    quick_modes: u32,
}

impl Core {
    pub(super) fn new(
        policy: Arc<Policy>,
        cookies: Cookies,
        is_initiator: bool,
        path: (SocketAddr, SocketAddr),
        now: Instant,
    ) -> Self {
        Self {
            policy,
            cookies,
            is_initiator,
            local: path.0,
            remote: path.1,
            replies: Replies::default(),
            last_sent: now,
            next_token: 0,
            quick_modes: 0,
        }
    }

    /// Who we say we are. RFC 3947 §4: with NAT traversal the port is 0, and 0 is always allowed.
    pub(super) fn own_id(&self, local: SocketAddr) -> Identification {
        let identity = self
            .policy
            .identity
            .clone()
            .unwrap_or_else(|| Identity::from(local.ip()));
        Identification {
            identity,
            protocol: 0,
            port: 0,
        }
    }

    /// RFC 3947 §4: the initiator moves both ports when it sends message 5.
    pub(super) fn float(&mut self) {
        for end in [&mut self.local, &mut self.remote] {
            if end.port() == IKE_PORT {
                end.set_port(NATT_PORT);
            }
        }
    }

    /// Whether ESP in UDP can travel on the path.
    pub(super) fn is_floated(&self) -> bool {
        self.local.port() != IKE_PORT
    }
}

/// A message on its way in, header read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received<'a> {
    pub(super) header: Header,
    pub(super) bytes: &'a [u8],
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) digest: MessageDigest,
}

/// Where an answer belongs: the message it answers, and where that came to and from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) digest: MessageDigest,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl<'a> Received<'a> {
    pub(super) fn origin(&self) -> Origin {
        Origin {
            digest: self.digest,
            local: self.local,
            remote: self.remote,
        }
    }

    /// Everything behind the header.
    pub(super) fn body(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }
}

/// One call from outside: what time it is, and where the results go.
pub(super) struct Turn<'a> {
    pub(super) now: Instant,
    pub(super) core: &'a mut Core,
    pub(super) env: &'a mut dyn Environment,
    pub(super) out: &'a mut Vec<Output>,
}

impl Turn<'_> {
    /// Sends along the path.
    pub(super) fn send(&mut self, message: Vec<u8>) {
        self.send_from_to(self.core.local, self.core.remote, message);
    }

    /// RFC 3947 §3: an answer goes to where the request came from, from where it came to.
    pub(super) fn answer(&mut self, origin: Origin, message: Vec<u8>) {
        self.core
            .replies
            .answer(self.now, origin.digest, message.clone());
        self.send_from_to(origin.local, origin.remote, message);
    }

    pub(super) fn send_from_to(&mut self, local: SocketAddr, remote: SocketAddr, message: Vec<u8>) {
        self.core.last_sent = self.now;
        self.out.push(Output::Send {
            local,
            remote,
            message,
        });
    }

    /// Asks for public-key work.
    pub(super) fn compute(&mut self, job: Job) -> u64 {
        let token = self.core.next_token;
        self.core.next_token += 1;
        self.out.push(Output::Compute { token, job });
        token
    }

    pub(super) fn nonce(&mut self) -> Vec<u8> {
        let habits = self.core.policy.habits.as_ref();
        let mut nonce = vec![0; habits.map_or(NONCE_LEN, |habits| habits.nonce_octets)];
        self.env.random(&mut nonce);
        nonce
    }

    /// The number of the quick mode that begins, if we are somebody who counts them.
    pub(super) fn count_quick_mode(&mut self) -> Option<u32> {
        let core = &mut *self.core;
        let counts = core.policy.habits.as_ref()?.counts_quick_modes;
        core.quick_modes += 1;
        counts.then_some(core.quick_modes)
    }

    /// The random bytes of a private value.
    pub(super) fn private(&mut self) -> [u8; 64] {
        let mut random = [0; 64];
        self.env.random(&mut random);
        random
    }

    pub(super) fn random_u32(&mut self) -> u32 {
        let mut random = [0; 4];
        self.env.random(&mut random);
        u32::from_be_bytes(random)
    }
}
