//! Runs a plan: builds every stage, joins them by channels, one thread per stage or worker.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow};
use async_channel::Receiver;
use futures::future::{self, Either};

use crate::channel::{Counters, EdgeCounters, Ports, ReceiveHalf, SendHalf, Stop, Tap, edge, room};
use crate::event::{Event, Events};
use crate::item::{Block, Item, Pixels, Sample, Source};
use crate::job::dealer::Dealer;
use crate::plan::Plan;
use crate::random::Random;
use crate::stage::{Context, Map, Runner};
use crate::towers::NoneLeft;

/// How a run went, or goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What each stage did.
    pub stages: Vec<StageReport>,
    /// What crossed each edge.
    pub edges: Vec<EdgeReport>,
    /// How long the stages ran.
    pub elapsed: Duration,
    /// Whether it was asked to stop before its end.
    pub interrupted: bool,
}

impl Outcome {
    /// The share of its workers' time that a stage was at work, 0 to 1.
    pub fn busy(&self, stage: &StageReport) -> f64 {
        let available_s = stage.workers as f64 * self.elapsed.as_secs_f64();
        stage.busy.as_secs_f64() / available_s.max(f64::MIN_POSITIVE)
    }

    /// What the others waited for: the stages, in the same threads if there are several, whose
    /// threads were at work most of their time. None if nothing was.
    pub fn bottleneck(&self) -> Vec<&StageReport> {
        let busy =
            |stages: &[&StageReport]| stages.iter().map(|stage| self.busy(stage)).sum::<f64>();
        let busiest = self.threads().into_iter().max_by(|a, b| busy(a).total_cmp(&busy(b)));
        busiest.filter(|stages| busy(stages) > 0.0).unwrap_or_default()
    }

    /// Stages by the threads that they share: those without a queue between them.
    fn threads(&self) -> Vec<Vec<&StageReport>> {
        let mut threads: Vec<Vec<&StageReport>> = Vec::new();
        for stage in &self.stages {
            let shared = |other: &&StageReport| {
                let joins = |edge: &EdgeReport| edge.from == other.id && edge.to == stage.id;
                self.edges.iter().any(|edge| edge.queue.is_none() && joins(edge))
            };
            match threads.iter_mut().find(|stages| stages.iter().any(shared)) {
                Some(stages) => stages.push(stage),
                None => threads.push(vec![stage]),
            }
        }
        threads
    }
}

/// What crossed one edge.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeReport {
    /// The stage that puts out.
    pub from: String,
    /// The stage that takes in.
    pub to: String,
    /// The type of what crosses, for people.
    pub carries: String,
    /// Whether it leads into the stage that trains.
    pub trains: bool,
    /// The queue between them; `None` where both work in the same threads.
    pub queue: Option<QueueReport>,
}

/// What passed through one queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueReport {
    /// Items that were taken out.
    pub items: u64,
    /// Images in them.
    pub images: u64,
    /// Items that it has room for.
    pub capacity: usize,
    /// Items that were waiting in it when another came, on average.
    pub mean_fill: f64,
    /// Time that the stage before it waited for room, summed over workers.
    pub full_wait: Duration,
    /// Time that the stage behind it waited for an item, summed over workers.
    pub empty_wait: Duration,
}

/// What one stage did.
#[derive(Clone, Debug, PartialEq)]
pub struct StageReport {
    /// The stage's id.
    pub id: String,
    /// The name of its kind.
    pub kind: &'static str,
    /// How many threads did its work.
    pub workers: usize,
    /// Items it put out.
    pub items_out: u64,
    /// Time at work, summed over workers.
    pub busy: Duration,
    /// Time waiting for input, summed over workers. Stages that share workers share their waits.
    pub input_wait: Duration,
    /// Time waiting for room in the output, summed over workers.
    pub output_wait: Duration,
}

