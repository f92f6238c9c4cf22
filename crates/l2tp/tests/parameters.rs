//! Everything that a LAC says about a call reaches the LNS, in clear and hidden.

use std::sync::Arc;
use std::time::Instant;

use crypto::{Random, Secret};
use l2tp::{
    CallParameters, Output, Proxy, ProxyAuthentication, ProxyLcp, SessionId, Settings, Tunnel,
    TunnelId,
};
use proptest::prelude::*;

/// Two tunnels without a wire between them.
struct Pair {
    lac: Tunnel,
    lns: Tunnel,
    random: Random,
    now: Instant,
    events: Vec<Output>,
}

impl Pair {
    #[allow(
        clippy::disallowed_methods,
        reason = "an origin for the clock of a test"
    )]
    fn new(settings: Settings) -> Self {
        let (settings, now) = (Arc::new(settings), Instant::now());
        let mut random = Random::from_seed([3; 32]);
        let mut out = Vec::new();
        let lac = Tunnel::dial(
            Arc::clone(&settings),
            TunnelId(1),
            now,
            &mut random,
            &mut out,
        );
        let lns = Tunnel::answer(settings, TunnelId(2), now);
        let mut pair = Self {
            lac,
            lns,
            random,
            now,
            events: Vec::new(),
        };
        pair.carry(out, Vec::new());
        pair
    }

    /// Carries messages to and fro until there are none; the LNS takes every call.
    fn carry(&mut self, mut from_lac: Vec<Output>, mut from_lns: Vec<Output>) {
        while !(from_lac.is_empty() && from_lns.is_empty()) {
            let (mut to_lns, mut to_lac) = (Vec::new(), Vec::new());
            for output in from_lac.drain(..) {
                if let Output::Send(message) = output {
                    let taken =
                        self.lns
                            .handle_input(self.now, &message, &mut self.random, &mut to_lac);
                    assert_eq!(taken, Ok(()));
                }
            }
            for output in from_lns.drain(..) {
                if let Output::Send(message) = output {
                    let taken =
                        self.lac
                            .handle_input(self.now, &message, &mut self.random, &mut to_lns);
                    assert_eq!(taken, Ok(()));
                    continue;
                }
                if let Output::CallOffered { peer_session, .. } = &output {
                    let (ours, now) = (SessionId(0x2222), self.now);
                    self.lns.accept_call(now, *peer_session, ours, &mut to_lac);
                }
                self.events.push(output);
            }
            (from_lac, from_lns) = (to_lns, to_lac);
        }
    }

    fn place(&mut self, call: CallParameters) {
        let mut out = Vec::new();
        self.lac
            .place_call(self.now, SessionId(0x1111), call, &mut out);
        self.carry(out, Vec::new());
    }
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 1..60)
}

fn text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("[ -~]{0,40}")
}

fn authentication() -> impl Strategy<Value = ProxyAuthentication> {
    (0..5, octets(), any::<u8>(), octets(), octets()).prop_map(
        |(kind, name, id, challenge, response)| match kind {
            0 => ProxyAuthentication::Text { name, response },
            1 => ProxyAuthentication::Chap {
                name,
                id,
                challenge,
                response,
            },
            2 => ProxyAuthentication::Pap { name, id, response },
            3 => ProxyAuthentication::None,
            _ => ProxyAuthentication::MsChapV1 {
                name,
                id,
                challenge,
                response,
            },
        },
    )
}

fn proxy() -> impl Strategy<Value = Option<Box<Proxy>>> {
    let lcp =
        (octets(), octets(), octets()).prop_map(|(initial_received, last_sent, last_received)| {
            ProxyLcp {
                initial_received,
                last_sent,
                last_received,
            }
        });
    let both = (
        proptest::option::of(lcp),
        proptest::option::of(authentication()),
    );
    both.prop_map(|(lcp, authentication)| {
        let proxy = Proxy {
            lcp,
            authentication,
        };
        (proxy != Proxy::default()).then(|| Box::new(proxy))
    })
}

fn call() -> impl Strategy<Value = CallParameters> {
    let numbers = (text(), text(), text(), text());
    let rates = (
        any::<u32>(),
        any::<u32>(),
        any::<Option<u32>>(),
        any::<Option<u32>>(),
    );
    (numbers, rates, 1..4_u32, any::<bool>(), proxy()).prop_map(
        |(
            (calling_number, called_number, sub_address, private_group),
            (serial, tx_speed, rx_speed, bearer_type),
            framing_type,
            sequencing_required,
            proxy,
        )| CallParameters {
            serial,
            bearer_type,
            calling_number,
            called_number,
            sub_address,
            tx_speed,
            rx_speed,
            framing_type,
            private_group,
            proxy,
            sequencing_required,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_the_lac_says_is_what_the_lns_hears(call in call(), hide_avps: bool) {
        let settings = Settings {
            secret: Some(Secret::new(*b"secret")),
            require_tunnel_auth: true,
            hide_avps,
            ..Settings::default()
        };
        let mut pair = Pair::new(settings);
        pair.place(call.clone());
        let offered = Output::CallOffered {
            peer_session: SessionId(0x1111),
            serial: call.serial,
            calling_number: call.calling_number,
            called_number: call.called_number,
            sub_address: call.sub_address,
            correlation_id: None,
        };
        let up = Output::CallUp {
            session: SessionId(0x2222),
            peer_session: SessionId(0x1111),
            tx_speed: call.tx_speed,
            rx_speed: call.rx_speed,
            private_group: call.private_group,
            proxy: call.proxy,
            sequencing_required: call.sequencing_required,
        };
        prop_assert_eq!(&pair.events[1..], &[offered, up]);
    }
}
