//! The loss of a classifier.

use compute::kernel::linear_workgroups;
use compute::kernel::{Args, Binding, Case, Constants, Extent::PerImage, Kernel};

use crate::form::{WORKGROUP, only};

/// The cross-entropy of the softmax of the logits against labels that are a distribution, and
/// its derivative for the mean over the batch: `(p_i * sum of l - l_i) / batch`.
///
/// In training the labels `l` are smoothed: `(1 - SMOOTHING) * label + SMOOTHING / CLASSES`.
pub static KERNEL: Kernel = Kernel {
    name: "softmax_cross_entropy",
    about: "Computes the cross-entropy of each image and its derivative.",
    bindings: &[
        Binding::read("logits", PerImage),
        Binding::read("labels", PerImage),
        Binding::write("image_loss", PerImage),
        Binding::write("logit_gradients", PerImage),
    ],
    lengths: |c| {
        let classes = c.size("CLASSES");
        vec![classes, classes, 1, classes]
    },
    terms: |c, _| c.size("CLASSES"),
    variants: &[only(
        "softmax_cross_entropy",
        include_str!("../softmax_cross_entropy.wgsl"),
        |_, images| linear_workgroups(images, WORKGROUP),
    )],
    cpu,
    reference,
    cases: || {
        let smoothed = |images, classes, soft: bool, smoothing| {
            let label = |i: usize| {
                let (image, class) = (i / classes, i % classes);
                let hot = f64::from(u8::from(class == (image * 7 + 3) % classes));
                if soft { 0.875 * hot + 0.125 / classes as f64 } else { hot }
            };
            let constants = Constants::default().with("CLASSES", classes);
            Case::new(images, constants.with_real("SMOOTHING", smoothing))
                .given("labels", (0..images * classes).map(label).collect())
        };
        let case = |images, classes, soft| smoothed(images, classes, soft, 0.0);
        // Logits of which only the differences are small: exp overflows beyond 89.
        let large = (0..3 * 7).map(|i| 300.0 + f64::from(i * 5 % 7)).collect();
        vec![
            case(1, 1, false),
            case(3, 7, true),
            case(3, 7, false).given("logits", large),
            case(33, 33, false),
            case(257, 10, true),
            case(2, 10, false),
            case(2, 1000, false),
            smoothed(33, 10, false, 0.1),
            smoothed(3, 7, true, 0.5),
        ]
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let classes = args.size("CLASSES");
    let batch = args.step.batch as f32;
    let smoothing = if args.step.training == 0 { 0.0 } else { args.constants.real("SMOOTHING") };
    let (kept, shared) = (1.0 - smoothing as f32, (smoothing / classes as f64) as f32);
    let target = |label: &f32| kept * label + shared;
    let logits = args.read("logits").chunks_exact(classes);
    let labels = args.read("labels").chunks_exact(classes);
    let losses = args.write("image_loss").iter_mut();
    let gradients = args.write("logit_gradients").chunks_exact_mut(classes);
    logits.zip(labels).zip(losses.zip(gradients)).for_each(
        |((logits, labels), (loss, gradients))| {
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for (gradient, logit) in gradients.iter_mut().zip(logits) {
                *gradient = (logit - largest).exp();
            }
            let sum: f32 = gradients.iter().sum();
            let log_sum = sum.ln();
            let labelled: f32 = labels.iter().map(target).sum();
            let terms = labels.iter().map(target).zip(logits);
            *loss = terms.map(|(label, logit)| label * (log_sum - (logit - largest))).sum();
            for (gradient, label) in gradients.iter_mut().zip(labels.iter().map(target)) {
                *gradient = (*gradient / sum * labelled - label) / batch;
            }
        },
    );
}

fn reference(args: &mut Args<'_, f64>) {
    let (logits, labels) = (args.read("logits"), args.read("labels"));
    let (loss, gradients) = (args.write("image_loss"), args.write("logit_gradients"));
    let classes = args.size("CLASSES");
    let smoothing = args.constants.real("SMOOTHING") * f64::from(args.step.training);
    let target = |i: usize| (1.0 - smoothing) * labels[i] + smoothing / classes as f64;
    for image in 0..args.images() {
        // The exponential of 300 is far from the end of f64.
        let sum: f64 = (0..classes).map(|i| logits[image * classes + i].exp()).sum();
        let labelled: f64 = (0..classes).map(|i| target(image * classes + i)).sum();
        loss[image] = 0.0;
        for i in image * classes..(image + 1) * classes {
            let probability = logits[i].exp() / sum;
            loss[image] -= target(i) * probability.ln();
            gradients[i] = (probability * labelled - target(i)) / f64::from(args.step.batch);
        }
    }
}
