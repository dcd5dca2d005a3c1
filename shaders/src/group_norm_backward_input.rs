//! The derivative of group normalisation's input.

use compute::kernel::{Args, Binding, Extent::PerImage, Extent::Whole, Kernel, linear_workgroups};

use crate::form::only;
use crate::group_norm::{
    GradientSums, Groups, ROWS, Statistics, cases, channels, group_length, length, moments, places,
};
use crate::scratch::with_scratch;
use crate::simd::vectorized;
use crate::strips::{Strips, in_strips, lanes};
use crate::wgsl;

/// `(slope - mean slope - normal * mean of slope times normal) / deviation`, where `slope` is the scale
/// times the output's gradient, `normal` is the normalised input, and the means are over the group.
pub static KERNEL: Kernel = Kernel {
    name: "group_norm_backward_input",
    about: "Gives a group normalisation's gradient back to its input.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("output_gradients", PerImage),
        Binding::read("scale", Whole),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| vec![length(c), length(c), channels(c), length(c)],
    terms: |c, _| group_length(c) + 6,
    variants: &[only(
        "group_norm_backward_input",
        wgsl!([ELEMENT, STEP, LINEAR, GROUP_NORM], "../group_norm_backward_input.wgsl"),
        |c, images| linear_workgroups(images * c.size("GROUPS"), 1),
    )],
    cpu,
    reference,
    cases,
};

fn cpu(args: &mut Args<'_, f32>) {
    let groups = Groups::from(args.constants);
    let work = Back {
        input: args.read("input"),
        gradients: args.read("output_gradients"),
        scale: args.read("scale"),
        to: args.write("input_gradients"),
    };
    with_scratch((ROWS + 2) * groups.channels, |rows| {
        give_back(args.isa, groups, length(args.constants), work, rows);
    });
}

/// The images at hand.
struct Back<'a> {
    input: &'a [f32],
    gradients: &'a [f32],
    scale: &'a [f32],
    to: &'a mut [f32],
}

vectorized! {
    fn give_back(groups: Groups, image: usize, all: Back<'_>, rows: &mut [f32]) {
        let (rows, means) = rows.split_at_mut(ROWS * groups.channels);
        let (alone, along) = means.split_at_mut(groups.channels);
        let Back { input, gradients, scale, to } = all;
        let images = input.chunks_exact(image).zip(gradients.chunks_exact(image));
        for ((image, gradients), to) in images.zip(to.chunks_exact_mut(image)) {
            let statistics = Statistics::of(image, groups, rows);
            let (alone, along) = (&mut *alone, &mut *along);
            alone.fill(0.0);
            along.fill(0.0);
            let mut sums = GradientSums { image, gradients, statistics, alone, along };
            in_strips(groups.channels, &mut sums);
            let means = [sums.alone, sums.along].map(|sums| {
                sums.iter_mut().zip(scale).for_each(|(sum, scale)| *sum *= scale);
                groups.gather(sums, |sum| sum / groups.group_length);
                &*sums
            });
            let mut work = OfImage { image, gradients, statistics, scale, means, to };
            in_strips(groups.channels, &mut work);
        }
    }
}

struct OfImage<'a> {
    image: &'a [f32],
    gradients: &'a [f32],
    statistics: Statistics<'a>,
    scale: &'a [f32],
    /// The mean slope, and the mean of slopes times the normalised input, of each channel's group.
    means: [&'a [f32]; 2],
    to: &'a mut [f32],
}

impl Strips for OfImage<'_> {
    #[inline(always)]
    fn strip<const N: usize>(&mut self, first: usize) {
        let channels = self.scale.len();
        let statistics = self.statistics.lanes::<N>(first);
        let scale = lanes::<N>(self.scale, first);
        let [mean, mut along] = self.means.map(|means| lanes::<N>(means, first));
        along.iter_mut().zip(&statistics.inverse).for_each(|(along, inverse)| *along *= inverse);
        let rows = self.image.chunks_exact(channels).zip(self.gradients.chunks_exact(channels));
        for ((row, gradients), to) in rows.zip(self.to.chunks_exact_mut(channels)) {
            let (row, gradients) = (lanes::<N>(row, first), lanes::<N>(gradients, first));
            let to = &mut to[first..][..N];
            for i in 0..N {
                let rest = scale[i] * gradients[i] - mean[i];
                let rest = rest - statistics.distance(i, row[i]) * along[i];
                to[i] = statistics.inverse[i] * rest;
            }
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (channels, groups) = (channels(args.constants), args.size("GROUPS"));
    let (input, scale) = (args.read("input"), args.read("scale"));
    let (gradients, to) = (args.read("output_gradients"), args.write("input_gradients"));
    for (image, group) in (0..args.images()).flat_map(|i| (0..groups).map(move |g| (i, g))) {
        let places = places(args.constants, image, group);
        let (mean, deviation) = moments(args, &places);
        let slope = |at: usize| scale[at % channels] * gradients[at];
        let normal = |at: usize| (input[at] - mean) / deviation;
        let count = places.len() as f64;
        let mean_slope = places.iter().map(|at| slope(*at)).sum::<f64>() / count;
        let along = places.iter().map(|at| slope(*at) * normal(*at)).sum::<f64>() / count;
        for at in places {
            to[at] = (slope(at) - mean_slope - normal(at) * along) / deviation;
        }
    }
}
