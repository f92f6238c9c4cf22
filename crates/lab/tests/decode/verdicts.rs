//! What is wrong is named and counted, and the exit status follows.

use super::bench::{NATT, PLAIN, Recorded, Scratch, key_log, path, pcap, recorded, run};
use lab::decode::layer::hex;

/// The first ESP packet of the capture: SCCRQ.
const SCCRQ: usize = 9;
/// Message 5 of main mode.
const MM5: usize = 4;
/// The first message of quick mode.
const QM1: usize = 6;

fn last(text: &str) -> &str {
    text.lines().last().unwrap()
}

fn run_on(test: &str, packets: &[Recorded], keys: &str, more: &[&str]) -> (Option<i32>, String) {
    let scratch = Scratch::new(test);
    let capture = scratch.file("capture.pcap", &pcap(packets));
    let keys = scratch.file("keys", keys.as_bytes());
    let (status, shown, _) = run(&[&[&*capture, "--keys", &keys], more].concat());
    (status, shown)
}

#[test]
fn a_flipped_bit_is_a_wrong_icv_and_status_1() {
    let mut packets = recorded(NATT);
    *packets[SCCRQ].octets.last_mut().unwrap() ^= 1;
    let (status, shown) = run_on("icv", &packets, &key_log(), &[]);
    assert_eq!(status, Some(1));
    assert!(
        shown.contains("  ! wrong ICV: ESP SA 0x53000001, sequence 1\n"),
        "{shown}"
    );
    assert!(
        last(&shown).contains("45 opened, 0 without key, 1 with wrong ICV,"),
        "{}",
        last(&shown)
    );
}

#[test]
fn the_second_copy_of_a_packet_is_replayed() {
    let mut packets = recorded(NATT);
    packets.insert(20, packets[SCCRQ].clone());
    let (status, shown) = run_on("replay", &packets, &key_log(), &[]);
    assert_eq!(status, Some(0), "it opens");
    assert!(
        shown.contains("  ! replayed: ESP SA 0x53000001, sequence 1\n"),
        "{shown}"
    );
    assert!(
        last(&shown).contains("0 with wrong HASH, 1 replayed, 0 malformed"),
        "{}",
        last(&shown)
    );
}

#[test]
fn what_has_no_key_is_counted_apart() {
    let capture = path(NATT);
    let capture = capture.to_str().unwrap();
    let (status, shown, _) = run(&[capture]);
    assert_eq!(status, Some(0));
    assert!(last(&shown).contains("0 opened, 46 without key, 0 with wrong ICV, 0 not opened"));
    let (status, shown, _) = run(&[capture, "--psk", "lab-psk"]);
    assert_eq!(status, Some(0));
    assert!(
        shown.contains("a pre-shared key alone opens nothing"),
        "{shown}"
    );
}

#[test]
fn keys_of_another_sa_open_nothing_and_the_status_is_1() {
    // The last digit of the cipher's key, of SKEYID_a, of an ESP key.
    let log = key_log();
    let change = |of: &str| {
        let at = log.find(of).unwrap() + of.len();
        let end = at + log[at..].find('"').unwrap();
        let digit = if log.as_bytes()[end - 1] == b'0' {
            "1"
        } else {
            "0"
        };
        [&log[..end - 1], digit, &log[end..]].concat()
    };
    let packets = recorded(NATT);
    let (status, shown) = run_on(
        "key",
        &packets,
        &change("cipher = \"aes256-cbc\"\nkey = \""),
        &[],
    );
    assert_eq!(status, Some(1));
    assert!(last(&shown).contains("39 opened, 0 without key, 0 with wrong ICV, 7 not opened"));
    let (status, shown) = run_on("skeyid", &packets, &change("skeyid_a = \""), &[]);
    assert_eq!(status, Some(1));
    // Quick mode and both deletes; phase 1 has no such HASH.
    assert!(
        last(&shown).contains("5 with wrong HASH"),
        "{}",
        last(&shown)
    );
    let (status, shown) = run_on("esp", &packets, &change("gcm16\"\nkey = \""), &[]);
    assert_eq!(status, Some(1));
    assert!(
        last(&shown).contains("18 with wrong ICV"),
        "{}",
        last(&shown)
    );
}

#[test]
fn a_pre_shared_key_is_held_against_hash_i_and_hash_r() {
    let packets = recorded(NATT);
    let (status, shown) = run_on(
        "psk",
        &packets,
        &key_log(),
        &["--psk", "x", "--psk", "lab-psk"],
    );
    assert_eq!(status, Some(0));
    assert!(
        shown.contains("proof HASH_I good with pre-shared key 2"),
        "{shown}"
    );
    assert!(
        shown.contains("proof HASH_R good with pre-shared key 2"),
        "{shown}"
    );
    let (status, shown) = run_on("wrong-psk", &packets, &key_log(), &["--psk", "lab-psj"]);
    assert_eq!(status, Some(1));
    assert!(
        last(&shown).contains("2 with wrong HASH"),
        "{}",
        last(&shown)
    );
}

