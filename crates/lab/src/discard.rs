//! Why something that came was not taken, counted by name.

use crate::sa::EspFault;

macro_rules! discards {
    ($($name:ident = $text:literal,)+) => {
        /// A reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Discard {
            $(#[doc = $text] $name,)+
        }

        impl Discard {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// One line for people.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

discards! {
    Unreadable = "datagram that does not say where it was sent",
    Stranger = "not from the server that was dialled",
    NobodyThere = "for an address and port that no client has",
    Astray = "under an SA of another endpoint",
    TruncatedEsp = "shorter than an ESP header",
    UnknownSpi = "no SA has this SPI",
    Replayed = "ESP sequence number replayed or behind the window",
    NotAuthentic = "ESP integrity check failed",
    NotL2tp = "ESP with a bad trailer, or not from the L2TP port",
    NoSa = "L2TP message to be sent, but no SA to send it under",
    NotSent = "the kernel did not send it",
    KeyNotLogged = "keys that could not be written to the key log",
}

impl From<EspFault> for Discard {
    fn from(fault: EspFault) -> Self {
        match fault {
            EspFault::Truncated => Self::TruncatedEsp,
            EspFault::UnknownSpi => Self::UnknownSpi,
            EspFault::Replayed => Self::Replayed,
            EspFault::NotAuthentic => Self::NotAuthentic,
        }
    }
}

/// How often each occurred.
#[derive(Clone, Debug, Default)]
pub struct Discards([u64; Discard::ALL.len()]);

impl Discards {
    /// One more.
    pub fn count(&mut self, reason: Discard) {
        self.0[reason as usize] += 1;
    }

    /// How often one of them occurred.
    #[must_use]
    pub fn of(&self, reason: Discard) -> u64 {
        self.0[reason as usize]
    }

    /// Those that occurred.
    pub fn occurred(&self) -> impl Iterator<Item = (Discard, u64)> + '_ {
        Discard::ALL
            .iter()
            .map(|reason| (*reason, self.0[*reason as usize]))
            .filter(|(_, count)| *count > 0)
    }
}
