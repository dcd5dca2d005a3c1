//! `runtime graph`: the pipeline as a drawing.

use clap::{Args, ValueEnum};

use super::App;
use super::output::{Failure, print};
use super::pipeline;
use flow::plan::Plan;

const EXAMPLES: &str = "\
Examples:
  runtime graph pipeline.yaml | dot -Tsvg > pipeline.svg
  runtime graph pipeline.yaml --format mermaid";

/// Draws the stages of a pipeline, with what flows between them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: pipeline::Arguments,

    /// The language of the drawing.
    #[arg(long, value_enum, default_value_t = Format::Dot)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For Graphviz.
    Dot,
    /// For Mermaid, which Markdown viewers draw.
    Mermaid,
}

pub(super) fn graph(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let plan = arguments.pipeline.load(app, None, None)?;
    print(&match arguments.format {
        Format::Dot => dot(&plan),
        Format::Mermaid => mermaid(&plan),
    })
}

/// Each edge: its ends, as positions in the plan, and what flows over it.
fn edges(plan: &Plan) -> impl Iterator<Item = (usize, usize, String)> {
    plan.stages.iter().enumerate().flat_map(|(to, stage)| {
        stage.from.iter().zip(&stage.inputs).map(move |(from, port)| (*from, to, port.to_string()))
    })
}

fn dot(plan: &Plan) -> String {
    let mut text = "digraph pipeline {\n  node [shape=box];\n".to_owned();
    for stage in &plan.stages {
        text += &format!("  \"{0}\" [label=\"{0}\\n{1}\"];\n", stage.id, stage.kind);
    }
    for (from, to, label) in edges(plan) {
        let (from, to) = (&plan.stages[from].id, &plan.stages[to].id);
        text += &format!("  \"{from}\" -> \"{to}\" [label=\"{label}\"];\n");
    }
    text + "}\n"
}

/// Numbers stand for the stages: some names, such as `end`, are words of the language.
fn mermaid(plan: &Plan) -> String {
    let mut text = "flowchart TD\n".to_owned();
    for (number, stage) in plan.stages.iter().enumerate() {
        text += &format!("  s{number}[\"{}<br/>{}\"]\n", stage.id, stage.kind);
    }
    for (from, to, label) in edges(plan) {
        text += &format!("  s{from} -->|\"{label}\"| s{to}\n");
    }
    text
}
