//! TUN devices.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use af_xdp::interface::Interface;
use af_xdp::tun::{self, Tun};

use crate::PATIENCE;
use crate::lab::{self, Lab};

#[test]
fn the_host_answers_through_a_device_of_two_queues() {
    let Some(lab) = Lab::new() else { return };
    lab.far(|| {
        let tun = Tun::open("adit%d", 2).unwrap();
        assert_eq!(tun.name, "adit0");
        let mut queues: Vec<File> = tun.queues.into_iter().map(File::from).collect();
        let empty = queues[1].read(&mut [0; 64]).unwrap_err();
        assert_eq!(empty.kind(), ErrorKind::WouldBlock);
        lab::run(&["ip", "address", "add", "10.77.0.1/24", "dev", "adit0"]);
        lab::run(&["ip", "link", "set", "adit0", "up"]);
        queues[1].write_all(&echo_request()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let reply = loop {
            assert!(Instant::now() < deadline);
            let mut octets = [0; 2048];
            let read = queues
                .iter_mut()
                .find_map(|queue| queue.read(&mut octets).ok());
            match read {
                Some(len) if octets[0] >> 4 == 4 => break octets[..len].to_vec(),
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        assert_eq!(reply[12..20], [10, 77, 0, 1, 10, 77, 0, 2]);
        assert_eq!(reply[20], 0, "an echo reply");
        drop(queues);
        wait_for_end("adit0");
    });
}

#[test]
fn a_queue_more_joins_the_device() {
    let Some(lab) = Lab::new() else { return };
    lab.far(|| {
        let first = tun::open("adit7").unwrap();
        let second = tun::open("adit7").unwrap();
        assert_eq!(
            Interface::by_name("adit7").unwrap().driver.as_deref(),
            Some("tun")
        );
        drop(first);
        assert!(Interface::by_name("adit7").is_ok());
        drop(second);
        wait_for_end("adit7");
    });
}

/// A device goes with its last queue; a process that another test starts has a copy of the queue
/// for a moment.
fn wait_for_end(name: &str) {
    let deadline = Instant::now() + PATIENCE;
    while Interface::by_name(name).is_ok() {
        assert!(Instant::now() < deadline, "{name} is still there");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn echo_request() -> Vec<u8> {
    let mut packet = vec![
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 77, 0, 2, 10, 77, 0, 1,
    ];
    let sum = packet::checksum::checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut request = [8, 0, 0, 0, 0, 1, 0, 1];
    let sum = packet::checksum::checksum(&request);
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    packet.extend(request);
    packet
}
