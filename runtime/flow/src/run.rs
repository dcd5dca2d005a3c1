//! Runs a plan: builds every stage, joins them by channels, one thread per stage or worker.

use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow};
use async_channel::Receiver;
use futures::future::{self, Either};

use crate::channel::{
    Counters, EdgeCounters, Ports, ReceiveHalf, SendHalf, Tap, close_on_stop, edge, room,
};
use crate::dealer::Dealer;
use crate::event::{Event, Events, Message};
use crate::item::{Block, Item, Pixels, Sample, Source};
use crate::plan::Plan;
use crate::reports::{EdgeReport, Outcome, QueueReport, StageReport};
use crate::stage::{Context, Map, Runner};
use base::random::Random;
use base::stop::Stop;
use compute::towers::NoneLeft;

/// Runs the plan to its end, handing every event to `observe` on the calling thread, with the id of
/// the stage that it is of.
///
/// # Errors
/// The first thing that went wrong in each stage, with the stage's name.
pub fn run(plan: &Plan, stop: Stop, mut observe: impl FnMut(Message)) -> Result<Outcome> {
    let _guard = StopOnPanic(stop.clone());
    let (events, receiver) = Events::new();
    // Afterwards only the stages hold `events`, so that the loop below ends when they do.
    let mut running = build(plan, stop, events, &receiver, &mut observe)?;
    plan.settings.compute.job.compare()?;
    observe(Event::Built.into());
    let failures = Failures::default();
    let start = Instant::now();
    let handles =
        running.spawn(plan, &failures, |name, work| thread::Builder::new().name(name).spawn(work));
    while let Ok(message) = receiver.recv_blocking() {
        let evaluated = matches!(message.event, Event::Evaluation(_));
        let asked = message.asked();
        observe(message);
        drop(asked);
        if evaluated {
            observe(Event::Flow(running.outcome(start.elapsed())).into());
        }
    }
    for handle in handles {
        // A panic was caught and noted inside the thread.
        let _ = handle.join();
    }
    failures.into_result()?;
    Ok(running.outcome(start.elapsed()))
}

/// Ends the stages if whoever observes a run panics: nobody would hear of them any more.
struct StopOnPanic(Stop);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

/// Builds all stages, while what they say is handed on: they may say more than the queue holds.
fn build(
    plan: &Plan,
    stop: Stop,
    events: Events,
    receiver: &Receiver<Message>,
    observe: &mut impl FnMut(Message),
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
            while let Either::Left((Ok(message), _)) =
                future::select(pin!(receiver.recv()), &mut finished).await
            {
                observe(message);
            }
        });
        // What was said before a failure may explain it.
        while let Ok(message) = receiver.try_recv() {
            observe(message);
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
    /// Where its end is told, until its threads have it.
    events: Option<Events>,
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
                events: events.of_stage(&stage.id),
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
                events: Some(events.of_stage(&stage.id)),
            });
        }
        let taps = plan.settings.record.taps.iter().map(|(stage, images)| {
            let tap = Tap { stage: stage.clone(), images: *images, events: events.of_stage(stage) };
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
        let mut ends: Vec<Option<Events>> =
            self.stages.iter_mut().map(|stage| stage.events.take()).collect();
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
            let ends = segment.stages.iter().filter_map(|stage| ends[*stage].take()).collect();
            let at_work = Arc::new(AtWork { workers: AtomicUsize::new(bodies.len()), ends });
            for (worker, body) in bodies.into_iter().enumerate() {
                if failed {
                    break;
                }
                let (noted, stop) = (failures.clone(), self.stop.clone());
                let (at_work, stages) = (Arc::clone(&at_work), ids.join(", "));
                let work = Box::new(move || {
                    guard(&stages, body, &noted, &stop);
                    at_work.end();
                });
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
                    let job = plan.settings.compute.job.clone();
                    let deal = |half: &mut SendHalf| {
                        half.deal(Dealer::new(job.clone(), starts[*from].samples));
                    };
                    sends.iter_mut().for_each(deal);
                }
                joined.capacity = room(workers[0], workers[1], plan.settings.channel_blocks);
                joined.counters = sends.first().map(|half| Arc::clone(half.counters()));
                self.edges.push(joined);
                close_on_stop(&sends, &self.stop);
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
        let mut to = plan.trainer().filter(|_| plan.settings.compute.job.is_shared())?;
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

/// The work of a thread, with the channels that it reads and writes.
type Body = Box<dyn FnMut() -> Result<()> + Send>;
type ThreadWork = Box<dyn FnOnce() + Send>;

/// The workers of a segment that are still at work, and where the end of its stages is told.
struct AtWork {
    workers: AtomicUsize,
    ends: Vec<Events>,
}

impl AtWork {
    /// A worker has ended. The last one says so.
    fn end(&self) {
        if self.workers.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.ends.iter().for_each(|events| events.emit(Event::Ended));
        }
    }
}

/// Runs one thread's work; whatever goes wrong, an error or a panic, ends the whole run.
///
/// The channels close after that. Otherwise the stages behind would take a failure for the end of
/// their input, and go on to what comes then with less than all of it.
fn guard(stages: &str, mut body: Body, failures: &Failures, stop: &Stop) {
    let end = |ended: thread::Result<Result<()>>| {
        let ended = ended.unwrap_or_else(|panic| {
            Err(panicked(panic.as_ref()).context(format!("stage {stages}")))
        });
        if let Err(error) = ended {
            failures.note(error);
            stop.stop();
        }
    };
    end(catch_unwind(AssertUnwindSafe(&mut body)));
    end(catch_unwind(AssertUnwindSafe(|| {
        drop(body);
        Ok(())
    })));
}

/// What there is to say of a panic.
fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    anyhow!("it panicked, which is a defect of the stage: {text}")
}

