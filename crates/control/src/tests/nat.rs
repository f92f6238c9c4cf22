//! Clients behind NATs, which all have the same private address.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use dataplane::change::Encapsulation;
use ike::Policy;

use super::secured::{policy, secured};
use super::world::World;

const A_SECOND: Duration = Duration::from_secs(1);
/// As most home routers number.
const PRIVATE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);

/// Clients that look alike from outside but for their ports, and alike from inside.
fn behind_one_nat(clients: u32) -> World {
    let mut world = secured(clients);
    for (n, client) in world.clients.iter_mut().enumerate() {
        client.address = Ipv4Addr::new(203, 0, 113, 7);
        client.nat = Some((PRIVATE, ports(n as u16)));
    }
    world
}

fn ports(n: u16) -> [u16; 2] {
    [20_000 + 2 * n, 20_001 + 2 * n]
}

// conformance: 3947-24
#[test]
fn clients_behind_one_nat_with_one_private_address_do_not_disturb_each_other() {
    const CLIENTS: usize = 50;
    let mut world = behind_one_nat(CLIENTS as u32);
    for client in &mut world.clients {
        let policy = Policy {
            initial_contact: true,
            ..policy()
        };
        client.policy = Some(Arc::new(policy));
    }
    (0..CLIENTS).for_each(|n| world.dial(n));
    assert!((0..CLIENTS).all(|n| world.inner(n).is_some()));
    assert_eq!(world.fast.paths.len(), CLIENTS);
    for path in world.fast.paths.values() {
        assert_eq!(path.encapsulation, Encapsulation::EspInUdp);
    }
    // One after the other starts anew, and the others stay.
    for n in 0..CLIENTS {
        world.clients[n].crash();
        world.dial(n);
        world.run(A_SECOND);
        assert!((0..CLIENTS).all(|n| world.inner(n).is_some()));
    }
    assert_eq!(world.fast.paths.len(), CLIENTS);
    assert_eq!(world.fast.sessions.len(), CLIENTS);
}

#[test]
fn a_nat_that_gives_out_new_ports_does_not_end_a_session() {
    let mut world = behind_one_nat(2);
    world.dial(0);
    world.dial(1);
    let address = world.inner(0);
    world.run(Duration::from_secs(100));
    world.clients[0].nat = Some((PRIVATE, ports(100)));
    world.run(Duration::from_secs(1000));
    assert_eq!(world.inner(0), address);
    assert!(world.inner(1).is_some());
    let outer = world.clients[0].outer(4500);
    assert!(world.fast.paths.values().any(|path| path.remote == outer));
    // And a new main mode from there still joins the same peer.
    let now = world.now;
    world.clients[0].dial_ike(now);
    world.run(A_SECOND);
    assert_eq!(world.fast.paths.len(), 2);
    assert_eq!(world.lines.with("authenticated anew").len(), 1);
}
