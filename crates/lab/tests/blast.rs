//! A blast against a gateway in the same process: its own configuration, threads and packet memory.

#![expect(clippy::unwrap_used, reason = "all of this is test")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use lab::blast::{Outcome, Run};
use lab::cli::{Arguments, Command};
use lab::key_log::KeyLogFile;
use lab::scenario::Scenario;

const GATEWAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/memory.toml");

/// What comes of a blast with these flags.
fn blast(flags: &str) -> Outcome {
    blast_at(GATEWAY, flags)
}

fn blast_at(gateway: &str, flags: &str) -> Outcome {
    run_at(gateway, flags).complete().unwrap()
}

fn run_at(gateway: &str, flags: &str) -> Run {
    let line = format!(
        "adit-lab blast --target memory:{gateway} --user lab --psk memory-psk --seed 1 {flags}"
    );
    let Command::Blast(arguments) = Arguments::try_parse_from(line.split_whitespace())
        .unwrap()
        .command
    else {
        panic!("another command");
    };
    let scenario = Scenario::new(&arguments).unwrap();
    Run::new(scenario, Arc::new(AtomicBool::new(false)), true).unwrap()
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
fn who_is_missing_in_the_end_decides_unless_set_ups_are_asserted() {
    let flags = "--plain --password memory-password --subscribers 4 --rate 100/s --duration 0s";
    let all = blast(flags);
    assert!(
        all.ok && all.assertions[0].key == "max_missing",
        "{:?}",
        all.assertions
    );
    let nobody = "--plain --password wrong --subscribers 4 --rate 100/s --duration 0s";
    for (more, is_good, missing) in [
        ("", false, 4),
        ("--max-missing 3", false, 4),
        ("--max-missing 4", true, 4),
        ("--min-setups 1", false, 4),
        ("--min-setups 0", true, 4),
    ] {
        let told = blast(&format!("{nobody} {more}"));
        assert_eq!((told.ok, told.setup.missing), (is_good, missing), "{more}");
    }
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
fn a_gateway_without_room_for_a_tunnel_is_quoted() {
    let text = std::fs::read_to_string(GATEWAY).unwrap();
    let text = text.replace("[limits]", "[limits]\ntunnels = 2");
    let file = format!("adit-lab-blast-{}.toml", std::process::id());
    let file = std::env::temp_dir().join(file);
    std::fs::write(&file, text).unwrap();
    let told = blast_at(
        file.to_str().unwrap(),
        "--plain --password memory-password --subscribers 5 --rate 100/s --duration 0s",
    );
    std::fs::remove_file(&file).unwrap();
    assert_eq!(told.setup.up, 2);
    let [failure] = &told.setup.failures[..] else {
        panic!("{:?}", told.setup.failures)
    };
    assert_eq!((failure.stage, failure.count), ("tunnel", 3));
    let said = "peer closed it: general error (2), insufficient resources (4): at their limit: \
                L2TP tunnels";
    assert!(failure.reason.contains(said), "{}", failure.reason);
}

#[test]
fn sessions_share_tunnels_and_each_has_its_own_flow() {
    let told = blast(
        "--plain --password memory-password --subscribers 30 --tunnels 4 --rate 300/s --duration 1s \
         --traffic 64:50/s --network-port 198.51.100.1 --max-loss 0",
    );
    assert!(told.ok, "{:?} {:?}", told.assertions, told.setup.failures);
    assert_eq!((told.setup.up, told.setup.figures.succeeded), (30, 30));
    for way in &told.traffic {
        assert_eq!((way.lost, way.astray, way.flows_short), (0, 0, 0));
    }
    assert_eq!(told.flows.len(), 60);
    assert!(
        told.flows
            .iter()
            .all(|flow| flow.received == flow.sent && flow.sent > 0)
    );
    assert_eq!(told.scenario["group"][0]["tunnels"], 4);
}

#[test]
fn sessions_and_tunnels_that_are_killed_come_again() {
    for what in ["", "--silent", "--kill-tunnels", "--kill-tunnels --silent"] {
        let told = blast(&format!(
            "--plain --password memory-password --subscribers 12 --tunnels 3 --rate 400/s \
             --duration 1s --traffic 64:20/s --kill 8/s {what} --redial-after 50ms"
        ));
        assert!(told.ok, "{what}: {:?}", told.setup.failures);
        let figures = &told.setup.figures;
        assert!(figures.succeeded > 12, "{what}: {figures:?}");
        assert_eq!((figures.failed, figures.lost), (0, 0), "{what}");
        assert_eq!(told.traffic[0].lost, 0, "{what}");
    }
}

#[test]
fn a_worse_path_is_there_in_memory_too() {
    let told = blast(
        "--encapsulation natt --password memory-password --subscribers 6 --rate 200/s --duration 3s \
         --traffic 64:400/s --network-port 198.51.100.1 --impair-up loss=5,delay=5ms \
         --impair-down duplicate=5,reorder=5 --rebind 1s",
    );
    assert_eq!(told.setup.up, 6, "{:?}", told.setup.failures);
    let path = told.path.unwrap();
    assert!(path.up.lost > 0 && path.rebindings >= 2, "{path:?}");
    assert!(
        path.down.duplicated > 0 && path.down.reordered > 0,
        "{path:?}"
    );
    let [up, down] = &told.traffic[..] else {
        panic!("{:?}", told.traffic)
    };
    assert!(up.lost > 0 && up.received > 0, "{up:?}");
    assert!(up.latency_us.p50 > 5000.0, "{up:?}");
    // Copies stop at the window of the SA; what was overtaken comes late.
    assert!(down.reordered > 0, "{down:?}");
}

#[test]
fn whoever_has_the_log_of_keys_can_read_what_everybody_said() {
    let file = std::env::temp_dir().join(format!("adit-lab-keys-{}.toml", std::process::id()));
    let mut run = run_at(
        GATEWAY,
        "--password memory-password --subscribers 4 --rate 100/s --duration 0s",
    );
    run.log_keys(KeyLogFile::open(&file).unwrap());
    let told = run.complete().unwrap();
    let keys = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(told.ok, "{:?}", told.setup.failures);
    let count = |table: &str| keys.lines().filter(|line| *line == table).count();
    assert_eq!((count("[[ike]]"), count("[[esp]]")), (4, 2 * 4));
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
