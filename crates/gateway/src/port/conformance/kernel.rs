//! Benches on a real kernel: the port in one network namespace, and at the far end of a veth pair
//! another with an AF_XDP socket of its own, which sees every IPv4 packet. Needs root.

use std::fs::File;
use std::io::{Write, stderr};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use af_xdp::bpf::{AttachMode, Link};
use af_xdp::classifier::{Classifier, Description, Endpoint, Prefix};
use af_xdp::interface::Interface;
use af_xdp::probe::{Capability, probe};
use af_xdp::{Area, AreaSettings, Chunk, HugePages, Socket, SocketSettings};
use dataplane::port::Port;
use nix::sched::{CloneFlags, setns};
use packet::header::Udp;

use super::bench::{Bench, ETHERNET, FAR, NEAR, Spare, Traits, interface, tables};
use crate::port::{LetterBox, Share, Sockets, Xdp};

const CHUNKS: usize = 8192;
const PREFIX: &str = "adit-port-";
const HEADROOM: usize = 256;

/// The namespaces; this thread is in the near one.
struct Cable {
    near: String,
    far: String,
    macs: [[u8; 6]; 2],
    end: FarEnd,
}

impl Cable {
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let may = probe().unwrap();
        let needed = [Capability::NetAdmin, Capability::NetRaw, Capability::Bpf];
        if !needed.iter().all(|capability| may.has(*capability)) {
            // Past the capture of output.
            let _ = writeln!(stderr(), "SKIPPED: namespaces, eBPF and AF_XDP need root");
            return None;
        }
        remove_stale();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |end| format!("{PREFIX}{}-{number}{end}", std::process::id());
        let (near, far) = (name("n"), name("f"));
        for space in [&near, &far] {
            run(&["ip", "netns", "add", space]);
        }
        run(&[
            "ip", "link", "add", "near0", "netns", &near, "type", "veth", "peer", "name", "far0",
            "netns", &far,
        ]);
        let end = std::thread::scope(|scope| {
            scope
                .spawn(|| FarEnd::open(&far))
                .join()
                .expect("the far end opens")
        });
        enter(&near);
        up("near0", "10.9.0.1/24");
        let near_mac = Interface::by_name("near0").unwrap().mac;
        Some(Self {
            near,
            macs: [near_mac, end.mac],
            far,
            end,
        })
    }

    fn put(&mut self, packet: &[u8]) {
        let [near, far] = self.macs;
        self.end.send(&[&near[..], &far, &[8, 0], packet].concat());
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.end.receive()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        remove(&self.near);
        remove(&self.far);
    }
}

/// An AF_XDP socket that takes every IPv4 packet.
struct FarEnd {
    mac: [u8; 6],
    socket: Socket,
    chunks: Vec<Chunk>,
    arrived: Vec<Vec<u8>>,
    _program: (Classifier, Link),
}

impl FarEnd {
    fn open(space: &str) -> Self {
        enter(space);
        up("far0", "10.9.0.2/24");
        let found = Interface::by_name("far0").unwrap();
        let (area, mut chunks) = area();
        let cable = Prefix {
            address: FAR,
            length: 24,
        };
        let description = Description {
            pools: vec![cable],
            ..Description::default()
        };
        let classifier = Classifier::load(&description, 1).unwrap();
        let socket =
            Socket::bind(&area, &SocketSettings::new(found.index, 0), &mut chunks).unwrap();
        classifier.serve(0, &socket).unwrap();
        let link = classifier.attach(found.index, AttachMode::Native).unwrap();
        let (mac, arrived, _program) = (found.mac, Vec::new(), (classifier, link));
        Self {
            mac,
            socket,
            chunks,
            arrived,
            _program,
        }
    }

    fn send(&mut self, frame: &[u8]) {
        self.socket.complete(|chunk| self.chunks.push(chunk));
        let mut chunk = self.chunks.pop().expect("there are chunks enough");
        chunk.as_mut()[HEADROOM..HEADROOM + frame.len()].copy_from_slice(frame);
        let sent = self.socket.transmit(chunk, HEADROOM, frame.len());
        sent.expect("the ring is not full");
        self.socket.kick().unwrap();
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        if self.arrived.is_empty() {
            let (chunks, arrived) = (&mut self.chunks, &mut self.arrived);
            self.socket.receive(64, |chunk, offset, len| {
                arrived.push(chunk.as_ref()[offset + ETHERNET..offset + len].to_vec());
                chunks.push(chunk);
            });
            self.socket.fill(|| self.chunks.pop());
            self.socket.kick().unwrap();
        }
        (!self.arrived.is_empty()).then(|| self.arrived.remove(0))
    }
}

/// UDP and raw ESP.
pub(super) struct OnSockets {
    port: Sockets<Chunk>,
    cable: Cable,
    spare: Spare<Chunk>,
}

