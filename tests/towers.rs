//! Several adapters against one: the same gradients, the same bits again, and what becomes of a
//! step when one of them fails.

mod common;
#[path = "common/wrapped.rs"]
mod wrapped;

use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use base::random::Random;
use compute::adapter::Adapter;
use compute::adapter::forms::Forms;
use compute::graph::{Graph, GraphBuilder, Initial};
use compute::job::seats::Seats;
use compute::job::threads::together;
use compute::job::{Job, Lane, Left};
use compute::kernel::{Args, Binding, Constants, Extent, Kernel, Step, Variant};
use compute::pass::Pass;
use compute::session::Session;
use compute::towers::{Lost, NoneLeft, OnLoss, Rules, Stopped, Towers, Watch};
use flow::item::{Batch, Label, SampleId, Source};
use flow::reports::Change;
use stages::model::compile::ListedLayer;
use stages::model::layer::Layer;
use stages::model::layers::batch_norm::BatchNorm;
use stages::model::layers::conv2d::Conv2d;
use stages::model::tutorial;
use stages::reducer::update::trainable;

use wrapped::{Fault, Wrapped};

/// By how much a gradient may differ from that of one adapter: this part of its largest number.
/// Both are sums of the same products in another order.
const BOUND: f32 = 5e-6;

/// A small network with every kind of layer that the tutorial's has.
fn graph() -> Arc<Graph> {
    let layers = tutorial::layers(0.05);
    let kept = |layer: &&ListedLayer| {
        ["conv1", "relu1", "pool1", "norm1", "softmax_linear", "loss"]
            .contains(&layer.name.as_deref().unwrap_or_default())
    };
    let layers: Vec<ListedLayer> = layers.iter().filter(kept).cloned().collect();
    Arc::new(trainable(&layers, [8, 8, 3], 10).expect("a valid network"))
}

fn batch(number: u64, images: usize, shape: [usize; 3]) -> Arc<Batch> {
    let mut random = Random::keyed(5, "batch", number, 0);
    let source = Source {
        description: "drawn".to_owned(),
        epoch_images: 1000,
        split: "train".to_owned(),
        classes: Vec::new(),
        stands_in_for: None,
        limit: None,
        in_a_row: None,
    };
    let first = number * images as u64;
    Arc::new(Batch {
        source: Arc::new(source),
        number,
        ids: (0..images as u64).map(|at| SampleId { epoch: 0, index: first + at }).collect(),
        labels: (0..images).map(|at| Label::Class((at % 10) as u32)).collect(),
        shape,
        images: (0..images * shape.iter().product::<usize>())
            .map(|_| random.truncated_normal() as f32)
            .collect(),
        whole: images,
        ends_epoch: false,
        pass: Pass::open(1000, images as u64),
        samples_end: first + images as u64,
    })
}

const SHAPE: [usize; 3] = [8, 8, 3];

fn step(number: u32, images: usize) -> Step {
    Step { step: number, learning_rate: 0.05, average_decay: 0.5, ..Step::of(images) }
}

/// What was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<(Vec<Change>, Vec<Lost>)>>);

impl Told {
    fn changes(&self) -> Vec<Change> {
        self.0.lock().expect("no panic").0.clone()
    }

    fn lost(&self) -> Vec<Lost> {
        self.0.lock().expect("no panic").1.clone()
    }
}

impl Watch for Told {
    fn shares(&mut self, change: &Change) -> bool {
        self.0.lock().expect("no panic").0.push(change.clone());
        true
    }

    fn lost(&mut self, lost: &Lost) {
        self.0.lock().expect("no panic").1.push(lost.clone());
    }
}

fn rules(told: &Told) -> Rules {
    Rules {
        follow_speed: false,
        given: Vec::new(),
        on_loss: OnLoss::Continue,
        forms: Forms::default(),
        watch: Box::new(told.clone()),
        lane: Lane::default(),
        bucket_bytes: 1,
    }
}

fn towers(
    adapters: &[Arc<dyn Adapter>],
    graph: &Arc<Graph>,
    images: usize,
    rules: Rules,
) -> Towers {
    let each: Vec<&dyn Adapter> = adapters.iter().map(AsRef::as_ref).collect();
    let made = Towers::new(&each, &common::cpu(1), graph, images, rules);
    let mut towers = made.expect("all adapters take the model");
    towers.initialize(3).expect("weights are drawn");
    towers
}

