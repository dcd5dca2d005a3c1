//! Owns the weights: computes gradients on its adapter, applies them, keeps moving averages.

mod reduce;
mod summary;
pub mod update;

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use runtime::adapter::{Adapter as _, select};
use runtime::event::{Event, TrainerReport};
use runtime::graph::Graph;
use runtime::period::Period;
use runtime::port::Port;
use runtime::precision::Precision;
use runtime::session::Session;
use runtime::stage::{Config, Context, Kind, Mismatch, Runner};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use reduce::Reduce;
use summary::Summaries;
use update::Update;

use crate::data::thousands;
use crate::optimizer::Optimizer;
use crate::schedule::Schedule;

/// Trains: one step of the optimiser per batch, then the moving averages of the new weights.
///
/// In this order: what weight decay adds to the loss and the gradients, clipping, the optimiser's
/// step, the averages. TensorFlow leaves open which of the last two comes first.
///
/// The averages' decay at step `t` is `min(moving_average, (1 + t) / (10 + t))`, so that early
/// weights are forgotten quickly.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reducer {
    /// How far each step goes against the gradient: a number, or a schedule over the images seen
    /// before the step, whatever the size of a batch and the number of adapters.
    #[serde(default = "learning_rate")]
    pub learning_rate: Schedule,
    /// How weights follow their gradients.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// The largest norm of all gradients together, those of weight decay included: longer ones are
    /// scaled down to it. Off if absent.
    #[serde(default)]
    pub clip_norm: Option<f64>,
    /// The decay of the weights' moving averages, 0 to below 1. Evaluation uses the averages.
    #[serde(default = "moving_average")]
    pub moving_average: f64,
    /// The run ends as diverged once the loss is so many times what it was at first (or 1, if it
    /// was less); 0 for never. Numbers that are not finite end it in any case.
    #[serde(default = "blow_up")]
    pub blow_up: f64,
    /// How often weights are handed on to be evaluated, beside at the end.
    #[serde(default = "evaluate")]
    pub evaluate: Period,
}

fn learning_rate() -> Schedule {
    Schedule::Constant(0.1)
}

fn moving_average() -> f64 {
    0.9999
}

fn blow_up() -> f64 {
    100.0
}

fn evaluate() -> Period {
    Period::epochs(1.0)
}

/// The kind.
pub fn kind() -> Kind {
    Kind::of::<Reducer>(
        "reducer",
        "Owns the weights: computes and applies gradients, keeps moving averages, hands weights \
         on for evaluation.",
        "{ learning_rate: 0.1, moving_average: 0.9999 }",
    )
}

impl Reducer {
    /// The model with the terms of its loss and its update.
    fn extend(&self, graph: &Graph) -> Result<Graph, Mismatch> {
        let update = Update { optimizer: self.optimizer.clone(), clip_norm: self.clip_norm };
        update.extend(graph.clone())
    }
}

impl Config for Reducer {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let [Port::Gradients(graph, _)] = inputs else {
            return Err(Mismatch::new("a reducer takes the gradients of one model")
                .help("`from:` a model that has layers"));
        };
        let mut wrong = self.learning_rate.check("learning_rate");
        wrong.extend(self.optimizer.check().into_iter().map(|one| one.below(&["optimizer"])));
        // In f32, where what is tiny is 0.
        if let Some(norm) = self.clip_norm
            && !(f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&norm)
        {
            let found = format!("expected a norm above 0, found {norm}");
            wrong.push(Mismatch::field("clip_norm", found).help("leave it out to clip nothing"));
        }
        if !(0.0..1.0).contains(&self.moving_average) {
            let found =
                format!("expected a decay from 0 to below 1, found {}", self.moving_average);
            wrong.push(
                Mismatch::field("moving_average", found)
                    .help("0 keeps no average, 0.9999 is the tutorial's"),
            );
        }
        if !(self.blow_up == 0.0 || (self.blow_up > 1.0 && self.blow_up.is_finite())) {
            let found = format!("expected a factor above 1, found {}", self.blow_up);
            wrong.push(Mismatch::field("blow_up", found).help("0 never ends a run for its loss"));
        }
        wrong.extend(self.evaluate.mistakes("evaluate"));
        Mismatch::all(wrong)?;
        Ok(Some(Port::Weights(Arc::new(self.extend(graph)?))))
    }

    fn adjustable(&self) -> &'static [&'static str] {
        &["learning_rate", "clip_norm", "moving_average", "blow_up", "evaluate"]
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let [Port::Gradients(graph, batch)] = context.inputs else {
            bail!("a reducer takes the gradients of one model");
        };
        let graph = &Arc::new(self.extend(graph).map_err(|wrong| anyhow!(wrong.message))?);
        let asked = context.run.adapter.as_deref().unwrap_or("auto");
        let precision = context.run.precision;
        let adapter = select::select_in(asked, precision)?;
        let info = adapter.info();
        let how = context.run.lowering(context.run.forms.micro_batch(info, *batch));
        let mut session = match context.run.diagnose {
            None => Session::with(&adapter, graph, how)?,
            Some(_) => Session::with(&adapter, &Arc::new(graph.observed()), how)?,
        };
        match &context.run.resume {
            None => session.initialize(context.run.seed)?,
            Some(resume) => session.load(&resume.weights)?,
        }
        context.events.emit(Event::Trainer(TrainerReport {
            stage: context.stage.to_owned(),
            adapter: info.clone(),
            batch: *batch,
            variants: session.variants(),
        }));
        let parts = match session.micro_batch() {
            one if one == *batch => String::new(),
            part => format!(", in micro-batches of {part}"),
        };
        let in_precision = match precision {
            Precision::F32 => String::new(),
            other => format!(", {other} with f32 weights"),
        };
        context.events.fact(
            "adapter",
            format!("{}/{} ({}){in_precision}", info.backend, info.name, info.driver),
        );
        context.events.fact(
            "model",
            format!(
                "{} parameters, {} multiply-adds an image, batch {batch}{parts}",
                thousands(graph.parameter_count() as u64),
                thousands(graph.multiply_adds()),
            ),
        );
        let summaries = match context.run.diagnose {
            None => Summaries::new(&adapter, graph, *batch, context)?,
            Some(_) => None,
        };
        let reduce = Reduce::new(self.clone(), graph, session, *batch, summaries, context);
        Ok(Runner::Stage(Box::new(reduce)))
    }
}
