//! Which back ends a test runs over.

#![allow(dead_code, clippy::print_stdout)]

use crypto::esp::Backend;

/// All that this processor can run; of the others it is said why not.
pub(crate) fn back_ends() -> Vec<Backend> {
    let (available, absent): (Vec<_>, _) = Backend::ALL
        .into_iter()
        .partition(|backend| backend.available());
    for backend in absent {
        println!("{backend} is not tested: {}", backend.why());
    }
    available
}

/// All but the reference.
pub(crate) fn fast_back_ends() -> impl Iterator<Item = Backend> {
    back_ends()
        .into_iter()
        .filter(|backend| *backend != Backend::RustCrypto)
}
