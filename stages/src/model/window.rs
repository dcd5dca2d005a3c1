//! A window that slides over an image: sizes, strides and padding.

use anyhow::{Result as AnyResult, anyhow};
use compute::kernel::Constants;
use flow::stage::Mismatch;
use onnx::{Attribute, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extent::Extent;
use crate::model::layer::image_value;

/// Pixels along a side of a window, or in a step of it, beyond which a size can only be a mistake;
/// up to here, no place in a padded image is beyond what a kernel can count.
const MOST_PIXELS: usize = 1 << 15;

/// What happens at the edge of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Outside pixels are added so that stride 1 keeps the size: `ceil(size / stride)` remain.
    /// Where their number is odd, the extra one comes after (TensorFlow's SAME).
    #[default]
    Same,
    /// Only windows that lie wholly inside.
    Valid,
}

/// A window with everything worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Input height and width.
    pub input: [usize; 2],
    /// Output height and width.
    pub output: [usize; 2],
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Padding above and to the left.
    pub before: [usize; 2],
}

impl Window {
    /// Works out the output size and the padding.
    ///
    /// # Errors
    /// If a size is 0 or absurd, or nothing would remain of the image.
    pub fn new(
        input: [usize; 2],
        kernel: Extent,
        stride: Extent,
        padding: Padding,
    ) -> Result<Self, Mismatch> {
        for (field, extent) in [("kernel", kernel), ("stride", stride)] {
            if extent.height.max(extent.width) > MOST_PIXELS {
                let message = format!("{extent} is more than {MOST_PIXELS} pixels");
                return Err(Mismatch::field(field, message)
                    .help("the images of this layer are smaller by far"));
            }
        }
        let [kernel, stride] = [kernel, stride].map(|extent| [extent.height, extent.width]);
        if kernel.contains(&0) {
            return Err(Mismatch::field("kernel", "a window of 0 pixels sees nothing"));
        }
        if stride.contains(&0) {
            return Err(Mismatch::field("stride", "a stride of 0 never reaches the next pixel"));
        }
        let mut window = Self { input, output: [0; 2], kernel, stride, before: [0; 2] };
        for axis in 0..2 {
            match padding {
                Padding::Same => {
                    let output = input[axis].div_ceil(stride[axis]);
                    let covered = (output - 1) * stride[axis] + kernel[axis];
                    window.output[axis] = output;
                    window.before[axis] = covered.saturating_sub(input[axis]) / 2;
                }
                Padding::Valid if kernel[axis] > input[axis] => {
                    return Err(Mismatch::field(
                        "kernel",
                        format!(
                            "a {}x{} window does not fit into {}x{}, less than 1 pixel would \
                             remain",
                            kernel[0], kernel[1], input[0], input[1]
                        ),
                    )
                    .help("use `padding: same`, a smaller kernel, or fewer layers that shrink"));
                }
                Padding::Valid => {
                    window.output[axis] = (input[axis] - kernel[axis]) / stride[axis] + 1;
                }
            }
        }
        Ok(window)
    }

    /// The same convolution over images that are a single row of pixels, if each position sees its own
    /// pixel only: where rows end makes no difference then, and one that is long is cut into pieces
    /// that fill the tiles of kernels.
    pub fn in_one_row(self) -> Self {
        match self.kernel == [1, 1] && self.stride == [1, 1] {
            true => {
                let row = [1, self.input[0] * self.input[1]];
                Self { input: row, output: row, ..self }
            }
            false => self,
        }
    }

    /// The same over an input in an ONNX file, whose channels it gives as well.
    ///
    /// # Errors
    /// As [`Window::new`], and if the input is no image.
    pub fn over(
        x: &Value,
        kernel: Extent,
        stride: Extent,
        padding: Padding,
    ) -> AnyResult<(Self, usize)> {
        let [height, width, channels] = image_value(x)?;
        let window = Self::new([height, width], kernel, stride, padding);
        Ok((window.map_err(|wrong| anyhow!(wrong.message))?, channels))
    }