/// Runs the plan to its end, handing every event to `observe` on the calling thread.
///
/// # Errors
/// The first thing that went wrong in each stage, with the stage's name.
pub fn run(plan: &Plan, stop: Stop, mut observe: impl FnMut(Event)) -> Result<Outcome> {
    let (events, receiver) = Events::new();
    // Afterwards only the stages hold `events`, so that the loop below ends when they do.
    let mut running = build(plan, stop, events, &receiver, &mut observe)?;
    plan.settings.job.compare()?;
    let failures = Failures::default();
    let start = Instant::now();
    let handles =
        running.spawn(plan, &failures, |name, work| thread::Builder::new().name(name).spawn(work));
    while let Ok(event) = receiver.recv_blocking() {
        let evaluated = matches!(event, Event::Evaluation(_));
        let asked = event.asked();
        observe(event);
        drop(asked);
        if evaluated {
            observe(Event::Flow(running.outcome(start.elapsed())));
        }
    }
    for handle in handles {
        // A panic was caught and noted inside the thread.
        let _ = handle.join();
    }
    failures.into_result()?;
    Ok(running.outcome(start.elapsed()))
}

/// Builds all stages, while what they say is handed on: they may say more than the queue holds.
fn build(
    plan: &Plan,
    stop: Stop,
    events: Events,
    receiver: &Receiver<Event>,
    observe: &mut impl FnMut(Event),
) -> Result<Running> {
    let (working, at_work) = async_channel::bounded::<()>(1);
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("build".to_owned()).spawn_scoped(scope, || {
            // Gone with this thread, whatever becomes of it.
            let _working = working;
            let events = events;
            Running::build(plan, stop, &events)
        });
        let builder = builder.context("could not start a thread")?;
        pollster::block_on(async {
            let mut finished = pin!(at_work.recv());
            while let Either::Left((Ok(event), _)) =
                future::select(pin!(receiver.recv()), &mut finished).await
            {
                observe(event);
            }
        });
        // What was said before a failure may explain it.
        while let Ok(event) = receiver.try_recv() {
            observe(event);
        }
        builder.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// What went wrong first in each stage.
#[derive(Clone, Default)]
struct Failures(Arc<Mutex<Vec<Error>>>);

impl Failures {
    fn note(&self, error: Error) {
        let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Workers of one stage tend to meet the same thing at the same time. Errors begin with
        // their stage's name.
        let stage = error.to_string();
        if errors.iter().all(|known| known.to_string() != stage) {
            errors.push(error);
        }
    }

    /// Whether no adapter was left: the run may go on with devices that are created anew.
    fn can_be_helped(error: &Error) -> bool {
        error.chain().any(<dyn std::error::Error>::is::<NoneLeft>)
    }

    fn into_result(self) -> Result<()> {
        let mut errors =
            std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => {
                // Whoever can help it asks for this one; what came of it in other stages is
                // nothing by itself.
                if let Some(at) = errors.iter().position(Self::can_be_helped) {
                    return Err(errors.remove(at));
                }
                let texts: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
                Err(anyhow!("{} stages failed:\n  {}", texts.len(), texts.join("\n  ")))
            }
        }
    }
}

/// Stages that share a thread: one stage of its own kind, or per-image stages in a row.
struct Segment {
    stages: Vec<usize>,
    work: Work,
    counters: Arc<Counters>,
}

enum Work {
    Stage(Option<Box<dyn crate::stage::Stage>>),
    Maps { maps: Vec<Arc<dyn Map>>, workers: usize },
}

impl Segment {
    fn workers(&self) -> usize {
        match &self.work {
            Work::Stage(_) => 1,
            Work::Maps { workers, .. } => *workers,
        }
    }
}

struct Running {
    segments: Vec<Segment>,
    stages: Vec<RunningStage>,
    edges: Vec<Edge>,
    stop: Stop,
    taps: HashMap<String, Tap>,
}

struct RunningStage {
    id: String,
    kind: &'static str,
    counters: Arc<Counters>,
    segment: usize,
}

/// An edge of the plan. Without counters there is no queue: both stages share their threads.
struct Edge {
    from: usize,
    to: usize,
    carries: String,
    trains: bool,
    capacity: usize,
    counters: Option<Arc<EdgeCounters>>,
}

