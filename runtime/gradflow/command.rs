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

/// Keeps the Wayland library, which the GL driver asks for a display, from complaining on standard
/// error that no folder for its socket is named, as on a Linux machine without a desktop. A folder
/// that is not there gives the same answer in silence, and nobody can put a socket into it.
///
/// # Safety
/// It sets an environment variable: no other thread may read or write the environment meanwhile.
pub unsafe fn quieten_wayland() {
    const FOLDER: &str = "XDG_RUNTIME_DIR";
    if cfg!(target_os = "linux") && std::env::var_os(FOLDER).is_none() {
        // SAFETY: the caller promises that no other thread uses the environment.
        unsafe { std::env::set_var(FOLDER, "/nonexistent") };
    }
}
