//! Tiles of the gradients of a convolution's weights.

use crate::across::channels_across;
use crate::conv2d::Conv2d;
use crate::conv2d_across::TapsAcross;
use crate::conv2d_layout::Padded;
use crate::simd::{Simd, Vectorized};
use crate::tile::{Numbers, Tile, accumulate, cut, with_size};

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
