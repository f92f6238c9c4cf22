//! What the gateway and its clients are told.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use control::Settings;
use control::settings::{Limits, Listener, Pool, Profile, User};
use crypto::Secret;
use crypto::cipher::Algorithm;
use crypto::dh::Group;
use crypto::hash::Hash;
use ike::Policy;
use ike::policy::{Phase1Proposal, Psk};
use l2tp::CallParameters;
use lab::client;
use ppp::{Method, UserSecret};

use crate::subscriber::{PLAIN, SECURE};

const PASSWORD: &str = "open sesame";
const PSK: &str = "a key that both know";
/// Longer than any run.
const NEVER: Duration = Duration::from_secs(1_000_000);
/// As many as anybody may want here.
const MANY: usize = 1 << 20;

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A session of plain L2TP.
    Plain,
    /// An ISAKMP SA and a pair of IPsec SAs, nothing more.
    Ike(Group),
    /// A session in IPsec.
    Secured(Group),
}

impl Call {
    /// Whom client `number` dials.
    pub(super) fn server(self, number: usize) -> IpAddr {
        match self {
            Self::Plain => Ipv4Addr::from(u32::from(PLAIN) + (number / CLIENTS) as u32).into(),
            Self::Ike(_) | Self::Secured(_) => SECURE.into(),
        }
    }

    /// The number of the listener there.
    pub(super) fn listener(self, number: usize) -> u16 {
        match self {
            Self::Plain => 1 + (number / CLIENTS) as u16,
            Self::Ike(_) | Self::Secured(_) => 0,
        }
    }

    pub(super) fn has_session(self) -> bool {
        !matches!(self, Self::Ike(_))
    }

    pub(super) fn group(self) -> Option<Group> {
        match self {
            Self::Plain => None,
            Self::Ike(group) | Self::Secured(group) => Some(group),
        }
    }
}

/// Where client `number` is.
pub(super) fn inside(number: usize) -> IpAddr {
    Ipv4Addr::from(0x6440_0000 + number as u32).into()
}

fn user(number: usize) -> String {
    format!("user{number}")
}

fn policy(group: Group) -> Policy {
    Policy {
        phase1: vec![Phase1Proposal {
            cipher: Algorithm::Aes256Cbc,
            hash: Hash::Sha1,
            group,
        }],
        psks: vec![Psk {
            peer: None,
            identity: None,
            key: Secret::new(PSK),
        }],
        phase1_lifetime: NEVER,
        phase2_lifetime: NEVER,
        rekey: false,
        dpd: None,
        ..Policy::modern()
    }
}

/// Clients of a listener: in the clear each has a tunnel, whose ids have 16 bits.
const CLIENTS: usize = 50_000;

/// The gateway's, with so many users.
pub(super) fn gateway(call: Call, users: usize) -> Settings {
    let listener = |number| Listener {
        index: call.listener(number),
        name: format!("listener{number}"),
        address: call.server(number),
        vrf: 0,
        ipsec_required: call.group().is_some(),
        ike: call.group().map(|group| Arc::new(policy(group))),
        l2tp: Arc::new(l2tp::Settings {
            hello_interval: Some(Duration::from_secs(60)),
            ..l2tp::Settings::default()
        }),
        ppp: ppp::Settings {
            auth: vec![Method::MsChapV2],
            echo_interval: Duration::from_secs(30),
            ..ppp::Settings::server("gateway")
        },
        profile: "home".to_owned(),
        data_checksum: false,
    };
    let listeners = match call {
        Call::Plain => (0..users.max(1)).step_by(CLIENTS).map(listener).collect(),
        Call::Ike(_) | Call::Secured(_) => vec![listener(0)],
    };
    let entry = |number| {
        let secret = UserSecret::Password(Secret::new(PASSWORD));
        User::new(&user(number), secret)
    };
    Settings {
        listeners,
        pools: vec![pool()],
        profiles: vec![Profile::new("home", "pool")],
        users: (0..users).map(entry).collect(),
        limits: Limits {
            peers: MANY,
            tunnels: MANY,
            sessions: MANY,
            ..Limits::default()
        },
        ..Settings::default()
    }
}

/// The same, but nobody is asked for a sign of life.
pub(super) fn patient(mut settings: Settings) -> Settings {
    for listener in &mut settings.listeners {
        listener.ppp.echo_interval = NEVER;
        listener.l2tp = Arc::new(l2tp::Settings {
            hello_interval: Some(NEVER),
            ..l2tp::Settings::clone(&listener.l2tp)
        });
    }
    settings
}

fn pool() -> Pool {
    let range: ipnet::IpNet = "10.64.0.0/14".parse().expect("a prefix");
    Pool {
        name: "pool".to_owned(),
        vrf: 0,
        ranges: vec![range.into()],
        gateway: Ipv4Addr::new(10, 64, 0, 1).into(),
        dns: Vec::new(),
        wins: Vec::new(),
        quarantine: Duration::from_secs(60),
    }
}

/// Those of client `number`: it answers, and never begins anything by itself.
pub(super) fn client(call: Call, number: usize) -> client::Settings {
    let password = Secret::new(PASSWORD);
    client::Settings {
        ipsec: call.group().map(|group| Arc::new(policy(group))),
        l2tp: Arc::new(l2tp::Settings {
            host_name: format!("host{number}"),
            hello_interval: None,
            ..l2tp::Settings::default()
        }),
        call: CallParameters::default(),
        ppp: Arc::new(ppp::Settings {
            auth: vec![Method::MsChapV2],
            echo_interval: NEVER,
            ..ppp::Settings::client(&user(number), password)
        }),
        habits: client::Habits::default(),
        setup_limit: Duration::from_secs(600),
    }
}