impl Running {
    fn build(plan: &Plan, stop: Stop, events: &Events) -> Result<Self> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut stages: Vec<RunningStage> = Vec::new();
        let mut sources: Vec<Option<Arc<Source>>> = Vec::new();
        let starts = plan.starts();
        for (index, stage) in plan.stages.iter().enumerate() {
            let of_inputs: Vec<_> = stage.from.iter().map(|from| sources[*from].clone()).collect();
            let context = Context {
                stage: &stage.id,
                inputs: &stage.inputs,
                sources: &of_inputs,
                start: starts[index],
                run: &plan.settings,
                events: events.clone(),
                stop: stop.clone(),
            };
            let runner = blame(&stage.id, || stage.config.build(&context))?;
            let own = match &runner {
                Runner::Stage(runner) => runner.source(),
                Runner::Map { .. } => None,
            };
            sources.push(own.or_else(|| of_inputs.into_iter().next().flatten()));
            let at = match runner {
                Runner::Stage(runner) => {
                    segments.push(Segment {
                        stages: vec![index],
                        work: Work::Stage(Some(runner)),
                        counters: Arc::default(),
                    });
                    segments.len() - 1
                }
                Runner::Map { map, workers } => {
                    let workers = if workers == 0 { cores() } else { workers };
                    join_or_start(plan, &mut segments, &stages, index, map, workers)
                }
            };
            stages.push(RunningStage {
                id: stage.id.clone(),
                kind: stage.kind,
                counters: Arc::default(),
                segment: at,
            });
        }
        let taps = plan.settings.taps.iter().map(|(stage, images)| {
            let tap = Tap { stage: stage.clone(), images: *images, events: events.clone() };
            (stage.clone(), tap)
        });
        Ok(Self { segments, stages, edges: Vec::new(), stop, taps: taps.collect() })
    }

    /// Starts all threads by means of `start`. If one cannot be started, those that have been are
    /// stopped. In any case nothing of the stages is left here: what they hold lives as long as
    /// their threads.
    fn spawn(
        &mut self,
        plan: &Plan,
        failures: &Failures,
        start: impl Fn(String, ThreadWork) -> io::Result<thread::JoinHandle<()>>,
    ) -> Vec<thread::JoinHandle<()>> {
        let (inputs, outputs) = self.connect(plan);
        // What listens must go with the stages: events end when nobody can say any more.
        let mut taps = std::mem::take(&mut self.taps);
        let mut handles = Vec::new();
        let mut failed = false;
        for ((segment, inputs), outputs) in self.segments.iter_mut().zip(inputs).zip(outputs) {
            let ports = inputs
                .into_iter()
                .zip(outputs)
                .map(|(i, o)| Ports::new(i, o, Arc::clone(&segment.counters), self.stop.clone()));
            let ids: Vec<&str> =
                segment.stages.iter().map(|stage| &*plan.stages[*stage].id).collect();
            let mut bodies: Vec<Body> = Vec::new();
            match &mut segment.work {
                Work::Stage(stage) => {
                    let mut ports = ports;
                    if let (Some(mut stage), Some(ports)) = (stage.take(), ports.next()) {
                        let id = ids.concat();
                        let mut ports = ports.tapped(taps.remove(&id));
                        bodies.push(Box::new(move || {
                            blame(&id, || pollster::block_on(stage.run(&mut ports)))
                        }));
                    }
                }
                Work::Maps { maps, .. } => {
                    let chain: Vec<Link> = std::mem::take(maps)
                        .into_iter()
                        .zip(&segment.stages)
                        .map(|(map, stage)| Link {
                            id: self.stages[*stage].id.clone(),
                            map,
                            counters: Arc::clone(&self.stages[*stage].counters),
                            tap: taps.remove(&self.stages[*stage].id),
                        })
                        .collect();
                    let seed = plan.settings.seed;
                    bodies.extend(ports.enumerate().map(|(worker, mut ports)| {
                        let mut chain = chain.clone();
                        // The first block is the first worker's.
                        if worker > 0 {
                            chain.iter_mut().for_each(|link| link.tap = None);
                        }
                        Box::new(move || {
                            pollster::block_on(map_blocks(&mut chain, seed, &mut ports))
                        }) as Body
                    }));
                }
            }
            for (worker, body) in bodies.into_iter().enumerate() {
                if failed {
                    break;
                }
                let (noted, stop) = (failures.clone(), self.stop.clone());
                let work = Box::new(move || guard(body, &noted, &stop));
                match start(format!("{}.{worker}", ids.join("+")), work) {
                    Ok(handle) => handles.push(handle),
                    Err(error) => {
                        failed = true;
                        let error = Error::new(error).context("could not start a thread");
                        failures.note(error.context(format!("stage {}", ids.join(", "))));
                        self.stop.stop();
                    }
                }
            }
        }
        handles
    }

    /// Channels between the segments: for each segment and worker, its inputs and outputs.
    #[expect(clippy::type_complexity, reason = "two tables of the same shape, used right away")]
    fn connect(&mut self, plan: &Plan) -> (Vec<Vec<Vec<ReceiveHalf>>>, Vec<Vec<Vec<SendHalf>>>) {
        let mut inputs: Vec<Vec<Vec<ReceiveHalf>>> =
            self.segments.iter().map(|s| (0..s.workers()).map(|_| Vec::new()).collect()).collect();
        let mut outputs: Vec<Vec<Vec<SendHalf>>> =
            self.segments.iter().map(|s| (0..s.workers()).map(|_| Vec::new()).collect()).collect();
        let (dealing, starts) = (self.dealing_edge(plan), plan.starts());
        for (index, stage) in plan.stages.iter().enumerate() {
            for from in &stage.from {
                let (producer, consumer) = (self.stages[*from].segment, self.stages[index].segment);
                let carries = plan.stages[*from].output.as_ref().map(ToString::to_string);
                let mut joined = Edge {
                    from: *from,
                    to: index,
                    carries: carries.unwrap_or_default(),
                    trains: plan.trainer() == Some(index),
                    capacity: 0,
                    counters: None,
                };
                if producer == consumer {
                    self.edges.push(joined);
                    continue;
                }
                let workers = [producer, consumer].map(|at| self.segments[at].workers());
                let (mut sends, receives) =
                    edge(workers[0], workers[1], plan.settings.channel_blocks);
                if dealing == Some((*from, index)) {
                    let job = plan.settings.job.clone();
                    let deal = |half: &mut SendHalf| {
                        half.deal(Dealer::new(job.clone(), starts[*from].samples));
                    };
                    sends.iter_mut().for_each(deal);
                }
                joined.capacity = room(workers[0], workers[1], plan.settings.channel_blocks);
                joined.counters = sends.first().map(|half| Arc::clone(half.counters()));
                self.edges.push(joined);
                self.stop.watch(&sends);
                sends.into_iter().zip(&mut outputs[producer]).for_each(|(s, o)| o.push(s));
                receives.into_iter().zip(&mut inputs[consumer]).for_each(|(r, i)| i.push(r));
            }
        }
        (inputs, outputs)
    }

    /// The edge at which the images of other processes are left to them: as early in the training
    /// as all stages behind it can do without, and at one with a single producer, who sees all
    /// images in their order. `None` in a process that is alone.
    fn dealing_edge(&self, plan: &Plan) -> Option<(usize, usize)> {
        let mut to = plan.trainer().filter(|_| plan.settings.job.is_shared())?;
        let mut found = None;
        loop {
            let stage = &plan.stages[to];
            let is_map = |at: usize| {
                matches!(self.segments[self.stages[at].segment].work, Work::Maps { .. })
            };
            let [from] = stage.from.as_slice() else { return found };
            let shared = plan.stages.iter().filter(|s| s.from.contains(from)).count() > 1;
            if !(is_map(to) || stage.config.passes_absent()) {
                return found;
            }
            if !is_map(*from) {
                found = Some((*from, to));
            }
            if shared {
                return found;
            }
            to = *from;
        }
    }

    fn outcome(&self, elapsed: Duration) -> Outcome {
        let nanos = |counter: &AtomicU64| Duration::from_nanos(counter.load(Ordering::Relaxed));
        let stages = self
            .stages
            .iter()
            .map(|stage| {
                let segment = &self.segments[stage.segment];
                let shared = &segment.counters;
                let busy = match segment.work {
                    Work::Stage(_) => nanos(&shared.busy_ns),
                    Work::Maps { .. } => nanos(&stage.counters.busy_ns),
                };
                StageReport {
                    id: stage.id.clone(),
                    kind: stage.kind,
                    workers: segment.workers(),
                    items_out: shared.items_out.load(Ordering::Relaxed),
                    busy,
                    input_wait: nanos(&shared.input_wait_ns),
                    output_wait: nanos(&shared.output_wait_ns),
                }
            })
            .collect();
        let edges = self.edges.iter().map(|edge| self.edge_report(edge)).collect();
        Outcome { stages, edges, elapsed, interrupted: self.stop.is_stopped() }
    }

    fn edge_report(&self, edge: &Edge) -> EdgeReport {
        let queue = edge.counters.as_ref().map(|counters| {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let producers = self.segments[self.stages[edge.from].segment].workers();
            // Each producer sees what waits in its own lanes.
            let seen = (count(&counters.waiting) * producers as u64) as f64;
            QueueReport {
                items: count(&counters.items),
                images: count(&counters.images),
                capacity: edge.capacity,
                mean_fill: seen / count(&counters.items_in).max(1) as f64,
                full_wait: Duration::from_nanos(count(&counters.full_wait_ns)),
                empty_wait: Duration::from_nanos(count(&counters.empty_wait_ns)),
            }
        });
        EdgeReport {
            from: self.stages[edge.from].id.clone(),
            to: self.stages[edge.to].id.clone(),
            carries: edge.carries.clone(),
            trains: edge.trains,
            queue,
        }
    }
}

