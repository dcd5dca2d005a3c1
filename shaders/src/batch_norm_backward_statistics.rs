//! The sums behind the derivative of batch normalisation.

use compute::kernel::{Args, Binding, Extent::PerImage, Extent::PerPart, Extent::Whole, Kernel};

use crate::batch_norm::{WORKGROUP_CHANNELS, cases, inverse_deviations, length};
use crate::form::only;
use crate::simd::vectorized;
use crate::strips::{Strips, in_strips, lanes};

/// For each part of the images, as [`crate::batch_norm_statistics`] has them: each channel's sum of the
/// gradients, then each channel's sum of the gradients times the normalised input.
pub static KERNEL: Kernel = Kernel {
    name: "batch_norm_backward_statistics",
    about: "Sums each channel's gradients, alone and times the normalised input, in several parts.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("output_gradients", PerImage),
        Binding::read("mean", Whole),
        Binding::read("variance", Whole),
        Binding::write("partials", PerPart("SPLITS")),
    ],
    lengths: |c| {
        let channels = c.size("CHANNELS");
        vec![length(c), length(c), channels, channels, c.size("SPLITS") * 2 * channels]
    },
    terms: |c, images| images.div_ceil(c.size("SPLITS")) * c.size("POSITIONS") + 2,
    variants: &[only(
        "batch_norm_backward_statistics",
        include_str!("../batch_norm_backward_statistics.wgsl"),
        |c, _| {
            let groups = c.size("CHANNELS").div_ceil(WORKGROUP_CHANNELS);
            [groups as u32, c.size("SPLITS") as u32, 1]
        },
    )],
    cpu,
    reference,
    cases,
};

fn cpu(args: &mut Args<'_, f32>) {
    let work = Sums {
        input: args.read("input"),
        gradients: args.read("output_gradients"),
        mean: args.read("mean"),
        variance: args.read("variance"),
        epsilon: args.constants.real("EPSILON") as f32,
        partials: args.write("partials"),
    };
    add_images(args.isa, work, length(args.constants));
}

/// The images at hand; or one, which is added to the sums of those before it.
struct Sums<'a> {
    input: &'a [f32],
    gradients: &'a [f32],
    mean: &'a [f32],
    variance: &'a [f32],
    epsilon: f32,
    partials: &'a mut [f32],
}

vectorized! {
    fn add_images(all: Sums<'_>, image: usize) {
        let Sums { partials, .. } = all;
        let images = all.input.chunks_exact(image).zip(all.gradients.chunks_exact(image));
        for (input, gradients) in images {
            let mut one = Sums { input, gradients, partials: &mut *partials, ..all };
            in_strips(all.mean.len(), &mut one);
        }
    }
}

impl Strips for Sums<'_> {
    #[inline(always)]
    fn strip<const N: usize>(&mut self, first: usize) {
        let channels = self.mean.len();
        let mean = lanes::<N>(self.mean, first);
        let inverse = inverse_deviations::<N>(self.variance, first, self.epsilon);
        let rows = self.input.chunks_exact(channels).zip(self.gradients.chunks_exact(channels));
        let (mut sums, mut products) = ([0.0; N], [0.0; N]);
        for (input, gradients) in rows {
            let (input, gradients) = (lanes::<N>(input, first), lanes::<N>(gradients, first));
            for i in 0..N {
                sums[i] += gradients[i];
                products[i] += gradients[i] * (input[i] - mean[i]);
            }
        }
        let (of_sums, of_products) = self.partials.split_at_mut(channels);
        let (of_sums, of_products) = (&mut of_sums[first..][..N], &mut of_products[first..][..N]);
        for i in 0..N {
            of_sums[i] += sums[i];
            of_products[i] += products[i] * inverse[i];
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name);
    let (positions, channels, splits) = (size("POSITIONS"), size("CHANNELS"), size("SPLITS"));
    let epsilon = args.constants.real("EPSILON");
    let (images, input, gradients) =
        (args.images(), args.read("input"), args.read("output_gradients"));
    let (mean, variance) = (args.read("mean"), args.read("variance"));
    let images_of_part = images.div_ceil(splits);
    let partials = args.write("partials");
    for (split, part) in partials.chunks_exact_mut(2 * channels).enumerate() {
        let first = (split * images_of_part).min(images);
        let last = (first + images_of_part).min(images);
        part.fill(0.0);
        for at in first * positions * channels..last * positions * channels {
            let channel = at % channels;
            let normal = (input[at] - mean[channel]) / (variance[channel] + epsilon).sqrt();
            part[channel] += gradients[at];
            part[channels + channel] += gradients[at] * normal;
        }
    }
}
