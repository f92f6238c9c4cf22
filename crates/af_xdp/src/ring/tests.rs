//! Rings over plain memory: both ends are ours, so no kernel is needed.

use std::fs::File;

use super::*;
use crate::syscall::PageKind;

const STRESS_ITEMS: u64 = 300_000;

#[test]
fn what_is_published_arrives_in_order() {
    let (mut producer, mut consumer) = ring::<u64>(4, 0);
    assert!(producer.push(1) && producer.push(2));
    assert_eq!(consumer.pop(), None, "nothing was published");
    producer.publish();
    assert_eq!(consumer.pop(), Some(1));
    assert_eq!(consumer.pop(), Some(2));
    assert_eq!(consumer.pop(), None);
}

#[test]
fn what_waits_can_be_looked_at_once_it_is_known_and_only_until_it_is_read() {
    let (mut producer, mut consumer) = ring::<u64>(4, u32::MAX - 1);
    for value in 1..=3 {
        assert!(producer.push(value));
    }
    assert_eq!(consumer.peek(0), None, "nothing was published");
    producer.publish();
    assert_eq!(consumer.pop(), Some(1));
    let ahead = [0, 1, 2, u32::MAX].map(|nth| consumer.peek(nth));
    assert_eq!(ahead, [Some(2), Some(3), None, None]);
    assert_eq!((consumer.pop(), consumer.pop()), (Some(2), Some(3)));
    assert!(producer.push(4));
    producer.publish();
    assert_eq!(consumer.peek(0), None, "nobody has looked since");
    consumer.release();
    assert_eq!(consumer.peek(0), Some(4));
}

#[test]
fn a_full_ring_takes_nothing_until_slots_are_released() {
    let (mut producer, mut consumer) = ring::<u64>(2, 0);
    assert!(producer.push(1) && producer.push(2));
    assert!(!producer.push(3));
    producer.publish();
    assert_eq!(consumer.pop(), Some(1));
    assert!(!producer.push(3), "read, but not released");
    consumer.release();
    assert!(producer.push(3));
    assert!(!producer.push(4));
}

#[test]
fn the_counts_wrap() {
    let (mut producer, mut consumer) = ring::<Descriptor>(8, u32::MAX - 2);
    for round in 0..20 {
        for len in 0..8 {
            assert!(producer.push(Descriptor {
                address: round,
                len,
                options: 0
            }));
        }
        assert!(!producer.push(Descriptor::default()));
        assert_eq!(producer.pending(), 8);
        producer.publish();
        for len in 0..8 {
            let expected = Descriptor {
                address: round,
                len,
                options: 0,
            };
            assert_eq!(consumer.pop(), Some(expected));
        }
        assert_eq!(consumer.pop(), None);
        consumer.release();
        assert_eq!(producer.pending(), 0);
    }
}

#[test]
fn a_wild_count_is_worth_one_ring_at_most() {
    let (producer, mut consumer) = ring::<u64>(4, 0);
    producer
        .shared
        .producer()
        .store(0x8000_0000, Ordering::Release);
    let read = std::iter::from_fn(|| consumer.pop()).take(5).count();
    assert_eq!(read, 5, "it goes on, one ring at a time, over mapped slots");
    let (mut producer, consumer) = ring::<u64>(4, 0);
    consumer
        .shared
        .consumer()
        .store(0x8000_0000, Ordering::Release);
    let written = (0..10).filter(|n| producer.push(*n)).count();
    assert_eq!(written, 4, "a count ahead of ours makes no room");
    assert_eq!(producer.pending(), 4);
}

#[test]
fn a_layout_outside_the_mapping_is_refused() {
    let mapping = || Arc::new(Mapping::anonymous(4096, PageKind::Ordinary).unwrap());
    let good = Layout {
        producer: 0,
        consumer: 64,
        flags: 128,
        slots: 192,
    };
    assert!(Shared::<u64>::new(mapping(), good, 256).is_some());
    assert!(Shared::<u64>::new(mapping(), good, 512).is_none());
    assert!(Shared::<u64>::new(mapping(), good, 255).is_none());
    assert!(Shared::<u64>::new(mapping(), good, 0).is_none());
    for bad in [
        Layout {
            producer: 2,
            ..good
        },
        Layout {
            consumer: 4096,
            ..good
        },
        Layout {
            flags: usize::MAX - 3,
            ..good
        },
        Layout { slots: 196, ..good },
    ] {
        assert!(Shared::<u64>::new(mapping(), bad, 256).is_none(), "{bad:?}");
    }
}

#[test]
fn two_threads_lose_nothing() {
    let (mut producer, mut consumer) = ring::<Descriptor>(64, u32::MAX - 1000);
    let sender = std::thread::spawn(move || {
        let mut next = 0;
        while next < STRESS_ITEMS {
            let item = Descriptor {
                address: next,
                len: next as u32,
                options: !(next as u32),
            };
            if producer.push(item) {
                next += 1;
            }
            // Odd batches, so that publishing and wrapping fall on every slot.
            if next.is_multiple_of(7) || !producer.has_room() {
                producer.publish();
            }
            if !producer.has_room() {
                std::thread::yield_now();
            }
        }
        producer.publish();
    });
    let mut expected = 0;
    while expected < STRESS_ITEMS {
        let Some(item) = consumer.pop() else {
            consumer.release();
            std::thread::yield_now();
            continue;
        };
        assert_eq!(item.address, expected);
        assert_eq!(item.len, expected as u32);
        assert_eq!(item.options, !(expected as u32), "a slot is read whole");
        expected += 1;
        if expected.is_multiple_of(5) {
            consumer.release();
        }
    }
    sender.join().unwrap();
}

/// Both ends of a ring in plain memory whose counts start at `start`.
pub(crate) fn ring<T: Slot>(size: u32, start: u32) -> (Producer<T>, Consumer<T>) {
    let len = 192 + size_of::<T>() * size as usize;
    let mapping = Arc::new(Mapping::anonymous(len, PageKind::Ordinary).unwrap());
    let layout = Layout {
        producer: 0,
        consumer: 64,
        flags: 128,
        slots: 192,
    };
    let ours = Shared::<T>::new(mapping.clone(), layout, size).unwrap();
    let theirs = Shared::<T>::new(mapping, layout, size).unwrap();
    ours.producer().store(start, Ordering::Relaxed);
    ours.consumer().store(start, Ordering::Relaxed);
    (Producer::new(ours), Consumer::new(theirs))
}

/// The kernel's ends of the four rings.
pub(crate) struct KernelEnds {
    pub(crate) fill: Consumer<u64>,
    pub(crate) completion: Producer<u64>,
    pub(crate) receive: Producer<Descriptor>,
    pub(crate) transmit: Consumer<Descriptor>,
}

/// Four rings in plain memory, with the kernel's ends in the hand of the test.
pub(crate) fn rings(size: u32, start: u32) -> (Rings, KernelEnds) {
    let (fill, kernel_fill) = ring(size, start);
    let (kernel_completion, completion) = ring(size, start);
    let (kernel_receive, receive) = ring(size, start);
    let (transmit, kernel_transmit) = ring(size, start);
    let fd = File::open("/dev/null").unwrap().into();
    let ours = Rings {
        fill,
        completion,
        receive,
        transmit,
        fd,
    };
    let theirs = KernelEnds {
        fill: kernel_fill,
        completion: kernel_completion,
        receive: kernel_receive,
        transmit: kernel_transmit,
    };
    (ours, theirs)
}
