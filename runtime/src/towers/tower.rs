//! One replica of the model on one adapter, driven by a thread of its own.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::adapter::Info;
use crate::adapter::variants::Variants;
use crate::graph::TensorId;
use crate::item::Batch;
use crate::kernel::Step;
use crate::session::Session;

/// What is asked of a tower before it has done the first of it: a step and an upload.
const JOBS: usize = 2;

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// A replica with its thread.
#[derive(Debug)]
pub(super) struct Tower {
    /// `tower_0`, `tower_1`, ..: it stays the same when others are lost.
    pub(super) name: String,
    pub(super) number: usize,
    pub(super) info: Info,
    /// The most images taken at once.
    pub(super) micro_batch: usize,
    /// What runs.
    pub(super) variants: Variants,
    /// The weights on their way.
    pub(super) upload: Option<Answer<()>>,
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What a tower will say.
#[derive(Debug)]
pub(super) struct Answer<T>(Receiver<Result<T>>);

impl<T> Answer<T> {
    /// Waits for it.
    pub(super) fn wait(self) -> Result<T> {
        self.0.recv().unwrap_or_else(|_| Err(anyhow!("its thread has panicked")))
    }
}

impl Tower {
    /// Starts the thread.
    pub(super) fn start(number: usize, info: &Info, mut session: Session) -> Result<Self> {
        let name = super::name(number);
        let (micro_batch, variants) = (session.micro_batch(), session.variants());
        let (jobs, work) = mpsc::sync_channel::<Job>(JOBS);
        let thread = thread::Builder::new()
            .name(name.clone())
            .spawn(move || work.iter().for_each(|job| job(&mut session)))
            .context("could not start a thread")?;
        Ok(Self {
            name,
            number,
            info: info.clone(),
            micro_batch,
            variants,
            upload: None,
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Such as `tower_1 (vulkan/llvmpipe)`.
    pub(super) fn who(&self) -> String {
        format!("{} ({}/{})", self.name, self.info.backend, self.info.name)
    }

    /// Has something done after all that was asked before.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        let (sender, answer) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |session| {
            // Whoever does not wait for it need not know.
            let _ = sender.send(work(session));
        });
        if let Some(jobs) = &self.jobs {
            // A thread that is gone drops the job, and with it the answer's other end.
            let _ = jobs.send(job);
        }
        Answer(answer)
    }

    /// Lets the thread go without waiting for it: its adapter may never answer again.
    pub(super) fn abandon(mut self) {
        self.thread = None;
    }
}

impl Drop for Tower {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been told as a failure of the tower.
            let _ = thread.join();
        }
    }
}

/// A tower's part of a step.
pub(super) struct Task {
    pub(super) batch: Arc<Batch>,
    pub(super) micro_batches: Vec<Range<usize>>,
    pub(super) step: Step,
    pub(super) reads: Arc<Reads>,
}

/// What is read of a tower after its part.
#[derive(Debug)]
pub(super) struct Reads {
    pub(super) losses: Option<TensorId>,
    pub(super) gradients: Vec<TensorId>,
    /// What layers keep from step to step.
    pub(super) states: Vec<TensorId>,
}

/// What a tower adds to a step.
#[derive(Debug)]
pub(super) struct Part {
    /// The sums over its images, divided by the images of the whole batch.
    pub(super) losses: Vec<f32>,
    pub(super) gradients: Vec<Vec<f32>>,
    pub(super) states: Vec<Vec<f32>>,
    pub(super) compute: Duration,
    pub(super) copy: Duration,
    pub(super) done: Instant,
}

impl Task {
    pub(super) fn run(self, session: &mut Session) -> Result<Part> {
        let start = Instant::now();
        session.part_of_gradient(&self.batch, &self.micro_batches, &self.step)?;
        // Reading waits for the adapter: with the few numbers of the losses the computing ends.
        let losses = self.reads.losses.map(|id| session.read(id)).transpose()?.unwrap_or_default();
        let compute = start.elapsed();
        let mut read = |ids: &[TensorId]| -> Result<Vec<Vec<f32>>> {
            ids.iter().map(|id| session.read(*id)).collect()
        };
        let (gradients, states) = (read(&self.reads.gradients)?, read(&self.reads.states)?);
        let copy = start.elapsed() - compute;
        Ok(Part { losses, gradients, states, compute, copy, done: Instant::now() })
    }
}
