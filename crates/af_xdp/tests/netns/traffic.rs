//! Frames through AF_XDP both ways, and the host's own traffic beside them.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::FromRawFd;
use std::time::{Duration, Instant};

use af_xdp::bpf::AttachMode;
use af_xdp::classifier::Classifier;
use af_xdp::interface::Interface;
use af_xdp::{Chunk, Socket, SocketSettings};

use crate::lab::{self, FAR, FAR_LINK, FAR_LINK_2, Lab, NEAR, NEAR_2};
use crate::{CHUNKS, PATIENCE, area, classifier, description, far_index};

const ROUNDS: usize = 40;
const BURST: usize = 100;
const SUBSCRIBER: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 5);

#[test]
fn frames_go_through_the_rings_both_ways_and_no_chunk_is_lost() {
    let Some(lab) = Lab::new() else { return };
    let (area, mut chunks) = area();
    let (classifier, link, mut socket) = lab.far(|| {
        let index = far_index();
        let (classifier, link) = classifier(index);
        let settings = SocketSettings {
            fill_size: 256,
            receive_size: 256,
            transmit_size: 128,
            ..SocketSettings::new(index, 0)
        };
        let socket = Socket::bind(&area, &settings, &mut chunks).unwrap();
        classifier.serve(0, &socket).unwrap();
        (classifier, link, socket)
    });
    let peer = lab.near(|| udp(NEAR, 5000));
    for round in 0..ROUNDS {
        for n in 0..BURST {
            let text = format!("{round}:{n}");
            peer.send_to(text.as_bytes(), SocketAddrV4::new(FAR, 4500))
                .unwrap();
        }
        answer(&mut socket, &mut chunks, BURST);
        for n in 0..BURST {
            let mut octets = [0; 64];
            let len = peer.recv(&mut octets).unwrap();
            assert_eq!(octets[..len], *format!("{round}:{n}").as_bytes());
        }
    }
    let counters = classifier.counters().unwrap();
    assert_eq!(counters.udp, (ROUNDS * BURST) as u64);
    assert_eq!((counters.unserved_endpoint, counters.pool), (0, 0));
    let statistics = socket.statistics().unwrap();
    assert_eq!(
        (statistics.dropped, statistics.refused),
        (0, 0),
        "{statistics:?}"
    );
    drain(&mut socket, &mut chunks);
    assert_eq!(chunks.len() + socket.in_fill(), CHUNKS as usize);
    link.detach().unwrap();
    chunks.extend(socket.into_chunks());
    assert_eq!((chunks.len(), area.lost()), (CHUNKS as usize, 0));
}

/// One area, two interfaces, one registration: what came by one leaves by the other in place.
#[test]
fn a_chunk_crosses_from_one_interface_to_the_other() {
    let Some(lab) = Lab::new() else { return };
    let (area, mut chunks) = area();
    lab.far(|| {
        let (_classifier, link) = classifier(far_index());
        let first = SocketSettings {
            fill_size: 64,
            ..SocketSettings::new(far_index(), 0)
        };
        let mut a = Socket::bind(&area, &first, &mut chunks).unwrap();
        _classifier.serve(0, &a).unwrap();
        let out = Interface::by_name(FAR_LINK_2).unwrap();
        let second = SocketSettings {
            fill_size: 64,
            shared: Some(&a),
            ..SocketSettings::new(out.index, 0)
        };
        let mut b = Socket::bind(&area, &second, &mut chunks).unwrap();
        let (peer, sink) = lab.near(|| (udp(NEAR, 5000), udp(NEAR_2, 4500)));
        let target = lab.near(|| Interface::by_name("near1").unwrap().mac);
        for n in 0..50u8 {
            peer.send_to(&[n; 32], SocketAddrV4::new(FAR, 4500))
                .unwrap();
            let received = wait(|| receive_one(&mut a));
            let (mut chunk, offset, len) = received;
            let frame = &mut chunk.as_mut()[offset..offset + len];
            frame[..6].copy_from_slice(&target);
            frame[6..12].copy_from_slice(&out.mac);
            readdress(frame, Ipv4Addr::new(10, 10, 0, 2), NEAR_2);
            b.transmit(chunk, offset, len).unwrap();
            b.kick().unwrap();
            let mut octets = [0; 64];
            assert_eq!(sink.recv(&mut octets).unwrap(), 32);
            assert_eq!(octets[..32], [n; 32]);
            wait(|| (b.complete(|chunk| chunks.push(chunk)) == 1).then_some(()));
            a.fill(|| chunks.pop());
        }
        link.detach().unwrap();
        // The registration lives as long as any socket that shares it.
        chunks.extend(a.into_chunks());
        chunks.extend(b.into_chunks());
    });
    assert_eq!((chunks.len(), area.lost()), (CHUNKS as usize, 0));
}

