//! A part of an image at another size.

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Rows above it.
    pub top: usize,
    /// Pixels to its left.
    pub left: usize,
    /// Its rows.
    pub height: usize,
    /// Pixels in each.
    pub width: usize,
}

/// The part of an image of this shape (height, width, channels) in `[height, width]` pixels.
///
/// Each new pixel is a mean of the old ones around its centre, with weights that fall in a straight
/// line to 0 at a distance of one pixel, of the larger kind: bilinear interpolation where images grow
/// and a filter against aliasing where they shrink, as in Pillow and torchvision.
pub fn resample<T: Copy + Into<f32>>(
    values: &[T],
    [_, width, channels]: [usize; 3],
    part: Part,
    [high, wide]: [usize; 2],
) -> Vec<f32> {
    let row = part.width * channels;
    // Down first: whole rows are added to each other, which is what vector registers are good at.
    let mut narrow = vec![0.0_f32; high * row];
    for (to, taps) in narrow.chunks_exact_mut(row).zip(taps(part.height, high)) {
        for (y, weight) in (part.top + taps.first..).zip(taps.weights) {
            let from = &values[(y * width + part.left) * channels..][..row];
            for (to, from) in to.iter_mut().zip(from) {
                *to += weight * (*from).into();
            }
        }
    }
    let across: Vec<Taps> = taps(part.width, wide).collect();
    let mut resized = vec![0.0_f32; high * wide * channels];
    for (to, from) in resized.chunks_exact_mut(wide * channels).zip(narrow.chunks_exact(row)) {
        match channels {
            1 => step_across::<1>(to, from, &across),
            3 => step_across::<3>(to, from, &across),
            _ => {
                for (to, taps) in to.chunks_exact_mut(channels).zip(&across) {
                    let from = from[taps.first * channels..].chunks_exact(channels);
                    for (weight, from) in taps.weights.iter().zip(from) {
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
                    }
                }
            }
        }
    }
    resized
}

/// The weights of `new` pixels of a row or column as a matrix: a row of `old` numbers for each.
pub fn weights(old: usize, new: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; new * old];
    for (row, taps) in matrix.chunks_exact_mut(old).zip(taps(old, new)) {
        row[taps.first..][..taps.weights.len()].copy_from_slice(&taps.weights);
    }
    matrix
}

fn step_across<const CHANNELS: usize>(to: &mut [f32], from: &[f32], across: &[Taps]) {
    let from = from.as_chunks::<CHANNELS>().0;
    for (to, taps) in to.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(across) {
        for (weight, from) in taps.weights.iter().zip(&from[taps.first..]) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
        }
    }
}

/// What one new pixel of a row or a column is made of.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// For each of `new` pixels that stand for `old` ones.
fn taps(old: usize, new: usize) -> impl Iterator<Item = Taps> {
    let scale = old as f64 / new as f64;
    let reach = scale.max(1.0);
    (0..new).map(move |at| {
        let centre = (at as f64 + 0.5) * scale;
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(old);
        let weight = |at: usize| (1.0 - (at as f64 + 0.5 - centre).abs() / reach).max(0.0);
        let all: f64 = (first..end).map(weight).sum();
        Taps { first, weights: (first..end).map(|at| (weight(at) / all) as f32).collect() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[u8], wide: usize) -> Vec<f32> {
        let part = Part { top: 0, left: 0, height: 1, width: values.len() };
        resample(values, [1, values.len(), 1], part, [1, wide])
    }

    #[test]
    fn the_matrix_says_the_same() {
        let values = [3_u8, 0, 200, 7, 90, 255, 1];
        for wide in [1, 3, 7, 11] {
            let matrix = weights(7, wide);
            let sums = matrix.chunks(7).map(|row| {
                row.iter().zip(values).map(|(weight, value)| weight * f32::from(value)).sum()
            });
            let close = |(a, b): (f32, &f32)| (a - b).abs() < 1e-3;
            assert!(sums.zip(&row(&values, wide)).all(close), "{wide}");
        }
    }

    #[test]
    fn rows_come_out_as_pillows_do() {
        // Image.fromarray(row, "F").resize((wide, 1), Image.BILINEAR)
        assert_eq!(row(&[0, 8], 4), [0.0, 2.0, 6.0, 8.0]);
        assert_eq!(row(&[0, 0, 8, 8], 2), [8.0 / 7.0, 8.0 - 8.0 / 7.0]);
        assert_eq!(row(&[0, 3, 9], 3), [0.0, 3.0, 9.0]);
        assert_eq!(row(&[7], 3), [7.0; 3]);
    }

    #[test]
    fn parts_are_what_the_definition_says() {
        for (shape, part, [high, wide]) in [
            ([9, 7, 1], Part { top: 2, left: 1, height: 5, width: 6 }, [11, 3]),
            ([9, 7, 3], Part { top: 0, left: 0, height: 9, width: 7 }, [4, 13]),
            ([6, 8, 4], Part { top: 5, left: 7, height: 1, width: 1 }, [2, 2]),
        ] {
            let [_, width, channels] = shape;
            let values: Vec<u8> =
                (0..shape.iter().product::<usize>()).map(|at| (at * 37 % 251) as u8).collect();
            // The weight of every old pixel of the part, one by one.
            let weight = |to: usize, new: usize, from: usize, old: usize| {
                let scale = old as f64 / new as f64;
                let distance = ((from as f64 + 0.5) / scale - (to as f64 + 0.5)).abs();
                (1.0 - distance * scale / scale.max(1.0)).max(0.0)
            };
            let found = resample(&values, shape, part, [high, wide]);
            for (at, found) in found.iter().enumerate() {
                let (y, x, c) = (at / channels / wide, at / channels % wide, at % channels);
                let (mut sum, mut weights) = (0.0, 0.0);
                for row in 0..part.height {
                    for column in 0..part.width {
                        let weight =
                            weight(y, high, row, part.height) * weight(x, wide, column, part.width);
                        let place = (part.top + row) * width + part.left + column;
                        sum += weight * f64::from(values[place * channels + c]);
                        weights += weight;
                    }
                }
                assert!((f64::from(*found) - sum / weights).abs() < 1e-3, "{at} of {shape:?}");
            }
        }
    }
}
