//! Which cache lines of state one packet touches, as a machine that looks at every access tells.
//!
//! The test runs itself again under Valgrind's lackey, which prints the address of every load and
//! store; one turn of a worker, with one packet that is as usual, is compared with where the packet's
//! state lies. The frame itself, the stack, the batch and what a worker has once are not counted: they
//! do not grow with subscribers. Valgrind has no AVX-512, so keys are those of the `aesni` back end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::gateway::{Gateway, SERVER, ethernet, ip};
use super::{NETWORK, Peer, TUNNEL};
use crate::change::{Change, Rate};
use crate::shard::key_slot;
use crate::shard::tunnels::tunnel_slot;

const LINE: usize = 64;

/// A store here begins and ends the turn that counts.
static MARK: AtomicU64 = AtomicU64::new(0);

/// Lines that a packet may touch, by what it is: fewer is better.
const LINES: [(&str, usize); 4] = [
    ("plain up", 5),
    ("plain down", 5),
    ("AES-128-GCM up", 10),
    ("AES-128-GCM down", 10),
];

/// What a session may have in the caches so that neither way has to wait.
const BOTH_WAYS: usize = 1280;

#[test]
fn a_packet_touches_few_lines_of_state() {
    let Some(found) = under_lackey() else {
        eprintln!("SKIPPED: there is no valgrind here to look at every access");
        return;
    };
    for (case, most) in LINES {
        let lines = &found[case];
        println!("{case}: {} lines", lines.len());
        for ((what, line), [first, last, reads, writes]) in lines {
            println!(
                "  {what:<18} line {line}  octets {first:>3} to {last:>3}  {}{}",
                if *reads > 0 { "r" } else { "-" },
                if *writes > 0 { "w" } else { "-" },
            );
        }
        assert!(
            !lines.is_empty() && lines.len() <= most,
            "{case} touches {} lines instead of {most} at most",
            lines.len()
        );
    }
    for secured in ["AES-128-GCM", "plain"] {
        let ways = ["up", "down"].map(|way| &found[&format!("{secured} {way}")]);
        let octets = octets(ways);
        println!("{secured} both ways: {octets} octets");
        assert!(octets <= BOTH_WAYS, "{secured}: {octets} octets");
    }
}

/// Octets of a session's own that its packets touch, one each way. Of the route it is a word; upstream
/// that is everybody's.
fn octets(ways: [&Touched; 2]) -> usize {
    let lines = ways.into_iter().flat_map(BTreeMap::keys);
    let lines: BTreeSet<_> = lines.filter(|(what, _)| what != "route").collect();
    lines.len() * LINE + size_of::<u64>()
}

/// By structure and line: the first and last octet touched, loads, stores.
type Touched = BTreeMap<(String, usize), [usize; 4]>;

/// Runs [`one_packet_each_way_takes_the_lane`] there, and reads what it prints and what lackey prints. `None`: no Valgrind.
fn under_lackey() -> Option<BTreeMap<String, Touched>> {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=lackey", "--trace-mem=yes", "--log-fd=2"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "tests::lines::one_packet_each_way_takes_the_lane",
        ])
        .args(["--nocapture", "--test-threads=1"])
        .stdout(Stdio::null())
        .stderr(writer);
    let mut child = command.spawn().ok()?;
    drop(command);
    let mut places: Vec<(Range<usize>, String)> = Vec::new();
    let (mut case, mut mark, mut is_on) = (String::new(), 0, false);
    let mut found: BTreeMap<String, Touched> = BTreeMap::new();
    for line in BufReader::new(reader).lines() {
        let line = line.unwrap();
        if let Some(rest) = line.strip_prefix("CASE ") {
            (case, is_on) = (rest.to_owned(), false);
            places.clear();
        } else if let Some(rest) = line.strip_prefix("MARK ") {
            mark = rest.parse().unwrap();
        } else if let Some(rest) = line.strip_prefix("PLACE ") {
            let mut words = rest.splitn(3, ' ');
            let mut number = || words.next().unwrap().parse().unwrap();
            let (start, end): (usize, usize) = (number(), number());
            places.push((start..end, words.next().unwrap().to_owned()));
        } else if let Some((kind, address, len)) = access(&line) {
            if address == mark {
                is_on ^= kind != b'L';
            } else if is_on {
                let touched = found.entry(case.clone()).or_default();
                note(touched, &places, kind, address..address + len);
            }
        }
    }
    assert!(child.wait().unwrap().success(), "the traced run failed");
    Some(found)
}

