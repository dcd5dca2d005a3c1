//! Batch normalisation with given statistics.

use compute::kernel::{Args, Binding, Extent::PerImage, Extent::Whole, Kernel, linear_workgroups};

use crate::batch_norm::{cases, inverse_deviations, length};
use crate::form::{WORKGROUP, only};
use crate::simd::vectorized;
use crate::strips::{Strips, in_strips, lanes};

/// `output = scale * (input - mean) / sqrt(variance + EPSILON) + offset`, each channel with its own.
pub static KERNEL: Kernel = Kernel {
    name: "batch_norm_forward",
    about: "Takes each channel's mean away, divides by its deviation, scales and shifts.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("mean", Whole),
        Binding::read("variance", Whole),
        Binding::read("scale", Whole),
        Binding::read("offset", Whole),
        Binding::write("output", PerImage),
    ],
    lengths: |c| {
        let channels = c.size("CHANNELS");
        vec![length(c), channels, channels, channels, channels, length(c)]
    },
    terms: |_, _| 4,
    variants: &[only(
        "batch_norm_forward",
        include_str!("../batch_norm_forward.wgsl"),
        |c, images| linear_workgroups(images * length(c), WORKGROUP),
    )],
    cpu,
    reference,
    cases,
};

fn cpu(args: &mut Args<'_, f32>) {
    let work = Normalize {
        input: args.read("input"),
        mean: args.read("mean"),
        variance: args.read("variance"),
        scale: args.read("scale"),
        offset: args.read("offset"),
        epsilon: args.constants.real("EPSILON") as f32,
        output: args.write("output"),
    };
    normalize(args.isa, work);
}

struct Normalize<'a> {
    input: &'a [f32],
    mean: &'a [f32],
    variance: &'a [f32],
    scale: &'a [f32],
    offset: &'a [f32],
    epsilon: f32,
    output: &'a mut [f32],
}

vectorized! {
    fn normalize(work: Normalize<'_>) {
        let mut work = work;
        in_strips(work.mean.len(), &mut work);
    }
}

impl Strips for Normalize<'_> {
    #[inline(always)]
    fn strip<const N: usize>(&mut self, first: usize) {
        let channels = self.mean.len();
        let (mean, offset) = (lanes::<N>(self.mean, first), lanes::<N>(self.offset, first));
        let mut factor = inverse_deviations::<N>(self.variance, first, self.epsilon);
        let scale = lanes::<N>(self.scale, first);
        for i in 0..N {
            factor[i] *= scale[i];
        }
        let rows = self.input.chunks_exact(channels);
        for (input, output) in rows.zip(self.output.chunks_exact_mut(channels)) {
            let input = lanes::<N>(input, first);
            let output = &mut output[first..][..N];
            for i in 0..N {
                output[i] = (input[i] - mean[i]) * factor[i] + offset[i];
            }
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (channels, epsilon) = (args.size("CHANNELS"), args.constants.real("EPSILON"));
    let (input, mean, variance) = (args.read("input"), args.read("mean"), args.read("variance"));
    let (scale, offset) = (args.read("scale"), args.read("offset"));
    let output = args.write("output");
    for at in 0..args.images() * args.size("POSITIONS") * channels {
        let channel = at % channels;
        let normal = (input[at] - mean[channel]) / (variance[channel] + epsilon).sqrt();
        output[at] = scale[channel] * normal + offset[channel];
    }
}
