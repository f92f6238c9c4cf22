//! A blast against a gateway in the same process: its own configuration, threads and packet memory.

#![expect(clippy::unwrap_used, reason = "all of this is test")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use lab::blast::{Outcome, Run};
use lab::cli::{Arguments, Command};
use lab::scenario::Scenario;

const GATEWAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/memory.toml");

/// What comes of a blast with these flags.
fn blast(flags: &str) -> Outcome {
    let line = format!(
        "adit-lab blast --target memory:{GATEWAY} --user lab --psk memory-psk --seed 1 {flags}"
    );
    let Command::Blast(arguments) = Arguments::try_parse_from(line.split_whitespace())
        .unwrap()
        .command
    else {
        panic!("another command");
    };
    let scenario = Scenario::new(&arguments).unwrap();
    let run = Run::new(scenario, Arc::new(AtomicBool::new(false)), true).unwrap();
    run.complete().unwrap()
}

#[test]
fn numbered_packets_are_counted_at_both_ends() {
    let told = blast(
        "--password memory-password --subscribers 6 --rate 200/s --traffic imix:100/s --duration 1s \
         --network-port 198.51.100.1 --max-loss 0 --min-setups 6",
    );
    assert!(told.ok, "{:?} {:?}", told.assertions, told.setup.failures);
    assert_eq!((told.setup.up, told.setup.figures.succeeded), (6, 6));
    let ways: Vec<&str> = told.traffic.iter().map(|way| way.way).collect();
    assert_eq!(ways, ["up", "down"]);
    for way in &told.traffic {
        assert!(way.sent > 0 && way.sent <= 600, "{way:?}");
        assert_eq!(
            (way.received, way.lost, way.duplicated, way.astray),
            (way.sent, 0, 0, 0)
        );
    }
    assert_eq!(told.flows.len(), 12);
    let sum: u64 = told.flows.iter().map(|flow| flow.received).sum();
    assert_eq!(sum, told.traffic[0].received + told.traffic[1].received);
    assert!(told.wire.up_bits_per_second > told.traffic[0].inner_bits_per_second);
}

#[test]
fn echoes_come_back_to_subscribers_that_come_and_go() {
    let told = blast(
        "--plain --password memory-password --subscribers 8 --rate 400/s --traffic 64:50/s:poisson \
         --duration 2s --hold 600ms --redial-after 100ms",
    );
    assert!(told.ok, "{:?}", told.setup.failures);
    assert!(told.setup.figures.succeeded > 8, "{:?}", told.setup.figures);
    let [echo] = &told.traffic[..] else {
        panic!("{:?}", told.traffic)
    };
    assert_eq!((echo.way, echo.lost), ("echo", 0));
    assert!(echo.received > 0);
}

#[test]
fn who_has_the_wrong_password_is_told_so_once_for_all() {
    let told = blast("--plain --password wrong --subscribers 5 --rate 100/s --duration 0s");
    assert!(!told.ok);
    let failures = &told.setup.failures;
    assert_eq!(failures.iter().map(|failure| failure.count).sum::<u64>(), 5);
    assert!(
        failures.iter().all(|failure| failure.stage == "auth"),
        "{failures:?}"
    );
    assert!(failures[0].reason.contains("E=691"), "{failures:?}");
    assert!(told.traffic.is_empty());
}

#[test]
fn clients_of_a_profile_come_up() {
    let told =
        blast("--profile windows-11 --password memory-password --subscribers 2 --duration 0s");
    assert!(told.ok, "{:?}", told.setup.failures);
    assert_eq!(told.scenario["group"][0]["profile"], "windows-11");
}

#[test]
fn every_shipped_scenario_is_one() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/scenarios");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().path();
        let line = [
            "adit-lab",
            "blast",
            "--target",
            "127.0.0.1",
            "--dry-run",
            file.to_str().unwrap(),
        ];
        let Command::Blast(arguments) = Arguments::try_parse_from(line).unwrap().command else {
            panic!("another command");
        };
        let scenario = Scenario::new(&arguments).unwrap();
        let stem = file.file_stem().unwrap().to_str().unwrap();
        assert_eq!(scenario.name, stem);
        assert!(scenario.plan().contains(stem));
        count += 1;
    }
    assert!(count >= 2);
}
