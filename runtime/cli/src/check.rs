//! `runtime check`: checks a pipeline without opening anything, and shows what flows through it.

use clap::Args;

use super::App;
use super::output::{Failure, indent, print, table, tell};
use super::pipeline;
use compute::adapter::{Adapter as _, micro_batch, select};
use config::diagnostic::{self, Severity};
use flow::plan::Plan;
use flow::port::Port;

const EXAMPLES: &str = "\
Examples:
  runtime check pipeline.yaml
  runtime check pipeline.yaml --adapter lavapipe
  runtime check pipeline.yaml --set stages.batch.batcher.size=64";

/// Checks a pipeline, and shows its stages with the types of what they put out.
///
/// No file but the pipeline is opened, and no device is used unless `--adapter` names one.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: pipeline::Arguments,

    /// Also says whether the pipeline's models fit this adapter, and what they need of it.
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<String>,
}

pub(super) fn check(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let base = arguments.pipeline.base(None, None);
    let (plan, told) = arguments.pipeline.check(app, &base)?;
    let (notes, warnings): (Vec<_>, Vec<_>) =
        told.into_iter().partition(|one| one.severity == Severity::Note);
    tell(&warnings);
    print(&describe(&plan))?;
    if !notes.is_empty() {
        print(&format!("\n{}", diagnostic::render(&notes, false)))?;
    }
    match &arguments.adapter {
        Some(asked) => fit(&plan, asked),
        None => Ok(()),
    }
}

/// Says for each model that trains what it needs of an adapter.
fn fit(plan: &Plan, asked: &str) -> Result<(), Failure> {
    let usage = |message: String| Failure::Usage { message, help: None };
    let adapter = select::select_in(asked, plan.settings.compute.precision)
        .map_err(|error| usage(format!("{error:#}")))?;
    let info = adapter.info();
    let name = format!("{}/{}", info.backend, info.name);
    for stage in &plan.stages {
        let Some(Port::Gradients(graph, batch)) = &stage.output else { continue };
        let part = micro_batch::plan(graph, *batch, &info.limits)
            .map_err(|error| usage(format!("{} does not fit {name}: {error:#}", stage.id)))?;
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let largest = graph.tensors.iter().max_by_key(|tensor| tensor.len_for(part));
        let (tensor, bytes) =
            largest.map_or(("", 0), |tensor| (&*tensor.name, 4 * tensor.len_for(part) as u64));
        let free = match info.limits.memory_bytes {
            Some(bytes) => format!(" of the {} MiB that it may take", bytes >> 20),
            None => String::new(),
        };
        print(&format!(
            "\n{} fits {name}: {} of its batch of {batch} at once, {} MiB of buffers{free}, the \
             largest {tensor} with {} MiB\n",
            stage.id,
            if part == *batch { "all".to_owned() } else { part.to_string() },
            mib(graph.bytes(part)),
            mib(bytes),
        ))?;
    }
    Ok(())
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
