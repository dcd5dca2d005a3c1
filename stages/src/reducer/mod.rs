//! Owns the weights: computes gradients on its adapter, applies them, keeps moving averages.

mod reduce;

use std::sync::Arc;

use anyhow::{Result, bail};
use runtime::adapter::select;
use runtime::event::{Event, TrainerReport};
use runtime::period::Period;
use runtime::port::Port;
use runtime::session::Session;
use runtime::stage::{Config, Context, Kind, Mismatch, Runner};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use reduce::Reduce;

use crate::data::thousands;

/// Trains: one step of gradient descent per batch, then the moving averages of the new weights.
///
/// The averages' decay at step `t` is `min(moving_average, (1 + t) / (10 + t))`, so that early
/// weights are forgotten quickly.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reducer {
    /// How far each step goes against the gradient.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// The decay of the weights' moving averages, 0 to below 1. Evaluation uses the averages.
    #[serde(default = "moving_average")]
    pub moving_average: f64,
    /// How often weights are handed on to be evaluated, beside at the end.
    #[serde(default = "evaluate")]
    pub evaluate: Period,
}

fn learning_rate() -> f64 {
    0.1
}

fn moving_average() -> f64 {
    0.9999
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

impl Config for Reducer {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let [Port::Gradients(graph, _)] = inputs else {
            return Err(Mismatch::new("a reducer takes the gradients of one model")
                .help("`from:` a model that has layers"));
        };
        let mut wrong = Vec::new();
        if !(self.learning_rate >= 0.0 && self.learning_rate.is_finite()) {
            let found = format!("expected a rate from 0 upwards, found {}", self.learning_rate);
            wrong.push(Mismatch::field("learning_rate", found).help("the tutorial uses 0.1"));
        }
        if !(0.0..1.0).contains(&self.moving_average) {
            let found =
                format!("expected a decay from 0 to below 1, found {}", self.moving_average);
            wrong.push(
                Mismatch::field("moving_average", found)
                    .help("0 keeps no average, 0.9999 is the tutorial's"),
            );
        }
        wrong.extend(self.evaluate.mistakes("evaluate"));
        Mismatch::all(wrong)?;
        Ok(Some(Port::Weights(Arc::clone(graph))))
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let [Port::Gradients(graph, batch)] = context.inputs else {
            bail!("a reducer takes the gradients of one model");
        };
        let adapter = select::select(context.run.adapter.as_deref().unwrap_or("auto"))?;
        let mut session = Session::new(adapter.as_ref(), graph, *batch)?;
        match &context.run.resume {
            None => session.initialize(context.run.seed)?,
            Some(weights) => session.load(weights)?,
        }
        let info = adapter.info();
        context.events.emit(Event::Trainer(TrainerReport {
            stage: context.stage.to_owned(),
            adapter: info.clone(),
            batch: *batch,
            micro_batch: session.micro_batch(),
        }));
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
