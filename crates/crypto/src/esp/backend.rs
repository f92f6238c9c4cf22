//! Which implementation does the work, and whether this processor can.

use std::fmt;
use std::str::FromStr;

use crate::cpu::{self, Features};

/// Which implementation does the work.
///
/// A fast one leaves the suites it does not have to [`Backend::RustCrypto`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backend {
    /// The RustCrypto crates: portable, and the reference for any other.
    #[default]
    RustCrypto,
    /// VAES, VPCLMULQDQ and AVX-512: four blocks an instruction, sixteen packets at once.
    Avx512,
    /// AES-NI and PCLMULQDQ, for processors without AVX-512.
    AesNi,
}

impl Backend {
    /// All of them, the fastest first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::AesNi, Self::RustCrypto];

    /// The fastest that this processor can run.
    #[must_use]
    pub fn auto() -> Self {
        Self::ALL
            .into_iter()
            .find(|backend| backend.available())
            .unwrap_or_default()
    }

    /// Whether this processor can run it.
    #[must_use]
    pub fn available(self) -> bool {
        self.lacks(&cpu::features()).is_empty()
    }

    /// Why it is the choice, or why it cannot be: one line for an operator.
    #[must_use]
    pub fn why(self) -> String {
        self.reason(&cpu::features())
    }

    fn reason(self, features: &Features) -> String {
        let lacks = self.lacks(features);
        if !lacks.is_empty() {
            return format!("this CPU has no {}", lacks.join(", "));
        }
        let faster: Vec<_> = Self::ALL
            .into_iter()
            .take_while(|backend| *backend != self)
            .map(|backend| (backend, backend.lacks(features)))
            .collect();
        if let Some((backend, _)) = faster.iter().find(|(_, lacks)| lacks.is_empty()) {
            return format!("chosen in the configuration; {backend} is faster here");
        }
        let why_not = |(backend, lacks): &(Self, Vec<&str>)| {
            format!("; {backend} needs {}", lacks.join(", "))
        };
        let why_not: String = faster.iter().map(why_not).collect();
        format!("the fastest that this CPU can run{why_not}")
    }

    /// What it needs and the processor does not have.
    fn lacks(self, has: &Features) -> Vec<&'static str> {
        let needs: &[(bool, &str)] = match self {
            Self::RustCrypto => &[],
            Self::AesNi => &[(has.aes, "AES-NI"), (has.pclmulqdq, "PCLMULQDQ")],
            Self::Avx512 => &[
                (has.avx512, "AVX-512"),
                (has.vaes, "VAES"),
                (has.vpclmulqdq, "VPCLMULQDQ"),
                (has.aes, "AES-NI"),
                (has.pclmulqdq, "PCLMULQDQ"),
                (has.sha, "SHA-NI"),
            ],
        };
        let absent = needs.iter().filter(|(has, _)| !has);
        absent.map(|(_, name)| *name).collect()
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RustCrypto => "rustcrypto",
            Self::Avx512 => "avx512",
            Self::AesNi => "aesni",
        })
    }
}

/// No back end has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownBackend;

impl fmt::Display for UnknownBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such cipher back end; there are avx512, aesni and rustcrypto")
    }
}

impl std::error::Error for UnknownBackend {}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        Self::ALL
            .into_iter()
            .find(|backend| backend.to_string() == name)
            .ok_or(UnknownBackend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Features = Features {
        aes: true,
        pclmulqdq: true,
        sha: true,
        vaes: false,
        vpclmulqdq: false,
        avx512: false,
    };
    const NEW: Features = Features {
        vaes: true,
        vpclmulqdq: true,
        avx512: true,
        ..OLD
    };

    #[test]
    fn back_ends_are_read_by_the_names_they_print() {
        for backend in Backend::ALL {
            assert_eq!(backend.to_string().parse(), Ok(backend));
        }
        assert_eq!("openssl".parse::<Backend>(), Err(UnknownBackend));
    }

    #[test]
    fn the_choice_is_one_that_the_processor_can_run() {
        assert!(Backend::auto().available() && Backend::RustCrypto.available());
        for faster in Backend::ALL {
            if faster == Backend::auto() {
                break;
            }
            assert!(!faster.available(), "{faster}");
        }
    }

    #[test]
    fn a_back_end_says_why_it_is_the_choice_and_why_it_is_not() {
        let cases = [
            (Backend::Avx512, NEW, "the fastest that this CPU can run"),
            (
                Backend::Avx512,
                OLD,
                "this CPU has no AVX-512, VAES, VPCLMULQDQ",
            ),
            (
                Backend::AesNi,
                NEW,
                "chosen in the configuration; avx512 is faster here",
            ),
            (
                Backend::AesNi,
                OLD,
                "the fastest that this CPU can run; avx512 needs AVX-512, VAES, VPCLMULQDQ",
            ),
            (
                Backend::RustCrypto,
                OLD,
                "chosen in the configuration; aesni is faster here",
            ),
        ];
        for (backend, features, reason) in cases {
            assert_eq!(backend.reason(&features), reason);
        }
    }
}
