//! bpf(2). Layouts from `union bpf_attr` of `linux/bpf.h`; pointers are `__aligned_u64` there.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;
const LINK_CREATE: libc::c_long = 28;
const LINK_UPDATE: libc::c_long = 29;
const LINK_DETACH: libc::c_long = 34;

const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;

/// Octets of a name, with its zero (`BPF_OBJ_NAME_LEN`).
const NAME_LEN: usize = 16;

/// Kinds of map, with the numbers of `enum bpf_map_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum MapKind {
    PerCpuArray = 6,
    LpmTrie = 11,
    Xskmap = 17,
}

#[derive(Default)]
#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; NAME_LEN],
}

#[derive(Default)]
#[repr(C)]
struct MapElement {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[derive(Default)]
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_LEN],
    interface: u32,
    expected_attach_type: u32,
}

#[derive(Default)]
#[repr(C)]
struct TestRun {
    program_fd: u32,
    result: u32,
    data_in_size: u32,
    data_out_size: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_in_size: u32,
    context_out_size: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

#[derive(Default)]
#[repr(C)]
struct LinkCreate {
    program_fd: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

#[derive(Default)]
#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_program_fd: u32,
    flags: u32,
    old_program_fd: u32,
}

#[derive(Default)]
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// Calls bpf(2).
///
/// # Safety
/// `attributes` is the member of `union bpf_attr` that `command` uses, and the addresses in it
/// point to memory that may be read or written as the command does.
unsafe fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<RawFd> {
    let place: *mut T = attributes;
    // SAFETY: the caller's promise; the kernel takes `size_of::<T>()` octets of the union and
    // assumes zero for the rest.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, place, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as RawFd)
}

/// Calls bpf(2) with a command that makes a descriptor.
///
/// # Safety
/// As for [`bpf`], and `command` returns a new descriptor.
unsafe fn make<T>(command: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attributes) }?;
    // SAFETY: the command has just made the descriptor, so it is open and nobody else closes it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A map that knows how large its keys and values are, so that no call can run past a slice.
#[derive(Debug)]
pub(crate) struct Map {
    fd: OwnedFd,
    key_size: usize,
    /// Octets of a value as this side sees it: per-CPU maps give one per possible CPU.
    value_size: usize,
}

impl Map {
    /// Makes a map. `copies` is the number of possible CPUs for per-CPU maps, else 1.
    pub(crate) fn create(
        kind: MapKind,
        key_size: u32,
        value_size: u32,
        copies: usize,
        max_entries: u32,
        name_text: &str,
    ) -> io::Result<Self> {
        /// `BPF_F_NO_PREALLOC`, which a trie insists on.
        const NO_PREALLOC: u32 = 1;
        let mut attributes = MapCreate {
            kind: kind as u32,
            key_size,
            value_size,
            max_entries,
            flags: if kind == MapKind::LpmTrie {
                NO_PREALLOC
            } else {
                0
            },
            name: name(name_text),
            ..MapCreate::default()
        };
        // SAFETY: `MapCreate` is the member for this command and holds no address.
        let fd = unsafe { make(MAP_CREATE, &mut attributes) }?;
        let value_size = match kind {
            // Per-CPU values stand 8 octets apart at least.
            MapKind::PerCpuArray => (value_size as usize).next_multiple_of(8) * copies,
            MapKind::LpmTrie | MapKind::Xskmap => value_size as usize,
        };
        Ok(Self {
            fd,
            key_size: key_size as usize,
            value_size,
        })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(crate) fn value_size(&self) -> usize {
        self.value_size
    }

    /// Adds an element or replaces it.
    pub(crate) fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.check(key, Some(value.len()))?;
        let mut attributes = self.element(key, value.as_ptr() as u64);
        // SAFETY: the kernel reads `key_size` and `value_size` octets, the lengths just checked.
        unsafe { bpf(MAP_UPDATE_ELEM, &mut attributes) }?;
        Ok(())
    }

    /// Reads an element into `value`.
    pub(crate) fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<()> {
        self.check(key, Some(value.len()))?;
        let mut attributes = self.element(key, value.as_mut_ptr() as u64);
        // SAFETY: the kernel reads `key_size` octets and writes `value_size`, just checked.
        unsafe { bpf(MAP_LOOKUP_ELEM, &mut attributes) }?;
        Ok(())
    }

    /// Removes an element.
    pub(crate) fn delete(&self, key: &[u8]) -> io::Result<()> {
        self.check(key, None)?;
        let mut attributes = self.element(key, 0);
        // SAFETY: the kernel reads `key_size` octets, just checked.
        unsafe { bpf(MAP_DELETE_ELEM, &mut attributes) }?;
        Ok(())
    }

    fn check(&self, key: &[u8], value_len: Option<usize>) -> io::Result<()> {
        if key.len() != self.key_size || value_len.is_some_and(|len| len != self.value_size) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(())
    }

