//! Owns the weights: computes gradients on its adapter, applies them, keeps moving averages.

mod reduce;
pub mod update;

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use runtime::adapter::select;
use runtime::graph::Graph;
use runtime::port::Port;
use runtime::session::Session;
use runtime::stage::{Config, Context, Kind, Mismatch, Runner};
use schemars::JsonSchema;
use serde::Deserialize;

use reduce::Reduce;
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
#[derive(Debug, Clone, Deserialize, JsonSchema)]
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
    /// Steps between two lines of the log.
    #[serde(default = "log_every_steps")]
    pub log_every_steps: u64,
    /// Epochs between two sets of weights handed on for evaluation; 0 for one set at the end.
    #[serde(default = "evaluate_every_epochs")]
    pub evaluate_every_epochs: f64,
}

fn learning_rate() -> Schedule {
    Schedule::Constant(0.1)
}

fn moving_average() -> f64 {
    0.9999
}

fn log_every_steps() -> u64 {
    10
}

fn evaluate_every_epochs() -> f64 {
    1.0
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
        if self.log_every_steps == 0 {
            wrong.push(
                Mismatch::field("log_every_steps", "0 steps never pass")
                    .help("10 is the tutorial's"),
            );
        }
        if !(self.evaluate_every_epochs >= 0.0 && self.evaluate_every_epochs.is_finite()) {
            let found =
                format!("expected a number from 0 upwards, found {}", self.evaluate_every_epochs);
            wrong.push(Mismatch::field("evaluate_every_epochs", found).help("0: at the end only"));
        }
        Mismatch::all(wrong)?;
        Ok(Some(Port::Weights(Arc::new(self.extend(graph)?))))
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let [Port::Gradients(graph, batch)] = context.inputs else {
            bail!("a reducer takes the gradients of one model");
        };
        let graph = &Arc::new(self.extend(graph).map_err(|wrong| anyhow!(wrong.message))?);
        let adapter = select::select(context.run.adapter.as_deref().unwrap_or("auto"))?;
        let mut session = Session::new(adapter.as_ref(), graph, *batch)?;
        session.initialize(context.run.seed)?;
        let info = adapter.info();
        let parts = match session.micro_batch() {
            one if one == *batch => String::new(),
            part => format!(", in micro-batches of {part}"),
        };
        context.events.fact("adapter", format!("{}/{} ({})", info.backend, info.name, info.driver));
        context.events.fact(
            "model",
            format!(
                "{} parameters, {} multiply-adds an image, batch {batch}{parts}",
                thousands(graph.parameter_count() as u64),
                thousands(graph.multiply_adds()),
            ),
        );
        Ok(Runner::Stage(Box::new(Reduce::new(self.clone(), graph, session, *batch, context))))
    }
}
