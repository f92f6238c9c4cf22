//! How often a port asks the kernel.
//!
//! A look that finds nothing costs a system call, and with XDP most looks at the sockets and at
//! `adit0` find nothing while the rings are busy. So after such a look a few turns pass without
//! one. A worker that has nothing to do parks only after many more turns than that, and waits on
//! the descriptors then: nothing is missed.

/// Turns that pass after a look in vain: some ten microseconds under load.
const SKIPPED_TURNS: u8 = 7;

/// When to look again.
#[derive(Debug, Default)]
pub(super) struct Glance {
    skip: u8,
}

impl Glance {
    /// Whether to look in this turn.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        is_due
    }

    /// What a look has found.
    pub(super) fn found(&mut self, count: usize) {
        self.skip = if count == 0 { SKIPPED_TURNS } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_look_in_vain_some_turns_pass_and_after_a_find_none() {
        let mut glance = Glance::default();
        assert!(glance.is_due());
        glance.found(0);
        let passed = (0..100).take_while(|_| !glance.is_due()).count();
        assert_eq!(passed, usize::from(SKIPPED_TURNS));
        glance.found(3);
        assert!(glance.is_due() && glance.is_due());
    }
}
