//! Two tunnels, their owners, and the wire between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::Random;
use l2tp::{
    CallEnd, CallParameters, Output, SessionId, Settings, Tunnel, TunnelEnd, TunnelId, peek,
};

/// Which end of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Lac,
    Lns,
}

impl Host {
    fn other(self) -> Self {
        match self {
            Self::Lac => Self::Lns,
            Self::Lns => Self::Lac,
        }
    }
}

/// What the wire does, in percent; delays are drawn from 1 to `delay_ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) loss: u32,
    pub(crate) duplication: u32,
    pub(crate) delay_ms: u32,
}

/// A tunnel and what its owner has seen of it.
pub(crate) struct Side {
    pub(crate) tunnel: Tunnel,
    pub(crate) settings: Arc<Settings>,
    pub(crate) is_up: bool,
    pub(crate) tunnel_end: Option<TunnelEnd>,
    pub(crate) calls_up: usize,
    pub(crate) calls_down: Vec<CallEnd>,
    /// Calls placed or accepted.
    pub(crate) calls_known: usize,
    pub(crate) sent: usize,
    living: BTreeSet<SessionId>,
    /// Highest Ns sent and the highest Nr that reached us, to check the window.
    next_ns: u16,
    acknowledged: u16,
}

pub(crate) struct World {
    pub(crate) faults: Faults,
    pub(crate) trace: Vec<String>,
    now: Instant,
    start: Instant,
    random: Random,
    order: u64,
    wire: BTreeMap<(Instant, u64), (Host, Vec<u8>)>,
    sides: BTreeMap<Host, Side>,
}

impl World {
    #[allow(
        clippy::disallowed_methods,
        reason = "an origin for the clock of the simulation"
    )]
    pub(crate) fn new(seed: u64, faults: Faults, lac: Arc<Settings>, lns: Arc<Settings>) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut random = Random::from_seed(bytes);
        let now = Instant::now();
        let mut out = Vec::new();
        let dialling = Tunnel::dial(
            Arc::clone(&lac),
            TunnelId(random.u16() | 1),
            now,
            &mut random,
            &mut out,
        );
        let answering = Tunnel::answer(Arc::clone(&lns), TunnelId(random.u16() | 1), now);
        let sides = BTreeMap::from([
            (Host::Lac, Side::new(dialling, lac)),
            (Host::Lns, Side::new(answering, lns)),
        ]);
        let mut world = Self {
            faults,
            trace: Vec::new(),
            now,
            start: now,
            random,
            order: 0,
            wire: BTreeMap::new(),
            sides,
        };
        world.handle(Host::Lac, out);
        world
    }

    pub(crate) fn side(&self, host: Host) -> &Side {
        &self.sides[&host]
    }

    pub(crate) fn place_calls(&mut self, count: u32) {
        for serial in 0..count {
            let session = self.free_id(Host::Lac);
            let call = CallParameters {
                serial,
                tx_speed: 1_000_000,
                framing_type: 3,
                ..CallParameters::default()
            };
            let now = self.now;
            let side = self.side_mut(Host::Lac);
            side.calls_known += 1;
            side.living.insert(session);
            let mut out = Vec::new();
            side.tunnel.place_call(now, session, call, &mut out);
            self.handle(Host::Lac, out);
        }
    }

    pub(crate) fn hang_up_first(&mut self, host: Host) {
        let now = self.now;
        let mut out = Vec::new();
        let side = self.side_mut(host);
        let first = side.tunnel.calls().next();
        if let Some(session) = first {
            side.tunnel
                .hang_up(now, session, CallEnd::Administrative, &mut out);
        }
        self.handle(host, out);
    }

    pub(crate) fn close(&mut self, host: Host, end: TunnelEnd) {
        let now = self.now;
        let mut out = Vec::new();
        self.side_mut(host).tunnel.close(now, end, &mut out);
        self.handle(host, out);
    }

    /// Steps from event to event until `span` has passed.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.next_event().filter(|next| *next <= end) {
            self.now = next;
            self.deliver();
            self.wake();
        }
        self.now = end;
    }

    fn next_event(&self) -> Option<Instant> {
        let arrival = self.wire.keys().next().map(|(at, _)| *at);
        let deadlines = self
            .sides
            .values()
            .filter_map(|side| side.tunnel.poll_timeout());
        deadlines.map(|(at, _)| at).chain(arrival).min()
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.wire.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (host, message) = entry.remove();
            let now = self.now;
            let mut out = Vec::new();
            let mut random = self.random.fork();
            let side = self.side_mut(host);
            if let Some((_, nr)) = peek(&message).expect("our own header").sequence
                && nr.wrapping_sub(side.acknowledged) < 0x8000
            {
                side.acknowledged = nr;
            }
            let taken = side
                .tunnel
                .handle_input(now, &message, &mut random, &mut out);
            self.trace
                .push(format!("{:?} {host:?} {taken:?}", now - self.start));
            self.handle(host, out);
        }
    }

    fn wake(&mut self) {
        for host in [Host::Lac, Host::Lns] {
            let now = self.now;
            let mut random = self.random.fork();
            let side = self.side_mut(host);
            if side.tunnel.poll_timeout().is_none_or(|(at, _)| at > now) {
                continue;
            }
            let mut out = Vec::new();
            side.tunnel.handle_timeout(now, &mut random, &mut out);
            let next = side.tunnel.poll_timeout();
            assert!(
                next.is_none_or(|(at, _)| at > now),
                "deadline stays in the past: {next:?}"
            );
            self.handle(host, out);
        }
    }

    /// What the owner of a tunnel does.
    fn handle(&mut self, host: Host, out: Vec<Output>) {
        for output in out {
            self.trace
                .push(format!("{:?} {host:?} {output:?}", self.now - self.start));
            match output {
                Output::Send(message) => self.transmit(host, message),
                Output::CallOffered { peer_session, .. } => self.accept(host, peer_session),
                event @ (Output::TunnelUp { .. }
                | Output::OfferWithdrawn { .. }
                | Output::CallUp { .. }
                | Output::CallDown { .. }
                | Output::TunnelDown { .. }) => self.side_mut(host).note(event),
            }
        }
    }

    fn accept(&mut self, host: Host, peer_session: SessionId) {
        let session = self.free_id(host);
        let now = self.now;
        let side = self.side_mut(host);
        side.calls_known += 1;
        side.living.insert(session);
        let mut out = Vec::new();
        side.tunnel
            .accept_call(now, peer_session, session, &mut out);
        self.handle(host, out);
    }

    fn transmit(&mut self, host: Host, message: Vec<u8>) {
        let window = self.side(host.other()).settings.receive_window;
        self.side_mut(host).check_window(&message, window);
        for _ in 0..=u32::from(self.random.below(100) < self.faults.duplication) {
            if self.random.below(100) < self.faults.loss {
                continue;
            }
            let delay = 1 + self.random.below(self.faults.delay_ms);
            let at = self.now + Duration::from_millis(delay.into());
            self.order += 1;
            self.wire
                .insert((at, self.order), (host.other(), message.clone()));
        }
    }

    fn free_id(&mut self, host: Host) -> SessionId {
        loop {
            let id = SessionId(self.random.u16());
            if id != SessionId(0) && !self.side(host).living.contains(&id) {
                return id;
            }
        }
    }

    fn side_mut(&mut self, host: Host) -> &mut Side {
        self.sides.get_mut(&host).expect("both hosts exist")
    }
}

