//! Convolutions of one image at a time in tiles that stay in registers, for the `cpu` forms.
//!
//! A tile is some positions of a row times two vectors of output channels. Its inner loop goes
//! over the input channels under one tap: it needs the columns of a row side by side, which
//! [`Planes`] bring about, and the weights of a channel in vectors, see [`Panels`]. Where a position
//! sees a single pixel, copying would take as long as a good part of the products, and the pixels
//! are read where they are.

use std::iter;
use std::ops::Range;

use compute::kernel::Args;
use compute::precision::Precision;

use crate::across::channels_across;
use crate::conv2d::Conv2d;
use crate::conv2d_across::{PositionsAcross, TapsAcross};
use crate::conv2d_pairs;
use crate::scratch::{with_form, with_scratch};
use crate::simd::{self, MOST_LANES, Simd, Vectorized};
use crate::tile::{Numbers, Tile, accumulate, cut, with_size};

/// The weights of a convolution in the order in which tiles read them: blocks of two vectors of
/// output channels, in each the taps, in each the input channels. What is left of the last block
/// beyond the output channels is 0.
#[derive(Clone, Copy)]
pub(crate) struct Panels {
    taps: usize,
    channels: usize,
    out_channels: usize,
}

impl Panels {
    pub(crate) fn of(conv: &Conv2d) -> Self {
        let taps = conv.kernel_height * conv.kernel_width;
        Self { taps, channels: conv.channels, out_channels: conv.out_channels }
    }

    /// Numbers in all panels, whatever the vectors.
    pub(crate) fn len(&self) -> usize {
        self.taps * self.channels * self.out_channels.next_multiple_of(2 * MOST_LANES)
    }

    /// Copies weights, kernel height x kernel width x input channels x output channels.
    pub(crate) fn fill(&self, weights: &[f32], block: usize, panels: &mut [f32]) {
        let depth = self.taps * self.channels;
        for (at, panel) in panels.chunks_mut(depth * block).enumerate() {
            let from = at * block;
            let width = block.min(self.out_channels.saturating_sub(from));
            for (row, weights) in
                panel.chunks_mut(block).zip(weights.chunks_exact(self.out_channels))
            {
                row[..width].copy_from_slice(&weights[from.min(self.out_channels)..][..width]);
                row[width..].fill(0.0);
            }
        }
    }

    /// Copies the weights of the convolution whose input gradients this one gives: taps in reverse,
    /// input channels for output channels.
    pub(crate) fn fill_reversed(&self, weights: &[f32], block: usize, panels: &mut [f32]) {
        let of_tap = self.channels * self.out_channels;
        for (at, panel) in panels.chunks_mut(self.taps * self.channels * block).enumerate() {
            let from = (at * block).min(self.out_channels);
            let width = block.min(self.out_channels - from);
            let taps = weights.chunks_exact(of_tap).rev();
            for (panel, weights) in panel.chunks_mut(self.channels * block).zip(taps) {
                for (channel, row) in panel.chunks_mut(block).enumerate() {
                    for (out, to) in row[..width].iter_mut().enumerate() {
                        *to = weights[(from + out) * self.channels + channel];
                    }
                    row[width..].fill(0.0);
                }
            }
        }
    }
}

/// Input channels below which the taps of a row are laid out beside each other: the inner loop would
/// be too short otherwise.
const FEW_CHANNELS: usize = 16;

/// Where each pixel of a padded image lies once the columns of a row are neighbours: rows x
/// columns modulo the stride x channels x columns. The positions of a row meet neighbours under
/// each tap, whatever the stride.
///
/// With few channels it is rows x columns of the kernel x channels x positions: each pixel lies under
/// all taps of its row.
#[derive(Clone, Copy)]
pub(crate) struct Planes {
    pub(crate) width: usize,
    pub(crate) row: usize,
    spread: bool,
}

impl Planes {
    pub(crate) fn of(conv: &Conv2d) -> Self {
        if conv.channels < FEW_CHANNELS {
            let row = conv.kernel_width * conv.channels * conv.out_width;
            return Self { width: conv.out_width, row, spread: true };
        }
        let width = conv.out_width + (conv.kernel_width - 1) / conv.stride_x;
        Self { width, row: conv.stride_x * conv.channels * width, spread: false }
    }

