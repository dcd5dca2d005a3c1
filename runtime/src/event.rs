//! What stages say while they run. The console prints it; other observers keep it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::adapter::Info;
use crate::adapter::variants::{Record, RunRecord, Variants};
use crate::fetch::Progress;
use crate::item::{Image, Sample, SampleId, Weights};
use crate::provenance::{Began, Identity};
use crate::run::Outcome;
use crate::run_folder::AdapterReport;
use crate::tensorboard::Histogram;
use crate::towers::journal::Change;

/// Something a person may want to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A part of the run's first line: adapter, model, data.
    Fact {
        /// Such as `adapter`.
        key: &'static str,
        /// Such as `cpu (2 threads)`.
        value: String,
    },
    /// Something that should not go unnoticed.
    Warning(String),
    /// A data set was read.
    Data(DataReport),
    /// The run begins with what another one has learnt.
    Began(Box<Began>),
    /// What trains is ready for its first step.
    Trainer(Box<TrainerReport>),
    /// A queue is being filled before the first step.
    Filling {
        /// The stage that fills it.
        stage: String,
        /// Images in it.
        have: u64,
        /// Images wanted.
        of: u64,
    },
    /// A data set is being downloaded.
    Download(Progress),
    /// Images that crossed an edge that is listened to.
    Tapped(Tapped),
    /// The shares of several adapters change.
    Shares(SharesReport),
    /// A step is done.
    Step(StepReport),
    /// Distributions of a step's numbers.
    Summary(Arc<Summary>),
    /// The weights after a step, to be kept.
    Checkpoint(Checkpoint),
    /// The test images have been scored.
    Evaluation(EvaluationReport),
    /// Where a step's numbers stop being finite.
    Diagnosis(String),
    /// What each stage and each edge has done so far; follows each evaluation.
    Flow(Outcome),
}

/// A data set in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataReport {
    /// The stage that read it.
    pub stage: String,
    /// For people: `CIFAR-10 train, 50,000 images`.
    pub description: String,
    /// Which part of the data set.
    pub split: String,
    /// The CRC-32C of all pixels, then all labels.
    pub crc32c: u32,
    /// Which images these are; absent in runs of early versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

/// What computes the steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrainerReport {
    /// The stage that trains.
    pub stage: String,
    /// Its adapter; the first of several.
    pub adapter: Info,
    /// Images in a batch, of all adapters together.
    pub batch: usize,
    /// What runs on it, which says how many images are computed at once.
    pub variants: Variants,
    /// The replicas of the model where there are several, in order.
    pub towers: Vec<TowerReport>,
    /// What holds the weights of several replicas and applies updates to them.
    pub holder: Option<Record>,
    /// What runs in the other processes of a job, by the names of their replicas.
    pub elsewhere: BTreeMap<String, Record>,
    /// The replicas of each process of a job; empty for one that is alone.
    pub processes: Vec<usize>,
}

impl TrainerReport {
    /// What runs, to be kept.
    pub fn record(&self) -> RunRecord {
        let record = |adapter: &Info, variants: &Variants| Record {
            adapter: AdapterReport::from(adapter),
            variants: variants.clone(),
        };
        let towers = self.towers.iter();
        let here = towers.map(|t| (t.name.clone(), record(&t.adapter, &t.variants)));
        RunRecord {
            first: record(&self.adapter, &self.variants),
            towers: here.chain(self.elsewhere.clone()).collect(),
            holder: self.holder.clone(),
            processes: self.processes.clone(),
        }
    }
}

/// One of several replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TowerReport {
    /// `tower_0`, `tower_1`, ..
    pub name: String,
    /// Its adapter.
    pub adapter: Info,
    /// Its images of the first batch.
    pub images: usize,
    /// What runs on it.
    pub variants: Variants,
}

/// A change of shares that is to be written down before it is used.
#[derive(Clone, Debug)]
pub struct SharesReport {
    /// The shares.
    pub change: Change,
    written: async_channel::Sender<bool>,
}

impl SharesReport {
    /// The report, and where it will be said whether it was written down. If nobody keeps the
    /// run, the channel is closed without a word.
    pub fn new(change: Change) -> (Self, async_channel::Receiver<bool>) {
        let (written, answer) = async_channel::bounded(1);
        (Self { change, written }, answer)
    }

