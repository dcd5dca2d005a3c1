//! A checkpoint, and its pipeline as it evaluates and predicts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use async_channel::Receiver;

use compute::adapter::forms::Forms;
use compute::settings::ComputeSettings;
use config::diagnostic::Diagnostic;
use flow::given;
use flow::item::{Item, Weights};
use flow::plan::Plan;
use flow::port::Port;
use flow::reports::ImageSet;
use flow::stage::{DataSettings, Kind, RunSettings};
use record::checkpoint::{self, Stored};
use record::provenance;
use record::run_folder::checkpoints;

use crate::Error;

/// Trained weights, with what was trained.
#[derive(Debug)]
pub struct Trained {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub stored: Stored,
    /// The part of the data set by which it was chosen as the best of its run, if it was.
    pub chosen_on: Option<String>,
    /// Why later checkpoints were passed over.
    pub warnings: Vec<String>,
}

/// The field of a stage that scores by which it takes moving averages of weights.
pub const AVERAGED: &str = "averaged";

/// What a flag changes in the stages that an evaluation needs.
#[derive(Debug)]
pub struct Change {
    /// The flag, for people.
    pub flag: &'static str,
    /// The field of a stage.
    pub field: &'static str,
    /// What it becomes, in YAML.
    pub value: String,
    /// Whether some stage has to have it.
    pub needed: bool,
}

impl Change {
    /// Takes the weights as they are instead of their moving averages.
    pub fn raw() -> Self {
        Self { flag: "--raw", field: AVERAGED, value: "false".to_owned(), needed: true }
    }

    /// Names what computes. A stage may have an adapter of its own, which counts more than the run's.
    pub fn adapter(adapter: &str) -> Self {
        let value = serde_json::Value::from(adapter).to_string();
        Self { flag: "--adapter", field: "adapter", value, needed: false }
    }
}

impl Trained {
    /// The checkpoint in this file, or the latest good one of this run, or its best.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn read(path: &Path, best: bool) -> Result<Self> {
        if path.is_dir() {
            return if best { Self::best(path) } else { Self::latest(path) };
        }
        let stored = checkpoint::read(path)?;
        Ok(Self { path: path.to_owned(), stored, chosen_on: None, warnings: Vec::new() })
    }

    /// The latest good checkpoint of a run.
    ///
    /// # Errors
    /// If there is none.
    pub fn latest(run: &Path) -> Result<Self> {
        let (path, stored, warnings) = checkpoint::latest_good(&checkpoints(run))?;
        Ok(Self { path, stored, chosen_on: None, warnings })
    }

    /// The checkpoint of a run that was the best at its evaluation.
    ///
    /// # Errors
    /// If none has been evaluated, or it cannot be read.
    pub fn best(run: &Path) -> Result<Self> {
        let best = checkpoint::best(&checkpoints(run))?;
        let best = best.with_context(|| format!("{} has no best checkpoint yet", run.display()))?;
        let path = checkpoints(run).join(&best.file);
        let stored = checkpoint::read(&path)?;
        Ok(Self { path, stored, chosen_on: Some(best.chosen_on), warnings: Vec::new() })
    }

    /// The pipeline with which this was trained, with these changes in the stages that its
    /// evaluations need, and what there is to say of it. `kinds` are the kinds of stages that there
    /// are, `base` what is known of the run beside its pipeline.
    ///
    /// # Errors
    /// If the pipeline is wrong, or has no place for a change that is needed.
    pub fn plan(
        &self,
        kinds: &[Kind],
        changes: &[Change],
        base: &RunSettings,
    ) -> Result<(Plan, Vec<Diagnostic>), Error> {
        let (plan, _) = self.load(kinds, &[], base)?;
        let part = evaluations(plan, &self.path, given::items(Vec::new()))?;
        let mut set = Vec::new();
        for change in changes {
            let before = set.len();
            for stage in &part.stages {
                let kind = kinds.iter().find(|kind| kind.name == stage.kind);
                let fields = kind.and_then(|kind| kind.schema.as_value().get("properties"));
                if fields.and_then(|fields| fields.get(change.field)).is_some() {
                    let path = format!("stages.{}.{}.{}", stage.id, stage.kind, change.field);
                    set.push((path, change.value.clone()));
                }
            }
            if set.len() == before && change.needed {
                let (flag, field) = (change.flag, change.field);
                return Err(Error::Usage {
                    message: format!("{flag}: no stage of the evaluation has a field `{field}`"),
                    help: Some(format!("leave {flag} out, or evaluate another checkpoint")),
                });
            }
        }
        self.load(kinds, &set, base)
    }

    /// The whole pipeline with which this was trained, and what there is to say of it.
    ///
    /// # Errors
    /// If the pipeline is wrong.
    pub fn whole(
        &self,
        kinds: &[Kind],
        base: &RunSettings,
    ) -> Result<(Plan, Vec<Diagnostic>), Error> {
        self.load(kinds, &[], base)
    }

    fn load(
        &self,
        kinds: &[Kind],
        set: &[(String, String)],
        base: &RunSettings,
    ) -> Result<(Plan, Vec<Diagnostic>), Error> {
        let about = &self.stored.about;
        let base = RunSettings {
            data: DataSettings {
                place: base.data.place.clone().or_else(|| about.data_path.clone()),
                ..base.data.clone()
            },
            folder: about.folder.clone(),
            // What it was trained with, for the same scores as there.
            compute: ComputeSettings {
                forms: about
                    .record()
                    .map_or_else(Forms::default, |record| Forms::default().recorded(record)),
                ..base.compute.clone()
            },
            ..base.clone()
        };
        let name = format!("pipeline of {}", self.path.display());
        let text = &about.pipeline;
        let load = |set: &[(String, String)]| {
            Plan::load(kinds, &name, text, set, &base).map_err(Error::Pipeline)
        };
        let loaded = load(set)?;
        let earlier = loaded.0.meant_before(&about.data);
        if earlier.is_empty() { Ok(loaded) } else { load(&[&earlier, set].concat()) }
    }

    /// That it was trained on drawings in place of a data set.
    pub fn stand_in_warning(&self) -> Option<String> {
        let real = self.stored.source.stands_in_for.as_ref()?;
        Some(format!(
            "this model was trained on drawn stand-in images, NOT {real}: it knows nothing of photos"
        ))
    }

    /// The images that it was trained on, if that is known.
    ///
    /// # Errors
    /// If the file that says so cannot be read or is damaged.
    pub fn images(&self) -> Result<Option<ImageSet>> {
        provenance::of_checkpoint(&self.path)
    }

    /// The weights, for a plan's model.
    ///
    /// # Errors
    /// If the plan trains nothing, or another model.
    pub fn weights(&self, plan: &Plan) -> Result<Arc<Weights>> {
        let graph = plan.stages.iter().find_map(|stage| match &stage.output {
            Some(Port::Weights(graph)) => Some(graph),
            _ => None,
        });
        let graph = graph.context("the pipeline trains nothing")?;
        let weights = self.stored.inference_weights(graph);
        Ok(Arc::new(weights.with_context(|| format!("cannot use {}", self.path.display()))?))
    }
}

