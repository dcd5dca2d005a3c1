//! Steps of one model on several adapters, which compute parts of each batch at the same time.
//!
//! Each adapter has a replica of the model with a thread of its own: a tower. A step cuts the batch
//! into contiguous shares, in the order of the towers. Each computes loss and gradient of its share,
//! divided by the images of the whole batch, so that they add up to those of the batch. Gradients
//! leave an adapter in buckets, each as soon as it is final, while the adapter goes on with earlier
//! layers, if it can (`layout.rs`). They are summed on the host in the order of the towers as they
//! arrive (`sums.rs`); a session that does nothing else applies the update once, and the new weights
//! go to all towers. What only the update needs, optimiser states and averages, is with that session
//! alone: no tower takes anything along when it is lost.
//!
//! In a job of several processes each has towers of its own for its own images. The sums of all
//! processes are added up in the same buckets (`across.rs`); then each applies the same update to
//! the same weights.

mod across;
pub mod journal;
mod layout;
mod lost;
mod rendezvous;
pub mod report;
pub mod shares;
mod step;
mod sums;
mod times;
mod tower;
mod trainer;

use std::sync::Arc;

use anyhow::{Context as _, Error, Result, bail};

pub use self::lost::{Lost, NoneLeft, OnLoss, Stopped};
pub use self::times::{Times, TowerTimes};
pub use self::trainer::Trainer;

use self::layout::Layout;
use self::rendezvous::{Place, Rendezvous};
use self::report::{Change, TowerReport};
use self::shares::{Balancer, split};
use self::sums::Sums;
use self::tower::Tower;
use crate::adapter::forms::Forms;
use crate::adapter::several::tower_name;
use crate::adapter::variants::Variants;
use crate::adapter::{Adapter, Limits, Lowering};
use crate::graph::{Graph, Node, Phase, Role, TensorId};
use crate::job::Lane;
use crate::kernel::Access;
use crate::session::Session;
use crate::weights::Weights;

/// How several adapters work together.
pub struct Rules {
    /// Whether shares follow the towers' speeds; equal ones stay as they are.
    pub follow_speed: bool,
    /// Shares that are given, in the order of their steps. Speeds are followed after the last.
    pub given: Vec<Change>,
    /// What is done when an adapter is lost.
    pub on_loss: OnLoss,
    /// How the forms of kernels are chosen.
    pub forms: Forms,
    /// Who is told.
    pub watch: Box<dyn Watch>,
    /// Where the steps of all processes of the job are added up.
    pub lane: Lane,
    /// How many bytes of gradients are worth leaving an adapter, or a process, by themselves; one
    /// number for all processes of a job.
    pub bucket_bytes: usize,
}

/// Enough for what a copy costs in itself: a submit, a wait, and a meeting of processes.
pub const BUCKET_BYTES: usize = 256 << 10;

/// Who is told what becomes of towers.
pub trait Watch: Send {
    /// Writes a change of shares down before the first step that uses it. Gives whether it did: a
    /// change that can be left out is then.
    fn shares(&mut self, change: &Change) -> bool;

    /// A tower was lost, and the step is done again without it.
    fn lost(&mut self, lost: &Lost);
}

/// Several replicas of a model, and its weights.
pub struct Towers {
    towers: Vec<Tower>,
    /// Holds weights, averages and states, and applies updates.
    holder: Session,
    holder_name: String,
    /// The step at hand.
    step: u64,
    /// Images in a batch of all towers of this process.
    batch: usize,
    /// What each tower's share is in proportion to.
    weights: Vec<f64>,
    balancer: Option<Balancer>,
    given: std::iter::Peekable<std::vec::IntoIter<Change>>,
    /// Whether the shares at hand have been written down.
    written: bool,
    layout: Arc<Layout>,
    sums: Sums,
    /// What a replica must know of the weights: their values and the layers' states.
    spread: Vec<TensorId>,
    /// Those of them that a step changes.
    changing: Vec<TensorId>,
    rendezvous: Arc<Rendezvous>,
    /// Means over a whole batch that are taken in the passes of a micro-batch.
    reduces: usize,
    lane: Lane,
    /// The buckets of the step at hand that are added up over all processes.
    exchanged: usize,
    on_loss: OnLoss,
    watch: Box<dyn Watch>,
    times: Times,
}

