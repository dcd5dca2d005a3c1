//! What the `cpu` forms of max pooling share: which part of a window lies inside the image.

use std::ops::Range;

use runtime::kernel::Constants;

/// Channels that are worked on together: as many as the widest vectors hold.
pub(crate) const LANES: usize = 16;

/// The sizes of a pool.
pub(crate) struct Pool {
    pub(crate) channels: usize,
    pub(crate) rows: Axis,
    pub(crate) columns: Axis,
}

/// One direction of a pool.
pub(crate) struct Axis {
    pub(crate) pixels: usize,
    pub(crate) windows: usize,
    pub(crate) window: usize,
    stride: usize,
    pad: usize,
}

impl From<&Constants> for Pool {
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

impl Pool {
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

    /// The windows of an image in order: of each, the positions inside the image by number, and
    /// where their channels begin there.
    #[inline(always)]
    pub(crate) fn windows(
        &self,
    ) -> impl Iterator<Item = impl Iterator<Item = (u32, usize)> + Clone> {
        let cells = (0..self.rows.windows)
            .flat_map(|row| (0..self.columns.windows).map(move |column| (row, column)));
        cells.map(move |(row, column)| {
            let columns = self.columns.inside(column);
            self.rows.inside(row).flat_map(move |ky| {
                let line = self.rows.pixel(row, ky) * self.columns.pixels;
                columns.clone().map(move |kx| {
                    let pixel = line + self.columns.pixel(column, kx);
                    ((ky * self.columns.window + kx) as u32, pixel * self.channels)
                })
            })
        })
    }
}

impl Axis {
    /// The positions of a window that lie inside the image.
    fn inside(&self, window: usize) -> Range<usize> {
        let at = window * self.stride;
        let end = (self.pixels + self.pad).saturating_sub(at).min(self.window);
        self.pad.saturating_sub(at).min(end)..end
    }

    /// The pixel at a position inside the image.
    fn pixel(&self, window: usize, position: usize) -> usize {
        window * self.stride + position - self.pad
    }
}
