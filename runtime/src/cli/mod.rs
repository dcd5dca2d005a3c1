//! The command line: one file for each verb.

mod check;
mod completions;
mod fields;
mod graph;
mod inspect;
mod list;
mod output;
mod pipeline;
mod run;
mod schema;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::output::Failure;
use crate::kernel::Kernel;
use crate::stage::Kind;

/// What the command knows: a program of its own may add kinds of stages to these lists.
#[derive(Clone)]
pub struct App {
    /// The kinds of stages.
    pub kinds: Vec<Kind>,
    /// The kernels that their models use.
    pub kernels: &'static [&'static Kernel],
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
    Run(run::Arguments),
    Check(check::Arguments),
    List(list::Arguments),
    Inspect(inspect::Arguments),
    Graph(graph::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
}

/// Does what the command line says.
pub fn main(app: &App) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; nobody is left to be told if this fails.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match cli.verb {
        Verb::Run(arguments) => run::run(app, &arguments),
        Verb::Check(arguments) => check::check(app, &arguments),
        Verb::List(arguments) => list::list(app, &arguments),
        Verb::Inspect(arguments) => inspect::inspect(app, &arguments),
        Verb::Graph(arguments) => graph::graph(app, &arguments),
        Verb::Schema(arguments) => schema::schema(app, &arguments),
        Verb::Completions(arguments) => completions::completions(&arguments, Cli::command()),
    };
    result.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
