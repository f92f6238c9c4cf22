//! `adit-lab replay`: plays one client of a profile and tells what was sent, what came, and what
//! that client would have made of it.
//!
//! ```text
//!   Profile ─► client::Settings ─► Fleet of one ─► Driver          the play
//!                                     │
//!                                  Journal ─► Decoder ─► Story     the telling
//! ```
//!
//! The messages are read back with the parsers of `adit-lab decode`, so that a story and a decoded
//! capture tell the same.

pub mod story;

use std::io::{Write, stdout};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cli::Replay;
use crate::clock;
use crate::dial::own_address;
use crate::driver::{Driver, Silence};
use crate::fleet::{ClientId, Event, Fleet, Outside};
use crate::key_log::KeyLogFile;
use crate::memory::{self, Stage};
use crate::profile::{Credentials, Profile};
use crate::seed::seed;
use crate::sockets::free_ports;
use story::{Story, Telling};

/// How long the client may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(8);

/// Runs the command; whether the client would have been content.
pub fn replay(arguments: &Replay) -> Result<bool> {
    let interrupted = crate::interrupt::watch()?;
    let profile = Profile::load(&arguments.profile)?;
    if !profile.is_plain() && arguments.psk.is_empty() {
        bail!(
            "{} speaks IPsec, which needs a key: --psk SECRET",
            arguments.profile
        );
    }
    let (target, mut stage) = memory::reach(&arguments.target)?;
    let inside = match (arguments.local, &stage) {
        (Some(address), _) => address,
        (None, Some(_)) => memory::addresses(1)[0],
        (None, None) => own_address(target)?,
    };
    let fleet = fleet(arguments, &profile, (inside, target), stage.is_some())?;
    let mut play = Play {
        driver: match &mut stage {
            Some(stage) => stage.driver(fleet)?,
            None => Driver::new(fleet)?,
        },
        interrupted,
    };
    play.run(arguments.hold)?;
    let client = play.driver.fleet.client(ClientId(0));
    let ends = (inside, target);
    let mut story = Story::of(&arguments.profile, &profile, client, ends);
    story.note_refused(play.driver.refused());
    let mut out = stdout().lock();
    match arguments.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&story)?)?,
        false => {
            let is_whole = arguments.verbose;
            write!(
                out,
                "{}",
                Telling {
                    story: &story,
                    is_whole
                }
            )?;
        }
    }
    drop(out);
    stage.map_or(Ok(()), Stage::close)?;
    Ok(story.is_content)
}

/// The client and its surroundings.
struct Play {
    driver: Driver,
    interrupted: Arc<AtomicBool>,
}

impl Play {
    /// Until the client is up, has stayed as long as it should and has left, or has failed.
    fn run(&mut self, hold: Duration) -> Result<()> {
        let is_up = self.turn_until(None)?;
        if is_up {
            self.turn_until(Some(clock::now() + hold))?;
        }
        self.driver.fleet.hang_up(clock::now(), ClientId(0));
        self.turn_until(Some(clock::now() + GOODBYE))?;
        Ok(())
    }

    /// Until something happens to the client, whether that is that it has come up.
    fn turn_until(&mut self, end: Option<Instant>) -> Result<bool> {
        loop {
            let now = clock::now();
            let is_over = self.driver.fleet.client(ClientId(0)).is_over();
            let is_late = end.is_some_and(|end| end <= now);
            if is_over || is_late || self.interrupted.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let until = end.unwrap_or(now + Duration::from_secs(1));
            self.driver.turn(&mut Silence, until)?;
            if let Some(event) = self.driver.fleet.take_events().pop() {
                return Ok(matches!(event, Event::Up(..)));
            }
        }
    }
}

/// A fleet of one.
fn fleet(
    arguments: &Replay,
    profile: &Profile,
    (inside, target): (Ipv4Addr, Ipv4Addr),
    is_in_memory: bool,
) -> Result<Fleet> {
    let mut settings = profile.client(&Credentials::from(arguments), arguments.number);
    settings.habits.keeps_journal = true;
    let host = Outside {
        l2tp: profile.l2tp_port(arguments.number),
        ..Outside::host(inside)
    };
    let outside = match arguments.natt {
        false => host,
        true => {
            let free = match is_in_memory {
                true => memory::ports(3),
                false => free_ports(3)?,
            };
            let [ike, natt, l2tp] = free[..] else {
                bail!("there are no free ports");
            };
            Outside {
                ike,
                natt,
                l2tp,
                ..host
            }
        }
    };
    let mut fleet = Fleet::new(target, seed()?);
    if let Some(file) = &arguments.key_log {
        fleet.log_keys(KeyLogFile::open(file)?);
    }
    let _only_one = fleet.add(Arc::new(settings), inside, outside, clock::now());
    Ok(fleet)
}
