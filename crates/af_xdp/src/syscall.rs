//! The system calls, each behind a function that safe code cannot misuse.
//!
//! Lengths and layouts are checked or fixed by types here, so that the other modules hold no
//! pointer to anything but ring slots and packet memory.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};

pub(crate) mod bpf;
pub(crate) mod ethtool;

/// Turns the -1 of a system call into its error.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// A range of mapped memory, unmapped when dropped. It makes no claim about the content: whoever
/// turns [`Mapping::base`] into references must say why that is sound.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process and not to a thread; the value itself only unmaps it.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference only the address and the length can be read.
unsafe impl Sync for Mapping {}

/// What the pages of an anonymous mapping are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageKind {
    Ordinary,
    Reserved,
}

/// What madvise(2) may be told; none of these changes what the memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    HugePages,
    SmallPages,
    Populate,
    KeepFromChildren,
}

impl Mapping {
    /// Zeroed private memory.
    pub(crate) fn anonymous(len: usize, pages: PageKind) -> io::Result<Self> {
        let huge = match pages {
            PageKind::Ordinary => 0,
            PageKind::Reserved => libc::MAP_HUGETLB,
        };
        Self::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | huge, -1, 0)
    }

    /// A shared mapping of `fd`.
    pub(crate) fn shared(fd: BorrowedFd<'_>, len: usize, offset: i64) -> io::Result<Self> {
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        Self::map(len, flags, fd.as_raw_fd(), offset)
    }

    fn map(len: usize, flags: libc::c_int, fd: RawFd, offset: i64) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: without MAP_FIXED the kernel chooses a free range, so no memory in use changes.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, fd, offset) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, len })
    }

    /// Gives advice about the `len` octets at `offset`.
    pub(crate) fn advise(&self, offset: usize, len: usize, advice: Advice) -> io::Result<()> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let advice = match advice {
            Advice::HugePages => libc::MADV_HUGEPAGE,
            Advice::SmallPages => libc::MADV_NOHUGEPAGE,
            Advice::Populate => libc::MADV_POPULATE_WRITE,
            Advice::KeepFromChildren => libc::MADV_DONTFORK,
        };
        // SAFETY: the range is inside this mapping, and no advice of `Advice` alters content.
        checked(unsafe { libc::madvise(self.base.as_ptr().add(offset).cast(), len, advice) })?;
        Ok(())
    }

    /// Where it starts.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Octets mapped.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is what mmap returned, and owners of pointers into it (rings, areas)
        // hold this value for as long as they live.
        let result = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert_eq!(result, 0, "a mapping of ours can be unmapped");
    }
}

/// A structure the kernel may fill in.
///
/// # Safety
/// Every bit pattern is a valid value and all-zero octets are one.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: integers only.
unsafe impl<const N: usize> Plain for [u32; N] {}
// SAFETY: integers only.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: integers only.
unsafe impl Plain for libc::xdp_statistics {}
// SAFETY: integers only.
unsafe impl Plain for libc::xdp_options {}

/// socket(2), closed on exec.
pub(crate) fn socket(
    domain: libc::c_int,
    kind: libc::c_int,
    protocol: libc::c_int,
) -> io::Result<OwnedFd> {
    // SAFETY: integers only.
    let fd = checked(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: socket has just made the descriptor, so it is open and nobody else closes it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// getsockopt(2); what the kernel does not fill in is zero.
pub(crate) fn option<T: Plain>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<T> {
    // SAFETY: `Plain` promises that zero is a value.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut len = size_of::<T>() as libc::socklen_t;
    let place = (&raw mut value).cast();
    // SAFETY: the kernel writes at most `len` octets, the size of `value`, and any octets are a
    // value of a `Plain` type.
    checked(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, place, &raw mut len) })?;
    Ok(value)
}