impl Side {
    fn new(tunnel: Tunnel, settings: Arc<Settings>) -> Self {
        Self {
            tunnel,
            settings,
            is_up: false,
            tunnel_end: None,
            calls_up: 0,
            calls_down: Vec::new(),
            calls_known: 0,
            sent: 0,
            living: BTreeSet::new(),
            next_ns: 0,
            acknowledged: 0,
        }
    }

    /// The events of a tunnel come in the promised order, and its end once.
    fn note(&mut self, output: Output) {
        assert!(self.tunnel_end.is_none(), "after the end: {output:?}");
        match output {
            Output::TunnelUp { .. } => {
                assert!(!self.is_up, "up twice");
                self.is_up = true;
            }
            Output::CallUp { session, .. } => {
                assert!(self.is_up && self.living.contains(&session));
                self.calls_up += 1;
            }
            Output::CallDown { session, end } => {
                assert!(self.living.remove(&session), "down twice: {session}");
                self.calls_down.push(end);
            }
            Output::TunnelDown { end } => {
                assert!(self.living.is_empty(), "calls outlive their tunnel");
                self.tunnel_end = Some(end);
            }
            Output::OfferWithdrawn { .. } => {}
            Output::Send(_) | Output::CallOffered { .. } => unreachable!("handled by the world"),
        }
    }

    fn check_window(&mut self, message: &[u8], window: u16) {
        self.sent += 1;
        let header = peek(message).expect("our own header");
        let (ns, _) = header.sequence.expect("control");
        if header.is_zlb() {
            return;
        }
        if ns.wrapping_sub(self.next_ns) < 0x8000 {
            self.next_ns = ns.wrapping_add(1);
        }
        let outstanding = self.next_ns.wrapping_sub(self.acknowledged);
        assert!(
            outstanding <= window,
            "{outstanding} outstanding, window {window}"
        );
    }
}
