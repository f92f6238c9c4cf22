//! A socket whose kernel is the test: every descriptor that a kernel could send, good and bad.

use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::*;
use crate::area::{AreaSettings, HugePages};
use crate::ring::tests::{KernelEnds, rings};

const CHUNKS: u32 = 16;
const SIZE: u64 = 2048;
const STEPS: usize = 200_000;
const FRAMES: u64 = 60_000;

const _: fn() = || {
    fn can_move_to_a_worker<T: Send>() {}
    can_move_to_a_worker::<Socket>();
    can_move_to_a_worker::<Chunk>();
};

#[test]
fn a_frame_makes_the_round() {
    let (mut socket, mut kernel, mut pool) = socket(8, 0);
    assert_eq!(socket.fill(|| pool.pop()), 8);
    let address = kernel.fill.pop().unwrap();
    kernel.receives(address + 256, 60);
    let mut got = None;
    let count = socket.receive(64, |chunk, offset, len| got = Some((chunk, offset, len)));
    let (chunk, offset, len) = got.unwrap();
    assert_eq!((count, offset, len), (1, 256, 60));
    socket.transmit(chunk, 200, 116).unwrap();
    assert_eq!(kernel.transmit.pop(), None, "not before the kick");
    socket.rings.transmit.publish();
    let descriptor = kernel.transmit.pop().unwrap();
    assert_eq!((descriptor.address, descriptor.len), (address + 200, 116));
    kernel.completes(descriptor.address);
    assert_eq!(socket.complete(|chunk| pool.push(chunk)), 1);
    assert_eq!((socket.in_fill(), socket.in_transmit()), (7, 0));
}

#[test]
fn a_frame_can_be_looked_at_before_it_is_received() {
    let (mut socket, mut kernel, mut pool) = socket(8, 0);
    socket.fill(|| pool.pop());
    let [first, second] = [0; 2].map(|_| kernel.fill.pop().unwrap());
    kernel.receives(first + 256, 60);
    kernel.receives(second + 300, 60);
    kernel.receives(u64::from(CHUNKS) * SIZE, 60);
    socket.receive(1, |mut chunk, offset, _| {
        chunk.as_mut()[offset] = 1;
        pool.push(chunk);
    });
    assert_eq!(socket.waiting(0).map(<[u8]>::len), Some(2048 - 300));
    assert_eq!(socket.waiting(1), None, "no chunk of ours");
    assert_eq!(socket.waiting(2), None, "not there");
    assert_eq!(socket.receive(64, |chunk, _, _| pool.push(chunk)), 1);
    assert_eq!(socket.waiting(0), None);
}

#[test]
fn what_the_kernel_never_had_is_refused() {
    let (mut socket, mut kernel, mut pool) = socket(8, 0);
    socket.fill(|| pool.pop());
    let address = kernel.fill.pop().unwrap();
    for (bad, len) in [
        (SIZE * u64::from(CHUNKS), 60),
        (u64::MAX, 60),
        (0, 60),
        (address, SIZE as u32 + 1),
        (address + 2047, 2),
        (address + 1, u32::MAX),
    ] {
        kernel.receives(bad, len);
        assert_eq!(
            socket.receive(64, |_, _, _| panic!("refused")),
            0,
            "{bad} {len}"
        );
    }
    kernel.receives(address + 2000, 48);
    kernel.receives(address + 2000, 48);
    let mut got = Vec::new();
    let mut keep = |chunk, _, _| got.push(chunk);
    assert_eq!(
        socket.receive(64, &mut keep),
        1,
        "the second is a repetition"
    );
    assert_eq!(socket.refused, 7);
    kernel.completes(address);
    assert_eq!(socket.complete(|_| panic!("never sent")), 0);
    assert_eq!(socket.refused, 8);
}

#[test]
fn a_piece_of_a_longer_frame_is_refused() {
    let (mut socket, mut kernel, mut pool) = socket(8, 0);
    socket.fill(|| pool.pop());
    let address = kernel.fill.pop().unwrap();
    kernel.receive.push(Descriptor {
        address,
        len: 1,
        options: libc::XDP_PKT_CONTD,
    });
    kernel.receive.publish();
    assert_eq!(socket.receive(64, |_, _, _| panic!("refused")), 0);
}

#[test]
fn a_frame_must_be_inside_its_chunk() {
    let (mut socket, _kernel, mut pool) = socket(2, 0);
    for (offset, len) in [(0, 2049), (2048, 1), (2047, 2), (usize::MAX, 2), (5, 0)] {
        let chunk = socket
            .transmit(pool.pop().unwrap(), offset, len)
            .unwrap_err();
        pool.push(chunk);
    }
    assert!(socket.transmit(pool.pop().unwrap(), 0, 2048).is_ok());
    assert!(socket.transmit(pool.pop().unwrap(), 2047, 1).is_ok());
    assert!(
        socket.transmit(pool.pop().unwrap(), 0, 60).is_err(),
        "the ring is full"
    );
}

