//! One replica of the model on one adapter, driven by a thread of its own.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::adapter::Info;
use crate::adapter::several::tower_name;
use crate::adapter::variants::Variants;
use crate::batch::Batch;
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
    /// What its buckets were in, to be filled again.
    pub(super) room: Vec<Vec<u32>>,
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
        let name = tower_name(number);
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
            room: Vec::new(),
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
    /// The weights that it is to begin with.
    pub(super) upload: Option<Answer<()>>,
    pub(super) room: Vec<Vec<u32>>,
    /// Its place among the towers of the step, by which it names what it hands out.
    pub(super) place: usize,
    pub(super) arrivals: SyncSender<(usize, Vec<u32>)>,
}

/// How long a tower was at work on its part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worked {
    pub(super) compute: Duration,
    pub(super) copy: Duration,
    pub(super) done: Instant,
}

impl Task {
    /// Hands out the sums over its images, divided by the images of the whole batch, bucket by
    /// bucket.
    pub(super) fn run(self, session: &mut Session) -> Result<Worked> {
        let start = Instant::now();
        // It was asked for before this: the answer is there.
        self.upload.map_or(Ok(()), Answer::wait)?;
        let hand_out = |words| {
            // Nobody listens where the step has been given up.
            let _ = self.arrivals.send((self.place, words));
        };
        let (batch, micro_batches) = (&self.batch, &self.micro_batches);
        let computed =
            session.part_in_buckets(batch, micro_batches, &self.step, self.room, hand_out)?;
        let done = Instant::now();
        Ok(Worked { compute: computed - start, copy: done - computed, done })
    }
}
