//! A pipeline checked whole: every stage with its types, before anything opens.

mod alignment;
mod check;
mod evaluators;
mod finding;
pub mod flows;
mod kept;
mod links;
mod load;
mod notes;
mod overrides;
mod part;
mod top;
mod trials;

use self::finding::{FROM, STAGES};
use crate::item::Position;
use crate::port::Port;
use crate::stage::{Config, RunSettings};
use crate::trial::Trial;
use config::diagnostic::Diagnostic;
use config::node::Node;

pub use self::top::schema as settings_schema;

/// A checked pipeline, its stages in an order in which inputs come before what reads them.
#[derive(Debug)]
pub struct Plan {
    /// What holds for all stages.
    pub settings: RunSettings,
    /// The stages.
    pub stages: Vec<PlannedStage>,
    /// The tests in the YAML, with their names.
    pub trials: Vec<(String, Trial)>,
    /// The settings as YAML, with all defaults.
    pub top: Node,
    /// The pipeline as it was read, with everything merged and overridden.
    pub document: Node,
}

/// A checked stage.
#[derive(Debug)]
pub struct PlannedStage {
    /// Its name in the YAML.
    pub id: String,
    /// The name of its kind.
    pub kind: &'static str,
    /// Its fields.
    pub config: Box<dyn Config>,
    /// The same as YAML, with all defaults.
    pub fields: Node,
    /// The stages it reads from, as positions in [`Plan::stages`].
    pub from: Vec<usize>,
    /// The types of what it reads.
    pub inputs: Vec<Port>,
    /// The type of what it puts out.
    pub output: Option<Port>,
}

impl Plan {
    /// The stage that trains: its output is weights. `None` in a pipeline that trains nothing.
    pub fn trainer(&self) -> Option<usize> {
        self.stages.iter().position(|stage| matches!(stage.output, Some(Port::Weights(_))))
    }

    /// The pipeline with all defaults written out. Planned again, it gives the same plan, without
    /// the tests: their files are named from where the pipeline was.
    pub fn resolved(&self) -> Node {
        let stages = self.stages.iter().map(|stage| {
            let names = stage.from.iter().map(|from| Node::Text(self.stages[*from].id.clone()));
            let mut entries = Vec::new();
            match stage.from.len() {
                0 => {}
                1 => entries.extend(names.map(|name| (FROM.to_owned(), name))),
                _ => entries.push((FROM.to_owned(), Node::List(names.collect()))),
            }
            entries.push((stage.kind.to_owned(), stage.fields.clone()));
            (stage.id.clone(), Node::Map(entries))
        });
        let mut entries = self.top.entries().unwrap_or_default().to_vec();
        entries.push((STAGES.to_owned(), Node::Map(stages.collect())));
        Node::Map(entries)
    }

    /// Refuses a run that would never end. `file` is the pipeline's.
    ///
    /// # Errors
    /// If the pipeline has no limit.
    pub fn check_end(&self, file: &str) -> Result<(), Vec<Diagnostic>> {
        let limit = &self.settings.limit;
        if limit.epochs.is_some() || limit.steps.is_some() {
            return Ok(());
        }
        let message = format!("{file}: a run needs `epochs` or `steps` to know when to end");
        let help = format!("write `epochs: 10` into {file}, or give `--set epochs=10`");
        Err(vec![Diagnostic::error(message).help(help)])
    }

    /// Whether a stage is part of the training: the stage that trains, or one that it reads from.
    pub fn trains(&self, stage: usize) -> bool {
        self.training().contains(&stage)
    }

    /// The ids of the stages that evaluate: they read scores.
    pub fn evaluators(&self) -> impl Iterator<Item = &str> {
        let takes_scores = |inputs: &[Port]| inputs.iter().any(|i| matches!(i, Port::Scores(_)));
        let stages = self.stages.iter().filter(move |stage| takes_scores(&stage.inputs));
        stages.map(|stage| stage.id.as_str())
    }

    /// The stage that evaluates whose precision @ 1 says which checkpoint is the best.
    pub fn best_by(&self) -> Option<&str> {
        let named = self.settings.record.checkpoints.best_by.as_deref();
        named.or_else(|| self.evaluators().next())
    }

    /// The stage whose scores say how good weights are: the one that [`Plan::best_by`] reads, or the
    /// first that scores.
    pub fn scorer(&self) -> Option<usize> {
        let scores = |at: &usize| matches!(self.stages[*at].output, Some(Port::Scores(_)));
        let chooses = self.best_by().and_then(|id| self.find_stage(id));
        let chosen = chooses.and_then(|at| self.stages[at].from.iter().copied().find(scores));
        chosen.or_else(|| (0..self.stages.len()).find(scores))
    }

    fn find_stage(&self, id: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.id == id)
    }

    /// The stage that trains and those that it reads from, the last first.
    fn training(&self) -> Vec<usize> {
        let mut found: Vec<usize> = self.trainer().into_iter().collect();
        let mut next = 0;
        while let Some(stage) = found.get(next).copied() {
            let new: Vec<usize> =
                self.stages[stage].from.iter().copied().filter(|s| !found.contains(s)).collect();
            found.extend(new);
            next += 1;
        }
        found
    }

    /// The stages whose first images show what becomes of them before they are trained on, and how
    /// many of those are looked at: one after the other the same images, as no stage behind the
    /// first mixes them.
    pub fn first_images(&self) -> Vec<(String, usize)> {
        const IMAGES: usize = 8;
        let samples = |at: usize| matches!(self.stages[at].output, Some(Port::Samples(_)));
        let chain: Vec<usize> = self.training().into_iter().filter(|at| samples(*at)).collect();
        // What is before a stage that mixes are other images; the page leaves those out.
        chain.into_iter().map(|at| (self.stages[at].id.clone(), IMAGES)).collect()
    }

    /// Where the output of each stage begins. A resumed run goes on in the flow that it trains
    /// on; what it evaluates with begins anew.
    pub fn starts(&self) -> Vec<Position> {
        let mut starts = vec![Position::default(); self.stages.len()];
        let (Some(trainer), Some(resume)) = (self.trainer(), &self.settings.resume) else {
            return starts;
        };
        let mut reached = vec![false; self.stages.len()];
        (starts[trainer], reached[trainer]) = (resume.weights.progress.position, true);
        // Stages come after what they read.
        for at in (0..=trainer).rev() {
            if !reached[at] {
                continue;
            }
            let input = self.stages[at].config.start_of_input(starts[at]);
            for from in &self.stages[at].from {
                (starts[*from], reached[*from]) = (input, true);
            }
        }
        starts
    }
}

#[cfg(test)]
mod tests;
