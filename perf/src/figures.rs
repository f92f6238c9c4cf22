//! The figures: what is asked, what must be, what is aimed at, and how it is taken. Adding one is
//! adding a line.

use std::fmt;

use crypto::dh::Group::{Ecp256 as Curve, Modp1024 as Group2, Modp2048 as Group14};

use crate::cipher::{BURSTS, Case, IMIX, SIZES};
use crate::dial::Call;
use crate::path::Frames::{self, Cold, Warm};
use crate::probe::{SizeName, Spec, SuiteName};
use crate::team::Steering;
use crate::traffic::Line::{self, Down, Up};

/// A number that is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    /// Worse than this is a fault; infinite if the figure is only reported.
    pub(crate) must: f64,
    pub(crate) aim: f64,
    pub(crate) how: How,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Core cycles; less is better.
    Cycles,
    /// Nanoseconds; less is better.
    Ns,
    /// One cost over another; less is better.
    Ratio,
    /// How many times as fast; more is better.
    Times,
    /// Of a core; less is better.
    Percent,
    /// Octets; less is better.
    Octets,
    /// How many a second; more is better.
    PerSecond,
}

impl Unit {
    pub(crate) fn is_more_better(self) -> bool {
        matches!(self, Self::Times | Self::PerSecond)
    }

    /// Whether a value is at least as good as a limit.
    pub(crate) fn meets(self, value: f64, limit: f64) -> bool {
        if self.is_more_better() {
            value >= limit
        } else {
            value <= limit
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cycles => "cycles",
            Self::Ns => "ns",
            Self::Ratio => "ratio",
            Self::Times => "times",
            Self::Percent => "%",
            Self::Octets => "octets",
            Self::PerSecond => "1/s",
        })
    }
}

/// How a figure follows from measurements. What is compared was measured in turns in one process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// The cost.
    Cost(Spec),
    /// The same in nanoseconds.
    CostNs(Spec),
    /// How many fit into a second.
    Rate(Spec),
    /// Cost of the first over cost of the second.
    Over(Spec, Spec),
    /// The same of two ciphers, at the size where it is worst.
    Worst(Case, Case),
    /// Cost of the first less cost of the second.
    Less(Spec, Spec),
    /// The same in nanoseconds.
    LessNs(Spec, Spec),
    /// Cost of the mixture over the cost of its parts, 7 : 4 : 1.
    Mixture(Spec, [Spec; 3]),
}

impl How {
    /// What has to be measured.
    pub(crate) fn specs(&self) -> Vec<Spec> {
        match self {
            Self::Cost(spec) | Self::CostNs(spec) | Self::Rate(spec) => vec![*spec],
            Self::Worst(over, under) => SIZES
                .into_iter()
                .flat_map(|size| [over, under].map(|case| Spec::Cipher(Case { size, ..*case })))
                .collect(),
            Self::Over(a, b) | Self::Less(a, b) | Self::LessNs(a, b) => vec![*a, *b],
            Self::Mixture(whole, parts) => [&[*whole], parts.as_slice()].concat(),
        }
    }

    /// Whether it is a plain cost, of which the best process counts; of what is compared within a
    /// process the median counts, because the best would be the one with the worst divisor.
    pub(crate) fn is_absolute(&self) -> bool {
        matches!(self, Self::Cost(_) | Self::CostNs(_) | Self::Rate(_))
    }
}

/// Figures that are measured together, in turns, in one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    /// Rounds of each measurement in a process, of which the best counts.
    pub(crate) rounds: usize,
    /// Whether `--quick` takes it.
    pub(crate) is_quick: bool,
    pub(crate) figures: &'static [Figure],
    /// Ciphers of which tables are wanted beside.
    pub(crate) tables: &'static [SuiteName],
}

impl Group {
    /// Every measurement that it needs, once.
    pub(crate) fn specs(&self) -> Vec<Spec> {
        let mut specs: Vec<Spec> = Vec::new();
        let figures = self.figures.iter().flat_map(|figure| figure.how.specs());
        let cells = self.tables.iter().flat_map(|suite| cells(suite));
        for spec in figures.chain(cells) {
            if !specs.contains(&spec) {
                specs.push(spec);
            }
        }
        specs
    }
}

