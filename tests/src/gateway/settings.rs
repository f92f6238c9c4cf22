//! What the gateway under test is told: two listeners, one pool, limits that are met.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use control::Settings;
use control::settings::{Limits, Listener, Pool, Profile, Rekey, User};
use crypto::Secret;
use dataplane::id::{SHARDS, WorkerId};
use ike::Policy;
use ike::policy::{Dpd, Phase1Proposal, Psk};
use ppp::{Method, UserSecret};

use crate::tuning::Tuning;

/// Where IPsec is required.
pub const SECURE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The number of the listener at [`SECURE`].
pub const SECURE_LISTENER: u16 = 0;
/// The number of the listener at [`PLAIN`].
pub const PLAIN_LISTENER: u16 = 1;
/// Where plain L2TP is served.
pub const PLAIN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The gateway's address inside the tunnels.
pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
/// A host in the network behind the gateway.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);

/// The key of phase 1.
pub const PSK: &str = "simulated";
/// What a welcome subscriber says.
pub const PASSWORD: &str = "open sesame";

/// Slots that a shard has of each kind: few, so that they are used again.
pub const SLOTS_PER_SHARD: u32 = 64;
/// How long an address rests.
pub const QUARANTINE: Duration = Duration::from_secs(60);

/// The name of subscriber `index`.
#[must_use]
pub fn user(index: usize) -> String {
    format!("user{index}")
}

/// Every tenth subscriber has an address of its own.
#[must_use]
pub fn fixed_address(index: usize) -> Option<Ipv4Addr> {
    (index % 10 == 3).then(|| Ipv4Addr::new(10, 64, 9, index as u8))
}

/// The slow path's settings for a run with so many subscribers.
#[must_use]
pub fn settings(tuning: &Tuning, subscribers: usize) -> Settings {
    Settings {
        listeners: vec![
            listener(
                SECURE_LISTENER,
                SECURE,
                Some(Arc::new(policy(tuning))),
                tuning,
            ),
            listener(PLAIN_LISTENER, PLAIN, None, tuning),
        ],
        pools: vec![Pool {
            name: "pool".to_owned(),
            vrf: 0,
            ranges: vec![
                "10.64.0.0/16"
                    .parse::<ipnet::IpNet>()
                    .expect("a prefix")
                    .into(),
            ],
            gateway: OWN.into(),
            dns: vec![OWN.into()],
            wins: Vec::new(),
            quarantine: QUARANTINE,
        }],
        profiles: vec![Profile::new("home", "pool")],
        users: (0..subscribers).map(entry).collect(),
        limits: limits(),
        owners: std::array::from_fn(|shard| WorkerId(shard as u8 % tuning.workers)),
        rekey: Rekey {
            soft_packets: tuning.soft_packets,
            ..Rekey::default()
        },
        ..Settings::default()
    }
}

const _: () = assert!(SHARDS == 64);

fn entry(index: usize) -> User {
    let secret = UserSecret::Password(Secret::new(PASSWORD));
    User {
        address: fixed_address(index).map(IpAddr::V4),
        ..User::new(&user(index), secret)
    }
}

fn listener(index: u16, address: Ipv4Addr, ike: Option<Arc<Policy>>, tuning: &Tuning) -> Listener {
    Listener {
        index,
        name: format!("listener{index}"),
        address: address.into(),
        vrf: 0,
        ipsec_required: ike.is_some(),
        ike,
        l2tp: Arc::new(l2tp::Settings {
            hello_interval: Some(tuning.hello),
            ..l2tp::Settings::default()
        }),
        ppp: ppp::Settings {
            auth: vec![Method::MsChapV2, Method::ChapMd5, Method::Pap],
            echo_interval: tuning.echo,
            ..ppp::Settings::server("gateway")
        },
        profile: "home".to_owned(),
        data_checksum: false,
    }
}

/// What both ends have in common.
#[must_use]
pub fn policy(tuning: &Tuning) -> Policy {
    let modern = Policy::modern();
    Policy {
        phase1: vec![Phase1Proposal {
            group: tuning.group,
            ..modern.phase1[0]
        }],
        psks: vec![Psk {
            peer: None,
            identity: None,
            key: Secret::new(PSK),
        }],
        phase1_lifetime: tuning.phase1,
        phase2_lifetime: tuning.phase2,
        dpd: Some(Dpd {
            interval: tuning.dpd,
            retry: Duration::from_secs(5),
            tries: 5,
        }),
        ..modern
    }
}

fn limits() -> Limits {
    Limits {
        half_open_ike: 40,
        half_open_ike_per_source: 16,
        half_open_l2tp: 40,
        half_open_l2tp_per_source: 8,
        computations: 8,
        backlog: 64,
        slots_per_shard: SLOTS_PER_SHARD,
        ..Limits::default()
    }
}
