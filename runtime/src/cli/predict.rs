//! `runtime predict`: what photos show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use super::App;
use super::output::{Failure, complain, indent, print, table};
use super::trained::{Change, Trained, evaluations, find, tell_choice};
use crate::channel::Stop;
use crate::event::Event;
use crate::given;
use crate::item::{Block, Image, Item, Label, Sample, SampleId, Scores, Source};
use crate::photo::{self, Rules};
use crate::picture::Picture;
use crate::plan::Plan;
use crate::port::{ImageType, Port};
use crate::run_folder::RUNS;

const EXAMPLES: &str = "\
Examples:
  runtime predict runs/pipeline-001 cat.jpg dog.png
  runtime predict step-000001000.safetensors photos/*.jpg --top 1 --json

Photos are scaled to cover the size of the data set's images, and the middle is cut out. The reader's
own rules for photos hold (`alpha`, `grey` and `invert` of the format `images`), and what the pipeline's
evaluation does to each image follows: cropping, whitening.";

/// Says what PNG and JPEG files show, by the scores of a checkpoint's model.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// A checkpoint's file, or a run's folder or name, of which the latest good checkpoint is taken.
    #[arg(value_name = "CHECKPOINT|RUN")]
    path: PathBuf,

    /// PNG or JPEG files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// How many classes are shown of each, the likeliest first.
    #[arg(long, value_name = "K", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,

    /// Takes the weights as they are instead of their moving averages.
    #[arg(long)]
    raw: bool,

    /// Changes light and dark in the photos: for ink on paper, say, where the model was trained on
    /// light digits on a dark ground, as MNIST's are.
    #[arg(long)]
    invert: bool,

    /// What computes, as in `runtime devices`.
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<String>,

    /// Where runs have their folders, in which one is found by its name.
    #[arg(long, value_name = "DIR", env = "GRADFLOW_RUNS", default_value = RUNS)]
    runs: PathBuf,

    /// Prints one line of JSON for each file.
    #[arg(long)]
    json: bool,
}

/// Where a plan's photos go in and its scores come out.
struct Ends {
    source: String,
    image: ImageType,
    rules: Rules,
    score: String,
    views: usize,
}

pub(super) fn predict(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let path = find(&arguments.path, &arguments.runs)?;
    let trained = Trained::read(&path, false).map_err(Failure::Run)?;
    if let Some(real) = &trained.stored.source.stands_in_for {
        complain(&format!(
            "warning: this model was trained on drawn stand-in images, NOT {real}: it knows nothing \
             of photos\n"
        ));
    }
    let raw = arguments.raw.then(Change::raw);
    let adapter = arguments.adapter.as_deref();
    let changes: Vec<Change> = raw.into_iter().chain(adapter.map(Change::adapter)).collect();
    let plan = trained.plan(app, &changes, adapter, None)?;
    let weights = given::items(vec![Item::Weights(trained.weights(&plan).map_err(Failure::Run)?)]);
    let plan = evaluations(plan, &trained.path, weights).map_err(Failure::Run)?;
    tell_choice(&plan);
    let ends = ends(&plan).map_err(Failure::Run)?;

    let [height, width, _] = ends.image.shape;
    let rules =
        Rules { refuse_tiny: true, invert: ends.rules.invert != arguments.invert, ..ends.rules };
    let photos: Vec<Result<Picture>> =
        arguments.files.iter().map(|file| photo::load(file, width, height, rules)).collect();
    let pictures: Vec<&Picture> = photos.iter().filter_map(|photo| photo.as_ref().ok()).collect();
    let classes = &trained.stored.source.classes;
    let found = score(plan, &ends, &pictures, classes).map_err(Failure::of_run)?;

    let mut found = found.into_iter();
    let mut failed = 0;
    for (file, photo) in arguments.files.iter().zip(&photos) {
        match photo {
            Ok(_) => {
                let shares = found.next().context("a photo was not scored");
                let likeliest = likeliest(&shares.map_err(Failure::Run)?, arguments.top as usize);
                print(&shown(file, &likeliest, classes, arguments.json))?;
            }
            Err(error) => {
                failed += 1;
                complain(&format!("error: {}: {error:#}\n", file.display()));
                if arguments.json {
                    let error = format!("{error:#}");
                    print(&format!(
                        "{}\n",
                        json!({ "file": file.display().to_string(), "error": error })
                    ))?;
                }
            }
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Run(anyhow!(
            "{failed} of {} files could not be used",
            arguments.files.len()
        ))),
    }
}

/// The ends of the flow that says how good weights are.
fn ends(plan: &Plan) -> Result<Ends> {
    let score = &plan.stages[plan.scorer().context("the pipeline scores nothing")?];
    let views = score.inputs.iter().find_map(|input| match input {
        Port::Batches(image, _) => Some(image.views),
        _ => None,
    });
    // Back along the flow to where its images come from.
    let mut waiting: Vec<usize> = score.from.clone();
    let mut sources = Vec::new();
    while let Some(at) = waiting.pop() {
        let stage = &plan.stages[at];
        match &stage.output {
            Some(Port::Samples(image)) if stage.from.is_empty() => sources.push((at, *image)),
            _ => waiting.extend(&stage.from),
        }
    }
    let [(source, image)] = sources[..] else {
        return Err(anyhow!(
            "the images of `{}` come from {} stages, and photos can take the place of one",
            score.id,
            sources.len()
        ));
    };
    let channels = image.shape[2];
    if !matches!(channels, 1 | 3) {
        return Err(anyhow!(
            "the pipeline's images have {channels} channels, and photos have 3, or 1 in grey"
        ));
    }
    let source = &plan.stages[source];
    let (rules, source) = (source.config.photo_rules(), source.id.clone());
    Ok(Ends { source, image, rules, score: score.id.clone(), views: views.unwrap_or(1) })
}

/// The probabilities of each picture's classes, averaged over the views.
fn score(
    mut plan: Plan,
    ends: &Ends,
    pictures: &[&Picture],
    classes: &[String],
) -> Result<Vec<Vec<f64>>> {
    if pictures.is_empty() {
        return Ok(Vec::new());
    }
    plan.give(&ends.source, given::items(blocks(ends, pictures, classes)))?;
    let (plan, gathered) = plan.collecting(&ends.score, pictures.len() * ends.views)?;
    crate::run::run(&plan, Stop::default(), |message| {
        if let Event::Warning(text) = message.event {
            complain(&format!("warning: {text}\n"));
        }
    })?;
    let mut shares: Vec<Vec<f64>> = vec![Vec::new(); pictures.len()];
    let scores = std::iter::from_fn(|| gathered.try_recv().ok()).filter_map(|item| match item {
        Item::Scores(scores) => Some(scores),
        _ => None,
    });
    scores.for_each(|scores| add(&mut shares, &scores));
    let views = ends.views as f64;
    shares.iter_mut().flatten().for_each(|sum| *sum /= views);
    Ok(shares)
}

fn add(shares: &mut [Vec<f64>], scores: &Scores) {
    for (id, probabilities) in scores.batch.ids.iter().zip(scores.probabilities()) {
        let Some(sums) = shares.get_mut(id.index as usize) else { continue };
        sums.resize(probabilities.len(), 0.0);
        sums.iter_mut().zip(probabilities).for_each(|(sum, share)| *sum += share);
    }
}

/// A pass over the pictures for each view.
fn blocks(ends: &Ends, pictures: &[&Picture], classes: &[String]) -> Vec<Item> {
    let source = Arc::new(Source {
        description: "photos".to_owned(),
        epoch_images: pictures.len() as u64,
        split: "photos".to_owned(),
        classes: classes.to_vec(),
        stands_in_for: None,
        limit: None,
        in_a_row: None,
    });
    let images: Vec<Image> =
        pictures.iter().map(|picture| photo::as_image(&ends.image, picture)).collect();
    let pass = |view: u64| {
        let samples = images.iter().enumerate().map(|(index, image)| Sample {
            id: SampleId { epoch: view, index: index as u64 },
            // Nobody knows; the loss, which needs it, is not looked at.
            label: Label::Class(0),
            image: image.clone(),
        });
        let samples = samples.collect();
        Item::Block(Block { source: Arc::clone(&source), samples, ends_epoch: true })
    };
    (0..ends.views as u64).map(pass).collect()
}

/// The likeliest classes with their probabilities; of equal ones the lower number first.
fn likeliest(shares: &[f64], top: usize) -> Vec<(usize, f64)> {
    let mut all: Vec<(usize, f64)> = shares.iter().copied().enumerate().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(top);
    all
}

fn shown(file: &Path, likeliest: &[(usize, f64)], classes: &[String], as_json: bool) -> String {
    let name = |class: usize| classes.get(class).cloned().unwrap_or_else(|| class.to_string());
    if as_json {
        let predictions: Vec<Value> = likeliest
            .iter()
            .map(|(class, share)| json!({ "class": name(*class), "probability": share }))
            .collect();
        let line = json!({ "file": file.display().to_string(), "predictions": predictions });
        return format!("{line}\n");
    }
    let rows: Vec<Vec<String>> =
        likeliest.iter().map(|(class, share)| vec![name(*class), format!("{share:.4}")]).collect();
    format!("{}\n{}", file.display(), indent(&table(&rows), 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_first_and_ties_in_order() {
        assert_eq!(likeliest(&[0.25, 0.5, 0.25], 2), [(1, 0.5), (0, 0.25)]);
        assert_eq!(likeliest(&[0.25, 0.75], 9).len(), 2);
    }
}