type Body = Box<dyn FnOnce() -> Result<()> + Send>;
type ThreadWork = Box<dyn FnOnce() + Send>;

/// Runs one thread's work; whatever goes wrong ends the whole run.
fn guard(body: Body, failures: &Failures, stop: &Stop) {
    if let Err(error) = body() {
        failures.note(error);
        stop.stop();
    }
}

/// Does some of a stage's work; an error or a panic is told with the stage's name.
fn blame<T>(id: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(anyhow!("it panicked, which is a defect of the stage: {text}"))
    });
    result.with_context(|| format!("stage {id}"))
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Adds a per-image stage to the segment of the one before it, if both have the same number of
/// workers and nobody else reads in between; else starts a segment of its own.
fn join_or_start(
    plan: &Plan,
    segments: &mut Vec<Segment>,
    stages: &[RunningStage],
    index: usize,
    map: Arc<dyn Map>,
    workers: usize,
) -> usize {
    if let [before] = plan.stages[index].from.as_slice() {
        let readers = plan.stages.iter().filter(|s| s.from.contains(before)).count();
        let at = stages[*before].segment;
        if let Work::Maps { maps, workers: theirs } = &mut segments[at].work
            && readers == 1
            && *theirs == workers
        {
            maps.push(map);
            segments[at].stages.push(index);
            return at;
        }
    }
    segments.push(Segment {
        stages: vec![index],
        work: Work::Maps { maps: vec![map], workers },
        counters: Arc::default(),
    });
    segments.len() - 1
}

