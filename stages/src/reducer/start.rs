//! `init_from`: a run that begins with the weights of another one.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use compute::graph::Graph;
use compute::session::untrained;
use flow::event::Event;
use flow::item::{Source, Weights};
use flow::reports::Began;
use flow::stage::Context;
use record::checkpoint::{self, Stored, Taken};
use record::provenance;
use record::run_folder::{self, checkpoints};

use crate::data::classes::differ;
use crate::data::thousands;

/// What a run began with.
pub(super) struct Start {
    /// The checkpoint's file.
    path: String,
    steps: u64,
    /// The classes that it was trained on.
    classes: Vec<String>,
    taken: Taken,
    /// The last layer with weights.
    last: Option<String>,
    /// The pipeline that they were trained with.
    pipeline: String,
}

/// The first weights of a model: those of the checkpoint at this path, and where its layers are
/// others, those drawn.
///
/// # Errors
/// If there is no checkpoint that can be used, or none of its layers is one of this model.
pub(super) fn read(
    path: &Path,
    graph: &Arc<Graph>,
    context: &Context<'_>,
) -> Result<(Weights, Start)> {
    let path = context.run.folder.join(path);
    let (path, stored) = find(&path, context).context("init_from")?;
    // What cannot be read leaves open which images these were, and that is told then.
    let images = provenance::of_checkpoint(Path::new(&path)).unwrap_or_else(|error| {
        context.events.emit(Event::Warning(format!("init_from: {error:#}")));
        None
    });
    let began = Began { from: path.clone(), data: stored.about.data.clone(), images };
    context.events.emit(Event::Began(Box::new(began)));
    let source = Arc::new(stored.source.clone());
    let mut weights = untrained(graph, source, context.run.seed);
    let taken = stored.start(&mut weights);
    if taken.layers.is_empty() {
        bail!(
            "init_from: no layer of this model is in {} by name and shape.\nThe model has {}; the \
             checkpoint has {}.\nName the layers as they are there, or leave `init_from` out",
            path,
            list(&taken.anew),
            list(&taken.left)
        );
    }
    let last = graph.layers.iter().rfind(|layer| layer.parameters > 0);
    let start = Start {
        path,
        steps: stored.progress.steps,
        classes: stored.source.classes,
        taken,
        last: last.map(|layer| layer.name.clone()),
        pipeline: stored.about.pipeline,
    };
    Ok((weights, start))
}

/// The checkpoint in this file, or the latest good one of this run.
fn find(path: &Path, context: &Context<'_>) -> Result<(String, Stored)> {
    ensure!(
        path.exists(),
        "there is no file and no folder {}: give a run's folder or a checkpoint's file; relative \
         paths begin at the pipeline's folder",
        path.display()
    );
    if !path.is_dir() {
        return Ok((path.display().to_string(), checkpoint::read(path)?));
    }
    ensure!(run_folder::is_run(path), "{} is no run's folder: it has no run.json", path.display());
    let (path, stored, complaints) = checkpoint::latest_good(&checkpoints(path))?;
    complaints.into_iter().for_each(|complaint| context.events.emit(Event::Warning(complaint)));
    Ok((path.display().to_string(), stored))
}

impl Start {
    /// What was loaded and what was not.
    pub(super) fn told(&self) -> String {
        let steps = thousands(self.steps);
        let mut told = format!("{} after {steps} steps", self.path);
        told += &format!("; {} from there", list(&self.taken.layers));
        if !self.taken.anew.is_empty() {
            told += &format!("; anew: {}", list(&self.taken.anew));
        }
        if !self.taken.left.is_empty() {
            told += &format!("; not used: {}", list(&self.taken.left));
        }
        told
    }

    /// What to say of layers that are frozen and were not in the checkpoint.
    pub(super) fn frozen_anew(&self, graph: &Graph) -> Option<String> {
        let anew = |name: &&str| !self.taken.layers.iter().any(|taken| taken == name);
        let names: Vec<&str> = graph.frozen().map(|layer| &*layer.name).filter(anew).collect();
        (!names.is_empty()).then(|| {
            format!(
                "{} has no weights for what is frozen here, which keeps those that were drawn at \
                 first: {}",
                self.path,
                names.join(", ")
            )
        })
    }

    /// What to say of what is done otherwise to images here than for those weights.
    pub(super) fn prepared_otherwise(&self, context: &Context<'_>) -> Vec<String> {
        let training = &context.run.training;
        training.differences_from(&self.path, &self.pipeline).unwrap_or_else(|wrong| {
            let why = wrong.first().map_or("", |first| first.message.as_str());
            vec![format!(
                "what was done to the images that {} was trained on is not known, as its pipeline \
                 cannot be read here: {why}",
                self.path
            )]
        })
    }

    /// What to say where the images are of other classes than those were.
    pub(super) fn other_classes(&self, source: &Source) -> Option<String> {
        let differ = differ(&self.classes, &source.classes)?;
        let last = self.last.as_deref().unwrap_or_default();
        let what_of_it = if self.taken.layers.iter().any(|layer| layer == last) {
            format!("layer `{last}` has the shapes that it had, and begins with what it was")
        } else {
            format!("layer `{last}` begins anew, so that does no harm")
        };
        Some(format!("{}: {differ}. Only shapes count: {what_of_it}", self.path))
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => names.join(", "),
    }
}
