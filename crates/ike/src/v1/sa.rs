//! The ISAKMP SA: what the owner holds and calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crypto::dh::Outcome;

use crate::{Cookie, Cookies, Environment, Identity, Output, Policy, Refusal, Spi};

/// IPsec SA pairs on their way from one ISAKMP SA to its successor.
#[derive(Debug, Default)]
pub struct LiveChildren {}

/// One ISAKMP SA and the quick modes under it.
#[derive(Debug)]
pub struct Sa {
    policy: Arc<Policy>,
    cookies: Cookies,
}

#[allow(unused_variables, clippy::too_many_arguments, missing_docs)]
impl Sa {
    pub fn respond(
        policy: Arc<Policy>,
        cookie: Cookie,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Self {
        Self {
            policy,
            cookies: Cookies {
                initiator: Cookie::ZERO,
                responder: cookie,
            },
        }
    }
    pub fn initiate(
        policy: Arc<Policy>,
        cookie: Cookie,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) -> Self {
        Self {
            policy,
            cookies: Cookies {
                initiator: cookie,
                responder: Cookie::ZERO,
            },
        }
    }
    pub fn handle_input(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        message: &[u8],
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        Err(Refusal::Unexpected)
    }
    pub fn handle_computed(
        &mut self,
        now: Instant,
        token: u64,
        outcome: Outcome,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
    }
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
    }
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }
    /// Starts a quick mode: the first IPsec SA pair, or the next one.
    pub fn create_child(&mut self, now: Instant, env: &mut dyn Environment, out: &mut Vec<Output>) {
    }
    pub fn delete_child(
        &mut self,
        now: Instant,
        inbound: Spi,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
    }
    pub fn close(&mut self, now: Instant, env: &mut dyn Environment, out: &mut Vec<Output>) {}
    /// Authentic ESP came from the peer at this time.
    pub fn saw_traffic(&mut self, at: Instant) {}
    /// ESP came over this pair, so the peer has it, even if quick mode message 3 was lost.
    pub fn saw_child_traffic(&mut self, now: Instant, inbound: Spi, out: &mut Vec<Output>) {}
    pub fn take_children(&mut self) -> LiveChildren {
        LiveChildren {}
    }
    pub fn adopt_children(&mut self, now: Instant, children: LiveChildren) {}
    pub fn cookies(&self) -> Cookies {
        self.cookies
    }
    pub fn identity(&self) -> Option<&Identity> {
        None
    }
    pub fn is_established(&self) -> bool {
        false
    }
    /// The ISAKMP SA has ended; it may still hold living children.
    pub fn is_down(&self) -> bool {
        false
    }
}