    /// What comes out in an ONNX file, with so many channels.
    pub fn output_value(&self, name: String, channels: usize) -> Value {
        Value { name, shape: vec![self.output[0], self.output[1], channels] }
    }

    /// The attributes that ONNX's operators of convolution and pooling share.
    pub fn onnx(&self) -> Vec<(&'static str, Attribute)> {
        let after = [0, 1].map(|axis| {
            let covered = (self.output[axis] - 1) * self.stride[axis] + self.kernel[axis];
            covered.saturating_sub(self.input[axis] + self.before[axis])
        });
        let pads = [self.before, after].concat();
        vec![
            ("kernel_shape", Attribute::Ints(self.kernel.to_vec())),
            ("strides", Attribute::Ints(self.stride.to_vec())),
            ("pads", Attribute::Ints(pads)),
        ]
    }

    /// The constants that the kernels of convolution and pooling share.
    pub fn constants(&self) -> Constants {
        Constants::default()
            .with("IN_HEIGHT", self.input[0])
            .with("IN_WIDTH", self.input[1])
            .with("OUT_HEIGHT", self.output[0])
            .with("OUT_WIDTH", self.output[1])
            .with("KERNEL_HEIGHT", self.kernel[0])
            .with("KERNEL_WIDTH", self.kernel[1])
            .with("STRIDE_Y", self.stride[0])
            .with("STRIDE_X", self.stride[1])
            .with("PAD_TOP", self.before[0])
            .with("PAD_LEFT", self.before[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(size: usize, kernel: usize, stride: usize) -> (usize, usize) {
        let (kernel, stride) = (Extent::square(kernel), Extent::square(stride));
        let window =
            Window::new([size, size], kernel, stride, Padding::Same).expect("a valid window");
        (window.output[0], window.before[0])
    }

    #[test]
    fn same_padding_is_tensorflows() {
        assert_eq!(same(24, 5, 1), (24, 2));
        // The tutorial's pools: one pixel of padding in all, and it comes after.
        assert_eq!(same(24, 3, 2), (12, 0));
        assert_eq!(same(12, 3, 2), (6, 0));
        assert_eq!(same(7, 3, 2), (4, 1));
        assert_eq!(same(1, 5, 1), (1, 2));
    }

    #[test]
    fn valid_padding_refuses_to_vanish() {
        let valid = |size, kernel| {
            Window::new([size, size], Extent::square(kernel), Extent::square(1), Padding::Valid)
        };
        assert_eq!(valid(5, 5).expect("one pixel remains").output, [1, 1]);
        assert!(valid(4, 5).expect_err("nothing remains").message.contains("less than 1 pixel"));
    }

    #[test]
    fn absurd_sizes_are_refused() {
        let field = |kernel, stride| {
            let window = Window::new([24, 24], kernel, stride, Padding::Same);
            window.expect_err("absurd").field.join(".")
        };
        let one = Extent::square(1);
        for size in [MOST_PIXELS + 1, usize::MAX] {
            assert_eq!(field(Extent { height: size, width: 1 }, one), "kernel");
            assert_eq!(field(one, Extent { height: 1, width: size }), "stride");
        }
        assert_eq!(same(24, MOST_PIXELS, MOST_PIXELS), (1, (MOST_PIXELS - 24) / 2));
    }

    #[test]
    fn only_windows_over_single_pixels_pass_over_the_ends_of_rows() {
        let window = |kernel, stride| {
            let [kernel, stride] = [kernel, stride].map(Extent::square);
            Window::new([5, 7], kernel, stride, Padding::Same).expect("it fits")
        };
        let row = window(1, 1).in_one_row();
        assert_eq!((row.input, row.output, row.before), ([1, 35], [1, 35], [0, 0]));
        for other in [window(3, 1), window(1, 2)] {
            assert_eq!(other.in_one_row(), other);
        }
    }
}
