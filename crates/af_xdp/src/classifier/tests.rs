//! The program against its golden words, and against the reference classifier in the kernel.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use super::*;
use crate::bpf::{action, disassemble};
use crate::probe::{Capability, probe};
use crate::syscall;

const PROPERTY_FRAMES: usize = 40_000;
const NEVER_PANICS_FRAMES: usize = 1_000_000;

const ENDPOINT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PLAIN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const SUBSCRIBER: Ipv4Addr = Ipv4Addr::new(10, 64, 7, 9);
const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// One row per way through the program: what, frame, class.
#[test]
fn every_kind_of_frame_has_its_class() {
    for (what, frame, class) in rows() {
        assert_eq!(classify(&frame, &description()), class, "{what}");
    }
}

#[test]
fn tags_beyond_the_depth_hide_the_packet() {
    let two = tag(tag(udp(ENDPOINT, 500)));
    let three = tag(two.clone());
    assert_eq!(classify(&two, &description()), Class::Udp);
    assert_eq!(classify(&three, &description()), Class::Foreign);
    let untagged = Description {
        vlan_depth: 0,
        ..description()
    };
    assert_eq!(
        classify(&tag(udp(ENDPOINT, 500)), &untagged),
        Class::Foreign
    );
    assert_eq!(classify(&udp(ENDPOINT, 500), &untagged), Class::Udp);
}

#[test]
fn descriptions_that_cannot_be_carried_out_are_named() {
    let with_ports = |udp_ports: Vec<u16>| Description {
        endpoints: vec![Endpoint {
            address: ENDPOINT,
            esp: false,
            udp_ports,
        }],
        ..Description::default()
    };
    assert!(with_ports((1..=8).collect()).rules().is_ok());
    let too_many = with_ports((1..=9).collect()).rules();
    assert_eq!(too_many, Err(DescriptionError::TooManyPorts(ENDPOINT)));
    assert_eq!(
        with_ports(vec![0]).rules(),
        Err(DescriptionError::PortZero(ENDPOINT))
    );
    for length in [0, 33] {
        let pool = Prefix {
            address: SUBSCRIBER,
            length,
        };
        let description = Description {
            pools: vec![pool],
            ..Description::default()
        };
        assert_eq!(
            description.rules(),
            Err(DescriptionError::PrefixLength(pool))
        );
    }
    let mut both = with_ports(vec![500]);
    both.pools.push(Prefix {
        address: ENDPOINT,
        length: 32,
    });
    assert_eq!(
        both.rules(),
        Err(DescriptionError::EndpointIsPool(ENDPOINT))
    );
    let deep = Description {
        vlan_depth: 3,
        ..Description::default()
    };
    assert_eq!(deep.rules(), Err(DescriptionError::VlanDepth(3)));
    let pools = (0..=MAX_PREFIXES as u32)
        .map(|n| Prefix {
            address: Ipv4Addr::from_bits(n),
            length: 32,
        })
        .collect();
    let many = Description {
        pools,
        ..Description::default()
    };
    assert_eq!(
        many.rules(),
        Err(DescriptionError::TooManyPrefixes(MAX_PREFIXES + 1))
    );
}

#[test]
fn a_rule_is_laid_out_as_the_program_reads_it() {
    let rules = description().rules().unwrap();
    let octets = rules[&Prefix {
        address: ENDPOINT,
        length: 32,
    }]
        .to_octets();
    assert_eq!(octets[..4], 2u32.to_ne_bytes());
    assert_eq!(octets[4..10], [0x01, 0xf4, 0x11, 0x94, 0x06, 0xa5]);
    assert_eq!(octets[10..], [0; 10]);
}

/// The emitted words. When the program changes on purpose, `BLESS=1` writes the file again.
#[test]
#[cfg(target_endian = "little")]
fn the_emitted_words_are_the_golden_ones() {
    let maps = emit::Maps {
        table: 3,
        sockets: 4,
        counters: 5,
    };
    let mut text = String::new();
    for depth in 0..=MAX_VLAN_DEPTH {
        writeln!(text, "VLAN depth {depth}").unwrap();
        text += &disassemble(&emit::emit(depth, maps));
    }
    if std::env::var_os("BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/classifier/golden.txt");
        std::fs::write(path, &text).unwrap();
        return;
    }
    assert_eq!(text, include_str!("golden.txt"));
}

