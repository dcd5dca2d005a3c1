//! What the three convolution kernels share: their sizes, the patches of the `cpu` forms, and
//! the cases of their tests.

use std::ops::Range;

use compute::kernel::{Constants, linear_workgroups};

/// Invocations in a workgroup of the convolution kernels.
const WORKGROUP: usize = 64;

/// The sizes of a convolution. Images are height x width x channels; weights are kernel height x
/// kernel width x input channels x output channels.
#[derive(Clone, Copy)]
pub(crate) struct Conv2d {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
    pub(crate) out_channels: usize,
    pub(crate) kernel_height: usize,
    pub(crate) kernel_width: usize,
    pub(crate) stride_y: usize,
    pub(crate) stride_x: usize,
    pub(crate) top: usize,
    pub(crate) left: usize,
}

impl From<&Constants> for Conv2d {
    fn from(c: &Constants) -> Self {
        Self {
            height: c.size("IN_HEIGHT"),
            width: c.size("IN_WIDTH"),
            channels: c.size("IN_CHANNELS"),
            out_height: c.size("OUT_HEIGHT"),
            out_width: c.size("OUT_WIDTH"),
            out_channels: c.size("OUT_CHANNELS"),
            kernel_height: c.size("KERNEL_HEIGHT"),
            kernel_width: c.size("KERNEL_WIDTH"),
            stride_y: c.size("STRIDE_Y"),
            stride_x: c.size("STRIDE_X"),
            top: c.size("PAD_TOP"),
            left: c.size("PAD_LEFT"),
        }
    }
}

impl Conv2d {
    /// A dense layer: the images are the positions of a row under a single tap.
    pub(crate) fn dense(images: usize, inputs: usize, outputs: usize) -> Self {
        Self {
            height: 1,
            width: images,
            channels: inputs,
            out_height: 1,
            out_width: images,
            out_channels: outputs,
            kernel_height: 1,
            kernel_width: 1,
            stride_y: 1,
            stride_x: 1,
            top: 0,
            left: 0,
        }
    }