/// Who is in the tables: ours first, then others.
pub(crate) const EVERYBODY: [&str; 7] = [
    "avx512",
    "aesni",
    "rustcrypto",
    "ring",
    "aws-lc-rs",
    "openssl",
    "ipsec-mb",
];
/// The burst that a worker has under load.
pub(crate) const FULL_BURST: usize = 64;
/// The sizes at which short bursts are looked at.
pub(crate) const BURST_SIZES: [usize; 2] = [64, 1408];

/// The cells of a suite's tables: every size in full bursts, and short bursts of some.
fn cells(suite: &'static str) -> Vec<Spec> {
    let mut cells = Vec::new();
    for who in EVERYBODY {
        for line in [Up, Down] {
            let cell = |size, burst| Spec::Cipher(cipher(who, suite, line, size, burst));
            cells.extend(SIZES.map(|size| cell(size, FULL_BURST)));
            for size in BURST_SIZES {
                cells.extend(BURSTS.map(|burst| cell(size, burst)));
            }
        }
    }
    cells
}

/// A cell of a table.
pub(crate) const fn cipher(
    who: &'static str,
    suite: SuiteName,
    line: Line,
    size: usize,
    burst: usize,
) -> Case {
    Case {
        who,
        suite,
        line,
        size,
        burst,
    }
}

const GCM: SuiteName = "aes128gcm16";
const GCM256: SuiteName = "aes256gcm16";
const SHA1: SuiteName = "aes128-sha1";
const SHA1_256: SuiteName = "aes256-sha1";
const SHA256: SuiteName = "aes256-sha256";
const TRIPLE: SuiteName = "3des-sha1";
const PLAIN: SuiteName = "plain";

const fn path(suite: SuiteName, line: Line, size: SizeName, frames: Frames) -> Spec {
    crowd(suite, line, size, frames, 1000)
}

const fn crowd(
    suite: SuiteName,
    line: Line,
    size: SizeName,
    frames: Frames,
    sessions: usize,
) -> Spec {
    Spec::Path {
        suite,
        line,
        size,
        sessions,
        frames,
        burst: FULL_BURST,
    }
}

const fn bare(suite: SuiteName, line: Line, size: SizeName) -> Spec {
    Spec::Bare {
        suite,
        line,
        size,
        sessions: 1000,
    }
}

const fn figure(name: &'static str, unit: Unit, must: f64, aim: f64, how: How) -> Figure {
    Figure {
        name,
        unit,
        must,
        aim,
        how,
    }
}

const fn cycles(name: &'static str, must: f64, aim: f64, spec: Spec) -> Figure {
    figure(name, Unit::Cycles, must, aim, How::Cost(spec))
}

/// What a plan wants to know, and nothing else does.
const fn planned(name: &'static str, spec: Spec) -> Figure {
    cycles(name, f64::INFINITY, f64::INFINITY, spec)
}

const fn ratio(name: &'static str, must: f64, aim: f64, over: Spec, under: Spec) -> Figure {
    figure(name, Unit::Ratio, must, aim, How::Over(over, under))
}

const fn added(name: &'static str, must: f64, aim: f64, many: Spec, few: Spec) -> Figure {
    figure(name, Unit::Ns, must, aim, How::LessNs(many, few))
}

const fn rate(name: &'static str, must: f64, aim: f64, spec: Spec) -> Figure {
    figure(name, Unit::PerSecond, must, aim, How::Rate(spec))
}

const fn workers(count: u8, size: SizeName, sessions: usize) -> Spec {
    Spec::Workers {
        count,
        size,
        sessions,
    }
}

const fn steered(steering: Steering, size: SizeName) -> Spec {
    Spec::Steered { steering, size }
}

const fn bursts(dialling: Option<(Call, u32)>) -> Spec {
    Spec::Bursts { dialling }
}

const fn ns(name: &'static str, must: f64, aim: f64, spec: Spec) -> Figure {
    figure(name, Unit::Ns, must, aim, How::CostNs(spec))
}

