//! What every port has to do alike: the same tests against memory, sockets and AF_XDP.
//!
//! A [`Bench`] is a port and the far end of its cable, where whole IPv4 packets are put in and
//! taken out. What the kernel does for the sockets and we do elsewhere is named where it matters.

mod bench;
mod kernel;

use std::net::Ipv4Addr;
use std::time::Duration;

use dataplane::change::Kind;
use dataplane::port::{Meta, Packet, Pool, SendError};
use packet::header::{Ipv4, Udp};
use packet::{Endpoint, Frame, checksum};

use crate::clock;
use bench::{Bench, FAR, InMemory, MTU, NEAR};
use kernel::{OnSockets, OnXdp};

const PATIENCE: Duration = Duration::from_secs(5);
const BURST: usize = 64;
const SOME: usize = 200;

/// The same sentences for each back end.
macro_rules! conforms {
    ($($name:ident($bench:ty) { $($test:ident,)* })*) => {
        $(mod $name {
            use super::*;
            $(#[test]
            fn $test() {
                let Some(mut bench) = <$bench>::new() else { return };
                super::$test(&mut bench);
                bench.all_chunks_are_back();
            })*
        })*
    };
}

conforms! {
    memory(InMemory) {
        every_kind_arrives_as_its_canonical_frame, every_kind_leaves_with_its_headers_and_checksum,
        order_is_kept_both_ways, what_is_too_long_is_given_back, a_full_queue_gives_back,
        without_chunks_nothing_is_received_and_nothing_lost, what_is_for_nobody_here_does_not_arrive,
        a_wrong_checksum_is_seen_where_it_counts,
    }
    sockets(OnSockets) {
        every_kind_arrives_as_its_canonical_frame, every_kind_leaves_with_its_headers_and_checksum,
        order_is_kept_both_ways, what_is_too_long_is_given_back, a_full_queue_gives_back,
        without_chunks_nothing_is_received_and_nothing_lost, what_is_for_nobody_here_does_not_arrive,
        a_wrong_checksum_is_seen_where_it_counts,
    }
    xdp(OnXdp) {
        every_kind_arrives_as_its_canonical_frame, every_kind_leaves_with_its_headers_and_checksum,
        order_is_kept_both_ways, what_is_too_long_is_given_back, a_full_queue_gives_back,
        without_chunks_nothing_is_received_and_nothing_lost, what_is_for_nobody_here_does_not_arrive,
        a_wrong_checksum_is_seen_where_it_counts,
    }
}

/// The kernel keeps packets for a neighbour it looks for, and they fill the socket's buffer.
#[test]
fn what_the_kernel_has_no_room_for_leaves_later_and_in_order() {
    let Some(mut bench) = OnSockets::new() else {
        return;
    };
    bench.make_room_scarce();
    let numbered = |n: u8| [n; 900];
    for n in 0..20 {
        let (port, spare) = bench.parts();
        let chunk = spare.chunks.take().expect("there are chunks enough");
        let mut frame = Frame::new(chunk, 0, 0).unwrap();
        frame.fill(256, &numbered(n)).unwrap();
        let mut meta = bench::meta(Kind::EspInUdp, Udp::NAT_T);
        meta.remote = Endpoint::new(OnSockets::UNKNOWN.into(), Udp::NAT_T);
        port.send(Packet { frame, meta }).unwrap();
    }
    let (port, spare) = bench.parts();
    port.flush(&mut spare.chunks);
    assert!(port.in_flight() > 0, "the kernel had room for all of it");
    bench.introduce_the_unknown();
    bench.until_all_have_left();
    let left = bench.taken(20);
    let numbers: Vec<u8> = left
        .iter()
        .map(|packet| packet[Ipv4::LEN + Udp::LEN])
        .collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    bench.all_chunks_are_back();
}

/// A kind of frame, our port, and what is in the window.
fn kinds() -> Vec<(Kind, u16, Vec<u8>)> {
    let ike = [&[7; 8][..], &[0; 30]].concat();
    let control = vec![0xc8, 2, 0, 12, 0, 1, 0, 0, 0, 0, 0, 0];
    let data = vec![0, 2, 0, 1, 0, 1, 0xff, 3, 0, 0x21, 1, 2, 3];
    vec![
        (Kind::Esp, 0, vec![9; 41]),
        (Kind::EspInUdp, Udp::NAT_T, vec![9; 40]),
        (Kind::Ike, Udp::IKE, ike.clone()),
        (Kind::Ike, Udp::NAT_T, ike),
        (Kind::L2tp, Udp::L2TP, control),
        (Kind::L2tp, Udp::L2TP, data),
        (Kind::Keepalive, Udp::NAT_T, vec![0xff]),
    ]
}

