//! What the kernel lost in front of a port or behind it: declared once, like
//! [`dataplane::Discard`], and shown beside those.

macro_rules! losses {
    ($($name:ident = $text:literal,)*) => {
        /// Why the kernel lost a frame.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Loss {
            $($name,)*
        }

        impl Loss {
            /// All of them, in the order of their counters.
            pub(crate) const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name,)*];

            /// What an operator reads.
            pub(crate) const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// A stable key for machines.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

losses! {
    XdpReceiveFull   = "receive ring of an AF_XDP socket full: its worker is behind",
    XdpFillEmpty     = "no free chunk in the fill ring of an AF_XDP socket: its worker is behind",
    XdpDropped       = "dropped by an AF_XDP socket: longer than a chunk",
    XdpBadDescriptor = "descriptor that the kernel or we refused: a fault in Adit or in a driver",
    SocketFull       = "receive buffer of a socket full: its worker is behind",
    SocketUnsendable = "refused by the kernel: no route, a firewall, or too long",
    TunFull          = "queue of the TUN device full: a worker is behind",
}

/// How many frames were lost, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses([u64; Loss::ALL.len()]);

impl Losses {
    /// Counts `frames` more.
    pub(crate) fn add(&mut self, loss: Loss, frames: u64) {
        self.0[loss as usize] += frames;
    }

    /// Counts all that `other` has.
    pub(crate) fn add_all(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            *ours += theirs;
        }
    }

    /// Each reason with its number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Loss, u64)> + '_ {
        Loss::ALL.into_iter().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_counted_by_its_own_name() {
        let mut losses = Losses::default();
        losses.add(Loss::TunFull, 2);
        let mut sum = losses;
        sum.add_all(&losses);
        let counted: Vec<_> = sum.iter().filter(|(_, frames)| *frames > 0).collect();
        assert_eq!(counted, [(Loss::TunFull, 4)]);
        assert_eq!(Loss::TunFull.name(), "TunFull");
    }
}