/// The back end that is chosen on this kind of processor.
const fn ours(suite: SuiteName, line: Line, size: usize, burst: usize) -> Spec {
    Spec::Cipher(cipher("avx512", suite, line, size, burst))
}

const fn worst(
    name: &'static str,
    must: f64,
    aim: f64,
    suite: SuiteName,
    line: Line,
    under: &'static str,
) -> Figure {
    let over = cipher("aesni", suite, line, IMIX, FULL_BURST);
    let under = cipher(under, suite, line, IMIX, FULL_BURST);
    figure(name, Unit::Ratio, must, aim, How::Worst(over, under))
}

const fn times(name: &'static str, must: f64, aim: f64, suite: SuiteName, line: Line) -> Figure {
    let slow = Spec::Cipher(cipher("rustcrypto", suite, line, 1424, FULL_BURST));
    let fast = Spec::Cipher(cipher("aesni", suite, line, 1424, FULL_BURST));
    figure(name, Unit::Times, must, aim, How::Over(slow, fast))
}

/// Everything that is wanted.
#[rustfmt::skip]
pub(crate) const GROUPS: &[Group] = &[
    Group { name: "gcm-64", rounds: 12, is_quick: true, figures: &[
        cycles("AES-128-GCM up, 64 B, cold",   215.0, 160.0, path(GCM, Up, "64", Cold)),
        cycles("AES-128-GCM up, 64 B, warm",   210.0, 150.0, path(GCM, Up, "64", Warm)),
        ratio("down over up, 64 B, cold",       1.12,  1.03, path(GCM, Down, "64", Cold), path(GCM, Up, "64", Cold)),
        ratio("down over up, 64 B, warm",       1.12,  1.03, path(GCM, Down, "64", Warm), path(GCM, Up, "64", Warm)),
    ], tables: &[] },
    Group { name: "gcm-1400", rounds: 8, is_quick: true, figures: &[
        cycles("AES-128-GCM up, 1400 B, cold", 640.0, 520.0, path(GCM, Up, "1400", Cold)),
        cycles("AES-128-GCM up, 1400 B, warm", 550.0, 430.0, path(GCM, Up, "1400", Warm)),
        ratio("down over up, 1400 B, cold",     1.12,  1.03, path(GCM, Down, "1400", Cold), path(GCM, Up, "1400", Cold)),
        ratio("down over up, 1400 B, warm",     1.12,  1.03, path(GCM, Down, "1400", Warm), path(GCM, Up, "1400", Warm)),
        figure("path less bare cipher, up, 1400 B, warm", Unit::Cycles, 170.0, 105.0,
            How::Less(path(GCM, Up, "1400", Warm), bare(GCM, Up, "1400"))),
        figure("path less bare cipher, down, 1400 B, warm", Unit::Cycles, 170.0, 105.0,
            How::Less(path(GCM, Down, "1400", Warm), bare(GCM, Down, "1400"))),
    ], tables: &[] },
    Group { name: "gcm-imix", rounds: 8, is_quick: true, figures: &[
        cycles("AES-128-GCM up, IMIX, cold",   400.0, 310.0, path(GCM, Up, "imix", Cold)),
        cycles("AES-128-GCM up, IMIX, warm",   330.0, 250.0, path(GCM, Up, "imix", Warm)),
        ratio("down over up, IMIX, cold",       1.12,  1.03, path(GCM, Down, "imix", Cold), path(GCM, Up, "imix", Cold)),
        ratio("down over up, IMIX, warm",       1.12,  1.03, path(GCM, Down, "imix", Warm), path(GCM, Up, "imix", Warm)),
        figure("IMIX over its parts, cold", Unit::Ratio, 1.5, 1.33,
            How::Mixture(path(GCM, Up, "imix", Cold), [path(GCM, Up, "64", Cold), path(GCM, Up, "570", Cold), path(GCM, Up, "1400", Cold)])),
        figure("IMIX over its parts, warm", Unit::Ratio, 1.3, 1.15,
            How::Mixture(path(GCM, Up, "imix", Warm), [path(GCM, Up, "64", Warm), path(GCM, Up, "570", Warm), path(GCM, Up, "1400", Warm)])),
    ], tables: &[] },
    Group { name: "gcm256", rounds: 8, is_quick: true, figures: &[
        cycles("AES-256-GCM up, 1400 B, cold", 700.0, 560.0, path(GCM256, Up, "1400", Cold)),
        cycles("AES-256-GCM up, 1400 B, warm", 620.0, 490.0, path(GCM256, Up, "1400", Warm)),
        ratio("down over up, AES-256-GCM, 1400 B, cold", 1.12, 1.03, path(GCM256, Down, "1400", Cold), path(GCM256, Up, "1400", Cold)),
        ratio("down over up, AES-256-GCM, 1400 B, warm", 1.12, 1.03, path(GCM256, Down, "1400", Warm), path(GCM256, Up, "1400", Warm)),
    ], tables: &[] },
    Group { name: "sha1", rounds: 6, is_quick: true, figures: &[
        cycles("AES-128-CBC + SHA1 up, 1400 B, cold",   1450.0, 1200.0, path(SHA1, Up, "1400", Cold)),
        cycles("AES-128-CBC + SHA1 up, 1400 B, warm",   1150.0,  940.0, path(SHA1, Up, "1400", Warm)),
        cycles("AES-128-CBC + SHA1 down, 1400 B, cold", 1450.0, 1220.0, path(SHA1, Down, "1400", Cold)),
        cycles("AES-128-CBC + SHA1 down, 1400 B, warm", 1300.0, 1050.0, path(SHA1, Down, "1400", Warm)),
        cycles("AES-128-CBC + SHA1 up, 64 B, cold",      600.0,  440.0, path(SHA1, Up, "64", Cold)),
        cycles("AES-128-CBC + SHA1 up, 64 B, warm",      400.0,  280.0, path(SHA1, Up, "64", Warm)),
        cycles("AES-128-CBC + SHA1 down, 64 B, cold",    600.0,  440.0, path(SHA1, Down, "64", Cold)),
        cycles("AES-128-CBC + SHA1 down, 64 B, warm",    400.0,  280.0, path(SHA1, Down, "64", Warm)),
    ], tables: &[] },
    Group { name: "sha256", rounds: 6, is_quick: true, figures: &[
        cycles("AES-256-CBC + SHA2-256 up, 1400 B, cold",   2200.0, 1800.0, path(SHA256, Up, "1400", Cold)),
        cycles("AES-256-CBC + SHA2-256 down, 1400 B, cold", 2250.0, 1900.0, path(SHA256, Down, "1400", Cold)),
    ], tables: &[] },
    Group { name: "plans", rounds: 4, is_quick: true, figures: &[
        planned("AES-256-GCM up, 64 B, for plans", path(GCM256, Up, "64", Cold)),
        planned("AES-256-GCM up, 1400 B, for plans", path(GCM256, Up, "1400", Cold)),
        planned("AES-256-GCM down, 64 B, for plans", path(GCM256, Down, "64", Cold)),
        planned("AES-256-GCM down, 1400 B, for plans", path(GCM256, Down, "1400", Cold)),
        planned("AES-256-CBC + SHA1 up, 64 B, for plans", path(SHA1_256, Up, "64", Cold)),
        planned("AES-256-CBC + SHA1 up, 1400 B, for plans", path(SHA1_256, Up, "1400", Cold)),
        planned("AES-256-CBC + SHA1 down, 64 B, for plans", path(SHA1_256, Down, "64", Cold)),
        planned("AES-256-CBC + SHA1 down, 1400 B, for plans", path(SHA1_256, Down, "1400", Cold)),
        planned("AES-256-CBC + SHA2-256 up, 64 B, for plans", path(SHA256, Up, "64", Cold)),
        planned("AES-256-CBC + SHA2-256 up, 1400 B, for plans", path(SHA256, Up, "1400", Cold)),
        planned("AES-256-CBC + SHA2-256 down, 64 B, for plans", path(SHA256, Down, "64", Cold)),
        planned("AES-256-CBC + SHA2-256 down, 1400 B, for plans", path(SHA256, Down, "1400", Cold)),
        planned("3DES-CBC + SHA1 up, 64 B, for plans", path(TRIPLE, Up, "64", Cold)),
        planned("3DES-CBC + SHA1 up, 1400 B, for plans", path(TRIPLE, Up, "1400", Cold)),
        planned("3DES-CBC + SHA1 down, 64 B, for plans", path(TRIPLE, Down, "64", Cold)),
        planned("3DES-CBC + SHA1 down, 1400 B, for plans", path(TRIPLE, Down, "1400", Cold)),
        planned("set-up of IKEv1, ECP-256, PSK, for plans",   Spec::SetUp(Call::Ike(Curve))),
        planned("set-up of IKEv1, MODP-1024, PSK, for plans", Spec::SetUp(Call::Ike(Group2))),
    ], tables: &[] },
    Group { name: "plain", rounds: 8, is_quick: true, figures: &[
        cycles("L2TP without IPsec up, 64 B, cold",     115.0, 85.0, path(PLAIN, Up, "64", Cold)),
        cycles("L2TP without IPsec up, 64 B, warm",      90.0, 60.0, path(PLAIN, Up, "64", Warm)),
        cycles("L2TP without IPsec down, 64 B, cold",   115.0, 85.0, path(PLAIN, Down, "64", Cold)),
        cycles("L2TP without IPsec down, 64 B, warm",    90.0, 60.0, path(PLAIN, Down, "64", Warm)),
        cycles("L2TP without IPsec up, 1400 B, cold",   115.0, 85.0, path(PLAIN, Up, "1400", Cold)),
        cycles("L2TP without IPsec up, 1400 B, warm",    90.0, 60.0, path(PLAIN, Up, "1400", Warm)),
        cycles("L2TP without IPsec down, 1400 B, cold", 115.0, 85.0, path(PLAIN, Down, "1400", Cold)),
        cycles("L2TP without IPsec down, 1400 B, warm",  90.0, 60.0, path(PLAIN, Down, "1400", Warm)),
    ], tables: &[] },
    Group { name: "crowd", rounds: 6, is_quick: true, figures: &[
        added("added by 100 k sessions, up, 64 B",     20.0, 10.0, crowd(GCM, Up, "64", Cold, 100_000), path(GCM, Up, "64", Cold)),
        added("added by 100 k sessions, down, 64 B",   20.0, 10.0, crowd(GCM, Down, "64", Cold, 100_000), path(GCM, Down, "64", Cold)),
        added("added by 100 k sessions, up, 1400 B",   18.0,  6.0, crowd(GCM, Up, "1400", Cold, 100_000), path(GCM, Up, "1400", Cold)),
        added("added by 100 k sessions, down, 1400 B", 18.0,  6.0, crowd(GCM, Down, "1400", Cold, 100_000), path(GCM, Down, "1400", Cold)),
    ], tables: &[] },
    Group { name: "million", rounds: 3, is_quick: false, figures: &[
        added("added by 1 M sessions, up, 64 B",   50.0, 30.0, crowd(GCM, Up, "64", Cold, 1_000_000), path(GCM, Up, "64", Cold)),
        added("added by 1 M sessions, up, 1400 B", 60.0, 30.0, crowd(GCM, Up, "1400", Cold, 1_000_000), path(GCM, Up, "1400", Cold)),
    ], tables: &[] },
    Group { name: "ciphers", rounds: 12, is_quick: true, figures: &[
        ns("3DES + SHA1 open, 1424 B, bursts of 16", 12_000.0, 4_000.0, ours(TRIPLE, Up, 1424, 16)),
        ns("3DES + SHA1 seal, 1424 B, bursts of 16", 12_000.0, 4_000.0, ours(TRIPLE, Down, 1424, 16)),
        ratio("bursts of 8 over 16, CBC + SHA1 open, 1424 B", 2.2, 2.2, ours(SHA1, Up, 1424, 8), ours(SHA1, Up, 1424, 16)),
        ratio("bursts of 4 over 16, CBC + SHA1 open, 1424 B", 2.8, 2.8, ours(SHA1, Up, 1424, 4), ours(SHA1, Up, 1424, 16)),
        ratio("bursts of 1 over 16, CBC + SHA1 open, 1424 B", 4.5, 4.5, ours(SHA1, Up, 1424, 1), ours(SHA1, Up, 1424, 16)),
        ratio("bursts of 8 over 16, CBC + SHA1 seal, 1424 B", 2.3, 2.3, ours(SHA1, Down, 1424, 8), ours(SHA1, Down, 1424, 16)),
        ratio("bursts of 4 over 16, CBC + SHA1 seal, 1424 B", 3.0, 3.0, ours(SHA1, Down, 1424, 4), ours(SHA1, Down, 1424, 16)),
        ratio("bursts of 1 over 16, CBC + SHA1 seal, 1424 B", 7.0, 7.0, ours(SHA1, Down, 1424, 1), ours(SHA1, Down, 1424, 16)),
        worst("aesni over ring, AES-128-GCM open, worst size", 1.1, 1.0, GCM, Up, "ring"),
        worst("aesni over ring, AES-128-GCM seal, worst size", 1.1, 1.0, GCM, Down, "ring"),
        worst("aesni over ring, AES-256-GCM open, worst size", 1.1, 1.0, GCM256, Up, "ring"),
        worst("aesni over ring, AES-256-GCM seal, worst size", 1.1, 1.0, GCM256, Down, "ring"),
        times("aesni against RustCrypto, CBC + SHA1 open, 1424 B", 1.8, 1.8, SHA1, Up),
        times("aesni against RustCrypto, CBC + SHA1 seal, 1424 B", 2.5, 2.5, SHA1, Down),
        worst("aesni over RustCrypto, AES-128-GCM open, worst size",   1.0, 1.0, GCM, Up, "rustcrypto"),
        worst("aesni over RustCrypto, AES-128-GCM seal, worst size",   1.0, 1.0, GCM, Down, "rustcrypto"),
        worst("aesni over RustCrypto, CBC + SHA1 open, worst size",    1.0, 1.0, SHA1, Up, "rustcrypto"),
        worst("aesni over RustCrypto, CBC + SHA1 seal, worst size",    1.0, 1.0, SHA1, Down, "rustcrypto"),
        worst("aesni over RustCrypto, CBC + SHA2-256 open, worst size", 1.0, 1.0, SHA256, Up, "rustcrypto"),
        worst("aesni over RustCrypto, CBC + SHA2-256 seal, worst size", 1.0, 1.0, SHA256, Down, "rustcrypto"),
    ], tables: &[GCM, GCM256, SHA1, SHA256, TRIPLE] },
    Group { name: "workers", rounds: 8, is_quick: true, figures: &[
        figure("two workers against one, 1400 B", Unit::Times, 1.8, 1.92,
            How::Over(workers(1, "1400", 1000), workers(2, "1400", 1000))),
        figure("two workers against one, 64 B, 100 k sessions", Unit::Times, 1.75, 1.95,
            How::Over(workers(1, "64", 100_000), workers(2, "64", 100_000))),
        figure("hand-over to the other worker, both counted, 64 B", Unit::Cycles, 60.0, 60.0,
            How::Less(steered(Steering::Away, "64"), steered(Steering::Home, "64"))),
    ], tables: &[] },
    Group { name: "bursts", rounds: 10, is_quick: false, figures: &[
        ratio("p99.9 of a burst with 1 000 plain set-ups a second over idle", 1.2, 1.2, bursts(Some((Call::Plain, 1000))), bursts(None)),
        ratio("p99.9 of a burst with 200 IKE set-ups a second over idle", f64::INFINITY, f64::INFINITY, bursts(Some((Call::Ike(Group14), 200))), bursts(None)),
    ], tables: &[] },
    Group { name: "stalls", rounds: 10, is_quick: true, figures: &[
        ns("p99.9 of a turn that opens and closes sessions, AES-128-GCM",        50_000.0, 50_000.0, Spec::Stalls { suite: GCM }),
        ns("p99.9 of a turn that opens and closes sessions, AES-128-CBC + SHA1", 50_000.0, 50_000.0, Spec::Stalls { suite: SHA1 }),
    ], tables: &[] },
    Group { name: "stages", rounds: 1, is_quick: true, figures: &[
        figure("timing the stages in one turn of 64, 64 B, warm", Unit::Percent, 1.0, 1.0,
            How::Cost(Spec::Watched { suite: GCM, size: "64" })),
    ], tables: &[] },
    Group { name: "set-up", rounds: 8, is_quick: true, figures: &[
        rate("set-ups of plain L2TP + LCP + MS-CHAPv2 + IPCP", 2500.0, 5000.0, Spec::SetUp(Call::Plain)),
        rate("set-ups of IKEv1, MODP-2048, PSK",                600.0, 1000.0, Spec::SetUp(Call::Ike(Group14))),
        rate("set-ups of IKEv1, MODP-2048, PSK, key pairs at hand", 600.0, 1000.0, Spec::SetUpWithPair(Call::Ike(Group14))),
    ], tables: &[] },
    Group { name: "idle-few", rounds: 1, is_quick: true, figures: &[
        figure("20 000 idle sessions, a fifth of 100 000", Unit::Percent, 2.0, 2.0, How::Cost(Spec::Idle { sessions: 20_000 })),
    ], tables: &[] },
    Group { name: "idle", rounds: 2, is_quick: false, figures: &[
        figure("100 000 idle sessions", Unit::Percent, 10.0, 10.0, How::Cost(Spec::Idle { sessions: 100_000 })),
    ], tables: &[] },
    Group { name: "memory-plain", rounds: 1, is_quick: false, figures: &[
        figure("memory of an idle plain session, 100 k", Unit::Octets, 8192.0, 8192.0,
            How::Cost(Spec::Memory { call: Call::Plain, sessions: 100_000 })),
    ], tables: &[] },
    Group { name: "memory-ipsec", rounds: 1, is_quick: false, figures: &[
        figure("memory of an idle IPsec session, 20 k", Unit::Octets, 8192.0, 8192.0,
            How::Cost(Spec::Memory { call: Call::Secured(Curve), sessions: 20_000 })),
    ], tables: &[] },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use lab::plan::costs::{Costs, Way};
    use lab::plan::model::Model;
    use lab::plan::sizing;
    use serde_json::{Value, json};

    fn all() -> impl Iterator<Item = &'static Figure> {
        GROUPS.iter().flat_map(|group| group.figures)
    }

    #[test]
    fn no_two_figures_have_the_same_name() {
        let names: BTreeSet<_> = all().map(|figure| figure.name).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn what_is_aimed_at_is_no_worse_than_what_must_be() {
        for figure in all() {
            assert!(
                figure.unit.meets(figure.aim, figure.must),
                "{}",
                figure.name
            );
        }
    }

    /// A run as `perf/run --quick` leaves it, in which everything costs the same.
    fn quick_run() -> Costs {
        let groups = GROUPS.iter().filter(|group| group.is_quick);
        let one = json!({ "cost": 1, "ns": 100, "median": 1 });
        let found: BTreeMap<String, Value> = groups
            .flat_map(Group::specs)
            .map(|spec| (spec.to_string(), one.clone()))
            .collect();
        let machine = lab::plan::costs::Machine::default();
        let run = json!({ "machine": machine, "measurements": found });
        Costs::parse(Path::new("run.json"), &run.to_string()).unwrap()
    }

    #[test]
    fn every_shipped_model_can_be_planned_from_a_quick_run() {
        let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/models");
        let costs = quick_run();
        let mut count = 0;
        for entry in std::fs::read_dir(models).unwrap() {
            let file = entry.unwrap().path();
            let model = Model::read(&file).unwrap();
            let plan = sizing::plan(&model, &costs);
            assert!(plan.is_ok(), "{}: {:?}", file.display(), plan.err());
            count += 1;
        }
        assert!(count >= 2);
    }

    #[test]
    fn a_quick_run_knows_every_suite_that_a_calibration_knows() {
        let costs = quick_run();
        for suite in crate::calibrate::SUITES {
            for way in Way::ALL {
                let cost = costs.packet(suite, way, 700, 1000.0, 64.0);
                assert!(cost.is_ok(), "{:?}", cost.err());
            }
        }
    }
}