#[test]
fn the_host_answers_while_the_program_is_attached() {
    let Some(lab) = Lab::new() else { return };
    let (area, mut chunks) = area();
    let (classifier, link, socket) = lab.far(|| {
        let (classifier, link) = classifier(far_index());
        let settings = SocketSettings::new(far_index(), 0);
        let socket = Socket::bind(&area, &settings, &mut chunks).unwrap();
        classifier.serve(0, &socket).unwrap();
        (classifier, link, socket)
    });
    ping(&lab, 20);
    let host = lab.far(|| udp(FAR, 53));
    let peer = lab.near(|| udp(NEAR, 5000));
    peer.send_to(b"query", SocketAddrV4::new(FAR, 53)).unwrap();
    assert_eq!(text(&host), b"query");
    assert!(classifier.counters().unwrap().host >= 21);
    assert_eq!(socket.in_fill(), CHUNKS as usize - chunks.len());
    link.detach().unwrap();
}

#[test]
fn without_a_socket_tunnels_reach_the_host_and_pools_nobody() {
    let Some(lab) = Lab::new() else { return };
    lab.far(|| lab::run(&["ip", "address", "add", "10.64.0.5/32", "dev", "lo"]));
    let (classifier, link) = lab.far(|| classifier(far_index()));
    let (tunnel, subscriber) = lab.far(|| (udp(FAR, 4500), udp(SUBSCRIBER, 4500)));
    let peer = lab.near(|| udp(NEAR, 5000));
    peer.send_to(b"open", SocketAddrV4::new(FAR, 4500)).unwrap();
    assert_eq!(text(&tunnel), b"open");
    for _ in 0..10 {
        peer.send_to(b"closed", SocketAddrV4::new(SUBSCRIBER, 4500))
            .unwrap();
    }
    let counters = wait(|| {
        let counters = classifier.counters().unwrap();
        (counters.unserved_pool == 10).then_some(counters)
    });
    assert_eq!((counters.pool, counters.unserved_endpoint), (10, 1));
    subscriber.set_nonblocking(true).unwrap();
    assert!(
        subscriber.recv(&mut [0; 64]).is_err(),
        "the host saw none of them"
    );
    subscriber.set_nonblocking(false).unwrap();

    link.detach().unwrap();
    peer.send_to(b"detached", SocketAddrV4::new(SUBSCRIBER, 4500))
        .unwrap();
    assert_eq!(text(&subscriber), b"detached", "the path itself was good");
}

#[test]
fn fragments_reach_the_host_whole() {
    let Some(lab) = Lab::new() else { return };
    let (area, mut chunks) = area();
    let (classifier, link, mut socket) = lab.far(|| {
        let (classifier, link) = classifier(far_index());
        let settings = SocketSettings::new(far_index(), 0);
        let socket = Socket::bind(&area, &settings, &mut chunks).unwrap();
        classifier.serve(0, &socket).unwrap();
        (classifier, link, socket)
    });
    let host = lab.far(|| udp(FAR, 4500));
    let peer = lab.near(|| udp(NEAR, 5000));
    let long = [0x5a; 4000];
    peer.send_to(&long, SocketAddrV4::new(FAR, 4500)).unwrap();
    assert_eq!(text(&host), long);
    assert_eq!(classifier.counters().unwrap().fragment, 3);
    peer.send_to(b"short", SocketAddrV4::new(FAR, 4500))
        .unwrap();
    let (chunk, offset, len) = wait(|| receive_one(&mut socket));
    assert_eq!(chunk.as_ref()[offset + 42..offset + len], *b"short");
    link.detach().unwrap();
}

#[test]
fn a_program_is_swapped_without_a_gap() {
    let Some(lab) = Lab::new() else { return };
    let (link, second) = lab.far(|| {
        let (_first, link) = classifier(far_index());
        (link, Classifier::load(&description(), 1).unwrap())
    });
    ping(&lab, 2);
    link.update(second.program()).unwrap();
    ping(&lab, 2);
    assert!(second.counters().unwrap().host >= 2);
    link.detach().unwrap();
}

#[test]
fn generic_mode_works_when_asked_for() {
    let Some(lab) = Lab::new() else { return };
    let (area, mut chunks) = area();
    let (_classifier, _link, mut socket) = lab.far(|| {
        let classifier = Classifier::load(&description(), 1).unwrap();
        let link = classifier.attach(far_index(), AttachMode::Generic).unwrap();
        let settings = SocketSettings::new(far_index(), 0);
        let socket = Socket::bind(&area, &settings, &mut chunks).unwrap();
        classifier.serve(0, &socket).unwrap();
        (classifier, link, socket)
    });
    let peer = lab.near(|| udp(NEAR, 5000));
    peer.send_to(b"generic", SocketAddrV4::new(FAR, 1701))
        .unwrap();
    let (chunk, offset, len) = wait(|| receive_one(&mut socket));
    assert_eq!(chunk.as_ref()[offset + 42..offset + len], *b"generic");
}

