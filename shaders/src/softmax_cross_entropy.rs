//! The loss of a classifier.

use rayon::prelude::*;
use runtime::kernel::linear_workgroups;
use runtime::kernel::{Args, Binding, Case, Constants, Extent::PerImage, Kernel};

use crate::form::{WORKGROUP, only};

/// The cross-entropy of the softmax of the logits against labels that are a distribution, and
/// its derivative for the mean over the batch: `(p_i * sum of l - l_i) / batch`.
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
        let case = |images, classes, soft: bool| {
            let label = |i: usize| {
                let (image, class) = (i / classes, i % classes);
                let hot = f64::from(u8::from(class == (image * 7 + 3) % classes));
                if soft { 0.875 * hot + 0.125 / classes as f64 } else { hot }
            };
            Case::new(images, Constants::default().with("CLASSES", classes))
                .given("labels", (0..images * classes).map(label).collect())
        };
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
        ]
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let classes = args.size("CLASSES");
    let batch = args.step.batch as f32;
    let logits = args.read("logits").par_chunks(classes);
    let labels = args.read("labels").par_chunks(classes);
    let losses = args.write("image_loss").par_iter_mut();
    let gradients = args.write("logit_gradients").par_chunks_mut(classes);
    logits.zip(labels).zip(losses.zip(gradients)).for_each(
        |((logits, labels), (loss, gradients))| {
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for (gradient, logit) in gradients.iter_mut().zip(logits) {
                *gradient = (logit - largest).exp();
            }
            let sum: f32 = gradients.iter().sum();
            let log_sum = sum.ln();
            let labelled: f32 = labels.iter().sum();
            let terms = labels.iter().zip(logits);
            *loss = terms.map(|(label, logit)| label * (log_sum - (logit - largest))).sum();
            for (gradient, label) in gradients.iter_mut().zip(labels) {
                *gradient = (*gradient / sum * labelled - label) / batch;
            }
        },
    );
}

fn reference(args: &mut Args<'_, f64>) {
    let (logits, labels) = (args.read("logits"), args.read("labels"));
    let (loss, gradients) = (args.write("image_loss"), args.write("logit_gradients"));
    let classes = args.size("CLASSES");
    for image in 0..args.images() {
        // The exponential of 300 is far from the end of f64.
        let sum: f64 = (0..classes).map(|i| logits[image * classes + i].exp()).sum();
        let labelled: f64 = (0..classes).map(|i| labels[image * classes + i]).sum();
        loss[image] = 0.0;
        for i in image * classes..(image + 1) * classes {
            let probability = logits[i].exp() / sum;
            loss[image] -= labels[i] * probability.ln();
            gradients[i] = (probability * labelled - labels[i]) / f64::from(args.step.batch);
        }
    }
}