impl Towers {
    /// A tower on each of these adapters, of which one that is named twice has two; the weights
    /// are held by `holder`. Batches have up to `batch` images in all.
    ///
    /// # Errors
    /// Whatever keeps any of the adapters from taking the model.
    pub fn new(
        adapters: &[&dyn Adapter],
        holder: &dyn Adapter,
        graph: &Arc<Graph>,
        batch: usize,
        rules: Rules,
    ) -> Result<Self> {
        let Rules { follow_speed, given, on_loss, forms, watch, lane, bucket_bytes } = rules;
        let (job, seats) = (lane.job(), lane.job().seats());
        let rendezvous = Arc::new(Rendezvous::new(job.is_shared().then(|| job.statistics())));
        // Where all gradients of all processes come at once, cutting them up is for nothing.
        let overlaps = adapters.iter().any(|adapter| adapter.overlaps());
        let overlaps = lane.meet(u64::from(overlaps))?.contains(&1);
        let layout = Arc::new(Layout::new(graph, if overlaps { bucket_bytes } else { usize::MAX }));
        let batch = seats.most(batch);
        // Equal shares, or whatever speeds may come to.
        let most = if follow_speed || !given.is_empty() {
            batch
        } else {
            batch.div_ceil(adapters.len().max(1))
        };
        let (mut towers, mut wrong) = (Vec::new(), Vec::new());
        for (number, adapter) in (seats.first()..).zip(adapters) {
            let info = adapter.info();
            let limits = limits_of_one(*adapter, adapters);
            let forms = forms.of_tower(&tower_name(number));
            let how = Lowering {
                forms: forms.clone(),
                buckets: layout.buckets(graph, adapter.overlaps()),
                ..Lowering::of(forms.micro_batch(info, most))
            };
            let started = Session::within(*adapter, graph, how, &limits).and_then(|mut session| {
                let rendezvous = Arc::clone(&rendezvous);
                session.join(Box::new(Place { tower: number, rendezvous }));
                Tower::start(number, info, session)
            });
            match started {
                Ok(tower) => towers.push(tower),
                Err(error) => wrong.push(format!(
                    "{} ({}/{}): {error:#}",
                    tower_name(number),
                    info.backend,
                    info.name
                )),
            }
        }
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        let holder_name = format!("{}/{}", holder.info().backend, holder.info().name);
        let how = Lowering { forms: forms.of_holder(), ..Lowering::of(1) };
        let holder = Session::with(holder, &Arc::new(update_of(graph)), how)
            .context("the weights have no place")?;
        let weights = vec![1.0; towers.len()];
        Ok(Self {
            balancer: follow_speed.then(|| Balancer::new(towers.len())),
            towers,
            holder,
            holder_name,
            step: 0,
            batch,
            weights,
            given: given.into_iter().peekable(),
            // Equal shares of several processes need no journal.
            written: job.is_shared(),
            lane,
            exchanged: 0,
            sums: Sums::new(&layout),
            layout,
            spread: used_by_passes(graph),
            changing: changed_by_steps(graph),
            rendezvous,
            reduces: all_reduces(graph),
            on_loss,
            watch,
            times: Times::default(),
        })
    }

    /// Draws the first values of all weights and states.
    ///
    /// # Errors
    /// If the holder fails.
    pub fn initialize(&mut self, seed: u64) -> Result<()> {
        self.holder.initialize(seed)?;
        self.send_all()
    }

