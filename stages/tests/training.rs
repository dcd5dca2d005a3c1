//! Training and scoring on the `cpu` adapter: what is refused, what ends in an error, and numbers
//! that are known beforehand.

use std::sync::Arc;

use base::stop::Stop;
use compute::adapter::host::Cpu;
use compute::kernel::Step;
use compute::pass::Pass;
use compute::session::Session;
use config::diagnostic;
use flow::event::{Event, Message};
use flow::item::{Batch, Label, SampleId, Source};
use flow::plan::Plan;
use flow::reports::EvaluationReport;
use flow::stage::RunSettings;
use stages::model::compile::ListedLayer;
use stages::model::initializer::Initializer;
use stages::model::layers::dense::Dense;
use stages::model::layers::softmax_cross_entropy::SoftmaxCrossEntropy;
use stages::reducer::update::trainable;

/// A pipeline that trains and scores in an instant, with these settings.
fn load(set: &[(&str, &str)]) -> Result<Plan, String> {
    let text = "
        steps: 1
        adapter: cpu
        stages:
          read: { reader: { format: { synthetic: { train: 100, test: 1000 } }, split: train } }
          mix: { from: read, shuffler: {} }
          white: { from: mix, whitening: {} }
          batch: { from: white, batcher: { size: 32 } }
          gradients:
            from: batch
            model: { layers: [ { dense: { units: 10 } }, { softmax_cross_entropy: {} } ] }
          train: { from: gradients, reducer: { learning_rate: 0 } }
          read_test: { reader: { format: { synthetic: { test: 1000 } }, split: test } }
          mix_test: { from: read_test, shuffler: {} }
          white_test: { from: mix_test, whitening: {} }
          test: { from: white_test, batcher: { size: 128, partial: keep } }
          score: { from: [test, train], model: {} }
          evaluate: { from: score, evaluator: {} }";
    let set: Vec<_> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let kinds = stages::kinds(&stages::Catalog::default());
    let loaded = Plan::load(&kinds, "test.yaml", text, &set, &RunSettings::default());
    loaded.map(|(plan, _)| plan).map_err(|wrong| diagnostic::render(&wrong, false))
}

/// The evaluations of a run, or why it failed.
fn run(set: &[(&str, &str)]) -> Result<Vec<EvaluationReport>, String> {
    let plan = load(set).expect("a valid pipeline");
    let mut reports = Vec::new();
    let observe = |message: Message| {
        if let Event::Evaluation(report) = message.event {
            reports.push(report);
        }
    };
    let ran = flow::run::run(&plan, Stop::default(), observe);
    ran.map(|_| reports).map_err(|error| format!("{error:#}"))
}

/// The learning rates of a run's steps.
fn rates(set: &[(&str, &str)]) -> Vec<f64> {
    let log = ("summaries.scalars.steps", "1");
    let plan = load(&[set, &[log]].concat()).expect("a valid pipeline");
    let mut rates = Vec::new();
    let observe = |message: Message| {
        if let Event::Step(report) = message.event {
            rates.push(report.learning_rate);
        }
    };
    flow::run::run(&plan, Stop::default(), observe).expect("it runs");
    rates
}

#[test]
fn a_run_follows_its_schedule() {
    let field = "stages.train.reducer.learning_rate";
    let pieces = "{ piecewise: { initial: 0.1, then: [ { after: { images: 64 }, rate: 0.05 } ] } }";
    assert_eq!(rates(&[("steps", "4"), (field, pieces)]), [0.1, 0.1, 0.05, 0.05]);
    // To the end of the run, which is after 4 batches of 32.
    let line = "{ linear: { initial: 1 } }";
    assert_eq!(rates(&[("steps", "4"), (field, line)]), [1.0, 0.75, 0.5, 0.25]);
    // An epoch has 100 images.
    let warm = "{ linear: { initial: 1, final: 1, warm_up: { epochs: 0.64 } } }";
    assert_eq!(rates(&[("steps", "3"), (field, warm)]), [0.0, 0.5, 1.0]);
}

#[test]
fn every_mistake_of_a_reducer_is_told_with_its_place() {
    let wrong = load(&[
        ("stages.train.reducer.learning_rate", "{ linear: { initial: -1, over: { images: 0 } } }"),
        ("stages.train.reducer.optimizer", "{ adam: { beta1: 1 } }"),
        ("stages.train.reducer.clip_norm", "0"),
        ("stages.train.reducer.moving_average", "1"),
    ])
    .expect_err("four mistakes");
    for message in [
        "expected a rate from 0 upwards, found -1",
        "expected a length above 0, found 0 images",
        "expected a number from 0 to below 1, found 1",
        "expected a norm above 0, found 0",
        "expected a decay from 0 to below 1, found 1",
    ] {
        assert!(wrong.contains(message), "no {message:?} in {wrong}");
    }
}

#[test]
fn an_untrained_network_is_right_about_one_time_in_ten() {
    let reports = run(&[]).expect("it runs");
    let [report] = reports.as_slice() else { panic!("{reports:?}") };
    assert_eq!(report.images, 1_000);
    assert!((0.05..0.2).contains(&report.precision_at_1), "{report:?}");
}

