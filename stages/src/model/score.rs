//! A model that scores: for each set of weights, one pass over the images, or one for each view.

use std::sync::Arc;

use anyhow::{Result, bail};
use compute::adapter::host::Cpu;
use compute::adapter::{Adapter, Lowering};
use compute::graph::Graph;
use compute::job::{Lane, Left};
use compute::precision::Precision;
use compute::session::{Scored, Session};
use flow::channel::Ports;
use flow::event::{Event, Events};
use flow::item::{Batch, Item, Scores, Source, Weights};
use flow::stage::Stage;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::train::check_labels;
use crate::data::classes::differ;

/// Refuses images of other classes than the model was trained on.
///
/// # Errors
/// With the first class that differs.
pub fn check_classes(trained: &[String], scored: &Source) -> Result<()> {
    if let Some(other) = differ(trained, &scored.classes) {
        bail!(
            "the model was trained on other classes than those of {}: {other}; score data with the \
             same classes in the same order",
            scored.description
        );
    }
    Ok(())
}

/// Waits for weights, scores as many epochs of images with them as there are views, and waits
/// again.
pub struct Score {
    session: Session,
    adapter: String,
    /// How its adapter has taken the model.
    how: Lowering,
    events: Option<Events>,
    lane: Lane,
    averaged: bool,
    batches: usize,
    weights: usize,
    views: usize,
}

impl Score {
    /// A replica of its own, without anything that only training needs.
    pub fn new(
        adapter: &dyn Adapter,
        graph: &Graph,
        how: Lowering,
        averaged: bool,
    ) -> Result<Self> {
        let session = Session::with(adapter, &Arc::new(graph.inference()), how.clone())?;
        let info = adapter.info();
        Ok(Self {
            session,
            adapter: format!("{}/{}", info.backend, info.name),
            how,
            events: None,
            lane: Lane::default(),
            averaged,
            batches: 0,
            weights: 1,
            views: 1,
        })
    }

    /// Where to say that its adapter was lost.
    pub fn telling(self, events: Events) -> Self {
        Self { events: Some(events), ..self }
    }

    /// Shares the batches with the other processes of the job.
    pub fn sharing(self, lane: Lane) -> Self {
        Self { lane, ..self }
    }

    /// Scores batches of which each process of the job takes one, in the order of the ranks.
    ///
    /// # Errors
    /// [`Left`] if a process is gone.
    fn score_all(&mut self, weights: &Weights, batches: &[Batch]) -> Result<Vec<Scored>> {
        let own = batches.get(self.lane.job().rank());
        let own = own.map(|batch| self.score(weights, batch)).transpose()?;
        if !self.lane.job().is_shared() {
            return Ok(own.into_iter().collect());
        }
        let own = own.unwrap_or_default();
        let all = self.lane.gather_reals(&[own.logits, own.image_loss].concat())?;
        let scored = batches.iter().zip(all).map(|(batch, mut logits)| {
            let image_loss = logits.split_off(logits.len().saturating_sub(batch.ids.len()));
            Scored { logits, image_loss }
        });
        Ok(scored.collect())
    }

    /// Scores a batch. If the adapter is lost, `cpu` does it from then on, in f32: training need
    /// not end for it.
    fn score(&mut self, weights: &Weights, batch: &Batch) -> Result<Scored> {
        let lost = match self.session.score(batch) {
            Ok(scored) => return Ok(scored),
            Err(error) if self.adapter == "cpu/cpu" => return Err(error),
            Err(error) => error,
        };
        if let Some(events) = &self.events {
            let precision = match self.how.precision {
                Precision::F32 => String::new(),
                _ => format!(", in {}", Precision::F32),
            };
            events.emit(Event::Warning(format!(
                "{} failed while scoring: {lost:#}. `cpu` takes over{precision}",
                self.adapter
            )));
        }
        let graph = Arc::clone(self.session.graph());
        self.how.precision = Precision::F32;
        self.session = Session::with(&Cpu::new(0)?, &graph, self.how.clone())?;
        self.adapter = "cpu/cpu".to_owned();
        self.load(weights)?;
        self.session.score(batch)
    }

    /// Which inputs bring the batches and the weights.
    pub fn reading(mut self, batches: usize, weights: usize) -> Self {
        (self.batches, self.weights) = (batches, weights);
        self
    }

    /// How many epochs are scored with each set of weights.
    pub fn views(self, views: usize) -> Self {
        Self { views, ..self }
    }

    /// Takes over weights, or their averages, with what the layers keep.
    ///
    /// # Errors
    /// If they are of another model, or the adapter fails.
    pub fn load(&mut self, weights: &Weights) -> Result<()> {
        let values = if self.averaged { &weights.averages } else { &weights.raw };
        for (parameter, values) in weights.graph.parameters.iter().zip(values) {
            let name = &weights.graph.tensor(parameter.value).name;
            let Some(tensor) = self.session.graph().find(name) else {
                bail!("the weights have a {name} that the model does not");
            };
            self.session.write(tensor, values)?;
        }
        for kept in &weights.graph.kept {
            // What is only needed to train is not in a model that scores.
            let name = &weights.graph.tensor(kept.value).name;
            let Some(tensor) = self.session.graph().find(name) else { continue };
            let source = kept.average.filter(|_| self.averaged).unwrap_or(kept.value);
            let states = weights.graph.states().zip(&weights.states);
            for (_, values) in states.filter(|(state, _)| *state == source) {
                self.session.write(tensor, values)?;
            }
        }
        Ok(())
    }

