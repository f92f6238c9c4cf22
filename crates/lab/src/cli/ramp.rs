//! The flags of `adit-lab ramp`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Who;
use crate::scenario::Sizes;

/// `adit-lab ramp`.
#[derive(Clone, Debug, Args)]
pub struct Ramp {
    /// Who dials.
    #[command(flatten, next_help_heading = super::blast::WHO)]
    pub who: Who,
    /// What is driven to its limit
    #[arg(long, value_enum, default_value = "packets")]
    pub what: What,
    /// Sizes of IP packets, each searched by itself: 64, imix; may be given several times
    #[arg(long, value_name = "SIZE", default_values = ["64", "imix", "1300"])]
    pub size: Vec<Sizes>,
    /// The first rate that is tried, in packets or set-ups a second
    #[arg(long, value_name = "N")]
    pub from: Option<f64>,
    /// No higher rate is tried
    #[arg(long, value_name = "N", default_value_t = 10_000_000.0)]
    pub to: f64,
    /// A rate passes with no more loss, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    pub loss: f64,
    /// A rate passes if 99 of a hundred packets, or set-ups, take no longer [default: any packet,
    /// set-ups 1s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub p99: Option<Duration>,
    /// How long a rate is tried
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub trial: Duration,
    /// Searches, to show how far they are apart
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub searches: usize,
    /// The search ends when the limit is known to this part of itself, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0)]
    pub resolution: f64,
    /// As RFC 2544 §26.1 has it: trials of 60 s, and no loss
    #[arg(long, conflicts_with_all = ["loss", "trial"])]
    pub rfc2544: bool,
    /// Write a page with plots into this directory
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What is driven to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Packets a second through sessions that are up
    Packets,
    /// Complete set-ups a second
    Setups,
}