fn every_kind_arrives_as_its_canonical_frame<B: Bench>(bench: &mut B) {
    for (kind, port, window) in kinds() {
        bench.put(&on_the_wire(kind, port, &window));
        let packet = bench
            .next()
            .unwrap_or_else(|| panic!("{kind:?} at {port} did not arrive"));
        assert_eq!(packet.frame.bytes(), window, "{kind:?}");
        let Meta {
            local,
            remote,
            bad_checksum,
            ..
        } = packet.meta;
        assert_eq!((packet.meta.kind, bad_checksum), (kind, false));
        let ends = (
            Endpoint::new(NEAR.into(), port),
            Endpoint::new(FAR.into(), port),
        );
        assert_eq!((local, remote), ends, "{kind:?}");
        bench.give_back(packet);
    }
}

fn every_kind_leaves_with_its_headers_and_checksum<B: Bench>(bench: &mut B) {
    for (kind, port, window) in kinds() {
        bench.send(kind, port, &window).unwrap();
        let sent = bench.taken(1).remove(0);
        let expected = on_the_wire(kind, port, &window);
        let (got, want) = (parts(&sent), parts(&expected));
        assert_eq!(
            (got.ends, got.protocol, got.payload),
            (want.ends, want.protocol, want.payload),
            "{kind:?}"
        );
        let Some(sum) = got.checksum else { continue };
        let is_control = kind == Kind::Ike || (kind == Kind::L2tp && window[0] & 0x80 != 0);
        let is_sum_due = is_control || B::TRAITS.kernel_makes_udp;
        assert_eq!(sum != 0, is_sum_due, "{kind:?}");
        assert!(sum == 0 || sum_is_right(&sent), "{kind:?}");
    }
}

fn order_is_kept_both_ways<B: Bench>(bench: &mut B) {
    let numbered = |n: usize| [&[0xaa; 36][..], &(n as u32).to_be_bytes()].concat();
    let number = |window: &[u8]| u32::from_be_bytes(*window.last_chunk().unwrap()) as usize;
    for n in 0..SOME {
        bench.put(&on_the_wire(Kind::EspInUdp, Udp::NAT_T, &numbered(n)));
        if n % BURST == BURST - 1 || n == SOME - 1 {
            for expected in n - n % BURST..=n {
                let packet = bench.next().expect("it did not arrive");
                assert_eq!(number(packet.frame.bytes()), expected);
                bench.give_back(packet);
            }
        }
    }
    for first in (0..SOME).step_by(BURST) {
        let burst = first..SOME.min(first + BURST);
        for n in burst.clone() {
            bench
                .send(Kind::EspInUdp, Udp::NAT_T, &numbered(n))
                .unwrap();
        }
        let left = bench.taken(burst.len());
        let numbers: Vec<usize> = left.iter().map(|packet| number(packet)).collect();
        assert_eq!(numbers, burst.collect::<Vec<_>>());
    }
}

fn what_is_too_long_is_given_back<B: Bench>(bench: &mut B) {
    let room = MTU - Ipv4::LEN;
    bench.send(Kind::Esp, 0, &vec![1; room]).unwrap();
    assert_eq!(bench.taken(1)[0].len(), MTU);
    let longer = bench.send(Kind::Esp, 0, &vec![1; room + 1]);
    if B::TRAITS.kernel_makes_udp {
        // The kernel sends fragments.
        assert_eq!(longer, Ok(()));
        assert_eq!(bench.taken(2).len(), 2);
    } else {
        assert_eq!(longer, Err(SendError::TooLong));
    }
}

fn a_full_queue_gives_back<B: Bench>(bench: &mut B) {
    let queued = (0..B::TRAITS.chunks)
        .take_while(|_| bench.queue(Kind::Esp, 0, &[5; 60]).is_ok())
        .count();
    assert!(
        queued > 0 && queued < B::TRAITS.chunks,
        "{queued} frames queued"
    );
    assert_eq!(bench.queue(Kind::Esp, 0, &[5; 60]), Err(SendError::Full));
    bench.until_all_have_left();
    bench.drain();
    bench.send(Kind::Esp, 0, &[6; 60]).unwrap();
    assert!(bench.taken(1)[0].ends_with(&[6; 60]));
}

fn without_chunks_nothing_is_received_and_nothing_lost<B: Bench>(bench: &mut B) {
    let hidden = bench.hide_chunks();
    for _ in 0..4 {
        bench.put(&on_the_wire(Kind::Esp, 0, &[3; 40]));
    }
    let mut held = Vec::new();
    while let Some(packet) = bench.next_within(Duration::from_millis(50)) {
        held.push(packet);
    }
    bench.restore_chunks(hidden);
    held.into_iter().for_each(|packet| bench.give_back(packet));
    bench.put(&on_the_wire(Kind::Esp, 0, &[4; 40]));
    let end = clock::now() + PATIENCE;
    loop {
        assert!(clock::now() < end, "it does not receive any more");
        let Some(packet) = bench.next() else { continue };
        let is_it = packet.frame.bytes() == [4; 40];
        bench.give_back(packet);
        if is_it {
            break;
        }
    }
}

