use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::rc::Rc;

use clap::Parser;

use super::*;
use crate::cli::{Arguments, Command, Encapsulation};
use crate::fleet::{Arrival, Outgoing, Outside};
use crate::wires::Readiness;

#[test]
fn what_a_full_wire_did_not_take_is_sent_later_in_order_and_traffic_waits_for_it() {
    let mut case = Case::new(3);
    case.answer([Ok(1), Ok(0)]);
    assert_eq!((case.turn(), case.loads), (1, 1));
    case.answer([Ok(0), Ok(0)]);
    assert_eq!((case.turn(), case.loads), (1, 1), "the wire is full");
    case.answer([Ok(1), Ok(1)]);
    assert_eq!((case.turn(), case.loads), (3, 2));
    assert_eq!(case.senders(), [1, 2, 3]);
}

#[test]
fn a_packet_that_is_refused_is_counted_and_told_and_the_others_go() {
    let mut case = Case::new(3);
    case.answer([Ok(1), Err("no route"), Ok(1)]);
    assert_eq!(case.turn(), 2);
    assert_eq!(case.senders(), [1, 3]);
    let discards: Vec<_> = case.driver.fleet.discards().occurred().collect();
    assert_eq!(discards, [(Discard::NotSent, 1)]);
    assert_eq!(case.driver.refused(), Some("no route"));
}

#[test]
fn a_wire_that_breaks_ends_the_turn_with_what_it_said() {
    let mut case = Case::new(1);
    case.narrow.borrow_mut().broken = Some("cut through");
    let now = clock::now();
    let error = case.driver.turn(&mut Silence, now).unwrap_err();
    assert_eq!(error.to_string(), "cut through");
}

#[test]
fn a_full_wire_is_tried_again_soon_though_nothing_else_is_due() {
    let mut case = Case::new(1);
    case.turn();
    case.turn();
    case.answer([Ok(1)]);
    case.turn();
    case.turn();
    let waits = &case.narrow.borrow().waits;
    assert_eq!(waits[1..3], [RETRY; 2]);
    assert!(waits[3] > RETRY, "{waits:?}");
}

/// Clients that begin at once, and a wire that does as it is told.
struct Case {
    driver: Driver,
    narrow: Rc<RefCell<Narrow>>,
    loads: usize,
}

#[derive(Default)]
struct Narrow {
    /// To each attempt to send; then it takes nothing.
    answers: VecDeque<Result<usize, &'static str>>,
    taken: Vec<Vec<u8>>,
    waits: Vec<Duration>,
    broken: Option<&'static str>,
}

impl Case {
    fn new(clients: u8) -> Self {
        let line = ["adit-lab", "dial", "--target", "192.0.2.1", "--plain"];
        let Command::Dial(dial) = Arguments::try_parse_from(line).unwrap().command else {
            panic!("another command")
        };
        let mut fleet = Fleet::new(Ipv4Addr::new(192, 0, 2, 1), [1; 32]);
        for number in 1..=clients {
            let settings = dial.client.settings(number.into(), Encapsulation::Plain);
            let address = Ipv4Addr::new(192, 0, 2, 100 + number);
            let outside = Outside::host(address);
            fleet.add(Arc::new(settings), address, outside, clock::now());
        }
        let narrow = Rc::new(RefCell::new(Narrow::default()));
        let wire = Shared(Rc::clone(&narrow));
        let driver = Driver::over(fleet, |_| Ok(Box::new(wire))).unwrap();
        Self {
            driver,
            narrow,
            loads: 0,
        }
    }

    fn answer<const N: usize>(&mut self, answers: [Result<usize, &'static str>; N]) {
        self.narrow.borrow_mut().answers = answers.into();
    }

    /// How many packets the wire has taken after one more turn.
    fn turn(&mut self) -> usize {
        let mut counting = Counting(self.loads);
        let until = clock::now() + Duration::from_secs(1);
        self.driver.turn(&mut counting, until).unwrap();
        self.loads = counting.0;
        self.narrow.borrow().taken.len()
    }

    /// The last octet of the source of each packet that was taken, less 100.
    fn senders(&self) -> Vec<u8> {
        let narrow = self.narrow.borrow();
        narrow.taken.iter().map(|packet| packet[15] - 100).collect()
    }
}

struct Counting(usize);

impl Traffic for Counting {
    fn handle_packet(&mut self, _: Instant, _: ClientId, _: &[u8]) {}
    fn load(&mut self, _: Instant, _: &mut Fleet) {
        self.0 += 1;
    }
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

struct Shared(Rc<RefCell<Narrow>>);

impl Wire for Shared {
    fn wait(&mut self, timeout: Duration) -> io::Result<Readiness> {
        let mut narrow = self.0.borrow_mut();
        narrow.waits.push(timeout);
        match narrow.broken {
            Some(why) => Err(io::Error::other(why)),
            None => Ok(Readiness::default()),
        }
    }

    fn receive(&mut self, _: &mut dyn FnMut(&mut [Arrival<'_>])) -> io::Result<usize> {
        Ok(0)
    }

    fn send(&mut self, packets: &[Outgoing]) -> io::Result<usize> {
        let mut narrow = self.0.borrow_mut();
        let count = narrow.answers.pop_front().unwrap_or(Ok(0));
        let count = count.map_err(io::Error::other)?.min(packets.len());
        let taken = packets[..count].iter().map(|o| o.packet.clone());
        narrow.taken.extend(taken);
        Ok(count)
    }
}
