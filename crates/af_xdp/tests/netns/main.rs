//! AF_XDP on a real kernel: two network namespaces joined by a veth pair, `near` with ordinary
//! sockets, `far` with the classifier and an AF_XDP socket. Needs root; skips loudly without.

#![allow(clippy::disallowed_methods)] // These tests wait for a kernel, by the clock.
#![allow(clippy::unwrap_used)] // A test.

mod lab;
mod rights;
mod traffic;
mod tun;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use af_xdp::bpf::{AttachError, AttachMode, Link};
use af_xdp::classifier::{Classifier, Description, Endpoint, Prefix};
use af_xdp::interface::Interface;
use af_xdp::{Area, AreaSettings, BindError, Chunk, HugePages, Mode, Socket, SocketSettings};

use lab::{FAR, FAR_LINK, Lab, NEAR_LINK};

const CHUNKS: u32 = 512;
const PATIENCE: Duration = Duration::from_secs(3);

#[test]
fn a_busy_queue_and_an_occupied_interface_are_named() {
    let Some(lab) = Lab::new() else { return };
    let (area, mut chunks) = area();
    lab.far(|| {
        let index = far_index();
        let settings = SocketSettings::new(index, 0);
        let socket = Socket::bind(&area, &settings, &mut chunks).unwrap();
        let start = Instant::now();
        let second = Socket::bind(&area, &settings, &mut chunks);
        assert!(matches!(second, Err(BindError::QueueBusy)), "{second:?}");
        assert!(start.elapsed() >= Duration::from_secs(2));
        assert_eq!(
            chunks.len() + socket.in_fill(),
            CHUNKS as usize,
            "given back"
        );

        let classifier = Classifier::load(&description(), 1).unwrap();
        let link = classifier.attach(index, AttachMode::Native).unwrap();
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let other = classifier.attach(index, mode);
            assert!(matches!(other, Err(AttachError::Occupied)), "{other:?}");
        }
        link.detach().unwrap();
        drop(classifier.attach(index, AttachMode::Generic).unwrap());
        chunks.extend(socket.into_chunks());
    });
    assert_eq!((chunks.len(), area.lost()), (CHUNKS as usize, 0));
}

#[test]
fn what_cannot_be_bound_is_named() {
    let Some(lab) = Lab::new() else { return };
    let (area, mut chunks) = area();
    let (other_area, mut other_chunks) = self::area();
    lab.far(|| {
        let index = far_index();
        let good = SocketSettings::new(index, 0);
        let socket = Socket::bind(&other_area, &good, &mut other_chunks).unwrap();
        let mut bind = |settings: SocketSettings<'_>| {
            let result = Socket::bind(&area, &settings, &mut chunks);
            assert_eq!(chunks.len(), CHUNKS as usize, "given back");
            result.map(drop).unwrap_err()
        };
        let no_queue = bind(SocketSettings {
            queue: 7,
            ..good.clone()
        });
        assert!(matches!(no_queue, BindError::NoSuchQueue), "{no_queue}");
        let nobody = bind(SocketSettings {
            interface: 9999,
            ..good.clone()
        });
        assert!(matches!(nobody, BindError::NoSuchInterface), "{nobody}");
        let odd = bind(SocketSettings {
            fill_size: 1000,
            ..good.clone()
        });
        assert!(matches!(odd, BindError::RingSize(1000)), "{odd}");
        let foreign = bind(SocketSettings {
            shared: Some(&socket),
            ..good.clone()
        });
        assert!(matches!(foreign, BindError::ForeignArea), "{foreign}");
        drop(socket);
        // Veth has no zero-copy mode.
        let no_zero_copy = bind(SocketSettings {
            mode: Mode::ZeroCopy,
            ..good
        });
        assert!(
            matches!(no_zero_copy, BindError::NoZeroCopy),
            "{no_zero_copy}"
        );
    });
}

#[test]
fn a_shared_registration_must_serve_another_queue() {
    let Some(lab) = Lab::new() else { return };
    let (area, mut chunks) = area();
    lab.far(|| {
        let good = SocketSettings::new(far_index(), 0);
        let socket = Socket::bind(&area, &good, &mut chunks).unwrap();
        let same = SocketSettings {
            shared: Some(&socket),
            ..good
        };
        let error = Socket::bind(&area, &same, &mut chunks)
            .map(drop)
            .unwrap_err();
        assert!(matches!(error, BindError::SameQueue), "{error}");
    });
}

#[test]
fn a_queue_can_be_bound_again_at_once() {
    let Some(lab) = Lab::new() else { return };
    let (area, mut chunks) = area();
    lab.far(|| {
        for _ in 0..20 {
            let settings = SocketSettings::new(far_index(), 0);
            let socket = Socket::bind(&area, &settings, &mut chunks).unwrap();
            assert!(!socket.is_zero_copy());
            chunks.extend(socket.into_chunks());
            assert_eq!(chunks.len(), CHUNKS as usize);
        }
        assert_eq!(area.lost(), 0);
        let few = SocketSettings {
            fill_size: 4,
            ..SocketSettings::new(far_index(), 0)
        };
        for round in 1..=20 {
            drop(Socket::bind(&area, &few, &mut chunks).unwrap());
            assert_eq!(area.lost(), 4 * round);
        }
    });
}