/// Does some of a stage's work; an error or a panic is told with the stage's name.
fn blame<T>(id: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = catch_unwind(AssertUnwindSafe(work));
    let result = result.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
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
        let decoded = sample.image.decode();
        decoded
            .and_then(|()| link.map.map(sample, &mut random))
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
    use crate::plan::PlannedStage;
    use crate::port::Port;
    use crate::stage::{Config, Mismatch, RunSettings, Stage};
    use config::node::Node;

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
        receiver.recv_timeout(Duration::from_secs(600)).expect("it ends")
    }

    #[test]
    fn stages_may_say_what_they_like_when_built_and_keep_the_means() {
        let said = soon(|| {
            let mut said = [0, 0];
            let outcome = run(&plan(5), Stop::default(), |message| {
                let Event::Warning(text) = message.event else { return };
                // Whoever says it, is named.
                assert_eq!(message.stage.as_deref(), Some("each"));
                said[usize::from(text == "mapped")] += 1;
            });
            outcome.map(|_| said).map_err(|error| error.to_string())
        });
        assert_eq!(said, Ok([SAID_AT_FIRST, 5]));
    }

    /// Goes with a thread's work, as its channels do, and notes whether the run was stopped by then.
    struct Channels {
        stop: Stop,
        closed_after_stop: Arc<AtomicUsize>,
        panics: bool,
    }

    impl Drop for Channels {
        fn drop(&mut self) {
            self.closed_after_stop.fetch_add(usize::from(self.stop.is_stopped()), Ordering::SeqCst);
            assert!(!self.panics, "while its channels close");
        }
    }

    /// What `guard` notes of this work, and whether channels closed after the run was stopped.
    fn guarded(panics: bool, work: fn() -> Result<()>) -> (Result<(), String>, bool) {
        let (failures, stop) = (Failures::default(), Stop::default());
        let closed_after_stop = Arc::<AtomicUsize>::default();
        let channels = Channels {
            stop: stop.clone(),
            closed_after_stop: Arc::clone(&closed_after_stop),
            panics,
        };
        let body = move || {
            let _channels = &channels;
            work()
        };
        guard("crop, whiten", Box::new(body), &failures, &stop);
        let result = failures.into_result().map_err(|error| format!("{error:#}"));
        assert_eq!(stop.is_stopped(), result.is_err());
        (result, closed_after_stop.load(Ordering::SeqCst) == 1)
    }

    #[test]
    fn whatever_goes_wrong_in_a_thread_stops_the_run_before_its_channels_close() {
        let told = "stage crop, whiten: it panicked, which is a defect of the stage: ";
        assert_eq!(guarded(false, || Ok(())), (Ok(()), false));
        assert_eq!(guarded(false, || Err(anyhow!("torn"))), (Err("torn".to_owned()), true));
        let panics = guarded(false, || panic!("outside of a stage"));
        assert_eq!(panics, (Err(format!("{told}outside of a stage")), true));
        let panics = guarded(true, || Ok(()));
        assert_eq!(panics, (Err(format!("{told}while its channels close")), false));
    }

    #[test]
    fn each_stage_ends_once_after_all_are_built() {
        let told = soon(|| {
            let mut told = Vec::new();
            let ran = run(&plan(5), Stop::default(), |message| match message.event {
                Event::Built => told.push("built".to_owned()),
                Event::Ended => told.extend(message.stage.map(|stage| stage.to_string())),
                _ => {}
            });
            ran.map(|_| told).map_err(|error| error.to_string())
        });
        let mut told = told.expect("it runs");
        assert_eq!(told.remove(0), "built");
        told.sort_unstable();
        assert_eq!(told, ["each", "sink", "source"]);
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
