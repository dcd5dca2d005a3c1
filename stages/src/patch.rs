//! A rectangle somewhere in an image.

use std::ops::Range;

/// What of a rectangle lies in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Patch {
    /// A rectangle of `[rows, columns]` around a pixel of an image of `[height, width]`. Where a side
    /// is even, there is one pixel more before the centre than after it.
    pub fn around(centre: [usize; 2], sides: [usize; 2], image: [usize; 2]) -> Self {
        let range = |axis: usize| {
            let (centre, before) = (centre[axis], sides[axis] / 2);
            let end = (centre + (sides[axis] - before)).min(image[axis]);
            centre.saturating_sub(before)..end
        };
        Self { rows: range(0), columns: range(1) }
    }

    /// Its pixels.
    pub fn area(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Where its rows lie among the values of an image of this shape (height, width, channels).
    pub fn rows(&self, [_, width, channels]: [usize; 3]) -> impl Iterator<Item = Range<usize>> {
        let Range { start, end } = self.columns.clone();
        self.rows.clone().map(move |y| (y * width + start) * channels..(y * width + end) * channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rectangle_is_cut_off_at_the_border() {
        let around = |centre, sides| Patch::around(centre, sides, [24, 16]);
        assert_eq!(around([12, 8], [8, 8]), Patch { rows: 8..16, columns: 4..12 });
        assert_eq!(around([12, 8], [3, 1]), Patch { rows: 11..14, columns: 8..9 });
        assert_eq!(around([0, 15], [8, 8]), Patch { rows: 0..4, columns: 11..16 });
        assert_eq!(around([23, 0], [1, 1]), Patch { rows: 23..24, columns: 0..1 });
        assert_eq!(around([12, 8], [50, 50]), Patch { rows: 0..24, columns: 0..16 });
        assert_eq!(around([12, 8], [0, 4]).area(), 0);
        let rows: Vec<_> = around([1, 2], [2, 3]).rows([24, 16, 3]).collect();
        assert_eq!(rows, [3..12, 51..60]);
    }
}
