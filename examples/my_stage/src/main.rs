//! The command `runtime` with a stage, a layer and a sink more.

mod leaky_relu;
mod losses;
mod posterizer;

use std::process::ExitCode;

use runtime::App;
use runtime::job::Job;

fn main() -> ExitCode {
    let layers = [stages::model::layers::all(), vec![leaky_relu::kind()]].concat();
    let kinds = [stages::kinds(layers), vec![posterizer::kind()]].concat();
    let kernels = [shaders::ALL, &leaky_relu::KERNELS].concat().leak();
    let golden = stages::golden::GOLDEN;
    let (probes, sinks) = (shaders::PROBES, vec![losses::sink as fn() -> _]);
    runtime::main(&App { kinds, kernels, golden, probes, join: Job::alone, sinks })
}
