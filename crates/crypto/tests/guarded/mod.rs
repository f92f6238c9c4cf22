//! Memory between two pages that nobody may touch.

#![allow(unsafe_code)]

use std::ptr;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Pages of x86-64 without huge ones.
const PAGE: usize = 4096;

/// Readable and writable memory; the page before it and the page after it are neither.
pub(crate) struct Guarded {
    base: *mut u8,
    len: usize,
}

impl Guarded {
    /// At least so many octets.
    pub(crate) fn new(len: usize) -> Self {
        let len = len.next_multiple_of(PAGE).max(PAGE);
        let all = len + 2 * PAGE;
        // SAFETY: a new mapping, which takes the place of no other.
        let base = unsafe {
            mmap_anonymous(ptr::null_mut(), all, ProtFlags::empty(), MapFlags::PRIVATE).unwrap()
        };
        let base = base.cast::<u8>();
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the pages between the first and the last of this mapping, which nobody uses yet.
        unsafe { mprotect(base.add(PAGE).cast(), len, access).unwrap() };
        Self { base, len }
    }

    /// The octets behind the first guard page.
    pub(crate) fn first(&mut self, len: usize) -> &mut [u8] {
        &mut self.memory()[..len]
    }

    /// The octets before the second.
    pub(crate) fn last(&mut self, len: usize) -> &mut [u8] {
        let start = self.len - len;
        &mut self.memory()[start..]
    }

    fn memory(&mut self) -> &mut [u8] {
        // SAFETY: `new` has mapped these octets, zeroed, readable and writable; they are borrowed
        // as long as `self` is, and unmapped when it goes.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(PAGE), self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, whose memory cannot be borrowed any more.
        unsafe { munmap(self.base.cast(), self.len + 2 * PAGE).unwrap() };
    }
}
