//! The mean over the batch.

use compute::kernel::{Args, Binding, Case, Constants, Extent, Kernel, linear_workgroups};
use rayon::prelude::*;

use crate::form::only;

/// Means that a thread takes at once. Fixed, so that the number of threads changes no result.
const MEANS: usize = 1 << 10;

/// `means[OFFSET + i] = sum of image_values[i] over the images / batch`, added to what is there
/// in micro-batches after the first. The other elements of `means` stay as they are.
pub static KERNEL: Kernel = Kernel {
    name: "mean_over_images",
    about: "Takes the mean over the batch.",
    bindings: &[
        Binding::read("image_values", Extent::PerImage),
        Binding::write("means", Extent::Summed),
    ],
    lengths: |c| vec![c.size("LENGTH"), c.size("TOTAL")],
    terms: |_, images| images + 1,
    variants: &[only("mean_over_images", include_str!("../mean_over_images.wgsl"), |c, _| {
        linear_workgroups(c.size("LENGTH"), 1)
    })],
    cpu,
    reference,
    cases: || {
        let case = |images, length, offset, total| {
            let constants = Constants::default()
                .with("LENGTH", length)
                .with("OFFSET", offset)
                .with("TOTAL", total);
            Case::new(images, constants)
        };
        vec![
            case(1, 1, 0, 1),
            case(3, 7, 2, 11),
            case(3, 7, 2, 11).accumulating(),
            case(33, 33, 0, 33),
            case(5, 257, 1, 258).accumulating(),
            case(2, 5000, 7, 5100),
            // More images than invocations in a workgroup, and not a power of two.
            case(1000, 3, 1, 5).accumulating(),
            case(70_001, 1, 0, 1),
            // The loss of the tutorial's network, of its usual batch.
            case(128, 1, 0, 3),
        ]
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let (length, offset) = (args.size("LENGTH"), args.size("OFFSET"));
    let (accumulate, batch) = (args.step.accumulate != 0, args.step.batch as f32);
    let values = args.read("image_values");
    let means = &mut args.write("means")[offset..][..length];
    means.par_chunks_mut(MEANS).enumerate().for_each(|(chunk, means)| {
        let mut sums = [0.0; MEANS];
        for image in values.chunks_exact(length) {
            let image = &image[chunk * MEANS..][..means.len()];
            sums.iter_mut().zip(image).for_each(|(sum, value)| *sum += value);
        }
        for (mean, sum) in means.iter_mut().zip(sums) {
            *mean = if accumulate { *mean + sum / batch } else { sum / batch };
        }
    });
}

fn reference(args: &mut Args<'_, f64>) {
    let (values, means) = (args.read("image_values"), args.write("means"));
    let (length, offset) = (args.size("LENGTH"), args.size("OFFSET"));
    for i in 0..length {
        let sum: f64 = (0..args.images()).map(|image| values[image * length + i]).sum();
        if args.step.accumulate == 0 {
            means[offset + i] = 0.0;
        }
        means[offset + i] += sum / f64::from(args.step.batch);
    }
}
