//! The program, instruction by instruction.
//!
//! R6 is the context, R7 the frame (moved behind VLAN tags, so that offsets stay those of an
//! untagged frame), R8 its end, R9 the class. Every access to the frame is at a constant offset:
//! the verifier then asks for CAP_BPF and not for CAP_PERFMON as well.

use std::os::fd::RawFd;

use super::description::{FLAG_ESP, FLAG_POOL, MAX_PORTS, RULE_PORTS};
use super::{Class, UNSERVED_ENDPOINT, UNSERVED_POOL};
use crate::bpf::Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10};
use crate::bpf::{Alu, Assembler, Condition, Helper, Label, Width, action};

/// The maps the program uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maps {
    pub(super) table: RawFd,
    pub(super) sockets: RawFd,
    pub(super) counters: RawFd,
}

/// `struct xdp_md` of `linux/bpf.h`.
mod context {
    pub(super) const DATA: i16 = 0;
    pub(super) const DATA_END: i16 = 4;
    pub(super) const RX_QUEUE_INDEX: i16 = 16;
}

/// Offsets in an untagged frame: Ethernet, then RFC 791 §3.1.
mod frame {
    pub(super) const ETHERTYPE: i16 = 12;
    pub(super) const IP: i16 = 14;
    pub(super) const FRAGMENT: i16 = IP + 6;
    pub(super) const PROTOCOL: i16 = IP + 9;
    pub(super) const DESTINATION: i16 = IP + 16;
    pub(super) const IP_END: i16 = IP + 20;
    /// From the start of a UDP header.
    pub(super) const UDP_DESTINATION: i16 = 2;
    pub(super) const UDP_LEN: i16 = 8;
    pub(super) const VLAN_TAG_LEN: i32 = 4;
}

/// Places on the stack, below R10.
mod stack {
    /// Key of the trie: length, address.
    pub(super) const PREFIX_LENGTH: i16 = -8;
    pub(super) const PREFIX_ADDRESS: i16 = -4;
    /// Key of the counters.
    pub(super) const COUNTER: i16 = -12;
}

/// The program for frames with up to `vlan_depth` tags.
pub(super) fn emit(vlan_depth: u8, maps: Maps) -> Vec<u64> {
    let mut code = Assembler::new();
    let labels = Labels {
        pass: code.label(),
        pool: code.label(),
        worker_or_host: code.label(),
    };
    let mut emitter = Emitter { code, maps, labels };
    emitter.ethernet(vlan_depth);
    emitter.look_up();
    emitter.endpoint();
    emitter.exits();
    emitter
        .code
        .finish()
        .expect("every label of the emitter is bound, and near")
}

#[derive(Clone, Copy)]
struct Labels {
    /// To the host, counted under the class in R9.
    pass: Label,
    /// To the socket of the queue, or dropped.
    pool: Label,
    /// To the socket of the queue, or to the host; counted under the class in R9.
    worker_or_host: Label,
}

struct Emitter {
    code: Assembler,
    maps: Maps,
    labels: Labels,
}

impl Emitter {
    /// R7 so that the IPv4 header is at `frame::IP`; anything else goes to the host.
    fn ethernet(&mut self, vlan_depth: u8) {
        self.code.alu(Alu::Mov, R6, R1);
        self.code.load(Width::Word, R7, R6, context::DATA);
        self.code.load(Width::Word, R8, R6, context::DATA_END);
        self.class(Class::Foreign);
        self.need(frame::IP);
        self.code.load(Width::Half, R3, R7, frame::ETHERTYPE);
        let untagged = self.code.label();
        for _ in 0..vlan_depth {
            let tagged = self.code.label();
            self.code
                .jump_if_number(R3, Condition::Equal, network(0x8100), tagged);
            self.code
                .jump_if_number(R3, Condition::NotEqual, network(0x88a8), untagged);
            self.code.bind(tagged);
            self.code.alu_number(Alu::Add, R7, frame::VLAN_TAG_LEN);
            self.need(frame::IP);
            self.code.load(Width::Half, R3, R7, frame::ETHERTYPE);
        }
        self.code.bind(untagged);
        self.code
            .jump_if_number(R3, Condition::NotEqual, network(0x0800), self.labels.pass);
    }

    /// R0 = what the table says about the destination; no entry goes to the host.
    fn look_up(&mut self) {
        self.need(frame::IP_END);
        self.code.load(Width::Byte, R3, R7, frame::IP);
        self.code.alu_number(Alu::And, R3, 0xf0);
        self.code
            .jump_if_number(R3, Condition::NotEqual, 0x40, self.labels.pass);
        self.code.load(Width::Word, R3, R7, frame::DESTINATION);
        self.code
            .store_number(Width::Word, R10, stack::PREFIX_LENGTH, 32);
        self.code.store(Width::Word, R10, stack::PREFIX_ADDRESS, R3);
        self.code.load_map(R1, self.maps.table);
        self.stack_address(stack::PREFIX_LENGTH);
        self.code.call(Helper::MapLookup);
        self.code
            .jump_if_number(R0, Condition::Equal, 0, self.labels.pass);
        self.code.load(Width::Word, R1, R0, 0);
        self.code
            .jump_if_number(R1, Condition::AnyBit, FLAG_POOL as i32, self.labels.pool);
    }

