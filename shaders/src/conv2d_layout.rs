//! How weights, images and gradients lie in memory for the tiles of convolutions.

use std::ops::Range;

use crate::conv2d::Conv2d;
use crate::simd::MOST_LANES;

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
    pub(crate) fn positions_inside(&self, conv: &Conv2d, kx: usize) -> Range<usize> {
        if self.spread {
            return 0..conv.out_width;
        }
        let first = conv.left.saturating_sub(kx).div_ceil(conv.stride_x);
        let end = (conv.width + conv.left).saturating_sub(kx).div_ceil(conv.stride_x);
        first..end.min(conv.out_width)
    }

    /// The taps that lie inside the image at all of these positions.
    pub(crate) fn taps_inside(&self, conv: &Conv2d, left: usize, right: usize) -> Range<usize> {
        let is_inside = |kx: &usize| {
            let inside = self.positions_inside(conv, *kx);
            inside.start <= left && right <= inside.end
        };
        let first = (0..self.taps(conv)).find(is_inside).unwrap_or(0);
        first..first + (first..self.taps(conv)).take_while(is_inside).count()
    }

    /// Copies the pixels of an image. The padding must be 0 already, and stays so.
    pub(crate) fn fill(&self, conv: &Conv2d, image: &[f32], planes: &mut [f32]) {
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

/// Sizes of what images and gradients are copied to whose products are weights' gradients.
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
    pub(crate) fn is_whole(&self, conv: &Conv2d) -> bool {
        self.out_channels == conv.out_channels
    }

    /// Numbers for so many images and their gradients.
    pub(crate) fn len(&self, conv: &Conv2d, images: usize) -> usize {
        let gradients = if self.is_whole(conv) { 0 } else { conv.positions() * self.out_channels };
        self.copies(conv, images) + images * gradients
    }
}
