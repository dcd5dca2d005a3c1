//! The derivative of group normalisation's scale and offset.

use compute::kernel::{
    Args, Binding, Constants, Extent::PerImage, Extent::PerPart, Kernel, linear_workgroups,
};

use crate::form::{WORKGROUP, only};
use crate::group_norm::{
    GradientSums, Groups, ROWS, Statistics, cases, channels, group_length, length, moments, places,
};
use crate::scratch::with_scratch;
use crate::simd::vectorized;
use crate::strips::in_strips;
use crate::wgsl;

/// For each part of the images each channel's sum of the gradients times the normalised input, and its
/// sum of the gradients. A part is the next `images / SPLITS` images, rounded up; the last may be left
/// with none, and are then 0.
pub static KERNEL: Kernel = Kernel {
    name: "group_norm_backward_weights",
    about: "Gives a group normalisation's gradient to its scale and offset, in sums over images.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("output_gradients", PerImage),
        Binding::write("scale_partials", PerPart("SPLITS")),
        Binding::write("offset_partials", PerPart("SPLITS")),
    ],
    lengths: |c| {
        let partials = c.size("SPLITS") * channels(c);
        vec![length(c), length(c), partials, partials]
    },
    terms: |c, images| {
        images.div_ceil(c.size("SPLITS")) * c.size("POSITIONS") + group_length(c) + 2
    },
    variants: &[only(
        "group_norm_backward_weights",
        wgsl!(
            [ELEMENT, STEP, LINEAR, SPLITS, GRADIENT_UNIT, GROUP_NORM],
            "../group_norm_backward_weights.wgsl"
        ),
        |c, _| linear_workgroups(c.size("SPLITS") * c.size("GROUPS") * blocks(c), 1),
    )],
    cpu,
    reference,
    cases,
};

/// Blocks of channels that a group is cut into, one for each workgroup.
fn blocks(c: &Constants) -> usize {
    c.size("GROUP_CHANNELS").div_ceil(WORKGROUP)
}

fn cpu(args: &mut Args<'_, f32>) {
    let groups = Groups::from(args.constants);
    let images = [args.read("input"), args.read("output_gradients")];
    let partials = [args.write("scale_partials"), args.write("offset_partials")];
    with_scratch(ROWS * groups.channels, |rows| {
        add_images(args.isa, groups, length(args.constants), images, partials, rows);
    });
}

vectorized! {
    fn add_images(
        groups: Groups,
        image: usize,
        images: [&[f32]; 2],
        partials: [&mut [f32]; 2],
        rows: &mut [f32],
    ) {
        let [along, alone] = partials;
        let [input, gradients] = images.map(|values| values.chunks_exact(image));
        for (image, gradients) in input.zip(gradients) {
            let statistics = Statistics::of(image, groups, rows);
            let (alone, along) = (&mut *alone, &mut *along);
            let mut sums = GradientSums { image, gradients, statistics, alone, along };
            in_strips(groups.channels, &mut sums);
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name);
    let (channels, groups, splits) = (channels(args.constants), size("GROUPS"), size("SPLITS"));
    let (images, input, gradients) =
        (args.images(), args.read("input"), args.read("output_gradients"));
    let images_of_part = images.div_ceil(splits);
    let (scales, offsets) = (args.write("scale_partials"), args.write("offset_partials"));
    scales.fill(0.0);
    offsets.fill(0.0);
    for (image, group) in (0..images).flat_map(|i| (0..groups).map(move |g| (i, g))) {
        let places = places(args.constants, image, group);
        let (mean, deviation) = moments(args, &places);
        for at in places {
            let sum = image / images_of_part * channels + at % channels;
            scales[sum] += gradients[at] * (input[at] - mean) / deviation;
            offsets[sum] += gradients[at];
        }
    }
}