fn cpu() -> Arc<dyn Adapter> {
    Arc::new(common::cpu(1))
}

/// Weights, averages, losses and gradients after the steps done so far.
fn numbers(session: &mut Session) -> Vec<(String, Vec<f32>)> {
    let graph = Arc::clone(session.graph());
    let parameters = graph.parameters.iter().flat_map(|p| [p.value, p.average, p.gradient]);
    let ids = parameters.chain(graph.losses).chain(graph.loss_averages);
    ids.map(|id| (graph.tensor(id).name.clone(), session.read(id).expect("it is read"))).collect()
}

fn held(towers: &mut Towers) -> Vec<(String, Vec<f32>)> {
    towers.ask(|holder| Ok(numbers(holder))).expect("it is read")
}

fn after(
    towers: &mut Towers,
    steps: std::ops::Range<u32>,
    images: usize,
) -> Vec<(String, Vec<f32>)> {
    for number in steps {
        let batch = batch(u64::from(number), images, SHAPE);
        towers.train(&batch, &step(number, images)).expect("a step");
    }
    held(towers)
}

#[track_caller]
fn assert_close(found: &[(String, Vec<f32>)], expected: &[(String, Vec<f32>)]) {
    assert_eq!(found.len(), expected.len());
    let mut worst = (0.0_f32, "");
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        let largest = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        for (a, b) in found.iter().zip(expected) {
            let error = (a - b).abs() / largest.max(f32::MIN_POSITIVE);
            assert!(error <= BOUND, "{name}: {a} and {b} of up to {largest}");
            worst = if error > worst.0 { (error, name) } else { worst };
        }
    }
    println!("the worst error is {:.1e} of the largest number, in {}", worst.0, worst.1);
}

/// One step of several adapters against one that takes the whole batch, and both again.
fn check_equality(adapters: &[Arc<dyn Adapter>], images: usize) {
    let graph = graph();
    let mut alone = Session::new(&common::cpu(1), &graph, images).expect("it fits");
    alone.initialize(3).expect("weights are drawn");
    alone.train(&batch(0, images, SHAPE), &step(0, images)).expect("a step");
    let once = after(&mut towers(adapters, &graph, images, rules(&Told::default())), 0..1, images);
    assert_close(&once, &numbers(&mut alone));
    let twice: Vec<_> = (0..2)
        .map(|_| {
            after(&mut towers(adapters, &graph, images, rules(&Told::default())), 0..4, images)
        })
        .collect();
    assert_eq!(twice[0], twice[1], "other bits for the same adapters");
}

#[test]
fn replicas_on_one_adapter_give_the_gradient_of_one() {
    for count in 1..=3 {
        check_equality(&vec![cpu(); count], 16);
    }
    // Shares of 4, 3 and 3.
    check_equality(&vec![cpu(); 3], 10);
    // Two adapters sit out.
    check_equality(&vec![cpu(); 3], 1);
}

#[test]
fn unlike_adapters_give_the_gradient_of_one() {
    let gpus: Vec<Arc<dyn Adapter>> =
        common::gpus().into_iter().map(|gpu| Arc::new(gpu) as Arc<dyn Adapter>).collect();
    for gpu in &gpus {
        check_equality(&[Arc::clone(gpu), cpu()], 12);
    }
    let all: Vec<Arc<dyn Adapter>> = gpus.iter().cloned().chain([cpu()]).collect();
    if gpus.len() > 1 {
        check_equality(&all, 12);
    }
}

#[test]
fn gradients_in_buckets_have_the_bits_of_those_that_arrive_together() {
    const IMAGES: usize = 12;
    let graph = graph();
    let in_buckets =
        || -> Arc<dyn Adapter> { Arc::new(Wrapped::slow(cpu(), Duration::ZERO).in_buckets()) };
    let run = |adapters: &[Arc<dyn Adapter>], bucket_bytes: usize| {
        let rules = Rules { bucket_bytes, ..rules(&Told::default()) };
        after(&mut towers(adapters, &graph, IMAGES, rules), 0..3, IMAGES)
    };
    let together = run(&[cpu(), cpu()], 1);
    for adapters in [[in_buckets(), cpu()], [cpu(), in_buckets()], [in_buckets(), in_buckets()]] {
        assert_eq!(run(&adapters, 1), together);
    }
    for gpu in common::gpus() {
        let gpu: Arc<dyn Adapter> = Arc::new(gpu);
        for adapters in [vec![Arc::clone(&gpu), cpu()], vec![cpu(), Arc::clone(&gpu), gpu]] {
            let together = run(&adapters, usize::MAX);
            for bucket_bytes in [1, 4096] {
                assert_eq!(run(&adapters, bucket_bytes), together, "{bucket_bytes}");
            }
        }
    }
}