#[test]
fn the_reference_never_panics() {
    let (rows, description) = (rows(), description());
    let mut seed = 1;
    for _ in 0..NEVER_PANICS_FRAMES {
        classify(&mutated(&rows, &mut seed), &description);
    }
}

#[test]
fn the_program_does_what_the_reference_says() {
    if !privileged() {
        return;
    }
    for vlan_depth in 0..=MAX_VLAN_DEPTH {
        let description = Description {
            vlan_depth,
            ..description()
        };
        let classifier = Classifier::load(&description, 4).unwrap();
        for (what, frame, _) in rows() {
            agree(&classifier, &description, &frame, Served::No, what);
        }
        let socket = syscall::socket(libc::AF_XDP, libc::SOCK_RAW, 0).unwrap();
        classifier.sockets.set(0, socket.as_fd()).unwrap();
        let rows = rows();
        let mut seed = 0x5eed + u64::from(vlan_depth);
        for n in 0..PROPERTY_FRAMES / 3 {
            let frame = mutated(&rows, &mut seed);
            agree(
                &classifier,
                &description,
                &frame,
                Served::Yes,
                &format!("{n}: {frame:02x?}"),
            );
        }
    }
}

#[test]
fn endpoints_and_pools_change_while_the_program_runs() {
    if !privileged() {
        return;
    }
    let mut now = description();
    let mut classifier = Classifier::load(&now, 1).unwrap();
    let frames = [
        udp(ENDPOINT, 500),
        udp(ENDPOINT, 1812),
        udp(PLAIN, 1701),
        udp(SUBSCRIBER, 53),
        udp(STRANGER, 53),
        ip(ENDPOINT, 50, 5, &[0; 16]),
    ];
    let mut check = |now: &Description| {
        classifier.update(now).unwrap();
        for frame in &frames {
            agree(&classifier, now, frame, Served::No, "after a change");
        }
    };
    now.endpoints[0].udp_ports = vec![1812];
    check(&now);
    now.endpoints[0].esp = false;
    now.pools = vec![Prefix {
        address: STRANGER,
        length: 24,
    }];
    check(&now);
    now.endpoints.clear();
    check(&now);
    now.pools.clear();
    check(&now);
    now = description();
    check(&now);
    now.vlan_depth = 0;
    assert!(classifier.update(&now).is_err());
}

#[test]
fn a_refused_program_comes_with_what_the_verifier_says() {
    if !privileged() {
        return;
    }
    let mut code = crate::bpf::Assembler::new();
    code.exit();
    let error = Program::load("bad", &code.finish().unwrap()).unwrap_err();
    assert!(error.log.contains("R0 !read_ok"), "{error}");
}

enum Served {
    Yes,
    No,
}

/// Runs the program and compares action and counter with the reference.
fn agree(
    classifier: &Classifier,
    description: &Description,
    frame: &[u8],
    served: Served,
    what: &str,
) {
    // BPF_PROG_TEST_RUN takes nothing shorter than an Ethernet header.
    if frame.len() < 14 {
        return;
    }
    let class = classify(frame, description);
    let before = classifier.counters().unwrap();
    let run = classifier.program.test_run(frame, 1).unwrap();
    let after = classifier.counters().unwrap();
    let expected = match (class, served) {
        (Class::Esp | Class::Udp | Class::Pool, Served::Yes) => action::REDIRECT,
        (Class::Pool, Served::No) => action::DROP,
        _ => action::PASS,
    };
    assert_eq!(run.action, expected, "{class:?} {what}");
    assert_eq!(run.frame, frame, "the program changes nothing");
    let (before, after) = (list(&before), list(&after));
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        let is_class = index == class as usize;
        let is_unserved = match (class, expected) {
            (Class::Pool, action::DROP) => index == UNSERVED_POOL as usize,
            (Class::Esp | Class::Udp, action::PASS) => index == UNSERVED_ENDPOINT as usize,
            _ => false,
        };
        let counted = u64::from(is_class || is_unserved);
        assert_eq!(after - before, counted, "counter {index} {class:?} {what}");
    }
}

