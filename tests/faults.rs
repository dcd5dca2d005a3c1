//! Faults put into kernels on purpose: verification must find each in every form.

mod common;

use std::sync::Arc;

use compute::adapter::Adapter;
use compute::graph::{Graph, Node};
use compute::kernel::{Args, Constants, Kernel, Slot, Step, Variant};
use compute::precision::Precision;
use compute::session::Session;
use compute::verify::{self, network};
use stages::model::tutorial;
use stages::reducer::update::trainable;

/// A mistake that a kernel could contain.
struct Fault {
    name: &'static str,
    kernel: &'static Kernel,
    /// Replacements in the text of each variant, one after the other; each must find something.
    wgsl: &'static [(&'static str, &'static str)],
    cpu: fn(&mut Args<'_, f32>),
}

/// Takes effect where a bias is read, not in the declaration.
const NO_BIAS: &[(&str, &str)] = &[("biases[", "0.0 * biases[")];

/// Takes effect everywhere but in the declaration, which must keep its name.
const PADDING_SHIFT: &[(&str, &str)] =
    &[("PAD_LEFT", "(PAD_LEFT + 1u)"), ("override (PAD_LEFT + 1u)", "override PAD_LEFT")];

const FAULTS: &[Fault] = &[
    Fault {
        name: "alpha is divided by the window",
        kernel: &shaders::local_response_norm_forward::KERNEL,
        wgsl: &[("BIAS + ALPHA", "BIAS + ALPHA / 9.0")],
        cpu: |args| {
            change(args, "ALPHA", |alpha| alpha / 9.0);
            (shaders::local_response_norm_forward::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "alpha is divided by the window in the derivative",
        kernel: &shaders::local_response_norm_backward::KERNEL,
        wgsl: &[("BIAS + ALPHA", "BIAS + ALPHA / 9.0")],
        cpu: |args| {
            change(args, "ALPHA", |alpha| alpha / 9.0);
            (shaders::local_response_norm_backward::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "the convolution forgets its biases",
        kernel: &shaders::conv2d_forward::KERNEL,
        wgsl: NO_BIAS,
        cpu: |args| without_biases(args, &shaders::conv2d_forward::KERNEL),
    },
    Fault {
        name: "the dense layer forgets its biases",
        kernel: &shaders::dense_forward::KERNEL,
        wgsl: NO_BIAS,
        cpu: |args| without_biases(args, &shaders::dense_forward::KERNEL),
    },
    Fault {
        name: "the convolution is one column off",
        kernel: &shaders::conv2d_forward::KERNEL,
        wgsl: PADDING_SHIFT,
        cpu: |args| {
            change(args, "PAD_LEFT", |pad| pad + 1.0);
            (shaders::conv2d_forward::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "the convolution's derivative for its input is one column off",
        kernel: &shaders::conv2d_backward_input::KERNEL,
        wgsl: PADDING_SHIFT,
        cpu: |args| {
            change(args, "PAD_LEFT", |pad| pad + 1.0);
            (shaders::conv2d_backward_input::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "the convolution's derivative for its weights is one column off",
        kernel: &shaders::conv2d_backward_weights::KERNEL,
        wgsl: PADDING_SHIFT,
        cpu: |args| {
            change(args, "PAD_LEFT", |pad| pad + 1.0);
            (shaders::conv2d_backward_weights::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "the pool's windows are one column off",
        kernel: &shaders::max_pool_forward::KERNEL,
        wgsl: PADDING_SHIFT,
        cpu: |args| {
            change(args, "PAD_LEFT", |pad| pad + 1.0);
            (shaders::max_pool_forward::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "the pool's derivative goes one column off",
        kernel: &shaders::max_pool_backward::KERNEL,
        wgsl: PADDING_SHIFT,
        cpu: |args| {
            change(args, "PAD_LEFT", |pad| pad + 1.0);
            (shaders::max_pool_backward::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "the last of equal numbers wins the pool",
        kernel: &shaders::max_pool_forward::KERNEL,
        wgsl: &[("x > best", "x >= best")],
        cpu: |args| {
            let beaten: Vec<f32> = nudged(args.read("input"));
            let slots = vec![
                ("input", Slot::Read(&beaten)),
                ("output", Slot::Write(args.write("output"))),
                ("winners", Slot::WriteIndex(args.write_index("winners"))),
            ];
            let kernel = &shaders::max_pool_forward::KERNEL;
            (kernel.cpu)(&mut Args::new(args.constants, args.step, slots));
        },
    },
    Fault {
        name: "the exponentials overflow",
        kernel: &shaders::softmax_cross_entropy::KERNEL,
        wgsl: &[(" - largest", "")],
        cpu: softmax_of_plain_exponentials,
    },
    Fault {
        name: "the decay counts twice",
        kernel: &shaders::weight_decay_backward::KERNEL,
        wgsl: &[("FACTOR *", "2.0 * FACTOR *")],
        cpu: |args| {
            change(args, "FACTOR", |factor| 2.0 * factor);
            (shaders::weight_decay_backward::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "the later micro-batches replace the first",
        kernel: &shaders::sum_partials::KERNEL,
        wgsl: &[("step.accumulate != 0u", "step.accumulate > 1u")],
        cpu: |args| {
            change_step(args, |step| step.accumulate = 0);
            (shaders::sum_partials::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "the mean is over the micro-batch",
        kernel: &shaders::mean_over_images::KERNEL,
        wgsl: &[("f32(step.batch)", "f32(step.images)")],
        cpu: |args| {
            change_step(args, |step| step.batch = step.images);
            (shaders::mean_over_images::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "the means begin one too early",
        kernel: &shaders::mean_over_images::KERNEL,
        wgsl: &[("means[OFFSET + at]", "means[max(OFFSET, 1u) - 1u + at]")],
        cpu: |args| {
            change(args, "OFFSET", |offset| (offset - 1.0).max(0.0));
            (shaders::mean_over_images::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "the gradient goes up",
        kernel: &shaders::sgd_update::KERNEL,
        wgsl: &[("- step.learning_rate", "+ step.learning_rate")],
        cpu: |args| {
            change_step(args, |step| step.learning_rate *= -1.0);
            (shaders::sgd_update::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "the momentum is forgotten",
        kernel: &shaders::momentum_update::KERNEL,
        wgsl: &[("MOMENTUM * momentum[at]", "0.0 * momentum[at]")],
        cpu: |args| {
            change(args, "MOMENTUM", |_| 0.0);
            (shaders::momentum_update::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "the means are corrected for one step too few",
        kernel: &shaders::adam_update::KERNEL,
        wgsl: &[("f32(step.step) + 1.0", "f32(step.step)")],
        cpu: |args| {
            change_step(args, |step| step.step -= 1);
            (shaders::adam_update::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "the digits of the second beta are those of f32",
        kernel: &shaders::adam_update::KERNEL,
        wgsl: &[
            ("REST_2", "(1.0 - (1.0 - REST_2))"),
            ("override (1.0 - (1.0 - REST_2))", "override REST_2"),
        ],
        cpu: |args| {
            change(args, "REST_2", |rest| f64::from(1.0 - (1.0 - rest as f32)));
            (shaders::adam_update::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "short gradients are stretched to the norm",
        kernel: &shaders::clip_by_norm::KERNEL,
        wgsl: &[("norm > NORM", "norm > 0.0")],
        cpu: |args| {
            let scale = args.constants.real("NORM") as f32 / args.read("squares")[0].sqrt();
            if scale.is_finite() {
                args.write("gradients").iter_mut().for_each(|gradient| *gradient *= scale);
            }
        },
    },
    Fault {
        name: "an average takes what it should keep",
        kernel: &shaders::loss_average_update::KERNEL,
        wgsl: &[("- REST *", "- (1.0 - REST) *")],
        cpu: |args| {
            change(args, "REST", |rest| 1.0 - rest);
            (shaders::loss_average_update::KERNEL.cpu)(args);
        },
    },
    Fault {
        name: "only what is no number is flagged",
        kernel: &shaders::finite_flags::KERNEL,
        wgsl: &[("& EXPONENT) == EXPONENT", "& 0x7fffffffu) > EXPONENT")],
        cpu: |args| {
            let values = args.read("values");
            let finite: Vec<f32> =
                values.iter().map(|v| if v.is_infinite() { 0.0 } else { *v }).collect();
            let flags = args.write_index("flags");
            let slots = vec![("values", Slot::Read(&finite)), ("flags", Slot::WriteIndex(flags))];
            let kernel = &shaders::finite_flags::KERNEL;
            (kernel.cpu)(&mut Args::new(args.constants, args.step, slots));
        },
    },
    Fault {
        name: "infinite weights are not flagged",
        kernel: &shaders::moving_average_update::KERNEL,
        wgsl: &[("& EXPONENT) == EXPONENT", "& 0x7fffffffu) > EXPONENT")],
        cpu: |args| {
            let flags = args.write_index("flags");
            let before = flags.to_vec();
            let (weights, averages) = (args.read("weights"), args.write("averages"));
            let mut noted = before.clone();
            let slots = vec![
                ("weights", Slot::Read(weights)),
                ("averages", Slot::Write(averages)),
                ("flags", Slot::WriteIndex(&mut noted)),
            ];
            let kernel = &shaders::moving_average_update::KERNEL;
            (kernel.cpu)(&mut Args::new(args.constants, args.step, slots));
            if weights.iter().any(|weight| weight.is_nan()) {
                flags.copy_from_slice(&noted);
            }
        },
    },
    Fault {
        name: "a later step takes over a flag",
        kernel: &shaders::finite_flags::KERNEL,
        wgsl: &[(" && flags[OFFSET + stretch] == 0u", "")],
        cpu: |args| {
            let flags = args.write_index("flags");
            let offset = args.size("OFFSET");
            for (at, values) in args.read("values").chunks(4096).enumerate() {
                if values.iter().any(|value| !value.is_finite()) {
                    flags[offset + at] = args.step.step + 1;
                }
            }
        },
    },
    Fault {
        name: "labels are smoothed beyond one",
        kernel: &shaders::softmax_cross_entropy::KERNEL,
        wgsl: &[("(1.0 - smoothing) * f32(label)", "f32(label)")],
        cpu: |args| {
            // As if the labels were larger by what smoothing takes from them.
            let smoothing = args.constants.real("SMOOTHING") as f32;
            let labels = args.read("labels").iter().map(|label| label / (1.0 - smoothing));
            let labels: Vec<f32> = labels.collect();
            let slots = vec![
                ("logits", Slot::Read(args.read("logits"))),
                ("labels", Slot::Read(&labels)),
                ("image_loss", Slot::Write(args.write("image_loss"))),
                ("logit_gradients", Slot::Write(args.write("logit_gradients"))),
            ];
            let kernel = &shaders::softmax_cross_entropy::KERNEL;
            (kernel.cpu)(&mut Args::new(args.constants, args.step, slots));
        },
    },
];

/// The loss and its derivative without regard to the largest logit.
fn softmax_of_plain_exponentials(args: &mut Args<'_, f32>) {
    let classes = args.size("CLASSES");
    let logits = args.read("logits").chunks(classes);
    let labels = args.read("labels").chunks(classes);
    let losses = args.write("image_loss").iter_mut();
    let gradients = args.write("logit_gradients").chunks_mut(classes);
    for (((logits, labels), loss), gradients) in logits.zip(labels).zip(losses).zip(gradients) {
        let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
        let labelled: f32 = labels.iter().sum();
        *loss = logits.iter().zip(labels).map(|(logit, label)| label * (sum.ln() - logit)).sum();
        for ((gradient, logit), label) in gradients.iter_mut().zip(logits).zip(labels) {
            *gradient = (logit.exp() / sum * labelled - label) / args.step.batch as f32;
        }
    }
}

/// Has the kernel see another constant.
fn change(args: &mut Args<'_, f32>, name: &str, how: fn(f64) -> f64) {
    let pairs = args.constants.pairs().iter();
    let pairs: Vec<_> = pairs.map(|(n, v)| (*n, if *n == name { how(*v) } else { *v })).collect();
    args.constants = Box::leak(Box::new(Constants::new(&pairs)));
}

/// Has the kernel see another step.
fn change_step(args: &mut Args<'_, f32>, how: fn(&mut Step)) {
    let mut step = *args.step;
    how(&mut step);
    args.step = Box::leak(Box::new(step));
}

/// Has the kernel see biases of zero.
fn without_biases(args: &mut Args<'_, f32>, kernel: &Kernel) {
    let zeros = vec![0.0; args.read("biases").len()];
    let slots = vec![
        ("input", Slot::Read(args.read("input"))),
        ("weights", Slot::Read(args.read("weights"))),
        ("biases", Slot::Read(&zeros)),
        ("output", Slot::Write(args.write("output"))),
    ];
    (kernel.cpu)(&mut Args::new(args.constants, args.step, slots));
}

/// The same numbers, later ones raised by less than any bound, so that of equal ones in a window
/// a later one often comes out larger.
fn nudged(values: &[f32]) -> Vec<f32> {
    let nudge = |(i, value): (usize, &f32)| value + 1e-7 * (i as f32 / values.len() as f32);
    values.iter().enumerate().map(nudge).collect()
}

/// The faulty kernel, of which a graph may keep a reference forever.
fn faulty(fault: &Fault) -> &'static Kernel {
    let variants = fault.kernel.variants.iter().map(|variant| {
        let mut text = variant.wgsl.to_owned();
        for (right, wrong) in fault.wgsl {
            assert!(text.contains(right), "{}: no {right:?} in {}", fault.name, variant.name);
            text = text.replace(right, wrong);
        }
        Variant { wgsl: text.leak(), ..*variant }
    });
    let variants = variants.collect::<Vec<_>>().leak();
    Box::leak(Box::new(Kernel { variants, cpu: fault.cpu, ..fault.kernel.clone() }))
}

fn check(adapter: &dyn Adapter) {
    for fault in FAULTS {
        let outcomes = verify::until_failure(adapter, faulty(fault), Precision::F32)
            .unwrap_or_else(|error| panic!("{}: {error:#}", fault.name));
        let mut variants: Vec<&str> = outcomes.iter().map(|outcome| outcome.variant).collect();
        variants.sort_unstable();
        variants.dedup();
        for variant in variants {
            let found = outcomes.iter().find(|o| o.variant == variant && !o.passed);
            match found {
                Some(outcome) => println!("{}: {outcome}", fault.name),
                None => panic!("{}: {variant} passes with it", fault.name),
            }
        }
    }
}

#[test]
fn verification_finds_faults_in_the_cpu_forms() {
    check(&common::cpu(0));
}

#[test]
fn verification_finds_faults_in_the_wgsl_forms() {
    // The faults are in the text, so one adapter shows them as well as all.
    if let Some(adapter) = common::gpus().first() {
        check(adapter);
    }
}

/// The end of the tutorial's network, on images of a few pixels.
fn small_network() -> Graph {
    trainable(&tutorial::layers(0.05).split_off(12), [3, 2, 3], 10).expect("a valid network")
}

/// The largest difference between the averages on an adapter and those of the weights that it had
/// after each of a few steps.
fn error_of_averages(adapter: &dyn Adapter, graph: Graph) -> f64 {
    let (graph, images, decay) = (Arc::new(graph), 5, 0.75);
    let mut session = Session::new(adapter, &graph, images).expect("it fits");
    session.initialize(1).expect("it takes weights");
    let read = |session: &mut Session, id| -> Vec<f64> {
        session.read(id).expect("it reads").into_iter().map(f64::from).collect()
    };
    let values = graph.parameters.iter().map(|parameter| parameter.value);
    let mut expected: Vec<_> = values.map(|value| read(&mut session, value)).collect();
    for number in 0..3 {
        let batch = network::fixed_batch(&graph, images, number).expect("a batch");
        let step = Step { learning_rate: 0.1, average_decay: 0.75, ..Step::of(images) };
        session.train(&batch, &step).expect("it trains");
        for (parameter, averages) in graph.parameters.iter().zip(&mut expected) {
            let weights = read(&mut session, parameter.value);
            for (average, weight) in averages.iter_mut().zip(weights) {
                *average = decay * *average + (1.0 - decay) * weight;
            }
        }
    }
    let mut worst = 0.0_f64;
    for (parameter, averages) in graph.parameters.iter().zip(expected) {
        let actual = read(&mut session, parameter.average);
        worst = actual.iter().zip(averages).fold(worst, |worst, (a, e)| worst.max((a - e).abs()));
    }
    worst
}

#[test]
fn averages_are_of_the_weights_after_each_step() {
    const BOUND: f64 = 1e-6;
    let right = small_network();
    let mut wrong = right.clone();
    // Kernels keep their order otherwise: this is a stable sort.
    wrong.update.sort_by_key(|node| match node {
        Node::Run(op) => op.kernel.name != "moving_average_update",
        Node::AllReduce(_) => true,
    });
    let adapter = common::cpu(1);
    let error = error_of_averages(&adapter, right);
    assert!(error <= BOUND, "{error}");
    let error = error_of_averages(&adapter, wrong);
    assert!(error > 100.0 * BOUND, "averages before the weights pass with {error}");
}
