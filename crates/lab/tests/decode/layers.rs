//! What is shown: all of it, whatever is around it.

use lab::decode::Secrets;
use lab::decode::keys::Keys;
use lab::decode::layer::Packet;
use pcap_parser::Linktype;

use super::bench::{
    NATT, PLAIN, Recorded, decode_all, decode_as, faults, key_log, keys, names, path, recorded, run,
};

/// An Ethernet header.
const ETHERNET: usize = 14;

/// Renew with `adit-lab decode natt-aes128gcm16.pcap --keys natt-aes128gcm16.toml --psk lab-psk`,
/// and read the difference.
#[test]
fn a_dial_is_shown_as_it_was_the_last_time_somebody_looked() {
    let (capture, keys) = (path(NATT), path("natt-aes128gcm16.toml"));
    let arguments = [
        capture.to_str().unwrap(),
        "--keys",
        keys.to_str().unwrap(),
        "--psk",
        "lab-psk",
    ];
    let (status, shown, complaints) = run(&arguments);
    let golden = std::fs::read_to_string(path("natt-aes128gcm16.txt")).unwrap();
    let difference = shown
        .lines()
        .zip(golden.lines())
        .find(|(shown, golden)| shown != golden);
    assert_eq!(difference, None);
    assert_eq!((shown.len(), status), (golden.len(), Some(0)));
    assert_eq!(complaints, "");
}

#[test]
fn the_same_is_found_as_by_tshark() {
    let root = path("../../../..");
    let script = root.join("tests/interop/decode-compare");
    let has = |program: &str| {
        let found = std::process::Command::new(program)
            .arg("--version")
            .output();
        found.is_ok_and(|output| output.status.success())
    };
    if !has("tshark") || !has("python3") {
        println!("SKIPPED: tshark and python3 are not both there");
        return;
    }
    let empty = std::env::temp_dir().join(format!("adit-no-keys-{}", std::process::id()));
    std::fs::write(&empty, "").unwrap();
    for (capture, keys) in [
        (NATT, path("natt-aes128gcm16.toml")),
        (PLAIN, empty.clone()),
    ] {
        let mut command = std::process::Command::new(&script);
        command
            .arg(path(capture))
            .arg(&keys)
            .arg(env!("CARGO_BIN_EXE_adit-lab"));
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{capture}: {}",
            text(&output.stderr)
        );
        assert!(
            text(&output.stdout).contains(" packet, "),
            "{}",
            text(&output.stdout)
        );
    }
    std::fs::remove_file(empty).unwrap();
}

#[test]
fn json_is_one_object_a_line_and_the_last_has_the_counts() {
    let (capture, keys) = (path(NATT), path("natt-aes128gcm16.toml"));
    let arguments = [
        capture.to_str().unwrap(),
        "--json",
        "--keys",
        keys.to_str().unwrap(),
    ];
    let (status, shown, _) = run(&arguments);
    let lines: Vec<serde_json::Value> = shown
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (counts, packets) = lines.split_last().unwrap();
    assert_eq!((status, packets.len()), (Some(0), 51));
    assert_eq!(counts["counts"]["opened"], 46);
    let sccrq = packets[9]["layers"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&sccrq["layer"], &sccrq["message"]),
        (&"L2TP control".into(), &"SCCRQ".into())
    );
    assert_eq!(sccrq["parts"][7]["value"], 4, "a number is one");
}

fn without_link(packets: &[Packet]) -> Vec<Vec<lab::decode::layer::Layer>> {
    packets
        .iter()
        .map(|packet| packet.layers[1..].to_vec())
        .collect()
}