    /// Takes over the weights, averages and states of a run that goes on.
    ///
    /// # Errors
    /// If they are not those of this model, or the holder fails.
    pub fn load(&mut self, weights: &Weights) -> Result<()> {
        self.holder.load(weights)?;
        self.send_all()
    }

    /// Asks the session that holds the weights. It cannot compute gradients.
    ///
    /// # Errors
    /// [`NoneLeft`] if its adapter fails: nobody else knows the weights.
    pub fn ask<T>(&mut self, work: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
        work(&mut self.holder).map_err(|error| self.without_holder(error))
    }

    /// What is to be said when the session that holds the weights fails.
    fn without_holder(&self, error: Error) -> Error {
        match self.on_loss {
            OnLoss::Stop => error,
            OnLoss::Continue => {
                let who = format!("{}, which holds the weights,", self.holder_name);
                let lost = Lost { who, step: self.step, cause: format!("{error:#}") };
                Error::new(NoneLeft(lost))
            }
        }
    }

    /// The towers with what runs on them, those that are lost left out.
    pub fn reports(&self) -> Vec<TowerReport> {
        let report = |(tower, images): (&Tower, usize)| TowerReport {
            name: tower.name.clone(),
            adapter: tower.info.clone(),
            images,
            variants: tower.variants.clone(),
        };
        self.towers.iter().zip(self.shares()).map(report).collect()
    }

    /// What runs where the weights are held.
    pub fn holder_variants(&self) -> Variants {
        self.holder.variants()
    }

    /// The images of a whole batch that each tower takes.
    pub fn shares(&self) -> Vec<usize> {
        split(self.batch, &self.weights)
    }

    /// What the steps since the last call took.
    pub fn take_times(&mut self) -> Times {
        std::mem::take(&mut self.times)
    }
}

/// What there is for one of several replicas on the same adapter.
fn limits_of_one(adapter: &dyn Adapter, all: &[&dyn Adapter]) -> Limits {
    let replicas = all.iter().filter(|other| std::ptr::addr_eq(**other, adapter)).count();
    let limits = adapter.info().limits;
    let memory_bytes = limits.memory_bytes.map(|bytes| bytes / replicas.max(1) as u64);
    Limits { memory_bytes, ..limits }
}

/// The model with nothing but its update.
fn update_of(graph: &Graph) -> Graph {
    let (forward, loss, backward) = (Vec::new(), Vec::new(), Vec::new());
    let scoring = Vec::new();
    Graph { forward, scoring, loss, backward, logits: None, image_loss: None, ..graph.clone() }
}

const PASSES: [Phase; 3] = [Phase::Forward, Phase::Loss, Phase::Backward];

/// The tensors that these phases of the model bind like this.
fn bound(graph: &Graph, phases: &[Phase], access: impl Fn(Access) -> bool) -> Vec<TensorId> {
    let ops = phases.iter().flat_map(|phase| graph.ops(*phase));
    let bindings = ops.flat_map(|op| op.kernel.bindings.iter().zip(&op.tensors));
    let mut found: Vec<TensorId> =
        bindings.filter(|(binding, _)| access(binding.access)).map(|(_, id)| *id).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// What a replica must know of the weights.
fn used_by_passes(graph: &Graph) -> Vec<TensorId> {
    let mut used = bound(graph, &PASSES, |_| true);
    used.retain(|id| matches!(graph.tensor(*id).role, Role::Parameter(_) | Role::State(_)));
    used
}

/// What of that is another after a step: all but what is frozen.
fn changed_by_steps(graph: &Graph) -> Vec<TensorId> {
    let changed = bound(graph, &Phase::ALL, |access| access != Access::Read);
    let mut used = used_by_passes(graph);
    used.retain(|id| changed.binary_search(id).is_ok());
    used
}

fn all_reduces(graph: &Graph) -> usize {
    let nodes = PASSES.into_iter().flat_map(|phase| graph.phase(phase));
    nodes.filter(|node| matches!(node, Node::AllReduce(_))).count()
}