    /// Says whether it was written down.
    pub fn answer(&self, written: bool) {
        // Whoever asked and went away need not know.
        let _ = self.written.try_send(written);
    }
}

/// Ends the wait of a stage that has asked for something by an event: whoever was to answer has seen
/// it, even if he keeps it.
pub(crate) struct Asked(Option<async_channel::Sender<bool>>);

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(written) = &self.0 {
            written.close();
        }
    }
}

impl Event {
    /// To be dropped once the event has been observed.
    pub(crate) fn asked(&self) -> Asked {
        Asked(match self {
            Self::Shares(report) => Some(report.written.clone()),
            _ => None,
        })
    }
}

impl PartialEq for SharesReport {
    fn eq(&self, other: &Self) -> bool {
        self.change == other.change
    }
}

/// Images that crossed an edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Tapped {
    /// The stage that put them out.
    pub stage: String,
    /// The images, in the order of the flow.
    pub samples: Vec<Sample>,
}

/// One step of training, as logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The step's number, from 0.
    pub step: u64,
    /// The number of steps of the run, if it has an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_steps: Option<u64>,
    /// Passes over the training data that are done with it.
    #[serde(deserialize_with = "real")]
    pub epoch: f64,
    /// Cross-entropy plus decay terms, before the update.
    #[serde(deserialize_with = "real")]
    pub loss: f64,
    /// Its moving average over steps.
    #[serde(deserialize_with = "real")]
    pub loss_average: f64,
    /// The terms of the loss.
    #[serde(with = "terms")]
    pub terms: Vec<LossTerm>,
    /// Learning rate of the step.
    #[serde(deserialize_with = "real")]
    pub learning_rate: f64,
    /// Images per second since the last report.
    #[serde(deserialize_with = "real")]
    pub images_per_s: f64,
    /// Seconds per batch since the last report.
    #[serde(deserialize_with = "real")]
    pub batch_s: f64,
    /// What each of several adapters did since the last report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub towers: Option<TowersStep>,
}

/// What several adapters did, on average over some steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TowersStep {
    /// From when the first one had its gradient to when the last one had, in ms.
    pub wait_ms: f64,
    /// Summing gradients, in ms; some of it while adapters are still at work.
    pub reduce_ms: f64,
    /// Adding up the sums of all processes of a job, and waiting for the slowest, in ms, once this
    /// one has its own; 0 for a process that is alone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub exchange_ms: f64,
    /// Applying the update, and reading the new weights, in ms.
    pub update_ms: f64,
    /// Each of them.
    pub each: Vec<TowerStep>,
}

fn is_zero(ms: &f64) -> bool {
    *ms == 0.0
}

/// What one of several adapters did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TowerStep {
    /// `tower_0`, `tower_1`, ..
    pub name: String,
    /// Images that it computed in a second of the run.
    pub images_per_s: f64,
    /// Computing, in ms, and copying gradients of later layers meanwhile.
    pub compute_ms: f64,
    /// Waiting for the rest of its gradient after that, in ms.
    pub copy_ms: f64,
}

/// One term of the loss.
#[derive(Clone, Debug, PartialEq)]
pub struct LossTerm {
    /// Such as `cross_entropy`.
    pub name: String,
    /// Its value at the step.
    pub raw: f64,
    /// Its moving average over steps.
    pub average: f64,
}

/// Reads a real number. JSON has none for what is infinite or no number, and `null` stands there.
fn real<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

/// Terms of the loss as `{ "NAME": { "raw": 1.0, "average": 1.0 } }`, in their order.
mod terms {
    use std::fmt;