fn list(counters: &Counters) -> [u64; COUNTERS as usize] {
    [
        counters.foreign,
        counters.esp,
        counters.udp,
        counters.fragment,
        counters.host,
        counters.pool,
        counters.unserved_endpoint,
        counters.unserved_pool,
    ]
}

/// Whether this process may load programs; says so when it may not, past the capture of output.
fn privileged() -> bool {
    let probe = probe().unwrap();
    let needed = [Capability::NetAdmin, Capability::NetRaw, Capability::Bpf];
    let may = needed.iter().all(|capability| probe.has(*capability));
    if !may {
        let _ = writeln!(io::stderr(), "SKIPPED: eBPF and AF_XDP need root");
    }
    may
}

fn description() -> Description {
    let endpoint = |address, esp, udp_ports: &[u16]| Endpoint {
        address,
        esp,
        udp_ports: udp_ports.to_vec(),
    };
    Description {
        endpoints: vec![
            endpoint(ENDPOINT, true, &[500, 4500]),
            endpoint(PLAIN, false, &[1701]),
            endpoint(ENDPOINT, false, &[1701]),
            endpoint(Ipv4Addr::new(10, 64, 0, 1), true, &[500]),
        ],
        pools: vec![
            Prefix {
                address: Ipv4Addr::new(10, 64, 200, 3),
                length: 14,
            },
            Prefix {
                address: Ipv4Addr::new(203, 0, 113, 9),
                length: 32,
            },
        ],
        vlan_depth: 2,
    }
}

/// What, frame, class.
type Row = (&'static str, Vec<u8>, Class);

fn rows() -> Vec<Row> {
    let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9, 0x08, 0x06], &[0; 46]].concat();
    vec![
        ("IKE", udp(ENDPOINT, 500), Class::Udp),
        ("NAT-T", udp(ENDPOINT, 4500), Class::Udp),
        ("L2TP of a second entry", udp(ENDPOINT, 1701), Class::Udp),
        ("ESP", ip(ENDPOINT, 50, 5, &[0; 24]), Class::Esp),
        (
            "ESP with options",
            ip(ENDPOINT, 50, 9, &[0; 24]),
            Class::Esp,
        ),
        (
            "ESP where only UDP is taken",
            ip(PLAIN, 50, 5, &[0; 24]),
            Class::Host,
        ),
        ("another port", udp(ENDPOINT, 53), Class::Host),
        ("port 0", udp(ENDPOINT, 0), Class::Host),
        ("TCP", ip(ENDPOINT, 6, 5, &[0; 20]), Class::Host),
        (
            "ping",
            ip(ENDPOINT, 1, 5, &[8, 0, 0, 0, 0, 0, 0, 0]),
            Class::Host,
        ),
        (
            "first fragment",
            fragment(udp(ENDPOINT, 500), 0x2000),
            Class::Fragment,
        ),
        (
            "later fragment",
            fragment(udp(ENDPOINT, 500), 0x0001),
            Class::Fragment,
        ),
        (
            "ESP fragment",
            fragment(ip(ENDPOINT, 50, 5, &[0; 24]), 0x1fff),
            Class::Fragment,
        ),
        (
            "don't fragment",
            fragment(udp(ENDPOINT, 500), 0x4000),
            Class::Udp,
        ),
        (
            "reserved bit",
            fragment(udp(ENDPOINT, 500), 0x8000),
            Class::Udp,
        ),
        (
            "shortest UDP",
            ip(ENDPOINT, 17, 5, &[0, 9, 1, 0xf4, 0, 8, 0, 0]),
            Class::Udp,
        ),
        (
            "UDP cut off",
            ip(ENDPOINT, 17, 5, &[0, 9, 1, 0xf4, 0, 8, 0]),
            Class::Host,
        ),
        (
            "UDP with options",
            ip(ENDPOINT, 17, 15, &[0, 9, 1, 0xf4, 0, 8, 0, 0]),
            Class::Udp,
        ),
        (
            "options cut off",
            ip(ENDPOINT, 17, 15, &[0, 9, 1, 0xf4, 0, 8, 0]),
            Class::Host,
        ),
        (
            "header length 16",
            set_ihl(udp(ENDPOINT, 500), 4),
            Class::Host,
        ),
        ("subscriber", udp(SUBSCRIBER, 53), Class::Pool),
        (
            "subscriber's fragment",
            fragment(udp(SUBSCRIBER, 53), 0x2001),
            Class::Pool,
        ),
        (
            "pool of one",
            ip(Ipv4Addr::new(203, 0, 113, 9), 6, 5, &[0; 20]),
            Class::Pool,
        ),
        (
            "beside the pool of one",
            udp(Ipv4Addr::new(203, 0, 113, 8), 53),
            Class::Foreign,
        ),
        (
            "behind the pool",
            udp(Ipv4Addr::new(10, 68, 0, 0), 53),
            Class::Foreign,
        ),
        (
            "last of the pool",
            udp(Ipv4Addr::new(10, 67, 255, 255), 53),
            Class::Pool,
        ),
        (
            "endpoint inside the pool",
            udp(Ipv4Addr::new(10, 64, 0, 1), 500),
            Class::Udp,
        ),
        (
            "its other ports",
            udp(Ipv4Addr::new(10, 64, 0, 1), 53),
            Class::Host,
        ),
        (
            "stranger's ESP in transit",
            ip(STRANGER, 50, 5, &[0; 24]),
            Class::Foreign,
        ),
        ("ARP", arp, Class::Foreign),
        ("one tag", tag(udp(ENDPOINT, 500)), Class::Udp),
        (
            "two tags",
            tag(tag(ip(ENDPOINT, 50, 5, &[0; 24]))),
            Class::Esp,
        ),
        (
            "cut off in the header",
            udp(ENDPOINT, 500)[..33].to_vec(),
            Class::Foreign,
        ),
        (
            "cut off in a tag",
            tag(udp(ENDPOINT, 500))[..17].to_vec(),
            Class::Foreign,
        ),
        (
            "version 6 under 0800",
            set_version(udp(ENDPOINT, 500), 6),
            Class::Foreign,
        ),
    ]
}

