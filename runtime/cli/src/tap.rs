//! `runtime tap`: what crosses an edge of a pipeline.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use clap::Args;

use super::App;
use super::new_file::NewFile;
use super::output::{Failure, complain, print, table};
use super::pipeline;
use base::stop::Stop;
use compute::adapter::select;
use compute::graph::{Graph, Parameter};
use compute::kernel::Step;
use compute::session::{Session, untrained};
use flow::event::Event;
use flow::given;
use flow::item::{GradientTask, Image, Item, Label, Pixels, SampleId, Scores, Source, Weights};
use flow::picture::Picture;
use flow::plan::Plan;
use flow::port::Port;
use flow::stage::RunSettings;

const EXAMPLES: &str = "\
Examples:
  runtime tap pipeline.yaml distort                  the first distorted images, as tap-distort.png
  runtime tap pipeline.yaml whiten -n 64 -o sheet.png
  runtime tap pipeline.yaml train                    the weights before the first step
  runtime tap pipeline.yaml 'score->evaluate'        scores of the untrained model";

/// Shows what crosses an edge: only what leads there runs, and nothing is trained.
///
/// Of images the first are drawn on a sheet and listed; of weights and gradients the numbers of
/// each tensor before the first step are described; of scores the first rows are shown.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: pipeline::Arguments,

    /// The stage that puts out, or `FROM->TO`.
    #[arg(value_name = "EDGE")]
    edge: String,

    /// How many images are shown.
    #[arg(short = 'n', long = "images", value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    images: u32,

    /// The PNG file, which must not be there yet [default: tap-EDGE.png].
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,

    /// The folder that holds the data.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// What computes, where something is computed.
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<String>,
}

/// An image that crossed the edge.
struct Shown {
    id: SampleId,
    label: Label,
    image: Image,
}

pub(super) fn tap(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let plan = arguments.pipeline.load(app, arguments.data.clone(), arguments.adapter.clone())?;
    let stage = edge(&plan, &arguments.edge)?;
    let file = arguments.output.clone().unwrap_or_else(|| format!("tap-{stage}.png").into());
    let most = arguments.images as usize;
    let port = plan.find(&stage).map(|at| plan.stages[at].output.clone()).map_err(Failure::Run)?;
    // Refused before the work, not after it.
    let new = match port {
        Some(Port::Samples(_) | Port::Batches(..)) if file.exists() => {
            return Err(Failure::Run(anyhow!(
                "{} is already there: name another with `-o FILE`",
                file.display()
            )));
        }
        Some(Port::Samples(_) | Port::Batches(..)) => Some(NewFile::create(&file)?),
        _ => None,
    };
    let settings = plan.settings.clone();
    let items = gather(plan, &stage, most).map_err(Failure::of_run)?;
    match (items.first(), new) {
        (None, _) => Err(Failure::Run(anyhow!("nothing came out of `{stage}`"))),
        (Some(Item::Weights(weights)), _) => print(&weights_table(weights)),
        (Some(Item::GradientTask(task)), _) => {
            let Some(Port::Gradients(graph, _)) = port else { return Err(unsaid(&stage)) };
            print(&gradient_table(task, &graph, &settings).map_err(Failure::of_run)?)
        }
        (Some(Item::Scores(_)), _) => print(&scores_table(&items, most)),
        (Some(Item::Block(_) | Item::Batch(_)), Some(new)) => sheet(&items, most, &file, new),
        (Some(Item::Block(_) | Item::Batch(_)), None) => Err(unsaid(&stage)),
    }
}

fn unsaid(stage: &str) -> Failure {
    Failure::Run(anyhow!("`{stage}` puts out what it did not say"))
}