fn what_is_for_nobody_here_does_not_arrive<B: Bench>(bench: &mut B) {
    let other_protocol = ip(47, &[1; 20]);
    let broken_length = {
        let mut packet = on_the_wire(Kind::Ike, Udp::IKE, &[7; 30]);
        packet[Ipv4::LEN + 4] = 0xff;
        packet
    };
    for packet in [broken_length, other_protocol] {
        bench.put(&packet);
        if let Some(packet) = bench.next_within(Duration::from_millis(100)) {
            assert_eq!(packet.meta.kind, Kind::Ip, "it is no endpoint protocol");
            bench.give_back(packet);
        }
    }
}

fn a_wrong_checksum_is_seen_where_it_counts<B: Bench>(bench: &mut B) {
    for (kind, port, window) in kinds() {
        let mut packet = on_the_wire(kind, port, &window);
        if packet[9] != Ipv4::UDP {
            continue;
        }
        set_sum(&mut packet, 0x1234);
        bench.put(&packet);
        // The kernel drops it, whatever is inside.
        let patience = if B::TRAITS.kernel_makes_udp {
            Duration::from_millis(50)
        } else {
            PATIENCE
        };
        let arrived = bench.next_within(patience);
        let counts = kind == Kind::Ike || (kind == Kind::L2tp && window[0] & 0x80 != 0);
        match arrived {
            None => assert!(B::TRAITS.kernel_makes_udp, "{kind:?} did not arrive"),
            Some(packet) => {
                assert_eq!(packet.meta.bad_checksum, counts, "{kind:?}");
                bench.give_back(packet);
            }
        }
        // A field of zero was never set.
        let mut unset = on_the_wire(kind, port, &window);
        set_sum(&mut unset, 0);
        bench.put(&unset);
        let packet = bench.next().expect("it did not arrive");
        assert!(!packet.meta.bad_checksum, "{kind:?}");
        bench.give_back(packet);
    }
}

// What goes over the cable, made and read independently of the ports.

/// The IPv4 packet around a frame, from the far end to the near one.
fn on_the_wire(kind: Kind, port: u16, window: &[u8]) -> Vec<u8> {
    if kind == Kind::Esp {
        return ip(Ipv4::ESP, window);
    }
    let marker: &[u8] = if kind == Kind::Ike && port == Udp::NAT_T {
        &[0; 4]
    } else {
        &[]
    };
    let len = (Udp::LEN + marker.len() + window.len()) as u16;
    let fields = [port, port, len, 0].map(u16::to_be_bytes).concat();
    let mut packet = ip(Ipv4::UDP, &[&fields, marker, window].concat());
    let sum = !udp_sum(&packet);
    set_sum(&mut packet, if sum == 0 { 0xffff } else { sum });
    packet
}

fn ip(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = Ipv4::new(FAR, NEAR, protocol, payload.len() as u16);
    header.renew_checksum();
    [zerocopy_bytes(&header), payload.to_vec()].concat()
}

/// Octets of a header, by way of a frame.
fn zerocopy_bytes(header: &Ipv4) -> Vec<u8> {
    let mut frame = Frame::new(vec![0; 64].into_boxed_slice(), 64, 0).unwrap();
    frame.prepend(header).unwrap();
    frame.bytes().to_vec()
}

fn set_sum(packet: &mut [u8], sum: u16) {
    packet[Ipv4::LEN + 6..Ipv4::LEN + 8].copy_from_slice(&sum.to_be_bytes());
}

/// The sum over a datagram with its pseudo-header.
fn udp_sum(packet: &[u8]) -> u16 {
    let address = |at: usize| Ipv4Addr::from(*packet[at..].first_chunk::<4>().unwrap());
    let datagram = &packet[Ipv4::LEN..];
    let pseudo =
        checksum::pseudo_header(address(12), address(16), Ipv4::UDP, datagram.len() as u16);
    checksum::add(&[pseudo, checksum::sum(datagram)])
}

fn sum_is_right(packet: &[u8]) -> bool {
    udp_sum(packet) == 0xffff
}

#[derive(Debug)]
struct Parts<'p> {
    /// Addresses and ports, without direction.
    ends: Vec<Vec<u8>>,
    protocol: u8,
    checksum: Option<u16>,
    payload: &'p [u8],
}

fn parts(packet: &[u8]) -> Parts<'_> {
    let mut ends = vec![packet[12..16].to_vec(), packet[16..20].to_vec()];
    let (protocol, mut payload, mut sum) = (packet[9], &packet[Ipv4::LEN..], None);
    if protocol == Ipv4::UDP {
        ends[0].extend_from_slice(&payload[..2]);
        ends[1].extend_from_slice(&payload[2..4]);
        sum = Some(u16::from_be_bytes([payload[6], payload[7]]));
        payload = &payload[Udp::LEN..];
    }
    ends.sort();
    Parts {
        ends,
        protocol,
        checksum: sum,
        payload,
    }
}
