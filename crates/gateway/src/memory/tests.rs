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

/// DESIGN §2: the shard is in the low bits of an inbound SPI, whatever is around ESP.
#[test]
fn esp_goes_to_the_worker_of_its_shard() {
    let raw = packet(Ipv4::ESP, 0x1234, 0x5647, [9; 4]);
    assert_eq!(spread(&raw), 0x07);
    let in_udp = packet(Ipv4::UDP, 4500, 4500, [1, 2, 3, 0x47]);
    assert_eq!(spread(&in_udp), 0x07);
}

#[test]
fn other_packets_of_one_flow_stay_together_and_those_of_many_do_not() {
    let ike = |port, octet| packet(Ipv4::UDP, port, 4500, [0, 0, 0, octet & 0]);
    assert_eq!(spread(&ike(500, 1)), spread(&ike(500, 2)));
    let workers: std::collections::BTreeSet<usize> =
        (500..600).map(|port| spread(&ike(port, 0)) % 2).collect();
    assert_eq!(workers.len(), 2);
    assert_eq!(spread(&[]), 0);
}
