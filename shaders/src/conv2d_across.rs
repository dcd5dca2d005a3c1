//! Tiles of convolutions for the channels that fill no vector, see [`crate::across`].

use crate::across::{Column, accumulate_across};
use crate::conv2d::Conv2d;
use crate::conv2d_layout::{Padded, Planes};
use crate::simd::Simd;
use crate::tile::{Tile, cut, with_size};

/// Convolves an image with the weights of a few output channels, two at a time: a tile is some
/// vectors of positions, each of one row, times them.
pub(crate) struct PositionsAcross<'a> {
    pub(crate) conv: &'a Conv2d,
    pub(crate) planes: Planes,
    /// The image, as the planes say.
    pub(crate) memory: &'a [f32],
    /// The weights of the block of output channels that `from` is one of.
    pub(crate) panel: &'a [f32],
    pub(crate) biases: Option<&'a [f32]>,
    /// The first of the output channels.
    pub(crate) from: usize,
}

impl PositionsAcross<'_> {
    /// # Safety
    /// The planes and the panel hold every tap of every position.
    #[inline(always)]
    pub(crate) unsafe fn run<S: Simd>(&self, simd: S, output: &mut [f32]) {
        let conv = self.conv;
        assert_eq!(output.len(), conv.output());
        let vectors = conv.out_height * conv.out_width.div_ceil(S::LANES);
        for (first, end) in cut(vectors, S::ROWS) {
            for from in (self.from..conv.out_channels).step_by(2) {
                let output = output.as_mut_ptr();
                let tile = PositionVectors { of: self, first, from, output };
                // SAFETY: the caller's promise; the vectors and channels are some of the output's.
                unsafe { with_size(simd, end - first, 2.min(conv.out_channels - from), &tile) };
            }
        }
    }
}

struct PositionVectors<'a> {
    of: &'a PositionsAcross<'a>,
    /// The number of the first vector, of those of all rows.
    first: usize,
    from: usize,
    output: *mut f32,
}

impl PositionVectors<'_> {
    /// The row in which a vector lies, and its first column.
    #[inline(always)]
    fn place<S: Simd>(&self, r: usize) -> (usize, usize) {
        let of_row = self.of.conv.out_width.div_ceil(S::LANES);
        let vector = self.first + r;
        (vector / of_row, vector % of_row * S::LANES)
    }
}

impl Tile for PositionVectors<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const V: usize>(&self, simd: S) {
        let PositionsAcross { conv, planes, memory, panel, biases, .. } = *self.of;
        let block = 2 * S::LANES;
        let mut sums = [[simd.splat(0.0); V]; R];
        if let Some(biases) = biases {
            for row in &mut sums {
                for (sum, bias) in row.iter_mut().zip(&biases[self.from..]) {
                    *sum = simd.splat(*bias);
                }
            }
        }
        let depth = planes.depth(conv);
        for ky in 0..conv.kernel_height {
            let rows: [usize; R] = std::array::from_fn(|r| {
                let (row, column) = self.place::<S>(r);
                let y = (row * conv.stride_y + ky).wrapping_sub(conv.top);
                // The row after the last is 0.
                y.min(conv.height) * planes.row + column
            });
            for kx in 0..planes.taps(conv) {
                let phase = kx % conv.stride_x * conv.channels * planes.width;
                let tap = (ky * planes.taps(conv) + kx) * depth * block;
                let ahead = phase + kx / conv.stride_x;
                // SAFETY: the planes have the rows, with a vector to spare after the last; the
                // panel holds all taps.
                unsafe {
                    let left = rows.map(|row| memory.as_ptr().add(row + ahead));
                    let right = panel.as_ptr().add(tap + self.from % block);
                    let left = (left, planes.width);
                    accumulate_across(simd, &mut sums, left, (right, block), depth);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            let (row, column) = self.place::<S>(r);
            let at = (row * conv.out_width + column) * conv.out_channels + self.from;
            let (stride, length) = (conv.out_channels, conv.out_width - column);
            // SAFETY: the positions are the output's, and so are `V` channels of them.
            unsafe { Column { first: self.output.add(at), stride, length }.store(simd, sums) };
        }
    }
}

/// Adds to the gradients of the weights of a few output channels, two at a time: a tile is some
/// vectors of neighbours in a row of taps times input channels, times them.
pub(crate) struct TapsAcross<'a> {
    pub(crate) conv: &'a Conv2d,
    pub(crate) padded: Padded,
    pub(crate) images: usize,
    /// Images, which lie as [`Padded`] says.
    pub(crate) copies: &'a [f32],
    pub(crate) gradients: &'a [f32],
    /// The first of the output channels.
    pub(crate) from: usize,
}

impl TapsAcross<'_> {
    /// # Safety
    /// The images, with a vector to spare, and the gradients are as many as it says.
    #[inline(always)]
    pub(crate) unsafe fn run<S: Simd>(&self, simd: S, sums: &mut [f32]) {
        let conv = self.conv;
        assert_eq!(sums.len(), conv.weights());
        let vectors = (conv.kernel_width * conv.channels).div_ceil(S::LANES);
        for ky in 0..conv.kernel_height {
            for (first, end) in cut(vectors, S::ROWS) {
                for from in (self.from..conv.out_channels).step_by(2) {
                    let sums = sums.as_mut_ptr();
                    let tile = TapVectors { of: self, ky, first: first * S::LANES, from, sums };
                    // SAFETY: the caller's promise; the vectors and channels are some of the sums'.
                    unsafe { with_size(simd, end - first, 2.min(conv.out_channels - from), &tile) };
                }
            }
        }
    }
}

struct TapVectors<'a> {
    of: &'a TapsAcross<'a>,
    ky: usize,
    /// The first number of the row of taps.
    first: usize,
    from: usize,
    sums: *mut f32,
}

impl TapVectors<'_> {
    /// Where the sums of a vector lie.
    ///
    /// # Safety
    /// They are some of the sums.
    #[inline(always)]
    unsafe fn column<S: Simd>(&self, r: usize) -> Column {
        let conv = self.of.conv;
        let (row, begin) = (conv.kernel_width * conv.channels, self.first + r * S::LANES);
        let at = (self.ky * row + begin) * conv.out_channels + self.from;
        // SAFETY: the caller's promise.
        let first = unsafe { self.sums.add(at) };
        Column { first, stride: conv.out_channels, length: row - begin }
    }
}

impl Tile for TapVectors<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const V: usize>(&self, simd: S) {
        let TapsAcross { conv, padded, images, copies, gradients, .. } = *self.of;
        let (of_image, row) = (padded.image(conv), padded.width * conv.channels);
        let mut sums = [[simd.splat(0.0); V]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *sums = unsafe { self.column::<S>(r).load(simd) };
        }
        for image in 0..images {
            for oy in 0..conv.out_height {
                let y = (oy * conv.stride_y + self.ky).wrapping_sub(conv.top);
                if y >= conv.height {
                    continue;
                }
                let position = (image * conv.out_height + oy) * conv.out_width;
                // SAFETY: row `y` is one of the image's and as long as the last position reaches,
                // with a vector to spare after the last of all.
                unsafe {
                    let left = copies.as_ptr().add(image * of_image + y * row + self.first);
                    let left = std::array::from_fn(|r| left.add(r * S::LANES));
                    let right = gradients.as_ptr().add(position * padded.out_channels + self.from);
                    let left = (left, conv.stride_x * conv.channels);
                    let right = (right, padded.out_channels);
                    accumulate_across(simd, &mut sums, left, right, conv.out_width);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { self.column::<S>(r).store(simd, sums) };
        }
    }
}