/// The flow into the stages that end a flow of scores, with weights from this channel. `path` is the
/// checkpoint, for errors.
///
/// # Errors
/// If the plan does not train one model, or evaluates nothing.
pub fn evaluations(mut plan: Plan, path: &Path, weights: Receiver<Item>) -> Result<Plan> {
    let trainers = ids(&plan, |plan, at| matches!(plan.stages[at].output, Some(Port::Weights(_))));
    let [trainer] = trainers.as_slice() else {
        return Err(anyhow!(
            "the pipeline of {} trains {} models, and a checkpoint holds the weights of one",
            path.display(),
            trainers.len()
        ));
    };
    plan.give(trainer, weights)?;
    let ends = ids(&plan, |plan, at| {
        let stage = &plan.stages[at];
        stage.output.is_none() && matches!(stage.inputs[..], [Port::Scores(_)])
    });
    if ends.is_empty() {
        return Err(anyhow!(
            "the pipeline of {} evaluates nothing: none of its stages ends a flow of scores",
            path.display()
        ));
    }
    let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
    plan.flow_into(&ends)
}

/// Says by which stage images are scored, where several could.
pub fn scorer_choice(plan: &Plan) -> Option<String> {
    let scores = plan.stages.iter().filter(|s| matches!(s.output, Some(Port::Scores(_))));
    let (2.., Some(at)) = (scores.count(), plan.scorer()) else { return None };
    let evaluator = plan.best_by().unwrap_or_default();
    Some(format!(
        "of several stages that score, `{}` is taken: `{evaluator}` says which checkpoint is the best",
        plan.stages[at].id
    ))
}

fn ids(plan: &Plan, is_one: impl Fn(&Plan, usize) -> bool) -> Vec<String> {
    let found = (0..plan.stages.len()).filter(|at| is_one(plan, *at));
    found.map(|at| plan.stages[at].id.clone()).collect()
}