fn change(step: u64, shares: &[usize]) -> Change {
    let named = shares.iter().enumerate().map(|(at, images)| (format!("tower_{at}"), *images));
    Change { step, shares: named.collect() }
}

#[test]
fn shares_that_are_given_are_taken_and_told_before_their_step() {
    let graph = graph();
    let given = vec![change(0, &[6, 4]), change(2, &[9, 1]), change(3, &[0, 10])];
    let run = |steps: std::ops::Range<u32>| {
        let told = Told::default();
        let rules = Rules { given: given.clone(), ..rules(&told) };
        let mut towers = towers(&[cpu(), cpu()], &graph, 10, rules);
        (after(&mut towers, steps, 10), told.changes())
    };
    let (numbers, told) = run(0..5);
    assert_eq!(told, given);
    assert_eq!(run(0..5), (numbers, told));
    // Whoever begins later has the shares of then.
    assert_eq!(run(2..3).1, [change(2, &[9, 1])]);
}

#[test]
fn a_step_of_an_adapter_that_fails_is_done_again_by_the_others() {
    const IMAGES: usize = 8;
    let graph = graph();
    let faults = [
        Fault::Upload,
        Fault::Forward,
        Fault::Backward,
        Fault::Copy,
        Fault::Read,
        Fault::LastRead,
        Fault::WeightUpload,
        Fault::Panic,
    ];
    let cases = faults.into_iter().flat_map(|fault| [(fault, false), (fault, true)]);
    for (fault, in_buckets) in cases {
        for lost in 0..2 {
            // New weights are sent after step 1, and their loss is found in step 2.
            let failing = Wrapped::failing(cpu(), fault, 2);
            let mut adapters = vec![cpu(), cpu()];
            adapters[lost] = Arc::new(if in_buckets { failing.in_buckets() } else { failing });
            let told = Told::default();
            // Room for the whole batch, so that whoever is left takes it at once.
            let alone = [change(0, &[4, 4]), change(2, if lost == 0 { &[0, 8] } else { &[8, 0] })];
            let fixed = |changes: &[Change]| Rules { given: changes.to_vec(), ..rules(&told) };
            let mut broken = towers(&adapters, &graph, IMAGES, fixed(&alone[..1]));
            let found = after(&mut broken, 0..5, IMAGES);
            let lost_ones = told.lost();
            let [Lost { who, step, .. }] = lost_ones.as_slice() else {
                panic!("{fault:?}: {lost_ones:?}")
            };
            assert_eq!(
                (who.as_str(), *step),
                (&*format!("tower_{lost} (cpu/test)"), 2),
                "{fault:?}"
            );
            let last = told.changes().pop().expect("other shares");
            let left = format!("tower_{}", 1 - lost);
            assert_eq!(last, Change { step: 2, shares: [(left, IMAGES)].into() }, "{fault:?}");

            let mut whole = towers(&[cpu(), cpu()], &graph, IMAGES, fixed(&alone));
            assert_eq!(found, after(&mut whole, 0..5, IMAGES), "{fault:?} of tower {lost}");
        }
    }
}

#[test]
fn a_loss_may_end_the_run_with_the_weights_from_before_the_step() {
    const IMAGES: usize = 8;
    let graph = graph();
    let told = Told::default();
    let failing: Arc<dyn Adapter> = Arc::new(Wrapped::failing(cpu(), Fault::Backward, 2));
    let rules_here = Rules { on_loss: OnLoss::Stop, ..rules(&told) };
    let mut broken = towers(&[cpu(), failing], &graph, IMAGES, rules_here);
    after(&mut broken, 0..2, IMAGES);
    let error = broken.train(&batch(2, IMAGES, SHAPE), &step(2, IMAGES)).expect_err("it is lost");
    assert!(error.is::<Stopped>(), "{error:#}");
    let expected = "tower_1 (cpu/test) failed in step 2: the device was lost";
    assert_eq!(error.to_string(), expected);
    let mut whole = towers(&[cpu(), cpu()], &graph, IMAGES, rules(&told));
    assert_eq!(held(&mut broken), after(&mut whole, 0..2, IMAGES));
}

