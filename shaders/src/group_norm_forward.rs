//! Group normalisation.

use compute::kernel::{Args, Binding, Extent::PerImage, Extent::Whole, Kernel, linear_workgroups};

use crate::form::only;
use crate::group_norm::{
    Groups, ROWS, Statistics, cases, channels, group_length, length, moments, places,
};
use crate::scratch::with_scratch;
use crate::simd::vectorized;
use crate::strips::{Strips, in_strips, lanes};
use crate::wgsl;

/// `output = scale * (input - mean) / sqrt(variance + EPSILON) + offset`, with the scale and offset of
/// the channel, and the mean and variance of its group over all positions of the image (Wu and He,
/// "Group normalization", 2018).
pub static KERNEL: Kernel = Kernel {
    name: "group_norm_forward",
    about: "Normalises each group of an image's channels, scales and shifts each channel.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("scale", Whole),
        Binding::read("offset", Whole),
        Binding::write("output", PerImage),
    ],
    lengths: |c| {
        let channels = channels(c);
        vec![length(c), channels, channels, length(c)]
    },
    terms: |c, _| group_length(c) + 4,
    variants: &[only(
        "group_norm_forward",
        wgsl!([ELEMENT, STEP, LINEAR, GROUP_NORM], "../group_norm_forward.wgsl"),
        |c, images| linear_workgroups(images * c.size("GROUPS"), 1),
    )],
    cpu,
    reference,
    cases,
};

fn cpu(args: &mut Args<'_, f32>) {
    let groups = Groups::from(args.constants);
    let input = args.read("input");
    let weights = [args.read("scale"), args.read("offset")];
    let (isa, image, output) = (args.isa, length(args.constants), args.write("output"));
    with_scratch(ROWS * groups.channels, |rows| {
        normalize_images(isa, groups, image, input, weights, output, rows);
    });
}

vectorized! {
    fn normalize_images(
        groups: Groups,
        image: usize,
        input: &[f32],
        weights: [&[f32]; 2],
        output: &mut [f32],
        rows: &mut [f32],
    ) {
        let [scale, offset] = weights;
        let images = input.chunks_exact(image).zip(output.chunks_exact_mut(image));
        for (image, output) in images {
            let statistics = Statistics::of(image, groups, rows);
            let mut work = Normalize { image, statistics, scale, offset, output };
            in_strips(groups.channels, &mut work);
        }
    }
}

struct Normalize<'a> {
    image: &'a [f32],
    statistics: Statistics<'a>,
    scale: &'a [f32],
    offset: &'a [f32],
    output: &'a mut [f32],
}

impl Strips for Normalize<'_> {
    #[inline(always)]
    fn strip<const N: usize>(&mut self, first: usize) {
        let channels = self.scale.len();
        let statistics = self.statistics.lanes::<N>(first);
        let (mut factor, offset) = (lanes::<N>(self.scale, first), lanes::<N>(self.offset, first));
        factor.iter_mut().zip(&statistics.inverse).for_each(|(factor, inverse)| *factor *= inverse);
        let rows = self.image.chunks_exact(channels);
        for (row, output) in rows.zip(self.output.chunks_exact_mut(channels)) {
            let row = lanes::<N>(row, first);
            let output = &mut output[first..][..N];
            for i in 0..N {
                output[i] = statistics.distance(i, row[i]) * factor[i] + offset[i];
            }
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (channels, groups) = (channels(args.constants), args.size("GROUPS"));
    let (input, scale, offset) = (args.read("input"), args.read("scale"), args.read("offset"));
    let output = args.write("output");
    for (image, group) in (0..args.images()).flat_map(|i| (0..groups).map(move |g| (i, g))) {
        let places = places(args.constants, image, group);
        let (mean, deviation) = moments(args, &places);
        for at in places {
            let channel = at % channels;
            output[at] = scale[channel] * (input[at] - mean) / deviation + offset[channel];
        }
    }
}
