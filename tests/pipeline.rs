//! Whole pipelines in one process: overlap, bounded memory, order, errors and the end of a run.

mod common;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use base::random::Random;
use base::stop::Stop;
use common::{PATIENCE, within};
use config::node::Node;
use flow::channel::Ports;
use flow::event::Event;
use flow::item::{Batch, Block, Item, Label, Pixels, Sample, SampleId};
use flow::plan::Plan;
use flow::port::Port;
use flow::reports::Outcome;
use flow::stage::{Config, Context, Kind, Map, Mismatch, Parsed, RunSettings, Runner, Stage};

type ItemWork = dyn Fn(Item) -> Result<Option<Item>> + Send + Sync;
type SinkWork = dyn Fn(Item) -> Result<bool> + Send + Sync;
type ImageWork = dyn Fn(&mut Sample) -> Result<()> + Send + Sync;

/// What a stage of a test does.
#[derive(Clone)]
enum Work {
    /// For each item that comes in; what it returns goes on, and `None` ends the stage.
    Item(Arc<ItemWork>),
    /// For each item that comes in, nothing going out; `false` ends the stage.
    Sink(Arc<SinkWork>),
    /// For each image, by this many workers.
    Image(Arc<ImageWork>, usize),
}

/// A stage of a test, kept apart from the product's: it puts out what it takes in, or nothing.
#[derive(Clone)]
struct TestStage(Work);

impl fmt::Debug for TestStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestStage")
    }
}

impl Config for TestStage {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        match &self.0 {
            Work::Sink(_) => Ok(None),
            Work::Item(_) | Work::Image(..) => Ok(inputs.first().cloned()),
        }
    }

    fn build(&self, _: &Context<'_>) -> Result<Runner> {
        Ok(match &self.0 {
            Work::Image(_, workers) => {
                Runner::Map { map: Arc::new(self.clone()), workers: *workers }
            }
            Work::Item(_) | Work::Sink(_) => Runner::Stage(Box::new(self.clone())),
        })
    }
}

impl Map for TestStage {
    fn map(&self, sample: &mut Sample, _: &mut Random) -> Result<()> {
        match &self.0 {
            Work::Image(work, _) => work(sample),
            Work::Item(_) | Work::Sink(_) => bail!("it takes items"),
        }
    }
}

impl Stage for TestStage {
    fn run<'a>(
        &'a mut self,
        ports: &'a mut Ports,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async move {
            while let Some(item) = ports.receive(0).await {
                let goes_on = match &self.0 {
                    Work::Item(work) => match work(item)? {
                        Some(item) => ports.send(item).await.is_ok(),
                        None => false,
                    },
                    Work::Sink(work) => work(item)?,
                    Work::Image(..) => bail!("it takes images"),
                };
                if !goes_on {
                    break;
                }
            }
            Ok(())
        })
    }
}

/// A kind of stage without fields.
fn kind(name: &'static str, work: Work) -> Kind {
    let parse = Arc::new(move |_: &_, _: &_, _: &mut _| {
        let value: Box<dyn Config> = Box::new(TestStage(work.clone()));
        Some(Parsed { value, fields: Node::Null })
    });
    Kind { name, parse, ..stages::batcher::kind(&stages::Catalog::default()) }
}

fn item(
    name: &'static str,
    work: impl Fn(Item) -> Result<Option<Item>> + Send + Sync + 'static,
) -> Kind {
    kind(name, Work::Item(Arc::new(work)))
}

fn sink(name: &'static str, work: impl Fn(Item) -> Result<bool> + Send + Sync + 'static) -> Kind {
    kind(name, Work::Sink(Arc::new(work)))
}

fn image(
    name: &'static str,
    workers: usize,
    work: impl Fn(&mut Sample) -> Result<()> + Send + Sync + 'static,
) -> Kind {
    kind(name, Work::Image(Arc::new(work), workers))
}

/// The product's stages and those of the test.
fn load(text: &str, set: &[(&str, &str)], own: Vec<Kind>) -> Plan {
    let kinds = [stages::kinds(&stages::Catalog::default()), own].concat();
    let set: Vec<_> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    match Plan::load(&kinds, "test.yaml", text, &set, &RunSettings::default()) {
        Ok((plan, _)) => plan,
        Err(wrong) => panic!("{}", config::diagnostic::render(&wrong, false)),
    }
}