    /// Numbers of an image, then a row of 0 in place of those outside it, and a vector to spare.
    pub(crate) fn len(&self, conv: &Conv2d) -> usize {
        (conv.height + 1) * self.row + MOST_LANES
    }

    /// Taps of a row of the kernel; all of them together are one where they are laid out.
    pub(crate) fn taps(&self, conv: &Conv2d) -> usize {
        if self.spread { 1 } else { conv.kernel_width }
    }

    /// Numbers under a tap.
    pub(crate) fn depth(&self, conv: &Conv2d) -> usize {
        if self.spread { conv.kernel_width * conv.channels } else { conv.channels }
    }

    /// The positions at which a tap lies inside the image.
    fn positions_inside(&self, conv: &Conv2d, kx: usize) -> Range<usize> {
        if self.spread {
            return 0..conv.out_width;
        }
        let first = conv.left.saturating_sub(kx).div_ceil(conv.stride_x);
        let end = (conv.width + conv.left).saturating_sub(kx).div_ceil(conv.stride_x);
        first..end.min(conv.out_width)
    }

    /// The taps that lie inside the image at all of these positions.
    fn taps_inside(&self, conv: &Conv2d, left: usize, right: usize) -> Range<usize> {
        let is_inside = |kx: &usize| {
            let inside = self.positions_inside(conv, *kx);
            inside.start <= left && right <= inside.end
        };
        let first = (0..self.taps(conv)).find(is_inside).unwrap_or(0);
        first..first + (first..self.taps(conv)).take_while(is_inside).count()
    }

    /// Copies the pixels of an image. The padding must be 0 already, and stays so.
    fn fill(&self, conv: &Conv2d, image: &[f32], planes: &mut [f32]) {
        let rows = planes.chunks_exact_mut(self.row).zip(image.chunks(conv.width * conv.channels));
        for (planes, row) in rows {
            if self.spread {
                self.fill_spread(conv, row, planes);
            } else {
                self.fill_row(conv, row, planes);
            }
        }
    }

    fn fill_row(&self, conv: &Conv2d, row: &[f32], planes: &mut [f32]) {
        for (x, pixel) in row.chunks_exact(conv.channels).enumerate() {
            let column = (x + conv.left) / conv.stride_x;
            if column >= self.width {
                break;
            }
            let phase = (x + conv.left) % conv.stride_x;
            let planes = &mut planes[phase * conv.channels * self.width..];
            for (plane, value) in planes.chunks_exact_mut(self.width).zip(pixel) {
                plane[column] = *value;
            }
        }
    }

    fn fill_spread(&self, conv: &Conv2d, row: &[f32], planes: &mut [f32]) {
        let taps = planes.chunks_exact_mut(conv.channels * self.width);
        for (kx, planes) in taps.enumerate() {
            for (channel, plane) in planes.chunks_exact_mut(self.width).enumerate() {
                for (position, to) in plane.iter_mut().enumerate() {
                    let x = (position * conv.stride_x + kx).wrapping_sub(conv.left);
                    if x < conv.width {
                        *to = row[x * conv.channels + channel];
                    }
                }
            }
        }
    }
}

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

/// Convolves images with weights in panels, and adds biases if there are any.
pub(crate) struct Convolve<'a> {
    pub(crate) conv: Conv2d,
    pub(crate) input: &'a [f32],
    pub(crate) panels: &'a [f32],
    pub(crate) biases: Option<&'a [f32]>,
    pub(crate) planes: &'a mut [f32],
    pub(crate) output: &'a mut [f32],
}

