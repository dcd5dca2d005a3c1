//! The derivative of biases.

use compute::kernel::{Args, Binding, Case, Constants, Extent::PerImage, Extent::PerPart, Kernel};

use crate::form::only;
use crate::simd::vectorized;

/// Channels of a workgroup.
const WORKGROUP_CHANNELS: usize = 32;

/// `partials[s][c] = sum of output_gradients[position][c]` over the positions of the images of
/// split s. A split is the next `images / SPLITS` images, rounded up; the last splits may be left
/// with none, and are then 0.
pub static KERNEL: Kernel = Kernel {
    name: "bias_backward",
    about: "Gives a layer's gradient to its biases, in several sums over images.",
    bindings: &[
        Binding::read("output_gradients", PerImage),
        Binding::write("partials", PerPart("SPLITS")),
    ],
    lengths: |c| {
        let channels = c.size("CHANNELS");
        vec![c.size("POSITIONS") * channels, c.size("SPLITS") * channels]
    },
    terms: |c, images| images.div_ceil(c.size("SPLITS")) * c.size("POSITIONS"),
    variants: &[only("bias_backward", include_str!("../bias_backward.wgsl"), |c, _| {
        [c.size("CHANNELS").div_ceil(WORKGROUP_CHANNELS) as u32, c.size("SPLITS") as u32, 1]
    })],
    cpu,
    reference,
    cases: || {
        let case = |images, positions, channels, splits| {
            let constants = Constants::default()
                .with("POSITIONS", positions)
                .with("CHANNELS", channels)
                .with("SPLITS", splits);
            Case::new(images, constants)
        };
        vec![
            case(1, 1, 1, 1),
            case(3, 7, 33, 2),
            case(5, 9, 64, 16),
            case(33, 1, 10, 16),
            // Splits of more positions than the iterations that some drivers allow an invocation.
            case(9, 256 * 256, 1, 1),
            // The biases of the tutorial's first convolution and first dense layer.
            case(2, 24 * 24, 64, 16),
            case(128, 1, 384, 16),
        ]
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    add_rows(args.isa, args.read("output_gradients"), args.write("partials"));
}

vectorized! {
    fn add_rows(rows: &[f32], sums: &mut [f32]) {
        for row in rows.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name);
    let (positions, channels, splits) = (size("POSITIONS"), size("CHANNELS"), size("SPLITS"));
    let (images, gradients) = (args.images(), args.read("output_gradients"));
    let split_images = images.div_ceil(splits);
    let sums = args.write("partials");
    for split in 0..splits {
        for channel in 0..channels {
            let mut sum = 0.0;
            for image in split * split_images..((split + 1) * split_images).min(images) {
                for position in 0..positions {
                    sum += gradients[(image * positions + position) * channels + channel];
                }
            }
            sums[split * channels + channel] = sum;
        }
    }
}