#[test]
fn flows_without_whole_epochs_are_refused_for_scoring() {
    for set in [
        ("stages.test.batcher.partial", "carry"),
        ("stages.test.batcher.partial", "drop"),
        ("stages.mix_test.shuffler.mode", "queue"),
    ] {
        let wrong = load(&[set]).expect_err("it blurs epochs");
        assert!(wrong.contains("each image exactly once per pass"), "{wrong}");
        assert!(wrong.starts_with("error: score: ") && wrong.contains("partial: keep"), "{wrong}");
    }
    // Training may do without.
    assert!(load(&[("stages.mix.shuffler.mode", "queue")]).is_ok());
}

#[test]
fn a_run_that_ends_before_its_first_step_is_an_error() {
    let wrong = run(&[("steps", "null"), ("epochs", "1"), ("stages.batch.batcher.size", "128")]);
    let wrong = wrong.expect_err("nothing was trained");
    assert!(wrong.contains("ends before its first step: a batch has 128 images"), "{wrong}");
    assert!(wrong.contains("100 images"), "{wrong}");
}

#[test]
fn divergence_after_the_last_line_of_the_log_is_noticed() {
    for steps in ["2", "3"] {
        let wrong = run(&[
            ("steps", steps),
            ("stages.train.reducer.learning_rate", "1e38"),
            ("summaries.scalars.steps", "100"),
        ]);
        let wrong = wrong.expect_err("it diverges");
        assert!(wrong.contains("training has diverged"), "{steps} steps: {wrong}");
    }
}

#[test]
fn the_loss_of_soft_labels_is_that_of_the_formula() {
    const IMAGES: usize = 3;
    const VALUES: usize = 4;
    const CLASSES: usize = 5;
    let dense = Dense {
        units: CLASSES,
        weights: Initializer::TruncatedNormal(0.5),
        biases: Initializer::Constant(0.1),
        weight_decay: 0.0,
    };
    let layers = [
        ListedLayer::of("dense", Arc::new(dense)),
        ListedLayer::of("softmax_cross_entropy", Arc::new(SoftmaxCrossEntropy::default())),
    ];
    let graph = Arc::new(trainable(&layers, [2, 2, 1], CLASSES).expect("a valid model"));
    let cpu = Cpu::new(1).expect("the cpu adapter starts");
    let mut session = Session::new(&cpu, &graph, IMAGES).expect("it fits");
    session.initialize(5).expect("weights are drawn");

    let images: Vec<f32> = (0..IMAGES * VALUES).map(|at| (at as f32 * 0.7).sin()).collect();
    let shares: [[f32; CLASSES]; IMAGES] =
        [[0.5, 0.5, 0.0, 0.0, 0.0], [0.1, 0.2, 0.3, 0.15, 0.25], [0.0, 0.0, 0.0, 0.0, 1.0]];
    let mut read = |name: &str| -> Vec<f64> {
        let tensor = graph.find(name).expect("the model has it");
        let values = session.read(tensor).expect("it can be read");
        values.into_iter().map(f64::from).collect()
    };
    let (weights, biases) = (read("dense1/weights"), read("dense1/biases"));
    let loss = |image: &[f32], shares: &[f32]| -> f64 {
        let logit = |class: usize| {
            let products = image
                .iter()
                .enumerate()
                .map(|(at, value)| f64::from(*value) * weights[at * CLASSES + class]);
            biases[class] + products.sum::<f64>()
        };
        let all = (0..CLASSES).map(|class| logit(class).exp()).sum::<f64>().ln();
        let term = |(class, share): (usize, &f32)| f64::from(*share) * (all - logit(class));
        shares.iter().enumerate().map(term).sum()
    };
    let each: Vec<f64> =
        images.chunks(VALUES).zip(&shares).map(|(image, shares)| loss(image, shares)).collect();

    let batch = Batch {
        source: Arc::new(Source {
            description: String::new(),
            epoch_images: IMAGES as u64,
            split: String::new(),
            classes: Vec::new(),
            stands_in_for: None,
            limit: None,
            in_a_row: None,
        }),
        number: 0,
        ids: (0..IMAGES as u64).map(|index| SampleId { epoch: 0, index }).collect(),
        labels: shares.iter().map(|shares| Label::Distribution(Arc::from(*shares))).collect(),
        shape: [2, 2, 1],
        images: images.into(),
        whole: IMAGES,
        ends_epoch: true,
        pass: Pass::closed(IMAGES as u64, IMAGES as u64),
        samples_end: IMAGES as u64,
    };
    session.train(&batch, &Step::of(IMAGES)).expect("it trains");
    let found = f64::from(session.losses().expect("there is a loss")[0]);
    let expected = each.iter().sum::<f64>() / IMAGES as f64;
    assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    let scored = session.score(&batch).expect("it scores");
    for (found, expected) in scored.image_loss.iter().zip(&each) {
        assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} is not {expected}");
    }
}