#[test]
fn what_is_below_ip_does_not_matter() {
    let ethernet = recorded(NATT);
    let read = |link, packets: &[Recorded]| {
        let read = decode_as(link, packets, keys(&key_log()), Secrets::default());
        assert_eq!(faults(&read), []);
        read
    };
    let expected = without_link(&read(Linktype::ETHERNET, &ethernet));
    // What stands before the IP packet instead of the Ethernet header.
    let before = |head: &[u8]| -> Vec<Recorded> {
        let change = |packet: &Recorded| Recorded::new([head, &packet.octets[ETHERNET..]].concat());
        ethernet.iter().map(change).collect()
    };
    let sll = [&[0, 4, 0, 1, 0, 6][..], &[0; 8], &[8, 0]].concat();
    let sll2 = [&[8, 0, 0, 0][..], &[0; 16]].concat();
    assert_eq!(
        without_link(&read(Linktype::LINUX_SLL, &before(&sll))),
        expected
    );
    assert_eq!(
        without_link(&read(Linktype::LINUX_SLL2, &before(&sll2))),
        expected
    );
    for (link, head) in [
        (Linktype::RAW, &[][..]),
        (Linktype::IPV4, &[]),
        (Linktype(12), &[]),
        (Linktype::NULL, &[2, 0, 0, 0]),
    ] {
        let read = read(link, &before(head));
        let layers: Vec<_> = read.iter().map(|packet| packet.layers.clone()).collect();
        assert_eq!(layers, expected, "{link}");
    }
    // A customer's tag in a provider's.
    let tags = [0x88, 0xa8, 0x60, 0x07, 0x81, 0x00, 0x00, 0x2a, 0x08, 0x00];
    let tagged = read(Linktype::ETHERNET, &before(&[&[2; 12][..], &tags].concat()));
    assert_eq!(without_link(&tagged), expected);
    assert!(
        tagged[0].to_string().contains("VLAN 7, VLAN 42"),
        "{}",
        tagged[0]
    );
}

/// An IPv4 packet in fragments of so many octets, each in an Ethernet frame.
fn fragments(packet: &Recorded, octets: usize) -> Vec<Recorded> {
    let (head, payload) = packet.octets.split_at(ETHERNET + 20);
    let count = payload.len().div_ceil(octets);
    let piece = |(index, piece): (usize, &[u8])| {
        let mut frame = head.to_vec();
        let more = if index + 1 == count { 0 } else { 0x2000 };
        let flags = more | (index * octets / 8) as u16;
        frame[ETHERNET + 2..][..2].copy_from_slice(&(20 + piece.len() as u16).to_be_bytes());
        frame[ETHERNET + 6..][..2].copy_from_slice(&flags.to_be_bytes());
        frame.extend_from_slice(piece);
        Recorded::new(frame)
    };
    payload.chunks(octets).enumerate().map(piece).collect()
}

#[test]
fn fragments_come_together_in_any_order() {
    let whole = recorded(NATT);
    let expected = decode_all(&whole, keys(&key_log()), Secrets::default());
    for octets in [24, 40, 104] {
        for backwards in [false, true] {
            let mut pieces = Vec::new();
            for packet in &whole {
                let mut of_this = fragments(packet, octets);
                if backwards {
                    of_this.reverse();
                }
                pieces.extend(of_this);
            }
            let read = decode_all(&pieces, keys(&key_log()), Secrets::default());
            assert_eq!(faults(&read), []);
            let upper = |packets: &[Packet]| -> Vec<_> {
                let whole = packets.iter().filter(|packet| packet.layers.len() > 2);
                whole.map(|packet| packet.layers[2..].to_vec()).collect()
            };
            assert_eq!(
                upper(&read),
                upper(&expected),
                "{octets}, backwards: {backwards}"
            );
        }
    }
}

#[test]
fn a_packet_of_which_a_fragment_is_missing_stays_one_of_fragments() {
    let mut pieces = fragments(&recorded(NATT)[0], 40);
    pieces.remove(1);
    let read = decode_all(&pieces, Keys::default(), Secrets::default());
    assert!(
        read.iter()
            .all(|packet| names(packet) == ["Ethernet", "IPv4"])
    );
    assert!(
        read[0].to_string().contains("fragment at 0, not the last"),
        "{}",
        read[0]
    );
}

#[test]
fn a_keepalive_and_an_ipv6_header_are_named() {
    let mut keepalive = recorded(NATT)[4].octets[..ETHERNET + 28].to_vec();
    keepalive.push(0xff);
    keepalive[ETHERNET + 2..][..2].copy_from_slice(&29u16.to_be_bytes());
    keepalive[ETHERNET + 24..][..2].copy_from_slice(&9u16.to_be_bytes());
    let mut version6 = vec![2; 12];
    version6.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 59, 64]);
    version6.extend_from_slice(&[0xfd; 32]);
    let packets = [Recorded::new(keepalive), Recorded::new(version6)];
    let read = decode_all(&packets, Keys::default(), Secrets::default());
    assert_eq!(
        names(&read[0]),
        ["Ethernet", "IPv4", "UDP", "NAT keepalive"]
    );
    assert_eq!(names(&read[1]), ["Ethernet", "IPv6", "dummy"]);
    assert_eq!(faults(&read), []);
}
