//! [`Assembler`]: eBPF instructions from calls, jumps by label. Encoding: RFC 9669.

use std::fmt;
use std::os::fd::RawFd;

/// The registers of RFC 9669 §2.1. Calls clobber R0 to R5; R10 is the frame pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs)]
#[repr(u8)]
pub enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// Size of a load or store (RFC 9669 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Width {
    /// 4 octets
    Word = 0x00,
    /// 2 octets
    Half = 0x08,
    /// 1 octet
    Byte = 0x10,
    /// 8 octets
    Double = 0x18,
}

/// Arithmetic on 64 bits (RFC 9669 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alu {
    /// `dst += src`
    Add = 0x00,
    /// `dst &= src`
    And = 0x50,
    /// `dst = src`
    Mov = 0xb0,
}

/// Condition of a jump, unsigned (RFC 9669 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Condition {
    /// `dst == src`
    Equal = 0x10,
    /// `dst > src`
    Greater = 0x20,
    /// `dst & src != 0`
    AnyBit = 0x40,
    /// `dst != src`
    NotEqual = 0x50,
    /// `dst < src`
    Less = 0xa0,
}

/// Functions of the kernel, with the numbers of `linux/bpf.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Helper {
    /// `bpf_map_lookup_elem(map, key)`
    MapLookup = 1,
    /// `bpf_redirect_map(map, key, action if there is no such element)`
    RedirectMap = 51,
}

/// A place in the program that jumps can name before it is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// What is wrong with a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssembleError {
    /// A jump to a label that was never bound.
    UnboundLabel,
    /// A jump over more than 32767 instructions.
    JumpTooFar,
}

impl fmt::Display for AssembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnboundLabel => "a jump to a label that is bound nowhere",
            Self::JumpTooFar => "a jump over more than 32767 instructions",
        })
    }
}

impl std::error::Error for AssembleError {}

/// Instruction classes and modes (RFC 9669 §3).
mod opcode {
    pub(super) const LOAD_WIDE: u8 = 0x18;
    pub(super) const LOAD: u8 = 0x61;
    pub(super) const STORE: u8 = 0x63;
    pub(super) const STORE_NUMBER: u8 = 0x62;
    pub(super) const ALU64: u8 = 0x07;
    pub(super) const JUMP: u8 = 0x05;
    pub(super) const CALL: u8 = 0x85;
    pub(super) const EXIT: u8 = 0x95;
    /// The operand is a register and not a number.
    pub(super) const FROM_REGISTER: u8 = 0x08;
    /// Source register of a wide load whose number is a map's descriptor.
    pub(super) const MAP_FD: u8 = 1;
}

/// Builds a program from its first instruction to its last.
#[derive(Debug, Default)]
pub struct Assembler {
    instructions: Vec<u64>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// A label, to be bound later.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Binds a label to the next instruction.
    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.instructions.len());
    }

    /// `to = op(to, from)`
    pub fn alu(&mut self, op: Alu, to: Register, from: Register) {
        let code = opcode::ALU64 | opcode::FROM_REGISTER | op as u8;
        self.emit(code, to as u8, from as u8, 0, 0);
    }

    /// `to = op(to, number)`
    pub fn alu_number(&mut self, op: Alu, to: Register, number: i32) {
        self.emit(opcode::ALU64 | op as u8, to as u8, 0, 0, number);
    }

    /// `to = *(from + offset)`
    pub fn load(&mut self, width: Width, to: Register, from: Register, offset: i16) {
        let code = opcode::LOAD | width as u8;
        self.emit(code, to as u8, from as u8, offset, 0);
    }

    /// `*(to + offset) = from`
    pub fn store(&mut self, width: Width, to: Register, offset: i16, from: Register) {
        let code = opcode::STORE | width as u8;
        self.emit(code, to as u8, from as u8, offset, 0);
    }

    /// `*(to + offset) = number`
    pub fn store_number(&mut self, width: Width, to: Register, offset: i16, number: i32) {
        let code = opcode::STORE_NUMBER | width as u8;
        self.emit(code, to as u8, 0, offset, number);
    }

    /// `to = ` the map behind a descriptor.
    pub fn load_map(&mut self, to: Register, map: RawFd) {
        self.emit(opcode::LOAD_WIDE, to as u8, opcode::MAP_FD, 0, map);
        self.emit(0, 0, 0, 0, 0);
    }

    /// Calls the kernel with R1 to R5; the result is in R0.
    pub fn call(&mut self, helper: Helper) {
        self.emit(opcode::CALL, 0, 0, 0, helper as i32);
    }

    /// Returns R0.
    pub fn exit(&mut self) {
        self.emit(opcode::EXIT, 0, 0, 0, 0);
    }

    /// Goes to `label`.
    pub fn jump(&mut self, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.emit(opcode::JUMP, 0, 0, 0, 0);
    }

    /// Goes to `label` if `left` is so to `right`.
    pub fn jump_if(&mut self, left: Register, is: Condition, right: Register, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        let code = opcode::JUMP | opcode::FROM_REGISTER | is as u8;
        self.emit(code, left as u8, right as u8, 0, 0);
    }

    /// Goes to `label` if `left` is so to `number`.
    pub fn jump_if_number(&mut self, left: Register, is: Condition, number: i32, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.emit(opcode::JUMP | is as u8, left as u8, 0, 0, number);
    }

    /// The program.
    pub fn finish(mut self) -> Result<Vec<u64>, AssembleError> {
        for (at, label) in &self.jumps {
            let target = self.labels[label.0].ok_or(AssembleError::UnboundLabel)?;
            // RFC 9669 §4.3: an offset counts from the instruction behind the jump.
            let distance = target as i64 - *at as i64 - 1;
            let offset = i16::try_from(distance).map_err(|_| AssembleError::JumpTooFar)?;
            let mut octets = self.instructions[*at].to_ne_bytes();
            octets[2..4].copy_from_slice(&offset.to_ne_bytes());
            self.instructions[*at] = u64::from_ne_bytes(octets);
        }
        Ok(self.instructions)
    }

    /// `struct bpf_insn`: code, two registers of four bits, offset, number.
    fn emit(&mut self, code: u8, to: u8, from: u8, offset: i16, number: i32) {
        let registers = if cfg!(target_endian = "little") {
            to | from << 4
        } else {
            to << 4 | from
        };
        let [offset_a, offset_b] = offset.to_ne_bytes();
        let [a, b, c, d] = number.to_ne_bytes();
        let octets = [code, registers, offset_a, offset_b, a, b, c, d];
        self.instructions.push(u64::from_ne_bytes(octets));
    }
}