#[test]
fn a_chunk_of_another_area_is_not_sent() {
    let (mut socket, _kernel, _pool) = socket(2, 0);
    let (_area, mut foreign) = area();
    assert!(socket.transmit(foreign.pop().unwrap(), 0, 60).is_err());
}

#[test]
#[should_panic(expected = "another area")]
fn a_chunk_of_another_area_in_the_fill_ring_is_a_mistake_of_ours() {
    let (mut socket, _kernel, _pool) = socket(2, 0);
    let (_area, mut foreign) = area();
    socket.fill(|| foreign.pop());
}

#[test]
fn closing_gives_every_chunk_back() {
    let (mut socket, mut kernel, mut pool) = socket(8, 0);
    socket.fill(|| pool.pop());
    let address = kernel.fill.pop().unwrap();
    kernel.receives(address, 60);
    while let Some(chunk) = pool.pop() {
        if let Err(chunk) = socket.transmit(chunk, 0, 60) {
            pool.push(chunk);
            break;
        }
    }
    let area = socket.area().clone();
    let inside = socket.into_chunks();
    assert_eq!(inside.len() + pool.len(), CHUNKS as usize);
    assert_eq!(area.lost(), 0);
}

#[test]
fn dropping_counts_every_chunk_inside_as_lost() {
    let (mut socket, _kernel, mut pool) = socket(8, 0);
    socket.fill(|| pool.pop());
    let area = socket.area().clone();
    drop(socket);
    assert_eq!(area.lost(), 8);
}

#[test]
fn a_panic_in_the_middle_of_a_burst_loses_one_frame_at_most() {
    let (mut socket, mut kernel, mut pool) = socket(8, 0);
    socket.fill(|| pool.pop());
    for _ in 0..4 {
        let address = kernel.fill.pop().unwrap();
        kernel.receives(address, 60);
    }
    let burst = std::panic::AssertUnwindSafe(|| socket.receive(64, |_, _, _| panic!("room")));
    assert!(std::panic::catch_unwind(burst).is_err());
    let mut rest = Vec::new();
    assert_eq!(socket.receive(64, |chunk, _, _| rest.push(chunk)), 3);
    assert_eq!(socket.area().lost(), 1);
}

/// A kernel that takes, returns, repeats and invents in random order: no chunk is ever doubled or
/// lost, across the wrap of the counts.
#[test]
fn chunks_are_conserved_under_a_wild_kernel() {
    let (mut socket, mut kernel, mut pool) = socket(4, u32::MAX - 5000);
    let mut seed = 0x0dd0_5eed_u64;
    let mut filled = Vec::new();
    let mut sent = Vec::new();
    for _ in 0..STEPS {
        let roll = random(&mut seed);
        match roll % 8 {
            0 => drop(socket.fill(|| pool.pop())),
            1 => filled.extend(std::iter::from_fn(|| kernel.fill.pop())),
            2 => {
                if let Some(address) = filled.pop() {
                    kernel.receives(address + roll % 2048, (roll >> 32) as u32 % 3000);
                }
            }
            3 => kernel.receives(roll % (20 * SIZE), 60),
            4 => drop(socket.receive(3, |chunk, _, _| pool.push(chunk))),
            5 => {
                if let Some(chunk) = pool.pop()
                    && let Err(chunk) = socket.transmit(chunk, 0, 60)
                {
                    pool.push(chunk);
                }
                socket.rings.transmit.publish();
                sent.extend(std::iter::from_fn(|| kernel.transmit.pop()));
            }
            6 => {
                if let Some(descriptor) = sent.pop() {
                    kernel.completes(descriptor.address);
                }
                kernel.completes(random(&mut seed) % (20 * SIZE));
            }
            _ => drop(socket.complete(|chunk| pool.push(chunk))),
        }
        kernel.fill.release();
        kernel.transmit.release();
        let total = pool.len() + socket.in_fill() + socket.in_transmit();
        assert_eq!(total, CHUNKS as usize);
        // Refused frames stay with the socket; a kernel that does that for ever is reopened.
        if pool.is_empty() && filled.is_empty() && sent.is_empty() {
            let (next, ends) = rings(4, roll as u32);
            let area = socket.area().clone();
            pool.extend(std::mem::replace(&mut socket, over(next, &area)).into_chunks());
            kernel = ends;
        }
    }
    pool.extend(socket.into_chunks());
    let mut places: Vec<_> = pool.iter().map(|chunk| chunk.as_ref().as_ptr()).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), CHUNKS as usize);
}

