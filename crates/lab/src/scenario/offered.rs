//! The load that one subscriber offers (RFC 2285 §3.5.2): sizes, rate, direction, rhythm, as in
//! `imix:2Mbit/s` or `64,1400:100/s:up:poisson`.

use std::fmt;
use std::str::FromStr;

use crate::flow::{IMIX, Mark};
use packet::header::{Ipv4, Udp};

/// The shortest packet that holds a mark.
const SIZE_MIN: usize = Ipv4::LEN + Udp::LEN + Mark::LEN;
/// The longest that a tunnel over Ethernet may carry.
const SIZE_MAX: usize = 1500;

/// What one subscriber sends and gets.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferedLoad {
    /// Octets of its IP packets.
    pub sizes: Sizes,
    /// How much.
    pub rate: Rate,
    /// Which way.
    pub direction: Direction,
    /// How packets follow each other.
    pub rhythm: Rhythm,
}

/// Octets of IP packets inside the tunnel, in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(pub Vec<usize>);

/// How much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Packets a second.
    Packets(f64),
    /// Bits of IP packets inside the tunnel a second.
    Bits(f64),
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the subscriber.
    Up,
    /// To the subscriber.
    Down,
    /// The whole rate each way.
    Both,
}

/// How packets follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rhythm {
    /// At equal distances.
    Constant,
    /// Each independent of the others.
    Poisson,
}

impl OfferedLoad {
    /// Packets a second, each way.
    #[must_use]
    pub fn packets_per_second(&self) -> f64 {
        match self.rate {
            Rate::Packets(packets) => packets,
            Rate::Bits(bits) => bits / (self.sizes.mean() * 8.0),
        }
    }
}

impl Direction {
    /// Whether subscribers send.
    #[must_use]
    pub fn has_up(self) -> bool {
        self != Self::Down
    }

    /// Whether the network sends.
    #[must_use]
    pub fn has_down(self) -> bool {
        self != Self::Up
    }

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Both => "both",
        }
    }
}

impl Sizes {
    /// Seven of 64, four of 570, one of 1400.
    #[must_use]
    pub fn imix() -> Self {
        Self(IMIX.to_vec())
    }

    /// Octets of the average packet.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<usize>() as f64 / self.0.len() as f64
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "imix" {
            return Ok(Self::imix());
        }
        let wrong = || format!("\"{text}\" is not imix, nor sizes from {SIZE_MIN} to {SIZE_MAX}");
        let sizes = text.split(',').map(|size| size.trim().parse().ok());
        let sizes: Vec<usize> = sizes.collect::<Option<_>>().ok_or_else(wrong)?;
        match sizes
            .iter()
            .all(|size| (SIZE_MIN..=SIZE_MAX).contains(size))
        {
            true => Ok(Self(sizes)),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == IMIX {
            return f.write_str("imix");
        }
        let sizes: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&sizes.join(","))
    }
}

/// A name, what it multiplies, and what it counts.
type Unit = (&'static str, f64, fn(f64) -> Rate);

/// Units of a rate and what they multiply; packets come last.
const UNITS: [Unit; 6] = [
    ("Gbit/s", 1e9, Rate::Bits),
    ("Mbit/s", 1e6, Rate::Bits),
    ("kbit/s", 1e3, Rate::Bits),
    ("bit/s", 1.0, Rate::Bits),
    ("pps", 1.0, Rate::Packets),
    ("/s", 1.0, Rate::Packets),
];

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = UNITS.iter().find_map(|(unit, factor, rate)| {
            let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            (number > 0.0 && number.is_finite()).then(|| rate(number * factor))
        });
        rate.ok_or_else(|| format!("\"{text}\" is not a rate such as 2Mbit/s or 100/s"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Packets(packets) => write!(f, "{packets}/s"),
            Self::Bits(bits) => {
                let (unit, factor, _) = UNITS[..4]
                    .iter()
                    .find(|(_, factor, _)| bits >= *factor)
                    .unwrap_or(&UNITS[3]);
                write!(f, "{}{unit}", bits / factor)
            }
        }
    }
}

impl FromStr for OfferedLoad {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (Some(sizes), Some(rate)) = (parts.next(), parts.next()) else {
            return Err(format!("\"{text}\" is not SIZES:RATE such as imix:2Mbit/s"));
        };
        let mut load = Self {
            sizes: sizes.parse()?,
            rate: rate.parse()?,
            direction: Direction::Both,
            rhythm: Rhythm::Constant,
        };
        for part in parts {
            match part {
                "up" => load.direction = Direction::Up,
                "down" => load.direction = Direction::Down,
                "both" => load.direction = Direction::Both,
                "constant" => load.rhythm = Rhythm::Constant,
                "poisson" => load.rhythm = Rhythm::Poisson,
                other => {
                    return Err(format!(
                        "\"{other}\" is none of: up, down, both, constant, poisson"
                    ));
                }
            }
        }
        Ok(load)
    }
}

impl fmt::Display for OfferedLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sizes, self.rate)?;
        match self.direction {
            Direction::Both => {}
            Direction::Up | Direction::Down => write!(f, ":{}", self.direction.name())?,
        }
        match self.rhythm {
            Rhythm::Constant => Ok(()),
            Rhythm::Poisson => f.write_str(":poisson"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_written_as_it_is_read() {
        for text in [
            "imix:2Mbit/s",
            "64,1400:0.5/s:up:poisson",
            "570:300kbit/s:down",
        ] {
            let load: OfferedLoad = text.parse().unwrap();
            assert_eq!(load.to_string(), text);
        }
        for wrong in [
            "imix",
            "20:1/s",
            "imix:fast",
            "imix:0/s",
            "1501:1/s",
            "64:1/s:left",
            "64:-1/s",
        ] {
            assert!(wrong.parse::<OfferedLoad>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn bits_are_those_of_the_average_packet() {
        let load: OfferedLoad = "imix:1Mbit/s".parse().unwrap();
        let mean = (7.0 * 64.0 + 4.0 * 570.0 + 1400.0) / 12.0;
        assert!((load.packets_per_second() - 1e6 / 8.0 / mean).abs() < 1e-6);
        let load: OfferedLoad = "64:250pps".parse().unwrap();
        assert!((load.packets_per_second() - 250.0).abs() < 1e-9);
    }
}
