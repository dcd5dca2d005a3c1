//! The command `runtime`, with the stages and kernels of this repository.

use std::process::ExitCode;

use runtime::App;

fn main() -> ExitCode {
    quieten_wayland();
    let kinds = stages::kinds(stages::model::layers::all());
    let golden = stages::golden::GOLDEN;
    let (kernels, probes) = (shaders::ALL, shaders::PROBES);
    runtime::main(&App { kinds, kernels, golden, probes, join: cluster::join, sinks: Vec::new() })
}

/// On a Linux machine without a desktop the Wayland library, which the GL driver asks for a
/// display, complains on standard error that no folder for its socket is named. A folder that is
/// not there gives the same answer in silence, and nobody can put a socket into it.
fn quieten_wayland() {
    const FOLDER: &str = "XDG_RUNTIME_DIR";
    if cfg!(target_os = "linux") && std::env::var_os(FOLDER).is_none() {
        // SAFETY: `main` does this first: there is no other thread that may read the environment.
        unsafe { std::env::set_var(FOLDER, "/nonexistent") };
    }
}