/// The size of a frame decides whether it fits a chunk behind 256 octets of headroom.
#[test]
fn a_frame_that_fills_the_chunk_arrives_and_a_longer_one_is_counted() {
    let Some(lab) = Lab::new() else { return };
    lab.near(|| lab::run(&["ip", "link", "set", "near0", "mtu", "1779"]));
    lab.far(|| lab::run(&["ip", "link", "set", FAR_LINK, "mtu", "1779"]));
    let (area, mut chunks) = area();
    let (_classifier, _link, mut socket) = lab.far(|| {
        let (classifier, link) = classifier(far_index());
        let settings = SocketSettings::new(far_index(), 0);
        let socket = Socket::bind(&area, &settings, &mut chunks).unwrap();
        classifier.serve(0, &socket).unwrap();
        (classifier, link, socket)
    });
    let peer = lab.near(|| udp(NEAR, 5000));
    peer.send_to(&[7; 1792 - 42], SocketAddrV4::new(FAR, 4500))
        .unwrap();
    let (_, offset, len) = wait(|| receive_one(&mut socket));
    assert_eq!((offset, len), (256, 1792));
    peer.send_to(&[7; 1793 - 42], SocketAddrV4::new(FAR, 4500))
        .unwrap();
    wait(|| (socket.statistics().unwrap().dropped == 1).then_some(()));
}

/// Echo requests from near to far, each of which must be answered.
pub(crate) fn ping(lab: &Lab, count: u16) {
    lab.near(|| {
        // SAFETY: integers only.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP) };
        assert!(fd >= 0);
        // SAFETY: the descriptor was just made; `UdpSocket` is used for its send and receive.
        let icmp = unsafe { UdpSocket::from_raw_fd(fd) };
        icmp.set_read_timeout(Some(PATIENCE)).unwrap();
        for sequence in 1..=count {
            let [high, low] = sequence.to_be_bytes();
            let mut request = [8, 0, 0, 0, 0xad, 0x17, high, low];
            let sum = packet::checksum::checksum(&request);
            request[2..4].copy_from_slice(&sum.to_be_bytes());
            icmp.send_to(&request, SocketAddrV4::new(FAR, 0)).unwrap();
            let mut octets = [0; 128];
            let len = icmp.recv(&mut octets).unwrap();
            let reply = &octets[20..len];
            assert_eq!((reply[0], &reply[6..8]), (0, &[high, low][..]));
        }
    });
}

/// Sends back `count` frames that arrive, with both ends exchanged.
fn answer(socket: &mut Socket, pool: &mut Vec<Chunk>, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    let mut answered = 0;
    while answered < count {
        assert!(Instant::now() < deadline, "{answered} of {count}");
        let mut burst = Vec::new();
        socket.receive(64, |chunk, offset, len| burst.push((chunk, offset, len)));
        for (mut chunk, offset, len) in burst {
            let frame = &mut chunk.as_mut()[offset..offset + len];
            for octet in 0..6 {
                frame.swap(octet, octet + 6);
            }
            for octet in 26..30 {
                frame.swap(octet, octet + 4);
            }
            frame.swap(34, 36);
            frame.swap(35, 37);
            socket.transmit(chunk, offset, len).unwrap();
            answered += 1;
        }
        socket.kick().unwrap();
        socket.complete(|chunk| pool.push(chunk));
        socket.fill(|| pool.pop());
    }
}

/// Waits until everything sent has come back.
fn drain(socket: &mut Socket, pool: &mut Vec<Chunk>) {
    wait(|| {
        socket.kick().unwrap();
        socket.complete(|chunk| pool.push(chunk));
        (socket.in_transmit() == 0).then_some(())
    });
}

fn receive_one(socket: &mut Socket) -> Option<(Chunk, usize, usize)> {
    let mut one = None;
    socket.receive(1, |chunk, offset, len| one = Some((chunk, offset, len)));
    one
}

/// New addresses in an Ethernet, IPv4 and UDP frame.
fn readdress(frame: &mut [u8], source: Ipv4Addr, destination: Ipv4Addr) {
    frame[26..30].copy_from_slice(&source.octets());
    frame[30..34].copy_from_slice(&destination.octets());
    frame[24..26].fill(0);
    let sum = packet::checksum::checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    // RFC 768: zero is no checksum.
    frame[40..42].fill(0);
}

fn udp(address: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddrV4::new(address, port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn text(socket: &UdpSocket) -> Vec<u8> {
    let mut octets = vec![0; 65536];
    let len = socket.recv(&mut octets).unwrap();
    octets.truncate(len);
    octets
}

fn wait<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "it does not come");
        std::thread::sleep(Duration::from_micros(200));
    }
}
