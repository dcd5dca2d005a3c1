//! The command `gradflow`: the same program as `runtime`, under the name of the crate.

use std::process::ExitCode;

use gradflow::{Registry, command};

fn main() -> ExitCode {
    // SAFETY: it comes first: there is no other thread that may read the environment.
    unsafe { command::quieten_wayland() };
    command::main_of_job(Registry::default())
}
