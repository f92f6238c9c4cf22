//! Who dials in: clients of every kind, some of them behind one NAT.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use crypto::esp::{Integrity, Suite};

use super::SETUP_LIMIT;
use crate::cli::{Addresses, ClientArguments, Demo, Encapsulation};
use crate::client::Client;
use crate::clock;
use crate::fleet::{ClientId, Fleet, Outside};
use crate::seed::seed;
use crate::sockets::free_ports;
use crate::summary::KindCount;

/// One kind of client.
pub(super) struct Kind {
    pub(super) name: &'static str,
    encapsulation: Encapsulation,
    suite: Suite,
}

const GCM: Suite = Suite::AesGcm16 { key_bits: 128 };
const SHA1: Suite = Suite::AesCbc {
    key_bits: 128,
    integrity: Integrity::HmacSha1_96,
};
const SHA1_256: Suite = Suite::AesCbc {
    key_bits: 256,
    integrity: Integrity::HmacSha1_96,
};

/// The clients are of these kinds in turn.
const KINDS: [Kind; 6] = [
    Kind {
        name: "plain L2TP",
        encapsulation: Encapsulation::Plain,
        suite: GCM,
    },
    Kind {
        name: "ESP aes128gcm16",
        encapsulation: Encapsulation::Esp,
        suite: GCM,
    },
    Kind {
        name: "NAT-T aes128gcm16",
        encapsulation: Encapsulation::Natt,
        suite: GCM,
    },
    Kind {
        name: "ESP aes128-sha1",
        encapsulation: Encapsulation::Esp,
        suite: SHA1,
    },
    Kind {
        name: "NAT-T aes128-sha1",
        encapsulation: Encapsulation::Natt,
        suite: SHA1,
    },
    Kind {
        name: "ESP aes256-sha1",
        encapsulation: Encapsulation::Esp,
        suite: SHA1_256,
    },
];

/// Behind the NAT every client believes it has this address: a home router's first lease.
const AT_HOME: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 100);
/// Between two clients that begin.
const PACE: Duration = Duration::from_millis(10);

/// Clients of every kind: hosts with an address each, and as many behind one NAT.
pub(super) fn fleet(arguments: &Demo) -> Result<Fleet> {
    let hosts: Vec<Ipv4Addr> = arguments
        .local
        .iter()
        .flat_map(|Addresses(list)| list.clone())
        .collect();
    if hosts.len() < arguments.clients {
        bail!(
            "{} clients need as many addresses; --local has {}",
            arguments.clients,
            hosts.len()
        );
    }
    let mut ports = free_ports(2 * arguments.clients)?.into_iter();
    let mut fleet = Fleet::new(arguments.target, seed()?);
    let begin = clock::now() + PACE;
    for (number, host) in hosts.iter().take(arguments.clients).enumerate() {
        let kind = &KINDS[number % KINDS.len()];
        let settings = client(arguments, kind).settings(number + 1, kind.encapsulation);
        let (inside, outside) = match (kind.encapsulation, ports.next(), ports.next()) {
            (Encapsulation::Natt, Some(ike), Some(natt)) => (
                AT_HOME,
                Outside {
                    ike,
                    natt,
                    ..Outside::host(arguments.nat)
                },
            ),
            _ => (*host, Outside::host(*host)),
        };
        let begin = begin + PACE * number as u32;
        if fleet
            .add(Arc::new(settings), inside, outside, begin)
            .is_none()
        {
            bail!("{} is in --local and --nat", arguments.nat);
        }
    }
    Ok(fleet)
}

fn client(arguments: &Demo, kind: &Kind) -> ClientArguments {
    ClientArguments {
        psk: arguments.psk.clone(),
        user: arguments.user.clone(),
        password: arguments.password.clone(),
        suite: vec![kind.suite],
        timeout: SETUP_LIMIT,
        ..ClientArguments::default()
    }
}

/// What a client is.
pub(super) fn kind(id: ClientId) -> &'static Kind {
    &KINDS[id.0 as usize % KINDS.len()]
}

/// How many there are of each kind, and how many are up.
pub(super) fn kinds<'c>(clients: impl Iterator<Item = &'c Client>) -> Vec<KindCount> {
    let mut counts: Vec<KindCount> = KINDS.iter().map(|kind| KindCount::new(kind.name)).collect();
    for (client, number) in clients.zip(0..) {
        let count = &mut counts[number % KINDS.len()];
        count.asked += 1;
        count.up += usize::from(client.lease().is_some());
    }
    counts
}
