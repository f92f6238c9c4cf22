use std::time::Duration;

use crypto::Random;
use crypto::Secret;
use ppp::UserSecret;

use super::verification::Stage;
use super::*;
use crate::tests::start;

const QUARANTINE: Duration = Duration::from_secs(60);

#[test]
fn addresses_are_leased_once_and_own_and_fixed_ones_to_nobody_else() {
    let mut pools = pools("10.0.0.0/29", &["10.0.0.4"]);
    let now = start();
    let leases: Vec<_> = (0..4)
        .map(|n| pools.lease(now, &format!("user{n}"), &[0]).unwrap())
        .collect();
    let addresses: Vec<_> = leases
        .iter()
        .map(|lease| lease.address().to_string())
        .collect();
    // .0 and .7 are no hosts, .1 is ours, .4 is fixed.
    assert_eq!(addresses, ["10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"]);
    assert_eq!(pools.lease(now, "late", &[0]), Err(NoLease::Exhausted));
    assert_eq!(pools.lease(now, "late", &[]), Err(NoLease::NoPool));
    let fixed = pools.lease_fixed(0, ip("10.0.0.4")).unwrap();
    assert_eq!(
        pools.lease_fixed(0, ip("10.0.0.4")),
        Err(NoLease::InUse(ip("10.0.0.4")))
    );
    let row = &pools.rows(now)[0];
    assert_eq!(row.exhausted, 1);
    // Ours is left: the fixed one is leased.
    assert_eq!(
        row.size,
        row.reserved + row.leased + row.quarantined + row.free
    );
    assert_eq!((row.reserved, row.leased), (1, 5));
    assert!(verify(&pools, leases.iter().chain([&fixed])).is_empty());
    assert_eq!(verify(&pools, leases.iter()).len(), 1);
}

#[test]
fn a_user_who_redials_gets_the_same_address_even_out_of_quarantine() {
    let mut pools = pools("10.0.0.0/28", &[]);
    let now = start();
    let [ann, bob] = ["ann", "bob"].map(|user| pools.lease(now, user, &[0]).unwrap());
    let [of_ann, of_bob] = [ann.address(), bob.address()];
    pools.release(now, bob);
    pools.release(now, ann);
    let ann = pools.lease(now + QUARANTINE / 2, "ann", &[0]).unwrap();
    assert_eq!(ann.address(), of_ann);
    let long_after = now + QUARANTINE * 10;
    let bob = pools.lease(long_after, "bob", &[0]).unwrap();
    assert_eq!(bob.address(), of_bob);
    assert!(verify(&pools, [&ann, &bob].into_iter()).is_empty());
}

#[test]
fn an_address_rests_before_somebody_else_gets_it() {
    let mut pools = pools("10.0.0.0/30", &[]);
    let now = start();
    let lease = pools.lease(now, "ann", &[0]).unwrap();
    pools.release(now, lease);
    let just_before = now + QUARANTINE - Duration::from_nanos(1);
    assert_eq!(
        pools.lease(just_before, "bob", &[0]),
        Err(NoLease::Exhausted)
    );
    let lease = pools.lease(now + QUARANTINE, "bob", &[0]).unwrap();
    pools.release(now + QUARANTINE, lease);
    // Bob had it last, so Ann's claim is gone.
    assert_eq!(
        pools.lease(now + QUARANTINE, "ann", &[0]),
        Err(NoLease::Exhausted)
    );
}

#[test]
fn a_fixed_address_outside_every_pool_is_leased_once() {
    let mut pools = pools("10.0.0.0/30", &["192.0.2.7"]);
    let lease = pools.lease_fixed(0, ip("192.0.2.7")).unwrap();
    assert_eq!(
        pools.lease_fixed(0, ip("192.0.2.7")),
        Err(NoLease::InUse(ip("192.0.2.7")))
    );
    assert!(verify(&pools, [&lease].into_iter()).is_empty());
    pools.release(start(), lease);
    assert!(verify(&pools, [].into_iter()).is_empty());
}