    /// Refuses a batch that is no data of the model's.
    fn check(&self, weights: &Weights, batch: &Batch) -> Result<()> {
        check_labels(batch, self.classes())?;
        check_classes(&weights.source.classes, &batch.source)
    }

    /// The values of the model's tensor of this name; `None` if there is none.
    pub fn read(&mut self, name: &str) -> Option<Vec<f32>> {
        let tensor = self.session.graph().find(name)?;
        self.session.read(tensor).ok()
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
                // What an adapter says late is found when it scores.
                self.load(&weights)?;
                let mut epochs = 0;
                while epochs < self.views {
                    let mut round = Vec::new();
                    while epochs < self.views && round.len() < self.lane.job().size() {
                        let Some(item) = ports.receive(self.batches).await else { return Ok(()) };
                        let Item::Batch(batch) = item else { bail!("it takes batches only") };
                        self.check(&weights, &batch)?;
                        epochs += usize::from(batch.ends_epoch);
                        round.push(batch);
                    }
                    let scored = match self.score_all(&weights, &round) {
                        Ok(scored) => scored,
                        Err(error) if error.is::<Left>() => return Ok(()),
                        Err(error) => return Err(error),
                    };
                    // One process counts them.
                    let counted = round.into_iter().zip(scored);
                    for (batch, scored) in counted.filter(|_| self.lane.job().is_first()) {
                        let scores = Scores {
                            progress: weights.progress,
                            averaged: self.averaged,
                            batch,
                            views: self.views,
                            logits: scored.logits,
                            image_loss: scored.image_loss,
                            classes: self.classes(),
                        };
                        if ports.send(Item::Scores(scores)).await.is_err() {
                            return Ok(());
                        }
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use compute::adapter::host::Cpu;
    use compute::graph::{GraphBuilder, Initial, TensorId};
    use compute::kernel::Constants;
    use flow::stage::Mismatch;

    use flow::item::Progress;

    use super::*;
    use crate::model::compile::{ListedLayer, compile};
    use crate::model::layer::{Layer, one_input};
    use crate::model::layers::softmax_cross_entropy::SoftmaxCrossEntropy;
    use crate::testing::source;

    /// A matrix that is trained, and an offset that is kept without being trained.
    #[derive(Debug)]
    struct Offset;

    impl Layer for Offset {
        fn lower(
            &self,
            graph: &mut GraphBuilder,
            inputs: &[TensorId],
        ) -> Result<TensorId, Mismatch> {
            let x = one_input(inputs)?;
            let weights = graph.parameter("weights", &[3, 10], Initial::Constant(0.0), 0.0);
            let offset = graph.state("offset", &[10], Initial::Constant(0.0));
            graph.state("unread", &[7], Initial::Constant(0.0));
            let y = graph.activation(&[10]);
            let constants = Constants::default().with("INPUTS", 3).with("OUTPUTS", 10);
            let tensors = [x, weights.value, offset, y];
            graph.forward(&shaders::dense_forward::KERNEL, &tensors, constants.clone());
            if let (Some(dy), Some(to)) = (graph.gradient_of(y), weights.gradient) {
                let kernel = &shaders::dense_backward_weights::KERNEL;
                graph.backward(kernel, &[x, dy, to], constants);
            }
            Ok(y)
        }
    }

    #[test]
    fn what_layers_keep_without_training_it_is_there_when_scoring() {
        let listed = |kind, layer: Arc<dyn Layer>| ListedLayer::of(kind, layer);
        let layers = [
            listed("offset", Arc::new(Offset)),
            listed("softmax_cross_entropy", Arc::new(SoftmaxCrossEntropy::default())),
        ];
        let graph = Arc::new(compile(&layers, [1, 1, 3], 10).expect("a valid model"));
        let cpu = Cpu::new(1).expect("it starts");
        let mut score = Score::new(&cpu, &graph, Lowering::of(4), true).expect("it fits");
        let offset: Vec<f32> = (0..10).map(|class| class as f32).collect();
        let weights = Weights {
            progress: Progress { steps: 1, ..Progress::default() },
            source: source(1),
            graph: Arc::clone(&graph),
            raw: vec![vec![1.0; 30]],
            averages: vec![vec![2.0; 30]],
            states: vec![offset.clone(), vec![3.0; 7]],
        };
        score.load(&weights).expect("they belong to the model");
        assert_eq!(score.read("offset1/offset"), Some(offset));
        assert_eq!(score.read("offset1/weights"), Some(vec![2.0; 30]));
        assert_eq!(score.read("offset1/unread"), None);
    }
}