/// A line of lackey: ` L 1ffeffe7d8,8`, with `S` for a store and `M` for both.
fn access(line: &str) -> Option<(u8, usize, usize)> {
    let kind = line.as_bytes().get(1).copied()?;
    let rest = line.get(2..)?.trim_start();
    if !line.starts_with(' ') || !b"LSM".contains(&kind) {
        return None;
    }
    let (address, len) = rest.split_once(',')?;
    let address = usize::from_str_radix(address, 16).ok()?;
    Some((kind, address, len.parse().ok()?))
}

fn note(touched: &mut Touched, places: &[(Range<usize>, String)], kind: u8, octets: Range<usize>) {
    let Some((place, what)) = places.iter().find(|(p, _)| p.contains(&octets.start)) else {
        return;
    };
    let base = place.start / LINE * LINE;
    for line in octets.start / LINE..=(octets.end - 1) / LINE {
        let first = octets.start.max(line * LINE) - base;
        let last = octets.end.min((line + 1) * LINE) - 1 - base;
        let number = line - base / LINE;
        let seen = touched
            .entry((what.clone(), number))
            .or_insert([first, last, 0, 0]);
        seen[0] = seen[0].min(first);
        seen[1] = seen[1].max(last);
        seen[2] += usize::from(kind != b'S');
        seen[3] += usize::from(kind != b'L');
    }
}

/// What is looked at.
#[test]
fn one_packet_each_way_takes_the_lane() {
    say(&format!("MARK {}", std::ptr::from_ref(&MARK).addr()));
    let mut gateway = Gateway::new(1);
    for (mut peer, name) in [
        (Peer::new(1, 5), "AES-128-GCM"),
        (Peer::new(2, 6).plain(), "plain"),
    ] {
        gateway.open(&mut peer);
        let rate = Some(Rate {
            bits_per_second: 1_000_000_000,
            burst: 1_000_000,
        });
        let (session, up, down) = (peer.session, rate, rate);
        let policers = Change::SetPolicers { session, up, down };
        gateway.change(peer.slot.shard(), policers);
        gateway.settle();
        for (way, port) in [("up", TUNNEL), ("down", NETWORK)] {
            // The first ones find the next hop, and tell that the SA is in use.
            for nth in 0..3 {
                let frame = match port {
                    TUNNEL => peer.data(&ip(peer.address, SERVER, 64)),
                    _ => ethernet(&ip(SERVER, peer.address, 64)),
                };
                gateway.send(0, port, frame);
                if nth < 2 {
                    gateway.settle();
                }
            }
            say(&format!("CASE {name} {way}"));
            tell_places(&mut gateway, &peer, way);
            let now = gateway.now;
            MARK.store(1, Relaxed);
            let turn = gateway.workers[0].turn(now);
            MARK.store(2, Relaxed);
            assert_eq!(turn.work, 1);
            gateway.settle();
            let express = gateway
                .shared
                .worker(crate::id::WorkerId(0))
                .express
                .value();
            assert!(express > 0, "it is as usual");
        }
    }
}

/// In one write, so that lackey's lines do not come between.
fn say(line: &str) {
    std::io::stderr()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

fn tell_places(gateway: &mut Gateway, peer: &Peer, way: &str) {
    let tell = |what: &str, place: Option<Range<usize>>| {
        if let Some(place) = place {
            say(&format!("PLACE {} {} {what}", place.start, place.end));
        }
    };
    let slot = peer.slot;
    let shared = gateway.shared.clone();
    tell("session counters", shared.sessions.memory_of(slot));
    tell("path counters", shared.paths.memory_of(slot));
    tell("SA counters", shared.inbound.memory_of(slot));
    let destination = if way == "up" { SERVER } else { peer.address };
    tell("route", shared.memory_of_route(0, destination));
    let keys = gateway.workers[0].keys();
    tell("key to open", keys.opening.memory_of(key_slot(slot)));
    tell("key to seal", keys.sealing.memory_of(key_slot(slot)));
    let shards = gateway.workers[0].state();
    tell("path", shards.paths.memory_of(slot));
    tell("inbound SA", shards.inbound.memory_of(slot));
    tell("session", shards.sessions.memory_of(slot));
    let tunnel = tunnel_slot(1, peer.tunnel()).unwrap();
    tell("tunnel", shards.tunnels.memory_of(tunnel));
}
