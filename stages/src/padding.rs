//! Pixels put around an image.

use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Pixels put around an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Padding {
    /// Pixels on each of the four sides; 4 for images of 32x32 is usual.
    #[schemars(range(min = 1))]
    pub pixels: usize,
    /// What they show.
    #[serde(default)]
    pub mode: Border,
}

/// What the pixels around an image show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Border {
    /// The image mirrored at its outermost pixels, which are not repeated: `c b | a b c`.
    #[default]
    Reflect,
    /// 0: black, unless the images were scaled before.
    Zero,
    /// The outermost pixel again and again: `a a | a b c`.
    Edge,
}

/// More pixels than this on a side can only be a mistake.
const MOST: usize = 65_536;

impl Padding {
    /// Whether images of this size can be padded so, told as a field `padding`.
    ///
    /// # Errors
    /// If there is no padding, too much of it, or too little of the image to mirror.
    pub fn check(self, height: usize, width: usize) -> Result<(), Mismatch> {
        let least = height.min(width);
        let (message, help) = match self.pixels {
            0 => ("padding of 0 pixels is none".to_owned(), "leave `padding` out".to_owned()),
            pixels if self.mode == Border::Reflect && pixels >= least => (
                format!("{height}x{width} cannot be mirrored over {pixels} pixels"),
                format!("less than {least}, or `mode: edge` or `zero`"),
            ),
            pixels if pixels > MOST => {
                (format!("padding of {pixels} pixels"), format!("at most {MOST}"))
            }
            _ => return Ok(()),
        };
        Err(Mismatch::field("padding.pixels", message).help(help))
    }
}

impl Border {
    /// Which of a row's `length` pixels is shown at this place, counted from the first of the
    /// `border` pixels before it; `None` for 0. A mirrored border is shorter than the row.
    pub fn source(self, at: usize, border: usize, length: usize) -> Option<usize> {
        let last = length.checked_sub(1)?;
        match (at.checked_sub(border), self) {
            (Some(inside), _) if inside <= last => Some(inside),
            (_, Self::Zero) => None,
            (Some(_), Self::Edge) => Some(last),
            (None, Self::Edge) => Some(0),
            (Some(after), Self::Reflect) => (2 * last).checked_sub(after),
            (None, Self::Reflect) => Some(border - at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_are_those_of_the_other_libraries() {
        // What numpy.pad([0, 1, 2, 3], 2) gives with `reflect`, `constant` and `edge`.
        let row = |border: Border| (0..8).map(|at| border.source(at, 2, 4)).collect::<Vec<_>>();
        assert_eq!(row(Border::Reflect), [2, 1, 0, 1, 2, 3, 2, 1].map(Some));
        assert_eq!(row(Border::Edge), [0, 0, 0, 1, 2, 3, 3, 3].map(Some));
        let black = [None; 2];
        assert_eq!(row(Border::Zero), [&black[..], &[0, 1, 2, 3].map(Some), &black].concat());
    }

    #[test]
    fn what_cannot_be_is_told() {
        let check = |pixels, mode| Padding { pixels, mode }.check(32, 8);
        assert_eq!(check(7, Border::Reflect), Ok(()));
        assert_eq!(check(8, Border::Edge), Ok(()));
        for (pixels, mode, message) in [
            (0, Border::Edge, "0 pixels is none"),
            (8, Border::Reflect, "32x8 cannot be mirrored over 8 pixels"),
            (usize::MAX, Border::Zero, "padding of 18446744073709551615 pixels"),
        ] {
            let wrong = check(pixels, mode).expect_err(message);
            assert_eq!(wrong.field, ["padding", "pixels"]);
            assert!(wrong.message.contains(message), "{}", wrong.message);
        }
    }
}
