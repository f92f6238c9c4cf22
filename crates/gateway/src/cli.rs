//! The command line of `adit`, and the exit status that says whether it went well.

use std::io::{ErrorKind, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, DEFAULT_SOCKET, counted};
use crate::show::{self, Conditions, Show, What};
use crate::{doctor, log, run};

/// Carrier-grade L2TP/IPsec concentrator
#[derive(Parser)]
#[command(
    name = "adit",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve subscribers until SIGTERM
    Run {
        /// Configuration, TOML
        config: PathBuf,
        /// Write the keys of every tunnel to FILE, for decoding captures
        #[arg(long, value_name = "FILE")]
        key_log: Option<PathBuf>,
    },
    /// Check a configuration: every fault at once, with file, line and key
    Check {
        /// Configuration, TOML
        config: PathBuf,
    },
    /// Check this machine: what is wrong, and the command that mends it
    Doctor {
        /// Look at the interfaces of this configuration
        config: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show what the running gateway does
    Show {
        #[command(subcommand)]
        what: Show,
        #[command(flatten)]
        asking: Asking,
    },
    /// End sessions, tunnels or peers of the running gateway, with a proper goodbye
    Clear {
        /// What to end
        what: What,
        #[command(flatten)]
        conditions: Conditions,
        #[command(flatten)]
        asking: Asking,
    },
    /// Print completions for a shell: adit completions bash > /etc/bash_completion.d/adit
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How to ask the running gateway.
#[derive(clap::Args)]
struct Asking {
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
    /// Unix socket of the gateway (`gateway.control` in its configuration)
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Does what the command line of this process asks for.
#[must_use]
pub fn main() -> ExitCode {
    let status = carry_out(Arguments::parse().command);
    log::finish();
    match status {
        Ok(status) => ExitCode::from(status),
        // Whoever reads has seen enough: `adit show sessions | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "adit: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// The exit status: 0 good, 1 something is wrong, 2 the configuration is.
fn carry_out(command: Command) -> Result<u8> {
    match command {
        Command::Run { config, key_log } => match load(&config) {
            Some(config) => {
                log::start(&config.log);
                for warning in &config.warnings {
                    tracing::warn!("{warning}");
                }
                run::run(config, key_log.as_deref()).map(|()| 0)
            }
            None => Ok(2),
        },
        Command::Check { config } => match load(&config) {
            Some(checked) => {
                for warning in &checked.warnings {
                    writeln!(stdout(), "warning: {warning}")?;
                }
                writeln!(
                    stdout(),
                    "{}: good. {}",
                    config.display(),
                    checked.summary()
                )?;
                Ok(0)
            }
            None => Ok(2),
        },
        Command::Doctor { config, json } => doctor::examine(config.as_deref(), json),
        Command::Show { what, asking } => show::show(&asking.socket, what, asking.json),
        Command::Clear {
            what,
            conditions,
            asking,
        } => show::clear(&asking.socket, what, conditions, asking.json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "adit", &mut script);
            stdout().write_all(&script)?;
            Ok(0)
        }
    }
}

/// The configuration, or its faults on standard error.
fn load(file: &Path) -> Option<Config> {
    match Config::load(file) {
        Ok(config) => Some(config),
        Err(faults) => {
            let mut out = stderr().lock();
            for fault in &faults {
                let _ = writeln!(out, "{fault}");
            }
            let (faults, file) = (counted(faults.len(), "fault"), file.display());
            let _ = writeln!(out, "adit: {faults} in {file}; nothing was started");
            None
        }
    }
}
