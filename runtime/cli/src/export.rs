//! `runtime export`: trained weights as a file for other programs.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use super::App;
use super::new_file::NewFile;
use super::output::{Failure, print};
use super::trained::{find, read, tell_choice, whole};
use config::node::Node;
use flow::photo;
use flow::plan::{Plan, PlannedStage};
use flow::port::{PixelType, Port};
use inference::{AVERAGED, Trained};
use onnx::Builder;
use record::recorder::name_of;
use record::run_folder::RUNS;

const EXAMPLES: &str = "\
Examples:
  runtime export runs/pipeline-001 --onnx net.onnx                  averaged weights, the latest
  runtime export runs/pipeline-001 --onnx net.onnx --from standard  with the stage `standard` in it

The file takes `images`, floats of N x height x width x channels as the model gets them, and gives
`logits`. What the pipeline's evaluation does to images before is noted in the file's metadata: under
`preprocessing` with all fields, under `preprocessing_in_words` for people, and under `input` with the
order of colours and the range of values. With --from STAGE that stage and those after it are part of
the model: from the first stage behind the reader on, it takes the values of pixels, 0 to 255.";

/// Writes a checkpoint's model as an ONNX file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// A checkpoint's file, or a run's folder or name, of which the latest good checkpoint is taken.
    #[arg(value_name = "CHECKPOINT|RUN")]
    path: PathBuf,

    /// The file to write; none is written over.
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,

    /// Takes the weights as they are instead of their moving averages, also where these are what is
    /// evaluated.
    #[arg(long)]
    raw: bool,

    /// The first stage that is part of the model: it takes what this stage takes.
    #[arg(long, value_name = "STAGE")]
    from: Option<String>,

    /// Where runs have their folders, in which one is found by its name.
    #[arg(long, value_name = "DIR", env = "GRADFLOW_RUNS", default_value = RUNS)]
    runs: PathBuf,
}

pub(super) fn export(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let path = find(&arguments.path, &arguments.runs)?;
    let trained = read(&path, false)?;
    let plan = whole(app, &trained)?;
    tell_choice(&plan);
    let flow = flow(&plan).map_err(Failure::Run)?;
    let first = match &arguments.from {
        None => flow.len(),
        Some(from) => first_inside(&flow, from)?,
    };
    let file = NewFile::create(&arguments.onnx)?;
    let averaged = !arguments.raw && scores_averages(&plan);
    let bytes = encode(&trained, &plan, flow.split_at(first), averaged).map_err(Failure::Run)?;
    file.write_bytes(&bytes)?;
    print(&format!(
        "{}: {} after {} steps, {} weights, {} bytes\n",
        arguments.onnx.display(),
        trained.path.display(),
        trained.stored.progress.steps,
        kind_of(averaged),
        bytes.len()
    ))
}

/// Whether the weights that are evaluated are moving averages: so it is unless the stage says
/// otherwise.
fn scores_averages(plan: &Plan) -> bool {
    let field = plan.scorer().and_then(|at| plan.stages[at].fields.get(AVERAGED));
    field != Some(&Node::Bool(false))
}

fn kind_of(averaged: bool) -> &'static str {
    if averaged { "averaged" } else { "raw" }
}

/// What images go through before the model scores them, or is trained with them where the pipeline
/// scores nothing: each stage, the source first.
fn flow(plan: &Plan) -> Result<Vec<&PlannedStage>> {
    let trains = |stage: &&PlannedStage| matches!(stage.output, Some(Port::Gradients(..)));
    let scorer = plan.scorer().map(|at| &plan.stages[at]);
    let model = scorer.or_else(|| plan.stages.iter().find(trains));
    let mut stage = model.context("the pipeline has no model")?;
    let mut flow = Vec::new();
    loop {
        let images = stage
            .from
            .iter()
            .map(|at| &plan.stages[*at])
            .find(|from| matches!(from.output, Some(Port::Batches(..) | Port::Samples(_))));
        let Some(from) = images else { break };
        flow.insert(0, from);
        stage = from;
    }
    Ok(flow)
}