    /// R0 is the rule of an endpoint, R1 its flags, R4 becomes the IHL.
    fn endpoint(&mut self) {
        let pass = self.labels.pass;
        let esp = self.code.label();
        self.class(Class::Fragment);
        self.code.load(Width::Half, R3, R7, frame::FRAGMENT);
        self.code
            .jump_if_number(R3, Condition::AnyBit, network(0x3fff), pass);
        self.class(Class::Host);
        self.code.load(Width::Byte, R4, R7, frame::IP);
        self.code.alu_number(Alu::And, R4, 0x0f);
        self.code.jump_if_number(R4, Condition::Less, 5, pass);
        self.code.load(Width::Byte, R3, R7, frame::PROTOCOL);
        self.code.jump_if_number(R3, Condition::Equal, 50, esp);
        self.code.jump_if_number(R3, Condition::NotEqual, 17, pass);
        self.udp();
        self.code.bind(esp);
        self.esp();
    }

    /// To a worker if the rule has the port.
    fn udp(&mut self) {
        self.udp_port();
        self.code
            .jump_if_number(R3, Condition::Equal, 0, self.labels.pass);
        self.class(Class::Udp);
        for port in 0..MAX_PORTS {
            let offset = (RULE_PORTS + 2 * port) as i16;
            self.code.load(Width::Half, R4, R0, offset);
            self.code
                .jump_if(R3, Condition::Equal, R4, self.labels.worker_or_host);
        }
        self.class(Class::Host);
        self.code.jump(self.labels.pass);
    }

    /// To a worker if the rule says so.
    fn esp(&mut self) {
        let taken = self.code.label();
        self.code
            .jump_if_number(R1, Condition::AnyBit, FLAG_ESP as i32, taken);
        self.code.jump(self.labels.pass);
        self.code.bind(taken);
        self.class(Class::Esp);
        self.code.jump(self.labels.worker_or_host);
    }

    /// R3 = UDP destination port in network order; R4 is the IHL. One arm per IHL keeps offsets
    /// constant.
    fn udp_port(&mut self) {
        let found = self.code.label();
        for ihl in 5..=15 {
            let next = self.code.label();
            let udp = frame::IP + 4 * ihl;
            self.code
                .jump_if_number(R4, Condition::NotEqual, i32::from(ihl), next);
            self.need(udp + frame::UDP_LEN);
            self.code
                .load(Width::Half, R3, R7, udp + frame::UDP_DESTINATION);
            self.code.jump(found);
            self.code.bind(next);
        }
        self.code.jump(self.labels.pass);
        self.code.bind(found);
    }

    /// The three ways out.
    fn exits(&mut self) {
        self.code.bind(self.labels.worker_or_host);
        self.redirect(action::PASS, UNSERVED_ENDPOINT);
        self.code.bind(self.labels.pool);
        self.class(Class::Pool);
        self.redirect(action::DROP, UNSERVED_POOL);
        self.code.bind(self.labels.pass);
        self.count();
        self.code.alu_number(Alu::Mov, R0, action::PASS as i32);
        self.code.exit();
    }

    /// To the socket of the queue; without one, `fallback`, and it counts as `unserved` too.
    fn redirect(&mut self, fallback: u32, unserved: u32) {
        let done = self.code.label();
        self.count();
        self.code.load_map(R1, self.maps.sockets);
        self.code.load(Width::Word, R2, R6, context::RX_QUEUE_INDEX);
        self.code.alu_number(Alu::Mov, R3, fallback as i32);
        self.code.call(Helper::RedirectMap);
        self.code
            .jump_if_number(R0, Condition::Equal, action::REDIRECT as i32, done);
        self.code.alu_number(Alu::Mov, R9, unserved as i32);
        self.count();
        self.code.alu_number(Alu::Mov, R0, fallback as i32);
        self.code.bind(done);
        self.code.exit();
    }

    /// Adds one to the counter in R9.
    fn count(&mut self) {
        let absent = self.code.label();
        self.code.store(Width::Word, R10, stack::COUNTER, R9);
        self.code.load_map(R1, self.maps.counters);
        self.stack_address(stack::COUNTER);
        self.code.call(Helper::MapLookup);
        self.code.jump_if_number(R0, Condition::Equal, 0, absent);
        self.code.load(Width::Double, R1, R0, 0);
        self.code.alu_number(Alu::Add, R1, 1);
        self.code.store(Width::Double, R0, 0, R1);
        self.code.bind(absent);
    }

    fn class(&mut self, class: Class) {
        self.code.alu_number(Alu::Mov, R9, class as i32);
    }

    /// A frame that ends before `len` octets goes to the host.
    fn need(&mut self, len: i16) {
        self.code.alu(Alu::Mov, R2, R7);
        self.code.alu_number(Alu::Add, R2, i32::from(len));
        self.code
            .jump_if(R2, Condition::Greater, R8, self.labels.pass);
    }

    /// R2 = the address of a place on the stack.
    fn stack_address(&mut self, place: i16) {
        self.code.alu(Alu::Mov, R2, R10);
        self.code.alu_number(Alu::Add, R2, i32::from(place));
    }
}

/// A number of 16 bits as a load from the frame gives it.
fn network(number: u16) -> i32 {
    i32::from(number.to_be())
}
