//! The command `runtime`, with the stages and kernels of this repository.

use std::process::ExitCode;

use gradflow::{Registry, command};

fn main() -> ExitCode {
    // SAFETY: it comes first: there is no other thread that may read the environment.
    unsafe { command::quieten_wayland() };
    command::main_of_job(Registry::default())
}