#[test]
fn a_link_taken_down_and_up_goes_on() {
    let Some(lab) = Lab::new() else { return };
    let (area, mut chunks) = area();
    lab.far(|| {
        let (classifier, link) = classifier(far_index());
        let settings = SocketSettings {
            fill_size: 64,
            ..SocketSettings::new(far_index(), 0)
        };
        let mut socket = Socket::bind(&area, &settings, &mut chunks).unwrap();
        classifier.serve(0, &socket).unwrap();
        lab::run(&["ip", "link", "set", FAR_LINK, "down"]);
        let send = |socket: &mut Socket, chunk: Chunk| {
            socket.transmit(chunk, 0, 60).unwrap();
            socket.kick()
        };
        let error = send(&mut socket, chunks.pop().unwrap()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN));
        lab::run(&["ip", "link", "set", FAR_LINK, "up"]);
        assert_eq!(send(&mut socket, chunks.pop().unwrap()).unwrap(), 0);
        link.detach().unwrap();
        chunks.extend(socket.into_chunks());
    });
    assert_eq!((chunks.len(), area.lost()), (CHUNKS as usize, 0));
}

#[test]
fn an_interface_tells_what_it_is() {
    let Some(lab) = Lab::new() else { return };
    lab.far(|| {
        let before = Interface::by_name(FAR_LINK).unwrap();
        assert_eq!((before.mtu, before.driver.as_deref()), (1500, Some("veth")));
        assert_eq!((before.receive_queues, before.transmit_queues), (1, 1));
        assert!(before.is_up && before.has_carrier);
        assert_ne!(before.mac, [0; 6]);
        assert_eq!(before.xdp_program, None);
        let xdp = before.xdp.unwrap();
        // Veth runs programs in the driver and has no zero-copy mode.
        assert_eq!((xdp.native, xdp.zero_copy), (true, false));
        assert_eq!(
            before.offloads.transmit_checksum,
            Some(false),
            "the lab turned it off"
        );
        assert_eq!(before.offloads.lro, Some(false));

        let classifier = Classifier::load(&description(), 1).unwrap();
        let link = classifier.attach(before.index, AttachMode::Native).unwrap();
        assert!(Interface::by_name(FAR_LINK).unwrap().xdp_program.is_some());
        link.detach().unwrap();
        assert_eq!(Interface::by_name(FAR_LINK).unwrap().xdp_program, None);
    });
}

/// Without frags, veth takes an MTU up to 3506.
#[test]
fn too_large_an_mtu_is_named() {
    let Some(lab) = Lab::new() else { return };
    lab.near(|| lab::run(&["ip", "link", "set", NEAR_LINK, "mtu", "9000"]));
    lab.far(|| {
        let classifier = Classifier::load(&description(), 1).unwrap();
        let result = classifier.attach(far_index(), AttachMode::Native);
        // The peer's MTU is what counts on veth.
        assert!(
            matches!(result, Err(AttachError::MtuTooLarge)),
            "{result:?}"
        );
    });
}

#[test]
fn a_killed_process_leaves_nothing_behind() {
    let Some(lab) = Lab::new() else { return };
    let mut child = lab.child("child_holds_the_queue");
    let deadline = Instant::now() + PATIENCE;
    while lab.far(|| Interface::by_name(FAR_LINK).unwrap().xdp_program.is_none()) {
        assert!(Instant::now() < deadline, "the child attaches");
        std::thread::sleep(Duration::from_millis(20));
    }
    traffic::ping(&lab, 3);
    child.kill().unwrap();
    child.wait().unwrap();
    traffic::ping(&lab, 3);
    let (area, mut chunks) = area();
    let (link, socket) = lab.far(|| {
        let index = far_index();
        let deadline = Instant::now() + PATIENCE;
        while Interface::by_name(FAR_LINK).unwrap().xdp_program.is_some() {
            assert!(
                Instant::now() < deadline,
                "the program goes with the process"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let (_classifier, link) = classifier(index);
        let settings = SocketSettings::new(index, 0);
        (link, Socket::bind(&area, &settings, &mut chunks).unwrap())
    });
    link.detach().unwrap();
    chunks.extend(socket.into_chunks());
    assert_eq!(chunks.len(), CHUNKS as usize);
}

/// The part of `a_killed_process_leaves_nothing_behind` that runs in a process of its own, to be
/// killed; elsewhere there is nothing to do.
#[test]
fn child_holds_the_queue() {
    if !lab::enter_from_environment() {
        return;
    }
    let (area, mut chunks) = area();
    let index = far_index();
    let socket = Socket::bind(&area, &SocketSettings::new(index, 0), &mut chunks).unwrap();
    let (classifier, link) = classifier(index);
    classifier.serve(0, &socket).unwrap();
    std::thread::sleep(Duration::from_secs(300));
    drop((link, socket));
}

fn far_index() -> u32 {
    Interface::by_name(FAR_LINK).unwrap().index
}

fn classifier(index: u32) -> (Classifier, Link) {
    let classifier = Classifier::load(&description(), 1).unwrap();
    let link = classifier.attach(index, AttachMode::Native).unwrap();
    (classifier, link)
}

fn description() -> Description {
    Description {
        endpoints: vec![Endpoint {
            address: FAR,
            esp: true,
            udp_ports: vec![500, 4500, 1701],
        }],
        pools: vec![Prefix {
            address: Ipv4Addr::new(10, 64, 0, 0),
            length: 16,
        }],
        vlan_depth: 1,
    }
}

fn area() -> (Arc<Area>, Vec<Chunk>) {
    let settings = AreaSettings {
        chunks: CHUNKS,
        chunk_size: 2048,
        huge: HugePages::Prefer,
    };
    Area::new(settings).unwrap()
}