/// Runs a plan and gives up on one that hangs.
fn run(plan: Plan, stop: Stop) -> (Result<Outcome>, Vec<Event>) {
    within(PATIENCE, move || {
        let mut events = Vec::new();
        let result = flow::run::run(&plan, stop, |message| events.push(message.event));
        (result, events)
    })
}

fn error(plan: Plan) -> String {
    let (result, _) = run(plan, Stop::default());
    format!("{:#}", result.expect_err("the run fails"))
}

fn block(item: Item) -> Block {
    match item {
        Item::Block(block) => block,
        other => panic!("expected a block, found {other:?}"),
    }
}

fn batch(item: Item) -> Batch {
    match item {
        Item::Batch(batch) => batch,
        other => panic!("expected a batch, found {other:?}"),
    }
}

/// Everything of a batch down to the last bit of each pixel.
fn digest(batch: &Batch) -> u64 {
    let mut hasher = DefaultHasher::new();
    (batch.number, &batch.ids, batch.shape, batch.ends_epoch).hash(&mut hasher);
    for label in &batch.labels {
        match label {
            Label::Class(class) => class.hash(&mut hasher),
            Label::Distribution(_) => panic!("nothing here mixes classes"),
        }
    }
    for value in batch.images.iter() {
        value.to_bits().hash(&mut hasher);
    }
    hasher.finish()
}

#[test]
fn stages_work_at_the_same_time() {
    const BLOCKS: usize = 40;
    // Each waits with a block in hand for both others: none goes on unless all are at work. A
    // stage lets as many blocks pass before as there are stages behind it.
    let all = Arc::new(Barrier::new(3));
    let meeting = |name: &'static str, behind: usize| {
        let all = Arc::clone(&all);
        let taken = AtomicUsize::new(0);
        item(name, move |item| {
            if (behind..behind + BLOCKS).contains(&taken.fetch_add(1, Ordering::Relaxed)) {
                all.wait();
            }
            Ok(Some(item))
        })
    };
    let (first, second) = (meeting("first", 2), meeting("second", 1));
    let taken = AtomicUsize::new(0);
    let last = sink("last", move |_| {
        all.wait();
        Ok(taken.fetch_add(1, Ordering::Relaxed) + 1 < BLOCKS)
    });
    let text = "
        block_images: 1
        stages:
          read: { reader: { format: { synthetic: { train: 10 } }, split: train } }
          a: { from: read, first: {} }
          b: { from: a, second: {} }
          c: { from: b, last: {} }";
    run(load(text, &[], vec![first, second, last]), Stop::default()).0.expect("it runs");
}

#[test]
fn stages_before_a_slow_one_run_ahead_as_far_as_there_is_room() {
    const SHORT: Duration = Duration::from_millis(1);
    for (workers, room) in [(1, 2), (3, 2), (2, 5)] {
        // Both edges have a lane for each worker, which share the room. Beside that, every thread
        // has one in its hands.
        let lanes = 2 * workers * (room / workers).max(1);
        let hands = 1 + workers + 1;
        let most = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&most);
        let taken = AtomicUsize::new(0);
        let slow = sink("slow", move |item| {
            let source = block(item).source;
            // Each block that is anywhere in memory holds on to its source, and so does the
            // reader.
            let alive = || Arc::strong_count(&source) - 1;
            let taken = taken.fetch_add(1, Ordering::Relaxed);
            // The stages before it fill the room while it holds a block.
            while taken == 3 && alive() < lanes {
                thread::sleep(SHORT);
            }
            // Were there more room than there should be, they would fill that too.
            thread::sleep(20 * SHORT);
            seen.fetch_max(alive(), Ordering::Relaxed);
            Ok(taken < 12)
        });
        let text = format!(
            "
            block_images: 1
            channel_blocks: {room}
            stages:
              read: {{ reader: {{ format: {{ synthetic: {{ train: 40 }} }}, split: train }} }}
              crop: {{ from: read, cropper: {{ workers: {workers} }} }}
              slow: {{ from: crop, slow: {{}} }}"
        );
        run(load(&text, &[], vec![slow]), Stop::default()).0.expect("it runs");
        let most = most.load(Ordering::Relaxed);
        assert!((lanes..=lanes + hands).contains(&most), "{most} of {lanes} + {hands}");
    }
}