    use serde::de::{MapAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{LossTerm, real};

    #[derive(Serialize, Deserialize)]
    struct Values {
        #[serde(deserialize_with = "real")]
        raw: f64,
        #[serde(deserialize_with = "real")]
        average: f64,
    }

    pub(super) fn serialize<S: Serializer>(terms: &[LossTerm], to: S) -> Result<S::Ok, S::Error> {
        let values = |term: &LossTerm| Values { raw: term.raw, average: term.average };
        to.collect_map(terms.iter().map(|term| (&term.name, values(term))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<LossTerm>, D::Error> {
        struct Terms;

        impl<'de> Visitor<'de> for Terms {
            type Value = Vec<LossTerm>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the terms of the loss by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut terms = Vec::new();
                while let Some((name, Values { raw, average })) = map.next_entry()? {
                    terms.push(LossTerm { name, raw, average });
                }
                Ok(terms)
            }
        }

        from.deserialize_map(Terms)
    }
}

/// Distributions of a step's numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The step's number, from 0.
    pub step: u64,
    /// Each trained tensor after the step.
    pub variables: Vec<(String, Histogram)>,
    /// The gradient of each trained tensor.
    pub gradients: Vec<(String, Histogram)>,
    /// The output of each layer; the share of exact zeros is its sparsity.
    pub activations: Vec<(String, Histogram)>,
    /// Some images as they enter the model.
    pub images: Vec<Image>,
}

/// Weights to be kept.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The weights.
    pub weights: Arc<Weights>,
    /// Why now.
    pub reason: Reason,
}

impl PartialEq for Checkpoint {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.weights, &other.weights) && self.reason == other.reason
    }
}

/// Why weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Some time has passed.
    Period,
    /// They are being evaluated: how good they are will be said later.
    Evaluation,
    /// The run is over, or was asked to stop.
    End,
}

/// One evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationReport {
    /// The stage that evaluated.
    pub stage: String,
    /// Steps done by the weights.
    pub step: u64,
    /// Passes over the training data that the weights have seen.
    #[serde(deserialize_with = "real")]
    pub epoch: f64,
    /// Which part of the data set: `test`, `validation`.
    pub split: String,
    /// Images scored, each once.
    pub images: u64,
    /// Of those, the share whose highest score is the right class: accuracy.
    #[serde(deserialize_with = "real")]
    pub precision_at_1: f64,
    /// A number k, and the share whose class is among the k highest scores.
    pub precision_at_k: (usize, f64),
    /// Mean cross-entropy.
    #[serde(deserialize_with = "real")]
    pub loss: f64,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// Of each class (row), how many of its images were taken for each class (column). An image
    /// with a score that is no finite number was taken for none.
    pub confusion: Vec<Vec<u64>>,
    /// The mistakes made with the greatest confidence, the greatest first.
    #[serde(skip)]
    pub mistakes: Vec<Mistake>,
    /// What the data stands in for, if it is not what was asked for.
    pub stands_in_for: Option<String>,
    /// Whether the weights were moving averages.
    pub averaged: bool,
    /// Views of each image of which the probabilities were averaged.
    pub views: usize,
}

impl EvaluationReport {
    /// Of each class, the share of its images that was taken for it; `None` without images.
    pub fn class_accuracy(&self) -> Vec<Option<f64>> {
        let rows = self.confusion.iter().enumerate();
        rows.map(|(class, row)| {
            let images: u64 = row.iter().sum();
            (images > 0).then(|| row[class] as f64 / images as f64)
        })
        .collect()
    }
}

/// An image that was taken for something else.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// Which image.
    pub id: SampleId,
    /// Its class.
    pub class: usize,
    /// What it was taken for.
    pub taken_for: usize,
    /// The probability given to that.
    pub probability: f64,
    /// The image as the model saw it, of several views in the last.
    pub image: Image,
}

/// Where stages put their events.
#[derive(Clone, Debug)]
pub struct Events {
    sender: async_channel::Sender<Event>,
}

impl Events {
    /// A place for events, and the end where they are read.
    pub fn new() -> (Self, async_channel::Receiver<Event>) {
        // Bounded like every channel: a stage that floods it waits for the console. Few, as each
        // may hold the weights of a checkpoint until these are on the disk.
        let (sender, receiver) = async_channel::bounded(32);
        (Self { sender }, receiver)
    }

    /// Says something. After the run has ended nobody listens, and nothing happens.
    pub fn emit(&self, event: Event) {
        // Failing to send means that the listener is gone, and with it whoever wanted to know.
        let _ = self.sender.send_blocking(event);
    }

    /// Says one part of the run's first line.
    pub fn fact(&self, key: &'static str, value: impl Into<String>) {
        self.emit(Event::Fact { key, value: value.into() });
    }
}
