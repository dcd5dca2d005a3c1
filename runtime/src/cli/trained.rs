//! A checkpoint, and its pipeline as the verbs use it that evaluate and predict.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use async_channel::Receiver;

use super::App;
use super::output::{Failure, complain, tell};
use super::pipeline::base;
use crate::adapter::forms::Forms;
use crate::checkpoint::{self, Stored};
use crate::given;
use crate::item::{Item, Weights};
use crate::plan::Plan;
use crate::port::Port;
use crate::provenance;
use crate::reports::ImageSet;
use crate::run_folder::{self, checkpoints};
use crate::stage::RunSettings;

/// Trained weights, with what was trained.
#[derive(Debug)]
pub(super) struct Trained {
    /// The file.
    pub(super) path: PathBuf,
    /// What is in it.
    pub(super) stored: Stored,
    /// The part of the data set by which it was chosen as the best of its run, if it was.
    pub(super) chosen_on: Option<String>,
}

/// The field of a stage that scores by which it takes moving averages of weights.
pub(super) const AVERAGED: &str = "averaged";

/// What a flag changes in the stages that an evaluation needs.
#[derive(Debug)]
pub(super) struct Change {
    /// The flag, for people.
    pub(super) flag: &'static str,
    /// The field of a stage.
    pub(super) field: &'static str,
    /// What it becomes, in YAML.
    pub(super) value: String,
    /// Whether some stage has to have it.
    pub(super) needed: bool,
}

impl Change {
    pub(super) fn raw() -> Self {
        Self { flag: "--raw", field: AVERAGED, value: "false".to_owned(), needed: true }
    }

    /// A stage may have an adapter of its own, which counts more than the run's.
    pub(super) fn adapter(adapter: &str) -> Self {
        let value = serde_json::Value::from(adapter).to_string();
        Self { flag: "--adapter", field: "adapter", value, needed: false }
    }
}

/// What is named: a file or a folder, or else a run where runs are kept, as `--resume` finds it.
///
/// # Errors
/// If there is neither; the message says which runs there are.
pub(super) fn find(named: &Path, runs: &Path) -> Result<PathBuf, Failure> {
    if named.exists() {
        return Ok(named.to_owned());
    }
    run_folder::find(runs, Some(&named.to_string_lossy())).map_err(|error| Failure::Usage {
        message: format!("there is no such file, and {error}"),
        help: None,
    })
}

impl Trained {
    /// The checkpoint in this file, or the latest good one of this run, or its best.
    pub(super) fn read(path: &Path, best: bool) -> Result<Self> {
        if path.is_dir() {
            return if best { Self::best(path) } else { Self::latest(path) };
        }
        let stored = checkpoint::read(path)?;
        Ok(Self { path: path.to_owned(), stored, chosen_on: None })
    }

    /// The latest good checkpoint of a run.
    pub(super) fn latest(run: &Path) -> Result<Self> {
        let (path, stored, complaints) = checkpoint::latest_good(&checkpoints(run))?;
        complaints.iter().for_each(|complaint| complain(&format!("warning: {complaint}\n")));
        Ok(Self { path, stored, chosen_on: None })
    }

    fn best(run: &Path) -> Result<Self> {
        let best = checkpoint::best(&checkpoints(run))?;
        let best = best.with_context(|| format!("{} has no best checkpoint yet", run.display()))?;
        let path = checkpoints(run).join(&best.file);
        let stored = checkpoint::read(&path)?;
        Ok(Self { path, stored, chosen_on: Some(best.chosen_on) })
    }