impl Vectorized for Convolve<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { conv, input, panels, biases, planes: memory, output } = self;
        let planes = Planes::of(&conv);
        let block = 2 * S::LANES;
        let of_block = conv.kernel_height * conv.kernel_width * conv.channels * block;
        assert!(panels.len() >= of_block * conv.out_channels.div_ceil(block));
        assert_eq!(memory.len(), planes.len(&conv));
        // The channels from here on lie across.
        let rows = (conv.out_height, conv.out_width);
        let filled = conv.out_channels - channels_across(conv.out_channels, rows, S::LANES);
        let blocks = conv.out_channels.div_ceil(block);
        if conv.is_pointwise() && filled == conv.out_channels && blocks <= MOST_BLOCKS_IN_PLACE {
            return in_place(simd, conv, input, (panels, biases), output);
        }
        memory.fill(0.0);
        let images = input.chunks_exact(conv.input()).zip(output.chunks_exact_mut(conv.output()));
        for (input, output) in images {
            planes.fill(&conv, input, memory);
            for (from, panel) in (0..filled).step_by(block).zip(panels.chunks_exact(of_block)) {
                let width = block.min(filled - from);
                let first = first_sums(biases, from..from + width);
                let rows = output.chunks_exact_mut(conv.out_width * conv.out_channels);
                for (y, row) in rows.enumerate() {
                    for (left, right) in cut(conv.out_width, S::ROWS) {
                        // First the taps that lie inside the image at all positions of the tile,
                        // then each of the others at the positions where it does.
                        let whole = planes.taps_inside(&conv, left, right);
                        let others = (0..planes.taps(&conv)).filter(|kx| !whole.contains(kx));
                        let others = others.map(|kx| (kx..kx + 1, None));
                        for (taps, first) in iter::once((whole.clone(), Some(&first))).chain(others)
                        {
                            let inside = match first {
                                Some(_) => left..right,
                                None => planes.positions_inside(&conv, taps.start),
                            };
                            let (left, right) = (left.max(inside.start), right.min(inside.end));
                            if left >= right {
                                continue;
                            }
                            let to = Numbers {
                                first: row[left * conv.out_channels + from..].as_mut_ptr(),
                                stride: conv.out_channels,
                                width,
                            };
                            let tile = Positions {
                                conv: &conv,
                                planes,
                                memory,
                                panel,
                                first,
                                y,
                                left,
                                taps,
                                to,
                            };
                            // SAFETY: the planes and the panel have the lengths asserted above,
                            // which hold every tap of every position; the tile's positions and
                            // channels lie in the row.
                            unsafe {
                                with_size(simd, right - left, width.div_ceil(S::LANES), &tile);
                            }
                        }
                    }
                }
            }
            if filled < conv.out_channels {
                let panel = &panels[filled / block * of_block..][..of_block];
                let memory = &*memory;
                let rest =
                    PositionsAcross { conv: &conv, planes, memory, panel, biases, from: filled };
                // SAFETY: as above.
                unsafe { rest.run(simd, output) };
            }
        }
    }
}

/// Blocks of output channels up to which pixels are read where they are. Tiles read columns that lie
/// side by side a little faster, and with many blocks that makes up for laying them so.
const MOST_BLOCKS_IN_PLACE: usize = 8;

/// What the sums of a block of channels begin with.
fn first_sums(biases: Option<&[f32]>, block: Range<usize>) -> [f32; 2 * MOST_LANES] {
    let mut first = [0.0; 2 * MOST_LANES];
    if let Some(biases) = biases {
        first[..block.len()].copy_from_slice(&biases[block]);
    }
    first
}

/// Convolves images of which each position sees a single pixel.
#[inline(always)]
fn in_place<S: Simd>(
    simd: S,
    conv: Conv2d,
    input: &[f32],
    (panels, biases): (&[f32], Option<&[f32]>),
    output: &mut [f32],
) {
    let images = input.chunks_exact(conv.input()).zip(output.chunks_exact_mut(conv.output()));
    assert!((conv.out_height - 1) * conv.stride_y < conv.height);
    assert!((conv.out_width - 1) * conv.stride_x < conv.width);
    let block = 2 * S::LANES;
    for (input, output) in images {
        let of_block = panels.chunks_exact(conv.channels * block);
        for (from, panel) in (0..conv.out_channels).step_by(block).zip(of_block) {
            let width = block.min(conv.out_channels - from);
            let first = first_sums(biases, from..from + width);
            let rows = output.chunks_exact_mut(conv.out_width * conv.out_channels);
            for (y, row) in rows.enumerate() {
                let pixels = &input[y * conv.stride_y * conv.width * conv.channels..];
                for (left, right) in cut(conv.out_width, S::ROWS) {
                    let to = Numbers {
                        first: row[left * conv.out_channels + from..].as_mut_ptr(),
                        stride: conv.out_channels,
                        width,
                    };
                    let tile = Pixels { conv: &conv, pixels, panel, first: &first, left, to };
                    // SAFETY: the row has a pixel for each of the tile's positions, and the panel
                    // the weights of all channels; the positions and channels lie in the output.
                    unsafe { with_size(simd, right - left, width.div_ceil(S::LANES), &tile) };
                }
            }
        }
    }
}

