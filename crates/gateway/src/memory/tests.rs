use std::collections::BTreeSet;

use super::*;

const PACKET: [u8; 40] = [0; 40];

fn packet(protocol: u8, source: u16, destination: u16, payload: [u8; 4]) -> Vec<u8> {
    let mut packet = PACKET.to_vec();
    packet[0] = 0x45;
    packet[9] = protocol;
    packet[20..22].copy_from_slice(&source.to_be_bytes());
    packet[22..24].copy_from_slice(&destination.to_be_bytes());
    packet[28..32].copy_from_slice(&payload);
    packet
}

/// The shard is in the low bits of an inbound SPI, whatever is around ESP.
#[test]
fn esp_goes_to_the_worker_of_its_shard() {
    let raw = packet(Ipv4::ESP, 0x1234, 0x5647, [9; 4]);
    assert_eq!(spread(&raw), 0x07);
    let in_udp = packet(Ipv4::UDP, 4500, 4500, [1, 2, 3, 0x47]);
    assert_eq!(spread(&in_udp), 0x07);
}

#[test]
fn other_packets_of_one_flow_stay_together_and_those_of_many_do_not() {
    let ike = |port| packet(Ipv4::UDP, port, 4500, [0; 4]);
    let mut next = ike(500);
    next[36] = 7;
    assert_eq!(spread(&ike(500)), spread(&next));
    let workers: BTreeSet<usize> = (500..600).map(|port| spread(&ike(port)) % 2).collect();
    assert_eq!(workers.len(), 2);
    assert_eq!(spread(&[]), 0);
}

#[test]
fn a_full_cable_says_so_and_keeps_what_it_has() {
    let shared = Shared::new(dataplane::Limits::default(), crate::clock::now());
    let interface = Interface {
        port: 0,
        vrf: 0,
        mtu: 1500,
        mac: GATEWAY,
    };
    let (port, far) = MemoryPort::<af_xdp::Chunk>::new(shared, interface, CABLE);
    let mut cable = Cable {
        ends: vec![(far, Arc::new(Bell::default()))],
    };
    let taken = (0..2 * CABLE).filter(|_| cable.send(&PACKET)).count();
    assert_eq!(taken, CABLE);
    assert!(port.is_ready());
    cable.receive(10, &mut |_| panic!("nothing was sent"));
}

#[test]
fn faults_of_the_configuration_are_told_with_their_lines() {
    let file = std::env::temp_dir().join(format!("adit-memory-{}.toml", std::process::id()));
    std::fs::write(&file, "[workers]\ncount = 0\n").unwrap();
    let outcome = Gateway::start(&file, &Arc::new(Bell::default()));
    std::fs::remove_file(&file).unwrap();
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains("faults in"), "{said}");
    assert!(said.contains(".toml:2: workers.count"), "{said}");
}

#[test]
fn its_listeners_are_known_before_the_first_frame_can_come() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/memory.toml");
    for _ in 0..20 {
        let (gateway, _cables) = Gateway::start(&file, &Arc::new(Bell::default())).unwrap();
        for listener in gateway.listeners.clone() {
            let target = gateway.shared.lookup(0, listener);
            assert_eq!(target, dataplane::Target::Endpoint, "{listener}");
        }
        gateway.begin_to_end();
        gateway.join().unwrap();
    }
}