/// One of the rows with a few octets changed, cut off or added, most of them in the headers.
fn mutated(rows: &[Row], seed: &mut u64) -> Vec<u8> {
    let mut frame = rows[random(seed) as usize % rows.len()].1.clone();
    for _ in 0..random(seed) % 4 {
        let at = random(seed) as usize % frame.len().min(50);
        frame[at] = random(seed) as u8;
    }
    match random(seed) % 8 {
        0 => frame.truncate(random(seed) as usize % (frame.len() + 1)),
        1 => frame.extend(std::iter::repeat_n(0, random(seed) as usize % 64)),
        2 => frame = tag(frame),
        _ => {}
    }
    frame
}

fn random(seed: &mut u64) -> u64 {
    // splitmix64: only has to be spread and repeatable.
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn udp(destination: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut header = vec![0x30, 0x39, 0, 0, 0, 40, 0, 0];
    header[2..4].copy_from_slice(&port.to_be_bytes());
    header.extend([0xab; 32]);
    ip(destination, 17, 5, &header)
}

/// Ethernet and IPv4 with `ihl` words of header; sums and lengths do not matter here.
fn ip(destination: Ipv4Addr, protocol: u8, ihl: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    frame.extend([
        0x40 | ihl,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        64,
        protocol,
        0,
        0,
        198,
        51,
        100,
        1,
    ]);
    frame.extend(destination.octets());
    frame.resize(14 + 4 * usize::from(ihl), 1);
    frame.extend(payload);
    frame
}

fn fragment(mut frame: Vec<u8>, field: u16) -> Vec<u8> {
    frame[20..22].copy_from_slice(&field.to_be_bytes());
    frame
}

fn set_ihl(mut frame: Vec<u8>, ihl: u8) -> Vec<u8> {
    frame[14] = 0x40 | ihl;
    frame
}

fn set_version(mut frame: Vec<u8>, version: u8) -> Vec<u8> {
    frame[14] = version << 4 | frame[14] & 15;
    frame
}

fn tag(mut frame: Vec<u8>) -> Vec<u8> {
    let ethertype = if frame.len() > 13 && frame[12..14] == [0x81, 0x00] {
        [0x88, 0xa8]
    } else {
        [0x81, 0x00]
    };
    let at = frame.len().min(12);
    frame.splice(at..at, [ethertype[0], ethertype[1], 0x00, 0x64]);
    frame
}