/// The stage that puts out what crosses the edge.
fn edge(plan: &Plan, edge: &str) -> Result<String, Failure> {
    let wrong = |message: String| Failure::Usage { message, help: None };
    let find = |id: &str| plan.find(id.trim()).map_err(|error| wrong(error.to_string()));
    let (from, to) = match edge.split_once("->") {
        Some((from, to)) => (find(from)?, Some(find(to)?)),
        None => (find(edge)?, None),
    };
    let id = plan.stages[from].id.clone();
    if let Some(to) = to.filter(|to| !plan.stages[*to].from.contains(&from)) {
        return Err(wrong(format!("`{}` does not read from `{id}`", plan.stages[to].id)));
    }
    match &plan.stages[from].output {
        Some(_) => Ok(id),
        None => Err(wrong(format!("`{id}` puts out nothing"))),
    }
}

/// Runs what leads to a stage, from untrained weights where it needs any.
fn gather(plan: Plan, stage: &str, most: usize) -> Result<Vec<Item>> {
    let mut plan = plan.flow_into(&[stage])?;
    let trainers: Vec<(String, Arc<Graph>)> = plan
        .stages
        .iter()
        .filter_map(|stage| match &stage.output {
            Some(Port::Weights(graph)) => Some((stage.id.clone(), Arc::clone(graph))),
            _ => None,
        })
        .collect();
    for (id, graph) in trainers {
        let nothing = Source {
            description: "no data".to_owned(),
            epoch_images: 0,
            split: String::new(),
            classes: Vec::new(),
            stands_in_for: None,
            limit: None,
            in_a_row: None,
        };
        let weights = untrained(&graph, Arc::new(nothing), plan.settings.seed);
        plan.give(&id, given::items(vec![Item::Weights(Arc::new(weights))]))?;
    }
    let (plan, gathered) = plan.collecting(stage, most)?;
    flow::run::run(&plan, Stop::default(), |message| {
        if let Event::Warning(text) = message.event {
            complain(&format!("warning: {text}\n"));
        }
    })?;
    let decoded = |mut item: Item| {
        if let Item::Block(block) = &mut item {
            block.samples.iter_mut().try_for_each(|sample| sample.image.decode())?;
        }
        Ok(item)
    };
    std::iter::from_fn(|| gathered.try_recv().ok()).map(decoded).collect()
}

/// Draws the images and lists them.
fn sheet(items: &[Item], most: usize, file: &Path, new: NewFile) -> Result<(), Failure> {
    let classes = classes(items);
    let shown: Vec<Shown> = items.iter().flat_map(images).take(most).collect();
    let pictures: Vec<Picture> =
        shown.iter().map(|shown| Picture::from_image(&shown.image)).collect();
    let columns = (1..).find(|columns| columns * columns >= pictures.len()).unwrap_or(1);
    let widest = pictures.iter().map(|picture| picture.width).max().unwrap_or(1);
    let sheet = Picture::sheet(&pictures, columns, (SHOWN_WIDTH / widest.max(1)).max(1), GAP);
    new.write_bytes(&sheet.png().map_err(Failure::Run)?)?;
    let mut rows = vec![["place", "epoch", "image", "label"].map(str::to_owned).to_vec()];
    rows.extend(shown.iter().enumerate().map(|(place, shown)| {
        let (row, column) = (place / columns + 1, place % columns + 1);
        vec![
            format!("row {row}, column {column}"),
            shown.id.epoch.to_string(),
            shown.id.index.to_string(),
            label(&shown.label, classes),
        ]
    }));
    print(&format!("{}{} images are in {}\n", table(&rows), shown.len(), file.display()))
}

/// Pixels across which a small image is enlarged about.
const SHOWN_WIDTH: usize = 96;
const GAP: usize = 4;

fn classes(items: &[Item]) -> &[String] {
    match items.first() {
        Some(Item::Block(block)) => &block.source.classes,
        Some(Item::Batch(batch)) => &batch.source.classes,
        Some(Item::Scores(scores)) => &scores.batch.source.classes,
        _ => &[],
    }
}

