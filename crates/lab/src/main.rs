//! `adit-lab`: what is asked for is done, and the exit status says whether it went well.

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::Parser;
use lab::cli::{Arguments, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Dial(arguments) => lab::dial::dial(&arguments),
        Command::Blast(arguments) => lab::blast::blast(&arguments),
        Command::Ramp(arguments) => lab::ramp::ramp(&arguments),
        Command::Demo(arguments) => lab::demo::demo(&arguments),
        Command::Replay(arguments) => lab::replay::replay(&arguments),
        Command::Decode(arguments) => lab::decode::decode(&arguments),
        Command::Plan(arguments) => lab::plan::plan(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(stderr(), "adit-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}