/// The key log once more as the kernel and as Wireshark write it.
#[test]
fn the_kernels_table_and_wiresharks_open_as_much() {
    let log: toml::Table = key_log().parse().unwrap();
    let text = |row: &toml::Value, key: &str| row[key].as_str().unwrap().to_owned();
    let (mut xfrm, mut esp_sa, mut ikev1) = (String::new(), String::new(), String::new());
    for row in log["esp"].as_array().unwrap() {
        let [spi, key, src, dst] = ["spi", "key", "src", "dst"].map(|name| text(row, name));
        xfrm += &format!(
            "src {src} dst {dst}\n\tproto esp spi {spi} reqid 1 mode transport\n\
             \taead rfc4106(gcm(aes)) 0x{key} 128\n"
        );
        esp_sa += &format!(
            "\"IPv4\",\"{src}\",\"{dst}\",\"{spi}\",\"AES-GCM with 16 octet ICV [RFC4106]\",\
             \"0x{key}\",\"NULL\",\"\"\n"
        );
    }
    for row in log["ike"].as_array().unwrap() {
        ikev1 += &format!("{},{}\n", text(row, "initiator_cookie"), text(row, "key"));
    }
    let scratch = Scratch::new("tables");
    let capture = path(NATT);
    let capture = capture.to_str().unwrap();
    let ikev1 = scratch.file("ikev1_decryption_table", ikev1.as_bytes());
    for (name, table) in [("xfrm", xfrm), ("esp_sa", esp_sa)] {
        let table = scratch.file(name, table.as_bytes());
        let (status, shown, complaints) = run(&[capture, "--keys", &table, "--keys", &ikev1]);
        assert_eq!((status, &*complaints), (Some(0), ""));
        assert!(
            last(&shown).contains("46 opened, 0 without key"),
            "{}",
            last(&shown)
        );
    }
}

#[test]
fn a_packet_that_the_capture_cut_is_nobodys_fault() {
    let mut packets = recorded(NATT);
    for packet in &mut packets {
        packet.octets.truncate(96);
    }
    let (status, shown) = run_on("snaplen", &packets, &key_log(), &[]);
    assert_eq!(status, Some(0));
    assert!(
        shown.contains("  ! cut short: the capture has 96 of 222 octets\n"),
        "{shown}"
    );
    assert!(
        last(&shown).ends_with(
            "0 with wrong ICV, 0 not opened, 0 with wrong HASH, 0 replayed, \
         0 malformed, 50 cut short"
        ) || last(&shown).ends_with("51 cut short"),
        "{}",
        last(&shown)
    );
}

#[test]
fn a_capture_that_ends_in_the_middle_is_read_that_far() {
    let scratch = Scratch::new("end");
    let mut file = pcap(&recorded(NATT));
    file.truncate(file.len() - 7);
    let capture = scratch.file("capture.pcap", &file);
    let (status, shown, complaint) = run(&[&capture]);
    assert_eq!(status, Some(1));
    assert!(last(&shown).starts_with("50 packets: "), "{}", last(&shown));
    assert!(
        complaint.contains("ends in the middle of a packet"),
        "{complaint}"
    );

    let nothing = scratch.file(
        "nothing",
        b"no capture at all, but some text of sufficient length",
    );
    let (status, _, complaint) = run(&[&nothing]);
    assert_eq!(status, Some(1));
    assert!(complaint.contains("neither pcap nor pcapng"), "{complaint}");
}

#[test]
fn what_a_parser_refuses_is_malformed() {
    let mut packets = recorded(PLAIN);
    // The L2TP length of the SCCRQ, one too many.
    packets[0].octets[45] += 1;
    // The length of the first AVP behind the Message Type in the SCCRP.
    packets[1].octets[42 + 12 + 8 + 1] = 5;
    let (status, shown) = run_on("malformed", &packets, "", &[]);
    assert_eq!(status, Some(0));
    assert!(last(&shown).contains("2 malformed"), "{shown}");
}

#[test]
fn a_message_that_comes_again_is_opened_again() {
    let mut packets = recorded(NATT);
    // Copies of quick mode's first message, and of message 5, long after the exchange went on.
    packets.insert(QM1 + 3, packets[QM1].clone());
    packets.insert(QM1 + 4, packets[MM5].clone());
    let (status, shown) = run_on("again", &packets, &key_log(), &[]);
    assert_eq!(status, Some(0));
    assert!(
        last(&shown).contains("48 opened, 0 without key"),
        "{}",
        last(&shown)
    );
    assert_eq!(shown.matches("opened, repetition").count(), 2, "{shown}");
}

#[test]
fn messages_in_another_order_and_with_gaps_are_opened_all_the_same() {
    let mut packets = recorded(NATT);
    packets.swap(QM1 + 1, QM1 + 2);
    let (_, shown) = run_on("order", &packets, &key_log(), &[]);
    // Quick mode's third message has the last block of the second as its IV.
    assert!(last(&shown).contains("1 not opened"), "{}", last(&shown));

    let mut packets = recorded(NATT);
    packets.drain(..MM5);
    let (status, shown) = run_on("gap", &packets, &key_log(), &[]);
    assert_eq!(status, Some(0));
    assert!(shown.contains("the capture lacks phase 1"), "{shown}");
    assert!(
        last(&shown).contains("39 opened, 7 without key"),
        "{}",
        last(&shown)
    );
}

#[test]
fn many_octets_are_shown_by_their_first() {
    assert_eq!(hex(&[0xab; 4]), "abababab");
    assert_eq!(hex(&[0; 33]), format!("{}… (33 octets)", "00".repeat(32)));
}
