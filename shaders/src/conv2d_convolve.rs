//! Tiles that convolve: some positions of a row times two vectors of output channels.
//!
//! The inner loop goes over the input channels under one tap: it needs the columns of a row side by
//! side, which [`Planes`] bring about, and the weights of a channel in vectors, see
//! [`Panels`](crate::conv2d_layout::Panels). Where a position sees a single pixel, copying would take as
//! long as a good part of the products, and the pixels are read where they are.

use std::iter;
use std::ops::Range;

use crate::across::channels_across;
use crate::conv2d::Conv2d;
use crate::conv2d_across::PositionsAcross;
use crate::conv2d_layout::Planes;
use crate::simd::{MOST_LANES, Simd, Vectorized};
use crate::tile::{Numbers, Tile, accumulate, cut, with_size};

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
