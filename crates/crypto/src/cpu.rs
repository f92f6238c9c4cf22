//! What the processor can do that Rust has no safe name for: fetch a cache line early, count cycles.
//!
//! Here and in the fast back ends of [`crate::esp`] is all unsafe code of the crate. Elsewhere than
//! on x86-64 prefetching does nothing and the cycle counter stands still.

#![allow(unsafe_code)]

use std::fmt;

/// Bytes in a cache line.
const LINE_LEN: usize = 64;

/// Lines fetched of one value: more would crowd out what was fetched before.
const PREFETCH_LINES_MAX: usize = 12;

/// Asks for the cache lines of `value` to be brought near. Never blocks, never faults.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    let lines = size_of::<T>().div_ceil(LINE_LEN).min(PREFETCH_LINES_MAX);
    (0..lines).for_each(|line| prefetch_line(value, line));
}

/// Asks for one of the cache lines of `value`, if it has so many.
#[inline(always)]
pub fn prefetch_line<T>(value: &T, line: usize) {
    #[cfg(target_arch = "x86_64")]
    if line * LINE_LEN < size_of::<T>() {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(value).cast::<i8>();
        // SAFETY: PREFETCHT0 is a hint that reads nothing into the program and faults on no address;
        // SSE, which it belongs to, is part of every x86-64 processor. `wrapping_add` makes no claim
        // about the address either.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * LINE_LEN)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, line);
}

/// Where something lies, for who will ask for it once more. What is there by then is nobody's claim.
#[derive(Clone, Copy, Debug, Default)]
pub struct Address(usize);

impl Address {
    /// Of `value`.
    #[inline(always)]
    pub fn of<T>(value: &T) -> Self {
        Self(std::ptr::from_ref(value).addr())
    }

    /// Of what lies so many octets behind the first of `bytes`.
    #[inline(always)]
    #[must_use]
    pub fn in_bytes(bytes: &[u8], offset: usize) -> Self {
        Self(bytes.as_ptr().addr().wrapping_add(offset))
    }

    /// Asks for the cache line that lies so many lines behind the address.
    #[inline(always)]
    pub fn prefetch(self, line: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line = std::ptr::without_provenance::<i8>(self.0.wrapping_add(line * LINE_LEN));
            // SAFETY: as in `prefetch_line`: any address will do.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}

/// Octets that will soon be needed, asked for a few lines at a time: all at once they would keep others
/// waiting for memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Approach {
    next: Address,
    /// Lines that nobody has asked for.
    left: usize,
}

impl Approach {
    /// To `bytes` without the first `offset`. Asks for so few that the rest are a multiple of `N` lines.
    #[inline(always)]
    #[must_use]
    pub fn to<const N: usize>(bytes: &[u8], offset: usize) -> Self {
        let bytes = bytes.get(offset..).unwrap_or_default();
        let lines = bytes.len().div_ceil(LINE_LEN);
        let mut approach = Self {
            next: Address(bytes.as_ptr().addr()),
            left: lines,
        };
        for _ in 0..lines % N {
            approach.step::<1>();
        }
        approach
    }

    /// Asks for the next `N` lines, if there are so many left.
    #[inline(always)]
    pub fn step<const N: usize>(&mut self) {
        if let Some(left) = self.left.checked_sub(N) {
            (0..N).for_each(|line| self.next.prefetch(line));
            self.next.0 = self.next.0.wrapping_add(N * LINE_LEN);
            self.left = left;
        }
    }

    /// Asks for all that is left.
    #[inline(always)]
    pub fn finish(self) {
        (0..self.left).for_each(|line| self.next.prefetch(line));
    }
}

/// Asks for as many cache lines of `bytes` as there are from `offset` on, up to `lines`.
#[inline(always)]
pub fn prefetch_bytes(bytes: &[u8], offset: usize, lines: usize) {
    let bytes = bytes.get(offset..).unwrap_or_default();
    for line in bytes.chunks(LINE_LEN).take(lines) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: as in `prefetch_line`.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}

/// The processor's cycle counter: for measuring how long a burst took, not for telling the time.
#[inline(always)]
#[must_use]
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: RDTSC has no operands and touches no memory; every x86-64 processor has it, and
    // Linux leaves it open to user space unless a process forbids it to itself (PR_SET_TSC).
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// What this processor has that the ciphers can use. [`fmt::Display`] names what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// AES rounds as instructions (AES-NI).
    pub aes: bool,
    /// Carry-less multiplication, for GHASH.
    pub pclmulqdq: bool,
    /// SHA-1 and SHA-256 rounds as instructions.
    pub sha: bool,
    /// AES on wide registers.
    pub vaes: bool,
    /// Carry-less multiplication on wide registers.
    pub vpclmulqdq: bool,
    /// 512-bit registers with byte masks (AVX-512 F, BW, DQ and VL, and BMI2).
    pub avx512: bool,
}

/// Asks the processor.
#[must_use]
pub fn features() -> Features {
    #[cfg(target_arch = "x86_64")]
    return Features {
        aes: is_x86_feature_detected!("aes"),
        pclmulqdq: is_x86_feature_detected!("pclmulqdq"),
        sha: is_x86_feature_detected!("sha"),
        vaes: is_x86_feature_detected!("vaes"),
        vpclmulqdq: is_x86_feature_detected!("vpclmulqdq"),
        avx512: is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("bmi2"),
    };
    #[cfg(not(target_arch = "x86_64"))]
    Features::default()
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.aes, "aes"),
            (self.pclmulqdq, "pclmulqdq"),
            (self.sha, "sha"),
            (self.vaes, "vaes"),
            (self.vpclmulqdq, "vpclmulqdq"),
            (self.avx512, "avx512"),
        ];
        let present: Vec<_> = names
            .iter()
            .filter(|(has, _)| *has)
            .map(|(_, name)| *name)
            .collect();
        if present.is_empty() {
            f.write_str("none")
        } else {
            f.write_str(&present.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_can_be_prefetched() {
        prefetch(&());
        prefetch(&0_u8);
        prefetch(&[0_u8; 100_000]);
        prefetch(&vec![1, 2, 3]);
        for (offset, lines) in [(0, 0), (0, 1), (60, 2), (100, 100), (1000, 3)] {
            prefetch_bytes(&[0; 100], offset, lines);
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn cycles_pass() {
        let start = cycles();
        let sum: u64 = (0..100_000_u64).map(std::hint::black_box).sum();
        assert!(sum > 0 && cycles() > start);
    }

    #[test]
    fn features_are_printed_by_name() {
        assert_eq!(Features::default().to_string(), "none");
        let two = Features {
            aes: true,
            avx512: true,
            ..Features::default()
        };
        assert_eq!(two.to_string(), "aes avx512");
        assert_eq!(features(), features(), "the processor stays the same");
    }
}
