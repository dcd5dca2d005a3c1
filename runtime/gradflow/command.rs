//! The command line, for programs that have one with stages of their own.

use std::process::ExitCode;

use compute::job::Job;

use crate::Registry;

/// Runs the command line of this process with what a registry has, and gives the exit status.
///
/// Unlike the rest of the library it prints, and handles Ctrl-C.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     gradflow::command::main(gradflow::Registry::default())
/// }
/// ```
pub fn main(registry: Registry) -> ExitCode {
    cli::main(&registry.app(Job::alone))
}

/// The same, for a process that may be one of several that run a pipeline together, if the crate was
/// built with the feature `mpi`.
pub fn main_of_job(registry: Registry) -> ExitCode {
    cli::main(&registry.app(cluster::join))
}
