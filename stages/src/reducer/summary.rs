//! Distributions of what a model computes, made beside the steps on a thread of their own.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow};
use async_channel::{Receiver, Sender};
use compute::adapter::Adapter;
use compute::graph::Graph;
use compute::kernel::Step;
use compute::session::Session;
use compute::towers::Trainer;
use flow::event::{Event, Events};
use flow::item::{Batch, Image, Pixels};
use flow::reports::{Histogram, Summary};
use flow::stage::Context;

/// Images of the batch whose activations are looked at: enough for a distribution, few enough
/// that a forward pass over them goes unnoticed.
const ACTIVATION_IMAGES: usize = 32;

/// Images that are shown, as in the tutorial.
const SHOWN_IMAGES: usize = 3;

/// What is due at a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// Distributions of weights, gradients and activations.
    pub(super) histograms: bool,
    /// Images as they enter the model.
    pub(super) images: bool,
}

/// Hands what summaries are made of to the thread that makes them.
pub(super) struct Summaries {
    work: Option<Sender<Task>>,
    thread: Option<JoinHandle<Result<()>>>,
}

enum Task {
    Make(Box<Work>),
    /// Say that all before is made.
    Settle(Sender<()>),
}

/// A copy of what a step left behind.
struct Work {
    step: Step,
    images: Vec<Image>,
    distributions: Option<Distributions>,
}

struct Distributions {
    variables: Vec<Vec<f32>>,
    /// What the layers keep.
    kept: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
    batch: Batch,
}

impl Summaries {
    /// The thread, with a replica of its own for activations; `None` if no summary is ever due.
    pub(super) fn new(
        adapter: &dyn Adapter,
        graph: &Arc<Graph>,
        batch: usize,
        context: &Context<'_>,
    ) -> Result<Option<Self>> {
        let periods = &context.run.summaries;
        if periods.histograms.is_never() && periods.images.is_never() {
            return Ok(None);
        }
        let session = match periods.histograms.is_never() {
            true => None,
            false => {
                let mut forward = graph.inference();
                forward.layers.clone().iter().for_each(|layer| forward.observe(layer.tensor));
                let images = batch.min(ACTIVATION_IMAGES);
                let how = context.run.lowering(images);
                Some(Session::with(adapter, &Arc::new(forward), how)?)
            }
        };
        // One waits while one is worked on: a summary that takes longer than its period makes
        // the steps wait instead of memory grow.
        let (sender, receiver) = async_channel::bounded(1);
        let maker = Maker { session, graph: Arc::clone(graph), events: context.events.clone() };
        let thread = thread::Builder::new()
            .name("summaries".to_owned())
            .spawn(move || maker.run(&receiver))?;
        Ok(Some(Self { work: Some(sender), thread: Some(thread) }))
    }

    /// Copies what is due.
    pub(super) fn take(
        &mut self,
        trainer: &mut Trainer,
        batch: &Batch,
        step: &Step,
        due: Due,
    ) -> Result<()> {
        if !due.histograms && !due.images {
            return Ok(());
        }
        let shown = if due.images { SHOWN_IMAGES } else { 0 };
        let distributions = match due.histograms {
            false => None,
            true => {
                let graph = trainer.ask(|session| Ok(Arc::clone(session.graph())))?;
                let parameters = || graph.parameters.iter();
                Some(Distributions {
                    variables: parameters()
                        .map(|p| trainer.read(p.value))
                        .collect::<Result<_>>()?,
                    kept: graph
                        .kept
                        .iter()
                        .map(|kept| trainer.read(kept.value))
                        .collect::<Result<_>>()?,
                    gradients: parameters()
                        .map(|p| trainer.read(p.gradient))
                        .collect::<Result<_>>()?,
                    batch: front(batch, ACTIVATION_IMAGES),
                })
            }
        };
        let work = Work { step: *step, images: pictures(batch, shown), distributions };
        self.ask(Task::Make(Box::new(work)))
    }

