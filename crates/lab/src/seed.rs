//! Where unpredictable bytes come from.

use std::fs::File;
use std::io::{self, Read};

/// A seed from the kernel.
pub fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}