impl OnSockets {
    /// A neighbour on the far side of whom the kernel knows nothing yet.
    pub(super) const UNKNOWN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 77);

    /// Leaves the kernel room for a few packets that it cannot send at once.
    pub(super) fn make_room_scarce(&self) {
        for socket in self.port.descriptors() {
            rustix::net::sockopt::set_socket_send_buffer_size(socket, 4096).unwrap();
        }
    }

    /// The kernel comes to know [`Self::UNKNOWN`].
    pub(super) fn introduce_the_unknown(&self) {
        introduce(Self::UNKNOWN, self.cable.macs[1]);
    }
}

fn introduce(neighbour: Ipv4Addr, mac: [u8; 6]) {
    let (address, mac) = (
        neighbour.to_string(),
        mac.map(|octet| format!("{octet:02x}")),
    );
    let mac = mac.join(":");
    run(&[
        "ip", "neigh", "replace", &address, "lladdr", &mac, "dev", "near0",
    ]);
}

impl Bench for OnSockets {
    type Chunk = Chunk;
    const TRAITS: Traits = Traits {
        kernel_makes_udp: true,
        chunks: CHUNKS,
    };

    fn new() -> Option<Self> {
        let cable = Cable::new()?;
        let share = Share {
            worker: 0,
            workers: 1,
        };
        let port = Sockets::open(
            0,
            &[IpAddr::V4(NEAR)],
            share,
            LetterBox::new(Arc::new(|| ())).0,
        )
        .unwrap();
        introduce(FAR, cable.macs[1]);
        let [near, far] = cable.macs;
        Some(Self {
            port,
            cable,
            spare: Spare::new(area().1, tables(near, far)),
        })
    }

    fn parts(&mut self) -> (&mut dyn Port<Chunk = Chunk>, &mut Spare<Chunk>) {
        (&mut self.port, &mut self.spare)
    }

    fn put(&mut self, packet: &[u8]) {
        self.cable.put(packet);
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.cable.take()
    }

    fn close(self) -> Vec<Chunk> {
        let mut chunks = self.spare.chunks.0;
        chunks.extend(self.port.into_chunks());
        chunks
    }
}

/// An AF_XDP queue behind the classifier.
pub(super) struct OnXdp {
    link: Link,
    port: Xdp,
    cable: Cable,
    spare: Spare<Chunk>,
    _classifier: Classifier,
}

impl Bench for OnXdp {
    type Chunk = Chunk;
    const TRAITS: Traits = Traits {
        kernel_makes_udp: false,
        chunks: CHUNKS,
    };

    fn new() -> Option<Self> {
        let cable = Cable::new()?;
        let index = Interface::by_name("near0").unwrap().index;
        let (area, mut chunks) = area();
        let endpoint = Endpoint {
            address: NEAR,
            esp: true,
            udp_ports: vec![Udp::IKE, Udp::NAT_T, Udp::L2TP],
        };
        let description = Description {
            endpoints: vec![endpoint],
            ..Description::default()
        };
        let classifier = Classifier::load(&description, 1).unwrap();
        let socket = Socket::bind(&area, &SocketSettings::new(index, 0), &mut chunks).unwrap();
        classifier.serve(0, &socket).unwrap();
        let link = classifier.attach(index, AttachMode::Native).unwrap();
        let [near, far] = cable.macs;
        let shared = tables(near, far);
        let port = Xdp::new(socket, interface(near), Arc::clone(&shared));
        Some(Self {
            link,
            port,
            cable,
            spare: Spare::new(chunks, shared),
            _classifier: classifier,
        })
    }

    fn parts(&mut self) -> (&mut dyn Port<Chunk = Chunk>, &mut Spare<Chunk>) {
        (&mut self.port, &mut self.spare)
    }

    fn put(&mut self, packet: &[u8]) {
        self.cable.put(packet);
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.cable.take()
    }

    fn close(self) -> Vec<Chunk> {
        drop(self.link);
        let mut chunks = self.spare.chunks.0;
        chunks.extend(self.port.into_chunks());
        chunks
    }
}

fn area() -> (Arc<Area>, Vec<Chunk>) {
    let settings = AreaSettings {
        chunks: CHUNKS as u32,
        chunk_size: 2048,
        huge: HugePages::Prefer,
    };
    Area::new(settings).unwrap()
}

fn up(link: &str, address: &str) {
    run(&["ethtool", "-K", link, "tx", "off"]);
    run(&["ip", "address", "add", address, "dev", link]);
    run(&["ip", "link", "set", link, "up"]);
}

fn run(command: &[&str]) {
    let output = Command::new(command[0])
        .args(&command[1..])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// A thread's namespace is its own, so others are not moved.
fn enter(space: &str) {
    let file = File::open(Path::new("/run/netns").join(space)).unwrap();
    setns(file, CloneFlags::CLONE_NEWNET).unwrap();
}

fn remove(space: &str) {
    let _ = Command::new("ip").args(["netns", "delete", space]).output();
}

/// Removes the namespaces of processes that are no more.
fn remove_stale() {
    for entry in std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten()
    {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let process = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            remove(&name);
        }
    }
}
