//! The derivative of batch normalisation's input where its statistics are given.

use compute::kernel::{Args, Binding, Extent::PerImage, Extent::Whole, Kernel, linear_workgroups};

use crate::batch_norm::{cases, inverse_deviations, length};
use crate::form::{WORKGROUP, only};
use crate::simd::vectorized;
use crate::strips::{Strips, in_strips, lanes};

/// `scale / sqrt(variance + EPSILON) * gradient`: statistics that are given do not depend on the
/// input.
pub static KERNEL: Kernel = Kernel {
    name: "batch_norm_backward_frozen",
    about: "Gives the gradient of a normalisation with given statistics back to its input.",
    bindings: &[
        Binding::read("output_gradients", PerImage),
        Binding::read("variance", Whole),
        Binding::read("scale", Whole),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| {
        let channels = c.size("CHANNELS");
        vec![length(c), channels, channels, length(c)]
    },
    terms: |_, _| 2,
    variants: &[only(
        "batch_norm_backward_frozen",
        include_str!("../batch_norm_backward_frozen.wgsl"),
        |c, images| linear_workgroups(images * length(c), WORKGROUP),
    )],
    cpu,
    reference,
    cases,
};

fn cpu(args: &mut Args<'_, f32>) {
    let work = Back {
        gradients: args.read("output_gradients"),
        variance: args.read("variance"),
        scale: args.read("scale"),
        epsilon: args.constants.real("EPSILON") as f32,
        to: args.write("input_gradients"),
    };
    give_back(args.isa, work);
}

struct Back<'a> {
    gradients: &'a [f32],
    variance: &'a [f32],
    scale: &'a [f32],
    epsilon: f32,
    to: &'a mut [f32],
}

vectorized! {
    fn give_back(work: Back<'_>) {
        let mut work = work;
        in_strips(work.scale.len(), &mut work);
    }
}

impl Strips for Back<'_> {
    #[inline(always)]
    fn strip<const N: usize>(&mut self, first: usize) {
        let channels = self.scale.len();
        let mut factor = inverse_deviations::<N>(self.variance, first, self.epsilon);
        let scale = lanes::<N>(self.scale, first);
        for i in 0..N {
            factor[i] *= scale[i];
        }
        let rows = self.gradients.chunks_exact(channels);
        for (gradients, to) in rows.zip(self.to.chunks_exact_mut(channels)) {
            let gradients = lanes::<N>(gradients, first);
            let to = &mut to[first..][..N];
            for i in 0..N {
                to[i] = gradients[i] * factor[i];
            }
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (channels, epsilon) = (args.size("CHANNELS"), args.constants.real("EPSILON"));
    let (gradients, variance) = (args.read("output_gradients"), args.read("variance"));
    let scale = args.read("scale");
    let to = args.write("input_gradients");
    for at in 0..args.images() * args.size("POSITIONS") * channels {
        let channel = at % channels;
        to[at] = scale[channel] / (variance[channel] + epsilon).sqrt() * gradients[at];
    }
}
