//! The deterministic simulation of the whole control plane.

use tests::run;

/// Seeds of a run by default.
const SEEDS: u64 = 4;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_a_seed_brings_everybody_is_connected_in_the_end_and_nothing_is_left() {
    let begin = number("FROM").unwrap_or(0);
    let count = number("SEEDS").unwrap_or(SEEDS);
    let (summaries, failures) = run::all(begin..begin + count, 2);
    for failure in &failures {
        println!("{}", failure.story);
    }
    let seeds: Vec<u64> = failures.iter().map(|failure| failure.seed).collect();
    assert!(failures.is_empty(), "{} passed, failed: {seeds:?}", summaries.len());
}

/// `SEED=17 cargo test -p tests one_seed`: one seed, with its story if it fails.
#[test]
fn one_seed() {
    let seed = number("SEED").unwrap_or(0);
    match run::attempt(seed) {
        Ok(summary) => println!("{summary:?}"),
        Err(failure) => panic!("{}", failure.story),
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run::hour(1), run::hour(1));
    assert_ne!(run::hour(1).digest, run::hour(2).digest);
}