    /// The pipeline with which this was trained, with these changes in the stages that its
    /// evaluations need.
    pub(super) fn plan(
        &self,
        app: &App,
        changes: &[Change],
        adapter: Option<&str>,
        data: Option<&Path>,
    ) -> Result<Plan, Failure> {
        let plan = self.load(app, &[], adapter, data, false)?;
        let part = evaluations(plan, &self.path, given::items(Vec::new()));
        let part = part.map_err(Failure::Run)?;
        let mut set = Vec::new();
        for change in changes {
            let before = set.len();
            for stage in &part.stages {
                let kind = app.kinds.iter().find(|kind| kind.name == stage.kind);
                let fields = kind.and_then(|kind| kind.schema.as_value().get("properties"));
                if fields.and_then(|fields| fields.get(change.field)).is_some() {
                    let path = format!("stages.{}.{}.{}", stage.id, stage.kind, change.field);
                    set.push((path, change.value.clone()));
                }
            }
            if set.len() == before && change.needed {
                let (flag, field) = (change.flag, change.field);
                return Err(Failure::Usage {
                    message: format!("{flag}: no stage of the evaluation has a field `{field}`"),
                    help: Some(format!("leave {flag} out, or evaluate another checkpoint")),
                });
            }
        }
        self.load(app, &set, adapter, data, true)
    }

    /// The whole pipeline with which this was trained.
    pub(super) fn whole(&self, app: &App) -> Result<Plan, Failure> {
        self.load(app, &[], None, None, true)
    }

    fn load(
        &self,
        app: &App,
        set: &[(String, String)],
        adapter: Option<&str>,
        data: Option<&Path>,
        warns: bool,
    ) -> Result<Plan, Failure> {
        let about = &self.stored.about;
        let data = data.map(Path::to_owned).or_else(|| about.data_path.clone());
        let base = RunSettings {
            adapter: adapter.map(str::to_owned),
            folder: about.folder.clone(),
            // What it was trained with, for the same scores as there.
            forms: about
                .record()
                .map_or_else(Forms::default, |record| Forms::default().recorded(record)),
            ..base(data)
        };
        let name = format!("pipeline of {}", self.path.display());
        let text = &about.pipeline;
        let load = |set: &[(String, String)]| {
            Plan::load(&app.kinds, &name, text, set, &base).map_err(Failure::Pipeline)
        };
        let (mut plan, mut warnings) = load(set)?;
        let earlier = plan.meant_before(&about.data);
        if !earlier.is_empty() {
            (plan, warnings) = load(&[&earlier, set].concat())?;
        }
        if warns {
            tell(&warnings);
        }
        Ok(plan)
    }

    /// The images that it was trained on, if that is known.
    pub(super) fn images(&self) -> Option<ImageSet> {
        provenance::of_checkpoint(&self.path).unwrap_or_else(|error| {
            complain(&format!("warning: {error:#}\n"));
            None
        })
    }

    /// The weights, for a plan's model.
    pub(super) fn weights(&self, plan: &Plan) -> Result<Arc<Weights>> {
        let graph = plan.stages.iter().find_map(|stage| match &stage.output {
            Some(Port::Weights(graph)) => Some(graph),
            _ => None,
        });
        let graph = graph.context("the pipeline trains nothing")?;
        let weights = self.stored.inference_weights(graph);
        Ok(Arc::new(weights.with_context(|| format!("cannot use {}", self.path.display()))?))
    }
}

/// The flow into the stages that end a flow of scores, with weights from this channel.
pub(super) fn evaluations(mut plan: Plan, path: &Path, weights: Receiver<Item>) -> Result<Plan> {
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
pub(super) fn tell_choice(plan: &Plan) {
    let scores = plan.stages.iter().filter(|s| matches!(s.output, Some(Port::Scores(_))));
    if let (2.., Some(at)) = (scores.count(), plan.scorer()) {
        let evaluator = plan.best_by().unwrap_or_default();
        complain(&format!(
            "of several stages that score, `{}` is taken: `{evaluator}` says which checkpoint is the \
             best\n",
            plan.stages[at].id
        ));
    }
}

fn ids(plan: &Plan, is_one: impl Fn(&Plan, usize) -> bool) -> Vec<String> {
    let found = (0..plan.stages.len()).filter(|at| is_one(plan, *at));
    found.map(|at| plan.stages[at].id.clone()).collect()
}
