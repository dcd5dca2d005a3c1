//! Convolutions of one image at a time in tiles that stay in registers, for the `cpu` forms.

use compute::kernel::Args;
use compute::precision::Precision;

use crate::conv2d::Conv2d;
use crate::conv2d_convolve::Convolve;
use crate::conv2d_layout::{Padded, Panels, Planes};
use crate::conv2d_pairs;
use crate::conv2d_weigh::Weigh;
use crate::scratch::{with_form, with_scratch};
use crate::simd;

/// Convolves images with weights, and adds biases if there are any.
pub(crate) fn convolve(
    args: &Args<'_, f32>,
    conv: Conv2d,
    (weights, biases): (&[f32], Option<&[f32]>),
    input: &[f32],
    output: &mut [f32],
) {
    if args.precision == Precision::Bf16 {
        return conv2d_pairs::convolve(args, conv, (weights, biases), input, output);
    }
    let panels = Panels::of(&conv);
    let fill = |to: &mut [f32]| panels.fill(weights, 2 * simd::lanes(args.isa), to);
    with_form((weights, "panels", args.pass), panels.len(), fill, |panels| {
        with_scratch(Planes::of(&conv).len(&conv), |planes| {
            simd::run(args.isa, Convolve { conv, input, panels, biases, planes, output });
        });
    });
}

/// Gives the gradients of a convolution's output back to its input, where `reversed` is the
/// convolution that does so.
pub(crate) fn convolve_back(
    args: &Args<'_, f32>,
    reversed: Conv2d,
    weights: &[f32],
    from: &[f32],
    to: &mut [f32],
) {
    if args.precision == Precision::Bf16 {
        return conv2d_pairs::convolve_back(args, reversed, weights, from, to);
    }
    let panels = Panels::of(&reversed);
    let fill = |to: &mut [f32]| panels.fill_reversed(weights, 2 * simd::lanes(args.isa), to);
    with_form((weights, "reversed panels", args.pass), panels.len(), fill, |panels| {
        with_scratch(Planes::of(&reversed).len(&reversed), |planes| {
            let (conv, input, output) = (reversed, from, to);
            let work = Convolve { conv, input, panels, biases: None, planes, output };
            simd::run(args.isa, work);
        });
    });
}

/// Adds to the gradients of weights what some images give.
pub(crate) fn weigh(
    args: &Args<'_, f32>,
    conv: Conv2d,
    input: &[f32],
    gradients: &[f32],
    sums: &mut [f32],
) {
    if args.precision == Precision::Bf16 {
        return conv2d_pairs::weigh(args, conv, input, gradients, sums);
    }
    let padded = Padded::of(&conv);
    let images = input.len() / conv.input();
    if padded.width == conv.width && padded.is_whole(&conv) {
        // All that tiles read of the images lies in them.
        return simd::run(args.isa, Weigh { conv, images, copies: input, gradients, sums });
    }
    with_scratch(padded.len(&conv, images), |memory| {
        memory.fill(0.0);
        let (copies, whole) = memory.split_at_mut(padded.copies(&conv, images));
        let (from, to) = (conv.width * conv.channels, padded.width * conv.channels);
        for (row, copy) in input.chunks_exact(from).zip(copies.chunks_exact_mut(to)) {
            copy[conv.left * conv.channels..][..from].copy_from_slice(row);
        }
        let gradients = if padded.is_whole(&conv) {
            gradients
        } else {
            let positions = gradients.chunks_exact(conv.out_channels);
            for (from, to) in positions.zip(whole.chunks_exact_mut(padded.out_channels)) {
                to[..conv.out_channels].copy_from_slice(from);
            }
            &*whole
        };
        simd::run(args.isa, Weigh { conv, images, copies, gradients, sums });
    });
}
