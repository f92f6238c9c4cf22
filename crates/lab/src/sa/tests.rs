use crypto::esp::{Integrity, Keymat};
use ike::{Identification, Identity, Lifetime};

use super::*;
use crate::wire;

const GCM: Suite = Suite::AesGcm16 { key_bits: 128 };
const CBC: Suite = Suite::AesCbc {
    key_bits: 256,
    integrity: Integrity::HmacSha1_96,
};

/// Pairs of two clients of different suites, each connected to itself: what it seals it can open.
struct Loop {
    sas: Sas,
    pairs: Vec<PairId>,
    spis: Vec<Spi>,
}

#[test]
fn what_was_sealed_is_opened_in_one_batch_of_two_suites() {
    let mut world = Loop::new();
    let mut packets = vec![world.packet(0), world.packet(1), world.packet(0)];
    world.seal(&mut packets);
    let results = world.open(&mut packets);
    for (result, owner) in results.iter().zip([0, 1, 0]) {
        assert_eq!(result.unwrap().owner, owner);
    }
    for (packet, result) in packets.iter().zip(&results) {
        let Opened { head, tail, .. } = result.unwrap();
        let plain = &packet.1[head..packet.1.len() - tail];
        assert_eq!(&plain[wire::l2tp_in_esp(plain).unwrap()], b"l2tp");
    }
}

#[test]
fn of_two_copies_in_one_batch_one_is_taken() {
    let mut world = Loop::new();
    let mut packets = vec![world.packet(0)];
    world.seal(&mut packets);
    packets.push(packets[0].clone());
    let mut late = vec![packets[0].clone()];
    let results = world.open(&mut packets);
    assert!(results[0].is_ok());
    assert_eq!(results[1], Err(EspFault::Replayed));
    assert_eq!(world.open(&mut late), [Err(EspFault::Replayed)]);
}

#[test]
fn another_start_begins_with_another_spi() {
    let first = |seed| Sas::new(Random::from_seed([seed; 32])).reserve(0).unwrap();
    assert_ne!(first(1), first(2));
}

#[test]
fn a_forged_packet_is_refused_and_the_true_one_still_taken() {
    let mut world = Loop::new();
    let mut true_one = vec![world.packet(1)];
    world.seal(&mut true_one);
    let mut forged = true_one.clone();
    forged[0].1[30] ^= 1;
    assert_eq!(world.open(&mut forged), [Err(EspFault::NotAuthentic)]);
    assert!(world.open(&mut true_one)[0].is_ok());
}

#[test]
fn strangers_and_fragments_of_packets_are_refused() {
    let mut world = Loop::new();
    let mut packets = vec![(PairId(0), vec![0, 0, 0]), (PairId(0), vec![0xff; 64])];
    assert_eq!(
        world.open(&mut packets),
        [Err(EspFault::Truncated), Err(EspFault::UnknownSpi)]
    );
}

#[test]
fn a_number_that_is_used_again_has_another_spi() {
    let mut world = Loop::new();
    let mut old = vec![world.packet(0)];
    world.seal(&mut old);
    world.sas.remove(world.spis[0]);
    let reborn = world.sas.reserve(7).unwrap();
    assert_ne!(reborn, world.spis[0]);
    assert_eq!(
        reborn.0 << (32 - NUMBER_BITS),
        world.spis[0].0 << (32 - NUMBER_BITS)
    );
    assert_eq!(world.open(&mut old), [Err(EspFault::UnknownSpi)]);
    assert!(
        world.sas.envelope(world.pairs[0]).is_none(),
        "reserved, but without keys"
    );
}

#[test]
fn sequence_numbers_end_and_do_not_begin_again() {
    let mut world = Loop::new();
    let installed = world.sas.pairs[0]
        .as_mut()
        .unwrap()
        .installed
        .as_mut()
        .unwrap();
    installed.sent = u32::MAX - 1;
    assert_eq!(
        world.sas.envelope(world.pairs[0]).unwrap().sequence,
        u32::MAX
    );
    assert!(world.sas.envelope(world.pairs[0]).is_none());
}

impl Loop {
    fn new() -> Self {
        let mut sas = Sas::new(Random::from_seed([1; 32]));
        let (mut pairs, mut spis) = (Vec::new(), Vec::new());
        for (owner, suite) in [(0, GCM), (1, CBC)] {
            let spi = sas.reserve(owner).unwrap();
            pairs.push(sas.install(&child(spi, suite)).unwrap());
            spis.push(spi);
        }
        Self { sas, pairs, spis }
    }

    fn packet(&mut self, owner: usize) -> (PairId, Vec<u8>) {
        let envelope = self.sas.envelope(self.pairs[owner]).unwrap();
        let mut packet = vec![0; HEADER + envelope.suite.iv_len() + 8];
        packet.extend_from_slice(b"l2tp");
        let start = HEADER + envelope.suite.iv_len();
        wire::write_udp(&mut packet[start..], 1701, 1701);
        wire::write_esp(&mut packet, envelope.spi, envelope.sequence);
        let (block, icv) = (envelope.suite.block_len(), envelope.suite.icv_len());
        wire::pad_esp(&mut packet, start, block, icv);
        (self.pairs[owner], packet)
    }

    fn seal(&self, packets: &mut [(PairId, Vec<u8>)]) {
        let mut unsealed: Vec<_> = packets
            .iter_mut()
            .map(|(pair, packet)| Unsealed {
                packet,
                start: 0,
                pair: *pair,
            })
            .collect();
        self.sas.seal(&mut unsealed);
    }

    fn open(&mut self, packets: &mut [(PairId, Vec<u8>)]) -> Vec<Result<Opened, EspFault>> {
        let mut sealed: Vec<_> = packets
            .iter_mut()
            .map(|(_, packet)| Sealed {
                packet,
                result: Err(EspFault::NotAuthentic),
            })
            .collect();
        self.sas.open(&mut sealed);
        sealed.into_iter().map(|sealed| sealed.result).collect()
    }
}

/// A pair whose outbound SA is its inbound one.
fn child(spi: Spi, suite: Suite) -> Child {
    let keys = || Keymat::new(suite, &vec![spi.0 as u8; suite.keymat_len()]).unwrap();
    let end = Identification {
        identity: Identity::Ipv4([10, 9, 1, 1].into()),
        protocol: 17,
        port: 1701,
    };
    Child {
        inbound: spi,
        outbound: spi,
        suite,
        esn: false,
        inbound_keys: keys(),
        outbound_keys: keys(),
        encapsulated: false,
        lifetime: Lifetime {
            seconds: 3600,
            kilobytes: None,
        },
        initiator: true,
        replaces: None,
        local: end.clone(),
        remote: end,
        remote_original: None,
        local_original: None,
    }
}
