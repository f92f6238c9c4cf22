use super::gateway::{SERVER, ethernet, ip, ping};
use super::{Gateway, NETWORK, Peer, TUNNEL};
use crate::change::Kind;
use crate::id::{InboundSa, WorkerId};

/// Mutated frames sent into the line.
const FRAMES: usize = 1_200_000;
/// Frames sent before the workers turn.
const BURST: usize = 60;

/// A small generator: the same frames in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn mutate(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..=self.roll(3) {
            let at = self.roll(frame.len());
            match self.roll(6) {
                0 => frame[at] ^= 1 << self.roll(8),
                1 => frame[at] = self.roll(256) as u8,
                2 => frame[at] = [0, 1, 0x7f, 0x80, 0xff][self.roll(5)],
                3 => frame.truncate(at.max(1)),
                4 => frame.insert(at, self.roll(256) as u8),
                _ => {
                    let from = self.roll(frame.len());
                    let len = self.roll(9).min(frame.len() - from.max(at));
                    frame.copy_within(from..from + len, at);
                }
            }
        }
    }
}

/// Most mutations of a sealed frame die at the ICV, so that most are made inside: of the plain
/// tunnel's frames, of what is sealed afterwards, and of what comes from the network.
#[test]
fn no_frame_makes_the_line_panic_leak_or_disturb_a_neighbour() {
    let mut gateway = Gateway::new(2);
    let (mut peer, mut plain) = (Peer::new(3, 5), Peer::new(2, 6).plain());
    gateway.open(&mut peer);
    gateway.open(&mut plain);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let packets = |peer: &Peer| {
        [
            ip(peer.address, SERVER, 64),
            ping(peer.address, super::gateway::OWN),
            super::gateway::ip_with(peer.address, SERVER, 6, &[0x50; 40], |_| {}),
        ]
    };
    let inner: Vec<Vec<u8>> = packets(&peer).iter().map(|p| l2tp(&peer, p)).collect();
    let mut seeds: Vec<(usize, Vec<u8>)> = packets(&plain)
        .iter()
        .map(|packet| (TUNNEL, plain.data(packet)))
        .collect();
    seeds.push((TUNNEL, peer.data(&packets(&peer)[0])));
    seeds.push((
        TUNNEL,
        plain.l2tp(&[0xc8, 2, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0]),
    ));
    seeds.push((TUNNEL, peer.outer(Kind::Ike, &[7; 40])));
    seeds.push((NETWORK, ethernet(&ip(SERVER, peer.address, 64))));
    seeds.push((NETWORK, ethernet(&ip(SERVER, plain.address, 64))));
    for i in 0..FRAMES {
        let (port, frame) = if dice.roll(8) == 0 {
            let mut payload = inner[dice.roll(inner.len())].clone();
            dice.mutate(&mut payload);
            let sealed = peer.seal(&payload, 17);
            (TUNNEL, peer.outer_esp(&sealed))
        } else {
            let (port, mut frame) = seeds[dice.roll(seeds.len())].clone();
            dice.mutate(&mut frame);
            (port, frame)
        };
        gateway.send(i % 2, port, frame);
        if i % BURST == BURST - 1 {
            drain(&mut gateway);
        }
    }
    drain(&mut gateway);
    let received = |w| gateway.shared.worker(WorkerId(w)).received.value().packets;
    assert!(received(0) + received(1) > FRAMES as u64 / 2);

    // The session beside all this goes on.
    let packet = ip(peer.address, SERVER, 200);
    let frame = peer.data(&packet);
    gateway.send(0, TUNNEL, frame);
    gateway.settle();
    let through: usize = (0..2).map(|w| gateway.received(w, NETWORK).len()).sum();
    assert_eq!(through, 1);
    assert!(gateway.shared.inbound(InboundSa(peer.slot)).unwrap().forged > 0);
    gateway.assert_chunks_are_whole();
}

fn l2tp(peer: &Peer, packet: &[u8]) -> Vec<u8> {
    let len = (packet.len() + 8 + 6 + 4) as u16;
    let udp = [1701, 1701, len, 0].map(u16::to_be_bytes);
    let l2tp = [2, peer.tunnel(), peer.session_id()].map(u16::to_be_bytes);
    [
        udp.as_flattened(),
        l2tp.as_flattened(),
        &[0xff, 3, 0, 0x21],
        packet,
    ]
    .concat()
}

fn drain(gateway: &mut Gateway) {
    gateway.now += std::time::Duration::from_millis(1);
    gateway.settle();
    for worker in 0..2 {
        gateway.received(worker, TUNNEL);
        gateway.received(worker, NETWORK);
    }
    gateway.punts();
    gateway.events.clear();
}
