//! A model that scores: for each set of weights, one pass over the images.

use std::sync::Arc;

use anyhow::{Result, bail};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use runtime::adapter::select;
use runtime::channel::Ports;
use runtime::graph::Graph;
use runtime::item::{Item, Scores, Weights};
use runtime::session::Session;
use runtime::stage::Stage;

use super::train::check_labels;

/// Waits for weights, scores one epoch of images with them, and waits again.
pub struct Score {
    session: Session,
    averaged: bool,
    batches: usize,
    weights: usize,
}

impl Score {
    /// A replica of its own, without anything that only training needs.
    pub fn new(adapter: Option<&str>, graph: &Graph, batch: usize, averaged: bool) -> Result<Self> {
        let adapter = select::select(adapter.unwrap_or("auto"))?;
        let session = Session::new(adapter.as_ref(), &Arc::new(graph.inference()), batch)?;
        Ok(Self { session, averaged, batches: 0, weights: 1 })
    }

    /// Which inputs bring the batches and the weights.
    pub fn reading(mut self, batches: usize, weights: usize) -> Self {
        (self.batches, self.weights) = (batches, weights);
        self
    }

    fn load(&mut self, weights: &Weights) -> Result<()> {
        let values = if self.averaged { &weights.averages } else { &weights.raw };
        for (parameter, values) in weights.graph.parameters.iter().zip(values) {
            let name = &weights.graph.tensor(parameter.value).name;
            let Some(tensor) = self.session.graph().find(name) else {
                bail!("the weights have a {name} that the model does not");
            };
            self.session.write(tensor, values)?;
        }
        for (state, values) in weights.graph.states().zip(&weights.states) {
            // What only the optimiser keeps is not in a model that scores.
            if let Some(tensor) = self.session.graph().find(&weights.graph.tensor(state).name) {
                self.session.write(tensor, values)?;
            }
        }
        Ok(())
    }

    fn classes(&self) -> usize {
        let graph = self.session.graph();
        graph.labels.map_or(0, |id| graph.tensor(id).len())
    }
}

impl Stage for Score {
    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        async move {
            while let Some(item) = ports.receive(self.weights).await {
                let Item::Weights(weights) = item else { bail!("it takes weights from a reducer") };
                self.load(&weights)?;
                loop {
                    let Some(item) = ports.receive(self.batches).await else { return Ok(()) };
                    let Item::Batch(mut batch) = item else { bail!("it takes batches only") };
                    check_labels(&batch, self.classes())?;
                    let scored = self.session.score(&batch)?;
                    let ends_epoch = batch.ends_epoch;
                    batch.images = Vec::new();
                    let scores = Scores {
                        step: weights.step,
                        averaged: self.averaged,
                        batch,
                        logits: scored.logits,
                        image_loss: scored.image_loss,
                        classes: self.classes(),
                    };
                    if ports.send(Item::Scores(scores)).await.is_err() {
                        return Ok(());
                    }
                    if ends_epoch {
                        break;
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }
}
