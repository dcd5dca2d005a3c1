//! The command `runtime`, with the stages and kernels of this repository.

use std::process::ExitCode;

use runtime::App;

fn main() -> ExitCode {
    let kinds = stages::kinds(stages::model::layers::all());
    let golden = stages::model::golden::GOLDEN;
    let (kernels, probes) = (shaders::ALL, shaders::PROBES);
    runtime::main(&App { kinds, kernels, golden, probes, join: cluster::join })
}