/// Two kernels and two workers in four threads: frames come in by one socket, are handed to the
/// other worker, leave by its socket, and their chunks come home. Every octet is checked.
#[test]
fn chunks_wander_between_sockets_and_threads() {
    let (area, chunks) = area();
    let (inward, near) = rings(8, u32::MAX - 100);
    let (outward, far) = rings(8, 77);
    let (mut inward, mut outward) = (over(inward, &area), over(outward, &area));
    let patience = Patience::new();
    let (hand_over, handed) = mpsc::channel();
    let (home, returned) = mpsc::channel();
    let kernels = [
        thread::spawn({
            let area = area.clone();
            move || deliver(&area, near)
        }),
        thread::spawn({
            let area = area.clone();
            move || collect(&area, far)
        }),
    ];
    let receiver = thread::spawn(move || {
        let mut pool = chunks;
        let mut count = 0;
        while count < FRAMES {
            pool.extend(returned.try_iter());
            inward.fill(|| pool.pop());
            count += inward.receive(5, |chunk, offset, len| {
                hand_over.send((chunk, offset, len)).unwrap();
            }) as u64;
            patience.wait();
        }
        drop(hand_over);
        pool.extend(returned);
        pool.extend(inward.into_chunks());
        pool
    });
    let sender = thread::spawn(move || {
        let mut waiting = None;
        loop {
            let next = waiting.take().map_or_else(|| handed.try_recv(), Ok);
            match next {
                Ok((chunk, offset, len)) => {
                    if let Err(chunk) = outward.transmit(chunk, offset, len) {
                        waiting = Some((chunk, offset, len));
                    }
                }
                Err(mpsc::TryRecvError::Disconnected) if outward.in_transmit() == 0 => break,
                Err(_) => patience.wait(),
            }
            outward.rings.transmit.publish();
            outward.complete(|chunk| home.send(chunk).unwrap());
        }
    });
    sender.join().unwrap();
    let pool = receiver.join().unwrap();
    kernels
        .into_iter()
        .for_each(|kernel| kernel.join().unwrap());
    assert_eq!((pool.len(), area.lost()), (CHUNKS as usize, 0));
}

/// A kernel that writes numbered frames into the chunks of a fill ring.
fn deliver(area: &Area, mut kernel: KernelEnds) {
    let patience = Patience::new();
    let mut number = 0u64;
    while number < FRAMES {
        let Some(address) = kernel.fill.pop() else {
            patience.wait();
            continue;
        };
        // SAFETY: the address is out of the fill ring and goes back with the frame only.
        let frame = unsafe { area.kernel_bytes(address + 256, 64) };
        for octets in frame.as_chunks_mut().0 {
            *octets = number.to_ne_bytes();
        }
        kernel.fill.release();
        while !kernel.receive.has_room() {
            patience.wait();
        }
        kernel.receives(address + 256, 64);
        number += 1;
    }
}

/// A kernel that checks the numbers of the frames it sends.
fn collect(area: &Area, mut kernel: KernelEnds) {
    let patience = Patience::new();
    let mut number = 0u64;
    while number < FRAMES {
        let Some(descriptor) = kernel.transmit.pop() else {
            patience.wait();
            continue;
        };
        let len = descriptor.len as usize;
        // SAFETY: the address is out of the transmit ring and goes back by completion only.
        let frame = unsafe { area.kernel_bytes(descriptor.address, len) };
        assert!(
            frame
                .as_chunks()
                .0
                .iter()
                .all(|octets| *octets == number.to_ne_bytes())
        );
        frame.fill(0xee);
        kernel.transmit.release();
        while !kernel.completion.has_room() {
            patience.wait();
        }
        kernel.completes(descriptor.address);
        number += 1;
    }
}

/// Lets other threads run, and ends a test that waits for what does not come.
#[derive(Clone, Copy)]
struct Patience(Instant);

#[expect(
    clippy::disallowed_methods,
    reason = "four threads that wait for each other"
)]
impl Patience {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn wait(self) {
        assert!(
            self.0.elapsed() < Duration::from_secs(60),
            "it does not come"
        );
        thread::yield_now();
    }
}

fn random(seed: &mut u64) -> u64 {
    // xorshift64: only has to be spread and repeatable.
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

impl KernelEnds {
    fn receives(&mut self, address: u64, len: u32) {
        self.receive.push(Descriptor {
            address,
            len,
            options: 0,
        });
        self.receive.publish();
    }

    fn completes(&mut self, address: u64) {
        self.completion.push(address);
        self.completion.publish();
    }
}

fn area() -> (Arc<Area>, Vec<Chunk>) {
    let settings = AreaSettings {
        chunks: CHUNKS,
        chunk_size: SIZE as u32,
        huge: HugePages::Never,
    };
    Area::new(settings).unwrap()
}

fn over(rings: Rings, area: &Arc<Area>) -> Socket {
    Socket::over(rings, area, 1, 0).unwrap()
}

fn socket(size: u32, start: u32) -> (Socket, KernelEnds, Vec<Chunk>) {
    let (area, chunks) = area();
    let (ours, theirs) = rings(size, start);
    (over(ours, &area), theirs, chunks)
}
