use std::net::Ipv4Addr;

use super::*;

#[test]
fn an_ip_packet_is_read_as_from_a_socket_and_nothing_else_is() {
    let [from, to] = [
        SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1701),
        SocketAddrV4::new(Ipv4Addr::new(100, 64, 0, 1), 11_701),
    ];
    let mut packet = wire::udp(from, to, b"a message", wire::Checksum::Full);
    // Ethernet pads short packets.
    packet.extend([0; 9]);
    let read = arrival(&mut packet).unwrap();
    assert_eq!(
        (read.from, read.to, &*read.bytes),
        (from, to, &b"a message"[..])
    );
    packet.truncate(37);

    wire::finish_ip(&mut packet, *from.ip(), *to.ip(), Ipv4::ESP);
    let read = arrival(&mut packet).unwrap();
    assert_eq!(
        (read.from.port(), read.to.port(), read.bytes.len()),
        (0, 0, 17)
    );

    wire::finish_ip(&mut packet, *from.ip(), *to.ip(), Ipv4::ICMP);
    assert!(arrival(&mut packet).is_none());
    assert!(arrival(&mut packet[..30]).is_none());
    assert!(arrival(&mut []).is_none());
}
