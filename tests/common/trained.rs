//! A small trained model in a checkpoint, and what it scores, computed plainly.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use std::sync::{Arc, OnceLock};

use base::stop::Stop;
use compute::adapter::AdapterReport;
use flow::event::Event;
use flow::item::{Progress, Weights};
use flow::plan::Plan;
use flow::stage::RunSettings;
use record::checkpoint::{self, About};
use stages::data::Split;
use stages::data::in_memory::InMemory;
use stages::data::synthetic::Synthetic;

use crate::common::{Ran, finish};

pub(crate) const SIDE: usize = 32;
pub(crate) const CROP: usize = 24;
pub(crate) const CLASSES: usize = 10;

/// Pixels are not scaled, so that every number is easily computed again.
pub(crate) const PIPELINE: &str = "
seed: 3
steps: 20
adapter: cpu
stages:
  read: { reader: { format: { synthetic: { train: 200, test: 60 } }, split: train } }
  crop: { from: read, cropper: { size: 24 } }
  batch: { from: crop, batcher: { size: 50 } }
  gradients:
    from: batch
    model:
      layers: [ dense: { units: 10, weights: { truncated_normal: 0.0002 } }, softmax_cross_entropy ]
  train: { from: gradients, reducer: { learning_rate: 1e-8, moving_average: 0.9 } }
  read_test: { reader: { format: { synthetic: { train: 200, test: 60 } }, split: test } }
  centre: { from: read_test, cropper: { size: 24, mode: central } }
  test: { from: centre, batcher: { size: 7, partial: keep } }
  score: { from: [test, train], model: {} }
  evaluate: { from: score, evaluator: { k: 3 } }
";

/// The weights after the run's steps.
pub(crate) fn weights() -> Arc<Weights> {
    static WEIGHTS: OnceLock<Arc<Weights>> = OnceLock::new();
    let train = || {
        let kinds = stages::kinds(&stages::Catalog::default());
        let settings = RunSettings::default();
        let loaded = Plan::load(&kinds, "test.yaml", PIPELINE, &[], &settings);
        let (plan, _) = loaded.expect("a valid pipeline");
        let mut last = None;
        flow::run::run(&plan, Stop::default(), |message| {
            if let Event::Checkpoint(checkpoint) = message.event {
                last = Some(checkpoint.weights);
            }
        })
        .expect("it trains");
        last.expect("weights are kept at the end")
    };
    Arc::clone(WEIGHTS.get_or_init(train))
}

/// Writes a checkpoint of these weights, as if they came out of this pipeline at this step.
pub(crate) fn write(path: &Path, weights: &Weights, pipeline: &str, steps: u64) {
    let about = About {
        program: "test".to_owned(),
        time: "2026-01-01T00:00:00Z".to_owned(),
        seed: 3,
        variants: None,
        towers: BTreeMap::new(),
        holder: None,
        processes: Vec::new(),
        adapter: AdapterReport {
            backend: "cpu".to_owned(),
            name: "cpu".to_owned(),
            driver: "1 thread".to_owned(),
        },
        data: Vec::new(),
        awaits_evaluation: false,
        folder: PathBuf::new(),
        data_path: None,
        pipeline: pipeline.to_owned(),
    };
    let progress = Progress { steps, ..weights.progress };
    let weights = Weights { progress, ..weights.clone() };
    checkpoint::write(path, &weights, &about).expect("it is written");
}

/// The test images.
pub(crate) fn test_images() -> InMemory {
    let synthetic: Synthetic =
        serde_json::from_value(serde_json::json!({ "train": 200, "test": 60 })).expect("fields");
    synthetic.draw(Split::Test).expect("they are drawn")
}

/// The probabilities of the classes of an image's pixels, averaged over this many views.
pub(crate) fn probabilities(pixels: &[u8], averaged: bool, views: usize) -> Vec<f64> {
    let weights = weights();
    let values = if averaged { &weights.averages } else { &weights.raw };
    let [matrix, biases] = &values[..] else { panic!("one dense layer") };
    let room = SIDE - CROP;
    let middle = (room / 2, room / 2);
    let windows: Vec<((usize, usize), bool)> = match views {
        1 => vec![(middle, false)],
        2 => vec![(middle, false), (middle, true)],
        10 => [(0, 0), (0, room), (room, 0), (room, room), middle]
            .into_iter()
            .flat_map(|place| [(place, false), (place, true)])
            .collect(),
        _ => panic!("no such views"),
    };
    let mut mean = vec![0.0; CLASSES];
    for ((top, left), mirrored) in &windows {
        let mut logits: Vec<f64> = biases.iter().map(|bias| f64::from(*bias)).collect();
        for y in 0..CROP {
            for x in 0..CROP {
                let from = if *mirrored { CROP - 1 - x } else { x };
                for channel in 0..3 {
                    let pixel = pixels[((top + y) * SIDE + left + from) * 3 + channel];
                    let row = (y * CROP + x) * 3 + channel;
                    for (class, logit) in logits.iter_mut().enumerate() {
                        *logit += f64::from(pixel) * f64::from(matrix[row * CLASSES + class]);
                    }
                }
            }
        }
        let all: f64 = logits.iter().map(|logit| logit.exp()).sum();
        for (share, logit) in mean.iter_mut().zip(&logits) {
            *share += logit.exp() / all / windows.len() as f64;
        }
    }
    mean
}

/// Runs the command; whatever it is given, it must not panic.
pub(crate) fn runtime(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Ran { status, out, told } = finish(crate::common::runtime(folder, arguments));
    (status.expect("an exit status"), out, told)
}
