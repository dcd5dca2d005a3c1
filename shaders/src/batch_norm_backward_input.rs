//! The derivative of batch normalisation's input.

use compute::kernel::{Args, Binding, Extent::PerImage, Extent::Whole, Kernel, linear_workgroups};

use crate::batch_norm::{cases, inverse_deviations, length};
use crate::form::{WORKGROUP, only};
use crate::simd::vectorized;
use crate::strips::{Strips, in_strips, lanes};

/// `scale / deviation * (gradient - mean gradient - normal * mean of gradient times normal)`, where
/// `normal` is the normalised input and the means are over all that the statistics were taken of (Ioffe
/// and Szegedy, "Batch normalization", 2015).
pub static KERNEL: Kernel = Kernel {
    name: "batch_norm_backward_input",
    about: "Gives a normalisation's gradient back to its input.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("output_gradients", PerImage),
        Binding::read("mean", Whole),
        Binding::read("variance", Whole),
        Binding::read("scale", Whole),
        Binding::read("gradient_means", Whole),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| {
        let (image, channels) = (length(c), c.size("CHANNELS"));
        vec![image, image, channels, channels, channels, 2 * channels, image]
    },
    terms: |_, _| 6,
    variants: &[only(
        "batch_norm_backward_input",
        include_str!("../batch_norm_backward_input.wgsl"),
        |c, images| linear_workgroups(images * length(c), WORKGROUP),
    )],
    cpu,
    reference,
    cases,
};

fn cpu(args: &mut Args<'_, f32>) {
    let work = Back {
        input: args.read("input"),
        gradients: args.read("output_gradients"),
        mean: args.read("mean"),
        variance: args.read("variance"),
        scale: args.read("scale"),
        means: args.read("gradient_means"),
        epsilon: args.constants.real("EPSILON") as f32,
        to: args.write("input_gradients"),
    };
    give_back(args.isa, work);
}

struct Back<'a> {
    input: &'a [f32],
    gradients: &'a [f32],
    mean: &'a [f32],
    variance: &'a [f32],
    scale: &'a [f32],
    means: &'a [f32],
    epsilon: f32,
    to: &'a mut [f32],
}

vectorized! {
    fn give_back(work: Back<'_>) {
        let mut work = work;
        in_strips(work.mean.len(), &mut work);
    }
}

impl Strips for Back<'_> {
    #[inline(always)]
    fn strip<const N: usize>(&mut self, first: usize) {
        let channels = self.mean.len();
        let (mean, scale) = (lanes::<N>(self.mean, first), lanes::<N>(self.scale, first));
        let inverse = inverse_deviations::<N>(self.variance, first, self.epsilon);
        let means = lanes::<N>(self.means, first);
        let mut slopes = lanes::<N>(self.means, channels + first);
        let mut factor = scale;
        for i in 0..N {
            slopes[i] *= inverse[i];
            factor[i] *= inverse[i];
        }
        let rows = self.input.chunks_exact(channels).zip(self.gradients.chunks_exact(channels));
        for ((input, gradients), to) in rows.zip(self.to.chunks_exact_mut(channels)) {
            let (input, gradients) = (lanes::<N>(input, first), lanes::<N>(gradients, first));
            let to = &mut to[first..][..N];
            for i in 0..N {
                let rest = gradients[i] - means[i] - (input[i] - mean[i]) * slopes[i];
                to[i] = factor[i] * rest;
            }
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (channels, epsilon) = (args.size("CHANNELS"), args.constants.real("EPSILON"));
    let (input, gradients) = (args.read("input"), args.read("output_gradients"));
    let (mean, variance) = (args.read("mean"), args.read("variance"));
    let (scale, means) = (args.read("scale"), args.read("gradient_means"));
    let to = args.write("input_gradients");
    for at in 0..args.images() * args.size("POSITIONS") * channels {
        let channel = at % channels;
        let deviation = (variance[channel] + epsilon).sqrt();
        let normal = (input[at] - mean[channel]) / deviation;
        let rest = gradients[at] - means[channel] - normal * means[channels + channel];
        to[at] = scale[channel] / deviation * rest;
    }
}
