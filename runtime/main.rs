//! The command `runtime`, with the stages and kernels of this repository.

use std::process::ExitCode;

use runtime::App;

fn main() -> ExitCode {
    let kinds = stages::kinds(stages::model::layers::all());
    let golden = stages::model::golden::GOLDEN;
    runtime::main(&App { kinds, kernels: shaders::ALL, golden, probes: shaders::PROBES })
}