/// The images of a block or a batch.
fn images(item: &Item) -> Vec<Shown> {
    match item {
        Item::Block(block) => {
            let shown = block.samples.iter().map(|sample| Shown {
                id: sample.id,
                label: sample.label.clone(),
                image: sample.image.clone(),
            });
            shown.collect()
        }
        Item::Batch(batch) => {
            let size = batch.shape.iter().product::<usize>().max(1);
            let pixels = batch.images.chunks_exact(size);
            let all = batch.ids.iter().zip(&batch.labels).zip(pixels);
            let shown = all.map(|((id, label), pixels)| Shown {
                id: *id,
                label: label.clone(),
                image: Image { shape: batch.shape, pixels: Pixels::F32(pixels.to_vec()) },
            });
            shown.collect()
        }
        _ => Vec::new(),
    }
}

fn label(label: &Label, classes: &[String]) -> String {
    match label {
        Label::Class(class) => name(*class as usize, classes),
        Label::Distribution(shares) => {
            let parts = shares.iter().enumerate().filter(|(_, share)| **share != 0.0);
            let parts = parts.map(|(class, share)| format!("{} {share:.2}", name(class, classes)));
            parts.collect::<Vec<_>>().join(", ")
        }
    }
}

fn name(class: usize, classes: &[String]) -> String {
    classes.get(class).cloned().unwrap_or_else(|| class.to_string())
}

fn scores_table(items: &[Item], most: usize) -> String {
    let all: Vec<&Scores> = items
        .iter()
        .filter_map(|item| match item {
            Item::Scores(scores) => Some(scores),
            _ => None,
        })
        .collect();
    let classes = classes(items);
    let mut head = ["epoch", "image", "label", "cross-entropy"].map(str::to_owned).to_vec();
    head.extend((0..all.first().map_or(0, |scores| scores.classes)).map(|at| name(at, classes)));
    let mut rows = vec![head];
    for scores in all {
        let batch = &scores.batch;
        let numbers = scores.logits.chunks_exact(scores.classes.max(1)).zip(&scores.image_loss);
        for ((id, what), (logits, loss)) in batch.ids.iter().zip(&batch.labels).zip(numbers) {
            let mut row = vec![id.epoch.to_string(), id.index.to_string(), label(what, classes)];
            row.push(format!("{loss:.4}"));
            row.extend(logits.iter().map(|score| format!("{score:.4}")));
            rows.push(row);
        }
    }
    rows.truncate(most + 1);
    table(&rows)
}

fn weights_table(weights: &Weights) -> String {
    let graph = &weights.graph;
    let parameters = graph.parameters.iter().map(|parameter| parameter.value).zip(&weights.raw);
    let all = parameters.chain(graph.states().zip(&weights.states));
    numbers(all.map(|(id, values)| {
        let tensor = graph.tensor(id);
        (&*tensor.name, &*tensor.shape, values.clone())
    }))
}

/// Computes a gradient of the untrained model, and describes it.
fn gradient_table(
    task: &GradientTask,
    graph: &Arc<Graph>,
    settings: &RunSettings,
) -> Result<String> {
    let asked = settings.compute.adapter.as_deref().unwrap_or("auto");
    let adapter = select::select_in(asked, settings.compute.precision)?;
    let images = task.batch.ids.len();
    let mut session = Session::new(&adapter, graph, images)?;
    session.initialize(settings.seed)?;
    session.gradient(&task.batch, &Step::of(images))?;
    let read = |parameter: &Parameter| {
        let tensor = graph.tensor(parameter.value);
        let values = session.read(parameter.gradient)?;
        Ok((&*tensor.name, &*tensor.shape, values))
    };
    let gradients: Vec<_> = graph.parameters.iter().map(read).collect::<Result<_>>()?;
    Ok(numbers(gradients.into_iter()))
}

/// A row for each tensor.
fn numbers<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize], Vec<f32>)>) -> String {
    let head = ["tensor", "shape", "mean", "deviation", "min", "max"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(tensors.map(|(name, shape, values)| {
        let count = values.len().max(1) as f64;
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
        let squares = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>();
        let min = values.iter().copied().fold(f32::INFINITY, f32::min);
        let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let described = [mean, (squares / count).sqrt(), f64::from(min), f64::from(max)];
        let mut row = vec![name.to_owned(), format!("{shape:?}")];
        row.extend(described.map(|number| format!("{number:.4e}")));
        row
    }));
    table(&rows)
}
