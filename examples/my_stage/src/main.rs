//! The command `runtime` with a stage, a layer and a sink more.

mod leaky_relu;
mod losses;
mod posterizer;

use std::process::ExitCode;

use gradflow::{Registry, command};

fn main() -> ExitCode {
    let registry = Registry::default()
        .stage(posterizer::kind())
        .layer(leaky_relu::kind())
        .kernels(&leaky_relu::KERNELS)
        .sink(losses::sink);
    command::main(registry)
}