/// The digests of the first batches of the training chain, more than two epochs of them.
fn batches(shuffler: &str, workers: [usize; 3], settings: &str) -> Vec<u64> {
    const BATCHES: usize = 25;
    let digests = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&digests);
    let collect = sink("collect", move |item| {
        let mut digests = to.lock().expect("no panic");
        digests.push(digest(&batch(item)));
        Ok(digests.len() < BATCHES)
    });
    let [crop, distort, whiten] = workers;
    let text = format!(
        "
        {settings}
        stages:
          read: {{ reader: {{ format: {{ synthetic: {{ train: 300 }} }}, split: train }} }}
          shuffle: {{ from: read, shuffler: {shuffler} }}
          crop: {{ from: shuffle, cropper: {{ size: 24, workers: {crop} }} }}
          distort: {{ from: crop, distorter: {{ workers: {distort} }} }}
          whiten: {{ from: distort, whitening: {{ workers: {whiten} }} }}
          batch: {{ from: whiten, batcher: {{ size: 32 }} }}
          collect: {{ from: batch, collect: {{}} }}"
    );
    run(load(&text, &[], vec![collect]), Stop::default()).0.expect("it runs");
    let digests = digests.lock().expect("no panic");
    assert_eq!(digests.len(), BATCHES);
    digests.clone()
}

#[test]
fn batches_have_the_same_bits_for_any_number_of_workers() {
    for shuffler in ["{}", "{ mode: queue, minimum: 100, capacity: 150 }"] {
        let expected = batches(shuffler, [1, 1, 1], "seed: 1");
        for workers in [[2, 2, 2], [16, 16, 16], [3, 1, 5]] {
            assert_eq!(batches(shuffler, workers, "seed: 1"), expected, "{shuffler} {workers:?}");
        }
        let cut = "seed: 1\n        block_images: 7\n        channel_blocks: 1";
        assert_eq!(batches(shuffler, [2, 2, 2], cut), expected, "{shuffler} in other blocks");
        let other = batches(shuffler, [1, 1, 1], "seed: 2");
        assert!(other.iter().zip(&expected).all(|(a, b)| a != b), "{shuffler} with another seed");
    }
}

/// A pipeline whose middle stage does this, and a count of what its other stages hold on to.
fn around(middle: Kind) -> (Plan, Arc<()>) {
    let token = Arc::new(());
    let (before, after) = (Arc::clone(&token), Arc::clone(&token));
    let before = item("before", move |item| {
        let _held = &before;
        Ok(Some(item))
    });
    let after = sink("after", move |_| {
        let _held = &after;
        Ok(true)
    });
    let text = "
        block_images: 4
        stages:
          read: { reader: { format: { synthetic: { train: 40 } }, split: train } }
          first: { from: read, before: {} }
          centre: { from: first, middle: {} }
          last: { from: centre, after: {} }";
    (load(text, &[], vec![before, middle, after]), token)
}

/// Fails at the third item, after others have queued up before it.
fn at_the_third(fail: fn() -> Result<Option<Item>>) -> Kind {
    let taken = AtomicUsize::new(0);
    item("middle", move |item| {
        thread::sleep(Duration::from_millis(20));
        if taken.fetch_add(1, Ordering::Relaxed) == 2 { fail() } else { Ok(Some(item)) }
    })
}

