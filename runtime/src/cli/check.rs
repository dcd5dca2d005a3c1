//! `runtime check`: checks a pipeline without opening anything, and shows what flows through it.

use clap::Args;

use super::App;
use super::output::{Failure, indent, print, table};
use super::pipeline;
use crate::plan::Plan;

const EXAMPLES: &str = "\
Examples:
  runtime check pipeline.yaml
  runtime check pipeline.yaml --set stages.crop.cropper.size=28";

/// Checks a pipeline, and shows its stages with the types of what they put out.
///
/// No file but the pipeline is opened, and no device is used.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: pipeline::Arguments,
}

pub(super) fn check(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let plan = arguments.pipeline.load(app, None, None)?;
    print(&describe(&plan))
}

fn describe(plan: &Plan) -> String {
    let header = ["stage", "kind", "from", "puts out"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let mut summaries = String::new();
    for stage in &plan.stages {
        let from: Vec<&str> = stage.from.iter().map(|from| &*plan.stages[*from].id).collect();
        let output = stage.output.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let from = if from.is_empty() { "-".to_owned() } else { from.join(", ") };
        rows.push(vec![stage.id.clone(), stage.kind.to_owned(), from, output]);
        if let Some(summary) = stage.config.summary(&stage.inputs) {
            summaries += &format!("\n{} ({}):\n{}", stage.id, stage.kind, indent(&summary, 2));
        }
    }
    table(&rows) + &summaries
}
