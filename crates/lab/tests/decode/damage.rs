//! Nothing that a capture can hold makes it panic, nor grow.

use crypto::Random;
use crypto::Secret;
use lab::decode::capture::Frame;
use lab::decode::{Decoder, Format, Secrets, print};
use pcap_parser::Linktype;

use super::bench::{NATT, PLAIN, key_log, keys, path, recorded};

const MUTATED: u64 = 1_000_000;
/// Packets after which a decoder with everything that it has come to believe is exchanged.
const LIFETIME: u64 = 50_000;

fn decoder() -> Decoder {
    let secrets = Secrets {
        psks: vec![Secret::new("lab-psk")],
        l2tp: Some(Secret::new("secret")),
    };
    Decoder::new(keys(&key_log()), secrets)
}

/// Octets overwritten, cut off, doubled, or put in; most changes are behind the addresses.
fn mutate(octets: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let at = (12 + random.below(octets.len().max(1) as u32) as usize).min(octets.len());
        match random.below(8) {
            0 => octets.truncate(at),
            1 => octets.extend_from_within(at..),
            2 => octets.insert(at, random.u32() as u8),
            3 if at < octets.len() => drop(octets.remove(at)),
            4 if at < octets.len() => octets[at] = 0xff,
            5 if at < octets.len() => octets[at] = 0,
            _ if at < octets.len() => octets[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
    octets.truncate(3000);
}

#[test]
fn a_million_mutated_packets_are_shown_without_panic() {
    let mut seeds = recorded(NATT);
    seeds.extend(recorded(PLAIN));
    let mut random = Random::from_seed([42; 32]);
    let mut decoder = decoder();
    let mut faults = 0;
    for number in 1..=MUTATED {
        if number % LIFETIME == 0 {
            decoder = self::decoder();
        }
        let mut octets = seeds[random.below(seeds.len() as u32) as usize]
            .octets
            .clone();
        mutate(&mut octets, &mut random);
        let packet = decoder.decode(&Frame {
            number,
            time: number,
            link: Linktype::ETHERNET,
            octets: &octets,
            wire_len: octets.len(),
        });
        faults += u64::from(!packet.faults.is_empty());
        if number % 16 == 0 {
            assert!(packet.to_string().contains("octets"));
            serde_json::to_string(&packet).unwrap();
        }
    }
    // Had most of them been fine, little would have been tried.
    assert!((MUTATED / 4..MUTATED).contains(&faults), "{faults}");
}

#[test]
fn a_damaged_capture_file_is_read_as_far_as_it_goes() {
    let mut random = Random::from_seed([43; 32]);
    for name in [NATT, PLAIN] {
        let whole = std::fs::read(path(name)).unwrap();
        for round in 0..300 {
            let mut file = whole.clone();
            for _ in 0..1 + random.below(8) {
                let at = random.below(file.len() as u32) as usize;
                file[at] = random.u32() as u8;
            }
            if round % 3 == 0 {
                file.truncate(random.below(file.len() as u32) as usize);
            }
            let (tally, _) = print(
                &file[..],
                &mut decoder(),
                Format::Json,
                &mut std::io::sink(),
            );
            assert!(tally.packets <= 51 + 40);
        }
    }
}