#[test]
fn an_error_ends_the_run_with_the_stages_name_and_the_cause() {
    let cause = || Err(anyhow::anyhow!("the disk is full").context("cannot write"));
    let (plan, token) = around(at_the_third(cause));
    assert_eq!(error(plan), "stage centre: cannot write: the disk is full");
    // Whatever the other threads held is gone, and so are they.
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn a_panic_ends_the_run_with_the_stages_name_and_what_it_said() {
    let (plan, token) = around(at_the_third(|| panic!("index {} of 3", 7)));
    let error = error(plan);
    assert!(error.starts_with("stage centre: ") && error.ends_with("index 7 of 3"), "{error}");
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn errors_of_several_stages_are_all_told() {
    // Both hold an item before either fails, so that neither is stopped by the other.
    let both = Arc::new(Barrier::new(2));
    let kinds = ["left", "right"].map(|name| {
        let both = Arc::clone(&both);
        sink(name, move |_| {
            both.wait();
            bail!("{name} is wrong")
        })
    });
    let text = "
        stages:
          read: { reader: { format: { synthetic: { train: 40 } }, split: train } }
          one: { from: read, left: {} }
          two: { from: read, right: {} }";
    let error = error(load(text, &[], kinds.into()));
    for part in ["2 stages failed", "stage one: left is wrong", "stage two: right is wrong"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_error_of_a_stage_that_shares_workers_names_it_alone() {
    let wrong = |sample: &mut Sample| {
        if sample.id == (SampleId { epoch: 1, index: 33 }) { bail!("a bad pixel") } else { Ok(()) }
    };
    let panics = |sample: &mut Sample| {
        assert!(sample.id.index != 33, "a bad index");
        Ok(())
    };
    let all = sink("all", |_| Ok(true));
    let text = "
        block_images: 4
        stages:
          read: { reader: { format: { synthetic: { train: 40 } }, split: train } }
          crop: { from: read, cropper: { workers: 2 } }
          mine: { from: crop, own: {} }
          whiten: { from: mine, whitening: { workers: 2 } }
          all: { from: whiten, all: {} }";
    let plan = load(text, &[], vec![image("own", 2, wrong), all.clone()]);
    assert_eq!(error(plan), "stage mine: image 33 of epoch 1: a bad pixel");
    let told = error(load(text, &[], vec![image("own", 2, panics), all]));
    assert!(told.starts_with("stage mine: ") && told.ends_with("a bad index"), "{told}");
}

#[test]
fn a_stage_whose_workers_all_fail_is_told_once() {
    // All workers are at work before the first fails.
    let all = Barrier::new(4);
    let wrong = image("own", 4, move |_| {
        all.wait();
        bail!("a bad pixel")
    });
    let text = "
        block_images: 1
        stages:
          read: { reader: { format: { synthetic: { train: 40 } }, split: train } }
          mine: { from: read, own: {} }
          all: { from: mine, all: {} }";
    let error = error(load(text, &[], vec![wrong, sink("all", |_| Ok(true))]));
    assert!(error.starts_with("stage mine: image "), "{error}");
    assert_eq!(error.matches("a bad pixel").count(), 1, "{error}");
}

#[test]
fn neighbours_with_as_many_workers_share_their_threads() {
    let threads = Arc::new(Mutex::new(BTreeSet::new()));
    let note = |name: &'static str, workers| {
        let threads = Arc::clone(&threads);
        image(name, workers, move |_| {
            let thread = thread::current().name().map(str::to_owned);
            threads.lock().expect("no panic").insert((name, thread.unwrap_or_default()));
            Ok(())
        })
    };
    let taken = AtomicUsize::new(0);
    let some = sink("some", move |_| Ok(taken.fetch_add(1, Ordering::Relaxed) < 20));
    let kinds = vec![note("a", 2), note("b", 2), note("c", 3), some];
    let text = "
        block_images: 4
        stages:
          read: { reader: { format: { synthetic: { train: 40 } }, split: train } }
          one: { from: read, a: {} }
          two: { from: one, b: {} }
          three: { from: two, c: {} }
          end: { from: three, some: {} }";
    run(load(text, &[], kinds), Stop::default()).0.expect("it runs");
    let threads = threads.lock().expect("no panic");
    let of = |kind: &str| -> Vec<&str> {
        threads.iter().filter(|(name, _)| *name == kind).map(|(_, thread)| &**thread).collect()
    };
    assert_eq!(of("a"), ["one+two.0", "one+two.1"]);
    assert_eq!(of("b"), of("a"));
    assert_eq!(of("c"), ["three.0", "three.1", "three.2"]);
}

#[test]
fn a_run_that_is_asked_to_stop_stops_at_once() {
    let stop = Stop::default();
    let from = stop.clone();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let middle = item("middle", move |item| {
        if count.fetch_add(1, Ordering::Relaxed) == 5 {
            from.stop();
        }
        Ok(Some(item))
    });
    let (plan, token) = around(middle);
    let outcome = run(plan, stop).0.expect("being stopped is no failure");
    assert_eq!(taken.load(Ordering::Relaxed), 6, "it takes nothing any more");
    assert!(outcome.interrupted);
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn a_run_that_is_stopped_before_it_starts_does_nothing() {
    let stop = Stop::default();
    stop.stop();
    let touched = Arc::new(AtomicBool::new(false));
    let touch = Arc::clone(&touched);
    let middle = item("middle", move |item| {
        touch.store(true, Ordering::Relaxed);
        Ok(Some(item))
    });
    let (plan, _) = around(middle);
    assert!(run(plan, stop).0.expect("being stopped is no failure").interrupted);
    assert!(!touched.load(Ordering::Relaxed));
}

#[test]
fn a_label_out_of_range_names_the_image() {
    let mislabel = image("mislabel", 1, |sample| {
        if sample.id.index == 27 {
            sample.label = Label::Class(10);
        }
        Ok(())
    });
    let text = "
        epochs: 1
        adapter: cpu
        stages:
          read: { reader: { format: { synthetic: { train: 40 } }, split: train } }
          labels: { from: read, mislabel: {} }
          batch: { from: labels, batcher: { size: 10 } }
          gradients:
            from: batch
            model: { layers: [ { dense: { units: 10 } }, { softmax_cross_entropy: {} } ] }
          train: { from: gradients, reducer: { learning_rate: 0.0001 } }";
    assert_eq!(
        error(load(text, &[], vec![mislabel])),
        "stage gradients: image 27 of drawings of shapes and patterns train, 40 images: its label \
         is 10, and the classes are 0 to 9"
    );
}

/// The repository's pipeline with a model that is quick to train.
fn shipped(set: &[(&str, &str)], own: Vec<Kind>) -> Plan {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.yaml");
    let text = std::fs::read_to_string(file).expect("the repository has it");
    let layers = "[ { dense: { units: 10 } }, { softmax_cross_entropy: {} } ]";
    let quick = [
        ("adapter", "cpu"),
        ("stages.gradients.model.layers", layers),
        ("stages.read.reader.otherwise.synthetic.train", "256"),
        ("stages.train.reducer.learning_rate", "0.0001"),
        ("stages.train.reducer.evaluate", "{ epochs: 1 }"),
    ];
    load(&text, &[&quick, set].concat(), own)
}

#[test]
fn evaluation_scores_every_test_image_once_each_time() {
    let (result, events) = run(shipped(&[], Vec::new()), Stop::default());
    result.expect("it runs");
    let evaluations: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Evaluation(report) => Some((report.step, report.images)),
            _ => None,
        })
        .collect();
    // Three epochs of two batches; an image that came twice would have ended the run.
    assert_eq!(evaluations, [(2, 2_000), (4, 2_000), (6, 2_000)]);
}

#[test]
fn a_pass_over_the_test_images_has_each_once_though_batches_do_not_divide_it() {
    let passes = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&passes);
    let collect = sink("collect", move |item| {
        let batch = batch(item);
        let mut batches = to.lock().expect("no panic");
        assert!(batch.images.iter().all(|value| value.is_finite()));
        batches.push((batch.ids, batch.ends_epoch));
        Ok(batches.len() < 32)
    });
    let plan = shipped(&[("stages.look", "{ from: test, collect: {} }")], vec![collect]);
    run(plan, Stop::default()).0.expect("it runs");
    let batches = passes.lock().expect("no panic");
    for (epoch, pass) in batches.chunks(16).enumerate() {
        let sizes: Vec<usize> = pass.iter().map(|(ids, _)| ids.len()).collect();
        assert_eq!(sizes, [vec![128; 15], vec![80]].concat());
        let ends: Vec<bool> = pass.iter().map(|(_, ends)| *ends).collect();
        assert_eq!(ends, [vec![false; 15], vec![true]].concat());
        let ids: Vec<SampleId> = pass.iter().flat_map(|(ids, _)| ids.clone()).collect();
        let epoch = epoch as u64;
        assert_eq!(ids, (0..2_000).map(|index| SampleId { epoch, index }).collect::<Vec<_>>());
    }
}

#[test]
fn pixels_are_shared_with_the_data_set_until_a_stage_changes_them() {
    let addresses = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&addresses);
    let look = sink("look", move |item| {
        let mut addresses = to.lock().expect("no panic");
        for sample in block(item).samples {
            let Pixels::U8(bytes) = sample.image.pixels else { panic!("nothing changed them") };
            addresses.push(bytes.as_ptr() as usize);
        }
        Ok(addresses.len() < 20)
    });
    let text = "
        block_images: 10
        stages:
          read: { reader: { format: { synthetic: { train: 10 } }, split: train } }
          shuffle: { from: read, shuffler: {} }
          look: { from: shuffle, look: {} }";
    run(load(text, &[], vec![look]), Stop::default()).0.expect("it runs");
    let addresses = addresses.lock().expect("no panic");
    let mut epochs: Vec<Vec<usize>> = addresses.chunks(10).map(<[usize]>::to_vec).collect();
    epochs.iter_mut().for_each(|epoch| epoch.sort_unstable());
    assert_eq!(epochs[0], epochs[1]);
}