/// One line per instruction: `code to from offset number`, for reading and for golden files.
pub fn disassemble(instructions: &[u64]) -> String {
    let mut text = String::new();
    for (at, instruction) in instructions.iter().enumerate() {
        let [code, registers, a, b, number @ ..] = instruction.to_ne_bytes();
        let (to, from) = if cfg!(target_endian = "little") {
            (registers & 15, registers >> 4)
        } else {
            (registers >> 4, registers & 15)
        };
        let offset = i16::from_ne_bytes([a, b]);
        let number = i32::from_ne_bytes(number);
        text += &format!("{at:4}  {code:02x} r{to} r{from} {offset:+} {number:#x}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use Register::{R0, R1, R2, R10};

    /// Words as `llvm-mc`/bpftool show them, little endian; checked against the tables of RFC 9669.
    #[test]
    #[cfg(target_endian = "little")]
    fn instructions_are_encoded_as_rfc_9669_says() {
        let mut code = Assembler::new();
        code.alu_number(Alu::Mov, R0, 2);
        code.alu(Alu::Mov, R2, R10);
        code.alu_number(Alu::Add, R2, -8);
        code.load(Width::Word, R0, R1, 16);
        code.store(Width::Double, R10, -8, R1);
        code.load_map(R1, 5);
        code.call(Helper::MapLookup);
        code.exit();
        let octets: Vec<[u8; 8]> = code
            .finish()
            .unwrap()
            .iter()
            .map(|w| w.to_le_bytes())
            .collect();
        let expected: [[u8; 8]; 9] = [
            [0xb7, 0x00, 0, 0, 2, 0, 0, 0],
            [0xbf, 0xa2, 0, 0, 0, 0, 0, 0],
            [0x07, 0x02, 0, 0, 0xf8, 0xff, 0xff, 0xff],
            [0x61, 0x10, 0x10, 0, 0, 0, 0, 0],
            [0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0],
            [0x18, 0x11, 0, 0, 5, 0, 0, 0],
            [0; 8],
            [0x85, 0, 0, 0, 1, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(octets, expected);
    }

    #[test]
    fn jumps_reach_labels_in_front_and_behind() {
        let mut code = Assembler::new();
        let (start, end) = (code.label(), code.label());
        code.bind(start);
        code.jump_if_number(R0, Condition::Equal, 0, end);
        code.jump_if(R0, Condition::Greater, R1, start);
        code.jump(end);
        code.bind(end);
        code.exit();
        let text = disassemble(&code.finish().unwrap());
        assert_eq!(
            text,
            "   0  15 r0 r0 +2 0x0\n   1  2d r0 r1 -2 0x0\n   2  05 r0 r0 +0 0x0\n   3  95 r0 r0 +0 0x0\n"
        );
    }

    #[test]
    fn a_jump_to_nowhere_is_an_error() {
        let mut code = Assembler::new();
        let label = code.label();
        code.jump(label);
        assert_eq!(code.finish(), Err(AssembleError::UnboundLabel));
    }

    #[test]
    fn a_jump_reaches_32767_instructions_and_no_further() {
        for (between, fits) in [(32767, true), (32768, false)] {
            let mut code = Assembler::new();
            let label = code.label();
            code.jump(label);
            (0..between).for_each(|_| code.exit());
            code.bind(label);
            assert_eq!(code.finish().is_ok(), fits);
        }
    }
}
