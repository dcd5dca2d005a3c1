//! The derivative of batch normalisation's scale and offset.

use compute::kernel::{
    Args, Binding, Case, Extent::Summed, Extent::Whole, Kernel, linear_workgroups,
};

use crate::batch_norm::sizes;
use crate::form::{WORKGROUP, only};

/// Puts the sums of [`crate::batch_norm_backward_statistics`] together: they are the gradients of
/// offset and scale, added to what is there in micro-batches after the first. Divided by the positions
/// of the images at hand, they are the means that the gradient of the input takes away.
pub static KERNEL: Kernel = Kernel {
    name: "batch_norm_backward_weights",
    about: "Gives a normalisation's gradient to its scale and offset.",
    bindings: &[
        Binding::read("partials", Summed),
        Binding::write("scale_gradients", Summed),
        Binding::write("offset_gradients", Summed),
        Binding::write("gradient_means", Whole),
    ],
    lengths: |c| {
        let channels = c.size("CHANNELS");
        vec![c.size("SPLITS") * 2 * channels, channels, channels, 2 * channels]
    },
    terms: |c, _| c.size("SPLITS") + 1,
    variants: &[only(
        "batch_norm_backward_weights",
        include_str!("../batch_norm_backward_weights.wgsl"),
        |c, _| linear_workgroups(c.size("CHANNELS"), WORKGROUP),
    )],
    cpu,
    reference,
    cases: || {
        let cases = sizes().into_iter().flat_map(|(images, constants)| {
            let case = Case::new(images, constants);
            [case.clone(), case.accumulating()]
        });
        cases.collect()
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let channels = args.size("CHANNELS");
    let positions = args.images() as f32 * args.size("POSITIONS") as f32;
    let accumulate = args.step.accumulate != 0;
    let partials = args.read("partials");
    let gradients = [args.write("offset_gradients"), args.write("scale_gradients")];
    // The sums, until they are divided.
    let means = args.write("gradient_means");
    means.fill(0.0);
    for part in partials.chunks_exact(2 * channels) {
        means.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    for (gradients, sums) in gradients.into_iter().zip(means.chunks_exact(channels)) {
        for (gradient, sum) in gradients.iter_mut().zip(sums) {
            *gradient = if accumulate { *gradient + sum } else { *sum };
        }
    }
    means.iter_mut().for_each(|mean| *mean /= positions);
}

fn reference(args: &mut Args<'_, f64>) {
    let (channels, splits) = (args.size("CHANNELS"), args.size("SPLITS"));
    let positions = (args.images() * args.size("POSITIONS")) as f64;
    let (partials, means) = (args.read("partials"), args.write("gradient_means"));
    let gradients = [args.write("offset_gradients"), args.write("scale_gradients")];
    for (kind, gradients) in gradients.into_iter().enumerate() {
        for (channel, gradient) in gradients.iter_mut().enumerate() {
            let at = kind * channels + channel;
            let sum: f64 = (0..splits).map(|split| partials[split * 2 * channels + at]).sum();
            if args.step.accumulate == 0 {
                *gradient = 0.0;
            }
            *gradient += sum;
            means[at] = sum / positions;
        }
    }
}