/// Positions of a row beside each other, and a block of output channels.
struct Positions<'a> {
    conv: &'a Conv2d,
    planes: Planes,
    memory: &'a [f32],
    panel: &'a [f32],
    /// What the sums begin with; what is there already if not given.
    first: Option<&'a [f32; 2 * MOST_LANES]>,
    y: usize,
    left: usize,
    /// The taps of each row that are added.
    taps: Range<usize>,
    to: Numbers,
}

impl Tile for Positions<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const V: usize>(&self, simd: S) {
        let conv = self.conv;
        let block = 2 * S::LANES;
        // SAFETY: two vectors of the longest kind, and the caller's promise.
        let mut sums: [[S::Vector; V]; R] = unsafe {
            match self.first {
                Some(first) => {
                    let first = first.as_ptr().cast_mut();
                    Numbers { first, stride: 0, width: V * S::LANES }.load(simd)
                }
                None => self.to.load(simd),
            }
        };
        let depth = self.planes.depth(conv);
        for ky in 0..conv.kernel_height {
            let y = (self.y * conv.stride_y + ky).wrapping_sub(conv.top);
            if y >= conv.height {
                continue;
            }
            for kx in self.taps.clone() {
                let phase = kx % conv.stride_x * conv.channels * self.planes.width;
                let column = self.left + kx / conv.stride_x;
                let tap = (ky * self.planes.taps(conv) + kx) * depth * block;
                // SAFETY: row `y` is one of the image's, and the columns from here on are as many
                // as the tile has positions; the panel holds all taps.
                unsafe {
                    let left = self.memory.as_ptr().add(y * self.planes.row + phase + column);
                    let right = self.panel.as_ptr().add(tap);
                    let left = (left, self.planes.width);
                    accumulate(simd, &mut sums, left, (right, block), depth);
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.to.store(simd, sums) };
    }
}

/// Positions of a row that each see one pixel, and a block of output channels.
struct Pixels<'a> {
    conv: &'a Conv2d,
    /// Those of the row.
    pixels: &'a [f32],
    panel: &'a [f32],
    /// What the sums begin with.
    first: &'a [f32; 2 * MOST_LANES],
    left: usize,
    to: Numbers,
}

impl Tile for Pixels<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const V: usize>(&self, simd: S) {
        let conv = self.conv;
        let step = conv.stride_x * conv.channels;
        // SAFETY: two vectors of the longest kind, and the caller's promise.
        unsafe {
            let first = self.first.as_ptr().cast_mut();
            let first = Numbers { first, stride: 0, width: V * S::LANES };
            let mut sums: [[S::Vector; V]; R] = first.load(simd);
            let mut pixels = [self.pixels.as_ptr().add(self.left * step); R];
            for (r, pixel) in pixels.iter_mut().enumerate() {
                *pixel = pixel.add(r * step);
            }
            for channel in 0..conv.channels {
                let weights = self.panel.as_ptr().add(channel * 2 * S::LANES);
                let mut factors = [simd.splat(0.0); V];
                for (v, factor) in factors.iter_mut().enumerate() {
                    *factor = simd.load(weights.add(v * S::LANES));
                }
                for (sums, pixel) in sums.iter_mut().zip(pixels) {
                    let number = simd.splat(pixel.add(channel).read());
                    for (sum, factor) in sums.iter_mut().zip(factors) {
                        *sum = simd.add_products(number, factor, *sum);
                    }
                }
            }
            self.to.store(simd, sums);
        }
    }
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

/// Sizes of what [`weigh`] copies images and gradients to.
#[derive(Clone, Copy)]
pub(crate) struct Padded {
    /// Columns of an image.
    pub(crate) width: usize,
    /// Channels of the gradients: whole vectors.
    pub(crate) out_channels: usize,
}

impl Padded {
    pub(crate) fn of(conv: &Conv2d) -> Self {
        let reached = (conv.out_width - 1) * conv.stride_x + conv.kernel_width;
        Self {
            width: reached.max(conv.left + conv.width),
            out_channels: conv.out_channels.next_multiple_of(MOST_LANES),
        }
    }

    pub(crate) fn image(&self, conv: &Conv2d) -> usize {
        conv.height * self.width * conv.channels
    }

    /// Numbers of so many images, and a vector to spare.
    pub(crate) fn copies(&self, conv: &Conv2d, images: usize) -> usize {
        images * self.image(conv) + MOST_LANES
    }