    /// Elements of an input image.
    pub(crate) fn input(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Elements of an output image.
    pub(crate) fn output(&self) -> usize {
        self.positions() * self.out_channels
    }

    /// Elements of the weights.
    pub(crate) fn weights(&self) -> usize {
        self.patch() * self.out_channels
    }

    /// Positions of an output image.
    pub(crate) fn positions(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Inputs under the kernel at one position.
    pub(crate) fn patch(&self) -> usize {
        self.kernel_height * self.kernel_width * self.channels
    }

    /// Whether each position sees a single pixel, and none lies in padding.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel_height == 1 && self.kernel_width == 1 && self.top == 0 && self.left == 0
    }

    /// The most taps that lie inside the image at one position.
    pub(crate) fn taps_inside(&self) -> usize {
        self.axes().map(|axis| axis.most(|met| met.position)).iter().product()
    }

    /// The most positions at which one tap lies inside the image.
    pub(crate) fn positions_inside(&self) -> usize {
        self.axes().map(|axis| axis.most(|met| met.tap)).iter().product()
    }

    /// The most taps, of all positions, that lie on one pixel.
    pub(crate) fn taps_on_pixel(&self) -> usize {
        self.axes().map(|axis| axis.most(|met| met.pixel)).iter().product()
    }

    /// The convolution that turns the gradients of this one's output into those of its input, with
    /// the taps in reverse and input for output channels; `None` if it takes more than that.
    pub(crate) fn reversed(&self) -> Option<Self> {
        if self.stride_y != 1 || self.stride_x != 1 {
            return None;
        }
        Some(Self {
            height: self.out_height,
            width: self.out_width,
            channels: self.out_channels,
            out_height: self.height,
            out_width: self.width,
            out_channels: self.channels,
            top: (self.kernel_height - 1).checked_sub(self.top)?,
            left: (self.kernel_width - 1).checked_sub(self.left)?,
            ..*self
        })
    }

    fn axes(&self) -> [Axis; 2] {
        [
            Axis {
                pixels: self.height,
                positions: self.out_height,
                taps: self.kernel_height,
                stride: self.stride_y,
                pad: self.top,
            },
            Axis {
                pixels: self.width,
                positions: self.out_width,
                taps: self.kernel_width,
                stride: self.stride_x,
                pad: self.left,
            },
        ]
    }

    /// Whether a row of taps slides by one column, and fits the registers of the tiled forms.
    pub(crate) fn slides(&self) -> bool {
        self.stride_x == 1 && self.kernel_width <= 5
    }

    /// Whether input and output channels can be taken four at once.
    pub(crate) fn by_four(&self) -> bool {
        self.channels.is_multiple_of(4) && self.out_channels.is_multiple_of(4)
    }

    /// Adds one row per position onto what the kernel sees there.
    pub(crate) fn scatter(&self, patches: &[f32], image: &mut [f32]) {
        for (position, patch) in patches.chunks_exact(self.patch()).enumerate() {
            for (ky, row) in patch.chunks_exact(self.kernel_width * self.channels).enumerate() {
                let (inside, at) = self.run(position, ky);
                let sums = &mut image[at..at + inside.len()];
                sums.iter_mut().zip(&row[inside]).for_each(|(sum, value)| *sum += value);
            }
        }
    }

    /// Which part of a row of taps lies inside the image, and where that part begins there. The
    /// columns of a row are neighbours in both.
    pub(crate) fn run(&self, position: usize, ky: usize) -> (Range<usize>, usize) {
        let y = (position / self.out_width * self.stride_y + ky).wrapping_sub(self.top);
        if y >= self.height {
            return (0..0, 0);
        }
        let x = position % self.out_width * self.stride_x;
        let begin = self.left.saturating_sub(x).min(self.kernel_width);
        let end = (self.width + self.left).saturating_sub(x).min(self.kernel_width).max(begin);
        if begin == end {
            return (0..0, 0);
        }
        let at = (y * self.width + x + begin - self.left) * self.channels;
        (begin * self.channels..end * self.channels, at)
    }
}

/// One direction of a convolution.
struct Axis {
    pixels: usize,
    positions: usize,
    taps: usize,
    stride: usize,
    pad: usize,
}

/// A tap that lies on a pixel at a position.
struct Met {
    position: usize,
    tap: usize,
    pixel: usize,
}

impl Axis {
    /// How many meetings of a tap and a pixel have the same key, at most.
    fn most(&self, key: fn(&Met) -> usize) -> usize {
        let mut counts = vec![0; self.positions.max(self.taps).max(self.pixels)];
        for position in 0..self.positions {
            for tap in 0..self.taps {
                let pixel = (position * self.stride + tap).wrapping_sub(self.pad);
                if pixel < self.pixels {
                    counts[key(&Met { position, tap, pixel })] += 1;
                }
            }
        }
        counts.into_iter().max().unwrap_or(0)
    }
}

/// The number of segments into which the tiled WGSL forms cut a row.
fn segments(width: usize) -> usize {
    width.div_ceil(12)
}

/// Workgroups for one invocation per segment of each row and 4 channels.
pub(crate) fn row_workgroups(rows: usize, width: usize, channels: usize) -> [u32; 3] {
    workgroups(rows * segments(width) * (channels / 4))
}

/// The `override`s of a form that computes a tile of a product of matrices per workgroup, with so
/// many rows and columns of invocations.
pub(crate) const fn tile<const ROWS: usize, const COLUMNS: usize>() -> &'static [(&'static str, f64)]
{
    &const { [("ROWS", ROWS as f64), ("COLUMNS", COLUMNS as f64)] }
}

/// Workgroups for all tiles of so many products of this many rows and columns: an invocation of a
/// form tuned by [`tile`] has 8 x 4 sums.
pub(crate) fn tile_workgroups<const ROWS: usize, const COLUMNS: usize>(
    products: usize,
    rows: usize,
    columns: usize,
) -> [u32; 3] {
    let tiles = rows.div_ceil(8 * ROWS) * columns.div_ceil(4 * COLUMNS);
    linear_workgroups(products * tiles, 1)
}

