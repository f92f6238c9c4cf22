//! What an implementation of some suites has to offer.

use zeroize::ZeroizeOnDrop;

use super::slots::Slots;
use super::{Direction, EspJob, Keymat, Suite};

/// How many packets ahead of the one at work keys are fetched; measured with 100 000 SAs, 4 to 8
/// hide the miss.
pub(super) const PREFETCH_AHEAD: usize = 4;

/// A key as an implementation wants it, which is also the implementation's name.
///
/// The type is what lies in a slot: one direction of one SA, expanded, at most some cache lines,
/// erased on drop. An `Option` around it should cost nothing (a `NonZero` field does that).
pub(super) trait Kernel: ZeroizeOnDrop + Sized {
    /// Expands a key. Only suites that `accelerated::has` assigns to this kernel come here.
    fn new(direction: Direction, keymat: &Keymat, iv_key: &[u8; 16]) -> Self;

    /// Gives every job a verdict other than `Pending`; see [`super::Keys::open_with`].
    ///
    /// `ahead` is called once for each index of `jobs`, whatever the verdict, in ascending order.
    fn open(
        keys: &Slots<Self>,
        suite: Suite,
        jobs: &mut [EspJob<'_>],
        ahead: &mut impl FnMut(usize),
    );

    /// As [`Kernel::open`], the other way.
    fn seal(
        keys: &Slots<Self>,
        suite: Suite,
        jobs: &mut [EspJob<'_>],
        ahead: &mut impl FnMut(usize),
    );
}