/// setsockopt(2) of a number.
pub(crate) fn set_option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: u32,
) -> io::Result<()> {
    let len = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` octets of `value`.
    checked(unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len)
    })?;
    Ok(())
}

/// Registers memory for AF_XDP (`XDP_UMEM_REG`). This alone lets the kernel touch nothing: it
/// writes only where an address in the fill ring points, and [`crate::area`] decides about those.
pub(crate) fn register_memory(
    fd: BorrowedFd<'_>,
    memory: &Mapping,
    offset: usize,
    len: usize,
    chunk_size: u32,
) -> io::Result<()> {
    if offset.checked_add(len).is_none_or(|end| end > memory.len()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let registration = libc::xdp_umem_reg {
        addr: (memory.base().as_ptr() as usize + offset) as u64,
        len: len as u64,
        chunk_size,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    let size = size_of_val(&registration) as libc::socklen_t;
    let place = (&raw const registration).cast();
    // SAFETY: the kernel reads `size` octets of `registration`; the range it names is mapped.
    checked(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_UMEM_REG,
            place,
            size,
        )
    })?;
    Ok(())
}

/// bind(2) of an AF_XDP socket.
pub(crate) fn bind_xdp(fd: BorrowedFd<'_>, address: &libc::sockaddr_xdp) -> io::Result<()> {
    let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` octets of `address`.
    checked(unsafe { libc::bind(fd.as_raw_fd(), (&raw const *address).cast(), len) })?;
    Ok(())
}

/// Tells the kernel to look at the transmit ring.
pub(crate) fn wake_transmit(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            ptr::null(),
            0,
            libc::MSG_DONTWAIT,
            ptr::null(),
            0,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Tells the kernel to look at the fill ring.
pub(crate) fn wake_receive(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed.
    let received = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// An interface name as `ifreq` has it; `None` if it is too long or holds a zero.
pub(crate) fn interface_name(name: &str) -> Option<[libc::c_char; libc::IFNAMSIZ]> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return None;
    }
    let mut field = [0; libc::IFNAMSIZ];
    for (to, from) in field.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Some(field)
}

/// `TUNSETIFF`: makes `fd` (of /dev/net/tun) a queue of the device `name`; returns its real name.
pub(crate) fn attach_tun(fd: BorrowedFd<'_>, name: &str, flags: i16) -> io::Result<String> {
    let mut request = libc::ifreq {
        ifr_name: interface_name(name).ok_or(io::ErrorKind::InvalidInput)?,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    };
    // SAFETY: TUNSETIFF reads and writes one `ifreq`.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(request
        .ifr_name
        .iter()
        .take_while(|c| **c != 0)
        .map(|c| char::from(*c as u8))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `linux/if_xdp.h`.
    #[test]
    fn the_structures_are_as_large_as_the_kernel_s() {
        assert_eq!(size_of::<libc::xdp_umem_reg>(), 32);
        assert_eq!(std::mem::offset_of!(libc::xdp_umem_reg, chunk_size), 16);
        assert_eq!(
            std::mem::offset_of!(libc::xdp_umem_reg, tx_metadata_len),
            28
        );
        assert_eq!(size_of::<libc::xdp_mmap_offsets>(), 128);
        assert_eq!(std::mem::offset_of!(libc::xdp_mmap_offsets, fr), 64);
        assert_eq!(std::mem::offset_of!(libc::xdp_ring_offset, flags), 24);
        assert_eq!(size_of::<libc::xdp_statistics>(), 48);
        assert_eq!(size_of::<libc::sockaddr_xdp>(), 16);
        assert_eq!(
            std::mem::offset_of!(libc::sockaddr_xdp, sxdp_shared_umem_fd),
            12
        );
    }

    #[test]
    fn advice_stays_inside_the_mapping() {
        let mapping = Mapping::anonymous(8192, PageKind::Ordinary).unwrap();
        assert!(mapping.advise(4096, 4096, Advice::Populate).is_ok());
        assert!(mapping.advise(4096, 8192, Advice::Populate).is_err());
        assert!(mapping.advise(usize::MAX, 2, Advice::Populate).is_err());
    }

    #[test]
    fn a_name_must_fit_with_its_zero() {
        assert!(interface_name("abcdefghijklmno").is_some());
        assert!(interface_name("abcdefghijklmnop").is_none());
        assert!(interface_name("").is_none());
        assert!(interface_name("a\0b").is_none());
    }
}