/// One per-image stage of a worker's chain.
#[derive(Clone)]
struct Link {
    id: String,
    map: Arc<dyn Map>,
    counters: Arc<Counters>,
    tap: Option<Tap>,
}

async fn map_blocks(chain: &mut [Link], seed: u64, ports: &mut Ports) -> Result<()> {
    while let Some(item) = ports.receive(0).await {
        let Item::Block(mut block) = item else {
            return blame(&chain[0].id, || Err(anyhow!("it takes images only")));
        };
        for link in &mut *chain {
            let start = Instant::now();
            blame(&link.id, || map_block(link, seed, &mut block))?;
            Counters::add(&link.counters.busy_ns, start.elapsed());
            if let Some(tap) = link.tap.take() {
                tap.tell(&block);
            }
        }
        if ports.send(Item::Block(block)).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn map_block(link: &Link, seed: u64, block: &mut Block) -> Result<()> {
    let here = |sample: &&mut Sample| sample.image.pixels != Pixels::Elsewhere;
    for sample in block.samples.iter_mut().filter(here) {
        let Sample { id, .. } = *sample;
        let mut random = Random::keyed(seed, &link.id, id.epoch, id.index);
        link.map
            .map(sample, &mut random)
            .with_context(|| format!("image {} of epoch {}", id.index, id.epoch))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures::FutureExt as _;
    use futures::future::BoxFuture;

    use super::*;
    use crate::config::node::Node;
    use crate::plan::PlannedStage;
    use crate::port::Port;
    use crate::stage::{Config, Mismatch, RunSettings, Stage};

    /// Says much while it is built, and keeps the means to say more.
    #[derive(Clone, Debug)]
    enum Talker {
        /// Puts out this many blocks.
        Source(usize),
        /// Says something of each image.
        Each(Option<Events>),
        /// Takes what comes.
        Sink,
    }

    const SAID_AT_FIRST: usize = 3000;

    impl Config for Talker {
        fn check(&self, _: &[Port]) -> Result<Option<Port>, Mismatch> {
            Ok(None)
        }

        fn build(&self, context: &Context<'_>) -> Result<Runner> {
            Ok(match self {
                Self::Each(_) => {
                    for _ in 0..SAID_AT_FIRST {
                        context.events.emit(Event::Warning("built".to_owned()));
                    }
                    let map = Arc::new(Self::Each(Some(context.events.clone())));
                    Runner::Map { map, workers: 2 }
                }
                other => Runner::Stage(Box::new(other.clone())),
            })
        }
    }

    impl Map for Talker {
        fn map(&self, _: &mut Sample, _: &mut Random) -> Result<()> {
            if let Self::Each(Some(events)) = self {
                events.emit(Event::Warning("mapped".to_owned()));
            }
            Ok(())
        }
    }

    impl Stage for Talker {
        fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
            async move {
                match self {
                    Self::Source(blocks) => {
                        for _ in 0..*blocks {
                            if ports.send(Item::Block(block())).await.is_err() {
                                break;
                            }
                        }
                    }
                    _ => while ports.receive(0).await.is_some() {},
                }
                Ok(())
            }
            .boxed()
        }
    }

    fn block() -> Block {
        use crate::item::{Image, Label, Pixels, SampleId, Source};
        let source = Source {
            description: String::new(),
            epoch_images: 1,
            split: String::new(),
            classes: Vec::new(),
            stands_in_for: None,
            limit: None,
            in_a_row: None,
        };
        let sample = Sample {
            id: SampleId { epoch: 0, index: 0 },
            label: Label::Class(0),
            image: Image { shape: [1, 1, 1], pixels: Pixels::F32(vec![0.0]) },
        };
        Block { source: Arc::new(source), samples: vec![sample], ends_epoch: false }
    }

    fn plan(blocks: usize) -> Plan {
        let stage = |id: &str, config: Talker, from: Vec<usize>| PlannedStage {
            id: id.to_owned(),
            kind: "talker",
            config: Box::new(config),
            fields: Node::Null,
            from,
            inputs: Vec::new(),
            output: None,
        };
        Plan {
            settings: RunSettings::default(),
            stages: vec![
                stage("source", Talker::Source(blocks), vec![]),
                stage("each", Talker::Each(None), vec![0]),
                stage("sink", Talker::Sink, vec![1]),
            ],
            trials: Vec::new(),
            top: Node::Null,
            document: Node::Null,
        }
    }

    /// What `work` gives, or a failed test if it hangs.
    fn soon<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::spawn(move || sender.send(work()));
        receiver.recv_timeout(Duration::from_secs(60)).expect("it ends in time")
    }

    #[test]
    fn stages_may_say_what_they_like_when_built_and_keep_the_means() {
        let said = soon(|| {
            let mut said = [0, 0];
            let outcome = run(&plan(5), Stop::default(), |event| {
                said[usize::from(event == Event::Warning("mapped".to_owned()))] += 1;
            });
            outcome.map(|_| said).map_err(|error| error.to_string())
        });
        assert_eq!(said, Ok([SAID_AT_FIRST, 5]));
    }

    #[test]
    fn a_thread_that_cannot_start_stops_the_others_and_is_named() {
        let result = soon(|| {
            let plan = plan(usize::MAX);
            let (events, receiver) = Events::new();
            let mut running =
                build(&plan, Stop::default(), events, &receiver, &mut |_| {}).expect("it builds");
            let failures = Failures::default();
            let started = AtomicUsize::new(0);
            let handles = running.spawn(&plan, &failures, |name, work| {
                // The source and one of two workers start.
                if started.fetch_add(1, Ordering::Relaxed) == 2 {
                    return Err(io::Error::other("no more threads"));
                }
                thread::Builder::new().name(name).spawn(work)
            });
            while receiver.recv_blocking().is_ok() {}
            assert_eq!(handles.len(), 2);
            handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
            failures.into_result().map_err(|error| format!("{error:#}"))
        });
        assert_eq!(result, Err("stage each: could not start a thread: no more threads".to_owned()));
    }
}