#[test]
fn the_last_adapter_that_fails_is_told_with_its_cause() {
    let graph = graph();
    let told = Told::default();
    let failing =
        |after| -> Arc<dyn Adapter> { Arc::new(Wrapped::failing(cpu(), Fault::Forward, after)) };
    // Step 1 takes the second one three micro-batches, of which it does two once more.
    let mut both = towers(&[failing(1), failing(4)], &graph, 8, rules(&told));
    after(&mut both, 0..2, 8);
    let error = both.train(&batch(2, 8, SHAPE), &step(2, 8)).expect_err("none is left");
    assert!(error.is::<NoneLeft>(), "{error:#}");
    assert_eq!(told.lost().len(), 2);
}

#[test]
fn what_does_not_take_the_model_is_told_of_all_adapters_at_once() {
    let failing = || -> Arc<dyn Adapter> { Arc::new(Wrapped::failing(cpu(), Fault::Lowering, 0)) };
    let adapters = [failing(), cpu(), failing()];
    let each: Vec<&dyn Adapter> = adapters.iter().map(AsRef::as_ref).collect();
    let made = Towers::new(&each, &common::cpu(1), &graph(), 6, rules(&Told::default()));
    let error = made.err().expect("two of them fail").to_string();
    let expected = "tower_0 (cpu/test): no memory left\ntower_2 (cpu/test): no memory left";
    assert_eq!(error, expected);
}

#[test]
fn weights_on_an_adapter_that_fails_are_no_loss_that_others_make_up_for() {
    let graph = graph();
    let each: [&dyn Adapter; 2] = [&common::cpu(1), &common::cpu(1)];
    let holder = Wrapped::failing(cpu(), Fault::Update, 2);
    let rules = rules(&Told::default());
    let mut towers = Towers::new(&each, &holder, &graph, 8, rules).expect("it fits");
    towers.initialize(3).expect("weights are drawn");
    after(&mut towers, 0..2, 8);
    let error = towers.train(&batch(2, 8, SHAPE), &step(2, 8)).expect_err("the weights are lost");
    assert!(error.is::<NoneLeft>(), "{error:#}");
}

/// Kernels have a form for GPUs, where these are not run.
static ANY: [Variant; 1] = [Variant {
    name: "any",
    wgsl: "",
    tuning: &[],
    applies: |_| true,
    workgroups: |_, _| [1, 1, 1],
}];

/// The mean of all numbers of a micro-batch.
static MEAN: Kernel = Kernel {
    name: "test_mean",
    about: "The mean of the images.",
    bindings: &[Binding::read("input", Extent::PerImage), Binding::write("mean", Extent::Whole)],
    lengths: |_| vec![1, 1],
    terms: |_, images| images,
    variants: &ANY,
    cpu: mean,
    reference: |_| {},
    cases: Vec::new,
};

fn mean(args: &mut Args<'_, f32>) {
    let input = args.read("input");
    args.write("mean")[0] = input.iter().sum::<f32>() / input.len() as f32;
}

/// A gradient in which every image counts by its distance from the mean.
static DISTANCES: Kernel = Kernel {
    name: "test_distances",
    about: "The mean of the squares of the images less a number.",
    bindings: &[
        Binding::read("input", Extent::PerImage),
        Binding::read("mean", Extent::Whole),
        Binding::read("weights", Extent::Whole),
        Binding::write("gradient", Extent::Summed),
    ],
    lengths: |_| vec![1, 1, 1, 1],
    terms: |_, images| images,
    variants: &ANY,
    cpu: distances,
    reference: |_| {},
    cases: Vec::new,
};

fn distances(args: &mut Args<'_, f32>) {
    let (input, mean) = (args.read("input"), args.read("mean")[0]);
    let sum: f32 = input.iter().map(|value| (value - mean).powi(2)).sum();
    let gradient = &mut args.write("gradient")[0];
    let before = if args.step.accumulate == 1 { *gradient } else { 0.0 };
    *gradient = before + sum / args.step.batch as f32;
}