    /// Whether the gradients can be read where they are.
    fn is_whole(&self, conv: &Conv2d) -> bool {
        self.out_channels == conv.out_channels
    }

    /// Numbers for so many images and their gradients.
    fn len(&self, conv: &Conv2d, images: usize) -> usize {
        let gradients = if self.is_whole(conv) { 0 } else { conv.positions() * self.out_channels };
        self.copies(conv, images) + images * gradients
    }
}

/// Adds to the gradients of weights what some images give, which lie as [`Padded`] says.
pub(crate) struct Weigh<'a> {
    pub(crate) conv: Conv2d,
    pub(crate) images: usize,
    pub(crate) copies: &'a [f32],
    pub(crate) gradients: &'a [f32],
    pub(crate) sums: &'a mut [f32],
}

impl Vectorized for Weigh<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { conv, images, copies, gradients, sums } = self;
        let padded = Padded::of(&conv);
        assert!(copies.len() >= images * padded.image(&conv));
        assert_eq!(gradients.len(), images * conv.positions() * padded.out_channels);
        assert_eq!(sums.len(), conv.weights());
        let block = 2 * S::LANES;
        let row_length = conv.kernel_width * conv.channels;
        // The channels from here on lie across.
        let filled =
            conv.out_channels - channels_across(conv.out_channels, (1, row_length), S::LANES);
        for from in (0..filled).step_by(block) {
            let width = block.min(filled - from);
            for ky in 0..conv.kernel_height {
                for (first, end) in cut(row_length, S::ROWS) {
                    let at = (ky * row_length + first) * conv.out_channels + from;
                    let to = Numbers {
                        first: sums[at..].as_mut_ptr(),
                        stride: conv.out_channels,
                        width,
                    };
                    let tile = Taps {
                        conv: &conv,
                        padded,
                        images,
                        copies,
                        gradients,
                        from,
                        ky,
                        first,
                        to,
                    };
                    // SAFETY: the images and the gradients have the lengths asserted above; the
                    // tile's rows and channels lie in the sums.
                    unsafe { with_size(simd, end - first, width.div_ceil(S::LANES), &tile) };
                }
            }
        }
        if filled < conv.out_channels {
            assert!(copies.len() >= padded.copies(&conv, images));
            let rest = TapsAcross { conv: &conv, padded, images, copies, gradients, from: filled };
            // SAFETY: as above.
            unsafe { rest.run(simd, sums) };
        }
    }
}

/// Neighbours in a row of taps times input channels, and a block of output channels.
struct Taps<'a> {
    conv: &'a Conv2d,
    padded: Padded,
    images: usize,
    copies: &'a [f32],
    gradients: &'a [f32],
    from: usize,
    ky: usize,
    first: usize,
    to: Numbers,
}

impl Tile for Taps<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const V: usize>(&self, simd: S) {
        let conv = self.conv;
        let (of_image, row) = (self.padded.image(conv), self.padded.width * conv.channels);
        let channels = self.padded.out_channels;
        // Positions at which one of the taps at least lies inside the image.
        let taps = [self.first / conv.channels, (self.first + R - 1) / conv.channels];
        let begin = conv.left.saturating_sub(taps[1]).div_ceil(conv.stride_x);
        let end = (conv.width + conv.left).saturating_sub(taps[0]).div_ceil(conv.stride_x);
        let end = end.min(conv.out_width);
        if begin >= end {
            return;
        }
        let positions = end - begin;
        // SAFETY: the caller's promise.
        let mut sums: [[S::Vector; V]; R] = unsafe { self.to.load(simd) };
        for image in 0..self.images {
            for oy in 0..conv.out_height {
                let y = (oy * conv.stride_y + self.ky).wrapping_sub(conv.top);
                if y >= conv.height {
                    continue;
                }
                let x = begin * conv.stride_x * conv.channels + self.first;
                let position = (image * conv.out_height + oy) * conv.out_width + begin;
                // SAFETY: row `y` is one of the image's and as long as the last position reaches;
                // gradients of the block are whole vectors at every position.
                unsafe {
                    let left = self.copies.as_ptr().add(image * of_image + y * row + x);
                    let right = self.gradients.as_ptr().add(position * channels + self.from);
                    let left = (left, conv.stride_x * conv.channels);
                    accumulate(simd, &mut sums, left, (right, channels), positions);
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.to.store(simd, sums) };
    }
}