    /// Waits until everything handed over has been told: what a checkpoint's run will not do again
    /// must be told before it.
    pub(super) fn settle(&mut self) -> Result<()> {
        let (sender, settled) = async_channel::bounded(1);
        self.ask(Task::Settle(sender))?;
        match settled.recv_blocking() {
            Ok(()) => Ok(()),
            Err(_) => self.end(),
        }
    }

    fn ask(&mut self, task: Task) -> Result<()> {
        match self.work.as_ref().map(|sender| sender.send_blocking(task)) {
            Some(Ok(())) => Ok(()),
            // Only its end closes the channel, and its end is a failure while there is work.
            _ => self.end(),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.work = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(anyhow!("the thread that makes summaries panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Summaries {
    fn drop(&mut self) {
        // What was handed over is still told. A failure here comes after the last step, of which
        // nothing depends on it.
        let _ = self.end();
    }
}

/// The first images of a batch.
fn front(batch: &Batch, images: usize) -> Batch {
    let images = images.min(batch.ids.len());
    let each: usize = batch.shape.iter().product();
    Batch {
        source: Arc::clone(&batch.source),
        ids: batch.ids[..images].to_vec(),
        labels: batch.labels[..images].to_vec(),
        images: batch.images[..images * each].to_vec().into(),
        whole: images,
        ..*batch
    }
}

fn pictures(batch: &Batch, images: usize) -> Vec<Image> {
    let each: usize = batch.shape.iter().product();
    let picture =
        |values: &[f32]| Image { shape: batch.shape, pixels: Pixels::F32(values.to_vec()) };
    batch.images.chunks_exact(each.max(1)).take(images).map(picture).collect()
}

struct Maker {
    session: Option<Session>,
    graph: Arc<Graph>,
    events: Events,
}

impl Maker {
    fn run(mut self, work: &Receiver<Task>) -> Result<()> {
        while let Ok(task) = work.recv_blocking() {
            let Work { step, images, distributions } = match task {
                Task::Make(work) => *work,
                Task::Settle(settled) => {
                    // Whoever asked and went away need not know.
                    let _ = settled.send_blocking(());
                    continue;
                }
            };
            let mut summary = Summary { step: u64::from(step.step), images, ..Summary::default() };
            if let Some(distributions) = distributions {
                self.add(&mut summary, &distributions, &step)?;
            }
            self.events.emit(Event::Summary(Arc::new(summary)));
        }
        Ok(())
    }

    fn add(&mut self, to: &mut Summary, from: &Distributions, step: &Step) -> Result<()> {
        let named = |values: &[Vec<f32>]| {
            let names =
                self.graph.parameters.iter().map(|p| self.graph.tensor(p.value).name.clone());
            names.zip(values.iter().map(|values| histogram(values))).collect()
        };
        to.variables = named(&from.variables);
        to.gradients = named(&from.gradients);
        let Some(session) = &mut self.session else { return Ok(()) };
        let forward = Arc::clone(session.graph());
        let variables = self.graph.parameters.iter().map(|p| p.value).zip(&from.variables);
        let kept = self.graph.kept.iter().map(|kept| kept.value).zip(&from.kept);
        for (id, values) in variables.chain(kept) {
            if let Some(tensor) = forward.find(&self.graph.tensor(id).name) {
                session.write(tensor, values)?;
            }
        }
        let mut activations: Vec<(String, Histogram)> = Vec::new();
        // As in scoring: with what layers keep, and nothing drawn at random.
        let step = Step { training: 0, ..*step };
        session.activations(&from.batch, &step, |layer, values| {
            match activations.iter_mut().find(|(known, _)| known == layer) {
                Some((_, histogram)) => histogram.add(values),
                None => activations.push((layer.to_owned(), histogram(values))),
            }
        })?;
        to.activations = activations;
        Ok(())
    }
}

fn histogram(values: &[f32]) -> Histogram {
    let mut histogram = Histogram::new();
    histogram.add(values);
    histogram
}