/// A model whose gradient is the variance of its images.
fn variance() -> Arc<Graph> {
    let mut builder = GraphBuilder::new(&[1], 2, &MEAN);
    let images = builder.images();
    builder.begin_layer("variance", "variance", &[images]);
    let weights = builder.parameter("weights", &[1], Initial::Constant(1.0), 0.0);
    let mean = builder.state("mean", &[1], Initial::Constant(0.0));
    builder.forward(&MEAN, &[images, mean], Constants::default());
    builder.forward_all_reduce(mean);
    let gradient = weights.gradient.expect("it is trained");
    let reads = [images, mean, weights.value, gradient];
    builder.backward(&DISTANCES, &reads, Constants::default());
    builder.end_layer(images);
    Arc::new(builder.finish())
}

#[test]
fn statistics_of_a_batch_are_those_of_all_adapters() {
    const IMAGES: usize = 11;
    let graph = variance();
    let batch = batch(0, IMAGES, [1, 1, 1]);
    let mean = batch.images.iter().sum::<f32>() / IMAGES as f32;
    let squares = batch.images.iter().map(|value| (value - mean).powi(2));
    let variance = squares.sum::<f32>() / IMAGES as f32;
    let given = |shares: &[usize]| vec![change(0, shares)];
    for shares in [&[11, 0, 0][..], &[4, 4, 3], &[1, 9, 1], &[5, 0, 6]] {
        let rules = Rules { given: given(shares), ..rules(&Told::default()) };
        let mut towers = towers(&vec![cpu(); 3], &graph, IMAGES, rules);
        towers.train(&batch, &step(0, IMAGES)).expect("a step");
        let numbers: Vec<f32> =
            [graph.find("variance/mean"), graph.find("variance/weights/gradients")]
                .into_iter()
                .map(|id| {
                    towers.ask(|holder| holder.read(id.expect("it is there"))).expect("it is read")
                        [0]
                })
                .collect();
        let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
        let right = close(numbers[0], mean) && close(numbers[1], variance);
        assert!(right, "{shares:?}: {numbers:?}, not {mean} and {variance}");
    }
}

#[test]
fn nobody_waits_for_the_statistics_of_an_adapter_that_failed() {
    let graph = variance();
    let told = Told::default();
    let failing: Arc<dyn Adapter> = Arc::new(Wrapped::failing(cpu(), Fault::Forward, 0));
    let mut towers = towers(&[cpu(), failing, cpu()], &graph, 9, rules(&told));
    let batch = batch(0, 9, [1, 1, 1]);
    let trained = common::within(common::PATIENCE, move || towers.train(&batch, &step(0, 9)));
    trained.expect("the others do it");
    let lost = told.lost();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(lost[0].who.starts_with("tower_1"), "{lost:?}");
}

/// The images of a batch that are a process's.
fn own(batch: &Batch, seats: &Seats) -> Arc<Batch> {
    let at: Vec<usize> = (0..batch.ids.len()).filter(|at| seats.has(*at as u64)).collect();
    let each: usize = batch.shape.iter().product();
    let pixels = at.iter().flat_map(|at| &batch.images[at * each..(at + 1) * each]);
    Arc::new(Batch {
        ids: at.iter().map(|at| batch.ids[*at]).collect(),
        labels: at.iter().map(|at| batch.labels[*at].clone()).collect(),
        images: pixels.copied().collect(),
        ..batch.clone()
    })
}

/// What the towers of each process come to that has so many adapters: `work` is done in each.
fn in_processes<T: Send>(
    adapters: &[usize],
    graph: &Arc<Graph>,
    images: usize,
    work: impl Fn(&Job, &mut Towers) -> T + Sync,
) -> Vec<T> {
    in_processes_of(adapters, |_, _| cpu(), graph, images, work)
}

/// The same with these adapters, by the rank of the process and their number in it.
fn in_processes_of<T: Send>(
    adapters: &[usize],
    adapter: impl Fn(usize, usize) -> Arc<dyn Adapter> + Sync,
    graph: &Arc<Graph>,
    images: usize,
    work: impl Fn(&Job, &mut Towers) -> T + Sync,
) -> Vec<T> {
    let adapters = adapters.to_vec();
    let (graph, work) = (Arc::clone(graph), &work);
    together(adapters.len(), |job| {
        job.begin(["train"].into_iter());
        job.take_seats(Seats::new(&adapters, job.rank()));
        let lane = job.lane_of("train").expect("it is there");
        let rules = Rules { lane, ..rules(&Told::default()) };
        let own: Vec<_> =
            (0..adapters[job.rank()]).map(|number| adapter(job.rank(), number)).collect();
        let mut towers = towers(&own, &graph, images, rules);
        let found = work(&job, &mut towers);
        job.leave();
        found
    })
}

