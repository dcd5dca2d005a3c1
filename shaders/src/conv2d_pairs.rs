//! Convolutions whose factors are rounded to bf16, as convolutions over [pairs](crate::pairs).
//!
//! What a tile sums over is put in pairs: channels where images meet weights, positions of a row
//! where they meet gradients. Sums are f32, and so is everything that goes in and comes out.

use compute::kernel::Args;

use crate::conv2d::Conv2d;
use crate::conv2d_tiles::{Convolve, Padded, Panels, Planes, Weigh};
use crate::pairs::{pair_ahead, pair_neighbours, pair_rows, words};
use crate::scratch::{with_form, with_scratch};
use crate::simd;

/// As [`convolve`](crate::conv2d_tiles::convolve).
pub(crate) fn convolve(
    args: &Args<'_, f32>,
    conv: Conv2d,
    (weights, biases): (&[f32], Option<&[f32]>),
    input: &[f32],
    output: &mut [f32],
) {
    let pairs = over_pairs(conv);
    let panels = Panels::of(&pairs);
    let fill = |to: &mut [f32]| {
        with_scratch(pairs.weights(), |paired| {
            // Each tap by itself: the last of an odd number of channels has no other to meet.
            let taps = weights.chunks_exact(conv.channels * conv.out_channels);
            let of_tap = pairs.channels * conv.out_channels;
            for (from, to) in taps.zip(paired.chunks_exact_mut(of_tap)) {
                pair_rows(args.isa, from, conv.out_channels, conv.out_channels, to);
            }
            panels.fill(paired, 2 * simd::lanes_of_pairs(args.isa), to);
        });
    };
    with_form((weights, "panels of pairs", args.pass), panels.len(), fill, |panels| {
        run(args, conv, panels, biases, input, output);
    });
}

/// As [`convolve_back`](crate::conv2d_tiles::convolve_back).
pub(crate) fn convolve_back(
    args: &Args<'_, f32>,
    reversed: Conv2d,
    weights: &[f32],
    from: &[f32],
    to: &mut [f32],
) {
    let pairs = over_pairs(reversed);
    let panels = Panels::of(&pairs);
    let fill = |to: &mut [f32]| {
        with_scratch(pairs.weights(), |paired| {
            // The channels that are summed over are neighbours here.
            pair_neighbours(args.isa, weights, reversed.channels, paired);
            panels.fill_reversed(paired, 2 * simd::lanes_of_pairs(args.isa), to);
        });
    };
    with_form((weights, "reversed panels of pairs", args.pass), panels.len(), fill, |panels| {
        run(args, reversed, panels, None, from, to);
    });
}

/// The same convolution over pairs of channels.
fn over_pairs(conv: Conv2d) -> Conv2d {
    Conv2d { channels: words(conv.channels), ..conv }
}

fn run(
    args: &Args<'_, f32>,
    conv: Conv2d,
    panels: &[f32],
    biases: Option<&[f32]>,
    input: &[f32],
    output: &mut [f32],
) {
    let pairs = over_pairs(conv);
    let paired = input.len() / conv.channels * pairs.channels;
    with_scratch(paired + Planes::of(&pairs).len(&pairs), |memory| {
        let (images, planes) = memory.split_at_mut(paired);
        pair_neighbours(args.isa, input, conv.channels, images);
        let work = Convolve { conv: pairs, input: images, panels, biases, planes, output };
        simd::run_pairs(args.isa, work);
    });
}

/// As [`weigh`](crate::conv2d_tiles::weigh).
pub(crate) fn weigh(
    args: &Args<'_, f32>,
    conv: Conv2d,
    input: &[f32],
    gradients: &[f32],
    sums: &mut [f32],
) {
    let pairs = over_position_pairs(conv);
    let padded = Padded::of(&pairs);
    let images = input.len() / conv.input();
    let columns = padded.width * conv.channels;
    let ahead = conv.stride_x * conv.channels;
    let lengths = [
        padded.copies(&pairs, images),
        images * pairs.positions() * padded.out_channels,
        columns + ahead,
    ];
    with_scratch(lengths.iter().sum(), |memory| {
        let (copies, rest) = memory.split_at_mut(lengths[0]);
        let (paired, row) = rest.split_at_mut(lengths[1]);
        row.fill(0.0);
        let from = conv.width * conv.channels;
        for (image, to) in input.chunks_exact(from).zip(copies.chunks_exact_mut(columns)) {
            row[conv.left * conv.channels..][..from].copy_from_slice(image);
            pair_ahead(args.isa, row, ahead, to);
        }
        if padded.out_channels > conv.out_channels {
            paired.fill(0.0);
        }
        let rows = gradients.chunks_exact(conv.out_width * conv.out_channels);
        let to = paired.chunks_exact_mut(pairs.out_width * padded.out_channels);
        for (from, to) in rows.zip(to) {
            pair_rows(args.isa, from, conv.out_channels, padded.out_channels, to);
        }
        let gradients = &*paired;
        simd::run_pairs(args.isa, Weigh { conv: pairs, images, copies, gradients, sums });
    });
}

/// The same convolution over pairs of positions: a word of the image holds the pixels that a tap
/// meets at two neighbouring positions, for every pixel that the first of them may be.
fn over_position_pairs(conv: Conv2d) -> Conv2d {
    // A pixel stands in two words: where it is, and a stride before.
    let left = conv.left.saturating_sub(conv.stride_x);
    Conv2d {
        width: conv.left + conv.width - left,
        left,
        out_width: words(conv.out_width),
        stride_x: 2 * conv.stride_x,
        ..conv
    }
}
