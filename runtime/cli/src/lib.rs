//! The command line: one file for each verb.

mod bench;
mod bench_towers;
mod check;
mod compare;
mod completions;
mod console;
mod devices;
mod diagnose;
mod eval;
mod evaluations;
mod execute;
mod export;
mod fetch;
mod fields;
mod graph;
mod handover;
mod inspect;
mod interrupt;
mod list;
mod nested;
mod new;
mod new_file;
mod output;
mod pipeline;
mod predict;
mod recover;
mod resume;
mod roofline;
mod run;
mod run_arguments;
mod schema;
mod selftest;
mod sweep;
mod tap;
mod test;
mod together;
mod trained;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use self::output::Failure;
use compute::job::Job;
use compute::kernel::Kernel;
use compute::probe::Probes;
use compute::verify::golden::Golden;
use flow::stage::Kind;
use record::sink::Sink;

/// What the command knows: a program of its own may add kinds of stages to these lists.
#[derive(Clone)]
pub struct App {
    /// The kinds of stages.
    pub kinds: Vec<Kind>,
    /// The kernels that their models use.
    pub kernels: &'static [&'static Kernel],
    /// A network whose first steps were recorded.
    pub golden: Golden,
    /// The kernels that an adapter's peaks are measured by.
    pub probes: Probes,
    /// The job that this process was started as a part of.
    pub join: fn() -> Result<Job>,
    /// What makes the sinks of a run, beside Gradflow's own.
    pub sinks: Vec<fn() -> Box<dyn Sink>>,
}

const EXAMPLES: &str = "\
Examples:
  runtime check pipeline.yaml               check a pipeline, and show what flows through it
  runtime run pipeline.yaml                 train
  runtime run pipeline.yaml --set epochs=1  train with one value changed
  runtime inspect cropper                   show the fields of a stage

Exit status: 0 if all went well, 1 if a run failed, 2 if the command line or the pipeline is wrong,
130 if a run was interrupted.";

/// Trains vision models that are described as a pipeline of stages in YAML.
#[derive(Debug, Parser)]
#[command(name = "runtime", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run_arguments::Arguments),
    Check(check::Arguments),
    List(list::Arguments),
    Inspect(inspect::Arguments),
    New(new::Arguments),
    Tap(tap::Arguments),
    Test(test::Arguments),
    Eval(eval::Arguments),
    Compare(compare::Arguments),
    Predict(predict::Arguments),
    Export(export::Arguments),
    Fetch(fetch::Arguments),
    Devices(devices::Arguments),
    Selftest(selftest::Arguments),
    Bench(bench::Arguments),
    Sweep(sweep::Arguments),
    Roofline(roofline::Arguments),
    Graph(graph::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
}

/// Does what the command line says.
pub fn main(app: &App) -> ExitCode {
    ignore_size_signal();
    run_line(app, std::env::args_os())
}

/// Does what a command line says, whose first word is the program's name.
pub fn run_line(app: &App, line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line: Vec<OsString> = line.into_iter().collect();
    interrupt::begin();
    let cli = match Cli::try_parse_from(&line) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; nobody is left to be told if this fails.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match cli.verb {
        Verb::Run(arguments) => {
            let line = line.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            run::run(app, &run_arguments::Arguments { line, ..arguments })
        }
        Verb::Check(arguments) => check::check(app, &arguments),
        Verb::List(arguments) => list::list(app, &arguments),
        Verb::Inspect(arguments) => inspect::inspect(app, &arguments),
        Verb::New(arguments) => new::new(&arguments),
        Verb::Tap(arguments) => tap::tap(app, &arguments),
        Verb::Test(arguments) => test::test(app, &arguments),
        Verb::Eval(arguments) => eval::eval(app, &arguments),
        Verb::Compare(arguments) => compare::compare(&arguments),
        Verb::Predict(arguments) => predict::predict(app, &arguments),
        Verb::Export(arguments) => export::export(app, &arguments),
        Verb::Fetch(arguments) => fetch::fetch(app, &arguments),
        Verb::Devices(arguments) => devices::devices(&arguments),
        Verb::Selftest(arguments) => selftest::selftest(app, &arguments),
        Verb::Bench(arguments) => bench::bench(app, &arguments),
        Verb::Sweep(arguments) => sweep::sweep(app, &arguments),
        Verb::Roofline(arguments) => roofline::roofline(app, &arguments),
        Verb::Graph(arguments) => graph::graph(app, &arguments),
        Verb::Schema(arguments) => schema::schema(app, &arguments),
        Verb::Completions(arguments) => completions::completions(&arguments, Cli::command()),
    };
    result.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

/// A file that grows beyond what `ulimit -f` allows is a write that fails, which is told, and not
/// the end of the process without a word.
fn ignore_size_signal() {
    #[cfg(unix)]
    // SAFETY: no handler is set, only the default one put out of force.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
