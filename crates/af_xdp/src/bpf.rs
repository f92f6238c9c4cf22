//! eBPF: assembler, maps, programs, links. No C, no ELF, no committed bytecode: five commands of
//! bpf(2) are all an XDP program needs.

mod assembler;
mod map;
mod program;

pub use assembler::{
    Alu, AssembleError, Assembler, Condition, Helper, Label, Register, Width, disassemble,
};
pub use map::{Counters, LpmTrie, SocketMap};
pub use program::{AttachError, AttachMode, Link, LoadError, Program, TestRun};

/// Return values of an XDP program (`enum xdp_action`).
pub mod action {
    /// The frame is dropped.
    pub const DROP: u32 = 1;
    /// The frame goes to the host.
    pub const PASS: u32 = 2;
    /// The frame goes where the redirect helper said.
    pub const REDIRECT: u32 = 4;
}