/// Workgroups for this many invocations.
pub(crate) fn workgroups(invocations: usize) -> [u32; 3] {
    linear_workgroups(invocations, WORKGROUP)
}

/// The constants of a convolution.
pub(crate) fn size(
    [height, width, channels]: [usize; 3],
    [out_height, out_width, out_channels]: [usize; 3],
    kernel: [usize; 2],
    stride: [usize; 2],
    pad: [usize; 2],
) -> Constants {
    Constants::default()
        .with("IN_HEIGHT", height)
        .with("IN_WIDTH", width)
        .with("IN_CHANNELS", channels)
        .with("OUT_HEIGHT", out_height)
        .with("OUT_WIDTH", out_width)
        .with("OUT_CHANNELS", out_channels)
        .with("KERNEL_HEIGHT", kernel[0])
        .with("KERNEL_WIDTH", kernel[1])
        .with("STRIDE_Y", stride[0])
        .with("STRIDE_X", stride[1])
        .with("PAD_TOP", pad[0])
        .with("PAD_LEFT", pad[1])
}

/// Images and sizes to test the convolution kernels on.
pub(crate) fn sizes() -> Vec<(usize, Constants)> {
    vec![
        (1, size([1, 1, 1], [1, 1, 1], [1, 1], [1, 1], [0, 0])),
        (3, size([7, 5, 7], [4, 3, 33], [3, 3], [2, 2], [1, 1])),
        // Without padding, and few input channels.
        (2, size([9, 11, 3], [8, 7, 8], [2, 5], [1, 1], [0, 0])),
        // Padding of 1 before and 2 after, and the reverse.
        (3, size([6, 13, 4], [3, 14, 12], [4, 3], [2, 1], [1, 2])),
        (1, size([6, 9, 4], [6, 9, 8], [1, 4], [1, 1], [0, 1])),
        (2, size([5, 16, 8], [5, 16, 4], [2, 2], [1, 1], [1, 1])),
        // Rows of several segments.
        (1, size([5, 26, 8], [5, 26, 8], [3, 1], [1, 1], [1, 0])),
        (5, size([8, 8, 4], [8, 8, 4], [5, 5], [1, 1], [2, 2])),
        // More taps in a row than the tiled forms take.
        (1, size([7, 7, 4], [7, 7, 4], [7, 7], [1, 1], [3, 3])),
        // Taps that no position of the image meets.
        (1, size([1, 2, 4], [1, 2, 8], [5, 5], [1, 1], [2, 2])),
        // Steps beyond the kernel leave elements that nothing looks at.
        (2, size([9, 9, 2], [3, 3, 3], [2, 2], [3, 3], [0, 0])),
        (3, size([8, 9, 4], [4, 5, 4], [1, 1], [2, 2], [0, 0])),
        // A pixel under each position, without and with steps.
        (2, size([5, 7, 20], [5, 7, 64], [1, 1], [1, 1], [0, 0])),
        (3, size([1, 49, 64], [1, 49, 32], [1, 1], [1, 1], [0, 0])),
        (2, size([5, 7, 20], [3, 4, 32], [1, 1], [2, 2], [0, 0])),
        // A few channels beyond whole vectors, which lie across, without and with steps.
        (2, size([6, 20, 17], [6, 20, 19], [3, 3], [1, 1], [1, 1])),
        (2, size([5, 33, 26], [3, 17, 19], [3, 3], [2, 2], [1, 1])),
        // Many output channels, and a block of them that is not full.
        (3, size([5, 6, 3], [5, 6, 100], [3, 3], [1, 1], [1, 1])),
        // The tutorial's first and second convolution.
        (2, size([24, 24, 3], [24, 24, 64], [5, 5], [1, 1], [2, 2])),
        (1, size([12, 12, 64], [12, 12, 64], [5, 5], [1, 1], [2, 2])),
    ]
}