#[test]
fn several_ranges_and_pools_are_used_in_order() {
    let users = [];
    let mut first = pool("first", "10.0.0.0/30");
    first
        .ranges
        .push("10.9.9.9/32".parse::<ipnet::IpNet>().unwrap().into());
    let mut pools = Pools::new(&[first, pool("second", "2001:db8::/126")], &users);
    let now = start();
    let addresses: Vec<_> = (0..4)
        .map(|n| pools.lease(now, &n.to_string(), &[0, 1]).unwrap())
        .map(|lease| lease.address().to_string())
        .collect();
    assert_eq!(
        addresses,
        ["10.0.0.2", "10.9.9.9", "2001:db8::", "2001:db8::1"]
    );
}

/// Leases come and go between the pages.
#[test]
fn a_verification_under_way_is_not_mistaken_about_what_changes_meanwhile() {
    let mut pools = pools("10.0.0.0/26", &[]);
    let now = start();
    let mut leases: Vec<Lease> = (0..40)
        .map(|n| pools.lease(now, &n.to_string(), &[0]).unwrap())
        .collect();
    let lost = leases.pop().unwrap();
    let mut verification = pools.begin_verification();
    pools.release(now, leases.pop().unwrap());
    for lease in &leases {
        pools.verify_lease(lease, &mut verification);
    }
    let mut stage = Stage::Books(0, 0);
    while let Stage::Books(pool, index) = stage {
        pools.release(now, leases.pop().unwrap());
        leases.insert(0, pools.lease(now, "late", &[0]).unwrap());
        stage = pools.verify_books((pool, index), 7, &mut verification);
    }
    let fault = format!(
        "{} in pool pool: leased, but no session has it",
        lost.address()
    );
    assert_eq!(verification.faults, [fault]);
}

#[test]
fn whatever_is_leased_and_released_free_and_used_add_up() {
    const STEPS: usize = 20_000;
    let mut pools = pools("10.0.0.0/26", &[]);
    let mut random = Random::from_seed([3; 32]);
    let mut now = start();
    let mut held: Vec<Lease> = Vec::new();
    for step in 0..STEPS {
        now += Duration::from_millis(random.below(4000).into());
        if random.below(2) == 0 {
            let user = random.below(90).to_string();
            held.extend(pools.lease(now, &user, &[0]));
        } else if !held.is_empty() {
            let lease = held.swap_remove(random.below(held.len() as u32) as usize);
            pools.release(now, lease);
        }
        if step % 500 == 0 {
            assert_eq!(verify(&pools, held.iter()), Vec::<String>::new());
            let row = &pools.rows(now)[0];
            assert_eq!(row.size, row.free + row.quarantined + row.leased + 1);
        }
    }
    for lease in held.drain(..) {
        pools.release(now, lease);
    }
    let row = &pools.rows(now + QUARANTINE)[0];
    assert_eq!((row.free, row.leased), (61, 0));
}

/// The whole of a verification, in pages of seven.
fn verify<'a>(pools: &Pools, leases: impl Iterator<Item = &'a Lease>) -> Vec<String> {
    let mut verification = pools.begin_verification();
    leases.for_each(|lease| pools.verify_lease(lease, &mut verification));
    let mut stage = Stage::Books(0, 0);
    while let Stage::Books(pool, index) = stage {
        stage = pools.verify_books((pool, index), 7, &mut verification);
    }
    verification.faults
}

fn pools(prefix: &str, fixed: &[&str]) -> Pools {
    let users: Vec<_> = fixed
        .iter()
        .map(|address| settings::User {
            address: Some(ip(address)),
            ..settings::User::new("fixed", UserSecret::Password(Secret::new("x")))
        })
        .collect();
    Pools::new(&[pool("pool", prefix)], &users)
}

fn pool(name: &str, prefix: &str) -> settings::Pool {
    let prefix: ipnet::IpNet = prefix.parse().unwrap();
    settings::Pool {
        name: name.to_owned(),
        vrf: 0,
        ranges: vec![prefix.into()],
        gateway: ip("10.0.0.1"),
        dns: Vec::new(),
        wins: Vec::new(),
        quarantine: QUARANTINE,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
