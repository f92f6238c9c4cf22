use std::fs::File;
use std::io::{Write, stderr};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::*;
use crate::clock;
use crate::fleet::{ClientId, Fleet, Outside};

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100090A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000090A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth1\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
";

const NEIGHBOURS: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
10.9.0.1         0x1         0x2         02:00:00:00:0a:01     *        eth0
10.9.0.2         0x1         0x0         00:00:00:00:00:00     *        eth0
";

#[test]
fn the_longest_route_of_the_interface_names_the_next_hop() {
    let hop = |interface, server: [u8; 4]| gateway(ROUTES, interface, server.into());
    assert_eq!(hop("eth0", [10, 9, 0, 7]), Some([10, 9, 0, 7].into()));
    assert_eq!(hop("eth0", [192, 0, 2, 1]), Some([10, 9, 0, 1].into()));
    assert_eq!(hop("eth1", [10, 9, 0, 7]), Some([10, 0, 0, 1].into()));
    assert_eq!(hop("eth2", [10, 9, 0, 7]), None);
}

#[test]
fn a_neighbour_counts_once_it_has_answered() {
    let mac = |interface, last| neighbour(NEIGHBOURS, interface, [10, 9, 0, last].into());
    assert_eq!(mac("eth0", 1), Some([2, 0, 0, 0, 0x0a, 1]));
    assert_eq!(mac("eth0", 2), None);
    assert_eq!(mac("eth1", 1), None);
}

/// The far end is an ordinary socket, so that the kernel judges what is sent.
#[test]
fn packets_go_to_an_ordinary_socket_and_come_back_past_the_stack() {
    let Some(cable) = Cable::new() else { return };
    let echo = cable.far_socket();
    let waker: Waker = Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
    let place = SocketAddrV4::new(NEAR, 11_701);
    let mut xdp = Xdp::open(&[place], FAR, &waker).unwrap();

    let mut fleet = Fleet::new(FAR, [1; 32]);
    let outside = Outside {
        l2tp: place.port(),
        ..Outside::host(NEAR)
    };
    let id = fleet.add(Arc::new(plain()), NEAR, outside, clock::now());
    assert_eq!(id, Some(ClientId(0)));
    fleet.handle_timeout(clock::now(), 1);
    assert_eq!(xdp.send(fleet.outbox()).unwrap(), 1);

    let mut request = [0; 2048];
    let (len, from) = echo.recv_from(&mut request).expect("the SCCRQ comes");
    assert_eq!(from, place.into());
    echo.send_to(&request[..len], from).unwrap();
    let limit = clock::now() + Duration::from_secs(10);
    let mut came = Vec::new();
    while came.is_empty() && clock::now() < limit {
        xdp.wait(Duration::from_millis(100)).unwrap();
        let unreadable = xdp.receive(&mut |arrivals| {
            came.extend(arrivals.iter().map(|a| (a.from, a.to, a.bytes.to_vec())));
        });
        assert_eq!(unreadable.unwrap(), 0);
    }
    let server = SocketAddrV4::new(FAR, 1701);
    assert_eq!(came, [(server, place, request[..len].to_vec())]);
}

fn plain() -> crate::client::Settings {
    use clap::Parser;
    let line = ["adit-lab", "dial", "--target", "10.9.0.2", "--plain"];
    let command = crate::cli::Arguments::try_parse_from(line).unwrap().command;
    let crate::cli::Command::Dial(dial) = command else {
        panic!("another command")
    };
    dial.client.settings(1, crate::cli::Encapsulation::Plain)
}

/// Two namespaces and a veth pair; this thread is in the near one.
struct Cable([String; 2]);

impl Cable {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            // Past the capture of output.
            let _ = writeln!(stderr(), "SKIPPED: namespaces, eBPF and AF_XDP need root");
            return None;
        }
        let name = |end| format!("adit-lab-xdp{}{end}", std::process::id());
        let cable = Self([name("n"), name("f")]);
        let [near, far] = &cable.0;
        for space in [near, far] {
            run(&["ip", "netns", "add", space]);
        }
        let add = "ip link add near0 netns NEAR type veth peer name far0 netns FAR";
        let add = add.replace("NEAR", near).replace("FAR", far);
        run(&add.split(' ').collect::<Vec<_>>());
        for (space, link, address) in [(near, "near0", "10.9.0.1/24"), (far, "far0", "10.9.0.2/24")]
        {
            run(&["ip", "-n", space, "address", "add", address, "dev", link]);
            run(&["ip", "-n", space, "link", "set", link, "up"]);
        }
        enter(near);
        Some(cable)
    }

    fn far_socket(&self) -> UdpSocket {
        let far = &self.0[1];
        let open = || {
            enter(far);
            UdpSocket::bind((FAR, 1701)).unwrap()
        };
        let socket = thread::scope(|scope| scope.spawn(open).join()).unwrap();
        let limit = Some(Duration::from_secs(10));
        socket.set_read_timeout(limit).unwrap();
        socket
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for space in &self.0 {
            let _ = Command::new("ip").args(["netns", "delete", space]).output();
        }
    }
}

/// A thread's namespace is its own, so others are not moved.
fn enter(space: &str) {
    let file = File::open(Path::new("/run/netns").join(space)).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn run(command: &[&str]) {
    let mut ran = Command::new(command[0]);
    let output = ran.args(&command[1..]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