fn first_inside(flow: &[&PlannedStage], from: &str) -> Result<usize, Failure> {
    // The source takes no images.
    let inside = flow.iter().skip(1).position(|stage| stage.id == from);
    inside.map(|at| at + 1).ok_or_else(|| {
        let ids: Vec<&str> = flow.iter().skip(1).map(|stage| stage.id.as_str()).collect();
        Failure::Usage {
            message: format!("--from: no stage `{from}` changes the images that are scored"),
            help: Some(format!("these do: {}", ids.join(", "))),
        }
    })
}

/// What comes in, for people.
fn input(before: &[&PlannedStage], shape: [usize; 3]) -> String {
    let [height, width, channels] = shape;
    let colours = match channels {
        1 => "grey",
        3 => "red, green, blue",
        _ => "as in the data set",
    };
    let is_bytes = before
        .iter()
        .rev()
        .find_map(|stage| match &stage.output {
            Some(Port::Samples(image)) => Some(image.pixel == PixelType::U8),
            _ => None,
        })
        .unwrap_or(false);
    let values = match is_bytes {
        true => "0 to 255",
        false => "as the last step of preprocessing_in_words leaves them",
    };
    format!("float32, N x {height} x {width} x {channels}; channels: {colours}; values: {values}")
}

/// What is done before the first node, a line for each stage.
fn in_words(before: &[&PlannedStage]) -> String {
    let line = |stage: &&PlannedStage| {
        let words = match (&stage.output, stage.from.is_empty()) {
            (Some(Port::Samples(image)), true) => Some(photo::in_words(image)),
            _ => stage.config.as_exports()?.in_words(&stage.inputs),
        };
        words.map(|words| format!("{}: {words}", stage.id))
    };
    before.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

/// The file: what is done before it, and the stages and the model that are in it.
fn encode(
    trained: &Trained,
    plan: &Plan,
    (before, inside): (&[&PlannedStage], &[&PlannedStage]),
    averaged: bool,
) -> Result<Vec<u8>> {
    let trains = |stage: &&PlannedStage| matches!(stage.output, Some(Port::Gradients(..)));
    let model = plan.stages.iter().find(trains).context("the pipeline trains nothing")?;
    let image = match before.last().and_then(|stage| stage.output.as_ref()) {
        Some(Port::Samples(image) | Port::Batches(image, _)) => image.shape,
        _ => return Err(anyhow!("the model gets no images")),
    };
    let (mut file, mut value) = Builder::new(image, trained.weights(plan)?, averaged);
    for (at, stage) in inside.iter().chain([&model]).enumerate() {
        file.begin(&stage.id);
        let next = match stage.config.as_exports() {
            Some(exports) => exports.onnx(&mut file, &value),
            None => Err(anyhow!("what it does to images has no form in ONNX")),
        };
        value = next.with_context(|| {
            let behind: Vec<String> =
                inside.iter().skip(at + 1).map(|stage| format!("`{}`", stage.id)).collect();
            let help = match behind.is_empty() {
                true => String::new(),
                false => format!("; `--from` takes a stage behind it: {}", behind.join(", ")),
            };
            format!("stage `{}`, a {}, cannot be part of the file{help}", stage.id, stage.kind)
        })?;
    }
    let notes = |stages: &[&PlannedStage]| {
        let note = |stage: &&PlannedStage| {
            Ok(
                serde_json::json!({ "stage": stage.id, stage.kind: serde_json::to_value(&stage.fields)? }),
            )
        };
        let notes = stages.iter().map(note).collect::<Result<Vec<_>>>()?;
        Ok::<String, anyhow::Error>(serde_json::Value::from(notes).to_string())
    };
    let stored = &trained.stored;
    let mut metadata = vec![
        ("gradflow.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("checkpoint", name_of(&trained.path)),
        ("steps", stored.progress.steps.to_string()),
        ("weights", kind_of(averaged).to_owned()),
        ("layout", "N x height x width x channels".to_owned()),
        ("input", input(before, image)),
        ("preprocessing_in_words", in_words(before)),
        ("preprocessing", notes(before)?),
        ("preprocessing_inside", notes(inside)?),
        ("trained_on", stored.source.description.clone()),
        ("classes", serde_json::to_string(&stored.source.classes)?),
    ];
    if let Some(real) = &stored.source.stands_in_for {
        metadata.push(("stand_in", format!("trained on drawn images, NOT {real}")));
    }
    Ok(file.finish(&value, &metadata))
}