    fn element(&self, key: &[u8], value: u64) -> MapElement {
        MapElement {
            map_fd: self.fd() as u32,
            key: key.as_ptr() as u64,
            value,
            ..MapElement::default()
        }
    }
}

/// Loads an XDP program; the verifier writes its log into `log`, a C string.
pub(crate) fn load_xdp(
    instructions: &[u64],
    name_text: &str,
    log: Option<&mut [u8]>,
) -> io::Result<OwnedFd> {
    // No helper that is reserved for GPL programs is called.
    let license = c"MIT OR Apache-2.0";
    let mut attributes = ProgramLoad {
        kind: PROG_TYPE_XDP,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        name: name(name_text),
        expected_attach_type: ATTACH_TYPE_XDP,
        ..ProgramLoad::default()
    };
    if let Some(log) = log {
        attributes.log_level = 1;
        attributes.log_size = log.len() as u32;
        attributes.log = log.as_mut_ptr() as u64;
    }
    // SAFETY: instructions and licence are read up to their lengths, the log is written up to its
    // length; all three outlive the call.
    unsafe { make(PROG_LOAD, &mut attributes) }
}

/// What a test run gave.
pub(crate) struct TestResult {
    pub(crate) action: u32,
    pub(crate) nanoseconds: u32,
    pub(crate) frame_len: usize,
}

/// Runs a program `repeat` times over `frame`; the frame it leaves goes into `out`.
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    out: &mut [u8],
    repeat: u32,
) -> io::Result<TestResult> {
    let mut attributes = TestRun {
        program_fd: program.as_raw_fd() as u32,
        data_in_size: frame.len() as u32,
        data_out_size: out.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat,
        ..TestRun::default()
    };
    // SAFETY: the kernel reads `data_in_size` octets of `frame` and writes at most
    // `data_out_size` octets of `out`.
    unsafe { bpf(PROG_TEST_RUN, &mut attributes) }?;
    Ok(TestResult {
        action: attributes.result,
        nanoseconds: attributes.duration,
        frame_len: attributes.data_out_size as usize,
    })
}

/// Attaches an XDP program to an interface.
pub(crate) fn create_link(
    program: BorrowedFd<'_>,
    interface: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreate {
        program_fd: program.as_raw_fd() as u32,
        interface,
        attach_type: ATTACH_TYPE_XDP,
        flags,
    };
    // SAFETY: `LinkCreate` is the member for this command and holds no address.
    unsafe { make(LINK_CREATE, &mut attributes) }
}

/// Puts another program in the place of the one that `link` attaches.
pub(crate) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = LinkUpdate {
        link_fd: link.as_raw_fd() as u32,
        new_program_fd: program.as_raw_fd() as u32,
        ..LinkUpdate::default()
    };
    // SAFETY: `LinkUpdate` is the member for this command and holds no address.
    unsafe { bpf(LINK_UPDATE, &mut attributes) }?;
    Ok(())
}

/// Takes the program off its interface, before the link is closed.
pub(crate) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = LinkDetach {
        link_fd: link.as_raw_fd() as u32,
    };
    // SAFETY: `LinkDetach` is the member for this command and holds no address.
    unsafe { bpf(LINK_DETACH, &mut attributes) }?;
    Ok(())
}

/// A name, cut to what fits.
fn name(text: &str) -> [u8; NAME_LEN] {
    let mut field = [0; NAME_LEN];
    for (to, from) in field.iter_mut().take(NAME_LEN - 1).zip(text.bytes()) {
        *to = from;
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    /// `union bpf_attr` of `linux/bpf.h`.
    #[test]
    fn the_attributes_lie_where_the_kernel_reads_them() {
        assert_eq!(offset_of!(MapCreate, name), 28);
        assert_eq!(size_of::<MapElement>(), 32);
        assert_eq!(offset_of!(MapElement, key), 8);
        assert_eq!(offset_of!(ProgramLoad, log), 32);
        assert_eq!(offset_of!(ProgramLoad, name), 48);
        assert_eq!(offset_of!(ProgramLoad, expected_attach_type), 68);
        assert_eq!(size_of::<ProgramLoad>(), 72);
        assert_eq!(offset_of!(TestRun, repeat), 32);
        assert_eq!(offset_of!(TestRun, context_in), 48);
        assert_eq!(offset_of!(TestRun, batch_size), 72);
        assert_eq!(size_of::<TestRun>(), 80);
        assert_eq!(size_of::<LinkCreate>(), 16);
        assert_eq!(size_of::<LinkUpdate>(), 16);
    }

    #[test]
    fn a_long_name_is_cut_before_its_zero() {
        assert_eq!(&name("abcdefghijklmnopq"), b"abcdefghijklmno\0");
    }
}