#[test]
fn processes_give_the_gradient_of_one() {
    let graph = graph();
    for (adapters, images) in
        [(&[1, 1][..], 16), (&[1, 2, 1], 16), (&[1, 1, 1, 1], 10), (&[2, 1], 1)]
    {
        let mut alone = Session::new(&common::cpu(1), &graph, images).expect("it fits");
        alone.initialize(3).expect("weights are drawn");
        alone.train(&batch(0, images, SHAPE), &step(0, images)).expect("a step");
        let steps = |count: u32| {
            in_processes(adapters, &graph, images, |job, towers| {
                for number in 0..count {
                    let batch = batch(u64::from(number), images, SHAPE);
                    let own = own(&batch, &job.seats());
                    towers.train(&own, &step(number, images)).expect("a step");
                }
                held(towers)
            })
        };
        let once = steps(1);
        assert_close(&once[0], &numbers(&mut alone));
        assert!(once.iter().all(|other| *other == once[0]), "processes with other weights");
        assert_eq!(steps(3), steps(3), "other bits for the same processes");
    }
}

#[test]
fn statistics_of_a_batch_are_those_of_all_processes() {
    let graph = variance();
    let read = |towers: &mut Towers, name: &str| {
        let id = graph.find(name).expect("it is there");
        towers.ask(|holder| holder.read(id)).expect("it is read")[0]
    };
    // The last has room for 1 image at a time on each adapter: the process of the first image takes
    // two rounds, and the others stand by in the second.
    for (adapters, images, room) in [(&[1, 1][..], 8, 8), (&[2, 1], 11, 11), (&[1, 1, 1], 4, 3)] {
        let all = batch(0, images, [1, 1, 1]);
        let found = in_processes(adapters, &graph, room, |job, towers| {
            towers.train(&own(&all, &job.seats()), &step(0, images)).expect("a step");
            ["variance/mean", "variance/weights/gradients"].map(|name| read(towers, name))
        });
        let rounds = all.images.chunks(room);
        let mean = |round: &[f32]| round.iter().sum::<f32>() / round.len() as f32;
        let squares = |round: &[f32]| -> f32 {
            round.iter().map(|value| (value - mean(round)).powi(2)).sum()
        };
        let last = rounds.clone().last().map(mean).expect("a round");
        let variance = rounds.map(squares).sum::<f32>() / images as f32;
        for [found_mean, gradient] in found {
            let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
            let right = close(found_mean, last) && close(gradient, variance);
            assert!(right, "{adapters:?}: {found_mean} and {gradient}, not {last} and {variance}");
        }
    }
}

