//! Windows that slide over each channel of an image by itself, as in pooling and depthwise
//! convolutions: which part of a window lies inside the image, and sizes to test on.

use std::ops::Range;

use compute::kernel::Constants;

/// The sizes of images and windows.
pub(crate) struct Windows {
    pub(crate) channels: usize,
    rows: Axis,
    columns: Axis,
}

/// One direction.
struct Axis {
    pixels: usize,
    windows: usize,
    window: usize,
    stride: usize,
    pad: usize,
}

impl From<&Constants> for Windows {
    fn from(c: &Constants) -> Self {
        let axis = |[pixels, windows, window, stride, pad]: [&str; 5]| Axis {
            pixels: c.size(pixels),
            windows: c.size(windows),
            window: c.size(window),
            stride: c.size(stride),
            pad: c.size(pad),
        };
        Self {
            channels: c.size("CHANNELS"),
            rows: axis(["IN_HEIGHT", "OUT_HEIGHT", "KERNEL_HEIGHT", "STRIDE_Y", "PAD_TOP"]),
            columns: axis(["IN_WIDTH", "OUT_WIDTH", "KERNEL_WIDTH", "STRIDE_X", "PAD_LEFT"]),
        }
    }
}

impl Windows {
    /// Elements of an input image.
    pub(crate) fn input(&self) -> usize {
        self.rows.pixels * self.columns.pixels * self.channels
    }

    /// Elements of an output image.
    pub(crate) fn output(&self) -> usize {
        self.rows.windows * self.columns.windows * self.channels
    }

    /// Positions in a window.
    pub(crate) fn positions(&self) -> usize {
        self.rows.window * self.columns.window
    }

    /// The windows of an image in order.
    #[inline(always)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = Window> {
        let rows = (0..self.rows.windows).map(|row| (row, self.rows.inside(row)));
        rows.flat_map(move |(row, inside)| {
            (0..self.columns.windows).map(move |column| Window {
                rows: inside.clone(),
                columns: self.columns.inside(column),
                at: [row * self.rows.stride, column * self.columns.stride],
            })
        })
    }

    /// Where the channels under a position of a window, inside the image, begin there.
    #[inline(always)]
    pub(crate) fn place(&self, window: &Window, [ky, kx]: [usize; 2]) -> usize {
        let (y, x) = (window.at[0] + ky - self.rows.pad, window.at[1] + kx - self.columns.pad);
        (y * self.columns.pixels + x) * self.channels
    }

    /// The number of a position of a window.
    #[inline(always)]
    pub(crate) fn number(&self, [ky, kx]: [usize; 2]) -> u32 {
        (ky * self.columns.window + kx) as u32
    }
}

/// A window: which of its rows and columns lie inside the image, and where it begins in
/// the padded image.
pub(crate) struct Window {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
    at: [usize; 2],
}

impl Window {
    /// What each of its positions inside the image is of all of them; 0 if there are none.
    #[inline(always)]
    pub(crate) fn share(&self) -> f32 {
        match self.rows.len() * self.columns.len() {
            0 => 0.0,
            count => 1.0 / count as f32,
        }
    }
}

impl Axis {
    /// The positions of a window that lie inside the image.
    fn inside(&self, window: usize) -> Range<usize> {
        let at = window * self.stride;
        let end = (self.pixels + self.pad).saturating_sub(at).min(self.window);
        self.pad.saturating_sub(at).min(end)..end
    }
}

/// Images and sizes to test kernels on.
pub(crate) fn sizes() -> Vec<(usize, Constants)> {
    let size = |image: [usize; 2],
                out: [usize; 2],
                channels,
                window: [usize; 2],
                stride: [usize; 2],
                pad: [usize; 2]| {
        Constants::default()
            .with("IN_HEIGHT", image[0])
            .with("IN_WIDTH", image[1])
            .with("OUT_HEIGHT", out[0])
            .with("OUT_WIDTH", out[1])
            .with("CHANNELS", channels)
            .with("KERNEL_HEIGHT", window[0])
            .with("KERNEL_WIDTH", window[1])
            .with("STRIDE_Y", stride[0])
            .with("STRIDE_X", stride[1])
            .with("PAD_TOP", pad[0])
            .with("PAD_LEFT", pad[1])
    };
    vec![
        (1, size([1, 1], [1, 1], 1, [1, 1], [1, 1], [0, 0])),
        (3, size([7, 5], [4, 3], 7, [3, 3], [2, 2], [1, 1])),
        (2, size([7, 9], [7, 5], 3, [2, 5], [1, 2], [0, 2])),
        // A stride beyond the window leaves elements that nothing looks at.
        (2, size([9, 11], [3, 3], 2, [2, 3], [3, 4], [0, 0])),
        // All of the image and its padding under each window.
        (1, size([2, 2], [2, 2], 33, [5, 5], [1, 1], [2, 2])),
        // The tutorial's first and second pool.
        (2, size([24, 24], [12, 12], 64, [3, 3], [2, 2], [0, 0])),
        (1, size([12, 12], [6, 6], 64, [3, 3], [2, 2], [0, 0])),
    ]
}
