//! Stories that need more than one crate.