#[test]
fn a_step_is_done_again_in_one_process_while_the_others_have_a_part_of_it() {
    const IMAGES: usize = 9;
    let graph = graph();
    let in_buckets = |adapter: Wrapped| -> Arc<dyn Adapter> { Arc::new(adapter.in_buckets()) };
    let steps = |fails: bool| {
        // All but the last bucket are added up over the processes when the adapter fails.
        let adapter = |rank: usize, number: usize| match (rank, number) {
            (0, 1) if fails => in_buckets(Wrapped::failing(cpu(), Fault::LastRead, 1)),
            _ => in_buckets(Wrapped::slow(cpu(), Duration::ZERO)),
        };
        in_processes_of(&[2, 1], adapter, &graph, IMAGES, |job, towers| {
            for number in 0..3 {
                let own = own(&batch(u64::from(number), IMAGES, SHAPE), &job.seats());
                towers.train(&own, &step(number, IMAGES)).expect("a step");
            }
            (towers.reports().len(), held(towers))
        })
    };
    let (broken, whole) = (steps(true), steps(false));
    assert_eq!(broken.iter().map(|(towers, _)| *towers).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(broken[0].1, broken[1].1, "processes with other weights");
    assert_close(&broken[0].1, &whole[0].1);
}

#[test]
fn the_others_have_the_weights_from_before_the_step_in_which_a_process_leaves() {
    let graph = graph();
    let found = in_processes(&[1, 1, 1], &graph, 9, |job, towers| {
        let mut train = |number: u32| {
            let own = own(&batch(u64::from(number), 9, SHAPE), &job.seats());
            towers.train(&own, &step(number, 9))
        };
        train(0).expect("a step");
        if job.rank() != 1 {
            let error = train(1).expect_err("one has left");
            assert!(error.is::<Left>(), "{error:#}");
        }
        held(towers)
    });
    assert!(found.iter().all(|other| *other == found[0]));
}

/// Two layers that take statistics of a whole batch, between and behind which there are gradients.
fn normalized() -> Arc<Graph> {
    let listed = |kind, layer: Arc<dyn Layer>| ListedLayer::of(kind, layer);
    let conv = || {
        let layer: Conv2d =
            serde_json::from_str(r#"{ "channels": 4, "kernel": 3 }"#).expect("valid fields");
        listed("conv2d", Arc::new(layer))
    };
    let norm = || {
        let layer: BatchNorm = serde_json::from_str("{}").expect("valid fields");
        listed("batch_norm", Arc::new(layer))
    };
    let last = tutorial::layers(0.05);
    let kept = |layer: &ListedLayer| {
        ["softmax_linear", "loss"].contains(&layer.name.as_deref().unwrap_or_default())
    };
    let layers = [conv(), norm(), conv(), norm()].into_iter();
    let layers: Vec<_> = layers.chain(last.into_iter().filter(kept)).collect();
    Arc::new(trainable(&layers, SHAPE, 10).expect("a valid network"))
}

/// One process has handed out a part of its gradient, and another one hands out nothing before the
/// end: until then it waits for statistics that never come.
#[test]
fn no_process_waits_for_one_whose_adapter_fails_between_statistics_of_the_batch() {
    const IMAGES: usize = 8;
    let errors = common::within(common::PATIENCE, || {
        let adapter = |rank: usize, _: usize| -> Arc<dyn Adapter> {
            match rank {
                0 => Arc::new(Wrapped::failing(cpu(), Fault::BackwardAfterRead, 0).in_buckets()),
                _ => cpu(),
            }
        };
        in_processes_of(&[1, 1], adapter, &normalized(), IMAGES, |job, towers| {
            let own = own(&batch(0, IMAGES, SHAPE), &job.seats());
            towers.train(&own, &step(0, IMAGES)).expect_err("an adapter is lost")
        })
    });
    assert!(format!("{:#}", errors[0]).contains("the device was lost"), "{:#}", errors[0]);
    assert!(errors[1].is::<Left>(), "{:#}", errors[1]);
}

/// Each adapter stops in the middle of each step until all of them are there.
#[test]
fn adapters_compute_their_parts_at_the_same_time() {
    const IMAGES: usize = 6;
    let graph = graph();
    let meeting = Arc::new(Barrier::new(3));
    let adapter = || -> Arc<dyn Adapter> {
        Arc::new(Wrapped::slow(cpu(), Duration::ZERO).meeting_at(Arc::clone(&meeting)))
    };
    let adapters = [adapter(), adapter(), adapter()];
    common::within(common::PATIENCE, move || {
        let mut towers = towers(&adapters, &graph, IMAGES, rules(&Told::default()));
        after(&mut towers, 0..3, IMAGES);
    });
}

/// Adapters whose speeds are known: what they compute takes no time beside that which they sleep.
/// What else is at work on the machine may disturb the first measurements, but not all.
#[test]
fn a_faster_adapter_gets_the_larger_share() {
    const IMAGES: usize = 16;
    let graph = graph();
    let adapter = |millis: u64| -> Arc<dyn Adapter> {
        Arc::new(Wrapped::slow(cpu(), Duration::from_millis(millis)))
    };
    let adapters = [adapter(1), adapter(4)];
    common::within(common::PATIENCE, move || {
        let told = Told::default();
        let rules = Rules { follow_speed: true, ..rules(&told) };
        let mut towers = towers(&adapters, &graph, IMAGES, rules);
        let is_balanced =
            |change: &Change| change.shares["tower_0"] >= 2 * change.shares["tower_1"];
        let mut number = 0;
        while !told.changes().last().is_some_and(is_balanced) {
            after(&mut towers, number..number + 1, IMAGES);
            number += 1;
        }
    });
}
