//! `runtime predict`: what photos show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use super::App;
use super::output::{Failure, complain, indent, print, table};
use super::trained::{find, plan, read, tell_choice};
use flow::item::Weights;
use flow::photo::{self, Rules};
use flow::picture::Picture;
use flow::plan::Plan;
use inference::{Change, Photos, Predictor};
use record::run_folder::RUNS;

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

pub(super) fn predict(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let path = find(&arguments.path, &arguments.runs)?;
    let trained = read(&path, false)?;
    if let Some(warning) = trained.stand_in_warning() {
        complain(&format!("warning: {warning}\n"));
    }
    let raw = arguments.raw.then(Change::raw);
    let adapter = arguments.adapter.as_deref();
    let changes: Vec<Change> = raw.into_iter().chain(adapter.map(Change::adapter)).collect();
    let plan = plan(app, &trained, &changes, adapter, None)?;
    let weights = trained.weights(&plan).map_err(Failure::Run)?;
    tell_choice(&plan);
    let Photos { image, rules, .. } = Photos::of(&plan).map_err(Failure::Run)?;

    let [height, width, _] = image.shape;
    let rules = Rules { refuse_tiny: true, invert: rules.invert != arguments.invert, ..rules };
    let photos: Vec<Result<Picture>> =
        arguments.files.iter().map(|file| photo::load(file, width, height, rules)).collect();
    let pictures: Vec<&Picture> = photos.iter().filter_map(|photo| photo.as_ref().ok()).collect();
    let classes = &trained.stored.source.classes;
    let found = score(plan, &trained.path, weights, &pictures).map_err(Failure::of_run)?;

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

/// The probabilities of each picture's classes.
fn score(
    plan: Plan,
    path: &Path,
    weights: Arc<Weights>,
    pictures: &[&Picture],
) -> Result<Vec<Vec<f64>>> {
    // No adapter is needed to say that no file could be used.
    if pictures.is_empty() {
        return Ok(Vec::new());
    }
    let warn = |text: &str| complain(&format!("warning: {text}\n"));
    Predictor::new(plan, path, weights, warn)?.score_last(pictures)
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
